package schema

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// Tree is an object whose fields have an order, to be written for people.
type Tree struct{ fields []treeField }

type treeField struct {
	name  string
	value any // string, bool, float64, []any, *Tree or comment
}

// comment is a value that stands in a manifest without being declared.
type comment struct{ value any }

func (t *Tree) add(name string, value any) { t.fields = append(t.fields, treeField{name, value}) }

func (t *Tree) text(name string) string {
	for _, f := range t.fields {
		if f.name == name {
			s, _ := f.value.(string)
			return s
		}
	}
	return ""
}

// orNil is the tree, or nil where it is empty.
func (t *Tree) orNil() any {
	if len(t.fields) == 0 {
		return nil
	}
	return t
}

func listOrNil(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

func (t *Tree) yaml() []byte {
	var b strings.Builder
	t.write(&b, "")
	return []byte(b.String())
}

func (t *Tree) write(b *strings.Builder, indent string) {
	for _, f := range t.fields {
		if c, ok := f.value.(comment); ok {
			b.WriteString(indent + "# " + scalarYAML(f.name) + ": " + flow(c.value) + " # Keycloak doesn't show it\n")
			continue
		}
		b.WriteString(indent + scalarYAML(f.name) + ":")
		writeValue(b, indent, f.value)
	}
}

func writeValue(b *strings.Builder, indent string, v any) {
	switch v := v.(type) {
	case *Tree:
		if !v.says() {
			b.WriteString(" {}\n")
		} else {
			b.WriteByte('\n')
		}
		v.write(b, indent+"  ")
	case []any:
		if len(v) == 0 || short(v) {
			b.WriteString(" " + flow(v) + "\n")
			return
		}
		b.WriteByte('\n')
		for _, e := range v {
			writeElement(b, indent+"  ", e)
		}
	default:
		b.WriteString(" " + scalarYAML(v) + "\n")
	}
}

// says tells whether anything in the tree is more than a comment.
func (t *Tree) says() bool {
	for _, f := range t.fields {
		if _, ok := f.value.(comment); !ok {
			return true
		}
	}
	return false
}

func writeElement(b *strings.Builder, indent string, v any) {
	switch v := v.(type) {
	case *Tree:
		if !v.says() {
			b.WriteString(indent + "- {}\n")
			return
		}
		var inner strings.Builder
		v.write(&inner, indent+"  ")
		b.WriteString(indent + "- " + strings.TrimPrefix(inner.String(), indent+"  "))
	case []any:
		b.WriteString(indent + "- " + flow(v) + "\n")
	default:
		b.WriteString(indent + "- " + scalarYAML(v) + "\n")
	}
}

// short tells whether a list fits on its line.
func short(list []any) bool {
	for _, e := range list {
		switch e.(type) {
		case *Tree, []any:
			return false
		}
	}
	return len(flow(list)) <= 80
}

func flow(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = flow(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *Tree:
		parts := make([]string, len(v.fields))
		for i, f := range v.fields {
			parts[i] = scalarYAML(f.name) + ": " + flow(f.value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case string:
		if strings.ContainsAny(v, ",[]{}") {
			return quoted(v)
		}
	}
	return scalarYAML(v)
}

// bare is a text that YAML of every age reads as that text: no number, no truth, no time.
var bare = regexp.MustCompile(`^[A-Za-z_/$][A-Za-z0-9_./$()@+*=~ :-]*$`)

// otherwise are texts that YAML has taken for something else at some time.
var otherwise = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf)$`)

func scalarYAML(v any) string {
	switch v := v.(type) {
	case string:
		if bare.MatchString(v) && !otherwise.MatchString(v) && !strings.HasSuffix(v, " ") && !strings.Contains(v, ": ") && !strings.HasSuffix(v, ":") {
			return v
		}
		return quoted(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	}
	return "null"
}

func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}
