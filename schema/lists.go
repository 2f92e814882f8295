package schema

import (
	"fmt"
	"slices"

	"cuelang.org/go/cue/ast"
)

// list reads a list of objects.
func (w *walker) list(o *Object, f *field, e entry, label string) {
	l, ok := e.value.(*ast.ListLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "a list", "", "")
		return
	}
	holder := holding(o.Address)
	if f.complete && f.under == "" {
		w.into.Complete[Join(holder, f.elem.kind.Name)] = true
	}
	before := w.holder
	w.holder = f.by
	defer func() { w.holder = before }()
	for i, elem := range l.Elts {
		at := w.document.at(elem, e.origin)
		label := label
		s, ok := elem.(*ast.StructLit)
		if !ok || !w.hasKey(f.elem.form, s) {
			label = fmt.Sprintf("%s[%d]", label, i)
		}
		if f.unless != "" && ok && w.document.members(s)[f.unless] != nil {
			w.warn(at, "", "%s bears %s, and is left alone: it belongs to somebody else", w.labelled(f.elem.form, s, label), f.unless)
			continue
		}
		parent := holder
		if f.under != "" && ok {
			if parent, ok = w.heldBy(f, s, label, at); !ok {
				continue
			}
		}
		w.object(f.elem.form, elem, parent, label, at, "")
	}
	if f.under != "" {
		w.lists = append(w.lists, f)
	}
}

// holding is the address that the objects in the lists of an object stand below: what an object holds only once, as a client
// its authorizationSettings, lends them that object's.
func holding(a Address) Address {
	if a != RealmAddress && a.Key() == nil {
		return a.Parent()
	}
	return a
}

// labelled names an object in a list for people: by what names it, where it bears that.
func (w *walker) labelled(f *form, s *ast.StructLit, label string) string {
	if m := w.document.members(s)[f.kind.Key[0]]; m != nil {
		if name, input, ok := w.scalarText(m.Value); ok && !input {
			return label + "[" + name + "]"
		}
	}
	return label
}

// heldBy is the object that one in a flat list says it belongs to.
func (w *walker) heldBy(f *field, s *ast.StructLit, label string, o Origin) (Address, bool) {
	m := w.document.members(s)[f.by]
	if m == nil {
		w.problem(o, "name the "+one(f.under)+" that it belongs to", "%s has no %s", label, f.by)
		return "", false
	}
	name, input, ok := w.scalarText(m.Value)
	if !ok || input || name == "" {
		w.problem(w.document.at(m.Value, o), "write the name itself", "%s.%s is not the name of %s", label, f.by, one(f.under))
		return "", false
	}
	parent := Join(RealmAddress, f.under, name)
	if f.complete {
		w.into.Complete[Join(parent, f.elem.kind.Name)] = true
	}
	return parent, true
}

// completeFlat makes a flat list of a document complete for every object in it that may hold some of them: with none in
// the list it shall hold none.
func (w *walker) completeFlat() {
	for _, f := range w.lists {
		for a := range w.into.State {
			if f.complete && a.List() == Join(RealmAddress, f.under) {
				w.into.Complete[Join(a, f.elem.kind.Name)] = true
			}
		}
	}
}

// hasKey tells whether an object has what names it.
func (w *walker) hasKey(f *form, s *ast.StructLit) bool {
	members := w.document.members(s)
	return !slices.ContainsFunc(f.kind.Key, func(k string) bool {
		m := members[k]
		if _, given := w.group[k]; m == nil {
			return !given && !slices.Contains(f.kind.Optional, k)
		}
		v, input, ok := w.scalarText(m.Value)
		return !ok || input || v == ""
	})
}

// owned reads a map from the names of objects to lists of what these hold: the roles of clients.
func (w *walker) owned(o *Object, f *field, e entry, label string) {
	s, ok := e.value.(*ast.StructLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "an object", "", "")
		return
	}
	for _, owner := range w.entries(s, label, e.origin) {
		holder := Object{Address: Join(o.Address, f.owner, owner.name)}
		w.list(&holder, f.rest, owner, label+"."+owner.name)
	}
}

// groups reads a map of lists of objects, whose keys are a key field of theirs: the provider types of components.
func (w *walker) groups(o *Object, f *field, e entry, label string) {
	s, ok := e.value.(*ast.StructLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "an object", "", "")
		return
	}
	if f.complete {
		w.into.Complete[Join(o.Address, f.objects().kind.Name)] = true
	}
	before := w.group
	for _, group := range w.entries(s, label, e.origin) {
		if f.but != "" && group.name == f.but {
			w.group = nil
			w.workflows(o, f, group, label+"."+group.name)
			continue
		}
		w.group = map[string]string{f.grouped: group.name}
		w.list(o, f.rest, group, label)
	}
	w.group = before
}

// namesIn reads a list of what names objects elsewhere, as exports repeat them as a whole: its value is the names.
func (w *walker) namesIn(o *Object, f *field, e entry, label string) {
	l, ok := e.value.(*ast.ListLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "a list", "", "")
		return
	}
	names := []any{}
	for i, elem := range l.Elts {
		var value ast.Expr
		if s, ok := elem.(*ast.StructLit); ok && w.document.members(s)[f.names] != nil {
			value = w.document.members(s)[f.names].Value
		}
		name, input, ok := w.scalarText(value)
		if value == nil || !ok || input || name == "" {
			w.problem(w.document.at(elem, e.origin), "write {"+f.names+": NAME}", "%s has no %s", index(label, i), f.names)
			return
		}
		names = append(names, name)
	}
	o.Fields[e.name], o.Origins[e.name] = names, e.origin
}

// providerID is what an object says its provider is; "" where it says nothing.
func providerID(o *Object) string { s, _ := o.Fields["providerId"].(string); return s }
