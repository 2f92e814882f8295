package drift

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

// What the server has used up isn't written again, and what others put there stays.
func TestElementsThatAreUsedUpAreWrittenOnce(t *testing.T) {
	facts := schema.Facts{"users": {"requiredActions": {Set: true, Empty: true, Once: true}}}
	list := func(names string) []any {
		l := []any{}
		for name := range strings.FieldsSeq(names) {
			l = append(l, name)
		}
		return l
	}
	const nothing = "nothing"
	for _, c := range []struct{ declared, written, live, want string }{
		{"A", "", "", "A"},
		{"A", "A", "", nothing},
		{"A", "A", "A", nothing},
		{"A B", "A", "", "B"},
		{"A B", "A", "X", "X B"},
		{"A", "", "X", "X A"},
		{"A", "A B", "B X", "X"},
		{"", "A", "A X", "X"},
		{"", "A", "X", nothing},
		{"undeclared", "A", "A X", "X"},
		{"undeclared", "A", "X", nothing},
	} {
		written := list(c.written)
		owned := func(a schema.Address) bool {
			_, path, _ := strings.Cut(string(a), "#requiredActions.")
			for _, v := range written {
				if v == path {
					return true
				}
			}
			return false
		}
		want := schema.Object{Address: "users/ann", Fields: map[string]any{"username": "ann", "requiredActions": list(c.declared)}}
		if c.declared == "undeclared" {
			delete(want.Fields, "requiredActions")
		}
		have := schema.Object{Address: "users/ann", Fields: map[string]any{"username": "ann", "requiredActions": list(c.live)}}
		got := nothing
		for _, change := range Compare(facts, nil, Memory{Owned: owned}, schema.State{want.Address: want}, schema.State{have.Address: have}) {
			for _, d := range change.Diffs {
				var names []string
				for _, v := range d.Want.([]any) {
					names = append(names, v.(string))
				}
				got = strings.Join(names, " ")
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
	}
}
