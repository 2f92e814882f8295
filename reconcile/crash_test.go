package reconcile_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// Two commits with an object of every kind; the second renames, moves, changes, adds and deletes. What the second still
// has, it declares in full: what a manifest leaves out is as the server made it, and that depends on when it was made.
const (
	first  = "1111111"
	second = "2222222"
)

var commits = map[string]string{
	first: spec("  limits: {changes: 100%, deletes: 100%}\n", `
    displayName: Acme
    attributes: {team: identity, cost: "12"}
    clientScopes:
      - {name: stale, protocol: openid-connect}
      - name: orders
        protocol: openid-connect
        description: Orders
        protocolMappers:
          - name: tenant
            protocol: openid-connect
            protocolMapper: oidc-usermodel-attribute-mapper
            config: {user.attribute: tenant, claim.name: tenant}
    clients:
      - clientId: old
      - clientId: portal
        publicClient: true
        redirectUris: ["https://portal.acme.example/*"]
        attributes: {ours: a, kept: b}
        defaultClientScopes: [web-origins, acr, profile, roles, basic, orders]
        optionalClientScopes: [address, phone, offline_access, microprofile-jwt, organization]
        protocolMappers:
          - name: audience
            protocol: openid-connect
            protocolMapper: oidc-audience-mapper
            config: {included.custom.audience: api}
    roles:
      realm:
        - {name: auditor, description: Reads, attributes: {level: ["1"]}}
        - {name: boss, composites: {realm: [auditor], client: {portal: [viewer]}}}
      client: {portal: [{name: viewer}, {name: dropped}]}
    groups:
      - name: staff
        attributes: {site: [hq], floor: ["1"]}
        realmRoles: [auditor]
        clientRoles: {portal: [viewer]}
        subGroups: [{name: emea}]
      - {name: guests}
    defaultGroups: [/staff/emea]
    defaultDefaultClientScopes: [role_list, saml_organization, profile, email, roles, web-origins, acr, basic, orders]
    defaultOptionalClientScopes: [offline_access, address, phone, microprofile-jwt]
    defaultRole: {composites: {realm: [offline_access, uma_authorization, auditor], client: {account: [view-profile, manage-account]}}}
`),
	second: spec("  limits: {changes: 100%, deletes: 100%}\n", `
    displayName: Acme Ltd
    attributes: {team: identity}
    clientScopes:
      - name: sales
        $was: [orders]
        protocol: openid-connect
        description: Orders
        protocolMappers:
          - name: tenant
            protocol: openid-connect
            protocolMapper: oidc-usermodel-attribute-mapper
            config: {user.attribute: tenant, claim.name: mandant}
    clients:
      - clientId: gate
        $was: [portal]
        publicClient: true
        redirectUris: ["https://portal.acme.example/*"]
        attributes: {kept: b}
        defaultClientScopes: [web-origins, acr, profile, roles, basic]
        optionalClientScopes: [address, phone, offline_access, microprofile-jwt, organization, sales]
        protocolMappers: []
      - clientId: shop
        defaultClientScopes: [profile, email, roles, web-origins, acr, basic, sales]
        optionalClientScopes: [offline_access, address, phone, microprofile-jwt]
    roles:
      realm:
        - {name: inspector, $was: [auditor], description: Reads, attributes: {level: ["1"]}}
        - {name: boss, composites: {realm: [inspector, offline_access]}}
      client: {gate: [{name: viewer}]}
    groups:
      - name: people
        $was: [staff]
        attributes: {site: [hq]}
        realmRoles: [inspector, boss]
      - name: guests
        subGroups: [{name: emea, $was: [/staff/emea]}]
    defaultGroups: [/guests/emea]
    defaultDefaultClientScopes: [role_list, saml_organization, profile, email, roles, web-origins, acr, basic, sales]
    defaultOptionalClientScopes: [offline_access, address, phone, microprofile-jwt]
    defaultRole: {composites: {realm: [offline_access, uma_authorization, inspector], client: {account: [view-profile, manage-account]}}}
`),
}

// crashing is a realm that processes reach through a proxy, each process with its own session.
type crashing struct {
	*world
	commits map[string]string
	clock   *clock // of the processes
	proxy   *keycloaktest.Proxy
	account string // the client whose credentials sign in; "" for the administrator's
	last    func() // called before the write that ends the second commit's passes
}

func newCrashing(t *testing.T) *crashing {
	t.Helper()
	w := newWorld(t)
	c := &crashing{world: w, commits: commits, clock: newClock(), proxy: keycloaktest.NewProxy(t, w.url), last: func() {}}
	c.url = c.proxy.URL
	c.proxy.Intercept(func(r *http.Request) *http.Response {
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/admin/realms":
			withQuickKeys(r)
		case r.Method == http.MethodPut && strings.Contains(body(r), `\"commit\":\"`+second):
			c.last()
		}
		return nil
	})
	return c
}

// newAccount makes a client that may do everything. Hundreds of processes sign in here, and a password takes the server a
// tenth of a second each time.
func newAccount(t *testing.T) string {
	t.Helper()
	w := newWorld(t)
	id := w.admin.Create("/admin/realms/master/clients", map[string]any{"clientId": w.name, "secret": "as " + w.name, "serviceAccountsEnabled": true})
	t.Cleanup(func() { w.must(http.MethodDelete, "/admin/realms/master/clients/"+id, nil) })
	user := w.admin.Get("/admin/realms/master/clients/" + id + "/service-account-user").(map[string]any)["id"].(string)
	w.must(http.MethodPost, "/admin/realms/master/users/"+user+"/role-mappings/realm", []any{w.admin.Get("/admin/realms/master/roles/admin")})
	return w.name
}

// connect signs in anew, as a new process does.
func (c *crashing) connect() {
	c.t.Helper()
	if c.account == "" {
		c.world.connect()
		return
	}
	client, err := keycloak.New(keycloak.Config{URL: c.url, ClientID: c.account, ClientSecret: "as " + c.account, Patience: -1})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	c.client = client
}

// keys are those of a realm made quickly: what RSA keys take on a busy machine is most of a second, and here it doesn't
// matter what a realm signs with.
var keys = map[string]any{"org.keycloak.keys.KeyProvider": []any{
	map[string]any{"name": "ecdsa", "providerId": "ecdsa-generated", "config": map[string]any{"priority": []string{"100"}}}}}

func withQuickKeys(r *http.Request) {
	var realm map[string]any
	if err := json.Unmarshal([]byte(body(r)), &realm); err != nil {
		panic(err)
	}
	realm["components"] = keys
	text, err := json.Marshal(realm)
	if err != nil {
		panic(err)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
}

// body is what a request carries, which it still carries afterwards.
func body(r *http.Request) string {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	return string(text)
}

// passOf is a pass of a commit in the history of the two.
func (c *crashing) passOf(commit string) reconcile.Pass {
	c.t.Helper()
	p := c.clock.at(c.pass(reconcile.Apply, c.commits[commit]))
	p.Commit = commit
	p.Base = func(commit string) (*schema.Realm, error) {
		return reconcile.Declares(c.load(c.commits[commit]), p.Want.Ref)
	}
	p.Descends = func(a, b string) (bool, error) { return a < b, nil }
	return p
}

// crash runs a process on the commit that is cut off at the n-th write, and returns how many changes it had to make.
func (c *crashing) crash(commit string, cut func(*keycloaktest.Proxy, int), n int) int {
	c.t.Helper()
	c.connect()
	p := c.passOf(commit)
	cut(c.proxy, n)
	report, err := p.Run(context.Background())
	if err == nil || !c.proxy.Cut() {
		c.t.Fatalf("write %d of %s: not cut (%v)\n%s", n, commit, err, text(report))
	}
	if report.Verdict != drift.Errored || report.Says == "" {
		c.t.Errorf("write %d of %s: %s: %s", n, commit, report.Verdict, report.Says)
	}
	c.proxy.Heal()
	return len(report.Changes)
}

// heal runs passes of a new process until one finds nothing to do, at most three, and returns how many writes the first
// one sent.
func (c *crashing) heal(commit string) (writes int) {
	c.t.Helper()
	c.connect()
	for i := range 3 {
		before := c.proxy.Writes()
		report, err := c.passOf(commit).Run(context.Background())
		if err != nil {
			c.t.Errorf("pass %d of %s: %v\n%s", i+1, commit, err, text(report))
		}
		sent := c.proxy.Writes() - before
		if i == 0 {
			writes = sent
		}
		if err == nil && sent == 0 && len(report.Changes) == 0 && report.Verdict == drift.InSync {
			return writes
		}
	}
	c.t.Errorf("three passes of %s, and it isn't in sync", commit)
	return writes
}

// strangers are made by hand between the commits: things of their own, and some that stand in or lean on ours.
func (c *crashing) strangers() {
	c.t.Helper()
	portal := c.clientID("portal")
	c.admin.Create(c.at("/clients"), map[string]any{"clientId": "by-hand", "secret": "by hand, too", "protocolMappers": []any{handmade}})
	c.admin.Create(c.at("/client-scopes"), map[string]any{"name": "by-hand", "protocol": "openid-connect", "protocolMappers": []any{handmade}})
	c.admin.Create(c.at("/roles"), map[string]any{"name": "by-hand"})
	c.admin.Create(c.at("/clients/"+portal+"/roles"), map[string]any{"name": "by-hand"})
	c.admin.Create(c.at("/groups"), map[string]any{"name": "by-hand", "attributes": map[string]any{"a": []string{"b"}}})
	c.admin.Create(c.at("/groups/"+c.id("groups", "/staff")+"/children"), map[string]any{"name": "by-hand"})
	user := c.admin.Create(c.at("/users"), map[string]any{"username": "ada", "groups": []string{"/staff/emea", "/guests", "/by-hand"}})
	c.admin.Do(http.MethodPost, c.at("/users/"+user+"/role-mappings/realm"), []any{c.role("/roles/auditor"), c.role("/roles/by-hand")})
	c.admin.Edit(c.at("/clients/"+portal), func(o map[string]any) { o["attributes"].(map[string]any)["theirs"] = "kept" })
	c.admin.Edit(c.at(""), func(o map[string]any) { o["attributes"].(map[string]any)["theirs"] = "kept" })
}

var handmade = map[string]any{"name": "by-hand", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
	"config": map[string]any{"claim.name": "a", "claim.value": "b"}}

// found makes the realm by hand, with things in it, before any commit is applied.
func (c *crashing) found() {
	c.t.Helper()
	c.admin.Create("/admin/realms", map[string]any{"realm": c.name, "displayName": "by hand", "components": keys,
		"attributes": map[string]any{"theirs": "kept"},
		"roles":      map[string]any{"realm": []any{map[string]any{"name": "by-hand"}}},
		"clients":    []any{map[string]any{"clientId": "by-hand", "protocolMappers": []any{handmade}, "attributes": map[string]any{"theirs": "kept"}}},
		"groups":     []any{map[string]any{"name": "by-hand", "subGroups": []any{map[string]any{"name": "by-hand"}}}},
		"users":      []any{map[string]any{"username": "ada", "groups": []string{"/by-hand"}, "realmRoles": []string{"by-hand"}}}})
	c.admin.Create(c.at("/client-scopes"), map[string]any{"name": "by-hand", "protocol": "openid-connect"})
}

// expect checks the names of what the second commit leaves, and what of the first or of strangers is there or not: what
// the comparison of two realms can't tell.
func (c *crashing) expect(lists map[string]string) {
	c.t.Helper()
	gate, people := c.clientID("gate"), c.id("groups", "/people")
	for list, want := range map[string]string{"/clients/" + gate + "/roles": "viewer", "/roles/boss/composites": "inspector offline_access",
		"/groups/" + people + "/role-mappings/realm": "boss inspector", "/groups": "guests people", "/clients/" + gate + "/protocol-mappers/models": "",
		"/default-groups": "emea", "/groups/" + c.id("groups", "/guests") + "/children": "emea", "/groups/" + people + "/children": ""} {
		if more, ok := lists[list]; ok {
			want = more
		}
		var got []string
		for _, o := range c.admin.Get(c.at(list)).([]any) {
			got = append(got, o.(map[string]any)["name"].(string))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			c.t.Errorf("%s holds %q, want %q", list, got, want)
		}
	}
}

// view is all that the realm holds, as the admin API shows it to somebody else, to be compared with that of another realm:
// the ledgers are spelled out.
func (c *crashing) view() map[string]any {
	c.t.Helper()
	view := keycloaktest.Portable(c.name, c.admin.Dump(c.name))
	for _, list := range []any{view["clients"], view["realm"].(map[string]any)["clients"]} {
		for _, o := range list.([]any) {
			attributes, _ := o.(map[string]any)["attributes"].(map[string]any)
			for name, v := range attributes {
				if strings.HasPrefix(name, "cloakwork.ledger.") {
					attributes[name] = c.ledger(v.(string))
				}
			}
		}
	}
	return view
}

// ledger is what an attribute remembers, without what is a realm's own: its id, and the digest, which its name goes into.
func (c *crashing) ledger(value string) map[string]any {
	c.t.Helper()
	var ledger map[string]any
	if err := json.Unmarshal([]byte(value), &ledger); err != nil {
		c.t.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(ledger["owned"].(string))
	if err != nil {
		c.t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		c.t.Fatal(err)
	}
	lines, err := io.ReadAll(z)
	if err != nil {
		c.t.Fatal(err)
	}
	ledger["owned"] = strings.Split(strings.ReplaceAll(string(lines), c.name, "REALM"), "\n")
	delete(ledger, "realm")
	delete(ledger, "digest")
	return ledger
}

func (c *crashing) looksLike(want map[string]any) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.view()); diff != "" {
		c.t.Errorf("it differs from a realm where nothing crashed (-that +this):\n%s", diff)
	}
}

var cuts = []struct {
	name string
	cut  func(*keycloaktest.Proxy, int)
}{{"before", (*keycloaktest.Proxy).CutBefore}, {"after", (*keycloaktest.Proxy).CutAfter}}

func TestEveryCrashOfAFirstApplyAndOfAnUpdateHeals(t *testing.T) {
	account := newAccount(t)
	c := newCrashing(t)
	made := c.heal(first)
	afterFirst := c.view()
	c.strangers()
	updated := c.heal(second)
	c.expect(map[string]string{"/groups": "by-hand guests people", "/clients/" + c.clientID("gate") + "/roles": "by-hand viewer",
		"/groups/" + c.id("groups", "/people") + "/children": "by-hand"})
	afterSecond := c.view()
	t.Logf("the first commit takes %d writes, the second %d", made, updated)
	if made != firstWrites {
		t.Errorf("the first commit takes %d writes, want %d", made, firstWrites)
	}
	for n := 1; n <= max(made, updated); n++ {
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("write %d, %s the server got it", n, cut.name), func(t *testing.T) {
				t.Parallel()
				c := newCrashing(t)
				c.account = account
				if n <= made {
					c.crash(first, cut.cut, n)
				}
				c.heal(first)
				c.looksLike(afterFirst)
				if n > updated {
					return
				}
				c.strangers()
				c.crash(second, cut.cut, n)
				c.heal(second)
				c.looksLike(afterSecond)
			})
		}
	}
}

// The second commit finds what a crash of the first left, and crashes itself: at its first write, in its middle, and at its
// last. Each time it is another process that goes on.
func TestEveryCrashOfAFirstApplyHealsThoughTheNextCommitCrashesThreeTimes(t *testing.T) {
	account := newAccount(t)
	c := newCrashing(t)
	c.found()
	made := c.heal(first)
	c.heal(second)
	c.expect(map[string]string{"/groups": "by-hand guests people"})
	want := c.view()
	t.Logf("the first commit takes %d writes", made)
	for n := 1; n <= made; n++ {
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("write %d, %s the server got it", n, cut.name), func(t *testing.T) {
				t.Parallel()
				c := newCrashing(t)
				c.account = account
				c.found()
				c.crash(first, cut.cut, n)
				changes := c.crash(second, cut.cut, 1)
				c.crash(second, cut.cut, max(2, changes/2))
				c.last = func() { cut.cut(c.proxy, 1) }
				c.crash(second, func(*keycloaktest.Proxy, int) {}, 0)
				c.last = func() {}
				if rest := c.heal(second); rest > 1 {
					t.Errorf("%d writes came after what should be the last", rest)
				}
				c.looksLike(want)
			})
		}
	}
}
