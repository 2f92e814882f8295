package reconcile_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

const (
	aKey       = reconcile.FingerprintKey("a-fingerprint-key-of-forty-characters-in")
	anotherKey = reconcile.FingerprintKey("another-fingerprint-key-of-forty-letters")
)

// hiding declares a secret of each kind that Keycloak answers with asterisks.
const hiding = `    smtpServer: {host: smtp.acme.example, from: id@acme.example, auth: true, user: id, password: $(env:SMTP)}
    identityProviders: [{alias: hub, providerId: oidc, displayName: Hub, config: {authorizationUrl: "https://hub.example/a", tokenUrl: "https://hub.example/t", clientId: acme, clientSecret: $(env:HUB)}}]
    components:
      org.keycloak.storage.UserStorageProvider:
        - name: corp
          providerId: ldap
          config: {vendor: [other], editMode: [READ_ONLY], connectionUrl: ["ldap://127.0.0.1:1"], bindDn: ["cn=admin"], bindCredential: [$(env:LDAP)], authType: [simple], usersDn: ["dc=x"], rdnLDAPAttribute: [uid], uuidLDAPAttribute: [entryUUID], usernameLDAPAttribute: [uid], userObjectClasses: [inetOrgPerson]}
          subComponents: {}
`

// wire sees the bodies of the writes that go to Keycloak.
type wire struct {
	*keycloaktest.Proxy
	mu     sync.Mutex
	bodies []string
}

// wired puts a proxy between the product and the server, which lets what Keycloak answers be changed.
func (w *world) wired(change func(r *http.Request, body []byte) []byte) *wire {
	w.t.Helper()
	p := &wire{Proxy: keycloaktest.NewProxy(w.t, w.server.URL)}
	p.Intercept(func(r *http.Request) *http.Response {
		if r.Method == http.MethodGet && change != nil {
			return w.changed(r, change)
		}
		if r.Method == http.MethodPut || r.Method == http.MethodPost {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				w.t.Error(err)
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			p.mu.Lock()
			defer p.mu.Unlock()
			p.bodies = append(p.bodies, string(body))
		}
		return nil
	})
	w.url = p.URL
	w.connect()
	return p
}

// changed is what the server answers, with its body changed.
func (w *world) changed(r *http.Request, change func(*http.Request, []byte) []byte) *http.Response {
	request, err := http.NewRequest(r.Method, w.server.URL+r.URL.String(), nil)
	if err != nil {
		w.t.Error(err)
		return nil
	}
	request.Header = r.Header.Clone()
	request.Host = r.Host // tokens name it
	request.Header.Del("Accept-Encoding")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Error(err)
		return nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Error(err)
	}
	return keycloaktest.Reply(response.StatusCode, string(change(r, body)), "Content-Type", response.Header.Get("Content-Type"))
}

func (p *wire) sent() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.bodies, "\n")
}

// with applies by a process that has a key, or none, and gives the writes that it sent.
func (w *world) with(key reconcile.FingerprintKey, manifest string) (drift.Report, []string) {
	w.t.Helper()
	mark := w.server.Mark(w.t)
	p := w.pass(reconcile.Apply, manifest)
	p.FingerprintKey = key
	report := w.run(p)
	var writes []string
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(w.t, mark, w.name)) {
		write := w.shape(r)
		if strings.HasPrefix(write, "PUT /components/") { // whose ids aren't all alike
			write = "PUT /components/*"
		}
		writes = append(writes, write)
	}
	return report, writes
}

// rewritten are the writes of a pass that changed secrets: the ledger before and after, the objects between.
func rewritten(objects ...string) []string {
	return slices.Concat([]string{"PUT /clients/*"}, objects, []string{"PUT /clients/*"})
}

func TestASecretThatCanNotBeReadIsWrittenOnceWhenItChangesAnywhere(t *testing.T) {
	w := newWorld(t)
	p := w.wired(nil)
	w.env = map[string]string{"SMTP": "smtp-secret-1", "HUB": "hub-secret-1", "LDAP": "ldap-secret-1"}
	manifest := realm(hiding)
	w.with(aKey, manifest)
	expect := func(what string, key reconcile.FingerprintKey, says string, want ...string) {
		t.Helper()
		report, writes := w.with(key, manifest)
		if diff := cmp.Diff(want, writes); diff != "" {
			t.Errorf("%s: writes (-want +got):\n%s\n%s", what, diff, text(report))
		}
		if report.Says != says {
			t.Errorf("%s: says %q, want %q", what, report.Says, says)
		}
	}
	const asWritten, hidden = "3 objects as declared; 3 secrets as last written", "3 objects as declared; 3 secrets can't be seen"
	expect("again", aKey, asWritten)

	w.env["HUB"] = "hub-secret-2"
	expect("without the key", "", hidden)
	expect("a changed variable", aKey, asWritten, rewritten("PUT /identity-provider/instances/hub")...)
	if !strings.Contains(p.sent(), `"clientSecret":"hub-secret-2"`) {
		t.Error("the new secret was not sent")
	}
	expect("and again", aKey, asWritten)

	all := rewritten("PUT ", "PUT /identity-provider/instances/hub", "PUT /components/*")
	count := func(key reconcile.FingerprintKey) int {
		mark := w.server.Mark(t)
		w.with(key, manifest)
		return len(w.server.RequestsSince(t, mark, w.name))
	}
	if with, without := count(aKey), count(""); with != without {
		t.Errorf("a pass that finds nothing to do sends %d requests with a key, and %d without", with, without)
	}
	expect("another key", anotherKey, asWritten, all...)
	expect("and again", anotherKey, asWritten)
	expect("without a key", "", hidden)

	for name, secret := range maps.All(map[string]string{"key": string(aKey), "other key": string(anotherKey), "HUB": "hub-secret", "SMTP": "smtp-secret", "LDAP": "ldap-secret"}) {
		ledger, err := json.Marshal(w.admin.Get(w.at("/clients?clientId=cloakwork")))
		if err != nil || strings.Contains(string(ledger), secret) {
			t.Errorf("%s stands in the ledger: %s %v", name, ledger, err)
		}
	}

	// A copy of the realm brings the fingerprints along, and they mean nothing there.
	ledger := w.admin.Get(w.at("/clients?clientId=cloakwork")).([]any)[0].(map[string]any)["attributes"]
	copied := newWorld(t)
	copied.env = w.env
	copied.apply(manifest)
	copied.admin.Edit(copied.at("/clients/"+copied.clientID("cloakwork")), func(c map[string]any) { c["attributes"] = ledger })
	if _, writes := copied.with(anotherKey, manifest); !cmp.Equal(writes, all) {
		t.Errorf("in a copy of the realm writes %q, want %q", writes, all)
	}
	if _, writes := copied.with(anotherKey, manifest); len(writes) > 0 {
		t.Errorf("and again %q", writes)
	}
}

func TestACrashAfterASecretWasWrittenHeals(t *testing.T) {
	w := newWorld(t)
	p := w.wired(nil)
	w.env = map[string]string{"HUB": "hub-secret-1"}
	manifest := realm(`    identityProviders: [{alias: hub, providerId: oidc, config: {authorizationUrl: "https://hub.example/a", tokenUrl: "https://hub.example/t", clientId: acme, clientSecret: $(env:HUB)}}]` + "\n")
	w.with(aKey, manifest)
	for _, next := range []string{"hub-secret-2", "hub-secret-1"} { // what was declared then, or before
		w.env["HUB"] = "hub-secret-2"
		p.CutAfter(2) // the provider's, after the ledger's
		pass := w.pass(reconcile.Apply, manifest)
		pass.FingerprintKey = aKey
		if report, err := pass.Run(context.Background()); err == nil {
			t.Fatalf("the pass was not cut\n%s", text(report))
		}
		p.Heal()
		w.connect()
		w.env["HUB"] = next
		if report, writes := w.with(aKey, manifest); !slices.Contains(writes, "PUT /identity-provider/instances/hub") {
			t.Errorf("after the crash it wrote %q\n%s", writes, text(report))
		}
		if report, writes := w.with(aKey, manifest); len(writes) > 0 {
			t.Errorf("and again %q\n%s", writes, text(report))
		}
		w.env["HUB"] = "hub-secret-0"
		w.with(aKey, manifest)
	}
}

// The policy's own attributes are nobody's declaration, and a declared secret is rotated as the policy has it: the former
// one stays good for a while.
func TestADeclaredSecretRotatesWhereAPolicySaysSo(t *testing.T) {
	server, err := keycloaktest.Start(t.Context(), keycloaktest.Options{Build: map[string]string{"features": "client-secret-rotation"}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	w := &world{t: t, server: server, admin: server.Admin(t), name: "rotating", url: server.URL, source: "test", env: map[string]string{"APP": "app-secret-1"}}
	w.connect()
	manifest := func(period, description string) string {
		return realm(`    clientProfiles: {profiles: [{name: rotate, executors: [{executor: secret-rotation, configuration: {expiration-period: ` + period + `, rotated-expiration-period: ` + period + `, remaining-rotation-period: ` + period + `}}]}]}
    clientPolicies: {policies: [{name: rotate, enabled: true, profiles: [rotate], conditions: [{condition: client-access-type, configuration: {type: [confidential]}}]}]}
    clients: [{clientId: app, description: "` + description + `", secret: $(env:APP)}]
`)
	}
	expect := func(what, secret, rotated string) {
		t.Helper()
		c := w.admin.Get(w.below("app", "")).(map[string]any)
		attributes := c["attributes"].(map[string]any)
		former, _ := attributes["client.secret.rotated"].(string)
		if c["secret"] != secret || former != rotated || attributes["client.secret.expiration.time"] == nil {
			t.Errorf("%s: the secret is %v, the former one %q, %v", what, c["secret"], former, attributes)
		}
	}
	w.settled(manifest("1000", "a")) // the policy comes after the client
	w.settled(manifest("1000", "b"))
	expect("under the policy", "app-secret-1", "app-secret-1") // it came after the client, whose secret had no time
	w.env["APP"] = "app-secret-2"
	w.settled(manifest("1000", "b"))
	expect("changed", "app-secret-2", "app-secret-1")
	w.admin.Do("POST", w.below("app", "/client-secret"), nil)
	w.settled(manifest("1000", "b"))
	expect("rotated by hand", "app-secret-2", "app-secret-2")
}

// A newer Keycloak may hide the secrets of clients too, and stores asterisks that are sent back to it.
func TestAHiddenClientSecretIsNeverOverwrittenByAsterisks(t *testing.T) {
	w := newWorld(t)
	p := w.wired(func(r *http.Request, body []byte) []byte {
		var clients []map[string]any
		if !strings.HasSuffix(r.URL.Path, "/clients") || json.Unmarshal(body, &clients) != nil {
			return body
		}
		for _, c := range clients {
			if c["secret"] != nil {
				c["secret"] = "**********"
			}
		}
		masked, err := json.Marshal(clients)
		if err != nil {
			t.Error(err)
		}
		return masked
	})
	w.env = map[string]string{"APP": "app-secret-1"}
	manifest := func(name, secret string) string {
		return realm("    clients: [{clientId: app, name: " + name + secret + "}, {clientId: undeclared, name: " + name + "}]\n")
	}
	secret := func() any { return w.admin.Get(w.below("app", "/client-secret")).(map[string]any)["value"] }
	const declared = ", secret: $(env:APP)"
	w.with(aKey, manifest("A", declared))
	report, writes := w.with(aKey, manifest("A", declared))
	if len(writes) > 0 || report.Says != "3 objects as declared; 1 secret as last written" {
		t.Errorf("again: %q, says %q", writes, report.Says)
	}
	_, writes = w.with("", manifest("B", declared))
	if secret() != "app-secret-1" {
		t.Errorf("after %q the secret is %v", writes, secret())
	}
	w.env["APP"] = "app-secret-2"
	if w.with(aKey, manifest("B", declared)); secret() != "app-secret-2" {
		t.Error("a new secret was not written")
	}
	w.with(aKey, manifest("C", ""))
	if strings.Contains(p.sent(), "***") || secret() != "app-secret-2" {
		t.Errorf("asterisks were sent, or the secret is no longer what it was:\n%s", p.sent())
	}
}

// Whatever is written beside a secret, it stays in the database as it was.
func TestWritesBesideASecretLeaveItAsItIs(t *testing.T) {
	w := newWorld(t)
	p := w.wired(nil)
	w.env = map[string]string{"SMTP": "smtp-secret-1", "HUB": "hub-secret-1", "LDAP": "ldap-secret-1", "AUTH": "auth-secret-1"}
	manifest := hiding + flowsAre(flow("acme", "", withConfig("hub"))) + "    authenticatorConfig: [{alias: hub, config: {defaultProvider: one, other: $(env:AUTH), secret.key: $(env:AUTH)}}]\n"
	w.with(aKey, realm(manifest))
	before := len(p.sent())
	report, writes := w.with(aKey, realm("    displayName: Acme\n"+strings.NewReplacer("displayName: Hub", "displayName: Hub 2", "usersDn: [\"dc=x\"]", "usersDn: [\"dc=y\"]", "defaultProvider: one", "defaultProvider: two").Replace(manifest)))
	want := []string{"PUT /clients/*", "PUT /authentication/config/*", "PUT ", "PUT /identity-provider/instances/hub", "PUT /components/*", "PUT /clients/*"}
	if slices.Sort(want); !cmp.Equal(want, slices.Sorted(slices.Values(writes))) && !cmp.Equal(want[:len(want)-1], slices.Sorted(slices.Values(writes))) {
		t.Errorf("writes %q\n%s", writes, text(report))
	}
	if strings.Contains(p.sent()[before:], "secret-1") {
		t.Error("a secret was written again")
	}
	w.with(aKey, realm(strings.Replace(manifest, "host: smtp.acme.example", "host: mail.acme.example", 1)))
	exported := string(w.server.Export(t, w.name))
	for name, secret := range w.env {
		if !strings.Contains(exported, `"`+secret+`"`) {
			t.Errorf("%s is no longer in the database", name)
		}
	}
	if strings.Contains(exported, "***") {
		t.Error("asterisks are in the database")
	}
}

// In a plain folder nobody can read what was declared before; what came from $(…) isn't shown all the same.
func TestALiteralInPlaceOfAnInputNeverShowsIt(t *testing.T) {
	w := newWorld(t)
	w.env["NAME"] = "a-name-that-is-secret"
	w.apply(realm("    displayName: $(env:NAME)\n    displayNameHtml: shown\n    clients: [{clientId: app, name: $(env:NAME), attributes: {kept: $(env:NAME), open: shown}}]\n"))
	for _, literal := range []string{"    displayName: Acme\n    displayNameHtml: Acme\n    clients: [{clientId: app, name: App, attributes: {kept: App}}]\n",
		"    clients: [{clientId: app}]\n", "    displayName: Other\n    clients: [{clientId: app, name: Other}]\n"} {
		report := w.plan(realm(literal))
		if out := text(report); strings.Contains(out, "a-name-that") || strings.Contains(literal, "Html") && !strings.Contains(out, `"shown" → "Acme"`) {
			t.Errorf("the plan shows\n%s", out)
		}
		if strings.Contains(literal, "Html") {
			continue // what comes next is released first
		}
		w.apply(realm(literal))
	}
}

// Another process writes a secret, and remembers it, while the write of this one is on its way.
func TestASecretThatAnotherProcessCrossedIsWrittenAgain(t *testing.T) {
	w := newWorld(t)
	manifest := realm(`    identityProviders: [{alias: hub, providerId: oidc, config: {authorizationUrl: "https://hub.example/a", tokenUrl: "https://hub.example/t", clientId: acme, clientSecret: $(env:HUB)}}]` + "\n")
	other := *w
	w.env, other.env = map[string]string{"HUB": "hub-secret-1"}, map[string]string{"HUB": "hub-secret-3"}
	w.with(aKey, manifest)
	proxy, crossed := keycloaktest.NewProxy(t, w.server.URL), sync.Once{}
	proxy.Intercept(func(r *http.Request) *http.Response {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/instances/hub") {
			crossed.Do(func() { other.with(aKey, manifest) })
		}
		return nil
	})
	w.url = proxy.URL
	w.connect()
	w.env["HUB"] = "hub-secret-2"
	late := w.pass(reconcile.Apply, manifest)
	late.FingerprintKey = aKey
	if report, err := late.Run(context.Background()); err == nil {
		t.Fatalf("nothing crossed it\n%s", text(report))
	}
	if _, writes := other.with(aKey, manifest); !cmp.Equal(writes, []string{"PUT /identity-provider/instances/hub", "PUT /clients/*"}) {
		t.Errorf("the other process wrote %q then", writes)
	}
	if _, writes := other.with(aKey, manifest); len(writes) > 0 {
		t.Errorf("and again %q", writes)
	}
}
