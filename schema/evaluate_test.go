package schema

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

const realmCUE = `-- base/acme.cue --
package base

import "strings"

_apps: {portal: "https://portal.acme.example", api: "https://api.acme.example"}

acme: {
	apiVersion: "cloakwork.dev/v1alpha1"
	kind:       "Realm"
	metadata: name: "acme"
	spec: server: "eu"
	spec: realm: clients: [for name, url in _apps {
		#Client
		clientId: name
		"name":   strings.ToTitle(name)
		redirectUris: [url + "/*"]
	}]
}
-- base/schema.cue --
package base

#Client: {
	clientId:     string
	name:         string
	publicClient: *true | bool
	redirectUris: [...string]
	attributes: "access.token.lifespan": 60
}
acme: spec: realm: accessTokenLifespan: 5 * 60
`

func TestManifestsInCUEAreEvaluatedAndKeepTheirPlaces(t *testing.T) {
	tree := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(realmCUE)).Files {
		tree[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	d := Load(tree, Options{})
	for _, p := range d.Problems {
		t.Error(p)
	}
	r := d.Realms[RealmRef{"eu", "acme"}]
	if r == nil {
		t.Fatal("no realm")
	}
	want := map[string]any{"clientId": "portal", "name": "Portal", "publicClient": true, "redirectUris": []any{"https://portal.acme.example/*"}, "attributes": map[string]any{"access.token.lifespan": "60"}}
	if diff := cmp.Diff(want, r.State["clients/portal"].Fields); diff != "" {
		t.Errorf("clients/portal (-want +got):\n%s", diff)
	}
	for place, want := range map[string]Origin{
		"name": {"base/acme.cue", 15, 11}, "redirectUris": {"base/acme.cue", 16, 17}, "publicClient": {"base/schema.cue", 6, 16}, "attributes.access.token.lifespan": {"base/schema.cue", 8, 39},
	} {
		if got := r.State["clients/portal"].Origins[place]; got.File != want.File || got.Line != want.Line {
			t.Errorf("%s stands at %v, want %v", place, got, want)
		}
	}
	if got := r.State[RealmAddress]; got.Fields["accessTokenLifespan"] != 300.0 || got.Origins["accessTokenLifespan"].String() != "base/schema.cue:10:20" {
		t.Errorf("the realm is %v at %v", got.Fields, got.Origins)
	}
}

func TestCUEThatCannotBeReadSaysWhere(t *testing.T) {
	manifest := "apiVersion: \"cloakwork.dev/v1alpha1\"\nkind: \"Realm\"\nmetadata: name: \"acme\"\nspec: {server: \"eu\", realm: {}}\n"
	for _, c := range []struct{ name, tree, want string }{
		{"alone", "-- a.cue --\n" + manifest, ""},
		{"a list", "-- a.cue --\nall: [{" + strings.ReplaceAll(manifest, "\n", ",") + "}]\n", ""},
		{"not a manifest", "-- a.cue --\nx: 5\n", ""},
		{"not CUE", "-- a.cue --\nx: \"y\n", "a.cue:1:4: string literal not terminated"},
		{"an import from the network", "-- a.cue --\nimport \"github.com/acme/x\"\n" + manifest + "y: x.z\n", "a.cue:1:8: imports github.com/acme/x; write it out here: only what CUE brings along is imported"},
		{"an import of commands", "-- a.cue --\nimport \"tool/exec\"\n" + manifest + "y: exec.Run\n", "a.cue:1:8: imports tool/exec; write it out here: only what CUE brings along is imported"},
		{"a module", "-- cue.mod/module.cue --\nmodule: \"acme.example/x\"\n-- cue.mod/pkg/p/p.cue --\nbroken: [\n-- a.cue --\n" + manifest, ""},
		{"an import of nothing", "-- a.cue --\nimport \"stringz\"\n" + manifest + "y: stringz.X\n", "a.cue:1:8: builtin package \"stringz\" undefined"},
		{"a file from outside", "-- a.cue --\n@extern(embed)\npackage a\n" + manifest + "spec: realm: displayName: _ @embed(file=\"/etc/passwd\",type=text)\n", "a.cue: cannot embed files when not in a module"},
		{"incomplete", "-- a.cue --\n" + manifest + "spec: realm: displayName: string\n", "a.cue:5:27: spec.realm.displayName: incomplete value string"},
		{"a conflict", "-- a.cue --\n" + manifest + "spec: realm: displayName: \"a\"\nspec: realm: displayName: \"b\"\n", "a.cue:6:27: spec.realm.displayName: conflicting values \"b\" and \"a\""},
		{"what the definitions don't know", "-- a.cue --\n" + manifest + "spec: realm: displayNam: \"a\"\n", "a.cue:5:14: displayNam is not a field of a realm; did you mean displayName?"},
		{"another type", "-- a.cue --\n" + manifest + "spec: realm: accessTokenLifespan: \"long\"\n", "a.cue:5:14: accessTokenLifespan: \"long\" is not an int; write a whole number"},
		{"another file's mistake", "-- a/a.cue --\npackage a\nx: y\n-- a/b.cue --\n" + manifest, "a/a.cue:2:4: x: reference \"y\" not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, strings.Join(said(t, Options{}, c.tree), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := said(t, Options{Paths: []string{"a.cue"}}, "-- a.cue --\nx: 5\n"); len(got) != 1 || got[0] != "a.cue: holds no manifest; a manifest has apiVersion: cloakwork.dev/v1alpha1" {
		t.Errorf("of a named file without a manifest it says %q", got)
	}
}
