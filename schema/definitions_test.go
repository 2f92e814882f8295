package schema

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"github.com/google/go-cmp/cmp"
)

func TestFactsAreThoseOfTheList(t *testing.T) {
	facts, kinds, err := Definitions("")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range sortedKeys(kinds) {
		k := kinds[name]
		fmt.Fprintf(&b, "%s in %v key %v links %v\n", name, k.In, k.Key, k.Links)
		for _, path := range sortedKeys(facts[name]) {
			if f := facts[name][path]; f != (Fact{Type: f.Type}) || f.Type == "list" || f.Type == "struct" || f.Type == "_" {
				fmt.Fprintf(&b, "  %s %s%s\n", path, f.Type, words(f))
			}
		}
	}
	const golden = "testdata/facts"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

// words are what a fact says beside the type.
func words(f Fact) string {
	var b strings.Builder
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if field := v.Field(i); name != "Type" && !field.IsZero() {
			b.WriteString(" " + strings.ToLower(name))
			if field.Kind() == reflect.String {
				b.WriteString("=" + field.String())
			}
		}
	}
	return b.String()
}

// What nobody can read back is known by the key that its source owns, and only open maps and the realm have such keys.
func TestWriteOnlyFieldsStandWhereKeysAreOwned(t *testing.T) {
	facts, _, err := Definitions("")
	if err != nil {
		t.Fatal(err)
	}
	for kind, fields := range facts {
		for path, fact := range fields {
			parent := path[:max(0, strings.IndexByte(path, '.'))]
			if fact.WriteOnly && kind != "realm" && !facts.Of(kind, parent).Map {
				t.Errorf("%s.%s would be written by every pass", kind, path)
			}
		}
	}
}

// What older versions know is less, and every version says what it lacks and since when there is it.
func TestFieldsOfNewerVersionsAreProblemsThatNameThem(t *testing.T) {
	manifest := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec:\n  server: eu\n  realm:\n    displayName: Acme\n    scimApiEnabled: false\n    identityProviders: [{alias: hub, providerId: oidc}]\n"
	tree := fstest.MapFS{"acme.yaml": {Data: []byte(manifest)}}
	declared := Load(tree, Options{Version: "26.4.7"})
	if got, want := fmt.Sprint(declared.Problems), "[acme.yaml:8:5: scimApiEnabled: Keycloak 26.4 doesn't know it; Keycloak 26.7 does; leave it out until the server is upgraded]"; got != want {
		t.Errorf("loaded for 26.4: %s, want %s", got, want)
	}
	newest := Load(tree, Options{}).Realms[RealmRef{"eu", "acme"}]
	for version, want := range map[string]string{
		"26.5.6": "[acme.yaml:8:5: realm: scimApiEnabled: Keycloak 26.5.6 doesn't know it; Keycloak 26.7 does; upgrade first, or leave it out]",
		"26.7.3": "[]", "27.0.0": "[]", "": "[]",
	} {
		if got := fmt.Sprint(UnknownTo(version, newest)); got != want {
			t.Errorf("to %s: %s, want %s", version, got, want)
		}
	}
}

// A server newer than all definitions may know what they don't.
func TestFieldsThatNobodyKnowsYetPassToANewerServerWithAWarning(t *testing.T) {
	manifest := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec:\n  server: eu\n  realm:\n    displayNames: {de: Acme}\n" +
		"    clients: [{clientId: portal, moods: [a, {b: 5}], attributes: {free: x}}]\n    authenticationFlows: [{alias: f, authenticationExecutions: [{authenticator: a, requirement: REQUIRED, patience: 3}]}]\n"
	tree := fstest.MapFS{"acme.yaml": {Data: []byte(manifest)}}
	warnings := "[acme.yaml:7:5: warning: displayNames isn't known up to Keycloak 26.7; Keycloak 26.8.1 is asked to take it as it is; did you mean displayName? " +
		"acme.yaml:8:34: warning: clients[portal].moods isn't known up to Keycloak 26.7; Keycloak 26.8.1 is asked to take it as it is " +
		"acme.yaml:9:107: warning: authenticationFlows[f].authenticationExecutions[0].patience isn't known up to Keycloak 26.7; Keycloak 26.8.1 is asked to take it as it is]"
	asked := 0
	says := func(version string) func() string { return func() string { asked++; return version } }
	for name, o := range map[string]Options{"told": {Version: "26.8.1"}, "asked": {ServerVersion: says("26.8.1")}} {
		d := Load(tree, o)
		if got := fmt.Sprint(d.Problems); got != warnings {
			t.Errorf("%s: says %s, want %s", name, got, warnings)
		}
		r := d.Realms[RealmRef{"eu", "acme"}]
		if got, want := shownJSON(t, r.State["clients/portal"].Fields["moods"]), `["a",{"b":5}]`; got != want {
			t.Errorf("%s: declared is %s, want %s", name, got, want)
		}
		if got := UnknownTo("26.8.1", r); len(got) > 0 {
			t.Errorf("%s: the server doesn't know %q", name, got)
		}
		if got := UnknownTo("26.7.3", r); len(got) != 2 {
			t.Errorf("%s: an older server is asked for %q", name, got)
		}
	}
	for _, o := range []Options{{}, {Version: "26.7.9"}, {ServerVersion: says("26.7.9")}, {ServerVersion: says("")}} {
		if d := Load(tree, o); len(Blocking(d.Problems, RealmRef{"eu", "acme"})) != 3 {
			t.Errorf("with %+v: %q", o, d.Problems)
		}
	}
	asked = 0
	if Load(fstest.MapFS{"acme.yaml": {Data: []byte(acme)}}, Options{ServerVersion: says("26.8.1")}); asked > 0 {
		t.Error("a server is asked although all is known")
	}
}

// A field that is only written by hand is one that the server refuses, or never shows.
func TestWhatIsWrittenByHandIsKnownToKeycloak(t *testing.T) {
	for _, version := range Versions() {
		folder := path.Join("keycloak", version)
		entries, err := definitionFiles.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var generated strings.Builder
		for i, e := range entries {
			source, err := definitionFiles.ReadFile(path.Join(folder, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				source = []byte(strings.Replace(string(source), "package schema", "", 1))
			}
			generated.Write(source)
		}
		alone := cuecontext.New().CompileString(generated.String())
		if alone.Err() != nil {
			t.Fatal(alone.Err())
		}
		d, err := define(version)
		if err != nil {
			t.Fatal(err)
		}
		checked := 0
		for name, form := range d.forms {
			if strings.Contains(name, ".") {
				continue
			}
			v := alone.LookupPath(cue.MakePath(cue.Def(strings.TrimPrefix(name, "#"))))
			if !v.Exists() {
				continue
			}
			for field, f := range form.fields {
				checked++
				if f.added {
					continue
				}
				have := v.LookupPath(cue.MakePath(cue.Str(field).Optional()))
				if !have.Exists() {
					t.Errorf("%s: %s.%s is not a field of Keycloak's", version, name, field)
				} else if have.IncompleteKind()&f.types == 0 {
					t.Errorf("%s: %s.%s is %v by hand and %v in Keycloak", version, name, field, f.types, have.IncompleteKind())
				}
			}
		}
		for _, f := range d.foreign {
			if !slices.ContainsFunc(Versions(), func(v string) bool { other, err := define(v); return err == nil && other.generated[f[0]][f[1]] }) {
				t.Errorf("%s.%s is not a field of Keycloak's in any version", f[0], f[1])
			}
		}
		if checked < 300 {
			t.Errorf("%s: only %d fields were looked at", version, checked)
		}
	}
}

func TestVersionsAreFoundByTheirMinor(t *testing.T) {
	newest := Versions()[len(Versions())-1]
	for version, want := range map[string]string{
		"": "", newest: "", newest + ".3": "",
		"1.2.3": "there are no definitions for Keycloak 1.2.3, only for " + strings.Join(Versions(), ", "),
	} {
		_, _, err := Definitions(version)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", version, got, want)
		}
	}
	d := Load(os.DirFS("."), Options{Version: "1.2"})
	if len(d.Problems) != 1 || !d.Problems[0].Blocks(RealmRef{"eu", "acme"}) {
		t.Errorf("a load with an unknown version says %q", d.Problems)
	}
}

func TestAnUnknownPathOfAnOpenMapHasTheFactsOfItsValues(t *testing.T) {
	facts, _, err := Definitions("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kind, path, want string }{
		{"clients", "attributes.my.own", "string empty"},
		{"clients", "attributes.post.logout.redirect.uris", "string set as=## empty"},
		{"clients", "attributes", "struct map empty"},
		{"clients", "redirectUris", "list set empty"},
		{"clients", "secret", "string secret"},
		{"realm", "smtpServer.password", "string empty secret writeonly"},
		{"realm", "enabled", "bool"},
		{"realm", "webAuthnPolicySignatureAlgorithms", "list ordered"},
		{"roles", "attributes.any", "list set empty"},
		{"composites", "composites.realm", "list set empty ref=roles refby=name"},
		{"composites", "composites.client.portal", "list set empty ref=roles refby=name"},
		{"clientRoles", "clientRoles.portal", "list set empty ref=roles refby=name"},
		{"defaultGroups", "defaultGroups", "list set ref=groups refby=path"},
		{"clients", "nothing", ""},
	} {
		f := facts.Of(c.kind, c.path)
		if got := strings.TrimSpace(f.Type + words(f)); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.kind, c.path, got, c.want)
		}
	}
}

// A kind is one CUE definition: nothing in Go names those that there are.
func TestAKindIsOneDefinition(t *testing.T) {
	files := fstest.MapFS{}
	if err := fs.WalkDir(definitionFiles, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		source, err := definitionFiles.ReadFile(name)
		var kept strings.Builder
		for line := range strings.Lines(string(source)) {
			if !strings.Contains(line, "identityProviders?:") || !strings.Contains(line, "@unmanaged") {
				kept.WriteString(line)
			}
		}
		files[name] = &fstest.MapFile{Data: []byte(kept.String())}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	files["provider.cue"] = &fstest.MapFile{Data: []byte(`package schema
#IdentityProviderRepresentation: {
	@kind(identityProviders,in=[realm],key=[alias])
	config?: {
		[string]:      _
		clientSecret?: _ @writeonly()
		defaultScope?: _ @set()
	} @map(open)
	internalId?: _ @computed()
}
`)}
	d, err := compile(files, "26.7")
	if err != nil {
		t.Fatal(err)
	}
	declared := load(fstest.MapFS{"acme.yaml": {Data: []byte(`apiVersion: cloakwork.dev/v1alpha1
kind: Realm
metadata: {name: acme}
spec:
  server: eu
  exclusive: [identityProviders]
  realm:
    identityProviders:
      - alias: google
        internalId: 5
        enabled: true
        conifg: {}
        config: {clientId: x}
`)}}, Options{}, d)
	want := "[acme.yaml:12:9: identityProviders[google].conifg is not a field of an identity provider; did you mean config?]"
	if got := fmt.Sprint(declared.Problems); got != want {
		t.Errorf("says %s, want %s", got, want)
	}
	r := declared.Realms[RealmRef{"eu", "acme"}]
	fields := map[string]any{"alias": "google", "enabled": true, "config": map[string]any{"clientId": "x"}}
	if diff := cmp.Diff(fields, r.State["identityProviders/google"].Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if !r.Complete["identityProviders"] || !declared.Facts.Of("identityProviders", "config.clientSecret").WriteOnly {
		t.Error("the list isn't exclusive, or a fact is missing")
	}
}
