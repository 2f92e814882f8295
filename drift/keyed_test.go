package drift

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

func domains(objects ...map[string]any) map[string]any {
	list := []any{}
	for _, o := range objects {
		list = append(list, o)
	}
	return map[string]any{"domains": list}
}

func TestAnObjectInAListKeepsWhatIsNotDeclaredOfIt(t *testing.T) {
	facts := schema.Facts{"organizations": {"domains": {Key: "name"}}}
	nothing := func(schema.Address) bool { return false }
	state := func(fields map[string]any) schema.State {
		return schema.State{"organizations/a": {Address: "organizations/a", Fields: fields}}
	}
	live := state(domains(map[string]any{"name": "b", "verified": true}, map[string]any{"name": "a", "verified": false}))
	want := state(domains(map[string]any{"name": "a"}, map[string]any{"name": "b"}))
	if changes := Compare(facts, nil, Memory{Owned: nothing}, want, live); len(changes) > 0 {
		t.Errorf("found %v", changes)
	}
	want = state(domains(map[string]any{"name": "b"}, map[string]any{"name": "c"}))
	changes := Compare(facts, nil, Memory{Owned: nothing}, want, live)
	if len(changes) != 1 {
		t.Fatalf("found %v", changes)
	}
	if diff := cmp.Diff([]any{map[string]any{"name": "b", "verified": true}, map[string]any{"name": "c"}}, changes[0].Diffs[0].Want); diff != "" {
		t.Errorf("to be written (-want +got):\n%s", diff)
	}
	want = state(domains(map[string]any{"name": "a", "verified": true}, map[string]any{"name": "b"}))
	if changes := Compare(facts, nil, Memory{Owned: nothing}, want, live); len(changes) != 1 {
		t.Errorf("found %v", changes)
	}
}

func TestAUserProfileIsWhatItSays(t *testing.T) {
	fact := schema.Fact{As: "profile", Set: true}
	saved := []any{`{"attributes":[{"name":"username","multivalued":false}],"groups":[]}`}
	for text, equal := range map[string]bool{
		`{"attributes": [{"name": "username"}]}`:                                        true,
		`{"groups": [], "attributes": [{"multivalued": false, "name": "username"}]}`:    true,
		`{"attributes": [{"name": "username", "multivalued": true}]}`:                   false,
		`{"attributes": [{"name": "username", "required": {}}]}`:                        false,
		`{"attributes": [{"name": "username"}], "groups": [{"name": "g"}]}`:             false,
		`{"attributes": [{"name": "username"}], "unmanagedAttributePolicy": "ENABLED"}`: false,
		`no profile at all`: false,
	} {
		if same(fact, []any{text}, saved) != equal {
			t.Errorf("%s: same as what the console saved: %v, want %v", text, !equal, equal)
		}
	}
}

func TestAStepOfAWorkflowIsWhatItDoes(t *testing.T) {
	fact := schema.Fact{As: "steps", Ordered: true}
	step := func(with map[string]any) any { return []any{map[string]any{"uses": "notify-user", "with": with}} }
	live := step(map[string]any{"subject": "Hi", "to": []any{"b", "a"}})
	if !same(fact, step(map[string]any{"subject": []any{"Hi"}, "to": []any{"a", "b"}}), live) {
		t.Error("a list of one, and the order of another, differ")
	}
	if same(fact, step(map[string]any{"subject": "Hi", "to": []any{"a"}}), live) {
		t.Error("a receiver more makes no difference")
	}
}
