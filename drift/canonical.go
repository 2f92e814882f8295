package drift

import (
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// canonical is a field's value in the form in which both sides are compared: what means the same is made the same here,
// and nowhere else. The value itself is left alone.
func canonical(fact schema.Fact, v any) any {
	if list, ok := v.([]any); ok && fact.Blank {
		v = slices.DeleteFunc(slices.Clone(list), func(e any) bool { return e == nil || e == "" })
	}
	switch value := v.(type) {
	case []any:
	case string:
		v = typed(fact, value)
	default:
		if fact.As == "bool" || fact.As == "int" {
			v = typed(fact, scalar(v))
		}
	}
	if list, ok := v.([]any); ok {
		v = canonicalList(fact, list)
	}
	if s, ok := v.(string); ok && fact.Fold {
		v = strings.ToLower(s)
	}
	if fact.Empty && empty(v) {
		return nil
	}
	return v
}

// typed is a string's meaning: Keycloak keeps numbers, truths, lists and documents in strings.
func typed(fact schema.Fact, s string) any {
	switch fact.As {
	case "bool":
		if b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(s))); err == nil {
			return strconv.FormatBool(b)
		}
	case "int":
		if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case "csv":
		return split(s, ",")
	case "##":
		return split(s, "##")
	case "json", "profile":
		var v any
		if err := json.Unmarshal([]byte(s), &v); err == nil {
			if fact.As == "profile" {
				plainProfile(v)
			}
			return v
		}
	}
	return s
}

// plainProfile takes from a user profile what says nothing, and what the console adds where it saves one.
func plainProfile(v any) {
	profile, _ := v.(map[string]any)
	attributes, _ := profile["attributes"].([]any)
	for _, a := range attributes {
		if attribute, ok := a.(map[string]any); ok && attribute["multivalued"] == false {
			delete(attribute, "multivalued")
		}
	}
	if groups, ok := profile["groups"].([]any); ok && len(groups) == 0 {
		delete(profile, "groups")
	}
}

// plainStep is a workflow's step with every value a list: Keycloak gives a list of one as the one, and others in any order.
func plainStep(v any) any {
	step, ok := v.(map[string]any)
	with, has := step["with"].(map[string]any)
	if !ok || !has {
		return v
	}
	lists := map[string]any{}
	for name, value := range with {
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		lists[name] = canonicalList(schema.Fact{Set: true}, list)
	}
	step = maps.Clone(step)
	step["with"] = lists
	return step
}

func split(s, separator string) []any {
	parts := []any{}
	for part := range strings.SplitSeq(s, separator) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

func canonicalList(fact schema.Fact, list []any) any {
	list = slices.Clone(list)
	if fact.As == "steps" {
		for i, v := range list {
			list[i] = plainStep(v)
		}
	} else if fact.As != "" && fact.As != "csv" && fact.As != "##" {
		for i, v := range list {
			list[i] = typed(fact, scalar(v))
		}
	}
	if fact.Fold {
		for i, v := range list {
			list[i] = folded(fact, v)
		}
	}
	order := func(v any) string {
		if object, ok := v.(map[string]any); ok && fact.Key != "" {
			return scalar(object[fact.Key]) + "\x00" + encoded(v)
		}
		return encoded(v)
	}
	if fact.Set || fact.Key != "" && !fact.Ordered {
		sort.SliceStable(list, func(i, j int) bool { return order(list[i]) < order(list[j]) })
	}
	if fact.Set {
		list = slices.CompactFunc(list, func(a, b any) bool { return encoded(a) == encoded(b) })
	}
	return list
}

// folded is a value, or an object with its key, in small letters where case doesn't count.
func folded(fact schema.Fact, v any) any {
	switch v := v.(type) {
	case string:
		if fact.Fold {
			return strings.ToLower(v)
		}
	case map[string]any:
		if fact.Fold && fact.Key != "" {
			v = maps.Clone(v)
			v[fact.Key] = folded(fact, v[fact.Key])
			return v
		}
	}
	return v
}

// completed is a list of objects as declared, each with what it leaves out as the live one of its name has it.
func completed(fact schema.Fact, want, have any) any {
	declared, ok := want.([]any)
	live, both := have.([]any)
	if fact.Key == "" || !ok || !both {
		return want
	}
	list := slices.Clone(declared)
	for i, v := range list {
		object, ok := v.(map[string]any)
		j := slices.IndexFunc(live, func(l any) bool {
			other, isObject := l.(map[string]any)
			return ok && isObject && encoded(folded(fact, other[fact.Key])) == encoded(folded(fact, object[fact.Key]))
		})
		if j >= 0 {
			whole := maps.Clone(live[j].(map[string]any))
			maps.Copy(whole, object)
			list[i] = whole
		}
	}
	return list
}

// Nothing tells whether a value of a field is as good as none.
func Nothing(fact schema.Fact, v any) bool { return canonical(fact, v) == nil }

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// scalar is a value as Keycloak would write it into a string.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return encoded(v)
}

// encoded is a value's JSON, with the keys of objects in order: equal values have equal encodings.
func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // JSON values always encode
	}
	return string(b)
}

// same tells whether two values of a field mean the same.
func same(fact schema.Fact, a, b any) bool {
	return encoded(canonical(fact, a)) == encoded(canonical(fact, b))
}
