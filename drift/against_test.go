package drift

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

// declared is a realm of these objects, one address and its fields after the other.
func declaredRealm(objects ...any) *schema.Realm {
	r := &schema.Realm{Ref: schema.RealmRef{Server: "eu", Realm: "acme"}, State: schema.State{}, Complete: map[schema.Address]bool{}, Drift: "correct"}
	for i := 0; i < len(objects); i += 2 {
		a := schema.Address(objects[i].(string))
		r.State[a] = schema.Object{Address: a, Fields: objects[i+1].(map[string]any)}
	}
	return r
}

func TestDeclarationsAreComparedFromBothSides(t *testing.T) {
	facts, kinds, err := schema.Definitions("")
	if err != nil {
		t.Fatal(err)
	}
	type m = map[string]any
	want := declaredRealm("realm", m{"displayName": "Prod"}, "clients/portal", m{"redirectUris": []any{"b", "a"}, "attributes": m{"x": "1"}, "secret": "one"}, "clients/new", m{"clientId": "new"},
		"roles/auditor", m{}, "roles/auditor/composites", m{"composites": m{"realm": []any{"a"}}})
	have := declaredRealm("realm", m{"displayName": "Staging"}, "clients/portal", m{"redirectUris": []any{"a", "b"}, "attributes": m{"x": "1", "y": "2"}, "secret": "other", "name": "Portal"}, "clients/old", m{"clientId": "old"},
		"roles/auditor", m{}, "roles/auditor/composites", m{"composites": m{"realm": []any{"b"}}})
	have.Complete["clients/portal/protocolMappers"] = true
	have.Complete["clients"] = true
	for _, c := range []struct{ allowed, want, warned string }{
		{"", "~ realm#displayName ~ clients/portal#attributes.y clients/portal#name clients/portal#protocolMappers clients/portal#secret ~ roles/auditor/composites#composites.realm ~ spec#exclusive + clients/new - clients/old", ""},
		{"realm clients/*#secret clients/portal#attributes clients/portal#nam spec", "~ clients/portal#name clients/portal#protocolMappers ~ roles/auditor/composites#composites.realm + clients/new - clients/old", "clients/portal#nam"},
		{"clients/* roles/auditor#composites spec#exclusive", "~ realm#displayName", ""},
		{"clients/portal clients/new#clientId clients/gone */*/composites", "~ realm#displayName ~ spec#exclusive + clients/new - clients/old", "clients/new#clientId clients/gone"},
	} {
		var allowed []schema.Difference
		for _, s := range strings.Fields(c.allowed) {
			address, path, _ := strings.Cut(s, "#")
			allowed = append(allowed, schema.Difference{Address: schema.Address(address), Path: path})
		}
		r := Against(facts, kinds, want, have, "staging", allowed)
		var updates, others, warned []string
		for _, change := range r.Changes {
			switch change.Op {
			case Update:
				updates = append(updates, "~")
				for _, d := range change.Diffs {
					updates = append(updates, string(change.Address)+"#"+d.Path)
					if d.Path == "secret" && !d.Secret {
						t.Error("a secret is shown")
					}
				}
			case Create:
				others = append(others, "+ "+string(change.Address))
			case Delete:
				others = append(others, "- "+string(change.Address))
			}
		}
		for _, p := range r.Problems {
			if !p.Warning {
				t.Errorf("%s is no warning", p)
			}
			warned = append(warned, strings.Fields(p.What)[0])
		}
		got := []string{strings.Join(append(updates, others...), " "), strings.Join(warned, " ")}
		if diff := cmp.Diff([]string{c.want, c.warned}, got); diff != "" {
			t.Errorf("allowed %q (-want +got):\n%s", c.allowed, diff)
		}
		if r.Verdict != Differs {
			t.Errorf("allowed %q: %s", c.allowed, r.Verdict)
		}
	}
	if r := Against(facts, kinds, want, want, "staging", nil); r.Verdict != InSync || r.Says != "declared as in staging" {
		t.Errorf("of one declaration twice it says %s: %s", r.Verdict, r.Says)
	}
}
