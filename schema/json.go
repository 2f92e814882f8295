package schema

import (
	"encoding/json"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// listIn is the list that a string spells in JSON, as if it stood there itself; nil where it spells none.
func (w *walker) listIn(n ast.Expr) ast.Expr {
	lit, _ := literalOf(n)
	if lit == nil || lit.Kind != token.STRING {
		return nil
	}
	s := spelled(lit)
	if s == "" {
		return ast.NewList()
	}
	var list []any
	if json.Unmarshal([]byte(s), &list) != nil {
		return nil
	}
	return syntax(list)
}

// syntax is a JSON value as the parser would have read it, without a place.
func syntax(v any) ast.Expr {
	switch v := v.(type) {
	case string:
		return ast.NewString(v)
	case bool:
		return ast.NewBool(v)
	case []any:
		list := &ast.ListLit{}
		for _, e := range v {
			list.Elts = append(list.Elts, syntax(e))
		}
		return list
	case map[string]any:
		object := &ast.StructLit{}
		for _, name := range sortedKeys(v) {
			object.Elts = append(object.Elts, &ast.Field{Label: ast.NewString(name), Value: syntax(v[name])})
		}
		return object
	case float64:
		kind := token.FLOAT
		if v == float64(int64(v)) {
			kind = token.INT
		}
		return ast.NewLit(kind, encoded(v))
	}
	return ast.NewNull()
}

// inStrings are values with those lists in strings which Keycloak has there, as CUE looks at them.
func (f *form) inStrings(values map[string]any) map[string]any {
	all := make(map[string]any, len(values))
	for name, v := range values {
		known := f.fields[name]
		if known == nil {
			known = f.rest
		}
		switch nested := v.(type) {
		case []any:
			if known != nil && known.json {
				v = encoded(nested)
			}
		case map[string]any:
			if known != nil {
				v = known.inStrings(nested)
			}
		}
		all[name] = v
	}
	return all
}
