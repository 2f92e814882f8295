package realm

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Retired is a flow that has made room for another: it was renamed in place with all that stands in it, so that whoever is
// signing in goes on, until nobody is bound to it and nobody can be signing in by it any more. Its new name holds the old
// one, and its description since when nobody is bound to it: what is known of it stands on the server, but for its being
// ours, which the ledger holds as of any other object.
type Retired struct {
	Of    schema.Address // what it was called
	From  schema.Address // where it stands still, if this pass is to retire it
	Since time.Time      // when it was found that nobody is bound to it; zero before
	Parts schema.State   // it, and the flows and configurations in it, under the names that they had
	Why   []string       // what couldn't be done otherwise, if this pass is to retire it
}

// longestAlias is how long an alias may be; Keycloak answers 500 to a longer one.
const longestAlias = 255

// reserved are the characters that Keycloak refuses in the new alias of a flow, though it may have made one with them.
const reserved = `:/?#[]@!$&'()*+,;=<>%"\{}|^` + "`~"

var retiredName = regexp.MustCompile(`^(.*) retired-[0-9a-f]{8}$`)

// retiredAlias is what a flow or a configuration is called once the flow with the id, in which it stands, is retired.
func retiredAlias(alias, id string) string {
	var b strings.Builder
	for i := range len(alias) {
		if strings.IndexByte(reserved, alias[i]) >= 0 {
			fmt.Fprintf(&b, "_%02X", alias[i])
		} else if b.WriteByte(alias[i]); alias[i] == '_' {
			b.WriteByte('_')
		}
	}
	return b.String() + " retired-" + id[:min(8, len(id))]
}

var escaped = regexp.MustCompile(`_(_|[0-9A-F]{2})`)

// formerAlias is the alias before retirement; false where there was none.
func formerAlias(alias string) (string, bool) {
	found := retiredName.FindStringSubmatch(alias)
	if found == nil {
		return alias, false
	}
	return escaped.ReplaceAllStringFunc(found[1], func(s string) string {
		var c byte
		if _, err := fmt.Sscanf(s, "_%02X", &c); err != nil {
			return "_"
		}
		return string([]byte{c})
	}), true
}

// IsRetired tells whether an address is one that retired flows have.
func IsRetired(a schema.Address) bool {
	_, retired := formerAlias(a.Name())
	return retired && a.Kind() == "authenticationFlows"
}

func formerly(a schema.Address) schema.Address {
	alias, _ := formerAlias(a.Name())
	return schema.Join(a.Parent(), a.Kind(), alias)
}

const stamp = "Retired by cloakwork at "

// retiredSince is what the description of a flow says about when nobody was bound to it any longer.
func retiredSince(description string) time.Time {
	text, ok := strings.CutPrefix(description, stamp)
	text, _, _ = strings.Cut(text, " ")
	since, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil {
		return time.Time{}
	}
	return since
}

func retiredDescription(now time.Time) string {
	return stamp + now.UTC().Format(time.RFC3339) + " when nobody was bound to it. It goes when nobody can be signing in by it any more."
}

// LoginLifespan is how long somebody may take to sign in.
func (l Live) LoginLifespan() time.Duration {
	seconds, _ := number(l.State[schema.RealmAddress].Fields["accessCodeLifespanLogin"])
	return time.Duration(max(0, seconds)) * time.Second
}

// parts are a flow and what stands in it.
func parts(s schema.State, root schema.Address) schema.State {
	found := schema.State{}
	var walk func(a schema.Address)
	walk = func(a schema.Address) {
		o, ok := s[a]
		if _, seen := found[a]; !ok || seen {
			return
		}
		found[a] = o
		for _, x := range listed(o) {
			if x.flow != "" {
				walk(flowAt(x.flow))
			}
			if config := configAt(x.config); x.config != "" && s[config].Fields != nil {
				found[config] = s[config]
			}
		}
	}
	walk(root)
	return found
}

// Parts are a flow and what stands in it.
func (l Live) Parts(root schema.Address) schema.State { return parts(l.State, root) }

// Retire is the realm with a flow out of the way, as it will be.
func (l Live) Retire(root schema.Address, why ...string) Live {
	flow := l.State[root]
	to := flowAt(retiredAlias(root.Name(), flow.ID))
	l = l.putAway(root, to, Retired{Of: root, From: root, Why: why})
	now := func(alias string) string {
		if alias == root.Name() {
			return to.Name()
		}
		return alias
	}
	for a, o := range l.State {
		if a.Kind() != "authenticationFlows" && len(flowsOf(o)) > 0 {
			l.State[a] = rebound(o, now)
		}
	}
	return l
}

// putAway takes out of the state what stands in a flow, and leaves there only itself, under its new name.
func (l Live) putAway(root, to schema.Address, r Retired) Live {
	l.State, l.Retired = maps.Clone(l.State), maps.Clone(l.Retired)
	if l.Retired == nil {
		l.Retired = map[schema.Address]Retired{}
	}
	flow := l.State[root]
	r.Parts = schema.State{}
	for a, o := range parts(l.State, root) {
		delete(l.State, a)
		o.Address = formerly(a)
		r.Parts[o.Address] = unretired(o)
	}
	flow.Address, flow.Fields = to, without(maps.Clone(flow.Fields), executions)
	l.State[to], l.Retired[to] = flow, r
	return l
}

// unretired is an object with the former names of what it names.
func unretired(o schema.Object) schema.Object {
	o.Fields = maps.Clone(o.Fields)
	o.Fields["alias"] = o.Address.Name()
	list, _ := o.Fields[executions].([]any)
	if list == nil {
		return o
	}
	var named []any
	for _, e := range list {
		fields, _ := e.(map[string]any)
		fields = without(maps.Clone(fields), "id")
		for _, name := range []string{"flowAlias", "authenticatorConfig"} {
			if alias := text(fields[name]); alias != "" {
				fields[name], _ = formerAlias(alias)
			}
		}
		named = append(named, fields)
	}
	o.Fields[executions] = named
	return o
}

// FindRetired is the realm with the flows put away that earlier passes of the source retired.
func (l Live) FindRetired(owned map[schema.Address]bool, want schema.State) Live {
	for a := range owned {
		former, ok := formerAlias(a.Name())
		o, live := l.State[a]
		if _, wanted := want[a]; !ok || !live || wanted || a.Kind() != "authenticationFlows" {
			continue
		}
		l = l.putAway(a, a, Retired{Of: flowAt(former), Since: retiredSince(text(o.Fields["description"]))})
	}
	return l
}

// Successor is the declared flow that takes the place of a retired one; "" where none does.
func (r Retired) Successor(want schema.State) schema.Address {
	if _, ok := want[r.Of]; ok {
		return r.Of
	}
	for _, a := range want.Addresses() {
		if a.Kind() == r.Of.Kind() && slices.ContainsFunc(want[a].Was, func(was string) bool { return drift.Former(a, was) == r.Of }) {
			return a
		}
	}
	return ""
}

// Rebinding are renames by which whoever is bound to a retired flow is seen bound to what takes its place: a pass binds
// them to it without being asked for each.
func (l Live) Rebinding(want schema.State) []drift.Change {
	var renames []drift.Change
	for a, r := range l.Retired {
		to := r.Successor(want)
		if to == "" {
			to = r.Of
		}
		renames = append(renames, drift.Change{Op: drift.Rename, From: a, Address: to})
	}
	return renames
}

// Binders are those that name a flow, as the realm was when it was read: the browserFlow of realm.
func (l Live) Binders(flow schema.Address) []string { return binders(l.State, flow) }

func binders(s schema.State, flow schema.Address) []string {
	var found []string
	for _, a := range s.Addresses() {
		if a.Kind() == "authenticationFlows" {
			continue
		}
		named := flowsOf(s[a])
		for _, path := range slices.Sorted(maps.Keys(named)) {
			if named[path] == flow {
				found = append(found, fmt.Sprintf("the %s of %s", path, a))
			}
		}
	}
	return found
}

// Rebuilt are the flows and configurations that take the place of a retired flow, of which some may be there already.
func (l Live) Rebuilt(want schema.State) map[schema.Address]schema.Address {
	rebuilt := map[schema.Address]schema.Address{}
	for a, r := range l.Retired {
		if !r.Since.IsZero() {
			continue
		}
		for part := range r.Parts {
			rebuilt[part] = a
		}
		for part := range parts(want, r.Successor(want)) {
			rebuilt[part] = a
		}
	}
	return rebuilt
}

// Completed is what is declared, with what the manifests leave to the server in flows that are built anew: it shall be as
// it was.
func (l Live) Completed(want schema.State) schema.State {
	completed := maps.Clone(want)
	for _, a := range slices.Sorted(maps.Keys(l.Retired)) {
		if r := l.Retired[a]; r.Since.IsZero() && r.Successor(want) != "" {
			complete(completed, r.Successor(want), r.Of, r.Parts, want[r.Successor(want)].Origin, map[schema.Address]bool{})
		}
	}
	return completed
}

func complete(want schema.State, a, was schema.Address, parts schema.State, origin schema.Origin, seen map[schema.Address]bool) {
	if seen[a] {
		return
	}
	seen[a] = true
	w, declared := want[a]
	before := parts[was]
	fields := maps.Clone(w.Fields)
	if !declared {
		w, fields = schema.Object{Address: a, Origin: origin}, map[string]any{"alias": a.Name()}
	}
	for _, name := range []string{"description", "providerId", executions} {
		if _, said := fields[name]; !said && before.Fields[name] != nil {
			fields[name] = before.Fields[name]
		}
	}
	if !declared {
		fields["topLevel"] = false
	}
	w.Fields = fields
	want[a] = w
	for _, x := range listed(w) {
		if sub := flowAt(x.flow); x.flow != "" && sub != a && (parts[sub].Fields != nil || want[sub].Fields != nil) {
			complete(want, sub, sub, parts, w.Origin, seen)
		}
		config := configAt(x.config)
		if _, said := want[config]; x.config != "" && !said && parts[config].Fields != nil {
			want[config] = schema.Object{Address: config, Origin: w.Origin, Fields: without(maps.Clone(parts[config].Fields), "id")}
		}
	}
}
