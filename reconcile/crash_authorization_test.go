package reconcile_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// Two commits of what a client protects: the second renames, changes, makes a policy anew as one of another type, and deletes.
var guardedCommits = map[string]string{
	first: crashed(`policyEnforcementMode: PERMISSIVE, allowRemoteResourceManagement: false, scopes: [{name: view}, {name: edit}, {name: stale}],
        resources: [{name: doc, scopes: [{name: view}, {name: edit}, {name: stale}]}, {name: gone}],
        policies: [{name: viewers, type: role, config: {roles: [{id: viewer}]}}, {name: late, type: time, config: {hour: 5}}, {name: old, type: regex, config: {targetClaim: a, pattern: b}},
        {name: all, type: aggregate, config: {applyPolicies: [viewers, late, old]}}, {name: look, type: scope, config: {scopes: [view], resources: [doc], applyPolicies: [all, late]}}]`),
	second: crashed(`policyEnforcementMode: ENFORCING, allowRemoteResourceManagement: false, scopes: [{name: see, $was: [view]}, {name: edit}],
        resources: [{name: file, $was: [doc], scopes: [{name: see}, {name: edit}]}],
        policies: [{name: viewers, type: role, config: {roles: [{id: viewer, required: true}]}}, {name: late, type: regex, config: {targetClaim: sub, pattern: x}},
        {name: all, type: aggregate, config: {applyPolicies: [viewers, late]}}, {name: look, type: scope, config: {scopes: [see], resources: [file], applyPolicies: [all, late]}},
        {name: write, type: scope, config: {scopes: [edit], applyPolicies: [all]}}]`),
}

func crashed(settings string) string {
	return spec("  limits: {changes: 100%, deletes: 100%}\n", "    roles: {realm: [{name: viewer}]}\n"+
		"    clients: [{clientId: app, serviceAccountsEnabled: true, authorizationServicesEnabled: true, authorizationSettings: {"+settings+"}}]\n")
}

// guardings is what a realm comes to where nothing crashed, and how many writes that takes.
type guardings struct {
	writes map[string]int
	views  map[string]map[string]any
}

func newGuardings(t *testing.T, account string) guardings {
	c := newCrashing(t)
	c.commits, c.account = guardedCommits, account
	g := guardings{map[string]int{}, map[string]map[string]any{}}
	for _, commit := range []string{first, second} {
		g.writes[commit] = c.heal(commit)
		g.views[commit] = c.authorization("app")
	}
	t.Logf("writes: %v", g.writes)
	return g
}

// crashAt has a process crash at the n-th write of each commit, as far as there are so many.
func (g guardings) crashAt(t *testing.T, account string, n int, cut func(*keycloaktest.Proxy, int)) {
	t.Parallel()
	c := newCrashing(t)
	c.commits, c.account = guardedCommits, account
	for _, commit := range []string{first, second} {
		if n <= g.writes[commit] {
			c.crash(commit, cut, n)
		}
		c.heal(commit)
		if diff := cmp.Diff(g.views[commit], c.authorization("app")); diff != "" {
			t.Errorf("after %s it differs from a realm where nothing crashed (-that +this):\n%s", commit, diff)
		}
	}
}

func TestEveryCrashOfAuthorizationHeals(t *testing.T) {
	account := newAccount(t)
	g := newGuardings(t, account)
	for n := 1; n <= max(g.writes[first], g.writes[second]); n++ {
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("write %d, %s the server got it", n, cut.name), func(t *testing.T) { g.crashAt(t, account, n, cut.cut) })
		}
	}
}

// A sample of that.
func TestSomeCrashesOfAuthorizationHeal(t *testing.T) {
	account := newAccount(t)
	g := newGuardings(t, account)
	for _, n := range []int{3, g.writes[second] / 2, g.writes[second] - 6} {
		t.Run(fmt.Sprintf("write %d", n), func(t *testing.T) { g.crashAt(t, account, n, (*keycloaktest.Proxy).CutAfter) })
	}
}
