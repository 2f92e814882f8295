package drift

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/schema"
)

var facts = schema.Facts{
	"clients": {"redirectUris": {Set: true, Empty: true}, "secret": {Secret: true}, "attributes": {Map: true}, "attributes.*": {Empty: true},
		"attributes.pin": {WriteOnly: true}, "initial": {Create: true}},
	"roles": {"description": {Empty: true}},
}

// state is objects written as address: field=value …
func state(lines ...string) schema.State {
	s := schema.State{}
	for _, line := range lines {
		address, rest, _ := strings.Cut(line, ":")
		o := schema.Object{Address: schema.Address(address), Fields: map[string]any{}, ID: "id of " + address}
		for word := range strings.FieldsSeq(rest) {
			path, value, _ := strings.Cut(word, "=")
			switch key, isAttribute := strings.CutPrefix(path, "attributes."); {
			case path == "$was":
				o.Was = append(o.Was, value)
			case isAttribute:
				if o.Fields["attributes"] == nil {
					o.Fields["attributes"] = map[string]any{}
				}
				o.Fields["attributes"].(map[string]any)[key] = value
			case strings.Contains(value, ","):
				list := []any{}
				for v := range strings.SplitSeq(value, ",") {
					list = append(list, v)
				}
				o.Fields[path] = list
			default:
				o.Fields[path] = value
			}
		}
		s[o.Address] = o
	}
	return s
}

func said(changes []Change) string {
	var lines []string
	for _, c := range changes {
		line := fmt.Sprintf("%s %s %s", c.Op, c.Address, c.Cause)
		if c.From != "" {
			line += " from " + string(c.From)
		}
		if c.Op != Create {
			for _, d := range c.Diffs {
				line += fmt.Sprintf(" %s:%v→%v(%s)", d.Path, d.Have, d.Want, d.Cause)
			}
		}
		if c.Says != "" {
			line += " [" + c.Says + "]"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name             string
		base, want, have []string
		noBase           bool
		owned            string
		changes          string
	}{
		{name: "nothing declared, nothing owned", have: []string{"clients/a: x=1"}},
		{name: "as declared", want: []string{"clients/a: redirectUris=u,v"}, have: []string{"clients/a: redirectUris=v,u other=1"}},
		{name: "a new declaration", want: []string{"clients/a: x=1"}, changes: "create clients/a commit"},
		{name: "gone from the server", base: []string{"clients/a: x=1"}, want: []string{"clients/a: x=1"}, changes: "create clients/a drift"},
		{name: "the declaration moved", base: []string{"clients/a: x=1"}, want: []string{"clients/a: x=2"}, have: []string{"clients/a: x=1"},
			changes: "update clients/a commit x:1→2(commit)"},
		{name: "the server moved", base: []string{"clients/a: x=1"}, want: []string{"clients/a: x=1"}, have: []string{"clients/a: x=2"},
			changes: "update clients/a drift x:2→1(drift)"},
		{name: "both moved", base: []string{"clients/a: x=1"}, want: []string{"clients/a: x=2"}, have: []string{"clients/a: x=3"},
			changes: "update clients/a both x:3→2(both)"},
		{name: "one field moved here, another there", base: []string{"clients/a: x=1 y=1"}, want: []string{"clients/a: x=2 y=1"}, have: []string{"clients/a: x=1 y=5"},
			changes: "update clients/a both x:1→2(commit) y:5→1(drift)"},
		{name: "nobody knows what moved", noBase: true, want: []string{"clients/a: x=1", "clients/b:"}, have: []string{"clients/a: x=2"},
			changes: "update clients/a unknown x:2→1(unknown)\ncreate clients/b unknown"},
		{name: "a field that was let go stays", base: []string{"clients/a: x=1 y=1"}, want: []string{"clients/a: y=1"}, have: []string{"clients/a: x=1 y=1"}},
		{name: "a map key of ours goes", base: []string{"clients/a: attributes.k=1"}, want: []string{"clients/a:"}, have: []string{"clients/a: attributes.k=1 attributes.foreign=2"},
			owned: "clients/a clients/a#attributes.k", changes: "update clients/a commit attributes.k:1→<nil>(commit)"},
		{name: "a dotted map key of ours goes", base: []string{"clients/a: attributes.a.b.c=1"}, want: []string{"clients/a:"}, have: []string{"clients/a: attributes.a.b.c=1 attributes.a.b=2"},
			owned: "clients/a#attributes.a.b.c", changes: "update clients/a commit attributes.a.b.c:1→<nil>(commit)"},
		{name: "what is ours and no longer declared goes", base: []string{"clients/a:", "clients/b:"}, want: []string{"clients/b:"}, have: []string{"clients/a:", "clients/b:", "clients/c:"},
			owned: "clients/a clients/b", changes: "delete clients/a commit"},
		{name: "a stranger in a complete list goes", want: []string{"clients/b:"}, have: []string{"clients/b:", "clients/c:"},
			base: []string{"clients/b:"}, owned: "clients/c", changes: "delete clients/c drift"},
		{name: "what goes with its parent isn't listed", base: []string{"clients/a:", "clients/a/roles/r:"}, have: []string{"clients/a:", "clients/a/roles/r:", "clients/a/roles/foreign:"},
			owned: "clients/a clients/a/roles/r", changes: "delete clients/a commit"},
		{name: "deletes come last, children first", base: []string{"roles/x:"}, want: []string{"roles/z:"}, have: []string{"roles/x: a=1", "roles/y: a=1"}, owned: "roles/x roles/y",
			changes: "create roles/z commit\ndelete roles/y drift\ndelete roles/x commit"},
		{name: "a secret that nobody can read is written once", base: []string{}, want: []string{"clients/a: attributes.pin=1"}, have: []string{"clients/a: attributes.pin=**********"},
			changes: "update clients/a commit attributes.pin:**********→1(commit)"},
		{name: "and not again", base: []string{"clients/a: attributes.pin=1"}, want: []string{"clients/a: attributes.pin=1"}, have: []string{"clients/a: attributes.pin=**********"},
			owned: "clients/a#attributes.pin"},
		{name: "but by a commit that changes it", base: []string{"clients/a: attributes.pin=1"}, want: []string{"clients/a: attributes.pin=2"}, have: []string{"clients/a: attributes.pin=**********"},
			owned: "clients/a#attributes.pin", changes: "update clients/a commit attributes.pin:**********→2(commit)"},
		{name: "a value for creation only is never compared", want: []string{"clients/a: initial=1"}, have: []string{"clients/a:"}},
		{name: "a rename keeps what stands below", base: []string{"clients/old:", "clients/old/roles/r: x=1"}, want: []string{"clients/new: x=1 $was=old", "clients/new/roles/r: x=1"},
			have:    []string{"clients/old: x=1", "clients/old/roles/r: x=1", "clients/old/roles/gone:"},
			owned:   "clients/old clients/old/roles/r clients/old/roles/gone",
			changes: "rename clients/new commit from clients/old\ndelete clients/new/roles/gone drift"},
		{name: "a rename that was done is none", want: []string{"clients/new: $was=old"}, have: []string{"clients/new:"}},
		{name: "a former name that is declared again is left alone", want: []string{"clients/new: $was=old", "clients/old:"}, have: []string{"clients/old:"},
			changes: "create clients/new commit"},
		{name: "a group moves under a renamed one", want: []string{"groups/people: $was=staff", "groups/guests:", "groups/guests/groups/emea: $was=/staff/emea"},
			have:    []string{"groups/staff:", "groups/staff/groups/emea:", "groups/guests:"},
			changes: "rename groups/guests/groups/emea commit from groups/staff/groups/emea\nrename groups/people commit from groups/staff"},
		{name: "and also after a crash between the two", want: []string{"groups/people: $was=staff", "groups/guests:", "groups/guests/groups/emea: $was=/staff/emea"},
			have:    []string{"groups/people:", "groups/people/groups/emea:", "groups/guests:"},
			changes: "rename groups/guests/groups/emea commit from groups/people/groups/emea"},
		{name: "what looks like a rename is said", base: []string{"clients/old: x=1 y=2"}, want: []string{"clients/new: x=1 y=2"}, have: []string{"clients/old: x=1 y=2"}, owned: "clients/old",
			changes: "create clients/new commit [looks like a rename of old: use $was]\ndelete clients/old commit [looks like a rename to new: use $was]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := state(c.base...)
			if c.noBase {
				base = nil
			}
			owned := func(a schema.Address) bool { return strings.Contains(" "+c.owned+" ", " "+string(a)+" ") }
			have := state(c.have...)
			got := said(Compare(facts, base, Memory{Owned: owned}, state(c.want...), have))
			if got != c.changes {
				t.Errorf("changes\n%s\nwant\n%s", got, c.changes)
			}
			if len(have) != len(c.have) {
				t.Error("the live state was changed")
			}
		})
	}
}

func TestSecretsAreMarkedAndNeverShown(t *testing.T) {
	want := state("clients/a: secret=hunter2 name=A", "clients/b: secret=hunter3", "clients/c: name=fromenv")
	c := want["clients/c"]
	c.Inputs = map[string]bool{"name": true}
	want["clients/c"] = c
	changes := Compare(facts, schema.State{}, Memory{Owned: func(schema.Address) bool { return false }}, want, state("clients/a: secret=old-hunter", "clients/c: name=before"))
	report := Report{Server: "eu", Realm: "acme", Changes: changes, Verdict: Pending, Says: SayChanges(changes)}
	var out strings.Builder
	for _, write := range []func() error{
		func() error { return Text(&out, report, nil) },
		func() error { return JSON(&out, []Report{report}) },
		func() error { return Markdown(&out, []Report{report}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	for _, secret := range []string{"hunter", "fromenv", "before"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is shown in\n%s", secret, out.String())
		}
	}
	if !strings.Contains(out.String(), "(secret) → (another secret)") {
		t.Errorf("the change of a secret isn't shown in\n%s", out.String())
	}
}

func TestMarkdownSaysWhyAChangeWasNotMade(t *testing.T) {
	report := Report{Changes: []Change{
		{Op: Update, Address: "clients/a", Outcome: Failed, Says: "missing role manage-clients: a | b"},
		{Op: Delete, Address: "clients/b", Says: "looks like a rename to c: use $was"},
	}}
	var out strings.Builder
	if err := Markdown(&out, []Report{report}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| failed: missing role manage-clients: a \\| b |\n", "| looks like a rename to c: use $was |\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q in\n%s", want, out.String())
		}
	}
}

func TestAFormerSecretIsHidden(t *testing.T) {
	base := state("clients/a: attributes.k=hunter2 plain=hunter2 attributes.open=shown", "clients/old: plain=hunter2")
	for a, path := range map[schema.Address]string{"clients/a": "attributes.k", "clients/old": "plain"} {
		o := base[a]
		o.Inputs = map[string]bool{path: true, "plain": true}
		base[a] = o
	}
	have := state("clients/a: attributes.k=hunter2 plain=hunter2 attributes.open=shown", "clients/old: plain=hunter2")
	owned := func(schema.Address) bool { return true }
	for _, c := range []struct {
		name string
		base schema.State
		want string
		show bool // what was never a secret
	}{
		{"the key is dropped", base, "clients/a: plain=public", true},
		{"and nobody knows what it was", nil, "clients/a:", false},
		{"and it was not known before", schema.State{}, "clients/a:", false},
		{"a literal takes its place", base, "clients/a: attributes.k=public plain=public", true},
		{"its object is renamed", base, "clients/new: plain=public $was=old", false},
	} {
		report := Report{Changes: Compare(facts, c.base, Memory{Owned: owned}, state(c.want), have), Verdict: Pending}
		var out strings.Builder
		if err := Text(&out, report, nil); err != nil {
			t.Fatal(err)
		}
		if err := JSON(&out, []Report{report}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "(secret)") {
			t.Errorf("%s: the secret that was is shown in\n%s", c.name, out.String())
		}
		if got := strings.Contains(out.String(), `"shown" → (none)`); got != c.show {
			t.Errorf("%s: what was no secret is shown: %v, want %v, in\n%s", c.name, got, c.show, out.String())
		}
	}
}

func TestAChangeIsTakenApartByWhoMoved(t *testing.T) {
	for _, c := range []struct {
		name             string
		base, want, have string
		asked, fields    string // fields are those that asked wants
		moved            string
	}{
		{"a commit alone", "clients/a: x=1", "clients/a: x=2", "clients/a: x=1", "update clients/a commit x:1→2(commit)", "map[x:2]", ""},
		{"drift alone", "clients/a: x=1", "clients/a: x=1", "clients/a: x=5", "update clients/a drift x:5→1(drift)", "map[x:1]", ""},
		{"one field each", "clients/a: x=1 y=1 attributes.k=1 attributes.l=1", "clients/a: x=2 y=1 attributes.k=1 attributes.l=2",
			"clients/a: x=1 y=5 attributes.k=6 attributes.l=1",
			"update clients/a commit attributes.l:1→2(commit) x:1→2(commit)", "map[attributes:map[k:6 l:2] x:2 y:5]",
			"update clients/a drift attributes.k:6→1(drift) y:5→1(drift)"},
		{"both in one field", "clients/a: x=1 y=1", "clients/a: x=2 y=1", "clients/a: x=3 y=5",
			"update clients/a both x:3→2(both)", "map[x:2 y:5]", "update clients/a drift y:5→1(drift)"},
		{"what is gone stays gone", "clients/a: x=1 attributes.k=1", "clients/a: x=2 attributes.k=1", "clients/a: x=1",
			"update clients/a commit x:1→2(commit)", "map[x:2]", "update clients/a drift attributes.k:<nil>→1(drift)"},
		{"a rename", "clients/old: y=1", "clients/a: y=1 $was=old", "clients/old: y=5",
			"rename clients/a commit from clients/old", "map[y:5]", "update clients/a drift y:5→1(drift)"},
		{"an object that is gone", "clients/a: x=1", "clients/a: x=1", "roles/b:", "create clients/a drift", "map[x:1]", ""},
	} {
		changes := Compare(facts, state(c.base), Memory{Owned: func(schema.Address) bool { return false }}, state(c.want), state(c.have))
		before := said(changes)
		asked, moved, ok := changes[0].Apart()
		if got := said([]Change{asked}); got != c.asked {
			t.Errorf("%s: asked %s, want %s", c.name, got, c.asked)
		}
		if got := fmt.Sprint(asked.Want.Fields); got != c.fields {
			t.Errorf("%s: wants %s, want %s", c.name, got, c.fields)
		}
		if ok != (c.moved != "") || ok && said([]Change{moved}) != c.moved {
			t.Errorf("%s: moved %v %s, want %s", c.name, ok, said([]Change{moved}), c.moved)
		}
		if said(changes) != before {
			t.Errorf("%s: the change itself became %s", c.name, said(changes))
		}
	}
}

func TestSentencesFitAStatus(t *testing.T) {
	long := Sentence(strings.Repeat("clients/portal, ", 40))
	if n := len([]rune(long)); n != Longest || !strings.HasSuffix(long, "…") {
		t.Errorf("a long sentence has %d runes: %q", n, long)
	}
	if got, want := Sentence("a\nb\x1b[31m \u202eevil"), `a b\u001b[31m \u202eevil`; got != want {
		t.Errorf("escaped %q, want %q", got, want)
	}
}
