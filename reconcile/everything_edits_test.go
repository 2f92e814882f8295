package reconcile_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// realmEdit is what somebody does to a realm with everything in it, by requests of the admin API.
type realmEdit struct {
	name   string
	edit   func(w *world)
	finds  []string // the changes that take it back, as ops has them
	writes []string // the requests that it takes: methods, and paths below the realm with ids as *
}

func lines(of ...string) []string { return of }

// with sets fields of an object at a path.
func with(path func(w *world) string, fields map[string]any) func(w *world) {
	return func(w *world) {
		w.admin.Edit(path(w), func(o map[string]any) {
			for name, v := range fields {
				at, last := o, name
				if outer, inner, nested := strings.Cut(name, "/"); nested {
					at, last = o[outer].(map[string]any), inner
				}
				if at[last] = v; v == nil {
					delete(at, last)
				}
			}
		})
	}
}

// send is one request that has to succeed.
func send(method string, path func(w *world) string, body any) func(w *world) {
	return func(w *world) { w.must(method, path(w), body) }
}

func place(path string) func(*world) string {
	return func(w *world) string { return w.at(strings.ReplaceAll(path, "REALM", w.name)) }
}

func ofClient(name, path string) func(*world) string {
	return func(w *world) string { return w.below(name, path) }
}

func ofListed(list, name, path string) func(*world) string {
	return func(w *world) string { return w.at("/" + list + "/" + w.id(list, name) + path) }
}

func ofUser(name, path string) func(*world) string {
	return func(w *world) string { return w.at("/users/" + w.userID(name) + path) }
}

func ofComponent(name string) func(*world) string {
	return func(w *world) string { return w.component(name) }
}

func ofOrganization(path string) func(*world) string {
	return func(w *world) string { return w.organization(path) }
}

func ofGuarded(list, name string) func(*world) string {
	return func(w *world) string { return w.guarding("guard", list, name) }
}

func ofFlow(alias string) func(*world) string {
	return func(w *world) string { return w.at("/authentication/flows/" + w.flowID(alias)) }
}

// ofNamed is where something stands in a list of which the server tells nothing but all of it.
func ofNamed(list func(*world) string, name, path string) func(*world) string {
	return func(w *world) string {
		at, query, _ := strings.Cut(list(w), "?")
		if query != "" {
			query = "?" + query
		}
		for _, o := range w.admin.Get(at + query).([]any) {
			if o := o.(map[string]any); o["name"] == name {
				return at + "/" + o["id"].(string) + path
			}
		}
		w.t.Fatalf("no %s in %s", name, at)
		return ""
	}
}

func ofOrganizationGroup(name, path string) func(*world) string {
	return ofNamed(ofOrganization("/groups"), name, path)
}

// linked are links to roles, by their paths; {NAME} is the id of a client.
func (w *world) linked(paths ...string) []any {
	var links []any
	for _, path := range paths {
		before, rest, found := strings.Cut(path, "{")
		if name, after, _ := strings.Cut(rest, "}"); found {
			path = before + w.clientID(name) + after
		}
		links = append(links, w.role(path))
	}
	return links
}

// link adds or removes links to roles.
func link(method string, path func(*world) string, roles ...string) func(w *world) {
	return func(w *world) { w.must(method, path(w), w.linked(roles...)) }
}

// entryOf changes the entry of a name in a list of a document.
func entryOf(document, list, name string, change func(map[string]any)) func(w *world) {
	return func(w *world) {
		w.admin.Edit(w.at(document), func(d map[string]any) { change(entry(d, list, name)) })
	}
}

// config is what changes one key in the config of an object; of components the values are lists.
func config(key string, value any) map[string]any { return map[string]any{"config/" + key: value} }

const (
	richLDAP    = "components/org.keycloak.storage.UserStorageProvider:ldap:corp"
	richMappers = richLDAP + "/components/org.keycloak.storage.ldap.mappers.LDAPStorageMapper:"
	richKeys    = "components/org.keycloak.keys.KeyProvider:"
	richSAML    = "https://sp.rich.example/metadata"
	authz       = "/clients/*/authz/resource-server"
	executions  = "/authentication/flows/rich%20forms/executions"
)

// everyEdit is edits of every kind, in batches of such as don't touch each other.
var everyEdit = [][]realmEdit{changedByHand, linkedByHand, deletedByHand, addedByHand}

var changedByHand = []realmEdit{
	{"lifespan of tokens", with(place(""), map[string]any{"accessTokenLifespan": 9999}),
		lines("update realm accessTokenLifespan"), lines("PUT ")},
	{"description of a client scope", with(ofListed("client-scopes", "orders", ""), map[string]any{"description": "Evil"}),
		lines("update clientScopes/orders description"), lines("PUT /client-scopes/*")},
	{"redirect URI more", func(w *world) {
		w.admin.Edit(w.below("portal", ""), func(c map[string]any) {
			c["redirectUris"] = append(c["redirectUris"].([]any), "https://evil.example/*")
		})
	}, lines("update clients/portal redirectUris"), lines("PUT /clients/*")},
	{"web origin less", with(ofClient("spa", ""), map[string]any{"webOrigins": []any{}}),
		lines("update clients/spa webOrigins"), lines("PUT /clients/*")},
	{"secret of a client", with(ofClient("api", ""), map[string]any{"secret": "stolen"}),
		lines("update clients/api secret"), lines("PUT /clients/*")},
	{"assertions no longer signed", with(ofClient(richSAML, ""), map[string]any{"attributes/saml.assertion.signature": "false"}),
		lines("update clients/https%3A%2F%2Fsp.rich.example%2Fmetadata attributes.saml.assertion.signature"), lines("PUT /clients/*")},
	{"description of a role", with(place("/roles/reader"), map[string]any{"description": "Writes"}),
		lines("update roles/reader description"), lines("PUT /roles-by-id/*")},
	{"attribute of a client's role", with(ofClient("portal", "/roles/owner"), map[string]any{"attributes": map[string]any{"level": []string{"9"}}}),
		lines("update clients/portal/roles/owner attributes.level"), lines("PUT /roles-by-id/*")},
	{"mapper of a client", func(w *world) {
		m := w.mapper("portal", "audience")
		m["config"].(map[string]any)["included.client.audience"] = "spa"
		w.must(http.MethodPut, w.below("portal", "/protocol-mappers/models/"+m["id"].(string)), m)
	}, lines("update clients/portal/protocolMappers/audience config.included.client.audience"), lines("PUT /clients/*/protocol-mappers/models/*")},
	{"identity provider no longer trusted", with(place(brokers+"/hub"), map[string]any{"trustEmail": false}),
		lines("update identityProviders/hub trustEmail"), lines("PUT /identity-provider/instances/hub")},
	{"role that a provider's users get", func(w *world) { with(at(w.providerMapper("role")), config("role", "writer"))(w) },
		lines("update identityProviders/hub/identityProviderMappers/role config.role"), lines("PUT /identity-provider/instances/hub/mappers/*")},
	{"description of an organization", with(ofOrganization(""), map[string]any{"description": "The last"}),
		lines("update organizations/acme description"), lines("PUT /organizations/*")},
	{"attribute of an organization's group", with(ofOrganizationGroup("sales", ""), map[string]any{"attributes": map[string]any{"floor": []string{"9"}}}),
		lines("update organizations/acme/groups/sales attributes.floor"), lines("PUT /organizations/*/groups/*")},
	{"attribute of a group", with(ofListed("groups", "/staff", ""), map[string]any{"attributes": map[string]any{"site": []string{"x"}}}),
		lines("update groups/staff attributes.site"), lines("PUT /groups/*")},
	{"priority of a key", with(ofComponent("hmac-rich"), config("priority", []string{"1"})),
		lines("update " + richKeys + "hmac-generated:hmac-rich config.priority"), lines("PUT /components/*")},
	{"place of a federation's users", with(ofComponent("corp"), config("usersDn", []string{"dc=evil"})),
		lines("update " + richLDAP + " config.usersDn"), lines("PUT /components/*")},
	{"mapper of a federation", with(ofComponent("teams"), config("mode", []string{"LDAP_ONLY"})),
		lines("update " + richMappers + "group-ldap-mapper:teams config.mode"), lines("PUT /components/*")},
	{"required action moved and configured", with(place("/authentication/required-actions/CONFIGURE_TOTP"), map[string]any{"priority": 1, "config/max_auth_age": "9"}),
		lines("update requiredActions/CONFIGURE_TOTP config.max_auth_age,priority"), lines("PUT /authentication/required-actions/CONFIGURE_TOTP")},
	{"description of a client profile", entryOf("/client-policies/profiles", "profiles", "strict", func(p map[string]any) { p["description"] = "Lax" }),
		lines("update clientProfiles/strict description"), lines("PUT /client-policies/profiles")},
	{"client policy switched off", entryOf("/client-policies/policies", "policies", "partners", func(p map[string]any) { p["enabled"] = false }),
		lines("update clientPolicies/partners enabled"), lines("PUT /client-policies/policies")},
	{"workflow switched off", with(ofNamed(place("/workflows"), "welcome", ""), map[string]any{"enabled": false}),
		lines("update workflows/welcome enabled"), lines("PUT /workflows/*")},
	{"name of a user", with(ofUser("ann", ""), map[string]any{"lastName": "Else"}),
		lines("update users/ann lastName"), lines("PUT /users/*")},
	{"name of a federated identity", func(w *world) {
		w.must(http.MethodDelete, w.at("/users/"+w.userID("ann")+"/federated-identity/hub"), nil)
		w.must(http.MethodPost, w.at("/users/"+w.userID("ann")+"/federated-identity/hub"), map[string]any{"userId": "17", "userName": "eve"})
	}, lines("update users/ann/federatedIdentities/hub userName"), lines("DELETE /users/*/federated-identity/hub", "POST /users/*/federated-identity/hub")},
	{"authorization no longer enforced", with(ofClient("guard", "/authz/resource-server"), map[string]any{"policyEnforcementMode": "DISABLED"}),
		lines("update clients/guard/authorizationSettings policyEnforcementMode"), lines("PUT " + authz)},
	{"name of a scope of authorization", with(ofGuarded("scope", "view"), map[string]any{"displayName": "Look"}),
		lines("update clients/guard/scopes/view displayName"), lines("PUT " + authz + "/scope/*")},
	{"URI of a resource less", with(ofGuarded("resource", "doc"), map[string]any{"uris": []string{"/doc"}}),
		lines("update clients/guard/resources/doc uris"), lines("PUT " + authz + "/resource/*")},
	{"hour and logic of a policy", with(ofGuarded("policy", "hours"), map[string]any{"logic": "NEGATIVE", "config/hour": "5"}),
		lines("update clients/guard/policies/hours config.hour,logic"), lines("PUT " + authz + "/policy/*")},
	{"requirement of an execution", func(w *world) {
		w.editExecution("rich forms", "Username Password Form", map[string]any{"requirement": "ALTERNATIVE", "priority": 10})
	}, lines("update authenticationFlows/rich%20forms authenticationExecutions.auth-username-password-form.requirement"), lines("PUT " + executions)},
	{"configuration of an execution", func(w *world) {
		with(at(w.at(w.withFlowIDs("/authentication/config/{config:rich browser}"))), config("defaultProvider", "evil"))(w)
	}, lines("update authenticatorConfig/to%20hub config.defaultProvider"), lines("PUT /authentication/config/*")},
	{"description of a flow", with(ofFlow("rich direct"), map[string]any{"description": "Theirs"}),
		lines("update authenticationFlows/rich%20direct description"), lines("PUT /authentication/flows/*")},
}

func at(path string) func(*world) string { return func(*world) string { return path } }

var linkedByHand = []realmEdit{
	{"attribute of the realm less", with(place(""), map[string]any{"attributes/team": nil}),
		lines("update realm attributes.team"), lines("PUT ")},
	{"composite less", link(http.MethodDelete, place("/roles/writer/composites"), "/roles/reader"),
		lines("update roles/writer/composites composites.realm"), lines("POST /roles-by-id/*/composites")},
	{"composite of everybody more", link(http.MethodPost, place("/roles/default-roles-REALM/composites"), "/roles/uma_authorization"),
		lines("update roles/default-roles-REALM/composites composites.realm"), lines("DELETE /roles-by-id/*/composites")},
	{"composite of a client's role less", link(http.MethodDelete, ofClient("portal", "/roles/owner/composites"), "/clients/{portal}/roles/viewer"),
		lines("update clients/portal/roles/owner/composites composites.client.portal"), lines("POST /roles-by-id/*/composites")},
	{"role less that a client may pass on", link(http.MethodDelete, ofClient("portal", "/scope-mappings/realm"), "/roles/reader"),
		lines("update clients/portal/scopeMappings scopeMappings.realm"), lines("POST /clients/*/scope-mappings/realm")},
	{"role more that a client scope may pass on", link(http.MethodPost, ofListed("client-scopes", "orders", "/scope-mappings/realm"), "/roles/reader"),
		lines("update clientScopes/orders/scopeMappings scopeMappings.realm"), lines("DELETE /client-scopes/*/scope-mappings/realm")},
	{"role of a group more", link(http.MethodPost, ofListed("groups", "/staff", "/role-mappings/realm"), "/roles/writer"),
		lines("update groups/staff/realmRoles realmRoles"), lines("DELETE /groups/*/role-mappings/realm")},
	{"role of a client that a group had", func(w *world) {
		link(http.MethodDelete, ofListed("groups", "/staff", "/role-mappings/clients/"+w.clientID("portal")), "/clients/{portal}/roles/viewer")(w)
	}, lines("update groups/staff/clientRoles clientRoles.portal"), lines("POST /groups/*/role-mappings/clients/*")},
	{"role of a user less", link(http.MethodDelete, ofUser("ann", "/role-mappings/realm"), "/roles/writer"),
		lines("update users/ann/realmRoles realmRoles"), lines("POST /users/*/role-mappings/realm")},
	{"role of a service account more", func(w *world) {
		link(http.MethodPost, ofUser("service-account-portal", "/role-mappings/clients/"+w.clientID("realm-management")), "/clients/{realm-management}/roles/manage-users")(w)
	}, lines("update users/service-account-portal/clientRoles clientRoles.realm-management"), lines("DELETE /users/*/role-mappings/clients/*")},
	{"group of a user less", func(w *world) {
		w.must(http.MethodDelete, w.at("/users/"+w.userID("ann")+"/groups/"+w.id("groups", "/guests")), nil)
	},
		lines("update users/ann/memberships groups"), lines("PUT /users/*/groups/*")},
	{"default scope of a client less", func(w *world) {
		w.must(http.MethodDelete, w.below("portal", "/default-client-scopes/"+w.id("client-scopes", "orders")), nil)
	}, lines("update clients/portal/defaultClientScopes defaultClientScopes"), lines("PUT /clients/*/default-client-scopes/*")},
	{"optional scope of a client more", func(w *world) {
		w.must(http.MethodPut, w.below("portal", "/optional-client-scopes/"+w.id("client-scopes", "address")), nil)
	}, lines("update clients/portal/optionalClientScopes optionalClientScopes"), lines("DELETE /clients/*/optional-client-scopes/*")},
	{"default scope of the realm more", func(w *world) {
		w.must(http.MethodPut, w.at("/default-default-client-scopes/"+w.id("client-scopes", "email")), nil)
	},
		lines("update defaultDefaultClientScopes defaultDefaultClientScopes"), lines("DELETE /default-default-client-scopes/*")},
	{"optional scope of the realm less", func(w *world) {
		w.must(http.MethodDelete, w.at("/default-optional-client-scopes/"+w.id("client-scopes", "phone")), nil)
	},
		lines("update defaultOptionalClientScopes defaultOptionalClientScopes"), lines("PUT /default-optional-client-scopes/*")},
	{"default group less", func(w *world) { w.must(http.MethodDelete, w.at("/default-groups/"+w.id("groups", "/guests")), nil) },
		lines("update defaultGroups defaultGroups"), lines("PUT /default-groups/*")},
	{"identity provider of an organization less", send(http.MethodDelete, ofOrganization("/identity-providers/search"), nil),
		lines("update organizations/acme identityProviders"), lines("POST /organizations/*/identity-providers")},
	{"group of a member less", func(w *world) {
		w.must(http.MethodDelete, ofOrganizationGroup("sales", "/members/"+w.userID("ann"))(w), nil)
	}, lines("update organizations/acme/members/ann/memberships groups"), lines("PUT /organizations/*/groups/*/members/*")},
	{"member of an organization less", func(w *world) { w.must(http.MethodDelete, w.organization("/members/"+w.userID("cyd")), nil) },
		lines("create organizations/acme/members/cyd"), lines("POST /organizations/*/members")},
	{"role of an organization's group more", link(http.MethodPost, ofOrganizationGroup("sales", "/role-mappings/realm"), "/roles/writer"),
		lines("update organizations/acme/groups/sales/realmRoles realmRoles"), lines("DELETE /organizations/*/groups/*/role-mappings/realm")},
	{"executor less", entryOf("/client-policies/profiles", "profiles", "strict", func(p map[string]any) { p["executors"] = p["executors"].([]any)[:1] }),
		lines("update clientProfiles/strict executors"), lines("PUT /client-policies/profiles")},
	{"condition changed", entryOf("/client-policies/policies", "policies", "partners", func(p map[string]any) {
		p["conditions"] = []any{map[string]any{"condition": "client-roles", "configuration": map[string]any{"roles": []string{"other"}}}}
	}), lines("update clientPolicies/partners conditions"), lines("PUT /client-policies/policies")},
	{"attribute of a user", func(w *world) {
		w.admin.Edit(w.at("/users/"+w.userID("ann")), func(u map[string]any) { u["attributes"] = map[string]any{"phone": []string{"9"}} })
	}, lines("update users/ann attributes.phone"), lines("PUT /users/*")},
	{"scope of a resource less", with(ofGuarded("resource", "doc"), map[string]any{"scopes": []any{map[string]any{"name": "edit"}}}),
		lines("update clients/guard/resources/doc scopes"), lines("PUT " + authz + "/resource/*")},
	{"permission without its policy", with(ofGuarded("policy", "doc permission"), config("applyPolicies", "[]")),
		lines("update clients/guard/policies/doc%20permission config.applyPolicies"), lines("PUT " + authz + "/policy/*")},
	{"order of executions", func(w *world) {
		w.editExecution("rich second", "OTP Form", map[string]any{"requirement": "ALTERNATIVE", "priority": 40})
	}, lines("update authenticationFlows/rich%20second authenticationExecutions.auth-otp-form.priority,authenticationExecutions.order"), lines("PUT /authentication/flows/rich%20second/executions")},
	{"order of a workflow's steps", func(w *world) {
		w.admin.Edit(ofNamed(place("/workflows"), "leave", "")(w), func(f map[string]any) { slices.Reverse(f["steps"].([]any)) })
	}, lines("update workflows/leave steps"), lines("PUT /workflows/*")},
	{"flow of a client", func(w *world) {
		w.admin.Edit(w.below("portal", ""), func(c map[string]any) {
			c["authenticationFlowBindingOverrides"] = map[string]any{"browser": w.flowID("browser")}
		})
	}, lines("update clients/portal authenticationFlowBindingOverrides.browser"), lines("PUT /clients/*")},
}

var deletedByHand = []realmEdit{
	{"texts of a locale", func(w *world) { w.must(http.MethodDelete, w.at("/localization/en"), nil) },
		lines("update realm localizationTexts.en.hello"), lines("POST /localization/en")},
	{"role", send(http.MethodDelete, place("/roles/"+url.PathEscape("a/b 100%")), nil),
		lines("create roles/a%2Fb%20100%25"), lines("POST /roles")},
	{"client, with its scopes", send(http.MethodDelete, ofClient("batch", ""), nil),
		lines("create clients/batch", "create clients/batch/defaultClientScopes", "create clients/batch/optionalClientScopes"), lines("POST /clients")},
	{"client scope", send(http.MethodDelete, ofListed("client-scopes", "spare", ""), nil),
		lines("create clientScopes/spare"), lines("POST /client-scopes")},
	{"mapper of a client", func(w *world) {
		w.must(http.MethodDelete, w.below("portal", "/protocol-mappers/models/"+w.mapper("portal", "audience")["id"].(string)), nil)
	}, lines("create clients/portal/protocolMappers/audience"), lines("POST /clients/*/protocol-mappers/models")},
	{"identity provider, with a link of a user and of an organization", send(http.MethodDelete, place(brokers+"/search"), nil),
		lines("create identityProviders/search", "create users/ann/federatedIdentities/search", "update organizations/acme identityProviders"),
		lines("POST /identity-provider/instances", "POST /organizations/*/identity-providers", "POST /users/*/federated-identity/search",
			"PUT /clients/*")}, // our ledger, which remembers when a secret that can't be read back was written
	{"mapper of an identity provider", func(w *world) { w.must(http.MethodDelete, w.providerMapper("role"), nil) },
		lines("create identityProviders/hub/identityProviderMappers/role"), lines("POST /identity-provider/instances/hub/mappers")},
	{"organization", send(http.MethodDelete, ofNamed(place("/organizations"), "Empty", ""), nil),
		lines("create organizations/empty"), lines("POST /organizations")},
	{"group, with who is in it and who comes into it", send(http.MethodDelete, ofListed("groups", "/guests", ""), nil),
		lines("create groups/guests", "update users/ann/memberships groups", "update defaultGroups defaultGroups"),
		lines("POST /groups", "PUT /default-groups/*", "PUT /users/*/groups/*")},
	{"group of an organization, with who is in it", func(w *world) {
		w.must(http.MethodDelete, ofOrganizationGroup("sales", "")(w), nil)
	}, lines("create organizations/acme/groups/sales", "create organizations/acme/groups/sales/groups/field", "create organizations/acme/groups/sales/realmRoles",
		"create organizations/acme/groups/sales/clientRoles", "update organizations/acme/members/ann/memberships groups", "update organizations/acme/members/bob/memberships groups"),
		lines("POST /organizations/*/groups", "POST /organizations/*/groups/*/children", "POST /organizations/*/groups/*/role-mappings/realm",
			"POST /organizations/*/groups/*/role-mappings/clients/*", "PUT /organizations/*/groups/*/members/*", "PUT /organizations/*/groups/*/members/*")},
	{"key", send(http.MethodDelete, ofComponent("aes-rich"), nil), lines("create " + richKeys + "aes-generated:aes-rich"), lines("POST /components")},
	{"mapper of a federation", send(http.MethodDelete, ofComponent("teams"), nil),
		lines("create " + richMappers + "group-ldap-mapper:teams"), lines("POST /components")},
	{"federation", send(http.MethodDelete, ofComponent("tickets"), nil),
		lines("create components/org.keycloak.storage.UserStorageProvider:kerberos:tickets"), lines("POST /components")},
	{"policy of client registration", send(http.MethodDelete, ofComponent("Few"), nil),
		lines("create components/org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy:max-clients:Few:authenticated"), lines("POST /components")},
	{"required action unregistered", send(http.MethodDelete, place("/authentication/required-actions/VERIFY_EMAIL"), nil),
		lines("create requiredActions/VERIFY_EMAIL"), lines("POST /authentication/register-required-action", "PUT /authentication/required-actions/VERIFY_EMAIL")},
	{"client policy", send(http.MethodPut, place("/client-policies/policies"), map[string]any{"policies": []any{}}),
		lines("create clientPolicies/partners"), lines("PUT /client-policies/policies")},
	{"workflow", send(http.MethodDelete, ofNamed(place("/workflows"), "leave", ""), nil),
		lines("create workflows/leave"), lines("POST /workflows")},
	{"user", send(http.MethodDelete, ofUser("cyd", ""), nil),
		lines("create users/cyd", "create users/cyd/memberships", "create users/cyd/realmRoles", "create organizations/acme/members/cyd"), lines("POST /users", "POST /users/*/role-mappings/realm", "POST /organizations/*/members")},
	{"policy of authorization, which another applied", send(http.MethodDelete, ofGuarded("policy", "mails"), nil),
		lines("create clients/guard/policies/mails", "update clients/guard/policies/edit%20permission config.applyPolicies"), lines("POST "+authz+"/policy", "PUT "+authz+"/policy/*")},
	{"resource", send(http.MethodDelete, ofGuarded("resource", "page"), nil),
		lines("create clients/guard/resources/page"), lines("POST " + authz + "/resource")},
	{"configuration of an execution", func(w *world) {
		w.must(http.MethodDelete, w.at(w.withFlowIDs("/authentication/config/{config:rich browser}")), nil)
	}, lines("create authenticatorConfig/to%20hub", "update authenticationFlows/rich%20browser authenticationExecutions.identity-provider-redirector.authenticatorConfig"),
		lines("POST /authentication/executions/*/config")},
	{"execution", func(w *world) {
		w.must(http.MethodDelete, w.at("/authentication/executions/"+w.executionIDs("rich second")["OTP Form"]), nil)
	}, lines("update authenticationFlows/rich%20second authenticationExecutions.auth-otp-form.priority,authenticationExecutions.auth-otp-form.requirement,authenticationExecutions.order"),
		lines("POST /authentication/flows/rich%20second/executions/execution", "PUT /authentication/flows/rich%20second/executions")},
}

var addedByHand = []realmEdit{
	{"flow of the realm", with(place(""), map[string]any{"browserFlow": "browser"}),
		lines("update realm browserFlow"), lines("PUT ")},
	{"mapper of a client", send(http.MethodPost, ofClient("portal", "/protocol-mappers/models"), evilMapper),
		lines("delete clients/portal/protocolMappers/evil"), lines("DELETE /clients/*/protocol-mappers/models/*")},
	{"mapper of a client scope", send(http.MethodPost, ofListed("client-scopes", "orders", "/protocol-mappers/models"), evilMapper),
		lines("delete clientScopes/orders/protocolMappers/evil"), lines("DELETE /client-scopes/*/protocol-mappers/models/*")},
	{"mapper of an identity provider", send(http.MethodPost, place(brokers+"/hub/mappers"), map[string]any{"name": "evil", "identityProviderAlias": "hub",
		"identityProviderMapper": "hardcoded-role-idp-mapper", "config": map[string]any{"role": "writer"}}),
		lines("delete identityProviders/hub/identityProviderMappers/evil"), lines("DELETE /identity-provider/instances/hub/mappers/*")},
	{"mapper of a federation", func(w *world) {
		corp := w.admin.Get(w.component("corp")).(map[string]any)
		w.admin.Create(w.at("/components"), map[string]any{"name": "evil", "parentId": corp["id"], "providerId": "user-attribute-ldap-mapper",
			"providerType": "org.keycloak.storage.ldap.mappers.LDAPStorageMapper", "config": map[string]any{"ldap.attribute": []string{"cn"}, "user.model.attribute": []string{"x"}}})
	}, lines("delete " + richMappers + "user-attribute-ldap-mapper:evil"), lines("DELETE /components/*")},
	{"federated identity", send(http.MethodPost, ofUser("ann", "/federated-identity/partner"), map[string]any{"userId": "19", "userName": "eve"}),
		lines("delete users/ann/federatedIdentities/partner"), lines("DELETE /users/*/federated-identity/partner")},
	{"member of an organization", func(w *world) { w.must(http.MethodPost, w.organization("/members"), w.userID("dot")) },
		lines("delete organizations/acme/members/dot"), lines("DELETE /organizations/*/members/*")},
	{"domain of an organization", func(w *world) {
		w.admin.Edit(w.organization(""), func(o map[string]any) {
			o["domains"] = append(o["domains"].([]any), map[string]any{"name": "evil.example"})
		})
	}, lines("update organizations/acme domains"), lines("PUT /organizations/*")},
	{"scope of authorization", send(http.MethodPost, ofClient("guard", "/authz/resource-server/scope"), map[string]any{"name": "evil"}),
		lines("delete clients/guard/scopes/evil"), lines("DELETE " + authz + "/scope/*")},
	{"resource", send(http.MethodPost, ofClient("guard", "/authz/resource-server/resource"), map[string]any{"name": "evil"}),
		lines("delete clients/guard/resources/evil"), lines("DELETE " + authz + "/resource/*")},
	{"permission", send(http.MethodPost, ofClient("guard", "/authz/resource-server/policy"), map[string]any{"name": "evil", "type": "scope", "config": map[string]any{"scopes": `["view"]`}}),
		lines("delete clients/guard/policies/evil"), lines("DELETE " + authz + "/policy/*")},
	{"execution", send(http.MethodPost, place("/authentication/flows/rich%20second/executions/execution"), map[string]any{"provider": "webauthn-authenticator"}),
		lines("update authenticationFlows/rich%20second authenticationExecutions.order"), lines("DELETE /authentication/executions/*")},
	{"group of a user", func(w *world) {
		w.must(http.MethodPut, w.at("/users/"+w.userID("cyd")+"/groups/"+w.id("groups", "/guests")), nil)
	},
		lines("update users/cyd/memberships groups"), lines("DELETE /users/*/groups/*")},
	{"attribute of the user profile", func(w *world) {
		w.admin.Edit(w.at("/users/profile"), func(p map[string]any) {
			p["attributes"] = append(p["attributes"].([]any), map[string]any{"name": "evil"})
		})
	}, lines("update components/org.keycloak.userprofile.UserProfileProvider:declarative-user-profile config.kc.user.profile.config"), lines("PUT /components/*")},
}

var evilMapper = map[string]any{"name": "evil", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
	"config": map[string]any{"claim.name": "admin", "claim.value": "true"}}
