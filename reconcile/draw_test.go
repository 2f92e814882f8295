package reconcile_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// draw makes representations of realms at random: which fields there are, and what they hold, it takes from the facts of
// the definitions, and what they can't know from the tables in offers_test.go.
type draw struct {
	*rand.Rand
	facts  schema.Facts
	offers offers
	there  map[string][]string // kind → the names of what the manifest may refer to; groups by path, roles of clients at clients/ID
}

// chance is true p times of 1.
func (d *draw) chance(p float64) bool { return d.Float64() < p }

func one[T any](d *draw, of ...T) T { return of[d.IntN(len(of))] }

// some are a few of a list, each once, in any order.
func some[T any](d *draw, of []T, most int) []T {
	list := slices.Clone(of)
	d.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:d.IntN(min(most, len(list))+1)]
}

// somes is some as a list of JSON.
func (d *draw) somes(of []string, most int) []any {
	list := []any{}
	for _, v := range some(d, of, most) {
		list = append(list, v)
	}
	return list
}

// fields fills in fields of an object of a kind: each with the chance given, but for those that it has already.
func (d *draw) fields(kind string, o map[string]any, chance float64) map[string]any {
	for _, path := range slices.Sorted(maps.Keys(d.facts[kind])) {
		if _, has := o[path]; has || strings.Contains(path, ".") || !d.chance(chance) {
			continue
		}
		if v, ok := d.value(kind, path, o); ok {
			o[path] = v
		}
	}
	return o
}

// value draws what a field may hold, and says whether it may hold anything in this object.
func (d *draw) value(kind, path string, o map[string]any) (any, bool) {
	fact := d.facts.Of(kind, path)
	if rule, ok := rules[kind+"."+path]; ok {
		v := rule(d, o)
		_, out := v.(leftOut)
		return v, !out
	}
	if fact.Empty && d.chance(0.1) && nullable[kind] && fact.Type != "struct" {
		return nil, true
	}
	switch {
	case fact.Ref != "":
		names := d.there[fact.Ref]
		if fact.Type == "list" {
			return d.somes(names, 4), true
		}
		return one(d, names...), len(names) > 0
	case fact.As == "bool":
		return one[any](d, true, false, "true", "false"), true
	case fact.As == "int":
		n := d.IntN(5000)
		return one[any](d, n, strconv.Itoa(n)), true
	case fact.As == "##":
		return one(d, "+", "https://a.example/*", "https://a.example/*##https://b.example/ü"), true
	case fact.As == "json":
		return `{"` + one(d, "gold", "silver") + `": ` + strconv.Itoa(d.IntN(9)) + `}`, true
	}
	switch fact.Type {
	case "bool":
		return d.chance(0.5), true
	case "int":
		return d.IntN(10_000), true
	case "string":
		return d.text(), true
	case "list":
		list := []any{}
		for range d.IntN(4) {
			list = append(list, d.text())
		}
		return list, true
	case "struct":
		return d.mapping(kind, path, o), true
	}
	panic("nothing says what " + kind + "." + path + " may hold")
}

// mapping draws some of the keys that the definitions name, and some others.
func (d *draw) mapping(kind, path string, o map[string]any) map[string]any {
	m := map[string]any{}
	for _, p := range slices.Sorted(maps.Keys(d.facts[kind])) {
		key, below := strings.CutPrefix(p, path+".")
		if !below || key == "*" || strings.Contains(key, "*.") || !d.chance(0.2) {
			continue
		}
		if v, ok := d.value(kind, p, o); ok {
			m[key] = v
		}
	}
	if _, free := d.facts[kind][path+".*"]; free {
		for range d.IntN(4) {
			if v, ok := d.value(kind, path+".*", o); ok {
				m[one(d, freeKeys...)] = v
			}
		}
	}
	return m
}

// freeKeys are keys of open maps that mean nothing to Keycloak.
var freeKeys = []string{"team", "a.b.c", "with space", "ü", "a/b", "x:y#z%20", "UPPER", "0"}

// texts are what people write, and what breaks those who quote, split or escape in the wrong place.
var texts = []string{"Acme", "", "true", "0123", "5", "null", "~", "a b", " padded ", "a/b", "a:b", "#x", "50%", "%2F", `"quoted"`, "it's", "${role_x}", "${vault.x}", "$(date)", "$5",
	"a,b", "a##b", "[a]", "{a: b}", `{"a": "b"}`, "- a", "ü", "漢字", "🙂", "é vs é", "<b>&amp;</b>", `back\slash`, "tab\tbed", "two\nlines", "***", "?a=b&c=d", "*", "+", "a@b.example"}

func (d *draw) text() string {
	switch d.IntN(12) {
	case 0:
		return strings.Repeat(one(d, "long ", "ü", "x/"), 40)
	case 1:
		return one(d, texts...) + one(d, texts...)
	}
	return one(d, texts...)
}

// config draws a provider's configuration from the properties that the server lists for it.
func (d *draw) config(kind string, offer provider) map[string]any {
	config := map[string]any{}
	for _, p := range offer.Properties {
		if !p.Required && d.chance(0.4) {
			continue
		}
		if v, ok := d.property(kind, p); ok {
			config[p.Name] = v
		}
	}
	return config
}

func (d *draw) property(kind string, p property) (any, bool) {
	if rule, ok := rules[kind+".config."+p.Name]; ok {
		v := rule(d, nil)
		_, out := v.(leftOut)
		return v, !out
	}
	switch p.Type {
	case "boolean":
		return one[any](d, true, false, "true", "false"), true
	case "List":
		return one(d, p.Options...), len(p.Options) > 0
	case "Role":
		return one(d, d.there["roles"]...), len(d.there["roles"]) > 0
	case "Group":
		return one(d, d.there["groups"]...), len(d.there["groups"]) > 0
	case "ClientList":
		return one(d, d.there["clients"]...), len(d.there["clients"]) > 0
	case "Map":
		return `[{"key":"` + one(d, "a", "ü") + `","value":"b"}]`, true
	case "int", "Integer":
		return d.IntN(100), true
	case "MultivaluedString", "MultivaluedList", "File", "Password", "IdentityProviderMultiList":
		return nil, false
	}
	if p.Required {
		return d.text() + "x", true
	}
	return d.text(), true
}

// typed draws a configuration whose values bear their own types.
func (d *draw) typed(offer provider) map[string]any {
	config := map[string]any{}
	for _, p := range offer.Properties {
		if d.chance(0.4) {
			continue
		}
		switch p.Type {
		case "boolean":
			config[p.Name] = d.chance(0.5)
		case "Integer", "int":
			config[p.Name] = d.IntN(4)
		case "MultivaluedString":
			config[p.Name] = []any{"a", d.text()}
		case "MultivaluedList":
			config[p.Name] = d.somes(p.Options, 3)
		case "List":
			config[p.Name] = one(d, p.Options...)
		case "String":
			config[p.Name] = d.text()
			if strings.HasSuffix(p.Name, "-period") || strings.HasSuffix(p.Name, "-skew") {
				config[p.Name] = strconv.Itoa(d.IntN(5000))
			}
		}
	}
	return config
}
