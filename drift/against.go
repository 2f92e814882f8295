package drift

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Against holds one declaration of a realm against another, of the environment that base names: what is declared there
// and not here differs too, for no server is asked that it could belong to. What differs and is listed as allowed to isn't
// reported, and what is listed and doesn't differ is warned of.
func Against(facts schema.Facts, kinds map[string]schema.Kind, want, have *schema.Realm, base string, allowed []schema.Difference) Report {
	r := Report{Server: want.Ref.Server, Realm: want.Ref.Realm, Objects: len(want.State), Verdict: InSync}
	allowed = slices.DeleteFunc(slices.Clone(allowed), schema.Difference.OfDeployment)
	return r.against(differences(facts, whole(want), whole(have)), kinds, base, allowed)
}

// AgainstDeployment is Against for what manifests write of a deployment.
func AgainstDeployment(want, have *schema.Deployment, base string, allowed []schema.Difference) Report {
	r := Report{Deployment: want.Name, Objects: 1, Verdict: InSync}
	at := want.Written.Address
	other := have.Written
	other.Address = at // it may be called otherwise
	allowed = slices.DeleteFunc(slices.Clone(allowed), func(d schema.Difference) bool { return !d.OfDeployment() || !d.Allows(nil, at, d.Path) })
	return r.against(differences(nil, schema.State{at: want.Written}, schema.State{at: other}), nil, base, allowed)
}

func (r Report) against(changes []Change, kinds map[string]schema.Kind, base string, allowed []schema.Difference) Report {
	used := make([]bool, len(allowed))
	listed := 0
	for _, c := range changes {
		may := func(path string) bool {
			found := false
			for i, d := range allowed {
				if d.Allows(kinds, c.Address, path) {
					used[i], found = true, true
				}
			}
			if found {
				listed++
			}
			return found
		}
		switch c.Op {
		case Create:
			c.Says = "not in " + base
		case Delete:
			c.Says = "only in " + base
		default:
			c.Diffs = slices.DeleteFunc(c.Diffs, func(d Diff) bool { return may(d.Path) })
		}
		if c.Op == Update && len(c.Diffs) > 0 || c.Op != Update && !may("") {
			r.Changes = append(r.Changes, c)
		}
	}
	for i, d := range allowed {
		if !used[i] {
			r.Problems = append(r.Problems, schema.Problem{Origin: d.Origin, What: d.String() + " is listed, and doesn't differ from " + base, Hint: "take it out", Warning: true})
		}
	}
	r.Says = "declared as in " + base
	if listed > 0 {
		r.Says += fmt.Sprintf(", but for %d listed differences", listed)
	}
	if len(r.Changes) > 0 {
		r.Verdict = Differs
		r.Says = Sentence(fmt.Sprintf("from %s: %s", base, SayChanges(r.Changes)))
	}
	return r
}

// whole is a realm's state with what is declared around it: its settings as an object, and of each object which of its
// lists are complete.
func whole(r *schema.Realm) schema.State {
	s := maps.Clone(r.State)
	settings := schema.Object{Address: schema.Settings, Fields: r.Settings(), Origins: r.Settled}
	s[schema.Settings] = settings
	for list, complete := range r.Complete {
		if o, ok := s[list.Parent()]; ok && complete && list.Parent() != schema.RealmAddress {
			o.Fields = with(o.Fields, []string{list.Kind()}, "complete as declared")
			s[o.Address] = o
		}
	}
	return s
}

func differences(facts schema.Facts, want, have schema.State) []Change {
	c := begin(facts, nil, Memory{}, want, have)
	var changes []Change
	for _, a := range want.Addresses() {
		w := want[a]
		h, there := have[a]
		if !there {
			changes = append(changes, Change{Op: Create, Address: a, Want: w, Diffs: c.declared(w, "")})
			continue
		}
		if diffs := c.against(w, h); len(diffs) > 0 {
			changes = append(changes, Change{Op: Update, Address: a, Want: w, Have: h, Diffs: diffs})
		}
	}
	for _, a := range have.Addresses() {
		if _, wanted := want[a]; !wanted {
			changes = append(changes, Change{Op: Delete, Address: a, Have: have[a]})
		}
	}
	return changes
}

// against are the fields of two declarations of an object that differ, or that only one of them declares.
func (c *comparison) against(w, h schema.Object) []Diff {
	var diffs []Diff
	var walk func(at []string, want, have map[string]any)
	walk = func(at []string, want, have map[string]any) {
		names := slices.Sorted(maps.Keys(want))
		for _, name := range slices.Sorted(maps.Keys(have)) {
			if _, both := want[name]; !both {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			at := append(slices.Clip(at), name)
			path := strings.Join(at, ".")
			x, wanted := want[name]
			y, declared := have[name]
			nested, isMap := x.(map[string]any)
			below, areMaps := y.(map[string]any)
			switch {
			case isMap && (areMaps || !declared), areMaps && !wanted:
				walk(at, nested, below)
			case wanted && declared && same(c.facts.Of(w.Address.Kind(), path), x, y):
			default:
				diffs = append(diffs, Diff{Path: path, At: at, Want: x, Have: y, Unset: !wanted, Secret: c.facts.Secret(w, path) || c.facts.Secret(h, path)})
			}
		}
	}
	walk(nil, w.Fields, h.Fields)
	return diffs
}
