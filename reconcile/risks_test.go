package reconcile

import (
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

func TestChangesCarryTheirRisks(t *testing.T) {
	list := func(v ...any) []any { return v }
	diff := func(path string, have, want any) drift.Diff {
		return drift.Diff{Path: path, At: strings.Split(path, "."), Have: have, Want: want}
	}
	role := func(id string, required bool) map[string]any { return map[string]any{"id": id, "required": required} }
	unset := diff("attributes.pkce.code.challenge.method", "S256", nil)
	unset.Unset = true
	for _, c := range []struct {
		op      drift.Op
		address schema.Address
		diffs   []drift.Diff
		want    string
	}{
		{drift.Update, "realm", []drift.Diff{diff("displayName", "a", "b")}, ""},
		{drift.Update, "realm", []drift.Diff{diff("sslRequired", "external", "none")}, "weakens security, cuts own access"},
		{drift.Update, "realm", []drift.Diff{diff("enabled", true, false)}, "ends sessions, breaks logins, cuts own access"},
		{drift.Update, "realm", []drift.Diff{diff("bruteForceProtected", true, false)}, "weakens security"},
		{drift.Update, "realm", []drift.Diff{diff("bruteForceProtected", false, true)}, ""},
		{drift.Update, "realm", []drift.Diff{diff("accessTokenLifespan", 60.0, 3600.0)}, "weakens security"},
		{drift.Update, "realm", []drift.Diff{diff("accessTokenLifespan", 3600.0, 60.0)}, ""},
		{drift.Update, "realm", []drift.Diff{diff("ssoSessionMaxLifespan", 3600.0, 60.0)}, "ends sessions"},
		{drift.Delete, "clients/portal", nil, "deletes, ends sessions, breaks logins"},
		{drift.Delete, "clients/us", nil, "deletes, ends sessions, breaks logins, cuts own access"},
		{drift.Delete, "roles/auditor", nil, "deletes"},
		{drift.Update, "users/ann/federatedIdentities/hub", []drift.Diff{diff("userId", "1", "2")}, "recreates"},
		{drift.Delete, "groups/staff/realmRoles", nil, ""},
		{drift.Update, "clients/portal", []drift.Diff{diff("redirectUris", list("https://a/*", "https://b/*"), list("https://a/*"))}, "breaks logins"},
		{drift.Update, "clients/portal", []drift.Diff{diff("redirectUris", list("https://a/*"), list("https://a/*", "https://b/*"))}, ""},
		{drift.Update, "clients/portal", []drift.Diff{diff("redirectUris", list("https://a/*"), list("https://a/*", "*"))}, "weakens security"},
		{drift.Create, "clients/portal", []drift.Diff{diff("redirectUris", nil, list("https://*.acme.example/*"))}, "weakens security"},
		{drift.Create, "clients/portal", []drift.Diff{diff("redirectUris", nil, list("http://localhost:3000/*")), diff("publicClient", nil, true)}, ""},
		{drift.Create, "clients/portal", []drift.Diff{diff("standardFlowEnabled", nil, false), diff("secret", nil, "x"), diff("enabled", nil, false)}, ""},
		{drift.Update, "clients/portal", []drift.Diff{unset}, "breaks logins, weakens security"},
		{drift.Update, "clients/portal", []drift.Diff{diff("implicitFlowEnabled", false, true)}, "weakens security"},
		{drift.Update, "clients/portal", []drift.Diff{diff("enabled", true, false)}, "ends sessions, breaks logins"},
		{drift.Update, "clients/portal", []drift.Diff{diff("fullScopeAllowed", false, true)}, "weakens security"},
		{drift.Update, "clients/us", []drift.Diff{diff("secret", "a", "b")}, "breaks logins, cuts own access"},
		{drift.Update, "groups/staff/clientRoles", []drift.Diff{diff("clientRoles.realm-management", nil, list("manage-users"))}, "weakens security"},
		{drift.Update, "groups/staff/clientRoles", []drift.Diff{diff("clientRoles.portal", nil, list("viewer"))}, ""},
		{drift.Update, "groups/staff/realmRoles", []drift.Diff{diff("realmRoles", list(), list("admin"))}, "weakens security"},
		{drift.Update, "identityProviders/hub", []drift.Diff{diff("trustEmail", nil, true)}, "weakens security"},
		{drift.Update, "clients/app/authorizationSettings", []drift.Diff{diff("policyEnforcementMode", "ENFORCING", "PERMISSIVE")}, "weakens security"},
		{drift.Update, "clients/app/authorizationSettings", []drift.Diff{diff("policyEnforcementMode", "DISABLED", "ENFORCING")}, ""},
		{drift.Update, "clients/app/authorizationSettings", []drift.Diff{diff("decisionStrategy", "UNANIMOUS", "AFFIRMATIVE")}, "weakens security"},
		{drift.Create, "clients/app/authorizationSettings", []drift.Diff{diff("policyEnforcementMode", nil, "DISABLED")}, "weakens security"},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("decisionStrategy", "UNANIMOUS", "AFFIRMATIVE")}, "weakens security"},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("logic", "NEGATIVE", "POSITIVE")}, "weakens security"},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("type", "role", "user")}, "recreates, weakens security"},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("config.applyPolicies", list("a", "b"), list("a"))}, "weakens security"},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("config.applyPolicies", list("a"), list("a", "b"))}, ""},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("config.roles", list(role("a", true)), list(role("a", false)))}, "weakens security"},
		{drift.Update, "clients/app/policies/p", []drift.Diff{diff("config.roles", list(role("a", false)), list(role("a", true), role("b", false)))}, ""},
		{drift.Create, "clients/app/policies/p", []drift.Diff{diff("config.users", nil, list("ann"))}, ""},
		{drift.Delete, "clients/app/policies/p", nil, "deletes"},
		{drift.Create, "clients/admin-permissions/policies/p", []drift.Diff{diff("config.scopes", nil, list("manage"))}, "weakens security"},
		{drift.Update, "clients/admin-permissions/policies/p", []drift.Diff{diff("config.users", list("ann"), list("ann", "bob"))}, "weakens security"},
		{drift.Update, "clients/admin-permissions/policies/p", []drift.Diff{diff("config.users", list("ann", "bob"), list("ann"))}, ""},
		{drift.Update, "clients/admin-permissions/policies/p", []drift.Diff{diff("config.roles", list(role("a", false)), list(role("a", false), role("b", false)))}, "weakens security"},
		{drift.Delete, "users/robot", nil, "deletes, ends sessions, cuts own access"},
		{drift.Update, "roles/admin/composites", []drift.Diff{diff("composites.realm", list("create-realm"), list())}, "cuts own access"},
	} {
		var names []string
		for _, r := range risks("master", Account{Realm: "master", ClientID: "us", User: "robot"}, drift.Change{Op: c.op, Address: c.address, Diffs: c.diffs}) {
			names = append(names, string(r))
		}
		if got := strings.Join(names, ", "); got != c.want {
			t.Errorf("%s %s %v: %q, want %q", c.op, c.address, c.diffs, got, c.want)
		}
	}
	if got := risks("acme", Account{Realm: "master", ClientID: "us"}, drift.Change{Op: drift.Delete, Address: "clients/us"}); len(got) != 3 {
		t.Errorf("a client of our name in another realm: %v", got)
	}
}

func TestLimitsCountObjectsAndRisks(t *testing.T) {
	change := func(op drift.Op, address schema.Address, risks ...drift.Risk) drift.Change {
		return drift.Change{Op: op, Address: address, Risk: risks}
	}
	many := func(n int, op drift.Op) (changes []drift.Change) {
		for i := range n {
			changes = append(changes, change(op, schema.Join(schema.RealmAddress, "roles", strings.Repeat("r", i+1))))
		}
		return changes
	}
	defaults := schema.Limits{Deletes: schema.Limit{Count: 10}, Changes: schema.Limit{Count: 30, Percent: true}, Origin: schema.Origin{File: "acme.yaml"}}
	for _, c := range []struct {
		name    string
		limits  schema.Limits
		changes []drift.Change
		of      int
		want    string
	}{
		{"nothing", defaults, nil, 0, ""},
		{"creates are free", defaults, many(1000, drift.Create), 0, ""},
		{"as many deletes as allowed", defaults, many(10, drift.Delete), 100, ""},
		{"one more", defaults, many(11, drift.Delete), 100, "would delete 11 of 100 objects, the limit is 10"},
		{"a share", defaults, many(31, drift.Update), 100, "would change 31 of 100 objects, the limit is 30 (30%)"},
		{"a share of few", defaults, many(5, drift.Update), 6, ""},
		{"one more than the floor", defaults, many(6, drift.Update), 6, "would change 6 of 6 objects, the limit is 5 (30%)"},
		{"all is no limit, for strangers may have to change too", schema.Limits{Deletes: defaults.Deletes, Changes: schema.Limit{Count: 100, Percent: true}}, many(20, drift.Update), 9, ""},
		{"links count for their owner", defaults, []drift.Change{change(drift.Update, "roles/a"), change(drift.Update, "roles/a/composites")}, 1, ""},
		{"none allowed", schema.Limits{Changes: schema.Limit{Count: 100, Percent: true}}, many(1, drift.Delete), 9, "would delete 1 of 9 objects, the limit is 0"},
		{"own access", defaults, []drift.Change{change(drift.Update, "clients/us", drift.CutsOwnAccess)}, 9, `1 changes with the risk "cuts own access", the limit is 0`},
	} {
		err := checkLimits(c.limits, c.changes, nil, c.of)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	allowed := defaults
	allowed.Risks = map[string]int{"cuts-own-access": 1}
	if err := checkLimits(allowed, []drift.Change{change(drift.Update, "clients/us", drift.CutsOwnAccess)}, nil, 9); err != nil {
		t.Errorf("a risk that the limits name: %v", err)
	}
}

func TestLimitsCountWhatGoesWithWhatIsDeleted(t *testing.T) {
	live := schema.State{"realm": {}, "groups/staff": {}, "groups/staff/realmRoles": {}, "groups/other": {}, "clients/portal-2": {}, "clients/portal": {},
		"clients/portal/roles/viewer": {}, "clients/portal/roles/viewer/composites": {}, "clients/portal/defaultClientScopes": {}, "groups/former": {}, "groups/former/groups/a/groups/b": {}, "groups/former/groups/a": {}}
	for i := range 30 {
		live[schema.Join("groups/staff", "groups", strings.Repeat("g", i+1))] = schema.Object{}
	}
	limits := schema.Limits{Deletes: schema.Limit{Count: 2}, Changes: schema.Limit{Count: 100, Percent: true}}
	few := schema.Limits{Deletes: schema.Limit{Count: 100}, Changes: schema.Limit{Count: 2}}
	gone := func(addresses ...schema.Address) (changes []drift.Change) {
		for _, a := range addresses {
			changes = append(changes, drift.Change{Op: drift.Delete, Address: a})
		}
		return changes
	}
	rename := drift.Change{Op: drift.Rename, Address: "groups/now", From: "groups/former"}
	for _, c := range []struct {
		name    string
		limits  schema.Limits
		changes []drift.Change
		of      int
		want    string
	}{
		{"a group with thirty", limits, gone("groups/staff"), 40, "would delete 31 of 40 objects, the limit is 2"},
		{"more than are ours", limits, gone("groups/staff"), 5, "would delete 31 of 31 objects, the limit is 2"},
		{"no more than the limit", limits, gone("clients/portal"), 40, ""},
		{"each once", limits, gone("clients/portal", "clients/portal/roles/viewer"), 40, ""},
		{"links are no objects", limits, gone("clients/portal/defaultClientScopes", "groups/staff/realmRoles", "clients/portal"), 40, ""},
		{"they are changes too", few, gone("groups/staff"), 40, "would change 31 of 40 objects, the limit is 2"},
		{"below what is renamed", schema.Limits{Changes: limits.Changes}, append(gone("groups/now/groups/a"), rename), 40, "would delete 2 of 40 objects, the limit is 0"},
	} {
		got := ""
		if err := checkLimits(c.limits, c.changes, live, c.of); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
