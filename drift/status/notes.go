package status

import (
	"context"
	"slices"
	"strings"
)

// Noter reads and edits the git note of a commit; a commit without one has an empty note. Edit is asked again where
// another writer was first. A *git.Mirror is one.
type Noter interface {
	Note(ctx context.Context, commit string) (string, error)
	EditNote(ctx context.Context, commit string, edit func(text string) string) error
}

// Notes is the forge of a git server that has no commit statuses. A commit's note holds one line for each context, in
// order, which `git log --notes=cloakwork` shows:
//
//	cloakwork/eu/realm/acme: success: 412 objects as declared
//
// Lines of others are kept. A status's URL is not.
type Notes struct {
	Notes Noter
}

var _ Forge = Notes{}

// Read finds the line of a context.
func (n Notes) Read(ctx context.Context, commit, context string) (Status, bool, error) {
	text, err := n.Notes.Note(ctx, commit)
	if err != nil {
		return Status{}, false, err
	}
	for line := range strings.Lines(text) {
		if state, says, ok := parse(strings.TrimRight(line, "\n"), context); ok {
			return Status{Commit: commit, Context: context, State: state, Says: says}, true, nil
		}
	}
	return Status{}, false, nil
}

// Write puts a status's line in the place of the one that its context had.
func (n Notes) Write(ctx context.Context, s Status) error {
	s = Fit(s)
	return n.Notes.EditNote(ctx, s.Commit, func(text string) string {
		lines := []string{noteContext(s.Context) + ": " + string(s.State) + ": " + s.Says}
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\n")
			if _, _, ours := parse(line, s.Context); !ours && line != "" {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return strings.Join(slices.Compact(lines), "\n") + "\n"
	})
}

// parse takes a line apart where it is the line of this context.
func parse(line, context string) (State, string, bool) {
	rest, ok := strings.CutPrefix(line, noteContext(oneLine(context))+": ")
	if !ok {
		return "", "", false
	}
	word, says, _ := strings.Cut(rest, ": ")
	state := State(strings.TrimSuffix(word, ":"))
	switch state {
	case Success, Failure, Error, Pending:
		return state, says, true
	}
	return "", "", false
}

// noteContext keeps a context from reading like another one's line: a realm may well be named "acme: success".
func noteContext(context string) string {
	return strings.ReplaceAll(context, ": ", ":%20")
}
