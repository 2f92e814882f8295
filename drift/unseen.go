package drift

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Unseen is a declared value in whose place Keycloak shows asterisks, so that nobody can tell whether it is as declared.
type Unseen struct {
	Address schema.Address
	Path    string
	Want    any  // never shown
	Written bool // its fingerprint says that it was the last that we wrote; a change by hand can't be seen all the same
}

// FindUnseen lists the declared values that can't be read back, but for those that the changes write. Remembered tells of
// which it is known that they are as last written.
func FindUnseen(facts schema.Facts, want, have schema.State, changes []Change, remembered func(key schema.Address, v any) (same, known bool)) []Unseen {
	written := map[schema.Address]bool{}
	for _, c := range changes {
		for _, d := range c.Diffs {
			written[Key(c.Address, d.Path)] = true
		}
	}
	var found []Unseen
	for _, a := range want.Addresses() {
		var walk func(prefix string, want, have map[string]any)
		walk = func(prefix string, want, have map[string]any) {
			for _, name := range slices.Sorted(maps.Keys(want)) {
				path := prefix + name
				if nested, ok := want[name].(map[string]any); ok {
					live, _ := have[name].(map[string]any)
					walk(path+".", nested, live)
				} else if facts.Of(a.Kind(), path).Hides(have[name]) && !empty(want[name]) && !written[Key(a, path)] {
					same, _ := remembered(Key(a, path), want[name])
					found = append(found, Unseen{a, path, want[name], same})
				}
			}
		}
		walk("", want[a].Fields, have[a].Fields)
	}
	return found
}

// SayUnseen counts what can't be seen, in a few words for a sentence; "" where that is nothing.
func SayUnseen(unseen []Unseen) string {
	written := len(slices.DeleteFunc(slices.Clone(unseen), func(u Unseen) bool { return !u.Written }))
	var parts []string
	if written > 0 {
		parts = append(parts, secrets(written)+" as last written")
	}
	if n := len(unseen) - written; n > 0 {
		parts = append(parts, secrets(n)+" can't be seen")
	}
	return strings.Join(parts, ", ")
}

func secrets(n int) string {
	if n == 1 {
		return "1 secret"
	}
	return fmt.Sprintf("%d secrets", n)
}

// mostNamed is how many of what can't be seen a report names.
const mostNamed = 5

// unseenLines say what can't be seen, which values these are, and what of them would be noticed: a line for those that
// are known to be as last written, and one for the others.
func unseenLines(unseen []Unseen) []string {
	var lines []string
	for _, group := range []struct {
		written bool
		what    string
		means   string
	}{
		{true, "as last written", "changed by hand since, they would look the same"},
		{false, "can't be seen", "a commit that changes one writes it, any other change goes unnoticed"},
	} {
		of := slices.DeleteFunc(slices.Clone(unseen), func(u Unseen) bool { return u.Written != group.written })
		if len(of) == 0 {
			continue
		}
		var names []string
		for _, u := range of[:min(mostNamed, len(of))] {
			names = append(names, fmt.Sprintf("%s (%s)", u.Address, u.Path))
		}
		if more := len(of) - mostNamed; more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s; %s", secrets(len(of)), group.what, strings.Join(names, ", "), group.means))
	}
	return lines
}
