package schema

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Export is a realm that is to be written as manifests.
type Export struct {
	Ref     RealmRef // without a server, the manifests go where --server says
	Version string   // of Keycloak
	// State are the objects and fields to write. What isn't a field that can be declared is left out.
	State State
	// New are the objects that a new realm doesn't hold by itself: defaults are left out of them.
	New map[Address]bool
	// Declare makes values that Keycloak doesn't show take part: $(env:…) stands in their place. Else that is a comment.
	Declare bool
}

// Withheld is a value that stands in no manifest: $(env:Name) stands in its place.
type Withheld struct {
	Name  string
	At    Address
	Path  string
	Value string // "" where Keycloak doesn't show it
}

// Pieces are the realm's representation, cut up: the fields of the realm itself under "", and each of its lists by name.
// What a list of clients says about one client alone stands under clients/KEY where byClient asks for that.
func (e Export) Pieces(byClient bool) (pieces map[string]*Tree, secrets []Withheld, err error) {
	d, err := define(Nearest(e.Version))
	if err != nil {
		return nil, nil, err
	}
	w := &exporter{Export: e, definitions: d, children: map[Address][]Address{}, names: Variables{Realm: e.Ref.Realm}}
	for _, a := range e.State.Addresses() {
		if a != RealmAddress {
			w.children[a.List()] = append(w.children[a.List()], a)
		}
	}
	root := w.object(d.forms["#RealmRepresentation"], RealmAddress)
	pieces = map[string]*Tree{}
	piece := func(name string) *Tree {
		if pieces[name] == nil {
			pieces[name] = &Tree{}
		}
		return pieces[name]
	}
	for _, f := range root.fields {
		known := d.forms["#RealmRepresentation"].fields[f.name]
		name := f.name
		if known == nil || !known.holds && known.elem == nil && known.mappings == "" && known.grouped == "" || known.links || known.json || known.elem != nil && known.elem.kind == nil {
			name = ""
		}
		switch {
		case name == "":
		case strings.HasPrefix(name, "identityProvider"):
			name = "identityProviders"
		case name == "authenticatorConfig":
			name = "authenticationFlows"
		case name == "scopeMappings", name == "clientScopeMappings":
			name = "scopeMappings"
		}
		if clients, ok := f.value.([]any); ok && byClient && f.name == "clients" {
			for _, c := range clients {
				id := c.(*Tree).text("clientId")
				piece("clients/"+id).add("clients", []any{c})
			}
			continue
		}
		piece(name).add(f.name, f.value)
	}
	return pieces, w.secrets, nil
}

// Nearest is the version that there are definitions for: a minor that isn't known takes the newest.
func Nearest(version string) string {
	known := Versions()
	if m := minor(version); slices.Contains(known, m) {
		return m
	}
	return known[len(known)-1]
}

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

// declarable is a value without what the definitions don't know or Keycloak makes itself.
func (w *exporter) declarable(f *form, o Object, v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, e := range v {
			known := f.fields[name]
			if known == nil {
				known = f.rest
			}
			switch {
			case known == nil && len(f.fields) > 0, known != nil && (known.unmanaged || known.computed && strings.HasSuffix(providerID(&o), known.made)):
			case known == nil:
				m[name] = e
			default:
				m[name] = w.declarable(known.form, o, e)
			}
		}
		return m
	case []any:
		if f.elem == nil {
			return v
		}
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = w.declarable(f.elem.form, o, e)
		}
		return list
	}
	return v
}

// value is a value as a manifest spells it: sorted where order doesn't count, and with $(env:…) where it is a secret.
func (w *exporter) value(o Object, path string, v any) any {
	fact := w.facts.Of(o.Address.Kind(), path)
	switch {
	case v == nil:
		return nil
	case fact.Hides(v):
		return w.secret(o.Address, path, "", isList(v))
	case fact.Secret || fact.WriteOnly:
		if s, ok := v.(string); ok && s != "" {
			return w.secret(o.Address, path, s, false)
		}
		if l, ok := v.([]any); ok && len(l) == 1 {
			if s, ok := l[0].(string); ok && s != "" {
				return w.secret(o.Address, path, s, true)
			}
		}
	}
	switch v := v.(type) {
	case string:
		if found, unclosed := references(v); len(found) > 0 || unclosed { // it would be read as a reference itself
			return w.secret(o.Address, path, v, false)
		}
	case map[string]any:
		t := &Tree{}
		for _, name := range sortedKeys(v) {
			if e := w.value(o, path+"."+name, v[name]); e != nil {
				t.add(name, e)
			}
		}
		return t
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			list = append(list, w.value(o, path, e))
		}
		if fact.Set {
			return inOrder(list)
		}
		return list
	}
	return v
}

func isList(v any) bool { _, ok := v.([]any); return ok }

// inOrder is a list of texts in order; of anything else, as it is.
func inOrder(v any) any {
	list, ok := v.([]any)
	if !ok || slices.ContainsFunc(list, func(e any) bool { _, ok := e.(string); return !ok }) {
		return v
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	return list
}

// beyondDefault is a value of a new object without what the server puts there by itself, nil for nothing. Where a client
// has redirect URIs, its web origins follow from those unless they are declared.
func (w *exporter) beyondDefault(o Object, f *field, v any) any {
	table, known := w.defaults[w.variantOf(o)]
	if v == nil {
		return nil
	}
	if redirects, _ := o.Fields["redirectUris"].([]any); f.name == "webOrigins" && len(redirects) > 0 {
		return v
	}
	standard, has := table[f.name]
	t, isTree := v.(*Tree)
	if !isTree {
		nothing := reflect.ValueOf(v).IsZero() || isList(v) && len(v.([]any)) == 0
		if has && reflect.DeepEqual(v, standard) || known && !has && nothing || f.fact.Empty && nothing && (standard == nil || standard == "") {
			return nil
		}
		return v
	}
	keys, _ := standard.(map[string]any)
	kept := &Tree{}
	for _, e := range t.fields {
		fact := w.facts.Of(o.Address.Kind(), f.name+"."+e.name)
		if s, ok := keys[e.name]; ok && reflect.DeepEqual(s, e.value) || fact.HasServer && fmt.Sprint(e.value) == fact.Server || e.value == "" && fact.Empty {
			continue
		}
		kept.fields = append(kept.fields, e)
	}
	return kept.orNil()
}

func (w *exporter) variantOf(o Object) string {
	protocol, _ := o.Fields["protocol"].(string)
	if kind := o.Address.Kind(); kind != "clients" || protocol == "" || protocol == "openid-connect" {
		return kind
	}
	return "clients " + protocol
}

// secret puts a variable in the place of a value; "" is one that nobody can read.
func (w *exporter) secret(a Address, path, value string, list bool) any {
	s := Withheld{Name: w.names.For(a, path), At: a, Path: path, Value: value}
	w.secrets = append(w.secrets, s)
	var v any = "$(env:" + s.Name + ")"
	if list {
		v = []any{v}
	}
	if value == "" && !w.Declare {
		return comment{v}
	}
	return v
}

// Manifests are the pieces as files: none makes one of them all, kind one for each kind of object, client one for each
// client besides. They are named by what stands in them.
func (e Export) Manifests(split string) (files map[string][]byte, secrets []Withheld, err error) {
	pieces, secrets, err := e.Pieces(split == "client")
	if err != nil {
		return nil, nil, err
	}
	files = map[string][]byte{}
	if split == "none" {
		all := &Tree{}
		for _, name := range sortedKeys(pieces) {
			all.fields = append(all.fields, pieces[name].fields...)
		}
		pieces = map[string]*Tree{"": all}
	}
	for name, t := range pieces {
		file := cmp.Or(name, "realm")
		if client, ok := strings.CutPrefix(name, "clients/"); ok {
			file = "clients/" + url.PathEscape(client)
		}
		files[file+".yaml"] = e.manifest(t)
	}
	if pieces[""] == nil {
		files["realm.yaml"] = e.manifest(&Tree{})
	}
	return files, secrets, nil
}

func (e Export) manifest(t *Tree) []byte {
	metadata, spec, top := &Tree{}, &Tree{}, &Tree{}
	metadata.add("name", e.Ref.Realm)
	if e.Ref.Server != "" {
		spec.add("server", e.Ref.Server)
	}
	spec.add("realm", t)
	top.add("apiVersion", apiVersion)
	top.add("kind", "Realm")
	top.add("metadata", metadata)
	top.add("spec", spec)
	return top.yaml()
}

// Declarable is a state without what can't be declared: what Keycloak makes itself, and what the definitions don't know.
func Declarable(version string, s State) (State, error) {
	d, err := define(Nearest(version))
	if err != nil {
		return nil, err
	}
	byKind := map[string]*form{}
	for _, f := range d.forms {
		if f.kind != nil && !f.kind.Links {
			byKind[f.kind.Name] = f
		}
	}
	w := &exporter{definitions: d}
	declarable := State{}
	for a, o := range s {
		if f := byKind[a.Kind()]; f != nil {
			fields, _ := w.declarable(f, o, o.Fields).(map[string]any)
			if providerID(&o) != "" && fields != nil { // it tells what a provider generated
				fields["providerId"] = o.Fields["providerId"]
			}
			o.Fields = fields
		}
		declarable[a] = o
	}
	return declarable, nil
}

// Fresh is what a new realm of a version holds by itself; nil where nobody has written that down.
func Fresh(version, realm string) (State, error) {
	text, err := definitionFiles.ReadFile("keycloak/" + minor(version) + "/fresh.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name, err := json.Marshal(realm)
	if err != nil {
		return nil, err
	}
	var objects map[Address]map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), "{realm}", strings.Trim(string(name), `"`))), &objects); err != nil {
		return nil, err
	}
	s := State{}
	for a, fields := range objects {
		s[a] = Object{Address: a, Fields: fields}
	}
	return s, nil
}
