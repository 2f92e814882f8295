package schema

import (
	"strings"
	"testing"
	"testing/fstest"
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
