package reconcile_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// handEdit is what somebody does in the admin console, and what is to be said and sent.
type handEdit struct {
	name   string
	edit   func(w *world)
	says   string   // what drift names
	writes []string // what repairs it: methods, and paths below the realm with ids as *
}

func (w *world) at(path string) string { return "/admin/realms/" + w.name + path }

func (w *world) below(name, path string) string { return w.at("/clients/" + w.clientID(name) + path) }

func (w *world) id(list, name string) string {
	w.t.Helper()
	id := w.ids()[list+" "+name]
	if id == "" {
		w.t.Fatalf("no %s %s", list, name)
	}
	return id
}

// role is a role as links name it.
func (w *world) role(path string) map[string]any { return w.admin.Get(w.at(path)).(map[string]any) }

var handEdits = []handEdit{
	{"realm setting", func(w *world) { w.admin.Edit(w.at(""), func(r map[string]any) { r["displayName"] = "Evil" }) },
		"realm (displayName)", []string{"PUT "}},
	{"realm attribute removed", func(w *world) {
		w.admin.Edit(w.at(""), func(r map[string]any) { delete(r["attributes"].(map[string]any), "team") })
	}, "realm (attributes.team)", []string{"PUT "}},
	{"client redirect URI added", func(w *world) {
		w.admin.Edit(w.below("portal", ""), func(c map[string]any) {
			c["redirectUris"] = append(c["redirectUris"].([]any), "https://evil.example/*")
		})
	}, "clients/portal (redirectUris)", []string{"PUT /clients/*"}},
	{"client secret changed", func(w *world) {
		w.admin.Edit(w.below("api", ""), func(c map[string]any) { c["secret"] = "stolen" })
	}, "clients/api (secret)", []string{"PUT /clients/*"}},
	{"client deleted", func(w *world) { w.admin.Do("DELETE", w.below("lone", ""), nil) },
		"clients/lone (gone)", []string{"POST /clients"}},
	{"client renamed", func(w *world) {
		w.admin.Edit(w.below("lone", ""), func(c map[string]any) { c["clientId"] = "other" })
	}, "clients/lone (gone)", []string{"POST /clients"}},
	{"mapper added to a client", func(w *world) {
		w.admin.Create(w.below("portal", "/protocol-mappers/models"), map[string]any{"name": "evil", "protocol": "openid-connect",
			"protocolMapper": "oidc-hardcoded-claim-mapper", "config": map[string]any{"claim.name": "admin", "claim.value": "true"}})
	}, "clients/portal/protocolMappers/evil (added)", []string{"DELETE /clients/*/protocol-mappers/models/*"}},
	{"mapper of a scope changed", func(w *world) {
		scope := w.id("client-scopes", "orders")
		mapper := w.admin.Get(w.at("/client-scopes/" + scope)).(map[string]any)["protocolMappers"].([]any)[0].(map[string]any)
		mapper["config"].(map[string]any)["claim.name"] = "evil"
		w.admin.Do("PUT", w.at("/client-scopes/"+scope+"/protocol-mappers/models/"+mapper["id"].(string)), mapper)
	}, "clientScopes/orders/protocolMappers/tenant (config.claim.name)", []string{"PUT /client-scopes/*/protocol-mappers/models/*"}},
	{"default scope taken from a client", func(w *world) {
		w.admin.Do("DELETE", w.below("portal", "/default-client-scopes/"+w.id("client-scopes", "email")), nil)
	}, "clients/portal/defaultClientScopes (defaultClientScopes)", []string{"PUT /clients/*/default-client-scopes/*"}},
	{"scope moved from default to optional", func(w *world) {
		scope := w.id("client-scopes", "orders")
		w.admin.Do("DELETE", w.below("portal", "/default-client-scopes/"+scope), nil)
		w.admin.Do("PUT", w.below("portal", "/optional-client-scopes/"+scope), map[string]any{})
	}, "clients/portal/defaultClientScopes (defaultClientScopes), clients/portal/optionalClientScopes (optionalClientScopes)",
		[]string{"DELETE /clients/*/optional-client-scopes/*", "PUT /clients/*/default-client-scopes/*"}},
	{"scope description changed", func(w *world) {
		w.admin.Edit(w.at("/client-scopes/"+w.id("client-scopes", "orders")), func(s map[string]any) { s["description"] = "Evil" })
	}, "clientScopes/orders (description)", []string{"PUT /client-scopes/*"}},
	{"role description changed", func(w *world) {
		w.admin.Edit(w.at("/roles/auditor"), func(r map[string]any) { r["description"] = "Writes" })
	}, "roles/auditor (description)", []string{"PUT /roles-by-id/*"}},
	{"role attribute changed", func(w *world) {
		w.admin.Edit(w.at("/roles/auditor"), func(r map[string]any) { r["attributes"] = map[string]any{"level": []string{"9"}} })
	}, "roles/auditor (attributes.level)", []string{"PUT /roles-by-id/*"}},
	{"client role deleted", func(w *world) { w.admin.Do("DELETE", w.below("portal", "/roles/lone"), nil) },
		"clients/portal/roles/lone (gone)", []string{"POST /clients/*/roles"}},
	{"composite added", func(w *world) {
		w.admin.Do("POST", w.at("/roles/boss/composites"), []any{w.role("/roles/offline_access")})
	}, "roles/boss/composites (composites.realm)", []string{"DELETE /roles-by-id/*/composites"}},
	{"client composite removed", func(w *world) {
		w.admin.Do("DELETE", w.at("/roles/boss/composites"), []any{w.role("/clients/" + w.clientID("portal") + "/roles/viewer")})
	}, "roles/boss/composites (composites.client.portal)", []string{"POST /roles-by-id/*/composites"}},
	{"default role lost a composite", func(w *world) {
		w.admin.Do("DELETE", w.at("/roles/default-roles-"+w.name+"/composites"), []any{w.role("/roles/auditor")})
	}, "roles/default-roles-REALM/composites (composites.realm)", []string{"POST /roles-by-id/*/composites"}},
	{"group attribute changed", func(w *world) {
		w.admin.Edit(w.at("/groups/"+w.id("groups", "/staff")), func(g map[string]any) { g["attributes"] = map[string]any{"site": []string{"x"}} })
	}, "groups/staff (attributes.site)", []string{"PUT /groups/*"}},
	{"subgroup deleted", func(w *world) { w.admin.Do("DELETE", w.at("/groups/"+w.id("groups", "/staff/lone")), nil) },
		"groups/staff/groups/lone (gone)", []string{"POST /groups/*/children"}},
	{"role granted to a group", func(w *world) {
		w.admin.Do("POST", w.at("/groups/"+w.id("groups", "/staff")+"/role-mappings/realm"), []any{w.role("/roles/boss")})
	}, "groups/staff/realmRoles (realmRoles)", []string{"DELETE /groups/*/role-mappings/realm"}},
	{"client role taken from a group", func(w *world) {
		w.admin.Do("DELETE", w.at("/groups/"+w.id("groups", "/staff")+"/role-mappings/clients/"+w.clientID("portal")),
			[]any{w.role("/clients/" + w.clientID("portal") + "/roles/viewer")})
	}, "groups/staff/clientRoles (clientRoles.portal)", []string{"POST /groups/*/role-mappings/clients/*"}},
	{"default group removed", func(w *world) { w.admin.Do("DELETE", w.at("/default-groups/"+w.id("groups", "/staff/emea")), nil) },
		"defaultGroups (defaultGroups)", []string{"PUT /default-groups/*"}},
	{"default scope of the realm added", func(w *world) {
		w.admin.Do("PUT", w.at("/default-optional-client-scopes/"+w.id("client-scopes", "microprofile-jwt")), map[string]any{})
	}, "defaultOptionalClientScopes (defaultOptionalClientScopes)", []string{"DELETE /default-optional-client-scopes/*"}},
}

// Each edit is found, named, and repaired by exactly the writes that it takes: an independent dump of the realm before
// and after differs nowhere.
func TestHandEditsAreNamedAndRepairedAlone(t *testing.T) {
	w := newWorld(t)
	manifest := strings.Replace(realm(everything), "      - clientId: api\n", "      - clientId: lone\n      - clientId: api\n", 1)
	manifest = strings.Replace(manifest, "          - name: viewer\n", "          - name: viewer\n          - name: lone\n", 1)
	manifest = strings.Replace(manifest, "          - name: a/b\n", "          - name: a/b\n          - name: lone\n", 1)
	w.settled(realm(everything)) // a client takes the realm's default scopes when it is made: lone comes after they are set
	w.settled(manifest)
	w.admin.Edit(w.at(""), func(map[string]any) {}) // the first PUT of a realm adds five attributes of the server's own
	for _, e := range handEdits {
		t.Run(e.name, func(t *testing.T) {
			w.t = t
			w.admin = w.server.Admin(t)
			before := keycloaktest.Portable(w.name, w.admin.Dump(w.name))
			e.edit(w)

			found, err := w.pass(reconcile.Drift, manifest).Run(context.Background())
			if err != nil {
				t.Fatalf("drift: %v\n%s", err, text(found))
			}
			_, names, _ := strings.Cut(drift.SayDrift(found.Changes), " drifted: ")
			if want := strings.ReplaceAll(e.says, "REALM", w.name); drift.Sentence("xxxxxxxxxxx"+names) != drift.Sentence("xxxxxxxxxxx"+want) || found.Verdict != drift.Drifted {
				t.Errorf("%s: %q, want %q", found.Verdict, names, want)
			}
			mark := w.server.Mark(t)
			w.apply(manifest)
			var writes []string
			for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
				writes = append(writes, w.shape(r))
			}
			slices.Sort(writes)
			if !cmp.Equal(writes, e.writes) {
				t.Errorf("wrote %q, want %q", writes, e.writes)
			}
			if e.name == "client renamed" { // the other client is nobody's; it stays
				w.admin.Do("DELETE", w.below("other", ""), nil)
			}
			after := keycloaktest.Portable(w.name, w.admin.Dump(w.name))
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the realm differs from before the edit (-before +after):\n%s", diff)
			}
		})
	}
}

// shape is a request with its path below the realm, and ids as *.
func (w *world) shape(r keycloaktest.Request) string {
	path := strings.TrimPrefix(r.Path, "/admin/realms/"+w.name)
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if len(p) == 36 && strings.Count(p, "-") == 4 || len(p) == 22 && parts[i-1] == "components" {
			parts[i] = "*"
		}
	}
	return fmt.Sprintf("%s %s", r.Method, strings.Join(parts, "/"))
}
