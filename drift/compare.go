package drift

import (
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Compare lists what must change for have to become want, parents first, deletes last. Only declared fields are
// compared: what a manifest leaves out belongs to the server. Only owned objects are deleted: what we never made is not
// ours to remove.
//
// Base is what was declared when this source was last applied: it tells a commit from drift. Nil means that it can't be
// read, and every cause is unknown.
func Compare(facts schema.Facts, base schema.State, memory Memory, want, have schema.State) []Change {
	c := begin(facts, base, memory, want, have)
	var changes []Change
	for _, a := range want.Addresses() {
		if change, ok := c.wanted(want[a]); ok {
			changes = append(changes, change)
		}
	}
	changes = append(changes, c.surplus()...)
	suggestRenames(facts, changes)
	return changes
}

// Memory is what a comparison knows of the past beside what was declared then. Its predicates are asked about keys as Key
// makes them: identityProviders/google#config.clientSecret.
type Memory struct {
	// Owned tells what this source made or took over: addresses, and the keys of open maps. It also answers true for a
	// stranger in a list that is complete as declared, and never for what Keycloak made itself.
	Owned func(schema.Address) bool
	// Written tells whether a value that can't be read back is the one that was last written; nil where nobody remembers,
	// and what was declared before has to tell.
	Written func(key schema.Address, v any) bool
	// Input tells whether the value that stands on the server may have come from $(…); nil where nobody wrote that down, and
	// all may that was not declared before.
	Input func(key schema.Address) bool
	// Given are the elements that the server put by itself into a list that it uses up, of an object which this source was
	// about to make when a pass ended early; nil where nobody asks.
	Given func(key schema.Address) []any
}

// Renames are the renames that want declares of what stands in have under a former name, parents first.
func Renames(want, have schema.State) []Change {
	c := begin(nil, nil, Memory{}, want, have)
	var renames []Change
	for _, a := range want.Addresses() {
		if _, live := c.have[a]; live {
			continue
		}
		if from := c.formerly(want[a]); from != "" {
			c.move(from, a)
			renames = append(renames, Change{Op: Rename, Address: a, From: from})
		}
	}
	return renames
}

func begin(facts schema.Facts, base schema.State, memory Memory, want, have schema.State) comparison {
	c := comparison{Memory: memory, facts: facts, base: base, want: want, have: maps.Clone(have),
		moved: map[schema.Address]schema.Address{}, renamed: map[schema.Address]schema.Address{}}
	for a, o := range want {
		for _, was := range o.Was {
			c.renamed[Former(a, was)] = a
		}
	}
	return c
}

// Key is the name of a key of an open map, or of a field, in what a source owns.
func Key(a schema.Address, path string) schema.Address { return a + "#" + schema.Address(path) }

// Element is the path of an element of a list that the server uses up, in what a source owns.
func Element(path string, v any) string { return path + "." + scalar(v) }

type comparison struct {
	Memory
	facts      schema.Facts
	base       schema.State
	want, have schema.State
	moved      map[schema.Address]schema.Address // where renames took things: new → old
	renamed    map[schema.Address]schema.Address // what is declared to have been renamed: old → new
}

// wanted is what must happen for one declared object.
func (c *comparison) wanted(w schema.Object) (Change, bool) {
	h, live := c.have[w.Address]
	op, from := Update, schema.Address("")
	if !live {
		if from = c.formerly(w); from == "" {
			cause := c.causeOfCreate(w.Address)
			return Change{Op: Create, Cause: cause, Address: w.Address, Want: w, Diffs: c.declared(w, cause)}, true
		}
		op = Rename
		c.move(from, w.Address)
		h = c.have[w.Address]
	}
	diffs := c.diffs(w, h)
	if op == Update && len(diffs) == 0 {
		return Change{}, false
	}
	change := Change{Op: op, Address: w.Address, From: from, Want: w, Have: h, Diffs: diffs}
	change.Cause = FromCommit
	if op == Update {
		change.Cause = combined(diffs)
	} else if c.base == nil {
		change.Cause = Unknown
	}
	return change, true
}

// formerly is where an object stands under one of the names that it was declared to have had. What it stood in may have
// been renamed before, in this pass or in one that a crash cut off.
func (c *comparison) formerly(w schema.Object) schema.Address {
	for _, was := range w.Was {
		for a := Former(w.Address, was); ; {
			_, live := c.have[a]
			if _, wanted := c.want[a]; live && !wanted {
				return a
			}
			next := c.underNewNames(a)
			if next == a {
				break
			}
			a = next
		}
	}
	return ""
}

// underNewNames is an address with the outermost renamed object in it under its new name.
func (c *comparison) underNewNames(a schema.Address) schema.Address {
	var above []schema.Address
	for p := a.Parent(); p != "" && p != schema.RealmAddress; p = p.Parent() {
		above = append(above, p)
	}
	slices.Reverse(above)
	for _, p := range above {
		if to, ok := c.renamed[p]; ok && !to.Within(p) {
			return a.Moved(p, to)
		}
	}
	return a
}

// Former is the address that an object had under a former name. For a group, a name that begins with a slash is a path
// from the top; a component's is its name, beside which its key keeps the rest.
func Former(a schema.Address, was string) schema.Address {
	if a.Kind() == "components" {
		key := slices.Concat(a.Key(), make([]string, 3))[:max(3, len(a.Key()))]
		key[2] = was
		return schema.Join(a.Parent(), "components", key...)
	}
	if a.Kind() == "groups" && strings.HasPrefix(was, "/") {
		in := a.Parent()
		for in.Kind() == "groups" {
			in = in.Parent()
		}
		return GroupAt(in, was)
	}
	return schema.Join(a.Parent(), a.Kind(), was)
}

// GroupAt is the address of the group of a realm or an organization with a path as Keycloak writes it: /staff/emea, with a
// slash within a name as ~/.
func GroupAt(in schema.Address, path string) schema.Address {
	const slash = "\x00"
	a := in
	for name := range strings.SplitSeq(strings.ReplaceAll(strings.TrimPrefix(path, "/"), "~/", slash), "/") {
		a = schema.Join(a, "groups", strings.ReplaceAll(name, slash, "/"))
	}
	return a
}

// GroupPath is the path of a group as Keycloak writes it, the inverse of GroupAt.
func GroupPath(a schema.Address) string {
	path := ""
	for ; a.Kind() == "groups"; a = a.Parent() {
		path = "/" + strings.ReplaceAll(a.Name(), "/", "~/") + path
	}
	return path
}

// move makes the live subtree at from stand at to, as the rename will.
func (c *comparison) move(from, to schema.Address) {
	for a, o := range maps.Clone(c.have) {
		if a.Within(from) && from != schema.RealmAddress {
			delete(c.have, a)
			o.Address = a.Moved(from, to)
			c.have[o.Address] = o
			c.moved[o.Address] = a
		}
	}
}

// ours tells whether an object or map key is owned, under the name that it has or had before a rename of this pass.
func (c *comparison) ours(a schema.Address, path string) bool {
	name := func(a schema.Address) schema.Address {
		if path == "" {
			return a
		}
		return Key(a, path)
	}
	if c.Owned(name(a)) {
		return true
	}
	old, ok := c.moved[a]
	return ok && c.Owned(name(old))
}

// surplus is what is live and ours and no longer wanted. What goes with its parent isn't listed.
func (c *comparison) surplus() []Change {
	var changes []Change
	gone := map[schema.Address]bool{}
	for _, a := range c.have.Addresses() {
		if gone[a.Parent()] {
			gone[a] = true
			continue
		}
		if _, wanted := c.want[a]; wanted || a == schema.RealmAddress || !c.ours(a, "") {
			continue
		}
		gone[a] = true
		cause := FromCommit
		if c.base == nil {
			cause = Unknown
		} else if old, ok := c.moved[a]; !declared(c.base, a) && !(ok && declared(c.base, old)) {
			cause = FromDrift // a stranger in a complete list
		}
		changes = append(changes, Change{Op: Delete, Cause: cause, Address: a, Have: c.have[a]})
	}
	slices.Reverse(changes)
	return changes
}

func declared(s schema.State, a schema.Address) bool { _, ok := s[a]; return ok }

func (c *comparison) causeOfCreate(a schema.Address) Cause {
	switch {
	case c.base == nil:
		return Unknown
	case declared(c.base, a):
		return FromDrift
	}
	return FromCommit
}

// declared are all fields of an object that is to be made, so that a plan can show them without asking what is secret.
func (c *comparison) declared(w schema.Object, cause Cause) []Diff {
	var diffs []Diff
	var walk func(at []string, fields map[string]any)
	walk = func(at []string, fields map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			at := append(slices.Clip(at), name)
			if nested, ok := fields[name].(map[string]any); ok {
				walk(at, nested)
				continue
			}
			path := strings.Join(at, ".")
			diffs = append(diffs, Diff{Path: path, At: at, Want: fields[name], Cause: cause, Secret: c.facts.Secret(w, path)})
		}
	}
	walk(nil, w.Fields)
	return diffs
}

// diffs are the declared fields of an object that differ, and the map keys that are ours and no longer declared.
func (c *comparison) diffs(w, h schema.Object) []Diff {
	var diffs []Diff
	var walk func(at []string, want, have map[string]any)
	walk = func(at []string, want, have map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(want)) {
			at := append(slices.Clip(at), name)
			path := strings.Join(at, ".")
			if nested, ok := want[name].(map[string]any); ok {
				live, _ := have[name].(map[string]any)
				walk(at, nested, live)
				continue
			}
			fact := c.facts.Of(w.Address.Kind(), path)
			asked := completed(fact, want[name], have[name])
			if fact.Once {
				asked = c.toppedUp(w.Address, path, want[name], have[name])
			}
			if fact.Create || !c.differs(fact, w, path, asked, have[name]) {
				continue
			}
			unseen := fact.Hides(have[name])
			diffs = append(diffs, Diff{Path: path, At: at, Want: asked, Have: have[name], Cause: c.causeOfDiff(fact, w, path, have[name]),
				Secret: unseen || c.facts.Secret(w, path) || c.wasSecret(w.Address, path), Unseen: unseen})
		}
	}
	walk(nil, w.Fields, h.Fields)
	diffs = append(diffs, c.dropped(w, h)...)
	slices.SortStableFunc(diffs, func(a, b Diff) int { return strings.Compare(a.Path, b.Path) })
	return diffs
}

func (c *comparison) differs(fact schema.Fact, w schema.Object, path string, want, have any) bool {
	if !fact.Hides(have) || empty(want) {
		return !same(fact, want, have)
	}
	if c.Written != nil {
		return !c.Written(Key(w.Address, path), want)
	}
	// Nobody can read it, so it is written once, and again by a commit that changes it. What was about to be written when a
	// pass was cut off is ours already, and may not be there.
	before, known := c.before(w.Address, path)
	return !known || !same(fact, before, want) || c.keyed(w.Address.Kind(), path) && !c.ours(w.Address, path)
}

// keyed tells whether a path leads to a key of an open map, which is owned by itself.
func (c *comparison) keyed(kind, path string) bool {
	for i := range path {
		if path[i] == '.' && c.facts.Of(kind, path[:i]).Map {
			return true
		}
	}
	return false
}

// dropped are the keys of open maps that are ours and no longer declared; what the server puts in by itself stays.
func (c *comparison) dropped(w, h schema.Object) []Diff {
	var diffs []Diff
	var walk func(at []string, want, have map[string]any)
	walk = func(at []string, want, have map[string]any) {
		open := c.facts.Of(w.Address.Kind(), strings.Join(at, ".")).Map
		for name, v := range have {
			at := append(slices.Clip(at), name)
			path := strings.Join(at, ".")
			if live, ok := v.(map[string]any); ok {
				nested, _ := want[name].(map[string]any)
				walk(at, nested, live)
				continue
			}
			_, wanted := want[name]
			fact := c.facts.Of(w.Address.Kind(), path)
			if fact.Once && !wanted {
				if left := c.toppedUp(w.Address, path, nil, v); !same(fact, left, v) {
					diffs = append(diffs, Diff{Path: path, At: at, Want: left, Have: v, Cause: c.causeOfDiff(fact, w, path, v), Secret: c.wasSecret(w.Address, path)})
				}
			}
			if open && !wanted && !fact.HasServer && !Nothing(fact, v) && c.ours(w.Address, path) {
				cause := c.causeOfDiff(schema.Fact{}, w, path, v)
				if cause != FromBoth {
					cause = FromCommit // it is ours, and no longer declared, whatever can be read of the past
				}
				secret := fact.Hides(v) || c.facts.Secret(w, path) || c.wasSecret(w.Address, path)
				diffs = append(diffs, Diff{Path: path, At: at, Have: v, Unset: true, Cause: cause, Secret: secret})
			}
		}
	}
	walk(nil, w.Fields, h.Fields)
	return diffs
}

// toppedUp is a list that the server uses up: as it is, with what is declared and was never written there, and without
// what was and is no longer declared. What the server gave to a new object by itself goes too, where there is a declaration.
func (c *comparison) toppedUp(a schema.Address, path string, want, have any) any {
	declared, isDeclared := want.([]any)
	var given []any
	if c.Given != nil && isDeclared {
		given = c.Given(Key(a, path))
	}
	live, _ := have.([]any)
	written := func(v any) bool { return c.ours(a, Element(path, v)) }
	list := []any{}
	for _, v := range live {
		if slices.Contains(declared, v) || !written(v) && !slices.Contains(given, v) {
			list = append(list, v)
		}
	}
	for _, v := range declared {
		if !slices.Contains(live, v) && !written(v) {
			list = append(list, v)
		}
	}
	return list
}

// before is what the object declared at a path when it was last applied.
func (c *comparison) before(a schema.Address, path string) (any, bool) {
	o, ok := c.last(a)
	if !ok {
		return nil, false
	}
	return Value(o.Fields, path)
}

// last is the object as it was last declared, under the name that it has or had.
func (c *comparison) last(a schema.Address) (schema.Object, bool) {
	o, ok := c.base[a]
	if !ok {
		o, ok = c.base[c.moved[a]]
	}
	return o, ok
}

// wasSecret tells whether what stands on the server may be a secret that was declared there. What names an object never is.
func (c *comparison) wasSecret(a schema.Address, path string) bool {
	if c.facts.Of(a.Kind(), path).Ref != "" {
		return false
	}
	o, ok := c.last(a)
	if c.Input == nil && !ok {
		return true
	}
	return ok && c.facts.Secret(o, path) || c.Input != nil && c.Input(Key(a, path))
}

// Value is what stands in an object's fields at a path. The keys of maps may hold dots themselves.
func Value(fields map[string]any, path string) (any, bool) {
	if v, ok := fields[path]; ok {
		return v, true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if nested, ok := fields[path[:i]].(map[string]any); ok {
			if v, ok := Value(nested, path[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

func (c *comparison) causeOfDiff(fact schema.Fact, w schema.Object, path string, have any) Cause {
	if c.base == nil {
		return Unknown
	}
	want, wanted := Value(w.Fields, path)
	before, known := c.before(w.Address, path)
	unseen := fact.Hides(have)
	switch {
	case unseen && known && wanted && same(fact, before, want) && !w.Inputs[path]:
		return Unknown // neither side moved, as far as can be told
	case unseen && known && wanted && !same(fact, before, want):
		return FromCommit
	case known == wanted && (!known || same(fact, before, want)):
		if w.Inputs[path] {
			return FromInput
		}
		return FromDrift
	case !known || same(fact, completed(fact, before, have), have):
		return FromCommit
	}
	return FromBoth
}

// combined is the cause of a change from the causes of its fields.
func combined(diffs []Diff) Cause {
	cause := diffs[0].Cause
	for _, d := range diffs[1:] {
		if d.Cause != cause {
			return FromBoth
		}
	}
	return cause
}

// suggestRenames says on a delete beside a single create in the same list, alike in what it declares, that it looks like a rename.
func suggestRenames(facts schema.Facts, changes []Change) {
	for i, gone := range changes {
		if gone.Op != Delete {
			continue
		}
		for j, made := range changes {
			if made.Op == Create && made.Address.List() == gone.Address.List() && made.Says == "" && alike(facts, made.Want, gone.Have) {
				changes[j].Says = "looks like a rename of " + gone.Address.Name() + ": use $was"
				changes[i].Says = "looks like a rename to " + made.Address.Name() + ": use $was"
				break
			}
		}
	}
}

// alike tells whether most of what is declared stands in the other object as it is, its key aside.
func alike(facts schema.Facts, want, have schema.Object) bool {
	equal, all := 0, 0
	for name, v := range want.Fields {
		if scalar(v) == want.Address.Name() {
			continue
		}
		all++
		if same(facts.Of(want.Address.Kind(), name), v, have.Fields[name]) {
			equal++
		}
	}
	return all > 0 && 2*equal > all
}
