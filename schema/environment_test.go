package schema

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// said are the problems of a tree that is written as an archive.
func said(t *testing.T, o Options, archive string) []string {
	t.Helper()
	tree := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		tree[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	var lines []string
	for _, p := range Load(tree, o).Problems {
		lines = append(lines, p.String())
	}
	return lines
}

const (
	prodStaging = `
-- environments.yaml --
apiVersion: cloakwork.dev/v1alpha1
kind: Environment
metadata: {name: prod}
spec: {layers: [base, envs/prod]}
---
apiVersion: cloakwork.dev/v1alpha1
kind: Environment
metadata: {name: staging}
spec: {layers: [base, envs/staging], serverr: eu}
-- base/a.yaml --
apiVersion: cloakwork.dev/v1alpha1
kind: Realm
metadata: {name: acme}
spec: {server: eu, realm: {displayName: Acme, clients: [{clientId: portal}]}}
-- envs/prod/a.yaml --
apiVersion: cloakwork.dev/v1alpha1
kind: Realm
metadata: {name: acme}
`
	environment = "-- e.yaml --\napiVersion: cloakwork.dev/v1alpha1\nkind: Environment\nmetadata: {name: prod}\nspec: "
	folders     = "\n-- base/a.yaml --\n" + acme + "-- base/sub/b.yaml --\n# b\n-- envs/prod/a.yaml --\n# a\n"
)

func TestEnvironmentsThatCannotBeReadSaySo(t *testing.T) {
	for _, c := range []struct{ name, environment, tree, want string }{
		{"none named", "", prodStaging + "spec: {server: eu}\n", "environments.yaml:3:18: the configuration has environments, and none is named: prod, staging; name one by --environment"},
		{"misspelt", "prdo", prodStaging + "spec: {server: eu}\n", `environment "prdo" is not declared; did you mean prod?`},
		{"unlike any", "live", prodStaging + "spec: {server: eu}\n", `environment "live" is not declared; there are: prod, staging`},
		{"none declared", "prod", "-- a.yaml --\n" + acme, `no environment is declared, and "prod" is asked for; write a manifest of kind Environment, or leave --environment out: then the whole tree is one layer`},
		{"in a file that can't be read", "prod", "-- a.yaml --\nkind: Environment\n\tx: [\n", `no environment is declared, and "prod" is asked for; write a manifest of kind Environment, or leave --environment out: then the whole tree is one layer` +
			"\na.yaml:2: found a tab character that violates indentation; indent with spaces, not with tabs"},
		{"another's mistake", "prod", prodStaging + "spec: {server: eu}\n", ""},
		{"its own mistake", "staging", prodStaging + "spec: {server: eu}\n", "environments.yaml:9:38: spec.serverr is not a field; did you mean server?"},
		{"twice", "prod", environment + "{layers: [base]}\n---\napiVersion: cloakwork.dev/v1alpha1\nkind: Environment\nmetadata: {name: prod}\nspec: {layers: [base]}" + folders,
			"e.yaml:8:18: environment prod stands here twice, first at e.yaml:3:18; keep one"},
		{"no layers", "prod", environment + "{}" + folders, "e.yaml:4:7: spec.layers is missing: it names the folders that are read; write layers: [base, envs/prod], the later ones upon the earlier"},
		{"missing layer", "prod", environment + "{layers: [base, envs/prdo]}" + folders, "e.yaml:4:23: spec.layers[1]: envs/prdo: there is no such file; did you mean envs/prod?"},
		{"overlapping", "prod", environment + "{layers: [base, base/sub]}" + folders, "e.yaml:4:23: spec.layers[1]: base/sub overlaps base, at e.yaml:4:17; layers lie upon each other, not in each other"},
		{"the root and a part", "prod", environment + "{layers: [base, .]}" + folders, "e.yaml:4:23: spec.layers[1]: . overlaps base, at e.yaml:4:17; layers lie upon each other, not in each other"},
		{"outside", "prod", environment + "{layers: [../base]}" + folders, "e.yaml:4:17: spec.layers[0]: ../base: leads out of the configuration"},
		{"substituted", "prod", environment + "{layers: [base], server: $(env:SERVER)}" + folders, "e.yaml:4:32: spec.server can't come from $(…); write it out"},
		{"nameless", "", "-- e.yaml --\napiVersion: cloakwork.dev/v1alpha1\nkind: Environment\nspec: {layers: [base]}" + folders, "e.yaml:1:1: metadata.name is missing: it names the environment; write metadata: {name: prod}"},
		{"differences", "prod", environment + "{layers: [base], differs: [client/x, clients/*#secret, '#a', 'spec#drift']}" + folders,
			"e.yaml:4:34: spec.differs[0]: \"client/x\": client is not a kind; did you mean clients?\ne.yaml:4:62: spec.differs[2]: \"#a\" names nothing; write clients/portal#redirectUris, or clients/portal for all of it"},
		{"written in CUE", "", "-- e.cue --\napiVersion: \"cloakwork.dev/v1alpha1\"\nkind: \"Environment\"\n", "e.cue:1:1: an Environment can't be written in CUE; write it in YAML: environments are read before anything is evaluated"},
		{"delete of nothing", "prod", prodStaging + "spec: {realm: {clients: [{clientId: protal, $delete: true}]}}\n",
			"envs/prod/a.yaml:4:45: clients[protal] isn't declared in the layers below, so that $delete takes nothing away; did you mean portal?"},
		{"delete of something that says more", "prod", prodStaging + "spec: {realm: {clients: [{clientId: portal, name: x, $delete: true}]}}\n",
			"envs/prod/a.yaml:4:45: clients[portal].name: the object goes, so that nothing more can be said of it; leave the rest out, or leave out $delete"},
		{"delete that says no", "prod", prodStaging + "spec: {realm: {clients: [{clientId: portal, $delete: no}]}}\n",
			"envs/prod/a.yaml:4:54: clients[portal].$delete is not true; leave it out where the object stays"},
		{"delete and declare", "prod", prodStaging + "spec: {realm: {clients: [{clientId: portal, $delete: true}], roles: {client: {portal: [{name: x}]}}}}\n",
			"envs/prod/a.yaml:4:45: clients[portal].roles[x] goes here, and is declared in the same layer, at envs/prod/a.yaml:4:89; keep one"},
		{"delete of the realm", "prod", prodStaging + "spec: {realm: {$delete: true}}\n", "envs/prod/a.yaml:4:16: $delete has no place here; write spec.realm: null for a realm that shall not be"},
		{"delete of a nameless element", "prod", prodStaging + "spec: {realm: {organizations: [{alias: a, name: a, domains: [{$delete: true}]}]}}\n",
			"envs/prod/a.yaml:4:62: organizations[a].domains[0]: what goes is named by its name, and nothing more is said of it; write {name: NAME, $delete: true}"},
		{"delete of an element that isn't there", "prod", prodStaging + "spec: {realm: {organizations: [{alias: a, name: a, domains: [{name: b, $delete: true}]}]}}\n",
			"envs/prod/a.yaml:4:52: organizations[a].domains[b] isn't declared in the layers below, so that $delete takes nothing away; take it out"},
		{"null over nothing", "prod", prodStaging + "spec: {realm: {clients: [{clientId: portal, defaultClientScopes: null}]}}\n",
			"envs/prod/a.yaml:4:66: clients[portal].defaultClientScopes: null takes nothing away, for no layer below declares it; leave it out"},
		{"null over a list", "prod", prodStaging + "spec: {realm: {clients: null}}\n", ""},
		{"two values in one layer", "prod", prodStaging + "spec: {realm: {displayName: A}}\n---\n" + strings.Replace(acme, "Acme", "B", 1),
			"envs/prod/a.yaml:9:28: displayName: \"B\" here and \"A\" at envs/prod/a.yaml:4:16; keep one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(said(t, Options{Environment: c.environment, Server: "eu"}, c.tree), "\n")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNullInAnUpperLayerResetsASetting(t *testing.T) {
	base := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec:\n  server: eu\n  exclusive: [clients]\n  schedule: '0 * * * *'\n  drift: report\n" +
		"  limits: {deletes: 3, changes: 3, risks: {deletes: 1}}\n  suspend: {reason: later}\n  realm: {displayName: Acme}\n"
	for setting, want := range map[string]string{
		"exclusive: null":         "exclusive",
		"schedule: null":          "schedule",
		"drift: null":             "drift",
		"suspend: null":           "suspend.reason suspend.until",
		"limits: null":            "limits.changes limits.deletes limits.risks.deletes",
		"limits: {risks: null}":   "limits.risks.deletes",
		"limits: {deletes: null}": "limits.deletes",
	} {
		load := func(upper string) map[string]any {
			tree := fstest.MapFS{
				"e.yaml":   {Data: []byte("apiVersion: cloakwork.dev/v1alpha1\nkind: Environment\nmetadata: {name: prod}\nspec: {layers: [a, b]}\n")},
				"a/a.yaml": {Data: []byte(base)},
				"b/b.yaml": {Data: []byte("apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {server: eu" + upper + "}\n")},
			}
			d := Load(tree, Options{Environment: "prod"})
			for _, p := range d.Problems {
				t.Errorf("%s: %s", upper, p)
			}
			return d.Realms[RealmRef{"eu", "acme"}].Settings()
		}
		before, after := flat(load(""), ""), flat(load(", "+setting), "")
		var changed []string
		for _, path := range sortedKeys(before) {
			if before[path] != after[path] {
				changed = append(changed, path)
			}
		}
		if got := strings.Join(changed, " "); got != want {
			t.Errorf("%s changes %s, want %s", setting, got, want)
		}
	}
}

// flat is a value's leaves by path, as text.
func flat(v map[string]any, prefix string) map[string]string {
	leaves := map[string]string{}
	for name, below := range v {
		if m, ok := below.(map[string]any); ok {
			for path, leaf := range flat(m, prefix+name+".") {
				leaves[path] = leaf
			}
			continue
		}
		leaves[prefix+name] = encoded(below)
	}
	return leaves
}

func TestAnEnvironmentReadsItsLayersAlone(t *testing.T) {
	archive := txtar.Parse([]byte(prodStaging + "spec: {realm: {displayName: Prod}}\n-- envs/staging/a.yaml --\nbroken: [\n-- other/a.yaml --\n" + acme))
	tree := fstest.MapFS{}
	for _, f := range archive.Files {
		tree[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	d := Load(tree, Options{Environment: "prod", Server: "eu"})
	if len(d.Problems) > 0 || len(d.Realms) != 1 || d.Realms[RealmRef{"eu", "acme"}].State[RealmAddress].Fields["displayName"] != "Prod" {
		t.Errorf("problems %q, realms %v", d.Problems, d.Realms)
	}
	d = Load(tree, Options{Environment: "prod", Server: "eu", Paths: []string{"environments.yaml", "envs/prod"}})
	if got := d.Realms[RealmRef{"eu", "acme"}].State.Addresses(); len(got) != 1 {
		t.Errorf("of the paths named are read %q, want what the topmost layer declares alone", got)
	}
}

func TestADeploymentIsLaidOverTheOneBelow(t *testing.T) {
	tree := fstest.MapFS{
		"e.yaml":   {Data: []byte("apiVersion: cloakwork.dev/v1alpha1\nkind: Environment\nmetadata: {name: prod}\nspec: {layers: [a, b]}\n")},
		"a/a.yaml": {Data: []byte("apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec:\n  platform: local\n  version: 26.7.3\n  http: {httpPort: 8080, httpsPort: 8443}\n  regions: [{name: one}, {name: two, adress: x}]\n")},
		"b/b.yaml": {Data: []byte("apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {instances: 3, http: {httpPort: 9090}, regions: [{name: three, address: nowhere}]}\n")},
	}
	d := Load(tree, Options{Environment: "prod"})
	eu := d.Deployments["eu"]
	if eu == nil || eu.Version != "26.7.3" || eu.Instances != 3 || eu.HTTP.HTTPPort != 9090 || eu.HTTP.HTTPSPort != 8443 || len(eu.Regions) != 1 || eu.Regions[0].Name != "three" {
		t.Errorf("the deployment is %+v", eu)
	}
	var lines []string
	for _, p := range d.Problems {
		lines = append(lines, p.String())
	}
	want := []string{
		"a/a.yaml:8:38: spec.regions[1].adress is not a field; did you mean address?",
		"b/b.yaml:4:79: spec.regions[0].address: \"nowhere\" is not an IP address; write one such as 127.0.1.1",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
