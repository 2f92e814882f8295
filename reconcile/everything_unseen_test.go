package reconcile_test

import (
	"net/http"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
)

// unseenEdit is an edit by hand that is no drift, and what an explanation says of it.
type unseenEdit struct {
	name     string
	edit     func(w *world)
	address  string
	field    string // "" for the object
	standing drift.Standing
	rule     string
}

func openList(list string) string {
	return "not declared, and owned by nobody, in " + list + ", which is an open list: left alone"
}

const (
	keycloaksOwn = "not declared, and Keycloak's own: it is never removed, and never a stranger"
	neverBack    = "Keycloak never gives it back: only a commit writes it again"
	theServers   = "What a manifest leaves out is the server's, and so is every key of an open map that it leaves out."
)

var unseenByRule = []unseenEdit{
	// Strangers in open lists.
	{"client", send(http.MethodPost, place("/clients"), map[string]any{"clientId": "theirs", "secret": "their own one"}),
		"clients/theirs", "", drift.LeftAlone, openList("clients")},
	{"role", send(http.MethodPost, place("/roles"), map[string]any{"name": "theirs"}), "roles/theirs", "", drift.LeftAlone, openList("roles")},
	{"role of a client", send(http.MethodPost, ofClient("portal", "/roles"), map[string]any{"name": "theirs"}),
		"clients/portal/roles/theirs", "", drift.LeftAlone, openList("clients/portal/roles")},
	{"client scope", send(http.MethodPost, place("/client-scopes"), map[string]any{"name": "theirs", "protocol": "openid-connect"}),
		"clientScopes/theirs", "", drift.LeftAlone, openList("clientScopes")},
	{"group", send(http.MethodPost, place("/groups"), map[string]any{"name": "theirs"}), "groups/theirs", "", drift.LeftAlone, openList("groups")},
	{"group in one of ours", send(http.MethodPost, ofListed("groups", "/staff", "/children"), map[string]any{"name": "theirs"}),
		"groups/staff/groups/theirs", "", drift.LeftAlone, openList("groups/staff/groups")},
	{"user", send(http.MethodPost, place("/users"), map[string]any{"username": "theirs"}), "users/theirs", "", drift.LeftAlone, openList("users")},
	{"identity provider", send(http.MethodPost, place(brokers), map[string]any{"alias": "theirs", "providerId": "oidc", "config": map[string]any{
		"clientId": "a", "clientSecret": "b", "authorizationUrl": "https://a.example", "tokenUrl": "https://a.example"}}),
		"identityProviders/theirs", "", drift.LeftAlone, openList("identityProviders")},
	{"organization", send(http.MethodPost, place("/organizations"), map[string]any{"name": "theirs", "domains": []any{map[string]any{"name": "their.example"}}}),
		"organizations/theirs", "", drift.LeftAlone, openList("organizations")},
	{"group of an organization", send(http.MethodPost, ofOrganization("/groups"), map[string]any{"name": "theirs"}),
		"organizations/acme/groups/theirs", "", drift.LeftAlone, openList("organizations/acme/groups")},
	{"flow", send(http.MethodPost, place("/authentication/flows"), map[string]any{"alias": "theirs", "providerId": "basic-flow", "topLevel": true, "builtIn": false}),
		"authenticationFlows/theirs", "", drift.LeftAlone, openList("authenticationFlows")},
	{"key", send(http.MethodPost, place("/components"), map[string]any{"name": "theirs", "providerId": "hmac-generated", "providerType": "org.keycloak.keys.KeyProvider", "config": map[string]any{"priority": []string{"5"}}}),
		"components/org.keycloak.keys.KeyProvider:hmac-generated:theirs", "", drift.LeftAlone, openList("components")},
	{"workflow", send(http.MethodPost, place("/workflows"), map[string]any{"name": "theirs", "on": "user-authenticated", "steps": []any{map[string]any{"uses": "disable-user", "after": "9d"}}}),
		"workflows/theirs", "", drift.LeftAlone, openList("workflows")},
	{"client profile", func(w *world) {
		w.admin.Edit(w.at("/client-policies/profiles"), func(d map[string]any) {
			d["profiles"] = append(d["profiles"].([]any), map[string]any{"name": "theirs"})
		})
	}, "clientProfiles/theirs", "", drift.LeftAlone, openList("clientProfiles")},
	{"client policy", func(w *world) {
		w.admin.Edit(w.at("/client-policies/policies"), func(d map[string]any) {
			d["policies"] = append(d["policies"].([]any), map[string]any{"name": "theirs"})
		})
	}, "clientPolicies/theirs", "", drift.LeftAlone, openList("clientPolicies")},

	// Lists in our objects that we don't declare.
	{"composite of a role", link(http.MethodPost, place("/roles/reader/composites"), "/roles/uma_authorization"),
		"roles/reader/composites", "", drift.LeftAlone, "not declared: left alone"},
	{"group of a user", func(w *world) {
		w.must(http.MethodPut, w.at("/users/"+w.userID("bob")+"/groups/"+w.id("groups", "/guests")), nil)
	},
		"users/bob/memberships", "", drift.LeftAlone, "not declared: left alone"},
	{"default scope of a client", func(w *world) {
		w.must(http.MethodPut, w.below("spa", "/default-client-scopes/"+w.id("client-scopes", "orders")), nil)
	}, "clients/spa/defaultClientScopes", "", drift.LeftAlone, "not declared: the list stays as it is"},
	{"member of an organization", func(w *world) { w.must(http.MethodPost, w.organizationOf("empty", "/members"), w.userID("dot")) },
		"organizations/empty/members/dot", "", drift.LeftAlone, openList("organizations/empty/members")},
	{"mapper of a client", send(http.MethodPost, ofClient("api", "/protocol-mappers/models"), evilMapper),
		"clients/api/protocolMappers/evil", "", drift.LeftAlone, openList("clients/api/protocolMappers")},

	// Fields and keys that we don't declare.
	{"setting of the realm", with(place(""), map[string]any{"ssoSessionMaxLifespan": 4321}), "realm", "ssoSessionMaxLifespan", drift.LeftAlone, theServers},
	{"description of a client", with(ofClient("spa", ""), map[string]any{"description": "Theirs"}), "clients/spa", "description", drift.LeftAlone, theServers},
	{"attribute of a client", with(ofClient("portal", ""), map[string]any{"attributes/theirs": "kept"}), "clients/portal", "attributes.theirs", drift.LeftAlone, theServers},
	{"attribute of the realm", with(place(""), map[string]any{"attributes/theirs": "kept"}), "realm", "attributes.theirs", drift.LeftAlone, theServers},
	{"text", send(http.MethodPost, place("/localization/de"), map[string]any{"theirs": "kept"}), "realm", "localizationTexts.de.theirs", drift.LeftAlone, theServers},
	{"roles of another client in a user's", func(w *world) {
		link(http.MethodPost, ofUser("ann", "/role-mappings/clients/"+w.clientID("account")), "/clients/{account}/roles/view-consent")(w)
	}, "users/ann/clientRoles", "clientRoles.account", drift.LeftAlone, theServers},

	// What Keycloak puts in by itself, or made by itself.
	{"mode of synchronization", with(place(brokers+"/search"), config("syncMode", "FORCE")),
		"identityProviders/search", "config.syncMode", drift.LeftAlone, "the server puts it in by itself"},
	{"role of Keycloak's", with(place("/roles/offline_access"), map[string]any{"description": "Theirs"}), "roles/offline_access", "", drift.LeftAlone, keycloaksOwn},
	{"client of Keycloak's", with(ofClient("account", ""), map[string]any{"description": "Theirs"}), "clients/account", "", drift.LeftAlone, keycloaksOwn},
	{"flow of Keycloak's", with(ofFlow("registration"), map[string]any{"description": "Theirs"}), "authenticationFlows/registration", "", drift.LeftAlone, keycloaksOwn},
	{"required action of Keycloak's", with(place("/authentication/required-actions/UPDATE_PROFILE"), map[string]any{"enabled": false}),
		"requiredActions/UPDATE_PROFILE", "", drift.LeftAlone, keycloaksOwn},
	{"mapper that older Keycloaks put in", send(http.MethodPost, ofClient("portal", "/protocol-mappers/models"), map[string]any{"name": "Client Host", "protocol": "openid-connect",
		"protocolMapper": "oidc-usersessionmodel-note-mapper", "config": map[string]any{"user.session.note": "clientHost", "claim.name": "clientHost"}}),
		"clients/portal/protocolMappers/Client%20Host", "", drift.LeftAlone, keycloaksOwn},

	// What can't be read back, what is sent once, and what has no order.
	{"password of the mail server", with(place(""), map[string]any{"smtpServer/password": "stolen"}), "realm", "smtpServer.password", drift.CantBeSeen, neverBack},
	{"secret of an identity provider", with(place(brokers+"/hub"), config("clientSecret", "stolen")), "identityProviders/hub", "config.clientSecret", drift.CantBeSeen, neverBack},
	{"password of a federation", with(ofComponent("corp"), config("bindCredential", []string{"stolen"})),
		"components/org.keycloak.storage.UserStorageProvider:ldap:corp", "config.bindCredential", drift.CantBeSeen, neverBack},
	{"password of a user", send(http.MethodPut, ofUser("ann", "/reset-password"), map[string]any{"type": "password", "value": "her own one"}),
		"users/ann", "credentials", drift.NotCompared, "sent when the object is made"},
	{"required action of a user, done", with(ofUser("ann", ""), map[string]any{"requiredActions": []string{}}),
		"users/ann", "requiredActions", drift.AsDeclared, "each element is written once"},
	{"order of locales", func(w *world) {
		w.admin.Edit(w.at(""), func(r map[string]any) { slices.Reverse(r["supportedLocales"].([]any)) })
	}, "realm", "supportedLocales", drift.AsDeclared, "A **set** is a list whose order doesn't count."},
}
