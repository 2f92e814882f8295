package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// settings of a realm, as a conflict calls them.
var settings = []struct {
	name string
	of   func(*Realm) any
	take func(into, from *Realm)
}{
	{"drift", func(r *Realm) any { return r.Drift }, func(r, o *Realm) { r.Drift = o.Drift }},
	{"schedule", func(r *Realm) any { return r.Schedule }, func(r, o *Realm) { r.Schedule = o.Schedule }},
	{"limits.deletes", func(r *Realm) any { return r.Limits.Deletes }, func(r, o *Realm) { r.Limits.Deletes = o.Limits.Deletes }},
	{"limits.changes", func(r *Realm) any { return r.Limits.Changes }, func(r, o *Realm) { r.Limits.Changes = o.Limits.Changes }},
	{"suspend", func(r *Realm) any { return r.Suspend }, func(r, o *Realm) { r.Suspend = o.Suspend }},
}

// merge joins what a document declares with what others declare for the same realm.
func (w *walker) merge(r *Realm, origins map[string]Origin) {
	before, ok := w.realms[r.Ref]
	if !ok {
		w.realms[r.Ref] = r
		w.settled[r.Ref] = origins
		return
	}
	w.mergeSettings(before, r, w.settled[r.Ref], origins)
	if before.Absent != r.Absent && len(before.State)+len(r.State) > 0 {
		w.problem(r.Origin, "keep one", "realm %s shall not be by one manifest and is declared by another, at %s", r.Ref.Realm, before.Origin)
		return
	}
	before.Absent = before.Absent || r.Absent
	maps.Copy(before.Complete, r.Complete)
	for _, a := range r.State.Addresses() {
		o, ok := before.State[a]
		if !ok {
			before.State[a] = r.State[a]
			continue
		}
		before.State[a] = w.united(o, r.State[a])
	}
}

func (w *walker) mergeSettings(before, r *Realm, settled, origins map[string]Origin) {
	for _, s := range settings {
		at, declared := origins[s.name]
		if !declared {
			continue
		}
		if there, twice := settled[s.name]; twice && !reflect.DeepEqual(s.of(before), s.of(r)) && !w.options.MergeLast {
			w.problem(at, "keep one", "spec.%s differs from the one at %s", s.name, there)
			continue
		}
		s.take(before, r)
		settled[s.name] = at
	}
	for _, name := range sortedKeys(r.Limits.Risks) {
		key := "limits.risks." + name
		if there, twice := settled[key]; twice && before.Limits.Risks[name] != r.Limits.Risks[name] && !w.options.MergeLast {
			w.problem(origins[key], "keep one", "spec.%s differs from the one at %s", key, there)
			continue
		}
		before.Limits.Risks[name] = r.Limits.Risks[name]
		settled[key] = origins[key]
	}
	if _, first := settled["limits"]; !first {
		if at, ok := origins["limits"]; ok {
			before.Limits.Origin, settled["limits"] = at, at
		}
	}
}

// united is an object that two places declare. A field may have two values only where the last one holds.
func (w *walker) united(a, b Object) Object {
	again := everywhere(a, b)
	u := union{walker: w, a: a, b: b}
	a.Fields = u.maps(a.Fields, b.Fields, "")
	a.Origins = joined(b.Origins, a.Origins)
	a.Inputs = joined(b.Inputs, a.Inputs)
	a.Nulls = joined(b.Nulls, a.Nulls)
	for _, path := range u.taken {
		if i := slices.Index(again[path], b.Origins[path]); i >= 0 {
			again[path][i] = a.Origins[path]
		}
		a.Origins[path] = b.Origins[path]
		delete(a.Inputs, path)
		delete(a.Nulls, path)
		if b.Inputs[path] {
			a.Inputs[path] = true
		}
		if b.Nulls[path] {
			a.Nulls[path] = true
		}
	}
	a.Again = again
	a.Was = slices.Compact(slices.Concat(a.Was, b.Was))
	return a
}

// everywhere is where both objects, and the fields that both have, are declared besides the places that the first names.
func everywhere(a, b Object) map[string][]Origin {
	again := map[string][]Origin{"": slices.Concat(a.Again[""], []Origin{b.Origin}, b.Again[""])}
	for path := range joined(a.Origins, b.Origins) {
		places := slices.Clone(a.Again[path])
		if _, both := a.Origins[path]; both && b.Origins[path] != (Origin{}) {
			places = append(places, b.Origins[path])
		}
		if places = append(places, b.Again[path]...); len(places) > 0 {
			again[path] = places
		}
	}
	return again
}

// joined holds both maps; the second wins.
func joined[V any](a, b map[string]V) map[string]V {
	m := make(map[string]V, len(a)+len(b))
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

type union struct {
	*walker
	a, b  Object
	taken []string // the paths whose later value holds
}

func (u *union) maps(a, b map[string]any, prefix string) map[string]any {
	m := joined(a, b)
	for _, name := range sortedKeys(b) {
		before, twice := a[name]
		if !twice {
			continue
		}
		path := prefix + name
		x, isMap := before.(map[string]any)
		y, areMaps := b[name].(map[string]any)
		if isMap && areMaps {
			m[name] = u.maps(x, y, path+".")
			continue
		}
		if u.options.MergeLast {
			u.taken = append(u.taken, path)
			continue
		}
		m[name] = before
		if !u.same(path, before, b[name]) {
			u.conflict(path, before, b[name])
		}
	}
	return m
}

// same tells whether two values of a field are one; the order of a set doesn't count, nor case where the server folds it.
func (u *union) same(path string, a, b any) bool {
	fact := u.definitions.facts.Of(u.a.Address.Kind(), path)
	if s, ok := a.(string); ok && fact.Fold {
		t, _ := b.(string)
		return strings.EqualFold(s, t)
	}
	x, lists := a.([]any)
	y, both := b.([]any)
	if lists && both && fact.Set {
		return reflect.DeepEqual(ordered(x), ordered(y))
	}
	return reflect.DeepEqual(a, b)
}

func ordered(list []any) []string {
	var texts []string
	for _, v := range list {
		texts = append(texts, encoded(v))
	}
	slices.Sort(texts)
	return texts
}

func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v) // no JSON value ends here
	}
	return string(b)
}

func (u *union) conflict(path string, a, b any) {
	there, here := u.a.Origins[path], u.b.Origins[path]
	facts := u.definitions.facts
	label := prefix(labelOf(u.a.Address)) + path
	if links := u.a.Address.Kind(); u.definitions.kinds[links].Links {
		label = prefix(labelOf(u.a.Address.Parent())) + path
	}
	if facts.Secret(u.a, path) || facts.Secret(u.b, path) {
		u.problem(here, "keep one", "%s: one value here and another at %s", label, there)
		return
	}
	u.problem(here, "keep one", "%s: %s here and %s at %s", label, clipped(encoded(b)), clipped(encoded(a)), there)
}

func clipped(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "…"
	}
	return s
}

// labelOf names an object for people: clients[portal].roles[viewer].
func labelOf(a Address) string {
	if a == RealmAddress || a == "" {
		return ""
	}
	label := a.Kind()
	if key := a.Key(); key != nil {
		label += "[" + strings.Join(key, ",") + "]"
	}
	return prefix(labelOf(a.Parent())) + label
}

// lookAlikes warns of objects in one list whose names differ in case alone: the server keeps both.
func (l *loader) lookAlikes() {
	for ref, r := range l.realms {
		first := map[string]Object{}
		for _, a := range r.State.Addresses() {
			if a.Key() == nil {
				continue
			}
			o := r.State[a]
			folded := string(a.List()) + "/" + strings.ToLower(a.Name())
			before, twice := first[folded]
			if !twice {
				first[folded] = o
				continue
			}
			p := problemf(o.Origin, "keep one, unless both are meant", "%s and %s, at %s, differ in case alone: Keycloak takes them for two", labelOf(a), labelOf(before.Address), before.Origin)
			p.Realm, p.Warning = &ref, true
			l.problem(p)
		}
	}
}
