package schema

import (
	"cmp"
	"slices"
	"strings"
)

type exporter struct {
	Export
	*definitions
	children map[Address][]Address // by list
	secrets  []Withheld
	names    Variables
}

// object is an object and all below it as a representation spells them: what names it first, then what is short.
func (w *exporter) object(f *form, a Address) *Tree {
	t := &Tree{}
	o := w.State[a]
	if f.kind != nil {
		key := a.Key()
		for i, name := range f.kind.Key {
			if i < len(key) && key[i] != "" {
				t.add(name, key[i])
			}
		}
	}
	w.fields(t, f, a, o)
	return t
}

// early are the fields that people look for first.
var early = []string{"name", "displayName", "description", "enabled", "protocol", "providerId", "type"}

func (w *exporter) fields(t *Tree, f *form, a Address, o Object) {
	var values, below []treeField
	for _, name := range sortedKeys(f.fields) {
		known := f.fields[name]
		if known.computed && known.made == "" || known.unmanaged || f.kind != nil && slices.Contains(f.kind.Key, name) || known.nameless != "" {
			continue
		}
		v, under := w.field(known, a, o)
		switch {
		case v == nil:
		case under:
			below = append(below, treeField{name: name, value: v})
		default:
			values = append(values, treeField{name: name, value: v})
		}
	}
	rank := func(f treeField) int {
		if i := slices.Index(early, f.name); i >= 0 {
			return i - len(early)
		}
		switch f.value.(type) {
		case *Tree:
			return 2
		case []any:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(values, func(a, b treeField) int { return rank(a) - rank(b) })
	t.fields = append(t.fields, append(values, below...)...)
}

// field is the value of one field, nil for none; under tells whether other objects stand in it.
func (w *exporter) field(f *field, a Address, o Object) (v any, under bool) {
	switch {
	case f.links:
		links := Join(a, cmp.Or(f.linked, f.name))
		if object, ok := w.State[links]; ok {
			return w.value(object, f.name, object.Fields[f.name]), false
		}
		return nil, false
	case f.mappings != "":
		return w.scopeMappings(f.mappings), true
	case f.owner != "":
		t := &Tree{}
		for _, holder := range w.children[Join(holding(a), f.owner)] {
			if list := w.list(f.rest.elem.form, holder, ""); len(list) > 0 {
				t.add(holder.Name(), list)
			}
		}
		return t.orNil(), true
	case f.under != "":
		var all []any
		for _, holder := range w.children[Join(RealmAddress, f.under)] {
			for _, object := range w.list(f.elem.form, holder, "") {
				t := object.(*Tree)
				t.fields = slices.Insert(slices.DeleteFunc(t.fields, func(t treeField) bool { return t.name == f.by }), 1, treeField{name: f.by, value: holder.Name()})
				all = append(all, t)
			}
		}
		return listOrNil(all), true
	case f.grouped != "":
		return w.grouped(f, a), true
	case f.names != "":
		names, _ := o.Fields[f.name].([]any)
		var list []any
		for _, name := range names {
			t := &Tree{}
			t.add(f.names, name)
			list = append(list, t)
		}
		return listOrNil(list), false
	case f.elem != nil && f.elem.kind != nil:
		return listOrNil(w.list(f.elem.form, holding(a), "")), true
	case f.kind != nil:
		if _, ok := w.State[Join(a, f.kind.Name)]; !ok {
			return nil, false
		}
		return w.object(f.form, Join(a, f.kind.Name)), true
	case f.holds:
		t := &Tree{}
		w.fields(t, f.form, a, Object{})
		return t.orNil(), true
	}
	v, has := o.Fields[f.name]
	if !has || f.computed && strings.HasSuffix(providerID(&o), f.made) {
		return nil, false
	}
	v = w.value(o, f.name, w.declarable(f.form, o, v))
	if w.New[o.Address] {
		v = w.beyondDefault(o, f, v)
	}
	return v, false
}

// list are the objects of a kind below a parent.
func (w *exporter) list(f *form, parent Address, but string) []any {
	var list []any
	for _, a := range w.children[Join(parent, f.kind.Name)] {
		t := w.object(f, a)
		t.fields = slices.DeleteFunc(t.fields, func(f treeField) bool { return f.name == but })
		list = append(list, t)
	}
	return list
}

func (w *exporter) grouped(f *field, a Address) any {
	t := &Tree{}
	form := f.rest.elem.form
	lists := map[string][]any{}
	for _, object := range w.list(form, holding(a), "") {
		object := object.(*Tree)
		group := object.text(f.grouped)
		object.fields = slices.DeleteFunc(object.fields, func(t treeField) bool { return t.name == f.grouped })
		lists[group] = append(lists[group], object)
	}
	for _, group := range sortedKeys(lists) {
		t.add(group, lists[group])
	}
	return t.orNil()
}

// scopeMappings are the links of all clients and client scopes, in one of the two lists that a representation has of them.
func (w *exporter) scopeMappings(which string) any {
	realm, clients := []any{}, map[string][]any{}
	for _, a := range w.State.Addresses() {
		if a.Kind() != "scopeMappings" {
			continue
		}
		entry := func(roles any) *Tree {
			t := &Tree{}
			if a.Parent().Kind() == "clients" {
				t.add("client", a.Parent().Name())
			} else {
				t.add("clientScope", a.Parent().Name())
			}
			t.add("roles", inOrder(roles))
			return t
		}
		links, _ := w.State[a].Fields["scopeMappings"].(map[string]any)
		if roles, _ := links["realm"].([]any); len(roles) > 0 {
			realm = append(realm, entry(roles))
		}
		of, _ := links["client"].(map[string]any)
		for client, roles := range of {
			clients[client] = append(clients[client], entry(roles))
		}
	}
	if which == "realm" {
		return listOrNil(realm)
	}
	t := &Tree{}
	for _, client := range sortedKeys(clients) {
		t.add(client, clients[client])
	}
	return t.orNil()
}
