package schema

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

// Every scalar field of a realm and of a client gets a secret that doesn't fit it, and a second file another.
func TestNoProblemShowsWhatCameFromOutside(t *testing.T) {
	d, err := define("")
	if err != nil {
		t.Fatal(err)
	}
	const secret, other = "5up3r-s3cr3t", "0th3r-s3cr3t"
	manifest := func(variable string) string {
		var b strings.Builder
		b.WriteString("apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec:\n  server: eu\n  realm:\n")
		for name := range d.forms["#RealmRepresentation"].fields {
			if name != "realm" && name != "clients" {
				b.WriteString("    " + name + ": $(env:" + variable + ")\n")
			}
		}
		b.WriteString("    clients:\n      - clientId: portal\n")
		for name := range d.forms["#ClientRepresentation"].fields {
			if name != "clientId" {
				b.WriteString("        " + name + ": x $(env:" + variable + ")\n")
			}
		}
		return b.String()
	}
	tree := fstest.MapFS{"a.yaml": {Data: []byte(manifest("A"))}, "b.yaml": {Data: []byte(manifest("B"))}}
	values := map[string]string{"A": secret, "B": other}
	declared := Load(tree, Options{Env: func(name string) (string, bool) { v, ok := values[name]; return v, ok }})
	if len(declared.Problems) < 200 {
		t.Errorf("only %d problems", len(declared.Problems))
	}
	for _, p := range declared.Problems {
		for _, s := range []string{secret, other} {
			if strings.Contains(p.String(), s) {
				t.Errorf("shows a secret: %s", p)
			}
		}
	}
	client := declared.Realms[RealmRef{"eu", "acme"}].State["clients/portal"]
	if !declared.Facts.Secret(client, "description") {
		t.Error("a substituted value of a client doesn't count as secret")
	}
}

// A secret that is written into a manifest is shown no more than one from outside.
func TestSecretsWrittenOutAreNotShownEither(t *testing.T) {
	manifest := func(secret string) []byte {
		return []byte("realm: acme\nsmtpServer: {password: " + secret + "}\nclients: [{clientId: portal, secret: " + secret + "}]\n")
	}
	tree := fstest.MapFS{"a.yaml": {Data: manifest("first-s3cret")}, "b.yaml": {Data: manifest("other-s3cret")}}
	d := Load(tree, Options{Server: "eu"})
	if len(d.Problems) != 2 {
		t.Errorf("got %q, want two conflicts", d.Problems)
	}
	for _, p := range d.Problems {
		if strings.Contains(p.String(), "s3cret") {
			t.Errorf("shows a secret: %s", p)
		}
	}
}

func TestAProblemBlocksOnlyWhatItStandsIn(t *testing.T) {
	acme, other := RealmRef{"eu", "acme"}, RealmRef{"us", "other"}
	for name, c := range map[string]struct {
		text                    string
		blocksAcme, blocksOther bool
	}{
		"a typo in the realm": {"apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {server: eu, realm: {enabld: true}}\n", true, false},
		"a syntax error":      {"a: [", true, true},
		"its deployment":      {"apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: moon, version: 26.7.3}\n", true, false},
		"a foreign manifest":  {"apiVersion: v1\nkind: Secret\n", false, false},
	} {
		d := Load(fstest.MapFS{"a.yaml": {Data: []byte(c.text)}}, Options{})
		if len(d.Problems) != 1 {
			t.Errorf("%s: got %q, want one problem", name, d.Problems)
		}
		if got := len(Blocking(d.Problems, acme)) > 0; got != c.blocksAcme {
			t.Errorf("%s: blocks eu/acme: %v", name, got)
		}
		if got := len(Blocking(d.Problems, other)) > 0; got != c.blocksOther {
			t.Errorf("%s: blocks us/other: %v", name, got)
		}
	}
}

func TestARealExportIsReadWithoutAProblem(t *testing.T) {
	d := Load(os.DirFS("testdata"), Options{Server: "eu", Paths: []string{"export.json"}})
	for _, p := range d.Problems {
		if !p.Warning {
			t.Error(p)
		}
	}
	r := d.Realms[RealmRef{"eu", "rich"}]
	counts := map[string]int{}
	for a := range r.State {
		counts[a.Kind()]++
	}
	for kind, least := range map[string]int{"realm": 1, "clients": 8, "clientScopes": 10, "protocolMappers": 30, "roles": 30, "groups": 2,
		"composites": 4, "realmRoles": 1, "clientRoles": 1, "defaultClientScopes": 8, "defaultGroups": 1, "defaultDefaultClientScopes": 1} {
		if counts[kind] < least {
			t.Errorf("%d objects of kind %s, want at least %d", counts[kind], kind, least)
		}
	}
	for a, o := range r.State {
		for _, field := range []string{"id", "containerId", "access", "path"} {
			if _, ok := o.Fields[field]; ok {
				t.Errorf("%s keeps %s, which nobody can set", a, field)
			}
		}
	}
}

func TestLoadsRunBesideEachOther(t *testing.T) {
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			d := Load(os.DirFS("testdata"), Options{Server: "eu", Paths: []string{"export.json"}})
			if len(d.Realms) != 1 {
				t.Errorf("%d realms", len(d.Realms))
			}
		})
	}
	wait.Wait()
}

// FuzzLoad looks for a text that makes Load panic, or an address that doesn't name its object.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"realm", "problems", "documents", "yaml", "substitution", "representations", "merge"} {
		archive, err := txtar.ParseFile("testdata/" + name + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name != "problems" && file.Name != "declared" {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, name := range []string{"a.yaml", "a.json"} {
			d := Load(fstest.MapFS{name: {Data: text}}, Options{Server: "eu", Env: func(string) (string, bool) { return "5", true }})
			for _, r := range d.Realms {
				for a, o := range r.State {
					if o.Address != a || o.Origin.File != name || o.Origin.Line == 0 {
						t.Errorf("%q is declared as %q at %q", a, o.Address, o.Origin)
					}
					if _, err := json.Marshal(o.Fields); err != nil {
						t.Errorf("%q: %v", a, err)
					}
				}
			}
		}
	})
}

// BenchmarkLoad reads a realm of 640 kB.
func BenchmarkLoad(b *testing.B) {
	var realm strings.Builder
	realm.WriteString("realm: big\nclients:\n")
	for i := 0; realm.Len() < 640_000; i++ {
		id := strconv.Itoa(i)
		realm.WriteString("  - clientId: client-" + id + "\n    name: Client " + id + "\n    enabled: true\n    publicClient: false\n" +
			"    redirectUris: [\"https://c" + id + ".example/*\", \"https://d" + id + ".example/*\"]\n    webOrigins: [+]\n" +
			"    attributes:\n      post.logout.redirect.uris: +\n      pkce.code.challenge.method: S256\n      backchannel.logout.session.required: true\n" +
			"    defaultClientScopes: [web-origins, acr, profile, roles, basic, email]\n    protocolMappers:\n" +
			"      - name: audience\n        protocol: openid-connect\n        protocolMapper: oidc-audience-mapper\n        config: {access.token.claim: true, included.client.audience: portal}\n")
	}
	tree := fstest.MapFS{"big.yaml": {Data: []byte(realm.String())}}
	b.SetBytes(int64(realm.Len()))
	for b.Loop() {
		if d := Load(tree, Options{Server: "eu"}); len(d.Problems) > 0 {
			b.Fatal(d.Problems[0])
		}
	}
}

// A document of which nobody knows the server may be a part of any realm there is.
func TestADocumentWithoutAServerBlocksAll(t *testing.T) {
	for _, spec := range []string{"{realm: {}}", "{server: '', realm: {}}", "{server: [eu], realm: {}}", "{server: $(env:S), realm: {}}"} {
		text := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: " + spec + "\n"
		d := Load(fstest.MapFS{"a.yaml": {Data: []byte(acme)}, "b.yaml": {Data: []byte(text)}}, Options{})
		if len(Blocking(d.Problems, RealmRef{"eu", "acme"})) == 0 {
			t.Errorf("spec %s: eu/acme goes on without what it declares", spec)
		}
	}
}
