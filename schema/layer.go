package schema

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"cuelang.org/go/cue/ast"
)

// deletion is how an object of a layer says that the one below it goes.
const deletion = "$delete"

// layer is what the documents of one layer declare, before it is laid over those below.
type layer struct {
	level    int
	realms   map[RealmRef]*Realm
	settled  map[RealmRef]map[string]Origin // where the settings of each realm are declared
	complete map[RealmRef][]Address         // the lists that spec.exclusive names
	removals map[RealmRef][]removal

	deployments map[string]*deploying
}

// removal takes something out of what lies below: an object or list with all in it, or a field of an object.
type removal struct {
	address Address
	path    string
	origin  Origin
	missing Problem // what is wrong where nothing lies below
}

func (l *loader) begin(level int) {
	l.layer = layer{level: level, realms: map[RealmRef]*Realm{}, settled: map[RealmRef]map[string]Origin{},
		complete: map[RealmRef][]Address{}, removals: map[RealmRef][]removal{}, deployments: map[string]*deploying{}}
	if l.exclusive == nil {
		l.exclusive = map[RealmRef][]Address{}
	}
}

// lay puts the layer over those below, field by field.
func (l *loader) lay() {
	for name, d := range l.layer.deployments {
		if below, ok := l.deployments[name]; ok {
			d = d.over(below)
		}
		l.deployments[name] = d
	}
	for ref, r := range l.realms {
		under, ok := l.below[ref]
		if !ok {
			empty := *r
			empty.State, empty.Complete, empty.Settled = State{}, map[Address]bool{}, map[string]Origin{}
			under = &empty
			l.below[ref] = under
		}
		for _, gone := range l.removals[ref] {
			l.remove(under, r, gone)
		}
		if r.Absent {
			under.State, under.Complete, under.Origin = State{}, map[Address]bool{}, r.Origin
		}
		under.Absent = r.Absent || under.Absent && len(r.State) == 0
		l.layOverSettings(under, r)
		for a, o := range r.State {
			if l.level > 0 {
				o = l.over(ref, under.State[a], o)
			}
			under.State[a] = o
		}
		maps.Copy(under.Complete, r.Complete)
	}
}

// layOverSettings takes the settings that the layer declares. The list of exclusive lists is replaced as any other.
func (l *loader) layOverSettings(under, r *Realm) {
	settled := l.settled[r.Ref]
	maps.Copy(under.Settled, settled)
	for _, s := range settings {
		if _, declared := settled[s.name]; declared {
			s.take(under, r)
		}
	}
	under.Limits.Risks = joined(under.Limits.Risks, r.Limits.Risks)
	if at, declared := settled["limits"]; declared {
		under.Limits.Origin = at
	}
	if _, declared := settled["exclusive"]; declared {
		l.unexclusive(under)
		l.exclusive[r.Ref] = l.complete[r.Ref]
	}
}

func (l *loader) unexclusive(under *Realm) {
	for _, a := range l.exclusive[under.Ref] {
		delete(under.Complete, a)
	}
	l.exclusive[under.Ref] = nil
}

// remove takes out of the layers below what this layer says is to go.
func (l *loader) remove(under, r *Realm, gone removal) {
	if gone.address == Settings {
		l.resetSetting(under, gone.path)
		return
	}
	say := func(p Problem) {
		p.Realm = &r.Ref
		l.problem(p)
	}
	if gone.path != "" {
		o, ok := under.State[gone.address]
		if _, there := o.Origins[gone.path]; !ok || !there {
			say(gone.missing)
			return
		}
		under.State[gone.address] = without(o, gone.path)
		return
	}
	there := false
	for a := range under.State {
		if l.within(a, gone.address) {
			delete(under.State, a)
			there = true
		}
	}
	for a := range under.Complete {
		if l.within(a, gone.address) {
			delete(under.Complete, a)
			there = true
		}
	}
	for _, a := range r.State.Addresses() {
		if a.Within(gone.address) {
			say(problemf(gone.origin, "keep one", "%s goes here, and is declared in the same layer, at %s", labelOf(a), r.State[a].Origin))
			return
		}
	}
	if !there {
		say(gone.missing)
	}
}

// within tells whether an object or list goes with another.
func (l *loader) within(a, gone Address) bool {
	lists := holding(gone) != gone && slices.Contains(l.definitions.kinds[a.Kind()].In, gone.Kind())
	return a.Within(gone) || lists && a.Within(holding(gone))
}

// resetSetting gives a setting the value that it has where no manifest declares it.
func (l *loader) resetSetting(under *Realm, name string) {
	maps.DeleteFunc(under.Settled, func(declared string, _ Origin) bool { return pathWithin(declared, name) })
	unset := unsettled(under.Origin)
	switch name {
	case "exclusive":
		l.unexclusive(under)
	case "limits":
		under.Limits = unset.Limits
	case "limits.risks":
		under.Limits.Risks = unset.Limits.Risks
	default:
		for _, s := range settings {
			if s.name == name {
				s.take(under, unset)
			}
		}
	}
}

// without is an object without one of its fields.
func without(o Object, path string) Object {
	o.Fields = dropped(o.Fields, path)
	o.Origins, o.Inputs, o.Below = maps.Clone(o.Origins), maps.Clone(o.Inputs), maps.Clone(o.Below)
	o.Nulls, o.Again = maps.Clone(o.Nulls), maps.Clone(o.Again)
	at := func(p string) bool { return pathWithin(p, path) }
	maps.DeleteFunc(o.Origins, func(p string, _ Origin) bool { return at(p) })
	maps.DeleteFunc(o.Inputs, func(p string, _ bool) bool { return at(p) })
	maps.DeleteFunc(o.Below, func(p string, _ []Origin) bool { return at(p) })
	maps.DeleteFunc(o.Nulls, func(p string, _ bool) bool { return at(p) })
	maps.DeleteFunc(o.Again, func(p string, _ []Origin) bool { return at(p) })
	return o
}

// dropped are fields without what stands at a path. The keys of maps may hold dots themselves.
func dropped(fields map[string]any, path string) map[string]any {
	fields = maps.Clone(fields)
	if _, ok := fields[path]; ok {
		delete(fields, path)
		return fields
	}
	for i := range len(path) {
		if nested, ok := fields[path[:i]].(map[string]any); ok && path[i] == '.' {
			fields[path[:i]] = dropped(nested, path[i+1:])
		}
	}
	return fields
}

func pathWithin(p, path string) bool {
	return p == path || len(p) > len(path) && p[:len(path)] == path && p[len(path)] == '.'
}

// over lays an object over the one below it, if there is one: maps are merged, lists of objects that have a key too, and of all else the
// upper value holds.
func (l *loader) over(ref RealmRef, below, above Object) Object {
	y := overlay{loader: l, ref: ref, below: below, above: above, o: above}
	y.o.Origins, y.o.Inputs, y.o.Below = joined(below.Origins, nil), joined(below.Inputs, nil), joined(below.Below, nil)
	y.o.Nulls, y.o.Again = joined(below.Nulls, nil), joined(below.Again, nil)
	y.o.Again[""] = above.Again[""]
	y.o.Fields = y.maps(below.Fields, above.Fields, "")
	if below.Origin != (Origin{}) {
		y.o.Below[""] = append(slices.Clip(y.o.Below[""]), below.Origin)
	}
	if len(above.Was) == 0 {
		y.o.Was = below.Was
	}
	return y.o
}

type overlay struct {
	*loader
	ref             RealmRef
	below, above, o Object
}

func (y *overlay) maps(below, above map[string]any, prefix string) map[string]any {
	m := joined(below, above)
	for _, name := range sortedKeys(above) {
		path := prefix + name
		old, there := below[name]
		x, isMap := old.(map[string]any)
		v, areMaps := above[name].(map[string]any)
		keyed := y.definitions.facts.Of(y.o.Address.Kind(), path).Key
		list, isList := above[name].([]any)
		switch {
		case isMap && areMaps:
			m[name] = y.maps(x, v, path+".")
			y.joinOrigin(path)
		case keyed != "" && isList:
			before, _ := old.([]any)
			m[name] = y.keyed(before, list, keyed, path)
			y.joinOrigin(path)
		case there && prefix == "" && slices.Contains(y.definitions.kinds[y.o.Address.Kind()].Key, name):
		default:
			y.replace(path)
		}
	}
	return m
}

// keyed merges lists of objects that are told apart by a field.
func (y *overlay) keyed(below, above []any, key, path string) []any {
	list := slices.Clone(below)
	for _, v := range above {
		object, _ := v.(map[string]any)
		i := slices.IndexFunc(list, func(e any) bool {
			other, _ := e.(map[string]any)
			return object != nil && other != nil && other[key] == object[key]
		})
		_, goes := object[deletion]
		switch {
		case goes && i < 0:
			p := problemf(y.above.Origins[path], "take it out", "%s%s[%v] isn't declared in the layers below, so that %s takes nothing away", prefix(labelOf(y.o.Address)), path, object[key], deletion)
			p.Realm = &y.ref
			y.problem(p)
		case goes:
			list = slices.Delete(list, i, i+1)
		case i < 0:
			list = append(list, v)
		default:
			old, _ := list[i].(map[string]any)
			list[i] = merged(old, object)
		}
	}
	return list
}

// merged are two maps as one, in which the second wins.
func merged(below, above map[string]any) map[string]any {
	m := joined(below, above)
	for name, v := range above {
		x, isMap := below[name].(map[string]any)
		if y, areMaps := v.(map[string]any); isMap && areMaps {
			m[name] = merged(x, y)
		}
	}
	return m
}

// replace notes that the upper object's value holds at a path, and where the one below stood.
func (y *overlay) replace(path string) {
	for p, origin := range y.below.Origins {
		if pathWithin(p, path) {
			y.o.Below[p] = append(slices.Clip(y.o.Below[p]), origin)
			delete(y.o.Origins, p)
		}
	}
	maps.DeleteFunc(y.o.Inputs, func(p string, _ bool) bool { return pathWithin(p, path) })
	maps.DeleteFunc(y.o.Nulls, func(p string, _ bool) bool { return pathWithin(p, path) })
	maps.DeleteFunc(y.o.Again, func(p string, _ []Origin) bool { return pathWithin(p, path) })
	y.take(path)
}

func (y *overlay) take(path string) {
	for p, origin := range y.above.Origins {
		if pathWithin(p, path) {
			y.o.Origins[p] = origin
			if again := y.above.Again[p]; again != nil {
				y.o.Again[p] = again
			}
		}
	}
	for p := range y.above.Inputs {
		if pathWithin(p, path) {
			y.o.Inputs[p] = true
		}
	}
	for p := range y.above.Nulls {
		if pathWithin(p, path) {
			y.o.Nulls[p] = true
		}
	}
}

// joinOrigin notes that both objects hold some of what stands at a path: the upper one's place is shown.
func (y *overlay) joinOrigin(path string) {
	above, ok := y.above.Origins[path]
	if !ok {
		return
	}
	if below, twice := y.below.Origins[path]; twice {
		y.o.Below[path] = append(slices.Clip(y.o.Below[path]), below)
	}
	y.o.Origins[path] = above
	if y.above.Inputs[path] {
		y.o.Inputs[path] = true
	}
}

// deleted reads $delete: true of an object that shall not be although a layer below declares it.
func (w *walker) deleted(f *form, s *ast.StructLit, a Address, label string) {
	var directive entry
	for _, e := range w.entries(s, label, Origin{}) {
		switch {
		case e.name == deletion:
			directive = e
		case !slices.Contains(f.kind.Key, e.name) && e.name != w.holder:
			w.problem(e.origin, "leave the rest out, or leave out "+deletion, "%s: the object goes, so that nothing more can be said of it", prefix(label)+e.name)
			return
		}
	}
	w.removal(directive, label+"."+deletion, removal{address: a, origin: directive.origin,
		missing: problemf(directive.origin, w.nearest(a), "%s isn't declared in the layers below, so that %s takes nothing away", label, deletion)})
}

// removal takes note of a $delete, if it says true and there are layers below.
func (w *walker) removal(e entry, label string, gone removal) bool {
	lit, _ := literalOf(e.value)
	switch {
	case lit == nil || spelled(lit) != "true":
		w.problem(w.document.at(e.value, e.origin), "leave it out where the object stays", "%s is not true", label)
	case w.level == 0:
		w.problem(e.origin, "leave the object out: what this source made is deleted when it is no longer declared", "%s takes nothing away: no layer lies below this one", label)
	default:
		w.removals[w.into.Ref] = append(w.removals[w.into.Ref], gone)
		return true
	}
	return false
}

// nearest is a hint at the object of the layers below that was meant.
func (w *walker) nearest(a Address) string {
	var names []string
	if under, ok := w.below[w.into.Ref]; ok {
		for other := range under.State {
			if other.List() == a.List() && other.Key() != nil {
				names = append(names, other.Name())
			}
		}
	}
	return didYouMean(a.Name(), names)
}

// resettable are the settings of a realm that null takes away.
var resettable = []string{"drift", "schedule", "exclusive", "limits", "limits.deletes", "limits.changes", "limits.risks", "suspend"}

// clears tells whether null takes away what lies below, as it does where no default is known that could stand there.
func (w *walker) clears(o *Object, known *field, e entry, path string, missing Problem) bool {
	if w.level == 0 {
		return false
	}
	gone := removal{origin: e.origin, missing: missing}
	switch list := known.objects(); {
	case w.inEnvelope:
		gone.address = Settings
		gone.path = (path + e.name)[min(len("spec."), len(path)):]
		if w.realm == nil || !slices.Contains(resettable, gone.path) {
			return false
		}
		w.removals[*w.realm] = append(w.removals[*w.realm], gone)
		return true
	case w.into == nil || known.owner != "" || known.under != "" || known.kind != nil:
		return false
	case known.links:
		gone.address = Join(o.Address, cmp.Or(known.linked, known.name))
	case list != nil:
		gone.address = Join(holding(o.Address), list.kind.Name)
	default:
		gone.address, gone.path = o.Address, path+e.name
	}
	w.removals[w.into.Ref] = append(w.removals[w.into.Ref], gone)
	return true
}

// deletedElement reads $delete: true of an object in a list whose objects a field tells apart.
func (w *walker) deletedElement(key string, s *ast.StructLit, label string, at Origin) (map[string]any, bool) {
	members := w.document.members(s)
	name, input, ok := "", false, false
	if members[key] != nil {
		name, input, ok = w.scalarText(members[key].Value)
	}
	if !ok || input || len(s.Elts) != 2 {
		w.problem(at, fmt.Sprintf("write {%s: NAME, %s: true}", key, deletion), "%s: what goes is named by its %s, and nothing more is said of it", label, key)
		return nil, false
	}
	f := members[deletion]
	e := entry{deletion, w.document.label(f, at), f.Value}
	if lit, _ := literalOf(e.value); lit == nil || spelled(lit) != "true" || w.level == 0 {
		w.removal(e, label+"."+deletion, removal{}) // says what is wrong
		return nil, false
	}
	return map[string]any{key: name, deletion: true}, true
}
