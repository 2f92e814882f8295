package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

func TestTheRuleThatDecidesIsNamed(t *testing.T) {
	w := newWorld(t)
	applied := `
    clients: [{clientId: portal}, {clientId: before}]
    roles: {realm: [{name: auditor}, {name: former}], client: {portal: [{name: viewer}]}}
    authenticationFlows: [{alias: ours, authenticationExecutions: [{authenticator: auth-cookie, requirement: ALTERNATIVE}]}]
`
	now := spec("  exclusive: [roles]\n", `
    clients: [{clientId: portal, name: null, $was: [older]}, {clientId: after, $was: [before]}]
    roles: {realm: [{name: auditor}], client: {}}
    authenticationFlows: [{alias: ours, authenticationExecutions: [{authenticator: auth-cookie, requirement: REQUIRED}]}]
`)
	w.settled(realm(applied))
	w.admin.Create(w.at("/roles"), map[string]any{"name": "stranger"})
	w.admin.Create(w.at("/groups"), map[string]any{"name": "crowd"})
	w.admin.Create(w.at("/users"), map[string]any{"username": "ann"})
	mark := w.server.Mark(t)
	for _, c := range []struct {
		address, path string
		standing      drift.Standing
		rule          string // of the object, or of the one field
	}{
		{"clients/portal", "", drift.AsDeclared, "declared, and owned by this source, test"},
		{"clients/portal", "name", drift.AsDeclared, "the server's default, by null"},
		{"clients/portal", "adminUrl", drift.LeftAlone, "neither declared nor set"},
		{"clients/after", "", drift.Off, "declared, and live under a former name: it is renamed"},
		{"clients/before", "", drift.Off, "declared under another name, with $was: it is renamed"},
		{"clients/portal/roles/viewer", "", drift.Surplus, "no longer declared, and owned by this source, test: it is removed"},
		{"roles/former", "", drift.Surplus, "no longer declared, and owned by this source, test: it is removed"},
		{"roles/stranger", "", drift.Surplus, "not declared, in roles, which is complete as declared: it is removed"},
		{"roles/offline_access", "", drift.LeftAlone, "not declared, and Keycloak's own: it is never removed, and never a stranger"},
		{"clients/realm-management", "", drift.LeftAlone, "Keycloak lets nobody write it"},
		{"clients/realm-management/roles/realm-admin", "", drift.LeftAlone, "Keycloak lets nobody write it"},
		{"groups/crowd", "", drift.LeftAlone, "not declared, and owned by nobody, in groups, which is an open list: left alone"},
		{"users/ann", "", drift.LeftAlone, "not declared, and owned by nobody, in users, which is an open list: left alone"},
		{"clients/account/defaultClientScopes", "", drift.LeftAlone, "not declared: the list stays as it is"},
		{"authenticationFlows/ours", "authenticationExecutions.auth-cookie.requirement", drift.Off, ""},
		{"authenticationFlows/browser", "", drift.LeftAlone, "not declared, and Keycloak's own: it is never removed, and never a stranger"},
	} {
		e, err := w.pass(reconcile.Plan, now).Explain(context.Background(), schema.Address(c.address), c.path)
		if err != nil {
			t.Errorf("%s %s: %v", c.address, c.path, err)
			continue
		}
		rule := e.Rule
		if c.path != "" && len(e.Fields) == 1 {
			rule = e.Fields[0].Rule
		}
		if e.Standing != c.standing || rule != c.rule {
			t.Errorf("%s %s: %s, %q; want %s, %q", c.address, c.path, e.Standing, rule, c.standing, c.rule)
		}
	}
	if writes := keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)); len(writes) > 0 {
		t.Errorf("sent %v", writes)
	}
	for address, near := range map[schema.Address]string{"roles/auditr": "roles/auditor", "client/portal": "clients/portal", "clients/quite another": ""} {
		_, err := w.pass(reconcile.Plan, now).Explain(context.Background(), address, "")
		var notThere *reconcile.NotThere
		if !errors.As(err, &notThere) || notThere.Near != near {
			t.Errorf("%s: %v, near %q", address, err, near)
		}
	}
}

// What apply would do is said of an object also where a limit keeps apply from doing anything.
func TestAnExplanationSaysThatApplyIsBlocked(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    roles: {realm: [{name: a}, {name: b}]}\n"))
	e, err := w.pass(reconcile.Plan, spec("  limits: {deletes: 1}\n", "    roles: {realm: []}\n")).Explain(context.Background(), "roles/a", "")
	if err != nil || e.Standing != drift.Surplus || len(e.Changes) != 1 || !strings.HasPrefix(e.Blocked, "would delete 2 of ") {
		t.Errorf("%v: %+v", err, e)
	}
	absent := strings.Replace(realm(""), "  realm:\n    enabled: true\n", "  realm: null\n", 1)
	e, err = w.pass(reconcile.Plan, absent).Explain(context.Background(), "realm", "")
	if err != nil || e.Standing != drift.Surplus || e.Rule != "spec.realm is null: the realm shall not be" || e.Blocked == "" {
		t.Errorf("%v: %+v", err, e)
	}
}
