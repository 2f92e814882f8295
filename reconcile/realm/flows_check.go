package realm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Obstacles are the changes of flows that can't be made in place, or would take from somebody what is in use: Keycloak
// refuses some of them half-way, and does harm by others. Want and the changes are aligned. What can be had by building a
// flow beside the one that is there isn't a problem: the flows to be retired for it are returned by what they are called
// now, with the reasons. Only flows that are declared, or owned, are.
func Obstacles(live Live, want schema.State, changes []drift.Change, owned map[schema.Address]bool) ([]schema.Problem, map[schema.Address][]string) {
	o := obstacles{want: want, have: schema.State{}, changes: map[schema.Address]drift.Change{}, owned: owned,
		from: map[schema.Address]schema.Address{}, retire: map[schema.Address][]string{}}
	var renames []drift.Change
	for _, c := range changes {
		o.changes[c.Address] = c
		if _, retired := live.Retired[c.Address]; c.Op == drift.Rename && !retired {
			renames = append(renames, c)
		}
	}
	for a, object := range Aligned(want, live.State, append(live.Rebinding(want), renames...)) {
		object.Address = moved(a, renames)
		o.have[object.Address], o.from[object.Address] = object, a
	}
	o.wanted, o.flows = flowsAmong(want), flowsAmong(o.have)
	for _, a := range want.Addresses() {
		switch a.Kind() {
		case "authenticationFlows":
			o.flow(a)
		case "authenticatorConfig":
			o.config(a)
		}
		o.bindings(a)
	}
	for _, c := range changes {
		if r, retired := live.Retired[c.Address]; retired && r.Successor(want) == "" {
			o.bound(r.Of)
		} else if !retired && c.Op == drift.Delete && c.Address.Kind() == "authenticationFlows" && !o.bound(c.Address) {
			if binders := binders(o.have, c.Address); len(binders) > 0 {
				o.beside(c.Address, "it was "+binders[0])
			}
		}
	}
	return schema.SortProblems(o.found), o.retire
}

// beside has the flow in which an address stands retired, and tells whether that can be done.
func (o *obstacles) beside(a schema.Address, why string) bool {
	for in, held := holder(o.flows, a); held; in, held = holder(o.flows, a) {
		a = in
	}
	root := o.have[a]
	_, declared := o.want[a]
	if root.Fields["builtIn"] == true || root.Fields["topLevel"] == false || !declared && !o.owned[o.from[a]] || root.ID == "" {
		return false
	}
	for part := range parts(o.flows, a) {
		if len(retiredAlias(part.Name(), root.ID)) > longestAlias {
			return false
		}
	}
	if !slices.Contains(o.retire[o.from[a]], why) {
		o.retire[o.from[a]] = append(o.retire[o.from[a]], why)
	}
	return true
}

type obstacles struct {
	want, have schema.State // have under the names that it will have, as the changes call it
	changes    map[schema.Address]drift.Change
	owned      map[schema.Address]bool
	from       map[schema.Address]schema.Address // where have's objects stand now
	found      []schema.Problem
	retire     map[schema.Address][]string

	wanted, flows schema.State // the flows in want and have
}

func flowsAmong(s schema.State) schema.State {
	flows := maps.Clone(s)
	maps.DeleteFunc(flows, func(a schema.Address, _ schema.Object) bool { return a.Kind() != "authenticationFlows" })
	return flows
}

func (o *obstacles) problem(at schema.Object, path, hint, format string, args ...any) {
	origin, ok := at.Origins[path]
	if !ok {
		origin = at.Origin
	}
	o.found = append(o.found, schema.Problem{Origin: origin, What: fmt.Sprintf(format, args...), Hint: hint})
}

// holder is the flow among some in which a flow stands, or shall stand.
func holder(s schema.State, a schema.Address) (schema.Address, bool) {
	for _, in := range s.Addresses() {
		if slices.ContainsFunc(listed(s[in]), func(x execution) bool { return x.flow != "" && flowAt(x.flow) == a }) {
			return in, true
		}
	}
	return "", false
}

// flow looks at one that is declared.
func (o *obstacles) flow(a schema.Address) {
	w, h := o.want[a], o.have[a]
	_, live := o.have[a]
	c, changed := o.changes[a]
	_, held := holder(o.wanted, a)
	if !live && !held && w.Fields["topLevel"] == false {
		o.problem(w, "topLevel", "name it as flowAlias in an execution of another flow, or set topLevel: true", "%s stands in no flow", a)
	}
	if held && w.Fields["topLevel"] == true {
		o.problem(w, "topLevel", "set topLevel: false", "%s is declared as a flow of its own, and another names it", a)
	}
	if live && changed {
		for _, d := range c.Diffs {
			if (d.Path == "providerId" || d.Path == "topLevel") && !o.beside(a, fmt.Sprintf("%s of %s can't be changed", d.Path, a.Name())) {
				o.problem(w, d.Path, "declare a flow with another alias, bind it in a commit, and leave this one out in the next",
					"%s.%s is %v and can't be changed while people log in by it", a, d.Path, d.Have)
			}
			if len(d.At) == 3 && d.At[2] == "authenticator" && slices.ContainsFunc(listed(h), func(x execution) bool { return x.key == d.At[1] }) &&
				!o.beside(a, fmt.Sprintf("the authenticator of %s can't be changed", d.At[1])) {
				o.problem(w, executions, "give the flow that it stands for another alias", "%s: the authenticator of %s can't be changed", a, d.At[1])
			}
		}
	}
	if w.Fields[executions] == nil {
		return
	}
	if live && h.Fields["builtIn"] == true && differentKeys(listed(w), listed(h)) {
		o.problem(w, executions, "declare a flow with another alias, and bind that",
			"%s is built in: Keycloak lets nobody add executions to it or remove any; order, requirements and configurations can change", a)
	}
	list := listed(w)
	for i, x := range list {
		if before := slices.IndexFunc(list, func(y execution) bool { return y.key == x.key }); before < i {
			o.problem(w, executions, "give each a flow of its own", "%s stands in %s twice", flowAt(x.flow), a)
			continue
		}
		o.execution(a, i, x)
	}
}

func differentKeys(a, b []execution) bool {
	in := func(list []execution) func(execution) bool {
		return func(x execution) bool {
			return slices.ContainsFunc(list, func(y execution) bool { return x.key == y.key })
		}
	}
	return len(a) != len(b) || slices.ContainsFunc(a, func(x execution) bool { return !in(b)(x) })
}

// execution looks at one that is declared, the i-th of its flow.
func (o *obstacles) execution(in schema.Address, i int, x execution) {
	w := o.want[in]
	if strings.HasPrefix(x.key, nameless) {
		o.problem(w, executions, "", "%s.%s[%d] has neither authenticator nor flowAlias", in, executions, i)
		return
	}
	if x.requirement == "" {
		o.problem(w, executions, "REQUIRED, ALTERNATIVE, CONDITIONAL or DISABLED", "%s: %s has no requirement", in, x.key)
	}
	_, changes := o.changes[in]
	if x.flow != "" {
		sub := flowAt(x.flow)
		at, lives := holder(o.flows, sub)
		first, _ := holder(o.wanted, sub)
		_, live := o.have[sub]
		switch {
		case first != in:
			o.problem(w, executions, "give each a flow of its own", "%s stands in %s and again in %s", sub, first, in)
		case lives && at != in && (!changes || o.beside(at, fmt.Sprintf("%s can't be moved to %s", x.flow, in.Name()))):
		case lives && at != in:
			o.problem(w, executions, "give it another alias here: flows are not moved while people log in by them", "%s stands in %s, and can't be moved to %s", sub, at, in)
		case live && !lives && (!changes || o.beside(sub, fmt.Sprintf("%s can't become a part of %s", x.flow, in.Name()))):
		case live && !lives:
			o.problem(w, executions, "give it another alias here", "%s is a flow of its own, and can't be made a part of %s", sub, in)
		}
	}
	if x.config == "" {
		return
	}
	config := configAt(x.config)
	at, key, used := user(o.flows, config)
	first, firstKey, _ := user(o.wanted, config)
	_, declared := o.want[config]
	switch {
	case used && at == in && key == x.key:
	case first != in || firstKey != x.key:
		o.problem(w, executions, "give each a configuration of its own: Keycloak deletes one together with its execution", "%s is used by %s in %s and again by %s in %s", config, firstKey, first, x.key, in)
	case used && (!changes || o.beside(at, fmt.Sprintf("%s can't be moved to %s", x.config, in.Name()))):
	case used:
		o.problem(w, executions, "give it another alias here", "%s belongs to %s in %s, and can't be moved to %s in %s", config, key, at, x.key, in)
	case !declared:
		o.problem(w, executions, "declare it below authenticatorConfig, or correct the name", "%s names %s, which neither the manifests nor Keycloak have", in, config)
	}
}

// user is the execution in one of the flows that a configuration belongs to.
func user(s schema.State, config schema.Address) (in schema.Address, key string, used bool) {
	for _, a := range s.Addresses() {
		for _, x := range listed(s[a]) {
			if x.config != "" && configAt(x.config) == config {
				return a, x.key, true
			}
		}
	}
	return "", "", false
}

// config looks at a declared configuration.
func (o *obstacles) config(a schema.Address) {
	_, live := o.have[a]
	_, _, used := user(o.wanted, a)
	if c := o.changes[a]; c.Op == drift.Create && masked(c.Want) {
		o.problem(o.want[a], "config", "declare it, with what Keycloak shows as asterisks", "%s is to be made anew, and not all that it holds can be read", a)
	}
	if !used && !live {
		o.problem(o.want[a], "alias", "name it as authenticatorConfig in an execution of a declared flow", "%s belongs to no execution", a)
	}
	if at, _, _ := user(o.flows, a); live && !used && o.want[at].Fields[executions] != nil {
		o.problem(o.want[a], "alias", "name it there, or leave it out", "%s is declared, but %s no longer names it", a, at)
	}
}

// bindings looks at the flows that an object names: only flows of their own can be bound.
func (o *obstacles) bindings(a schema.Address) {
	if a.Kind() == "authenticationFlows" {
		return
	}
	for path, flow := range flowsOf(o.want[a]) {
		in, held := holder(o.wanted, flow)
		if !held {
			in, held = holder(o.flows, flow)
		}
		if held {
			o.problem(o.want[a], path, "name a flow that stands in no other", "%s.%s names %s, which is a part of %s", a, path, flow, in)
		}
	}
}

// bound tells who would go on naming a flow that is to be deleted, and whether anybody would.
func (o *obstacles) bound(gone schema.Address) (bound bool) {
	for _, a := range o.have.Addresses() {
		if a.Kind() == "authenticationFlows" {
			continue
		}
		if c, ok := o.changes[a]; ok && c.Op == drift.Delete {
			continue
		}
		after := o.after(a)
		for _, path := range slices.Sorted(maps.Keys(flowsOf(after))) {
			if flowsOf(after)[path] == gone {
				bound = true
				o.problem(schema.Object{Origin: o.want[a].Origin}, "", "bind another flow in its place: "+path, "%s is no longer declared, and still the %s of %s", gone, path, a)
			}
		}
	}
	return bound
}

// after is an object with the bindings that it will have.
func (o *obstacles) after(a schema.Address) schema.Object {
	after := o.have[a]
	after.Fields = deepCopy(after.Fields)
	if c, ok := o.changes[a]; ok {
		merge(after.Fields, c.Diffs, false)
	}
	return after
}
