package schema

import (
	"strings"

	"cuelang.org/go/cue/ast"
)

// scopeMappings reads what tokens may bear: roles of the realm, in a list, or roles of clients, in a map of such lists. It
// becomes the links of the clients and client scopes that the entries name.
func (w *walker) scopeMappings(f *field, e entry, label string) {
	if f.mappings == "realm" {
		w.scopeMapped(f, e, label, f.mappings)
		return
	}
	s, ok := e.value.(*ast.StructLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "an object", "", "")
		return
	}
	for _, client := range w.entries(s, label, e.origin) {
		w.scopeMapped(f.rest, client, label+"."+client.name, f.mappings, client.name)
	}
}

// scopeMapped reads one list of entries. At leads to where their roles stand in the links.
func (w *walker) scopeMapped(f *field, e entry, label string, at ...string) {
	l, ok := e.value.(*ast.ListLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "a list", "", "")
		return
	}
	for i, elem := range l.Elts {
		label, origin := index(label, i), w.document.at(elem, e.origin)
		s, ok := elem.(*ast.StructLit)
		if !ok {
			w.mistyped(elem, label, origin, "an object", "", "")
			continue
		}
		entry := Object{Address: "scopeMappings", Fields: map[string]any{}, Origin: origin, Origins: map[string]Origin{}, Inputs: map[string]bool{}}
		w.noun = one("scopeMappings")
		w.members(&entry, f.elem.form, s, entry.Fields, "", label+".", origin)
		written := w.document.members(s)
		if (written["client"] == nil) == (written["clientScope"] == nil) {
			w.problem(origin, "write client: NAME or clientScope: NAME", "%s names neither a client nor a client scope, or both", label)
			continue
		}
		if written["roles"] == nil {
			w.problem(origin, "write roles: [] for none", "%s has no roles", label)
			continue
		}
		owner, named := w.scopeMappingsOf(entry, label)
		if roles, ok := entry.Fields["roles"]; ok && named {
			w.add(links(owner, entry, "roles", roles, append([]string{"scopeMappings"}, at...)))
		}
	}
}

// links is an object of links below an owner that holds the value of one field of what was read, at a path.
func links(owner Address, from Object, field string, value any, at []string) Object {
	path := strings.Join(at, ".")
	o := Object{Address: Join(owner, at[0]), Origin: from.Origin, Origins: map[string]Origin{path: from.Origins[field]}, Inputs: map[string]bool{}}
	for i := len(at) - 1; i > 0; i-- {
		value = map[string]any{at[i]: value}
	}
	o.Fields = map[string]any{at[0]: value}
	return o
}

// scopeMappingsOf is the client or client scope that an entry names.
func (w *walker) scopeMappingsOf(entry Object, label string) (Address, bool) {
	for field, kind := range map[string]string{"client": "clients", "clientScope": "clientScopes"} {
		name, ok := entry.Fields[field].(string)
		switch {
		case !ok:
		case entry.Inputs[field]:
			w.problem(entry.Origins[field], "write the name itself", "%s: a name can't come from $(…), since plans and reports show it", prefix(label)+field)
		case name == "":
			w.problem(entry.Origins[field], "", "%s is empty", prefix(label)+field)
		default:
			return Join(RealmAddress, kind, name), true
		}
	}
	return "", false
}
