package schema

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

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
