package reconcile_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

// administrators says who may administer what, by names.
const administrators = `{clientId: admin-permissions, authorizationSettings: {policies: [
        {name: help desk, type: user, config: {users: [ann]}},
        {name: all groups, type: scope, config: {defaultResourceType: Groups, scopes: [view], applyPolicies: [help desk]}},
        {name: one person, type: scope, config: {defaultResourceType: Users, resources: [Bob], scopes: [view, manage], applyPolicies: [help desk]}},
        {name: two groups, type: scope, config: {defaultResourceType: Groups, resources: [/staff, /staff/s~/f], scopes: [view-members], applyPolicies: [help desk]}},
        {name: a client, type: scope, config: {defaultResourceType: Clients, resources: [app], scopes: [view], applyPolicies: [help desk]}},
        {name: two roles, type: scope, config: {defaultResourceType: Roles, resources: [app/boss, viewer], scopes: [map-role], applyPolicies: [help desk]}}]}}`

const administered = "    roles: {realm: [{name: viewer}, {name: a/b}], client: {app: [{name: boss}]}}\n    groups: [{name: staff, subGroups: [{name: s/f}]}]\n" +
	"    users: [{username: ann, enabled: true, email: ann@acme.example, firstName: N, lastName: N, credentials: [{type: password, value: $(env:SECRET)}]}, {username: bob, enabled: true}, {username: carl, enabled: true}]\n"

// permitted are what Keycloak's own pages of the admin permissions say each is about, by the names of what it gives ids of.
func (w *world) permitted() map[string]string {
	w.t.Helper()
	names := map[string]string{w.clientID("app"): "app", w.userID("bob"): "bob", w.userID("carl"): "carl",
		w.id("groups", "/staff"): "/staff", w.role("/roles/viewer")["id"].(string): "viewer", w.role("/roles/a%2Fb")["id"].(string): "a/b",
		w.role("/clients/" + w.clientID("app") + "/roles/boss")["id"].(string): "app/boss"}
	for _, g := range w.admin.Get(w.at("/groups/" + w.id("groups", "/staff") + "/children")).([]any) {
		names[g.(map[string]any)["id"].(string)] = "/staff/s~/f"
	}
	found := map[string]string{}
	for _, p := range w.admin.Get(w.guard("admin-permissions", "/policy?max=100")).([]any) {
		policy := p.(map[string]any)
		if policy["type"] != "scope" {
			continue
		}
		of := func(list string) string {
			var about []string
			for _, o := range w.admin.Get(w.guard("admin-permissions", "/policy/"+policy["id"].(string)+"/"+list)).([]any) {
				name := o.(map[string]any)["name"].(string)
				if known, ok := names[name]; ok {
					name = known
				}
				about = append(about, name)
			}
			slices.Sort(about)
			return strings.Join(about, " ")
		}
		found[policy["name"].(string)] = of("scopes") + " of " + of("resources") + " by " + of("associatedPolicies")
	}
	return found
}

// Who may administer what is declared with the names that people know, and holds: Ann, who has no role at all, may do that
// and no more, from the pass on that brings it until the one that takes it.
func TestAdminPermissionsAreDeclaredByName(t *testing.T) {
	w := newWorld(t)
	w.env["SECRET"] = "sesame"
	manifest := func(clients string) string {
		return spec("  limits: {deletes: 100%, changes: 100%}\n", "    adminPermissionsEnabled: true\n"+administered+"    clients: ["+clients+"]\n")
	}
	w.settled(realm(administered + "    clients: [{clientId: app}]\n"))
	w.settled(manifest("{clientId: app}, " + administrators)) // the client comes with the setting, in the same pass
	want := map[string]string{"all groups": "view of Groups by help desk", "one person": "manage view of bob by help desk", "two groups": "view-members of /staff /staff/s~/f by help desk",
		"a client": "view of app by help desk", "two roles": "map-role of app/boss viewer by help desk"}
	if diff := cmp.Diff(want, w.permitted()); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
	may := func() string {
		ann := w.server.Admin(t).As(w.name, "admin-cli", "ann", "sesame")
		var allowed []string
		for what, path := range map[string]string{"bob": "/users/" + w.userID("bob"), "carl": "/users/" + w.userID("carl"), "app": "/clients/" + w.clientID("app"),
			"account": "/clients/" + w.clientID("account"), "staff": "/groups/" + w.id("groups", "/staff")} {
			switch status := ann.Do("GET", w.at(path), nil); status {
			case http.StatusOK:
				allowed = append(allowed, what)
			case http.StatusForbidden:
			default:
				t.Fatalf("GET %s: %d", path, status)
			}
		}
		slices.Sort(allowed)
		return strings.Join(allowed, " ")
	}
	if got, want := may(), "app bob staff"; got != want {
		t.Errorf("ann may see %s, want %s", got, want)
	}

	other := strings.NewReplacer("resources: [Bob], scopes: [view, manage]", "resources: [carl], scopes: [view]", "/staff, /staff/s~/f", "/staff/s~/f", "resources: [app], ", "",
		"app/boss, viewer", "a/b", "{name: all groups,", "{name: every group, $was: [all groups],").Replace(administrators)
	w.settled(manifest("{clientId: app}, " + other))
	want = map[string]string{"every group": "view of Groups by help desk", "one person": "view of carl by help desk", "two groups": "view-members of /staff/s~/f by help desk",
		"a client": "view of Clients by help desk", "two roles": "map-role of a/b by help desk"}
	if diff := cmp.Diff(want, w.permitted()); diff != "" {
		t.Errorf("permissions after another commit (-want +got):\n%s", diff)
	}
	if got, want := may(), "account app carl staff"; got != want {
		t.Errorf("after another commit ann may see %s, want %s", got, want)
	}
	for _, e := range []struct {
		name   string
		edit   func()
		says   string
		writes []string
	}{
		{"a permission about somebody else", func() {
			w.admin.Edit(w.guarding("admin-permissions", "policy", "one person"), func(p map[string]any) {
				p["config"] = map[string]any{"defaultResourceType": "Users", "resources": `["` + w.userID("bob") + `"]`}
			})
		}, "clients/admin-permissions/policies/one%20person (config.resources)", []string{"PUT /clients/*/authz/resource-server/policy/*"}},
		{"a permission about everybody", func() {
			w.admin.Edit(w.guarding("admin-permissions", "policy", "one person"), func(p map[string]any) {
				p["config"] = map[string]any{"defaultResourceType": "Users", "resources": `[]`, "scopes": `["manage"]`}
			})
		}, "clients/admin-permissions/policies/one%20person (config.resources, config.scopes)", []string{"PUT /clients/*/authz/resource-server/policy/*"}},
		{"a permission added", func() {
			w.must("POST", w.guard("admin-permissions", "/permission/scope"), map[string]any{"name": "evil", "resourceType": "Users", "scopes": []string{"manage"}, "policies": []string{"help desk"}})
		}, "clients/admin-permissions/policies/evil (added)", []string{"DELETE /clients/*/authz/resource-server/policy/*"}},
		{"a permission deleted", func() { w.admin.Do("DELETE", w.guarding("admin-permissions", "policy", "a client"), nil) },
			"clients/admin-permissions/policies/a%20client (gone)", []string{"POST /clients/*/authz/resource-server/policy"}},
	} {
		t.Run(e.name, func(t *testing.T) { w.repairs(t, manifest("{clientId: app}, "+other), e.edit, e.says, e.writes) })
	}
	w.t, w.admin = t, w.server.Admin(t)
	if diff := cmp.Diff(want, w.permitted()); diff != "" {
		t.Errorf("permissions after repairs (-want +got):\n%s", diff)
	}
	w.settled(manifest("{clientId: app}, {clientId: admin-permissions, authorizationSettings: {policies: []}}"))
	if got := may(); got != "" || len(w.permitted()) > 0 {
		t.Errorf("without permissions ann may see %q by %v", got, w.permitted())
	}
}

// Keycloak's export of such a realm, in which permissions name ids, is a manifest: of the realm itself, where it finds
// nothing, and of another, where other ids are meant.
func TestAnExportOfAdminPermissionsIsAManifest(t *testing.T) {
	w := newWorld(t)
	w.env["SECRET"] = "sesame"
	w.settled(realm("    adminPermissionsEnabled: true\n" + administered + "    clients: [{clientId: app}, " + administrators + "]\n"))
	want := w.permitted()
	whole := w.admin.Export(w.name).(map[string]any)
	exported := map[string]any{"enabled": true, "adminPermissionsEnabled": true, "groups": whole["groups"]}
	roles := whole["roles"].(map[string]any)
	exported["roles"] = map[string]any{"realm": roles["realm"], "client": map[string]any{"app": roles["client"].(map[string]any)["app"]}}
	var clients, users []any
	for _, c := range whole["clients"].([]any) {
		if name := c.(map[string]any)["clientId"]; name == "app" || name == "admin-permissions" {
			clients = append(clients, c)
		}
	}
	for _, u := range w.admin.Get(w.at("/users?briefRepresentation=true")).([]any) {
		user := u.(map[string]any)
		users = append(users, map[string]any{"id": user["id"], "username": user["username"], "enabled": true})
	}
	exported["clients"], exported["users"] = clients, users
	if report, err := w.bare(reconcile.Plan, exported); err != nil || len(report.Changes) > 0 {
		t.Errorf("a plan of the realm's own export: %v\n%s", err, text(report))
	}
	other := newWorld(t)
	if report, err := other.bare(reconcile.Apply, exported); err != nil {
		t.Fatalf("applied elsewhere: %v\n%s", err, text(report))
	}
	if diff := cmp.Diff(want, other.permitted()); diff != "" {
		t.Errorf("permissions elsewhere (-want +got):\n%s", diff)
	}
	if report, err := other.bare(reconcile.Plan, exported); err != nil || len(report.Changes) > 0 {
		t.Errorf("a second plan there: %v\n%s", err, text(report))
	}
}

// bare is a pass over a representation of Keycloak's own, of the world's realm.
func (w *world) bare(mode reconcile.Mode, representation map[string]any) (drift.Report, error) {
	w.t.Helper()
	representation["realm"] = w.name
	source, err := json.Marshal(representation)
	if err != nil {
		w.t.Fatal(err)
	}
	declared := schema.Load(fstest.MapFS{"export.json": {Data: source}}, schema.Options{Server: "eu"})
	pass := w.pass(mode, realm(""))
	pass.Want, pass.Problems = declared.Realms[schema.RealmRef{Server: "eu", Realm: w.name}], declared.Problems
	return pass.Run(context.Background())
}
