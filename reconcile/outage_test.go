package reconcile_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// outage is what the way to Keycloak does to a pass, and how the pass says so.
type outage struct {
	name string
	hits func(*http.Request) bool // nil: all
	do   func() *http.Response    // instead of the server's answer
	says string                   // in the sentence
}

func refuse() *http.Response { panic(http.ErrAbortHandler) }

func reply(status int, body string, headers ...string) func() *http.Response {
	return func() *http.Response { return keycloaktest.Reply(status, body, headers...) }
}

func signIn(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/token") }

func reads(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/admin/")
}

// newClient is a POST of one client, by its clientId.
func newClient(id string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/clients") && strings.Contains(body(r), `"clientId":"`+id+`"`)
	}
}

var outages = []outage{
	{"down at the start", nil, refuse, "server unreachable"},
	{"down after the sign-in", reads, refuse, "no reply"},
	{"down in the middle", newClient("portal"), refuse, "no reply"},
	{"503 to the sign-in", signIn, reply(503, "<html>", "Content-Type", "text/html"), "503: service unavailable"},
	{"503 to reads", reads, reply(503, ""), "503: service unavailable"},
	{"502 in the middle", newClient("portal"), reply(502, ""), "502: bad gateway"},
	{"429 to reads", reads, reply(429, "", "Retry-After", "30"), "429: too many requests"},
	{"429 in the middle", newClient("portal"), reply(429, "", "Retry-After", "30"), "429: too many requests"},
	{"401 that lasts", reads, reply(401, `{"error":"HTTP 401 Unauthorized"}`), "401: Unauthorized"},
	{"a page instead of JSON", reads, reply(200, "<html>maintenance</html>", "Content-Type", "text/html"), "the reply is not JSON, but text/html"},
}

// The same process goes on: what it says is for people, what it holds is of no harm to its next pass.
func TestAnOutageIsSaidAndTheNextPassHeals(t *testing.T) {
	w := newWorld(t)
	proxy := keycloaktest.NewProxy(t, w.url)
	w.url = proxy.URL
	w.settled(realm("    clients: [{clientId: shop}]\n"))
	manifest := realm("    displayName: Acme\n    clients: [{clientId: portal}]\n")
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			w.t, w.admin = t, w.server.Admin(t)
			w.apply(realm("    displayName: Before\n    clients: [{clientId: shop}]\n"))
			w.connect()
			proxy.Intercept(func(r *http.Request) *http.Response {
				if o.hits == nil || o.hits(r) {
					return o.do()
				}
				return nil
			})
			report, err := w.pass(reconcile.Apply, manifest).Run(context.Background())
			proxy.Intercept(nil)
			if err == nil || report.Verdict != drift.Errored || !strings.Contains(err.Error(), o.says) {
				t.Errorf("%s: %q (%v), want %q in it", report.Verdict, report.Says, err, o.says)
			}
			for _, c := range report.Changes {
				if c.Op == drift.Delete && c.Outcome == drift.Done {
					t.Errorf("deleted %s", c.Address)
				}
			}
			w.settled(manifest)
			if got := strings.Join(w.clients(), " "); got != "portal" {
				t.Errorf("clients %s", got)
			}
		})
	}
}

// A token that the server won't have any longer, a server that asks for a moment: a pass goes through.
func TestAHiccupGoesUnnoticed(t *testing.T) {
	w := newWorld(t)
	proxy := keycloaktest.NewProxy(t, w.url)
	client, err := keycloak.New(keycloak.Config{URL: proxy.URL, User: w.server.User, Password: w.server.Password, Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	w.apply(realm("    clients: [{clientId: shop}]\n"))
	for _, h := range []outage{
		{"401 to a read", reads, reply(401, ""), ""},
		{"401 to a write", newClient("portal"), reply(401, ""), ""},
		{"429 to a read", reads, reply(429, "", "Retry-After", "1"), ""},
		{"429 to a write", newClient("portal"), reply(429, "", "Retry-After", "1"), ""},
		{"503 to a read", reads, reply(503, ""), ""},
		{"503 to a write that says when to come again", newClient("portal"), reply(503, "", "Retry-After", "1"), ""},
		{"no reply to a read", reads, refuse, ""},
	} {
		t.Run(h.name, func(t *testing.T) {
			w.t, w.admin = t, w.server.Admin(t)
			var hit atomic.Bool
			proxy.Intercept(func(r *http.Request) *http.Response {
				if h.hits(r) && hit.CompareAndSwap(false, true) {
					return h.do()
				}
				return nil
			})
			w.apply(realm("    clients: [{clientId: portal}]\n"))
			proxy.Intercept(nil)
			if !hit.Load() {
				t.Error("it didn't happen")
			}
			w.settled(realm("    clients: [{clientId: shop}]\n"))
		})
	}
}

// One object fails. What doesn't depend on it is made, what does is skipped and says why, and nothing is deleted.
func TestOneFailureHoldsBackOnlyWhatDependsOnIt(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: old}]\n    roles: {realm: [{name: outdated}]}\n"))
	proxy := keycloaktest.NewProxy(t, w.url)
	w.url = proxy.URL
	w.connect()
	hits := newClient("portal")
	proxy.Intercept(func(r *http.Request) *http.Response {
		if hits(r) {
			return keycloaktest.Reply(400, `{"errorMessage":"A redirect URI is not allowed"}`, "Content-Type", "application/json")
		}
		return nil
	})
	manifest := realm(`
    displayName: Acme
    clients:
      - clientId: portal
        defaultClientScopes: [profile]
        protocolMappers: [{name: audience, protocol: openid-connect, protocolMapper: oidc-audience-mapper, config: {included.custom.audience: api}}]
      - clientId: shop
    roles:
      realm: [{name: boss, composites: {client: {portal: [viewer]}}}, {name: auditor}]
      client: {portal: [{name: viewer}], shop: [{name: buyer}]}
    groups: [{name: staff, realmRoles: [auditor], clientRoles: {portal: [viewer]}, subGroups: [{name: emea, clientRoles: {shop: [buyer]}}]}]
    defaultGroups: [/staff]
`)
	report, err := w.pass(reconcile.Apply, manifest).Run(context.Background())
	proxy.Intercept(nil)
	if err == nil || report.Verdict != drift.Errored || !strings.HasPrefix(report.Says, "create clients/portal: failed: POST ") {
		t.Errorf("%s: %q (%v)", report.Verdict, report.Says, err)
	}
	const because, withheld = "skipped because of ", "skipped deletes are withheld in a pass with a failure"
	want := map[string]string{
		"update realm": "done", "create clients/shop": "done", "create clients/shop/roles/buyer": "done", "create roles/boss": "done",
		"create roles/auditor": "done", "create groups/staff": "done", "create groups/staff/groups/emea": "done",
		"create groups/staff/realmRoles": "done", "create groups/staff/groups/emea/clientRoles": "done", "update defaultGroups": "done",
		"create clients/portal/roles/viewer":             because + "clients/portal",
		"create clients/portal/protocolMappers/audience": because + "clients/portal",
		"create clients/portal/defaultClientScopes":      because + "clients/portal",
		"create roles/boss/composites":                   because + "clients/portal/roles/viewer",
		"create groups/staff/clientRoles":                because + "clients/portal/roles/viewer",
		"delete clients/old":                             withheld,
		"delete roles/outdated":                          withheld,
	}
	for _, c := range report.Changes {
		change := string(c.Op) + " " + string(c.Address)
		got := strings.TrimSpace(string(c.Outcome) + " " + c.Says)
		if change == "create clients/portal" {
			if !strings.HasPrefix(got, "failed POST ") || !strings.HasSuffix(got, "400: A redirect URI is not allowed") {
				t.Errorf("%s: %s", change, got)
			}
			continue
		}
		if got != want[change] {
			t.Errorf("%s: %q, want %q", change, got, want[change])
		}
		delete(want, change)
	}
	for change := range want {
		t.Errorf("no %s", change)
	}
	w.settled(manifest)
	if got := strings.Join(w.clients(), " "); got != "portal shop" {
		t.Errorf("clients %s", got)
	}
}
