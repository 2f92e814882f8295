package reconcile_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// A server that was just started may need minutes for the export of a large realm.
func TestAnExportThatTakesLongIsGivenUpAndNothingIsOverlooked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	manifest := realm(`
    roles:
      realm: [{name: a, composite: true, composites: {realm: [b]}}, {name: b}]
      client: {one: [{name: own}], two: [{name: own}]}
    clients:
      - {clientId: one, fullScopeAllowed: false}
      - {clientId: two, fullScopeAllowed: false}
    scopeMappings: [{client: one, roles: [a]}, {client: two, roles: [b]}]
`)
	w.settled(manifest)
	p := keycloaktest.NewProxy(t, w.url)
	var exports atomic.Int64
	p.Intercept(func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.URL.Path, "/partial-export") {
			return nil
		}
		exports.Add(1)
		<-r.Context().Done()
		return keycloaktest.Reply(http.StatusGatewayTimeout, "")
	})
	w.url = p.URL
	w.connect()
	if same := w.plan(manifest); len(same.Changes) > 0 {
		t.Errorf("without the export, it differs:\n%s", text(same))
	}
	if n := exports.Load(); n != 1 {
		t.Errorf("%d exports were asked for, want 1, given up once", n)
	}
	edited := w.plan(strings.Replace(manifest, "realm: [b]}}", "realm: [offline_access]}}", 1))
	if got := ops(edited); got != "update roles/a/composites composites.realm" {
		t.Errorf("without the export, it would %s", got)
	}
}
