package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"
)

// check lets CUE look at an object's values, whose types are right by now, for everything else that the definitions ask.
func (w *walker) check(f *form, values map[string]any, label string) {
	w.definitions.mu.Lock()
	defer w.definitions.mu.Unlock()
	err := f.value.Unify(w.definitions.context.Encode(exact(f.inStrings(values)))).Validate(cue.Concrete(true))
	told := map[string]bool{}
	for _, e := range errors.Errors(err) {
		parts := relativePath(f, e)
		at := strings.TrimSuffix(label, ".")
		for _, p := range parts {
			if _, err := strconv.Atoi(p); err == nil && w.places[at+"["+p+"]"].known {
				at += "[" + p + "]"
			} else {
				at = prefix(at) + p
			}
		}
		if told[at] || w.passed[at] {
			continue
		}
		told[at] = true
		w.constraint(f, values, parts, at, e)
	}
}

// relativePath is where in an object CUE found something.
func relativePath(f *form, e errors.Error) []string {
	parts := slices.Clone(e.Path())
	for i, p := range parts {
		if s, err := strconv.Unquote(p); err == nil {
			parts[i] = s
		}
	}
	return parts[min(len(f.value.Path().Selectors()), len(parts)):]
}

// constraint says what CUE found, in words of ours: its own list every alternative on a line.
func (w *walker) constraint(f *form, values map[string]any, parts []string, label string, e errors.Error) {
	var v any = values
	says := ""
	for _, p := range parts {
		switch at := v.(type) {
		case map[string]any:
			v = at[p]
			f, says = f.below(p)
		case []any:
			if i, err := strconv.Atoi(p); err == nil && i < len(at) {
				v = at[i]
			}
			elem, meant := f.below("")
			f, says = elem, cmp.Or(meant, says)
		}
	}
	p := w.places[label]
	show, _ := json.Marshal(v)
	switch {
	case p.input != "":
		show = []byte("the value of " + p.input)
	case p.secret:
		show = []byte("the value")
	}
	var names []string
	if f != nil {
		names = alternatives(f.value)
	}
	if len(names) > 0 {
		hint := ""
		if s, ok := v.(string); ok && !p.secret {
			hint = didYouMean(s, names)
		}
		w.problem(p.Origin, hint, "%s: %s is not one of %s", label, show, strings.Join(names, ", "))
		return
	}
	if says != "" {
		w.problem(p.Origin, "", "%s: %s is not %s", label, show, says)
		return
	}
	if bound := bounds(f); bound != "" {
		w.problem(p.Origin, "", "%s: %s is not allowed: it must be %s", label, show, bound)
		return
	}
	if p.secret {
		w.problem(p.Origin, "", "%s: the value is not allowed", label)
		return
	}
	format, args := e.Msg()
	w.problem(p.Origin, "", "%s: %s", label, fmt.Sprintf(format, args...))
}

// below is the form of a part, and what its @says says of it.
func (f *form) below(name string) (*form, string) {
	switch {
	case f == nil:
	case f.fields[name] != nil:
		return f.fields[name].form, f.fields[name].says
	case f.elem != nil:
		return f.elem.form, f.elem.says
	case f.rest != nil:
		return f.rest.form, f.rest.says
	}
	return nil, ""
}

// alternatives are the strings that a value may be, where it is one of a few.
func alternatives(v cue.Value) []string {
	op, args := v.Expr()
	switch op {
	case cue.OrOp:
		var names []string
		for _, a := range args {
			s, err := a.String()
			if err != nil {
				return nil
			}
			names = append(names, s)
		}
		return names
	case cue.AndOp:
		for _, a := range args {
			if names := alternatives(a); names != nil {
				return names
			}
		}
	}
	return nil
}

// bounds are the limits of a value, as CUE writes them: >=1 & <=65535.
func bounds(f *form) string {
	if f == nil {
		return ""
	}
	var found []string
	var look func(v cue.Value)
	look = func(v cue.Value) {
		op, args := v.Expr()
		switch op {
		case cue.AndOp:
			for _, a := range args {
				look(a)
			}
		case cue.GreaterThanEqualOp, cue.GreaterThanOp, cue.LessThanEqualOp, cue.LessThanOp, cue.RegexMatchOp, cue.NotEqualOp:
			found = append(found, fmt.Sprint(v))
		}
	}
	look(cue.Dereference(f.value))
	return strings.Join(found, " and ")
}

// exact makes whole numbers ints, which CUE tells from floats, and leaves out what says no value: the keys of maps that
// shall not be there, the objects that go, references as they are written.
func exact(v any) any {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return int64(v)
		}
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			if !valueless(e) {
				list = append(list, exact(e))
			}
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			if !valueless(e) {
				m[k] = exact(e)
			}
		}
		return m
	}
	return v
}

func valueless(v any) bool {
	_, reference := v.(written)
	object, _ := v.(map[string]any)
	return v == nil || reference || object[deletion] == true
}
