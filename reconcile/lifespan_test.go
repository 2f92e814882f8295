package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// An apply takes longer than four lives of the token that it began with, against a slow server, as an account of the realm
// itself. It asks for a token in time, each time, and not more often than needed.
func TestAnApplyOutlivesItsToken(t *testing.T) {
	const life, pause = 5 * time.Second, 500 * time.Millisecond
	for _, c := range []struct {
		name   string
		realm  map[string]any
		signIn keycloak.Config
		grants []string // how it asks for tokens
	}{
		{"by its refresh token", nil, keycloak.Config{User: "deployer", Password: "a-password"}, []string{"password", "refresh_token"}},
		{"by the password, as sessions end sooner", map[string]any{"ssoSessionMaxLifespan": 6, "ssoSessionIdleTimeout": 6}, keycloak.Config{User: "deployer", Password: "a-password"}, []string{"password", "refresh_token"}},
		{"by a client's credentials", nil, keycloak.Config{ClientID: "deployer", ClientSecret: "a-secret"}, []string{"client_credentials"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			account := w.deployers(life, c.realm)
			account.ClientID, account.User = c.signIn.ClientID, c.signIn.User
			proxy := keycloaktest.NewProxy(t, w.server.URL)
			proxy.Delay(pause)
			var mu sync.Mutex
			grants := map[string]int{}
			proxy.Intercept(func(r *http.Request) *http.Response {
				if strings.HasSuffix(r.URL.Path, "/protocol/openid-connect/token") {
					form, err := url.ParseQuery(body(r))
					if err != nil {
						return keycloaktest.Reply(http.StatusBadRequest, err.Error())
					}
					mu.Lock()
					defer mu.Unlock()
					grants[form.Get("grant_type")]++
				}
				return nil
			})
			late := &stalls{longest: pause + 500*time.Millisecond}
			config := c.signIn
			config.URL, config.Realm, config.InFlight, config.Patience, config.Log = proxy.URL, w.name, 1, -1, slog.New(late)
			client, err := keycloak.New(config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			roles := ""
			for i := range 6 {
				roles += fmt.Sprintf("{name: r%d}, ", i)
			}
			pass := w.pass(reconcile.Apply, realm("    roles: {realm: ["+roles+"]}\n"))
			pass.Client, pass.Account = client, account

			mark, began := w.server.Mark(t), time.Now()
			report, err := pass.Run(context.Background())
			took := time.Since(began)
			if err != nil || report.Verdict != drift.InSync {
				t.Fatalf("%s: %v\n%s", report.Verdict, err, text(report))
			}
			if took < 4*life {
				t.Fatalf("it took %v only", took)
			}
			var dead []keycloaktest.Request
			for _, r := range w.server.RequestsSince(t, mark, w.name) {
				if r.Status == http.StatusUnauthorized {
					dead = append(dead, r)
				}
			}
			stalled := int(late.count.Load())
			if len(dead) > stalled { // it may have died on its way, where that stalled
				t.Errorf("tokens were used that were dead, %d requests stalled: %v", stalled, dead)
			}
			mu.Lock()
			defer mu.Unlock()
			foreign := func(grant string) bool { return !slices.Contains(c.grants, grant) }
			if got := slices.Sorted(maps.Keys(grants)); slices.ContainsFunc(got, foreign) || len(got) < len(c.grants) && stalled == 0 { // or the moment for one was missed
				t.Errorf("it asked for tokens by %v, want %v", got, c.grants)
			}
			asked := 0
			for _, n := range grants {
				asked += n
			}
			// A token is renewed with a third of its life left; where the session has ended that takes two requests.
			if least, most := int(took/life), 2*(int(took/(life*2/3))+1); asked < least || asked > most {
				t.Errorf("it asked %d times in %v: %v", asked, took, grants)
			}
		})
	}
}

// stalls counts the requests of a client that took longer than they should.
type stalls struct {
	longest time.Duration
	count   atomic.Int64
}

func (s *stalls) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "took" && a.Value.Duration() > s.longest {
			s.count.Add(1)
		}
		return true
	})
	return nil
}

func (s *stalls) Enabled(context.Context, slog.Level) bool { return true }
func (s *stalls) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *stalls) WithGroup(string) slog.Handler            { return s }

// deployers makes the realm, with a user and a client that may do everything in it.
func (w *world) deployers(life time.Duration, settings map[string]any) reconcile.Account {
	w.t.Helper()
	settings = maps.Clone(settings)
	if settings == nil {
		settings = map[string]any{}
	}
	maps.Copy(settings, map[string]any{"realm": w.name, "enabled": true, "sslRequired": "none", "accessTokenLifespan": int(life.Seconds()), "components": keys,
		"clients": []any{map[string]any{"clientId": "deployer", "secret": "a-secret", "serviceAccountsEnabled": true, "standardFlowEnabled": false}},
		"users": []any{
			map[string]any{"username": "deployer", "enabled": true, "email": "deployer@acme.example", "emailVerified": true, "firstName": "De", "lastName": "Ployer",
				"credentials": []any{map[string]any{"type": "password", "value": "a-password"}}, "clientRoles": map[string]any{"realm-management": []string{"realm-admin"}}},
			map[string]any{"username": "service-account-deployer", "enabled": true, "serviceAccountClientId": "deployer", "clientRoles": map[string]any{"realm-management": []string{"realm-admin"}}},
		}})
	w.admin.Create("/admin/realms", settings)
	return reconcile.Account{Realm: w.name}
}
