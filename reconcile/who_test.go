package reconcile_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// watched is a manifest with objects of many kinds, in a realm that records who writes to it.
func watched(details bool) string {
	return realm(fmt.Sprintf("    adminEventsEnabled: true\n    adminEventsDetailsEnabled: %v\n", details) + `
    displayName: Acme
    organizationsEnabled: true
    localizationTexts: {de: {hello: Hallo}}
    clientScopes:
      - {name: orders, protocol: openid-connect, description: Orders}
      - {name: stock, protocol: openid-connect}
      - {name: gone-scope, protocol: openid-connect}
    clients:
      - clientId: portal
        name: Portal
        publicClient: true
        defaultClientScopes: [profile, email, orders]
        protocolMappers:
          - &mapper {name: kept, protocol: openid-connect, protocolMapper: oidc-hardcoded-claim-mapper, config: {claim.name: a, claim.value: b}}
          - {<<: *mapper, name: gone}
      - {clientId: gone, secret: a-secret-of-the-test}
      - {clientId: renamed, publicClient: true}
      - clientId: protected
        secret: a-secret-of-the-test
        serviceAccountsEnabled: true
        authorizationServicesEnabled: true
        authorizationSettings: {policyEnforcementMode: ENFORCING, scopes: [{name: read}], resources: [{name: doc}]}
      - {clientId: secretive, secret: a-secret-of-the-test}
    scopeMappings: [{client: portal, roles: [boss]}]
    roles:
      realm:
        - {name: a/b, description: Reads}
        - {name: byid, description: Reads}
        - {name: boss, composites: {realm: [byid]}}
        - {name: gone by name}
        - {name: gone by id}
      client: {portal: [{name: viewer, description: Views}, {name: gone viewer}]}
    groups:
      - name: staff
        attributes: {site: [hq]}
        realmRoles: [boss]
        clientRoles: {portal: [viewer]}
        subGroups: [{name: emea, attributes: {site: [hq]}}, {name: gone}]
    defaultGroups: [/staff]
    defaultOptionalClientScopes: [address, phone]
    users:
      - {username: ann, email: ann@acme.example, firstName: Ann, lastName: Lee, realmRoles: [boss], groups: [/staff], federatedIdentities: [{identityProvider: hub, userId: ann, userName: ann}]}
      - {username: gone}
      - {username: lee}
    identityProviders: [{alias: hub, providerId: oidc, displayName: Hub}, {alias: gone, providerId: oidc}]
    identityProviderMappers: [{name: tenant, identityProviderAlias: hub, identityProviderMapper: hardcoded-attribute-idp-mapper, config: {attribute: tenant, attribute.value: acme}}, {name: gone, identityProviderAlias: hub, identityProviderMapper: hardcoded-attribute-idp-mapper, config: {attribute: a, attribute.value: b}}]
    requiredActions: [{alias: UPDATE_PASSWORD, enabled: true, priority: 57}, {alias: delete_account, enabled: false, priority: 60}]
    organizations: [{alias: acme, name: Acme, domains: [{name: acme.example}], identityProviders: [{alias: hub}], members: [{username: ann, groups: [/sales]}, {username: lee}], groups: [{name: sales, description: Sells}]}]
    clientProfiles: {profiles: [{name: p, executors: [{executor: secure-session}]}]}
    components:
      org.keycloak.userprofile.UserProfileProvider: [{providerId: declarative-user-profile, config: {kc.user.profile.config: ['{"attributes":[{"name":"username","permissions":{"view":["admin"],"edit":["admin"]}},{"name":"email","permissions":{"view":["admin"],"edit":["admin"]}},{"name":"firstName","permissions":{"view":["admin"],"edit":["admin"]}},{"name":"lastName","permissions":{"view":["admin"],"edit":["admin"]}}]}']}}]
      org.keycloak.keys.KeyProvider: [{name: own, providerId: aes-generated, config: {priority: ["5"]}}, {name: gone, providerId: aes-generated, config: {priority: ["6"]}}]
    authenticationFlows:
      - alias: ours
        authenticationExecutions: [{authenticator: auth-cookie, requirement: ALTERNATIVE}, {flowAlias: below, requirement: ALTERNATIVE}]
      - {alias: below, topLevel: false, authenticationExecutions: [{authenticator: auth-username-password-form, requirement: REQUIRED}, {authenticator: auth-otp-form, requirement: REQUIRED}]}
      - alias: theirs
        authenticationExecutions: [{authenticator: identity-provider-redirector, requirement: ALTERNATIVE, authenticatorConfig: redirect}]
      - {alias: short, authenticationExecutions: [{authenticator: auth-cookie, requirement: REQUIRED}, {authenticator: auth-spnego, requirement: REQUIRED}]}
    authenticatorConfig: [{alias: redirect, config: {defaultProvider: hub}}]
`)
}

// person makes an administrator of the realm.
func (w *world) person(name string) *keycloaktest.Admin {
	w.t.Helper()
	id := w.admin.Create(w.at("/users"), map[string]any{"username": name, "enabled": true, "email": name + "@acme.example", "firstName": name, "lastName": name,
		"emailVerified": true, "credentials": []any{map[string]any{"type": "password", "value": "as " + name}}})
	w.administers(id)
	return w.admin.As(w.name, "admin-cli", name, "as "+name)
}

// robot makes a client that administers the realm by itself.
func (w *world) robot(name string) *keycloaktest.Admin {
	w.t.Helper()
	client := w.admin.Create(w.at("/clients"), map[string]any{"clientId": name, "secret": "as " + name, "serviceAccountsEnabled": true})
	w.administers(w.admin.Get(w.at("/clients/" + client + "/service-account-user")).(map[string]any)["id"].(string))
	return w.admin.AsClient(w.name, name, "as "+name)
}

func (w *world) administers(user string) {
	management := w.clientID("realm-management")
	w.must(http.MethodPost, w.at("/users/"+user+"/role-mappings/clients/"+management), []any{w.role("/clients/" + management + "/roles/realm-admin")})
}

func (w *world) user(name string) string {
	return w.at("/users/" + w.admin.Get(w.at("/users?exact=true&username=" + name)).([]any)[0].(map[string]any)["id"].(string))
}

// deed is what somebody does, and where it shows.
type deed struct {
	by, at, did string
	detailed    bool // only the details of events tell that it was there
	do          func(w *world)
}

func describe(o map[string]any) { o["description"] = "by hand" }

var deeds = []deed{
	{"ada", "realm", "update", false, func(w *world) { w.must("PUT", w.at(""), map[string]any{"displayName": "Evil"}) }},
	{"bob", "clients/portal", "update", false, func(w *world) {
		w.must("PUT", w.below("portal", ""), map[string]any{"clientId": "portal", "name": "Door"})
	}},
	{"ada", "clients/gone", "delete", true, func(w *world) { w.must("DELETE", w.below("gone", ""), nil) }},
	{"bob", "clients/renamed", "update", true, func(w *world) {
		w.admin.Edit(w.below("renamed", ""), func(c map[string]any) { c["clientId"] = "other" })
	}},
	{"robot", "clients/portal/protocolMappers/kept", "update", false, func(w *world) {
		m := w.mapper("portal", "kept")
		m["config"].(map[string]any)["claim.value"] = "evil"
		w.must("PUT", w.below("portal", "/protocol-mappers/models/"+m["id"].(string)), m)
	}},
	{"ada", "clients/portal/protocolMappers/gone", "delete", true, func(w *world) {
		w.must("DELETE", w.below("portal", "/protocol-mappers/models/"+w.mapper("portal", "gone")["id"].(string)), nil)
	}},
	{"bob", "clients/portal/protocolMappers/evil", "create", false, func(w *world) {
		m := w.mapper("portal", "kept")
		delete(m, "id")
		m["name"] = "evil"
		w.must("POST", w.below("portal", "/protocol-mappers/models"), m)
	}},
	{"ada", "clients/portal/defaultClientScopes", "delete", false, func(w *world) {
		w.must("DELETE", w.below("portal", "/default-client-scopes/"+w.id("client-scopes", "orders")), nil)
	}},
	{"robot", "clients/portal/scopeMappings", "create", false, func(w *world) {
		w.must("POST", w.below("portal", "/scope-mappings/realm"), []any{w.role("/roles/byid")})
	}},
	{"bob", "clients/portal/roles/viewer", "update", false, func(w *world) { w.admin.Edit(w.below("portal", "/roles/viewer"), describe) }},
	{"ada", "clients/portal/roles/gone%20viewer", "delete", false, func(w *world) { w.must("DELETE", w.below("portal", "/roles/gone%20viewer"), nil) }},
	{"robot", "clientScopes/stock", "update", false, func(w *world) {
		w.admin.Edit(w.at("/client-scopes/"+w.id("client-scopes", "stock")), func(s map[string]any) { s["protocol"] = "saml" })
	}},
	{"bob", "clientScopes/gone-scope", "delete", true, func(w *world) {
		w.must("DELETE", w.at("/client-scopes/"+w.id("client-scopes", "gone-scope")), nil)
	}},
	{"ada", "roles/a%2Fb", "update", false, func(w *world) { w.admin.Edit(w.at("/roles/a%2Fb"), describe) }},
	{"bob", "roles/byid", "update", false, func(w *world) {
		w.admin.Edit(w.at("/roles-by-id/"+w.role("/roles/byid")["id"].(string)), describe)
	}},
	{"robot", "roles/boss/composites", "delete", false, func(w *world) {
		w.must("DELETE", w.at("/roles/boss/composites"), []any{w.role("/roles/byid")})
	}},
	{"robot", "roles/gone%20by%20name", "delete", false, func(w *world) { w.must("DELETE", w.at("/roles/gone%20by%20name"), nil) }},
	{"ada", "roles/gone%20by%20id", "delete", true, func(w *world) {
		w.must("DELETE", w.at("/roles-by-id/"+w.role("/roles/gone%20by%20id")["id"].(string)), nil)
	}},
	{"bob", "groups/staff", "update", false, func(w *world) {
		w.admin.Edit(w.at("/groups/"+w.id("groups", "/staff")), func(g map[string]any) { g["attributes"] = map[string]any{} })
	}},
	{"ada", "groups/staff/realmRoles", "create", false, func(w *world) {
		w.must("POST", w.at("/groups/"+w.id("groups", "/staff")+"/role-mappings/realm"), []any{w.role("/roles/byid")})
	}},
	{"robot", "groups/staff/clientRoles", "delete", false, func(w *world) {
		client := w.clientID("portal")
		w.must("DELETE", w.at("/groups/"+w.id("groups", "/staff")+"/role-mappings/clients/"+client), []any{w.role("/clients/" + client + "/roles/viewer")})
	}},
	{"robot", "groups/staff/groups/emea", "update", false, func(w *world) {
		w.admin.Edit(w.at("/groups/"+w.id("groups", "/staff/emea")), func(g map[string]any) { g["attributes"] = map[string]any{} })
	}},
	{"ada", "groups/staff/groups/gone", "delete", true, func(w *world) { w.must("DELETE", w.at("/groups/"+w.id("groups", "/staff/gone")), nil) }},
	{"bob", "defaultGroups", "delete", false, func(w *world) { w.must("DELETE", w.at("/default-groups/"+w.id("groups", "/staff")), nil) }},
	{"ada", "users/ann", "update", false, func(w *world) { w.admin.Edit(w.user("ann"), func(u map[string]any) { u["firstName"] = "Evil" }) }},
	{"bob", "users/ann/realmRoles", "create", false, func(w *world) {
		w.must("POST", w.user("ann")+"/role-mappings/realm", []any{w.role("/roles/byid")})
	}},
	{"robot", "users/ann/memberships", "delete", false, func(w *world) { w.must("DELETE", w.user("ann")+"/groups/"+w.id("groups", "/staff"), nil) }},
	{"bob", "users/gone", "delete", true, func(w *world) { w.must("DELETE", w.user("gone"), nil) }},
	{"ada", "identityProviders/hub", "update", false, func(w *world) {
		w.admin.Edit(w.at("/identity-provider/instances/hub"), func(p map[string]any) { p["displayName"] = "Evil" })
	}},
	{"bob", "identityProviders/gone", "delete", false, func(w *world) { w.must("DELETE", w.at("/identity-provider/instances/gone"), nil) }},
	{"robot", "identityProviders/hub/identityProviderMappers/tenant", "update", false, func(w *world) {
		w.admin.Edit(w.providerMapper("tenant"), func(m map[string]any) { m["config"].(map[string]any)["attribute.value"] = "evil" })
	}},
	{"ada", "identityProviders/hub/identityProviderMappers/gone", "delete", true, func(w *world) { w.must("DELETE", w.providerMapper("gone"), nil) }},
	{"robot", "users/ann/federatedIdentities/hub", "delete", false, func(w *world) { w.must("DELETE", w.user("ann")+"/federated-identity/hub", nil) }},
	{"ada", "clients/protected/authorizationSettings", "update", false, func(w *world) {
		w.admin.Edit(w.below("protected", "/authz/resource-server"), func(s map[string]any) { s["policyEnforcementMode"] = "PERMISSIVE" })
	}},
	{"bob", "clients/protected/scopes/read", "delete", true, func(w *world) {
		scopes := w.below("protected", "/authz/resource-server/scope")
		w.must("DELETE", scopes+"/"+w.admin.Get(scopes).([]any)[0].(map[string]any)["id"].(string), nil)
	}},
	{"bob", "clients/secretive", "action", false, func(w *world) { w.admin.Do("POST", w.below("secretive", "/client-secret"), nil) }},
	{"robot", "defaultOptionalClientScopes", "create", false, func(w *world) {
		w.must("PUT", w.at("/default-optional-client-scopes/"+w.id("client-scopes", "orders")), map[string]any{})
	}},
	{"ada", "components/org.keycloak.userprofile.UserProfileProvider:declarative-user-profile", "update", false, func(w *world) {
		w.admin.Edit(w.at("/users/profile"), func(p map[string]any) {
			p["attributes"] = append(p["attributes"].([]any), map[string]any{"name": "evil"})
		})
	}},
	{"robot", "authenticationFlows/short", "delete", true, func(w *world) {
		w.must("DELETE", w.at("/authentication/executions/"+w.executions("short")[1]["id"].(string)), nil)
	}},
	{"bob", "authenticationFlows/below", "update", false, func(w *world) { w.require("ours", "auth-otp-form", "DISABLED") }},
	{"ada", "requiredActions/UPDATE_PASSWORD", "update", false, func(w *world) {
		w.admin.Edit(w.at("/authentication/required-actions/UPDATE_PASSWORD"), func(a map[string]any) { a["priority"] = 1 })
	}},
	{"bob", "requiredActions/delete_account", "delete", false, func(w *world) {
		w.must("DELETE", w.at("/authentication/required-actions/delete_account"), nil)
	}},
	{"robot", "organizations/acme", "update", false, func(w *world) {
		w.admin.Edit(w.organization(""), func(o map[string]any) { o["domains"] = []any{map[string]any{"name": "evil.example"}} })
	}},
	{"ada", "organizations/acme/members/lee", "delete", false, func(w *world) {
		w.must("DELETE", w.organization("/members/"+w.userID("lee")), nil)
	}},
	{"bob", "organizations/acme/groups/sales", "update", false, func(w *world) {
		sales := w.admin.Get(w.organization("/groups")).([]any)[0].(map[string]any)
		sales["description"] = "by hand"
		w.must("PUT", w.organization("/groups/"+sales["id"].(string)), sales)
	}},
	{"robot", "organizations/acme/members/ann/memberships", "delete", false, func(w *world) {
		sales := w.admin.Get(w.organization("/groups")).([]any)[0].(map[string]any)["id"].(string)
		w.must("DELETE", w.organization("/groups/"+sales+"/members/"+w.userID("ann")), nil)
	}},
	{"ada", "components/org.keycloak.keys.KeyProvider:aes-generated:own", "update", false, func(w *world) {
		w.admin.Edit(w.component("own"), func(c map[string]any) { c["config"].(map[string]any)["priority"] = []string{"9"} })
	}},
	{"bob", "components/org.keycloak.keys.KeyProvider:aes-generated:gone", "delete", true, func(w *world) { w.must("DELETE", w.component("gone"), nil) }},
	{"ada", "authenticationFlows/ours", "create", false, func(w *world) {
		w.must("POST", w.at("/authentication/flows/ours/executions/execution"), map[string]any{"provider": "auth-spnego"})
	}},
	{"bob", "authenticationFlows/theirs", "update", false, func(w *world) {
		w.require("theirs", "identity-provider-redirector", "DISABLED")
	}},
	{"robot", "authenticatorConfig/redirect", "update", false, func(w *world) {
		id := w.executions("theirs")[0]["authenticationConfig"].(string)
		w.admin.Edit(w.at("/authentication/config/"+id), func(c map[string]any) { c["config"] = map[string]any{"defaultProvider": "evil"} })
	}},
	{"", "clientProfiles/p", "", false, func(w *world) {
		w.admin.Edit(w.at("/client-policies/profiles"), func(d map[string]any) { entry(d, "profiles", "p")["executors"] = []any{} })
	}},
}

func (w *world) mapper(client, name string) map[string]any {
	w.t.Helper()
	return entry(w.admin.Get(w.below(client, "")).(map[string]any), "protocolMappers", name)
}

func (w *world) providerMapper(name string) string {
	mappers := w.at("/identity-provider/instances/hub/mappers")
	for _, m := range w.admin.Get(mappers).([]any) {
		if m := m.(map[string]any); m["name"] == name {
			mappers += "/" + m["id"].(string)
		}
	}
	return mappers
}

func (w *world) executions(flow string) (all []map[string]any) {
	for _, e := range w.admin.Get(w.at("/authentication/flows/" + flow + "/executions")).([]any) {
		all = append(all, e.(map[string]any))
	}
	return all
}

// require changes an execution's requirement the way the console does: by the flow at the top.
func (w *world) require(flow, provider, requirement string) {
	for _, e := range w.executions(flow) {
		if e["providerId"] == provider {
			e["requirement"] = requirement
			w.must("PUT", w.at("/authentication/flows/"+flow+"/executions"), e)
		}
	}
}

// Three accounts make edits of every kind that Keycloak records, and ours one that it doesn't. Each is told of by the account that made
// it, and by nobody where too little is known: without details, of what went by its id alone, unless a pass saw it before.
func TestDriftSaysWhoDidIt(t *testing.T) {
	for _, details := range []bool{true, false} {
		t.Run(fmt.Sprintf("details %v", details), func(t *testing.T) {
			w := newWorld(t)
			w.settled(watched(details))
			seen := w.pass(reconcile.Plan, watched(details))
			seen.Names = map[string][]schema.Address{}
			w.run(seen)
			us := w.admin
			people := map[string]*keycloaktest.Admin{"ada": w.person("ada"), "bob": w.person("bob"), "robot": w.robot("robot"), "": us}
			for _, d := range deeds {
				w.admin = people[d.by]
				d.do(w)
			}
			w.admin = us
			for _, names := range []map[string][]schema.Address{nil, seen.Names} {
				want, got := map[schema.Address]string{}, map[schema.Address]string{}
				for _, d := range deeds {
					want[schema.Address(d.at)] = d.by + " " + d.did
					known := names != nil && d.did == "delete" && d.at != "clients/protected/scopes/read" // of that no pass sees an id
					along := d.at == "clients/portal/protocolMappers/gone"                                // made together with its client: no event tells its id
					if d.detailed && (!details || along) && !known {
						want[schema.Address(d.at)] = " "
					}
				}
				p := w.pass(reconcile.Drift, watched(details))
				p.Names = names
				found := w.run(p)
				for _, c := range found.Changes {
					got[c.Address] = c.By.Name + " " + c.By.Did
					if c.By.ID != "" && (c.By.Realm != w.name || c.By.IP == "" || c.By.At.After(found.Ended)) {
						t.Errorf("%s: %+v", c.Address, c.By)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("who did what (-want +got), seen before: %v\n%s", names != nil, diff)
				}
				if !strings.Contains(found.Says, " and 2 others") || len([]rune(found.Says)) > drift.Longest {
					t.Errorf("says %q", found.Says)
				}
			}
		})
	}
}

func TestAStatusSaysWhoDeletedWhatItsEventNamesByIDAlone(t *testing.T) {
	s := newSource(t)
	p := s.start()
	commit := s.push("acme.yaml", spec("  drift: report\n", recording))
	p.once()
	ada := s.person("ada")
	if status := ada.Do(http.MethodDelete, s.at("/roles-by-id/"+s.role("/roles/auditor")["id"].(string)), nil); status != http.StatusNoContent {
		t.Fatalf("DELETE: %d", status)
	}
	for range 2 { // it is still known the second time
		p.once()
		s.shows(commit, "REALM: failure: 1 drifted: roles/auditor (gone); by ada", "validate: success: 1 realm declared")
	}
}

// eventReads are the requests that a pass sends to find out who did what.
func (w *world) eventReads(mark keycloaktest.Mark) (reads []string) {
	for _, r := range w.server.RequestsSince(w.t, mark, w.name) {
		if strings.Contains(r.Path, "/admin-events") {
			reads = append(reads, r.String())
		}
	}
	return reads
}

const recording = "    adminEventsEnabled: true\n    roles: {realm: [{name: auditor, description: Reads}]}\n"

func TestEventsAreReadOnceAndOnlyWhereTheRealmDrifted(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, manifest string
		edit           bool
		want           int
	}{
		{"as declared", recording, false, 0},
		{"a commit asks for more", recording + "    displayName: Acme\n", false, 0},
		{"drift", recording, true, 1},
		{"drift, and the realm records nothing", strings.Replace(recording, "true", "false", 1), true, 0},
	} {
		if c.edit || c.name == "as declared" {
			w.run(w.committed(w.pass(reconcile.Apply, realm(c.manifest)), "1", nil))
		}
		if c.edit {
			w.admin.Edit(w.at("/roles/auditor"), describe)
		}
		mark := w.server.Mark(t)
		w.run(w.committed(w.pass(reconcile.Plan, realm(c.manifest)), "2", map[string]string{"1": realm(recording)}))
		if reads := w.eventReads(mark); len(reads) != c.want {
			t.Errorf("%s: %d reads of events, want %d: %q", c.name, len(reads), c.want, reads)
		}
	}
}

// What our own account wrote last and now differs, somebody has written without a record; the same person is told by the client
// that they sign in through.
func TestOurOwnWritesAreNobodysDrift(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(recording))
	ada := w.person("ada")
	by := func() drift.Writer {
		t.Helper()
		found, err := w.pass(reconcile.Drift, realm(recording)).Run(context.Background())
		if err != nil || len(found.Changes) != 1 {
			t.Fatalf("%v\n%s", err, text(found))
		}
		return found.Changes[0].By
	}
	ada.Edit(w.at("/roles/auditor"), describe)
	if got := by().Name; got != "ada" {
		t.Errorf("by %q, want ada", got)
	}
	w.settled(realm(recording))
	w.admin.Edit(w.at("/roles/auditor"), describe) // as the account that the passes sign in with
	if got := by(); got != (drift.Writer{}) {
		t.Errorf("by %v, want nobody", got)
	}
	id := w.admin.Create("/admin/realms/master/clients", map[string]any{"clientId": w.name, "publicClient": true, "directAccessGrantsEnabled": true})
	t.Cleanup(func() { w.must(http.MethodDelete, "/admin/realms/master/clients/"+id, nil) })
	console := w.admin.As("master", w.name, w.server.User, w.server.Password)
	console.Edit(w.at("/roles/auditor"), func(r map[string]any) { r["description"] = "by hand again" })
	if got := by(); got.Name != w.server.User || got.Realm != "master" {
		t.Errorf("by %v, want %s of master", got, w.server.User)
	}
	ada.Do(http.MethodDelete, w.at("/roles/auditor"), nil)
	w.admin.Do(http.MethodPost, w.at("/roles"), map[string]any{"name": "auditor"})
	if got := by(); got != (drift.Writer{}) {
		t.Errorf("by %v, want nobody: we made it anew", got)
	}
}

// Keycloak writes nothing down of who writes a text or a client profile, and whoever wrote the realm before wasn't it.
func TestNobodyIsBlamedForWhatIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	manifest := realm("    adminEventsEnabled: true\n    localizationTexts: {de: {hello: Hallo}}\n")
	w.settled(manifest)
	w.person("ada").Edit(w.at(""), func(r map[string]any) { r["displayNameHtml"] = "not declared" })
	w.must(http.MethodPost, w.at("/localization/de"), map[string]any{"hello": "Moin"})
	found := w.plan(manifest)
	if len(found.Changes) != 1 || found.Changes[0].By != (drift.Writer{}) || found.Says != "1 drifted: realm (localizationTexts.de.hello)" {
		t.Errorf("%s", text(found))
	}
}

func TestAMissingRightToSeeEventsIsSaidInTheReportAlone(t *testing.T) {
	l := newLesser(t)
	recorded := strings.Replace(rights, "    displayName: Acme\n", "    displayName: Acme\n    adminEventsEnabled: true\n", 1)
	l.settled(recorded)
	l.admin.Edit(l.at("/roles/auditor"), describe)
	l.admin.Edit(l.at("/clients/"+l.clientID("portal")), describe)
	l.admin.Edit(l.at("/clients/"+l.clientID("portal")), func(c map[string]any) { c["name"] = "Door" })
	for _, c := range []struct {
		roles  []string
		mode   reconcile.Mode
		notes  []string
		says   string
		writer string
	}{
		{views, reconcile.Drift, []string{"who changed what isn't told: give the account the role view-events"}, "2 drifted: clients/portal (name), roles/auditor (description)", ""},
		// the account sees no user of master, and so no name
		{append([]string{"view-events"}, views...), reconcile.Drift, nil, "2 drifted: clients/portal (name), roles/auditor (description); by user ", "by user "},
		{append([]string{"manage-clients", "manage-realm"}, views...), reconcile.Apply, []string{"who changed what isn't told: give the account the role view-events"}, "8 objects as declared", ""},
	} {
		l.become(c.roles...)
		found, err := l.run(c.mode, recorded)
		if err != nil {
			t.Errorf("%v: %v", c.roles, err)
		}
		if diff := cmp.Diff(c.notes, found.Notes); diff != "" {
			t.Errorf("%v: notes (-want +got):\n%s", c.roles, diff)
		}
		if !strings.HasPrefix(found.Says, c.says) {
			t.Errorf("%v: says %q, want %q", c.roles, found.Says, c.says)
		}
		if got := found.Changes[0].By.String(); !strings.HasPrefix(got, c.writer) || (got == "") != (c.writer == "") {
			t.Errorf("%v: %q, want %q", c.roles, got, c.writer)
		}
	}
}
