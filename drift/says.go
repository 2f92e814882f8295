package drift

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Longest is how many characters the sentence of a report may have: as many as a forge's commit status takes.
const Longest = 140

// Judge is the verdict over what a pass found and did, where nothing ended it early, and the sentence for it.
func Judge(objects int, changes []Change, unseen []Unseen) (Verdict, string) {
	open := undone(changes)
	switch {
	case len(open) == 0:
		says := fmt.Sprintf("%d objects as declared", objects)
		if objects == 1 {
			says = "1 object as declared"
		}
		if not := SayUnseen(unseen); not != "" {
			says += "; " + not
		}
		return InSync, says
	case Drifts(open):
		return Drifted, SayDrift(slices.DeleteFunc(open, func(c Change) bool { return !drifts(c) }))
	}
	return Pending, Sentence("would " + SayChanges(open))
}

func undone(changes []Change) []Change {
	var open []Change
	for _, c := range changes {
		if c.Outcome != Done {
			open = append(open, c)
		}
	}
	return open
}

// Drifts tells whether the server moved by itself, as far as that isn't mended.
func Drifts(changes []Change) bool { return slices.ContainsFunc(changes, drifts) }

func drifts(c Change) bool {
	return c.Outcome != Done && (c.Cause == FromDrift || c.Cause == FromBoth)
}

// SayDrift names what drifted, and who did it: 2 drifted: clients/portal (redirectUris), roles/auditor (gone); by admin.
func SayDrift(changes []Change) string {
	by := []rune(Sentence(sayWriters(changes)))
	what := []rune(Sentence(fmt.Sprintf("%d drifted: %s", len(changes), names(changes))))
	if len(by) > 0 && len(what)+len(by) > Longest {
		what = append(what[:Longest-1-len(by)], '…')
	}
	return string(what) + string(by)
}

// SayChanges counts changes by what they do and names the first: create 3, update 1, delete 2: clients/portal (redirectUris), …
func SayChanges(changes []Change) string {
	return count(changes) + ": " + names(changes)
}

func count(changes []Change) string {
	var parts []string
	for _, op := range []Op{Create, Rename, Update, Delete} {
		n := 0
		for _, c := range changes {
			if c.Op == op {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", op, n))
		}
	}
	return strings.Join(parts, ", ")
}

func names(changes []Change) string {
	var parts []string
	for _, c := range changes {
		switch {
		case c.Op == Create && c.Cause == FromDrift:
			parts = append(parts, string(c.Address)+" (gone)")
		case c.Op == Delete && c.Cause == FromDrift:
			parts = append(parts, string(c.Address)+" (added)")
		case len(c.Diffs) > 0 && c.Op != Create:
			var paths []string
			for _, d := range c.Diffs {
				paths = append(paths, d.Path)
			}
			parts = append(parts, fmt.Sprintf("%s (%s)", c.Address, strings.Join(paths, ", ")))
		default:
			parts = append(parts, string(c.Address))
		}
	}
	return strings.Join(parts, ", ")
}

// String says what goes when, as reports do.
func (l Later) String() string {
	return fmt.Sprintf("%s is removed after %s", Escape(string(l.Address)), l.After.UTC().Format("2006-01-02 15:04:05 MST"))
}

// Sentence is text as one line of at most Longest characters, without control characters.
func Sentence(s string) string {
	s = Escape(strings.Join(strings.Fields(s), " "))
	if runes := []rune(s); len(runes) > Longest {
		return string(runes[:Longest-1]) + "…"
	}
	return s
}

// Escape makes text safe for a terminal and a log: control characters, and those that turn the direction of text, are spelled out.
func Escape(s string) string {
	if strings.IndexFunc(s, unsafe) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}
