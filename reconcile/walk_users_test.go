package reconcile_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

const mapped = "    roles: {realm: [{name: r}, {name: q}], client: {c: [{name: x}]}}\n    clients: [{clientId: c, fullScopeAllowed: false}, {clientId: d}]\n    clientScopes: [{name: s, protocol: openid-connect}]\n"

var scopeMappingWalks = map[string][]step{
	"scope mappings of clients": {
		{mapped, "/clients/{client:c}/scope-mappings", `{"realmMappings":null,"clientMappings":null}`},
		{mapped + "    scopeMappings: [{client: c, roles: [r, offline_access]}]\n", "/clients/{client:c}/scope-mappings/realm", `[{},{}]`},
		{mapped + "    scopeMappings: [{client: c, roles: [q]}]\n    clientScopeMappings: {account: [{client: c, roles: [view-profile, manage-account]}], c: [{client: d, roles: [x]}]}\n",
			"/clients/{client:c}/scope-mappings", `{"realmMappings":[{"name":"q"}],"clientMappings":{"account":{"mappings":[{},{}]}}}`},
		{mapped + "    scopeMappings: [{client: c, roles: []}]\n    clientScopeMappings: {account: [{client: c, roles: [view-profile]}, {client: d, roles: [view-groups]}], c: [{client: c, roles: [x]}]}\n",
			"/clients/{client:c}/scope-mappings", `{"realmMappings":null,"clientMappings":{"account":{"mappings":[{"name":"view-profile"}]},"c":{"mappings":[{"name":"x"}]}}}`},
		{mapped + "    scopeMappings: [{client: c, roles: [r]}]\n", "/clients/{client:c}/scope-mappings", `{"realmMappings":[{"name":"r"}],"clientMappings":null}`},
		{mapped + "    clientScopeMappings: {c: [{client: c, roles: [x]}]}\n", "/clients/{client:c}/scope-mappings", `{"realmMappings":null,"clientMappings":{"c":{"mappings":[{"name":"x"}]}}}`},
		{"    roles: {client: {e: [{name: y, $was: [x]}]}}\n    clients: [{clientId: e, $was: [c]}]\n    clientScopeMappings: {e: [{client: e, roles: [y]}]}\n",
			"/clients/{client:e}/scope-mappings", `{"clientMappings":{"e":{"mappings":[{"name":"y"}]}}}`},
		{"    clients: [{clientId: e}]\n", "/clients/{client:e}/scope-mappings", `{"realmMappings":null,"clientMappings":null}`},
	},
	"scope mappings of client scopes": {
		{mapped + "    scopeMappings: [{clientScope: s, roles: [r]}, {clientScope: offline_access, roles: [offline_access, q]}]\n    clientScopeMappings: {c: [{clientScope: s, roles: [x]}]}\n",
			"/client-scopes/{client-scopes:s}/scope-mappings", `{"realmMappings":[{"name":"r"}],"clientMappings":{"c":{"mappings":[{"name":"x"}]}}}`},
		{mapped + "    scopeMappings: [{clientScope: offline_access, roles: [offline_access]}]\n", "/client-scopes/{client-scopes:s}/scope-mappings", `{"realmMappings":null,"clientMappings":null}`},
		{"    displayName: none\n", "/client-scopes/{client-scopes:offline_access}/scope-mappings", `{"realmMappings":[{"name":"offline_access"}]}`},
	},
}

func TestScopeMappingsWalkTheirStates(t *testing.T) { walk(t, scopeMappingWalks) }

const around = "    roles: {realm: [{name: r}, {name: q}], client: {c: [{name: x}]}}\n    clients: [{clientId: c}]\n    groups: [{name: staff, subGroups: [{name: emea}]}, {name: guests}]\n" +
	"    identityProviders: [{alias: hub, providerId: oidc, config: {clientId: a, clientSecret: b, tokenUrl: \"https://hub.example/t\", authorizationUrl: \"https://hub.example/a\"}}]\n"

func users(list string) string { return around + "    users: [" + list + "]\n" }

var userWalks = map[string][]step{
	"users": {
		{users(`{username: Ann}`), "/users?username=ann&exact=true", `[{"username":"ann","enabled":false}]`},
		{users(`{username: ann, enabled: true, email: Ann@Acme.example, emailVerified: true, firstName: Ann, lastName: Other}`), "/users/{users:ann}",
			`{"enabled":true,"email":"ann@acme.example","emailVerified":true,"firstName":"Ann","lastName":"Other"}`},
		{users(`{username: ANN, enabled: true, email: ann@acme.example, lastName: Else}`), "/users/{users:ann}",
			`{"email":"ann@acme.example","emailVerified":true,"firstName":"Ann","lastName":"Else"}`},
		{users(`{username: ann, email: "", lastName: "", emailVerified: false}`), "/users/{users:ann}", `{"enabled":true,"email":null,"firstName":"Ann","lastName":null,"emailVerified":false}`},
		{users(`{username: ann, enabled: null, firstName: null}`), "/users/{users:ann}", `{"enabled":false,"firstName":null}`},
		{users(`{username: ann, firstName: Ann}`), "/users/{users:ann}", `{"firstName":"Ann"}`},
		{users(`{username: ann, requiredActions: [VERIFY_EMAIL]}`), "/users/{users:ann}", `{"requiredActions":["VERIFY_EMAIL"]}`},
		{users(`{username: ann, requiredActions: [CONFIGURE_TOTP]}`), "/users/{users:ann}", `{"requiredActions":["CONFIGURE_TOTP"],"firstName":"Ann"}`},
		{users(`{username: ann, requiredActions: null}`), "/users/{users:ann}", `{"requiredActions":[]}`},
		{users(`{username: ann, realmRoles: [r], clientRoles: {c: [x], account: [view-groups]}, groups: [/staff/emea, /guests]}`), "/users/{users:ann}/role-mappings",
			`{"realmMappings":[{},{}],"clientMappings":{"c":{"mappings":[{"name":"x"}]},"account":{"mappings":[{"name":"view-groups"}]}}}`},
		{users(`{username: ann, realmRoles: [default-roles-REALM, q], clientRoles: {c: []}, groups: [/staff]}`), "/users/{users:ann}/groups", `[{"path":"/staff"}]`},
		{users(`{username: ann, realmRoles: []}`), "/users/{users:ann}/role-mappings", `{"realmMappings":[{}],"clientMappings":null}`},
		{users(`{username: ann}`), "/users/{users:ann}/groups", `[]`},
		{users(`{username: ann, federatedIdentities: [{identityProvider: hub, userId: "1", userName: one}]}`), "/users/{users:ann}/federated-identity", `[{"identityProvider":"hub","userId":"1","userName":"one"}]`},
		{users(`{username: ann, federatedIdentities: [{identityProvider: hub, userId: "2", userName: one}]}`), "/users/{users:ann}/federated-identity", `[{"identityProvider":"hub","userId":"2","userName":"one"}]`},
		{users(`{username: ann, federatedIdentities: []}`), "/users/{users:ann}/federated-identity", `[]`},
		{users(`{username: ann}, {username: bob, enabled: true, firstName: Bob, requiredActions: [VERIFY_EMAIL], realmRoles: [r], groups: [/guests],
        federatedIdentities: [{identityProvider: hub, userId: "3", userName: three}], credentials: [{type: password, value: $(env:SECRET), temporary: true}]}`),
			"/users/{users:bob}", `{"enabled":true,"federatedIdentities":[{"userId":"3"}]}`},
		{"    editUsernameAllowed: true\n" + users(`{username: robert, $was: [Bob], groups: [/guests]}`), "/users/{users:robert}/groups", `[{"path":"/guests"}]`},
		{users(``), "/users", `[]`},
	},
}

func TestUsersWalkTheirStates(t *testing.T) { walk(t, userWalks) }

func (w *world) userID(name string) string {
	w.t.Helper()
	found := w.admin.Get(w.at("/users?exact=true&username=" + name)).([]any)
	if len(found) != 1 {
		w.t.Fatalf("there are %d users %s", len(found), name)
	}
	return found[0].(map[string]any)["id"].(string)
}

// steps goes through states of a realm that is there.
func (w *world) steps(steps ...step) {
	w.t.Helper()
	for i, s := range steps {
		w.settled(spec("  limits: {deletes: 100%, changes: 100%}\n", s.declared))
		if w.t.Failed() {
			w.t.Fatalf("state %d:\n%s", i, s.declared)
		}
		w.finds(s)
	}
}

func TestAttributesThatTheUserProfileLacksFailToConvergeAndOthersWalk(t *testing.T) {
	w := newWorld(t)
	manifest := realm("    users: [{username: ann, firstName: Ann, email: ann@acme.example, attributes: {site: [hq, lab], level: [5]}}]\n")
	report, err := w.pass(reconcile.Apply, manifest).Run(context.Background())
	if got, want := report.Says, "failed to converge: update 1: users/ann (attributes.level, attributes.site)"; err == nil || got != want {
		t.Errorf("says %q, want %q", got, want)
	}
	w.admin.Edit(w.at("/users/profile"), func(p map[string]any) { p["unmanagedAttributePolicy"] = "ENABLED" })
	w.steps(
		step{"    users: [{username: ann, attributes: {site: [lab, hq], level: [5]}}]\n", "/users?q=site:lab", `[{"attributes":{"level":["5"]},"firstName":"Ann","email":"ann@acme.example"}]`},
		step{"    users: [{username: ann, attributes: {site: [x]}}]\n", "/users/{users:ann}", `{"attributes":{"site":["x"],"level":null},"firstName":"Ann","email":"ann@acme.example"}`},
		step{"    users: [{username: ann, attributes: {site: []}}]\n", "/users/{users:ann}", `{"attributes":null,"firstName":"Ann"}`},
		step{"    users: [{username: ann, attributes: {level: [\"6\"]}}]\n", "/users/{users:ann}", `{"attributes":{"level":["6"]}}`},
		step{"    users: [{username: ann}]\n", "/users/{users:ann}", `{"attributes":null,"firstName":"Ann"}`},
	)
}

// A service account comes and goes with its client; what it may do is declared as of any user.
func TestServiceAccountsWalkTheirStates(t *testing.T) {
	w := newWorld(t)
	app := "    roles: {realm: [{name: r}], client: {My-App: [{name: x}]}}\n    groups: [{name: staff}]\n    clients: [{clientId: My-App, serviceAccountsEnabled: true}]\n"
	account := func(fields string) string {
		return app + "    users: [{username: service-account-my-app, serviceAccountClientId: My-App" + fields + "}]\n"
	}
	w.steps(
		step{account(", enabled: true, realmRoles: [r], clientRoles: {My-App: [x], realm-management: [view-users]}, groups: [/staff]"), "/users/{users:service-account-my-app}/role-mappings",
			`{"realmMappings":[{},{}],"clientMappings":{"My-App":{"mappings":[{"name":"x"}]},"realm-management":{"mappings":[{"name":"view-users"}]}}}`},
		step{account(", realmRoles: [], clientRoles: {realm-management: [query-users]}, groups: []"), "/users/{users:service-account-my-app}/role-mappings",
			`{"realmMappings":[{}],"clientMappings":{"My-App":null,"realm-management":{"mappings":[{"name":"query-users"}]}}}`},
		step{app, "/users/{users:service-account-my-app}/role-mappings", `{"realmMappings":[{}],"clientMappings":null}`},
		step{account(", groups: [/staff]"), "/users/{users:service-account-my-app}/groups", `[{"path":"/staff"}]`},
		step{"    roles: {realm: [{name: r}]}\n    clients: [{clientId: Our-App, serviceAccountsEnabled: true, $was: [My-App]}]\n    users: [{username: service-account-our-app, serviceAccountClientId: Our-App, realmRoles: [r]}]\n",
			"/users/{users:service-account-our-app}/role-mappings", `{"realmMappings":[{},{}]}`},
		step{"    displayName: none\n", "/users?exact=true&username=service-account-our-app", `[]`},
	)
}

func TestHandEditsOfUsersAreNamedAndRepairedAlone(t *testing.T) {
	w := newWorld(t)
	w.env["SECRET"] = "first-password"
	manifest := realm(around + `    users:
      - {username: ann, enabled: true, email: ann@acme.example, firstName: Ann, lastName: Other, realmRoles: [r], clientRoles: {c: [x]}, groups: [/staff/emea], requiredActions: [UPDATE_PASSWORD],
         federatedIdentities: [{identityProvider: hub, userId: "1", userName: one}], credentials: [{type: password, value: $(env:SECRET), temporary: true}]}
    scopeMappings: [{client: c, roles: [r]}]
    clientScopeMappings: {c: [{client: c, roles: [x]}]}
`)
	if planned := text(w.settled(manifest)); strings.Contains(planned, "first-password") {
		t.Errorf("the report shows the password:\n%s", planned)
	}
	before := w.admin.Get(w.at("/users/" + w.userID("ann") + "/credentials"))
	user := func(path string) string { return w.at("/users/" + w.userID("ann") + path) }
	for _, e := range []struct {
		name   string
		edit   func()
		says   string
		writes []string
	}{
		{"last name changed", func() { w.admin.Edit(user(""), func(u map[string]any) { u["lastName"] = "Evil" }) }, "users/ann (lastName)", []string{"PUT /users/*"}},
		{"e-mail changed", func() { w.admin.Edit(user(""), func(u map[string]any) { u["email"] = "evil@acme.example" }) }, "users/ann (email)", []string{"PUT /users/*"}},
		{"user disabled", func() { w.admin.Edit(user(""), func(u map[string]any) { u["enabled"] = false }) }, "users/ann (enabled)", []string{"PUT /users/*"}},
		{"role granted", func() { w.must("POST", user("/role-mappings/realm"), []any{w.role("/roles/q")}) }, "users/ann/realmRoles (realmRoles)", []string{"DELETE /users/*/role-mappings/realm"}},
		{"client role taken", func() {
			w.must("DELETE", user("/role-mappings/clients/"+w.clientID("c")), []any{w.role("/clients/" + w.clientID("c") + "/roles/x")})
		}, "users/ann/clientRoles (clientRoles.c)", []string{"POST /users/*/role-mappings/clients/*"}},
		{"moved to another group", func() {
			w.must("DELETE", user("/groups/"+w.id("groups", "/staff/emea")), nil)
			w.must("PUT", user("/groups/"+w.id("groups", "/guests")), nil)
		}, "users/ann/memberships (groups)", []string{"DELETE /users/*/groups/*", "PUT /users/*/groups/*"}},
		{"unlinked", func() { w.must("DELETE", user("/federated-identity/hub"), nil) }, "users/ann/federatedIdentities/hub (gone)", []string{"POST /users/*/federated-identity/hub"}},
		{"linked with another", func() {
			w.must("DELETE", user("/federated-identity/hub"), nil)
			w.must("POST", user("/federated-identity/hub"), map[string]any{"userId": "evil", "userName": "one"})
		}, "users/ann/federatedIdentities/hub (userId)", []string{"DELETE /users/*/federated-identity/hub", "POST /users/*/federated-identity/hub"}},
		{"scope mapping added", func() {
			w.must("POST", w.below("c", "/scope-mappings/realm"), []any{w.role("/roles/q")})
		}, "clients/c/scopeMappings (scopeMappings.realm)", []string{"DELETE /clients/*/scope-mappings/realm"}},
		{"scope mapping of a client role removed", func() {
			w.must("DELETE", w.below("c", "/scope-mappings/clients/"+w.clientID("c")), []any{w.role("/clients/" + w.clientID("c") + "/roles/x")})
		}, "clients/c/scopeMappings (scopeMappings.client.c)", []string{"POST /clients/*/scope-mappings/clients/*"}},
		// Unseen by rule.
		{"required action done", func() { w.admin.Edit(user(""), func(u map[string]any) { u["requiredActions"] = []any{} }) }, "", nil},
		{"stranger", func() { w.admin.Create(w.at("/users"), map[string]any{"username": "by-hand"}) }, "", nil},
	} {
		t.Run(e.name, func(t *testing.T) { w.repairs(t, manifest, e.edit, e.says, e.writes) })
	}
	if diff := cmp.Diff(before, w.admin.Get(user("/credentials"))); diff != "" {
		t.Errorf("the password was set again:\n%s", diff)
	}
}

// repairs makes an edit, and expects it to be named and repaired by these writes.
func (w *world) repairs(t *testing.T, manifest string, edit func(), says string, want []string) {
	w.t, w.admin = t, w.server.Admin(t)
	edit()
	found, err := w.pass(reconcile.Drift, manifest).Run(context.Background())
	if err != nil {
		t.Fatalf("drift: %v\n%s", err, text(found))
	}
	_, names, _ := strings.Cut(drift.SayDrift(found.Changes), " drifted: ")
	if len(found.Changes) == 0 {
		names = ""
	}
	if names != says {
		t.Errorf("drifted: %q, want %q", names, says)
	}
	mark := w.server.Mark(t)
	w.apply(manifest)
	var wrote []string
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
		wrote = append(wrote, w.shape(r))
	}
	slices.Sort(wrote)
	if !cmp.Equal(wrote, want) {
		t.Errorf("wrote %q, want %q", wrote, want)
	}
	if again := w.plan(manifest); len(again.Changes) > 0 {
		t.Errorf("afterwards there is\n%s", text(again))
	}
}
