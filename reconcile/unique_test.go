package reconcile_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile"
)

// passedOn are two commits: in the second others have what Keycloak gives to one object at a time. What is dropped hands over, and
// so does what stays and takes something else; some take from each other.
var passedOn = map[string]struct {
	commits [2]string
	holds   []string // who has what after the second
	writes  int      // of the second, those of the ledger among them
}{
	"organizations": {[2]string{
		`    organizationsEnabled: true
    identityProviders: [{alias: hub, providerId: oidc}, {alias: spoke, providerId: oidc}]
    organizations:
      - {alias: old, name: Acme, domains: [{name: acme.example}, {name: gone.example}], identityProviders: [{alias: hub}]}
      - {alias: left, name: Left, domains: [{name: left.example}, {name: kept.example}], identityProviders: [{alias: spoke}]}
      - {alias: right, name: Right, domains: [{name: right.example}], identityProviders: []}
`, `    organizationsEnabled: true
    identityProviders: [{alias: hub, providerId: oidc}, {alias: spoke, providerId: oidc}]
    organizations:
      - {alias: new, name: Acme, domains: [{name: Acme.example}], identityProviders: [{alias: hub}]}
      - {alias: left, name: Right, domains: [{name: right.example}, {name: kept.example}], identityProviders: []}
      - {alias: right, name: Left, domains: [{name: left.example}], identityProviders: [{alias: spoke}]}
`},
		[]string{"left Right kept.example right.example", "new Acme acme.example hub", "right Left left.example spoke"}, 14,
	},
	"users": {[2]string{
		`    editUsernameAllowed: true
    users:
      - {username: ann, email: ann@acme.example}
      - {username: bob, email: bob@acme.example, firstName: Bob}
      - {username: cyd, email: cyd@acme.example, firstName: Cyd}
      - {username: eve@acme.example}
      - {username: fay@acme.example, email: fay@home.example}
`, `    editUsernameAllowed: true
    users:
      - {username: anna, email: Ann@acme.example}
      - {username: bob, email: cyd@acme.example, firstName: Bob}
      - {username: cyd, email: bob@acme.example, firstName: Cyd}
      - {username: eve, email: eve@acme.example}
      - {username: fay, $was: [fay@acme.example], email: fay@home.example}
      - {username: gus, email: fay@acme.example}
`},
		[]string{"anna ann@acme.example", "bob cyd@acme.example", "cyd bob@acme.example", "eve eve@acme.example", "fay fay@home.example", "gus fay@acme.example"}, 13,
	},
	"identity providers": {[2]string{
		`    identityProviders:
      - {alias: old, providerId: oidc, config: {issuer: "https://old.example", useJwksUrl: true, jwksUrl: "https://old.example/k", supportsClientAssertions: true}}
      - {alias: left, providerId: oidc, config: {issuer: "https://left.example", useJwksUrl: true, jwksUrl: "https://left.example/k", jwtAuthorizationGrantEnabled: true}}
      - {alias: right, providerId: oidc, config: {issuer: "https://right.example", useJwksUrl: true, jwksUrl: "https://right.example/k", jwtAuthorizationGrantEnabled: true}}
`, `    identityProviders:
      - {alias: new, providerId: oidc, config: {issuer: "https://old.example", useJwksUrl: true, jwksUrl: "https://old.example/k", supportsClientAssertions: true}}
      - {alias: left, providerId: oidc, config: {issuer: "https://right.example", useJwksUrl: true, jwksUrl: "https://left.example/k", jwtAuthorizationGrantEnabled: true}}
      - {alias: right, providerId: oidc, config: {issuer: "https://left.example", useJwksUrl: true, jwksUrl: "https://right.example/k", jwtAuthorizationGrantEnabled: true}}
`},
		[]string{"left https://right.example", "new https://old.example", "right https://left.example"}, 9,
	},
}

// holders are who has which of these values.
func (w *world) holders(kind string) (lines []string) {
	w.t.Helper()
	list := func(path string) (objects []map[string]any) {
		for _, o := range w.admin.Get(w.at(path)).([]any) {
			objects = append(objects, o.(map[string]any))
		}
		return objects
	}
	switch kind {
	case "organizations":
		for _, o := range list("/organizations?briefRepresentation=false") {
			var has []string
			domains, _ := o["domains"].([]any)
			for _, d := range domains {
				has = append(has, d.(map[string]any)["name"].(string))
			}
			slices.Sort(has)
			for _, p := range list("/organizations/" + o["id"].(string) + "/identity-providers") {
				has = append(has, p["alias"].(string))
			}
			lines = append(lines, fmt.Sprintf("%s %s %s", o["alias"], o["name"], strings.Join(has, " ")))
		}
	case "users":
		for _, u := range list("/users") {
			lines = append(lines, fmt.Sprintf("%s %s", u["username"], u["email"]))
		}
	default:
		for _, p := range list("/identity-provider/instances") {
			lines = append(lines, fmt.Sprintf("%s %s", p["alias"], p["config"].(map[string]any)["issuer"]))
		}
	}
	slices.Sort(lines)
	return lines
}

// It does at whichever write a process crashes, and the next goes on.
func TestOneCommitPassesOnWhatKeycloakGivesToOneObjectAtATime(t *testing.T) {
	for kind, on := range passedOn {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCrashing(t)
			c.connect()
			var manifests [2]string
			for i, commit := range on.commits {
				manifests[i] = spec("  limits: {deletes: 100%, changes: 100%}\n", commit)
			}
			holds := func(when string) {
				t.Helper()
				if diff := cmp.Diff(on.holds, c.holders(kind)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
			}
			c.settled(manifests[0])
			before := c.proxy.Writes()
			c.settled(manifests[1])
			if writes := c.proxy.Writes() - before; writes != on.writes {
				t.Errorf("it takes %d writes, want %d", writes, on.writes)
			}
			holds("where nothing crashed")
			for n := 1; n <= on.writes && !t.Failed(); n++ {
				cut := cuts[n%2]
				c.apply(manifests[0])
				cut.cut(c.proxy, n)
				report, err := c.pass(reconcile.Apply, manifests[1]).Run(context.Background())
				if err == nil || !c.proxy.Cut() {
					t.Fatalf("write %d: not cut (%v)\n%s", n, err, text(report))
				}
				c.proxy.Heal()
				c.connect()
				c.settled(manifests[1])
				holds(fmt.Sprintf("after a crash at write %d, %s the server got it", n, cut.name))
			}
		})
	}
}

// What is passed on is taken away before; the object that had it stays until all else is done.
func TestWhoTakesAValueAndFailsLosesNobodyTheObjectThatHadIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const before = "    organizationsEnabled: true\n    organizations: [{alias: old, name: Acme, domains: [{name: acme.example}]}]\n"
	w.settled(realm(before))
	after := realm(strings.Replace(before, "alias: old", "alias: new", 1))
	report, err := w.pass(reconcile.Apply, strings.Replace(after, "{name: acme.example}", "{name: acme.example}, {name: not a domain}", 1)).Run(context.Background())
	if err == nil || !strings.Contains(text(report), "organizations/old  (commit; skipped; deletes are withheld") {
		t.Errorf("%v\n%s", err, text(report))
	}
	id := w.admin.Get(w.at("/organizations?briefRepresentation=false")).([]any)[0].(map[string]any)["id"]
	if diff := cmp.Diff([]string{fmt.Sprintf("old %s ", id)}, w.holders("organizations")); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s", diff)
	}
	w.settled(after)
	if diff := cmp.Diff([]string{"new Acme acme.example"}, w.holders("organizations")); diff != "" {
		t.Errorf("once it is mended (-want +got):\n%s", diff)
	}
}
