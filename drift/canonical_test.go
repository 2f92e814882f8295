package drift

import (
	"testing"

	"github.com/cloakwork/cloakwork/schema"
)

// One row a fact and direction: what the fact makes equal, and what it doesn't.
func TestFactsSayWhatIsTheSame(t *testing.T) {
	list := func(v ...any) []any { return v }
	object := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name string
		fact schema.Fact
		a, b any
		want bool
	}{
		{"nothing: equal values", schema.Fact{}, object("a", 1.0, "b", "x"), object("b", "x", "a", 1.0), true},
		{"nothing: order counts", schema.Fact{}, list("a", "b"), list("b", "a"), false},
		{"nothing: case counts", schema.Fact{}, "A", "a", false},
		{"nothing: empty is not absent", schema.Fact{}, "", nil, false},
		{"nothing: a number is not its text", schema.Fact{}, 5.0, "5", false},
		{"set: order doesn't count", schema.Fact{Set: true}, list("a", "b"), list("b", "a"), true},
		{"set: repeats don't count", schema.Fact{Set: true}, list("a", "a"), list("a"), true},
		{"set: members count", schema.Fact{Set: true}, list("a", "b"), list("a"), false},
		{"set of objects", schema.Fact{Set: true}, list(object("n", "a"), object("n", "b")), list(object("n", "b"), object("n", "a")), true},
		{"ordered: order counts", schema.Fact{Ordered: true}, list("a", "b"), list("b", "a"), false},
		{"key: objects match by it", schema.Fact{Key: "name"}, list(object("name", "a", "v", 1.0), object("name", "b")), list(object("name", "b"), object("name", "a", "v", 1.0)), true},
		{"key: what stands beside it counts", schema.Fact{Key: "name"}, list(object("name", "a", "v", 1.0)), list(object("name", "a", "v", 2.0)), false},
		{"empty: null, text, list and map", schema.Fact{Empty: true}, "", nil, true},
		{"empty: list and absent", schema.Fact{Empty: true}, list(), nil, true},
		{"empty: map and text", schema.Fact{Empty: true}, object(), "", true},
		{"empty: false is a value", schema.Fact{Empty: true}, false, nil, false},
		{"as bool: text and truth", schema.Fact{As: "bool"}, "true", true, true},
		{"as bool: spelling", schema.Fact{As: "bool"}, "TRUE", "true", true},
		{"as bool: the other", schema.Fact{As: "bool"}, "false", true, false},
		{"as int: text and number", schema.Fact{As: "int"}, "05", 5.0, true},
		{"as int: another number", schema.Fact{As: "int"}, "6", 5.0, false},
		{"as int: in a list", schema.Fact{As: "int", Set: true}, list("05", 7.0), list("7", 5.0), true},
		{"as csv: nothing in it is empty", schema.Fact{As: "csv", Empty: true}, " , ", nil, true},
		{"as csv: spaces", schema.Fact{As: "csv"}, "a, b", "a,b", true},
		{"as csv: order counts", schema.Fact{As: "csv"}, "b,a", "a,b", false},
		{"as csv and set", schema.Fact{As: "csv", Set: true}, "b,a", "a,b", true},
		{"as ##", schema.Fact{As: "##", Set: true}, "https://a##https://b", "https://b##https://a", true},
		{"as ##: members count", schema.Fact{As: "##", Set: true}, "https://a", "https://b##https://a", false},
		{"as json: spaces and order of keys", schema.Fact{As: "json"}, `{"a":1,"b":2}`, `{ "b": 2, "a": 1 }`, true},
		{"as json: values", schema.Fact{As: "json"}, `{"a":1}`, `{"a":2}`, false},
		{"as json: what is none is text", schema.Fact{As: "json"}, `{`, `{`, true},
		{"blank: elements that say nothing", schema.Fact{Blank: true, Set: true}, list("", "a"), list("a"), true},
		{"blank: a list of nothing else is empty", schema.Fact{Blank: true, Empty: true}, list(""), nil, true},
		{"blank: others count", schema.Fact{Blank: true, Empty: true}, list("a"), nil, false},
		{"not blank: a list of nothing else is one", schema.Fact{Empty: true}, list(""), nil, false},
		{"fold: case", schema.Fact{Fold: true}, "Ann@Acme.example", "ann@acme.example", true},
		{"fold: lists", schema.Fact{Fold: true, Set: true}, list("B", "a"), list("A", "b"), true},
		{"fold: the key of objects", schema.Fact{Fold: true, Key: "name"}, list(object("name", "B.example", "v", "x"), object("name", "a.example")), list(object("name", "A.example"), object("name", "b.example", "v", "x")), true},
		{"fold: nothing beside the key", schema.Fact{Fold: true, Key: "name"}, list(object("name", "b", "v", "X")), list(object("name", "B", "v", "x")), false},
		{"fold: letters", schema.Fact{Fold: true}, "ann", "bob", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := same(c.fact, c.a, c.b); got != c.want {
				t.Errorf("same(%v, %v) is %t, want %t", c.a, c.b, got, c.want)
			}
			if got := same(c.fact, c.b, c.a); got != c.want {
				t.Errorf("the other way round it is %t, want %t", got, c.want)
			}
		})
	}
}

func TestComparingLeavesValuesAsTheyAre(t *testing.T) {
	v := []any{"b", "A"}
	same(schema.Fact{Set: true, Fold: true}, v, v)
	if v[0] != "b" || v[1] != "A" {
		t.Errorf("the list became %v", v)
	}
}
