package schema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

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
	if f.fact.Once && w.defaultActions() { // which somebody new would get
		return v
	}
	standard, has := table[f.name]
	t, isTree := v.(*Tree)
	if !isTree {
		nothing := reflect.ValueOf(v).IsZero() && f.name != "enabled" || isList(v) && len(v.([]any)) == 0 // a workflow is enabled where nothing is said
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

// defaultActions tells whether the realm asks something of everybody who is new in it.
func (w *exporter) defaultActions() bool {
	for a, o := range w.State {
		if a.Kind() == "requiredActions" && o.Fields["defaultAction"] == true {
			return true
		}
	}
	return false
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
