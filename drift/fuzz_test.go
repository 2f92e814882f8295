package drift

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

// FuzzCompare looks for states that differ from themselves, or that the changes which Compare lists don't lead to.
func FuzzCompare(f *testing.F) {
	facts, _, err := schema.Definitions("")
	if err != nil {
		f.Fatal(err)
	}
	for _, texts := range [][2]string{
		{`{"clients":{"a/b":{"enabled":true,"redirectUris":["b","a",""],"attributes":{"a.b":"1","use.refresh.tokens":"TRUE"}}}}`, `{"clients":{"a/b":{"redirectUris":["a"],"attributes":{"a.b":null,"x":"y"}},"z":{}}}`},
		{`{"users":{"ann":{"email":"A@x","requiredActions":["B"],"credentials":[{"value":"v"}]}}}`, `{"users":{"ann":{"email":"a@x","requiredActions":["A"]}}}`},
		{`{"organizations":{"o":{"domains":[{"name":"a"},{"name":"b"}]}},"identityProviders":{"i":{"config":{"clientSecret":"s","allowedClockSkew":"05"}}}}`, `{"organizations":{"o":{"domains":[{"name":"b","verified":true}]}}}`},
		{`{"components":{"c":{"config":{"priority":[5,""],"bindCredential":["x"],"kc.user.profile.config":["{\"groups\":[]}"]}}},"workflows":{"w":{"steps":[{"with":{"a":"b"}}]}}}`, `{"components":{"c":{"config":{"priority":["5"],"secretSize":["1"]}}}}`},
	} {
		f.Add([]byte(texts[0]), []byte(texts[1]))
	}
	all := Memory{Owned: func(schema.Address) bool { return true }}
	f.Fuzz(func(t *testing.T, declared, live []byte) {
		want, ok := parsed(declared)
		have, both := parsed(live)
		if !ok || !both {
			return
		}
		before, beforehand := copied(want), copied(have)
		if changes := Compare(facts, want, all, want, want); len(changes) > 0 {
			t.Errorf("a state differs from itself: %s %s %s", changes[0].Op, changes[0].Address, changes[0].Fields())
		}
		changes := Compare(facts, nil, all, want, have)
		if diff := cmp.Diff([]schema.State{before, beforehand}, []schema.State{want, have}); diff != "" {
			t.Errorf("comparing changes what is compared:\n%s", diff)
		}
		// What is set when an object is made isn't compared later, and what the server uses up isn't asked for again.
		written := Memory{Owned: all.Owned, Written: func(schema.Address, any) bool { return true }}
		if left := Compare(facts, want, written, want, made(have, changes)); len(left) > 0 {
			t.Errorf("made as asked it still differs: %s %s %s", left[0].Op, left[0].Address, left[0].Fields())
		}
	})
}

// parsed is the state that a text of kinds, names and fields says.
func parsed(text []byte) (schema.State, bool) {
	var kinds map[string]map[string]map[string]any
	if json.Unmarshal(text, &kinds) != nil {
		return nil, false
	}
	s := schema.State{}
	for kind, objects := range kinds {
		for name, fields := range objects {
			if fields == nil {
				fields = map[string]any{}
			}
			a := schema.Join(schema.RealmAddress, kind, name)
			s[a] = schema.Object{Address: a, Fields: fields}
		}
	}
	return s, true
}

func copied(s schema.State) schema.State {
	c := schema.State{}
	for a, o := range s {
		var fields map[string]any
		if err := json.Unmarshal([]byte(encoded(o.Fields)), &fields); err != nil {
			panic(err) // it was encoded just now
		}
		c[a] = schema.Object{Address: a, Fields: fields}
	}
	return c
}

// made is a state after changes.
func made(s schema.State, changes []Change) schema.State {
	s = copied(s)
	for _, c := range changes {
		switch c.Op {
		case Create:
			s[c.Address] = c.Want
		case Delete:
			maps.DeleteFunc(s, func(a schema.Address, _ schema.Object) bool { return a.Within(c.Address) })
		case Update:
			for _, d := range c.Diffs {
				at := s[c.Address].Fields
				for _, name := range d.At[:len(d.At)-1] {
					nested, ok := at[name].(map[string]any)
					if !ok {
						nested = map[string]any{}
						at[name] = nested
					}
					at = nested
				}
				if last := d.At[len(d.At)-1]; d.Unset {
					delete(at, last)
				} else {
					at[last] = d.Want
				}
			}
		}
	}
	return s
}

// FuzzSame looks for values that aren't the same as themselves, or only in one direction, or not after they were made canonical.
func FuzzSame(f *testing.F) {
	f.Add([]byte(`["b","a",""]`), []byte(`["a","b"]`), uint8(3), "")
	f.Add([]byte(`"{\"a\": 1}"`), []byte(`"{\"a\":1.0}"`), uint8(0), "json")
	f.Add([]byte(`"a, b"`), []byte(`"b,a"`), uint8(1), "csv")
	f.Add([]byte(`["TRUE",null]`), []byte(`[true]`), uint8(31), "bool")
	f.Add([]byte(`[{"name":"b"},{"name":"a"}]`), []byte(`" 05"`), uint8(32), "int")
	f.Add([]byte(`[{"uses":"x","with":{"a":["b"]}}]`), []byte(`"+"`), uint8(64), "steps")
	f.Fuzz(func(t *testing.T, first, second []byte, bits uint8, as string) {
		var a, b any
		if json.Unmarshal(first, &a) != nil || json.Unmarshal(second, &b) != nil {
			return
		}
		is := func(bit int) bool { return bits&(1<<bit) != 0 }
		fact := schema.Fact{Set: is(0), Empty: is(1), Blank: is(2), Fold: is(3), Map: is(4), Ordered: is(6), As: as}
		if is(5) {
			fact.Key = "name"
		}
		if !same(fact, a, a) {
			t.Errorf("%s isn't the same as itself", first)
		}
		if same(fact, a, b) != same(fact, b, a) {
			t.Errorf("%s and %s are the same in one direction", first, second)
		}
		once := encoded(canonical(fact, a))
		if !same(fact, a, canonical(fact, a)) {
			t.Errorf("%s becomes %s, and that %s", first, once, encoded(canonical(fact, canonical(fact, a))))
		}
	})
}
