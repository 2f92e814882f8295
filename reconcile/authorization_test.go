package reconcile_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// guard is where the authorization of a client stands.
func (w *world) guard(client, path string) string {
	return w.below(client, "/authz/resource-server"+path)
}

// guarding is where something of a name stands in it.
func (w *world) guarding(client, list, name string) string {
	w.t.Helper()
	found := w.admin.Get(w.guard(client, "/"+list+"/search?name="+url.QueryEscape(name))).(map[string]any)
	id, ok := found["id"].(string)
	if !ok {
		id = found["_id"].(string)
	}
	return w.guard(client, "/"+list+"/"+id)
}

// configured is an edit of a policy's config.
func configured(key, value string) func(map[string]any) {
	return func(p map[string]any) { p["config"].(map[string]any)[key] = value }
}

// Each edit of what a client protects is found, named to the field, and repaired by exactly the writes that it takes.
func TestHandEditsOfAuthorizationAreNamedAndRepairedAlone(t *testing.T) {
	w := newWorld(t)
	manifest := realm(guarded("policyEnforcementMode: ENFORCING, decisionStrategy: UNANIMOUS, allowRemoteResourceManagement: false, " + shelf + ", policies: [" + kinds + ", " + permissions + "]"))
	w.settled(manifest)
	const put, post, remove = "PUT /clients/*/authz/resource-server/", "POST /clients/*/authz/resource-server/", "DELETE /clients/*/authz/resource-server/"
	for _, e := range []struct {
		name   string
		edit   func()
		says   string
		writes []string
	}{
		{"enforcement switched off", func() {
			w.admin.Edit(w.guard("app", ""), func(s map[string]any) {
				s["policyEnforcementMode"], s["decisionStrategy"] = "DISABLED", "AFFIRMATIVE"
			})
		}, "clients/app/authorizationSettings (decisionStrategy, policyEnforcementMode)", []string{"PUT /clients/*/authz/resource-server"}},
		{"resource opened to another scope", func() {
			w.admin.Edit(w.guarding("app", "resource", "page"), func(r map[string]any) {
				r["scopes"], r["uris"] = []any{map[string]any{"name": "view"}, map[string]any{"name": "edit"}}, []any{"/*"}
			})
		}, "clients/app/resources/page (scopes)", []string{put + "resource/*"}},
		{"resource deleted, and with it the permission that was only for it", func() { w.admin.Do("DELETE", w.guarding("app", "resource", "doc"), nil) },
			"clients/app/policies/rp (gone), clients/app/policies/sp (gone), clients/app/resources/doc (gone)", []string{post + "policy", post + "policy", post + "resource"}},
		{"resource added", func() { w.must("POST", w.guard("app", "/resource"), map[string]any{"name": "evil"}) },
			"clients/app/resources/evil (added)", []string{remove + "resource/*"}},
		{"scope added", func() { w.must("POST", w.guard("app", "/scope"), map[string]any{"name": "evil"}) },
			"clients/app/scopes/evil (added)", []string{remove + "scope/*"}},
		{"role of a policy made optional", func() {
			w.admin.Edit(w.guarding("app", "policy", "r"), func(p map[string]any) {
				config := p["config"].(map[string]any)
				config["roles"] = strings.ReplaceAll(config["roles"].(string), `"required":true`, `"required":false`)
			})
		}, "clients/app/policies/r (config.roles)", []string{put + "policy/*"}},
		{"user taken into a policy", func() {
			w.admin.Edit(w.guarding("app", "policy", "u"), configured("users", `["`+w.userID("ann")+`","`+w.userID("bob")+`"]`))
		}, "clients/app/policies/u (config.users)", []string{put + "policy/*"}},
		{"group of a policy removed, and its claim changed", func() {
			w.admin.Edit(w.guarding("app", "policy", "g"), func(p map[string]any) {
				p["config"] = map[string]any{"groupsClaim": "evil", "groups": `[{"id":"` + w.id("groups", "/staff") + `","extendChildren":true}]`}
			})
		}, "clients/app/policies/g (config.groups, config.groupsClaim)", []string{put + "policy/*"}},
		{"client scope no longer required", func() {
			w.admin.Edit(w.guarding("app", "policy", "cs"), func(p map[string]any) {
				config := p["config"].(map[string]any)
				config["clientScopes"] = strings.ReplaceAll(config["clientScopes"].(string), "true", "false")
			})
		}, "clients/app/policies/cs (config.clientScopes)", []string{put + "policy/*"}},
		{"client taken from a policy", func() {
			w.admin.Edit(w.guarding("app", "policy", "c"), configured("clients", `["`+w.clientID("account")+`"]`))
		}, "clients/app/policies/c (config.clients)", []string{put + "policy/*"}},
		{"policy turned round", func() {
			w.admin.Edit(w.guarding("app", "policy", "t"), func(p map[string]any) { p["logic"] = "POSITIVE" })
		}, "clients/app/policies/t (logic)", []string{put + "policy/*"}},
		{"hour of a policy moved", func() { w.admin.Edit(w.guarding("app", "policy", "t"), configured("hourEnd", "23")) },
			"clients/app/policies/t (config.hourEnd)", []string{put + "policy/*"}},
		{"pattern of a policy widened", func() { w.admin.Edit(w.guarding("app", "policy", "x"), configured("targetClaim", "sub")) },
			"clients/app/policies/x (config.targetClaim)", []string{put + "policy/*"}},
		{"permission without its policies", func() { w.admin.Edit(w.guarding("app", "policy", "sp"), configured("applyPolicies", "[]")) },
			"clients/app/policies/sp (config.applyPolicies)", []string{put + "policy/*"}},
		{"aggregate with one policy less", func() {
			w.admin.Edit(w.guarding("app", "policy", "more"), configured("applyPolicies", `["u"]`))
		}, "clients/app/policies/more (config.applyPolicies)", []string{put + "policy/*"}},
		{"permission for another scope of another resource", func() {
			w.admin.Edit(w.guarding("app", "policy", "sp"), func(p map[string]any) {
				p["config"] = map[string]any{"scopes": `["edit"]`, "resources": `["page"]`}
			})
		}, "clients/app/policies/sp (config.resources, config.scopes)", []string{put + "policy/*"}},
		{"policy deleted, and so not applied any longer", func() { w.admin.Do("DELETE", w.guarding("app", "policy", "g"), nil) },
			"clients/app/policies/g (gone), clients/app/policies/sp (config.applyPolicies)", []string{post + "policy", put + "policy/*"}},
		{"permission added", func() {
			w.must("POST", w.guard("app", "/policy"), map[string]any{"name": "evil", "type": "scope", "config": map[string]any{"scopes": `["edit"]`}})
		}, "clients/app/policies/evil (added)", []string{remove + "policy/*"}},
		{"policy of another type in the place of one", func() {
			w.admin.Do("DELETE", w.guarding("app", "policy", "x"), nil)
			w.must("POST", w.guard("app", "/policy"), map[string]any{"name": "x", "type": "time", "config": map[string]any{"hour": "1"}})
		}, "clients/app/policies/x (config.pattern, config.targetClaim, config.targetContextAttributes, type)", []string{remove + "policy/*", post + "policy", put + "policy/*"}},
	} {
		t.Run(e.name, func(t *testing.T) { w.repairs(t, manifest, e.edit, e.says, e.writes) })
	}
	t.Run("what is declared is there, and no more", func(t *testing.T) {
		w.t, w.admin = t, w.server.Admin(t)
		w.protects("app", `{"policyEnforcementMode":"ENFORCING","resources":{"evil":null},"scopes":{"evil":null},"policies":{"evil":null,"x (replaced)":null,"x":{"type":"regex"},"rp":{"config":{"resources":["doc"],"applyPolicies":["all"]}}}}`)
	})
}

// What the settings say at once to whoever may manage a client's authorization, an account with view roles reads in pieces,
// with ids in the place of names; both find the same.
func TestAReadOnlyAccountSeesAuthorizationAsItIs(t *testing.T) {
	l := newLesser(t)
	manifest := spec("  limits: {deletes: 100%, changes: 100%}\n", guarded("allowRemoteResourceManagement: false, "+shelf+", policies: ["+kinds+", "+permissions+"]")+"    adminPermissionsEnabled: true\n")
	manifest = strings.Replace(manifest, "    clients: [", "    clients: ["+administrators+", ", 1)
	l.settled(manifest)
	l.become(views...)
	mark := l.server.Mark(t)
	for _, mode := range []reconcile.Mode{reconcile.Plan, reconcile.Drift, reconcile.Apply} {
		if report, err := l.run(mode, manifest); err != nil || report.Verdict != drift.InSync {
			t.Errorf("mode %d: %v\n%s", mode, err, text(report))
		}
	}
	for _, r := range keycloaktest.Writes(l.server.RequestsSince(t, mark, l.name)) {
		t.Errorf("sent %s", r)
	}
	l.admin.Edit(l.guarding("app", "policy", "r"), configured("roles", `[]`))
	report, err := l.run(reconcile.Drift, manifest)
	if got, want := report.Says, "1 drifted: clients/app/policies/r (config.roles)"; err != nil || got != want {
		t.Errorf("drift says %q, want %q (%v)", got, want, err)
	}
}

// What Keycloak would answer with 500, or make of it something else, blocks with the place and what to do.
func TestProblemsOfAuthorizationAreSaidInThePlan(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(""))
	service := "serviceAccountsEnabled: true, authorizationServicesEnabled: true, authorizationSettings: "
	for _, c := range []struct{ declared, want string }{
		{`[{clientId: a, authorizationServicesEnabled: true}]`, "clients/a: only a confidential client with a service account can have authorization services"},
		{`[{clientId: a, serviceAccountsEnabled: true, authorizationSettings: {scopes: []}}]`, "clients/a/authorizationSettings: the client has no authorization services"},
		{`[{clientId: admin-permissions, authorizationSettings: {policies: []}}]`, "clients/admin-permissions: Keycloak makes this client for a realm with admin permissions"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: role, config: {roles: [{id: offline}]}}]}}]`, "clients/a/policies/p names roles/offline, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: user, config: {users: [nobody]}}]}}]`, "clients/a/policies/p names users/nobody, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: group, config: {groups: [{path: /none}]}}]}}]`, "clients/a/policies/p names groups/none, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: client, config: {clients: '["none"]'}}]}}]`, "clients/a/policies/p names clients/none, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: client-scope, config: {clientScopes: [{id: none}]}}]}}]`, "clients/a/policies/p names clientScopes/none, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: scope, config: {scopes: [none]}}]}}]`, "clients/a/policies/p names clients/a/scopes/none, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: resource, config: {resources: [none]}}]}}]`, "clients/a/policies/p names clients/a/resources/none, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{resources: [{name: r, scopes: [{name: none}]}]}}]`, "clients/a/resources/r names clients/a/scopes/none, which neither the manifests nor Keycloak have"},
		{`[{clientId: a, ` + service + `{policies: [{name: p}]}}]`, "clients/a/policies/p has no type"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: nosuch}]}}]`, "clients/a/policies/p: this Keycloak has no policies of type nosuch"},
		{`[{clientId: a, ` + service + `{policies: [{name: p, type: aggregate, config: {applyPolicies: [q]}}, {name: q, type: aggregate, config: {applyPolicies: [p]}}]}}]`,
			"clients/a/policies/p, clients/a/policies/q apply each other"},
	} {
		report, err := w.pass(reconcile.Plan, realm("    clients: "+c.declared+"\n")).Run(context.Background())
		if err == nil || len(report.Problems) != 1 || report.Problems[0].What != c.want || report.Problems[0].Hint == "" {
			t.Errorf("%s: %v, problems %v, want %q", c.declared, err, report.Problems, c.want)
		}
	}
}

// An application that may manage its resources itself registers them at run time, for itself or for people. They are no
// strangers beside those that are declared; what was declared and isn't any longer still goes.
func TestResourcesThatAnApplicationRegisteredStay(t *testing.T) {
	w := newWorld(t)
	declared := func(resources string) string {
		return realm("    users: [{username: ann}]\n    clients: [{clientId: app, secret: sesame, serviceAccountsEnabled: true, authorizationServicesEnabled: true, authorizationSettings: {allowRemoteResourceManagement: true, resources: [" + resources + "]}}]\n")
	}
	w.settled(declared("{name: doc}, {name: page}"))
	app := w.server.Admin(t).AsClient(w.name, "app", "sesame")
	if status := app.Do("POST", "/realms/"+w.name+"/authz/protection/resource_set", map[string]any{"name": "album"}); status != http.StatusCreated {
		t.Fatalf("POST resource_set: %d", status)
	}
	w.must("POST", w.guard("app", "/resource"), map[string]any{"name": "doc", "owner": map[string]any{"id": w.userID("ann")}, "ownerManagedAccess": true})
	w.settled(declared("{name: doc}"))
	var names []string
	for _, r := range w.admin.Get(w.guard("app", "/resource")).([]any) {
		resource := r.(map[string]any)
		if name := resource["name"].(string); name != "Default Resource" { // which 26.4 makes
			names = append(names, resource["owner"].(map[string]any)["name"].(string)+"/"+name)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"ann/doc", "app/album", "app/doc"}, names); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
}

// One request reads all of a client's authorization, and clients of which nobody declares any cost none.
func TestAuthorizationCostsOneReadAClient(t *testing.T) {
	w := newWorld(t)
	manifest := realm(guarded(shelf + ", policies: [" + kinds + ", " + permissions + "]"))
	w.settled(manifest)
	w.admin.Create(w.at("/clients"), map[string]any{"clientId": "other", "serviceAccountsEnabled": true, "authorizationServicesEnabled": true})
	mark := w.server.Mark(t)
	w.plan(manifest)
	var reads []string
	for _, r := range w.server.RequestsSince(t, mark, w.name) {
		if strings.Contains(r.Path, "/authz/") {
			reads = append(reads, w.shape(r))
		}
	}
	if diff := cmp.Diff([]string{"GET /clients/*/authz/resource-server/settings"}, reads); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
}

// Keycloak decides as it is declared: who may have what is asked of the token endpoint, as an application asks.
func TestDeclaredPermissionsDecide(t *testing.T) {
	w := newWorld(t)
	w.env["SECRET"] = "sesame"
	declared := func(who string) string {
		user := func(name, role string) string {
			return "{username: " + name + ", enabled: true, email: " + name + "@acme.example, firstName: N, lastName: N, credentials: [{type: password, value: $(env:SECRET)}], realmRoles: [" + role + "]}"
		}
		return realm("    roles: {realm: [{name: viewer}, {name: editor}]}\n    users: [" + user("ann", "editor") + ", " + user("bob", "viewer") + "]\n" +
			"    clients: [{clientId: app, secret: $(env:SECRET), directAccessGrantsEnabled: true, serviceAccountsEnabled: true, authorizationServicesEnabled: true, authorizationSettings: {" +
			"scopes: [{name: view}, {name: edit}], resources: [{name: doc, scopes: [{name: view}, {name: edit}]}], policies: [" +
			"{name: viewers, type: role, config: {roles: [{id: viewer}]}}, {name: editors, type: role, config: {roles: [{id: editor}]}}, {name: anybody, type: aggregate, decisionStrategy: AFFIRMATIVE, config: {applyPolicies: [viewers, editors]}}, " +
			"{name: look, type: scope, config: {resources: [doc], scopes: [view], applyPolicies: [anybody]}}, {name: write, type: scope, config: {resources: [doc], scopes: [edit], applyPolicies: [" + who + "]}}]}}]\n")
	}
	decisions := func() string {
		var granted []string
		for _, user := range []string{"ann", "bob"} {
			for _, scope := range []string{"view", "edit"} {
				if w.granted(user, "doc#"+scope) {
					granted = append(granted, user+" "+scope)
				}
			}
		}
		return strings.Join(granted, ", ")
	}
	w.settled(declared("editors"))
	if got, want := decisions(), "ann view, ann edit, bob view"; got != want {
		t.Errorf("granted: %s; want %s", got, want)
	}
	w.settled(declared("viewers"))
	if got, want := decisions(), "ann view, bob view, bob edit"; got != want {
		t.Errorf("after another commit granted: %s; want %s", got, want)
	}
	w.admin.Edit(w.guarding("app", "policy", "write"), configured("applyPolicies", `["anybody"]`))
	if got, want := decisions(), "ann view, ann edit, bob view, bob edit"; got != want {
		t.Errorf("after an edit by hand granted: %s; want %s", got, want)
	}
	w.apply(declared("viewers"))
	if got, want := decisions(), "ann view, bob view, bob edit"; got != want {
		t.Errorf("after its repair granted: %s; want %s", got, want)
	}
}

// granted tells whether Keycloak gives a user of the application app a permission there.
func (w *world) granted(user, permission string) bool {
	w.t.Helper()
	ask := func(form url.Values, token string) (int, string) {
		request, err := http.NewRequest("POST", w.server.URL+"/realms/"+w.name+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
		if err != nil {
			w.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.t.Fatal(err)
		}
		defer response.Body.Close()
		var answer struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			w.t.Fatal(err)
		}
		return response.StatusCode, answer.Token
	}
	_, token := ask(url.Values{"grant_type": {"password"}, "client_id": {"app"}, "client_secret": {"sesame"}, "username": {user}, "password": {"sesame"}}, "")
	status, _ := ask(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "audience": {"app"}, "permission": {permission}, "response_mode": {"decision"}}, token)
	if status != http.StatusOK && status != http.StatusForbidden {
		w.t.Fatalf("the decision on %s for %s: %d", permission, user, status)
	}
	return status == http.StatusOK
}
