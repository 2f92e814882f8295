package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
)

// defaults are what objects hold of which nothing but the key was given, as a server of the version made them: kind →
// fields. Clients of another protocol than OpenID Connect are a kind of their own here: clients saml.
type defaults map[string]map[string]any

// readDefaults reads the table of one version; the tests write it from a real server.
func readDefaults(files fs.FS, version string) (defaults, error) {
	text, err := fs.ReadFile(files, path.Join("keycloak", version, "defaults.json"))
	if errors.Is(err, fs.ErrNotExist) { // make generate is about to write it
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var d defaults
	return d, json.Unmarshal(text, &d)
}

// keepDefaults notes which keys of open maps the server puts in by itself: those can't be removed.
func (d *definitions) keepDefaults() {
	for kind, fields := range d.defaults {
		for name, v := range fields {
			keys, ok := v.(map[string]any)
			if !ok || !d.facts[kind][name].Map {
				continue
			}
			for key, value := range keys {
				fact := d.facts.Of(kind, name+"."+key)
				fact.Server, fact.HasServer = fmt.Sprint(value), true
				d.facts[kind][name+"."+key] = fact
			}
		}
	}
}

// null takes the server's default for a field. What a map shall not hold is nil there.
func (w *walker) null(o *Object, f *form, known *field, e entry, values map[string]any, path, label string, at Origin) {
	take := func(v any) {
		values[e.name] = v
		o.Origins[path+e.name] = e.origin
		if o.Nulls == nil {
			o.Nulls = map[string]bool{}
		}
		o.Nulls[path+e.name] = true
	}
	none := func(hint, what string) { // upon another layer, null takes away what stands there
		if !w.clears(o, known, e, path, problemf(at, "leave it out", "%s: null takes nothing away, for no layer below declares it", label)) {
			w.problem(at, hint, "%s: %s", label, what)
		}
	}
	table, kindKnown := w.definitions.defaults[w.variant(o)]
	for name := range dotted(path) {
		table, _ = table[name].(map[string]any)
	}
	v, ok := table[e.name]
	switch {
	case ok:
		take(v)
	case !kindKnown || known.links || known.kind != nil || known.elem != nil && known.elem.kind != nil || known.owner != "":
		none("leave it out, or write what shall stand there", "null asks for the server's default, and this has none that is known")
	case f.rest != nil: // a key of a map
		take(nil)
	case known.fact.Empty && known.types&cue.StringKind != 0:
		take("")
	case known.fact.Empty && known.types&cue.ListKind != 0:
		take([]any{})
	default:
		none("leave it out or write the value", "null asks for the server's default, which isn't known")
	}
}

// variant is the row of the table of defaults that an object follows.
func (w *walker) variant(o *Object) string {
	kind := o.Address.Kind()
	protocol, ok := o.Fields["protocol"].(string)
	if !ok && w.into != nil && w.below[w.into.Ref] != nil {
		protocol, ok = w.below[w.into.Ref].State[o.Address].Fields["protocol"].(string)
	}
	if ok && kind == "clients" && protocol != "openid-connect" {
		return kind + " " + protocol
	}
	return kind
}

// last puts the fields that are null, or hold some that may be, behind the others, whose values their defaults may hang on.
func last(entries []entry) []entry {
	var values, structs, nulls []entry
	for _, e := range entries {
		_, holds := e.value.(*ast.StructLit)
		switch {
		case null(e.value):
			nulls = append(nulls, e)
		case holds:
			structs = append(structs, e)
		default:
			values = append(values, e)
		}
	}
	return slices.Concat(values, structs, nulls)
}

// dotted are the names in a path that ends with a dot.
func dotted(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for start, i := 0, 0; i < len(path); i++ {
			if path[i] == '.' {
				if !yield(path[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}
