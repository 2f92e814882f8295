package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

// FuzzMerge looks for two documents of one realm that come to something else than what both declare together.
func FuzzMerge(f *testing.F) {
	for _, name := range []string{"merge", "mergelast", "realm", "representations", "users", "scopemappings"} {
		archive, err := txtar.ParseFile("testdata/" + name + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		var before []byte
		for _, file := range archive.Files {
			if file.Name != "problems" && file.Name != "declared" {
				f.Add(before, file.Data)
				before = file.Data
			}
		}
	}
	f.Add([]byte("realm: r\nusers: [{username: Ann, email: A@x, groups: [/a, /b]}]\ndefaultRole: {description: d}\n"),
		[]byte("realm: r\nusers: [{username: ann, email: a@X, groups: [/b, /a], attributes: {a: [x]}}]\nroles: {realm: [{name: default-roles-r, attributes: {b: [y]}}]}\n"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		load := func(last bool, files ...[]byte) Declared {
			tree := fstest.MapFS{}
			for i, text := range files {
				tree[fmt.Sprintf("%d.yaml", i)] = &fstest.MapFile{Data: text}
			}
			return Load(tree, Options{Server: "eu", MergeLast: last, Env: func(string) (string, bool) { return "5", true }})
		}
		a, b := load(false, first), load(false, []byte("{}"), second) // each in the file that it has in both
		both, turned := load(false, first, second), load(false, second, first)
		if wrong(both) != wrong(turned) {
			t.Errorf("it has problems in one order only:\n%v\n%v", both.Problems, turned.Problems)
		}
		if wrong(a) || wrong(b) {
			return
		}
		for ref, r := range load(true, first, second).Realms {
			joint(t, "where the last holds", ref, r, b.Realms[ref], a.Realms[ref])
		}
		if wrong(both) {
			return
		}
		for ref, r := range both.Realms {
			joint(t, "in order", ref, r, a.Realms[ref], b.Realms[ref])
			joint(t, "turned", ref, turned.Realms[ref], a.Realms[ref], b.Realms[ref])
		}
	})
}

// wrong tells whether anything is, but for warnings.
func wrong(d Declared) bool {
	return slices.ContainsFunc(d.Problems, func(p Problem) bool { return !p.Warning })
}

// joint checks that a realm holds what two declare, that of the first where they differ, and nothing else.
func joint(t *testing.T, how string, ref RealmRef, r, first, second *Realm) {
	t.Helper()
	facts, _, err := Definitions("")
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		t.Errorf("%s: %s is lost", how, ref)
		return
	}
	leaves := map[string]any{}
	for _, from := range []*Realm{second, first} {
		if from != nil {
			maps.Copy(leaves, leafed(from.State, facts))
		}
	}
	got := leafed(r.State, facts)
	for leaf, v := range leaves {
		if !reflect.DeepEqual(got[leaf], v) {
			t.Errorf("%s: %s is %v, and %v was declared", how, leaf, got[leaf], v)
		}
	}
	for leaf := range got {
		if _, declared := leaves[leaf]; !declared {
			t.Errorf("%s: %s was declared by nobody", how, leaf)
		}
	}
	for a, o := range r.State {
		for path, origin := range o.Origins {
			from := slices.ContainsFunc([]*Realm{first, second}, func(from *Realm) bool {
				return from != nil && from.State[a].Origins[path].Line == origin.Line && from.State[a].Origins[path].Column == origin.Column
			})
			if !from {
				t.Errorf("%s: %s: %s is said to stand at %s, where neither document has it", how, a, path, origin)
			}
		}
	}
}

// leafed is a state leaf by leaf, in a form that doesn't tell apart what means the same.
func leafed(s State, facts Facts) map[string]any {
	leaves := map[string]any{}
	for a, o := range s {
		leaves[string(a)] = true
		var walk func(path string, v any)
		walk = func(path string, v any) {
			if m, ok := v.(map[string]any); ok && len(m) > 0 {
				for k, inner := range m {
					walk(path+"."+k, inner)
				}
				return
			}
			text, err := json.Marshal(v)
			if err != nil {
				panic(err) // it was read from text
			}
			fact := facts.Of(a.Kind(), path)
			if list, ok := v.([]any); ok && fact.Set {
				text = []byte(fmt.Sprint(ordered(list)))
			}
			if fact.Fold {
				text = []byte(strings.ToLower(string(text)))
			}
			leaves[string(a)+" "+path] = string(text)
		}
		for name, v := range o.Fields {
			walk(name, v)
		}
	}
	return leaves
}

// FuzzSubstitute looks for texts that are changed without need, or give away what they take in.
func FuzzSubstitute(f *testing.F) {
	for _, text := range []string{"", "$", "$(", "$(date)", "$(env:A)", "a $(env:A) b $(env:B:-$(env:C:-)))", "$(env:A:-x", "$(env:KEYCLOAK_PASSWORD)", "$(file:UTF-8:s)", "$(file:../s)", "$(file:s)$(env:)", "${A}", "$$(env:A)", "$(sys:x)", "$(env:A:-$(file:.git/x))"} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, text, secret string) {
		literal, err := json.Marshal(text)
		secret = "s3cret " + secret // no word of ours
		if err != nil || strings.Contains(text, secret) || strings.Contains(string(literal), secret) {
			return
		}
		tree := fstest.MapFS{"a.json": {Data: []byte(`{"realm": "r", "displayName": ` + string(literal) + `, "accessTokenLifespan": ` + string(literal) + `}`)}, "s": {Data: []byte(secret)}}
		asked := false
		d := Load(tree, Options{Server: "eu", Env: func(name string) (string, bool) { asked = true; return secret, name != "C" }})
		for _, p := range d.Problems {
			if strings.Contains(p.String(), secret) {
				t.Errorf("%q gives the secret away: %s", text, p)
			}
		}
		r := d.Realms[RealmRef{"eu", "r"}]
		if r == nil {
			return
		}
		o := r.State[RealmAddress]
		got, ok := o.Fields["displayName"].(string)
		if found, unclosed := references(text); len(found) == 0 && !unclosed {
			var plain string // what JSON makes of it
			if err := json.Unmarshal(literal, &plain); err != nil {
				t.Fatal(err)
			}
			if asked || ok && got != plain || o.Inputs["displayName"] {
				t.Errorf("%q became %q", text, got)
			}
		} else if ok && !o.Inputs["displayName"] {
			t.Errorf("%q became %q, which counts as no secret", text, got)
		}
	})
}
