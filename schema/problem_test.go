package schema

import (
	"testing"
	"testing/fstest"
)

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
