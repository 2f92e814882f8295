// Package status carries verdicts to where people look at commits: the commit statuses of a forge, or git notes where a
// server has no statuses. There is one file per forge.
package status

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloakwork/cloakwork/drift"
)

// State is what a forge can show of a verdict.
type State string

// The states, as every forge spells them.
const (
	Success State = "success"
	Failure State = "failure"
	Error   State = "error"
	Pending State = "pending"
)

// StateOf is the state that a forge shows for a verdict. A verdict that it doesn't know is an error, never a success.
func StateOf(v drift.Verdict) State {
	switch v {
	case drift.InSync, drift.Superseded, drift.Suspended:
		return Success
	case drift.Pending, drift.Progressing:
		return Pending
	case drift.Drifted, drift.Blocked:
		return Failure
	default:
		return Error
	}
}

// What forges take at most, in runes.
const (
	MaxSays    = 140
	MaxContext = 255
)

// Status is what is said of one commit under one context.
type Status struct {
	Commit  string // the full hash
	Context string // cloakwork/eu/realm/acme; at most MaxContext
	State   State
	Says    string // one sentence, at most MaxSays
	URL     string // where the whole report stands; may be empty
}

// Forge keeps statuses. Both methods may be repeated: a second Write of the same status changes nothing that a person
// sees, though a forge may keep a line of history for each. Errors carry no credentials.
type Forge interface {
	// Read is the last status of a commit under a context; false says that there is none yet.
	Read(ctx context.Context, commit, context string) (Status, bool, error)
	// Write replaces it.
	Write(ctx context.Context, s Status) error
}

// Fit makes a status one that every forge takes: one line without control characters, Says and Context cut to length.
func Fit(s Status) Status {
	s.Says = cut(oneLine(s.Says), MaxSays)
	s.Context = cut(oneLine(s.Context), MaxContext)
	return s
}

// oneLine shows what would break a line or steer a terminal as a visible character: names come from Keycloak and from
// manifests, and whoever may create a role there must not write our statuses.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return '\uFFFD'
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// cut keeps at most n runes; the last of them is … where something is missing.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return strings.TrimRight(string(runes[:n-1]), " ") + "…"
}
