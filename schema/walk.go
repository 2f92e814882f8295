package schema

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
)

// walker reads one document beside the definitions: it splits it into objects, gives every value the type that the
// definitions ask for, and finds what they don't know.
type walker struct {
	*loader
	document     document
	realm        *RealmRef // nil where the document doesn't say
	deployment   string
	bare         bool // a representation of Keycloak's own: what isn't managed is no mistake in it
	placeholders []string
	inEnvelope   bool
	noun         string // what the fields are fields of, for people

	into    *Realm
	origins map[string]Origin            // of the settings
	said    map[string]bool              // the problems, by place and text without label; what was said to be unmanaged
	places  map[string]place             // of the values of the object being read, by label
	passed  map[string]bool              // the labels of fields that are left to a newer server
	labels  map[Address]string           // of the objects read
	lists   []*field                     // flat lists that were declared
	holder  string                       // the field by which the objects of the flat list being read name what they belong to
	named   map[string]map[string]string // the names that ids of the file stand for, by kind
	group   map[string]string            // the key field that the map around a list gives its objects
	depth   int
}

// place is where a value of an object stands.
type place struct {
	Origin
	known  bool
	secret bool   // the value isn't shown
	input  string // the $(…) that it came from
}

func (l *loader) walker(doc document, ref RealmRef, bare bool) *walker {
	return &walker{loader: l, document: doc, realm: &ref, bare: bare, origins: map[string]Origin{}, said: map[string]bool{}, places: map[string]place{}, passed: map[string]bool{}, labels: map[Address]string{}}
}

// problem says what is wrong with the value that the first argument names. What stands behind an anchor is read once for
// every use, and wrong once.
func (w *walker) problem(o Origin, hint, format string, args ...any) {
	p := problemf(o, hint, format, args...)
	p.Realm, p.Deployment = w.realm, w.deployment
	said := p.What
	if len(args) > 0 {
		said = strings.TrimPrefix(said, fmt.Sprint(args[0]))
	}
	if key := o.String() + said; !w.said[key] {
		w.said[key] = true
		w.loader.problem(p)
	}
}

func (w *walker) warn(o Origin, hint, format string, args ...any) {
	p := problemf(o, hint, format, args...)
	p.Realm, p.Warning = w.realm, true
	w.loader.problem(p)
}

// root reads a realm's representation.
func (w *walker) root(r *Realm, n ast.Expr, label string, o Origin) {
	w.into = r
	s, ok := n.(*ast.StructLit)
	if !ok {
		w.mistyped(n, label, o, "an object", "", "")
		return
	}
	w.identify(s)
	w.object(w.definitions.forms["#RealmRepresentation"], n, "", "", o, "")
	w.completeFlat()
	w.permissionNames()
}

// finish hands over what the document declares. Where it names no server, Ref doesn't either.
func (w *walker) finish(r *Realm) {
	if r.Ref.Realm != "" && !strings.Contains(r.Ref.Realm+r.Ref.Server, "$(") {
		w.merge(r, w.origins)
	}
}

// object reads an object and everything below it. Parent is the object that holds it; label names it, or the list it
// stands in, for people; name is its name where it need not bear one.
func (w *walker) object(f *form, n ast.Expr, parent Address, label string, o Origin, name string) {
	s, ok := n.(*ast.StructLit)
	if !ok {
		w.mistyped(n, label, o, "an object", "", "")
		return
	}
	object := Object{Address: RealmAddress, Fields: map[string]any{}, Origin: w.document.at(n, o), Origins: map[string]Origin{}, Inputs: map[string]bool{}}
	if f.kind.Name != string(RealmAddress) {
		key, at, ok := w.key(f, s, label, object.Origin, name)
		if !ok {
			return
		}
		object.Address, object.Origin = Join(parent, f.kind.Name, key...), at
		if object.Address == Join(RealmAddress, "clients", LedgerClient) { // an export of a realm that is managed has it
			if !w.bare {
				w.problem(at, "leave it out", "client %s is where cloakwork remembers what it manages", LedgerClient)
			}
			return
		}
		if name == "" && len(key) > 0 {
			label += "[" + strings.Join(object.Address.Key(), ",") + "]"
		}
		if w.labels[object.Address] == label {
			w.problem(at, "keep one", "%s stands here twice, first at %s", label, w.into.State[object.Address].Origin)
			return
		}
		w.labels[object.Address] = label
		if w.document.members(s)[deletion] != nil {
			w.deleted(f, s, object.Address, label)
			return
		}
		for i, k := range f.kind.Key {
			if key[i] != "" {
				object.Fields[k], object.Origins[k] = key[i], at
			}
		}
	}
	before := w.places
	w.places = map[string]place{}
	w.noun = one(f.kind.Name)
	checked := map[string]any{}
	w.fields(&object, f, w.entries(s, label, o), object.Fields, checked, "", prefix(label))
	w.check(f, checked, label)
	w.places = before
	if object.Address == RealmAddress {
		w.realmName(object)
	}
	w.add(object)
}

func prefix(label string) string {
	if label == "" {
		return ""
	}
	return label + "."
}

// realmName takes the realm's name out of its fields: it is the realm's reference, and must be no other.
func (w *walker) realmName(o Object) {
	name, ok := o.Fields["realm"].(string)
	delete(o.Fields, "realm")
	if ok && name != w.into.Ref.Realm {
		w.problem(o.Origins["realm"], "leave it out, or rename the realm in metadata.name with $was", "realm is %s, but metadata.name is %q", w.quote(&o, "realm", name), w.into.Ref.Realm)
	}
	delete(o.Origins, "realm")
}

// key reads the fields that make an object's key, and says where the last of them stands.
func (w *walker) key(f *form, s *ast.StructLit, label string, start Origin, name string) (key []string, at Origin, ok bool) {
	at = start
	members := w.document.members(s)
	for _, k := range f.kind.Key {
		m := members[k]
		if m == nil {
			if given, ok := w.group[k]; ok || slices.Contains(f.kind.Optional, k) {
				key = append(key, given)
				continue
			}
			if name != "" && len(f.kind.Key) == 1 {
				return []string{name}, start, true
			}
			hint := ""
			for _, other := range sortedKeys(members) {
				if f.fields[other] == nil && Suggest(other, f.kind.Key) == k {
					hint = "write " + k + " instead of " + other
				}
			}
			w.problem(start, hint, "%s has no %s", label, k)
			return nil, start, false
		}
		at = w.document.label(m, start)
		if at.Line < start.Line { // a YAML merge keeps the place of the name that it overrides
			at = w.document.at(m.Value, start)
		}
		v, input, isText := w.scalarText(m.Value)
		switch o := w.document.at(m.Value, at); {
		case !isText:
			w.mistyped(m.Value, prefix(label)+k, o, "a string", "", "")
			return nil, start, false
		case input:
			w.problem(o, "write the name itself", "%s: a name can't come from $(…), since plans and reports show it", prefix(label)+k)
			return nil, start, false
		case v == "":
			w.problem(o, "", "%s is empty", prefix(label)+k)
			return nil, start, false
		}
		if f.kind.Fold {
			v = strings.ToLower(v)
		}
		key = append(key, v)
	}
	return key, at, true
}

// entry is one field as a manifest has it.
type entry struct {
	name   string
	origin Origin // of the name
	value  ast.Expr
}

// entries are the fields of a struct; one that stands there twice is a problem.
func (w *walker) entries(s *ast.StructLit, label string, o Origin) []entry {
	var entries []entry
	first := map[string]Origin{}
	for _, e := range s.Elts {
		f, ok := e.(*ast.Field)
		if !ok {
			continue
		}
		name, _, err := ast.LabelName(f.Label)
		if err != nil {
			continue
		}
		at := w.document.label(f, o)
		if before, twice := first[name]; twice {
			w.problem(at, "keep one", "%s%s stands here twice, first at %s", prefix(label), name, before)
			continue
		}
		first[name] = at
		if strings.Contains(name, "$(env:") || strings.Contains(name, "$(file:") {
			w.problem(at, "write the name itself", "%s%s: a name can't come from $(…)", prefix(label), name)
			continue
		}
		entries = append(entries, entry{name, at, f.Value})
	}
	return entries
}

// members reads the fields of a struct into values.
func (w *walker) members(o *Object, f *form, s *ast.StructLit, values map[string]any, path, label string, at Origin) {
	w.fields(o, f, w.entries(s, strings.TrimSuffix(label, "."), at), values, values, path, label)
}

// fields reads the fields of an object, or of a struct in it. What goes to values belongs to the object; what goes to
// checked is all that CUE shall look at, with the links that become objects of their own. Path leads from the object to
// here, label from the top of the realm.
func (w *walker) fields(o *Object, f *form, entries []entry, values, checked map[string]any, path, label string) {
	if len(entries) == 0 {
		return
	}
	if w.depth++; w.depth > deepest {
		w.depth--
		w.problem(entries[0].origin, "", "%s is nested deeper than %d objects", shorten(label), deepest)
		return
	}
	defer func() { w.depth-- }()
	noun := w.noun
	for _, e := range last(entries) {
		w.noun = noun
		known := f.fields[e.name]
		if known == nil {
			known = f.rest
		}
		name := label + e.name
		at := w.document.at(e.value, e.origin)
		switch {
		case path == "" && strings.HasPrefix(e.name, "$"):
			w.directive(o, f, e, name)
		case strings.HasPrefix(e.name, "$") && f.rest == nil:
			w.problem(e.origin, "", "%s has no place here", name)
		case known == nil:
			w.unknown(o, f, e, values, path, label)
		case known.computed && strings.HasSuffix(providerID(o), known.made), w.inEnvelope && path+e.name == "spec.realm": // the realm itself is read by root
		case path == "" && f.kind != nil && f.kind.Fold && slices.Contains(f.kind.Key, e.name): // key has read it
		case null(e.value):
			w.null(o, f, known, e, values, path, name, at)
		case known.unmanaged:
			if !w.asMade(o, e, path) {
				w.unmanaged(known, e, name)
			}
		case known.names != "":
			w.namesIn(o, known, e, name)
		case known.links:
			link := Object{Address: Join(o.Address, cmp.Or(known.linked, known.name)), Fields: map[string]any{}, Origin: e.origin, Origins: map[string]Origin{}, Inputs: map[string]bool{}}
			if v, ok := w.value(&link, known, e.value, known.name, name, at); ok {
				link.Fields[known.name], checked[known.name] = v, v
				link.Origins[known.name] = e.origin
				w.add(link)
			}
		case known.mappings != "":
			w.scopeMappings(known, e, name)
		case known.owner != "":
			w.owned(o, known, e, name)
		case known.grouped != "":
			w.groups(o, known, e, name)
		case known.elem != nil && known.elem.kind != nil:
			w.list(o, known, e, name)
		case known.kind != nil:
			nameless := strings.ReplaceAll(known.nameless, "{realm}", strings.ToLower(w.into.Ref.Realm))
			w.object(known.form, e.value, o.Address, name, e.origin, nameless)
		default:
			v, ok := w.value(o, known, e.value, path+e.name, name, at)
			if m, isMap := v.(map[string]any); ok && !(known.holds && isMap && len(m) == 0) {
				values[e.name], checked[e.name] = v, v
				o.Origins[path+e.name] = e.origin
			}
		}
	}
}

// directive reads what an object says about itself: $was.
func (w *walker) directive(o *Object, f *form, e entry, label string) {
	at := w.document.at(e.value, e.origin)
	switch {
	case e.name == deletion:
		w.problem(e.origin, "write spec.realm: null for a realm that shall not be", "%s has no place here", label)
	case e.name != "$was":
		w.problem(e.origin, didYouMean(e.name, []string{"$was", deletion}), "%s is not a directive", label)
	case !f.was:
		w.problem(e.origin, "", "%s: %s can't be renamed", label, one(o.Address.Kind()))
	default:
		elems := []ast.Expr{e.value}
		if l, ok := e.value.(*ast.ListLit); ok {
			elems = l.Elts
		}
		for _, elem := range elems {
			name, input, ok := w.scalarText(elem)
			if !ok || input || name == "" {
				w.problem(w.document.at(elem, at), "write $was: [old-name]", "%s is not a list of former names", label)
				return
			}
			if f.kind.Fold {
				name = strings.ToLower(name)
			}
			o.Was = append(o.Was, name)
		}
	}
}

// unknown says that a field isn't one, unless the server is newer than all definitions: then it has the last word.
func (w *walker) unknown(o *Object, f *form, e entry, values map[string]any, path, label string) {
	var names []string
	for name, known := range f.fields {
		if !known.computed {
			names = append(names, name)
		}
	}
	hint := didYouMean(e.name, names)
	if hint == "" && w.inEnvelope && w.noun == "a manifest" {
		if _, ok := w.definitions.forms["#RealmRepresentation"].fields[e.name]; ok {
			hint = "write it below spec.realm"
		}
	}
	if newer := w.newer(); newer != "" && !w.inEnvelope && !strings.HasPrefix(e.name, "$") {
		if v, ok := w.value(o, &field{name: e.name, form: &anything}, e.value, path+e.name, label+e.name, w.document.at(e.value, e.origin)); ok {
			values[e.name], o.Origins[path+e.name] = v, e.origin
			w.passed[label+e.name] = true
			w.warn(e.origin, hint, "%s isn't known up to Keycloak %s; Keycloak %s is asked to take it as it is", label+e.name, w.definitions.version, newer)
		}
		return
	}
	if newer := w.definitions.since(f.value.Path().String(), e.name); newer != "" {
		w.problem(e.origin, "Keycloak "+newer+" does; leave it out until the server is upgraded", "%s: Keycloak %s doesn't know it", label+e.name, w.definitions.version)
		return
	}
	if path == "" {
		w.problem(e.origin, hint, "%s is not a field of %s", label+e.name, w.noun)
		return
	}
	w.problem(e.origin, hint, "%s is not a field", label+e.name)
}

// unmanaged says that a field is left alone, where it says anything.
func (w *walker) unmanaged(f *field, e entry, label string) {
	if vain(e.value) {
		return
	}
	verb := "is"
	if strings.HasSuffix(f.name, "s") {
		verb = "are"
	}
	if w.bare {
		if !w.said[f.name] {
			w.said[f.name] = true
			w.warn(e.origin, f.instead, "%s %s not managed by this version of cloakwork, and left alone", label, verb)
		}
		return
	}
	hint := f.instead
	if hint == "" {
		hint = "leave it out; what stands in Keycloak is left alone"
		if verb == "are" {
			hint = "leave them out; what stands in Keycloak is left alone"
		}
	}
	w.problem(e.origin, hint, "%s %s not managed by this version of cloakwork", label, verb)
}

// asMade tells whether a field holds what the server gives every object of the kind, as exports do that mean nothing by it.
func (w *walker) asMade(o *Object, e entry, path string) bool {
	lit, ok := e.value.(*ast.BasicLit)
	made := w.definitions.defaults[w.variant(o)][e.name]
	return ok && path == "" && made != nil && spelled(lit) == fmt.Sprint(made)
}

// vain tells whether a value says nothing: {}, [], "", false, and structs of these.
func vain(n ast.Expr) bool {
	switch n := n.(type) {
	case *ast.StructLit:
		return !slices.ContainsFunc(n.Elts, func(d ast.Decl) bool {
			f, ok := d.(*ast.Field)
			return ok && !vain(f.Value)
		})
	case *ast.ListLit:
		return len(n.Elts) == 0
	case *ast.BasicLit:
		s := spelled(n)
		return s == "" || s == "false" || s == "null" || s == "0"
	}
	return false
}

// add takes an object into the realm. A second one of the same address came by another way, as the default role does,
// which stands among the roles too.
func (w *walker) add(o Object) {
	if w.options.AsWritten {
		o.Fields, _ = plain(o.Fields).(map[string]any)
	}
	if before, twice := w.into.State[o.Address]; twice {
		o = w.united(before, o)
	}
	w.into.State[o.Address] = o
}

func index(label string, i int) string { return label + "[" + strconv.Itoa(i) + "]" }

func shorten(label string) string {
	if len(label) > 60 {
		label = label[:60] + "…"
	}
	return strings.TrimSuffix(label, ".")
}

// sortedKeys are the keys of a map, in order.
func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
