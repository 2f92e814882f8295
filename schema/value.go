package schema

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"
)

// value reads a value that belongs to an object, in the type that the definitions ask for. Path leads to it from its
// object, without the indices of lists.
func (w *walker) value(o *Object, f *field, n ast.Expr, path, label string, at Origin) (any, bool) {
	if null(n) {
		w.problem(at, "leave it out or write the value", "%s is null", label)
		return nil, false
	}
	if f.json {
		if list := w.listIn(n); list != nil {
			n = list
		} else if _, isList := n.(*ast.ListLit); !isList {
			return w.mistyped(n, label, at, "a list, or one in JSON", "", "")
		}
	}
	var v any
	ok := true
	switch n := n.(type) {
	case *ast.StructLit:
		if f.types&cue.StructKind == 0 {
			return w.mistyped(n, label, at, wanted(f.types), "", "")
		}
		v, ok = w.structure(o, f, n, path, label, at), true
	case *ast.ListLit:
		if f.types&cue.ListKind == 0 {
			return w.mistyped(n, label, at, wanted(f.types), "", "")
		}
		v, ok = w.elements(o, f, n, path, label, at)
	default:
		v, ok = w.scalar(o, f, n, path, label, at)
	}
	if ok {
		p := w.places[label]
		p.Origin, p.known, p.secret = at, true, f.fact.Secret || o.Inputs[path]
		w.places[label] = p
	}
	return v, ok
}

func (w *walker) structure(o *Object, f *field, n *ast.StructLit, path, label string, at Origin) map[string]any {
	m := map[string]any{}
	form := f.form
	if form.types == cue.TopKind {
		form = &anything
	}
	w.members(o, form, n, m, path+".", label+".", at)
	return m
}

// elements reads a list. One that holds secrets is taken as a whole or not at all.
func (w *walker) elements(o *Object, f *field, n *ast.ListLit, path, label string, at Origin) ([]any, bool) {
	list := make([]any, 0, len(n.Elts))
	elem := f.elem
	if elem == nil {
		elem = &field{form: &anything}
	}
	if f.fact.Secret || f.fact.Ref != "" {
		each := *elem
		each.fact.Secret, each.fact.Ref = f.fact.Secret, f.fact.Ref
		elem = &each
	}
	for i, e := range n.Elts {
		if s, ok := e.(*ast.StructLit); ok && f.fact.Key != "" && w.document.members(s)[deletion] != nil {
			if gone, ok := w.deletedElement(f.fact.Key, s, index(label, i), w.document.at(e, at)); ok {
				list = append(list, gone)
			}
			continue
		}
		if v, ok := w.value(o, elem, e, path, index(label, i), w.document.at(e, at)); ok {
			list = append(list, v)
		} else if text, _, _ := w.scalarText(e); f.fact.Secret || text == Mask {
			return nil, false
		}
	}
	return list, true
}

// scalar reads a string, number or bool. Keycloak stores 5 and true as "5" and "true" where a string belongs, and takes
// "5" and "true" for an int and a bool.
func (w *walker) scalar(o *Object, f *field, n ast.Expr, path, label string, at Origin) (any, bool) {
	lit, negative := literalOf(n)
	if lit == nil {
		return w.mistyped(n, label, at, wanted(f.types), "", "")
	}
	input := ""
	s := spelled(lit)
	if negative {
		s = "-" + s
	}
	if lit.Kind == token.STRING {
		if !utf8.ValidString(s) {
			w.problem(at, "write it in base64 as a plain string", "%s holds bytes that are no text", label)
			return nil, false
		}
		if w.inEnvelope && w.names(path) && w.substitutes(s) {
			hint := "write it out"
			if f.fact.Secret {
				hint = whereSecretsAre
			}
			w.problem(at, hint, "%s can't come from $(…)", label)
			return nil, false
		}
		if f.fact.Ref != "" && w.substitutes(s) {
			w.problem(at, "write the name itself", "%s: a name can't come from $(…), since plans and reports show it", label)
			return nil, false
		}
		if name, ok := w.named[f.fact.Ref][s]; ok && f.fact.Ref != "" {
			s = name
		}
		var ok bool
		if s, input, ok = w.substitute(s, label, at); !ok {
			return nil, false
		}
		if input != "" {
			o.Inputs[path] = true
			w.places[label] = place{input: input}
		}
		if s == Mask || f.fact.Secret && Asterisks(s) {
			return w.masked(label, at)
		}
	} else {
		s = w.literal(n, lit, s)
	}
	sealed := w.document.sealed[n]
	if !sealed && strings.HasPrefix(s, sealedPrefix) {
		w.problem(at, "encrypt the whole file anew", "%s: this is encrypted by sops, and the file has no key sops", label)
		return nil, false
	}
	if sealed && f.fact.Ref == "" { // a name is shown wherever it stands
		input = "an encrypted field"
		o.Inputs[path] = true
		w.places[label] = place{input: input}
	}
	if w.options.AsWritten && sealed {
		return written("(encrypted)"), true
	}
	if w.options.AsWritten && input != "" {
		return written(s), true
	}
	if v, ok := convert(f.types, lit.Kind, s); ok {
		return v, true
	}
	show := strconv.Quote(s)
	if lit.Kind != token.STRING {
		show = s
	}
	if f.fact.Secret {
		show = "the value"
	}
	return w.mistyped(n, label, at, wanted(f.types), input, show)
}

// names tells whether a value of an envelope says what the manifest is and for whom: that stands in git, for all to read.
func (w *walker) names(path string) bool {
	switch path {
	case "spec.server", "spec.deployment":
		return true
	}
	return !strings.HasPrefix(path, "spec.")
}

// written is a value that is known by what stands for it alone: a reference, or something encrypted.
type written string

// plain is a value with the text of what is only known as written.
func plain(v any) any {
	switch v := v.(type) {
	case written:
		return string(v)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plain(e)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = plain(e)
		}
		return m
	}
	return v
}

// masked is what Keycloak's exports show in place of a secret, and what it would store if it were sent back.
func (w *walker) masked(label string, at Origin) (any, bool) {
	say, what := w.problem, "%s is asterisks, as exports show it in place of the secret"
	if w.bare {
		say, what = w.warn, what+"; it is left alone"
	}
	say(at, "write $(env:…), or leave it out", what, label)
	return nil, false
}

// convert makes a value of what a scalar spells, if one of the types may hold it.
func convert(types cue.Kind, written token.Token, s string) (any, bool) {
	number, isNumber := numeral(s)
	whole := isNumber && number == math.Trunc(number) && !strings.ContainsAny(s, ".eE")
	isBool := s == "true" || s == "false"
	switch written {
	case token.TRUE, token.FALSE:
		if types&cue.BoolKind != 0 {
			return s == "true", true
		}
	case token.INT, token.FLOAT:
		if isNumber && (types&cue.FloatKind != 0 || types&cue.IntKind != 0 && whole) {
			return number, true
		}
		if !isNumber {
			return nil, false // .inf and .nan are no JSON
		}
	default:
		if types&cue.StringKind != 0 {
			return s, true
		}
		if types&cue.BoolKind != 0 && isBool {
			return s == "true", true
		}
		if isNumber && (types&cue.FloatKind != 0 || types&cue.IntKind != 0 && whole) && json.Valid([]byte(s)) {
			return number, true
		}
		return nil, false
	}
	if types&cue.StringKind != 0 {
		return s, true
	}
	return nil, false
}

// numeral is the number that a literal of YAML or JSON spells.
func numeral(s string) (float64, bool) {
	if n, ok := new(big.Int).SetString(s, 0); ok {
		f, _ := new(big.Float).SetInt(n).Float64()
		return f, !math.IsInf(f, 0)
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// literalOf is the literal that a scalar is, and whether a minus stands before it.
func literalOf(n ast.Expr) (*ast.BasicLit, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		return n, false
	case *ast.UnaryExpr:
		if lit, ok := n.X.(*ast.BasicLit); ok && n.Op == token.SUB {
			return lit, true
		}
	}
	return nil, false
}

// spelled is what a literal says: the text of a string, the digits of a number.
func spelled(lit *ast.BasicLit) string {
	if lit.Kind == token.STRING {
		if s, err := literal.Unquote(lit.Value); err == nil {
			return s
		}
	}
	return strings.TrimPrefix(lit.Value, "number & ")
}

// literal is a number as its author wrote it. The parser has made 0o123 of 0123, which a string keeps as it was.
func (w *walker) literal(n ast.Expr, lit *ast.BasicLit, s string) string {
	digits, octal := strings.CutPrefix(s, "0o")
	if !octal {
		return s
	}
	if i := n.Pos().Offset(); n.Pos().IsValid() && i < len(w.document.source) && strings.HasPrefix(string(w.document.source[i:min(i+2, len(w.document.source))]), "0o") {
		return s
	}
	return "0" + digits
}

// scalarText is the text of a scalar, and whether some of it is to be substituted.
func (w *walker) scalarText(n ast.Expr) (text string, input, ok bool) {
	lit, negative := literalOf(n)
	if lit == nil || lit.Kind == token.NULL {
		return "", false, false
	}
	text = spelled(lit)
	if lit.Kind != token.STRING {
		text = w.literal(n, lit, text)
	}
	if negative {
		text = "-" + text
	}
	return text, w.substitutes(text), true
}

// anything is the form of what nothing is known of.
var anything = form{types: cue.TopKind, rest: &field{name: "*", form: &form{types: cue.TopKind}}}

// wanted names what a field holds: "an int", "a string".
func wanted(types cue.Kind) string {
	var names []string
	for _, t := range []struct {
		kind cue.Kind
		name string
	}{
		{cue.BoolKind, "a bool"}, {cue.FloatKind, "a number"}, {cue.IntKind, "an int"},
		{cue.StringKind, "a string"}, {cue.ListKind, "a list"}, {cue.StructKind, "an object"},
	} {
		if types&t.kind != 0 && !(t.kind == cue.IntKind && types&cue.FloatKind != 0) {
			names = append(names, t.name)
		}
	}
	return strings.Join(names, " or ")
}

// mistyped says that a value isn't what its field holds. What came from $(…), and what counts as secret, isn't shown.
func (w *walker) mistyped(n ast.Expr, label string, at Origin, want, input, show string) (any, bool) {
	hint := ""
	switch want {
	case "a bool":
		hint = "write true or false"
	case "an int":
		hint = "write a whole number"
	case "a list":
		hint = "put it in brackets: [" + show + "]"
		if show == "" || show == "the value" {
			hint = "write a list"
		}
	}
	switch n.(type) {
	case *ast.StructLit:
		show, hint = "an object", ""
	case *ast.ListLit:
		show, hint = "a list", ""
	}
	if input != "" {
		show, hint = "the value of "+input, ""
	}
	if show == "" {
		show = "this"
		if lit, _ := literalOf(n); lit != nil {
			show = lit.Value
		}
	}
	if len(show) > 60 {
		show = show[:57] + `…"`
	}
	w.problem(at, hint, "%s: %s is not %s", label, show, want)
	return nil, false
}

// quote shows a value of an object, unless it came from $(…).
func (w *walker) quote(o *Object, path, v string) string {
	if o.Inputs[path] {
		return "the value"
	}
	return strconv.Quote(v)
}
