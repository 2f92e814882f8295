package reconcile_test

import (
	"strings"
	"testing"
)

var moreWalks = map[string][]step{
	"required credentials, as exports have them": {
		{"    requiredCredentials: [password]\n", "", `{"requiredCredentials":["password"]}`},
	},
	"required actions": {
		{"    requiredActions: [{alias: UPDATE_PASSWORD, enabled: false, defaultAction: true, priority: 7}]\n", "/authentication/required-actions/UPDATE_PASSWORD",
			`{"name":"Update Password","enabled":false,"defaultAction":true,"priority":7,"config":{}}`},
		{"    requiredActions: [{alias: UPDATE_PASSWORD, name: Change it, enabled: true, defaultAction: false, priority: 57, config: {max_auth_age: 100, free: x}}]\n", "/authentication/required-actions/UPDATE_PASSWORD",
			`{"name":"Change it","enabled":true,"defaultAction":false,"priority":57,"config":{"max_auth_age":"100","free":"x"}}`},
		{"    requiredActions: [{alias: UPDATE_PASSWORD, name: \"\", config: {max_auth_age: 200}}]\n", "/authentication/required-actions/UPDATE_PASSWORD",
			`{"enabled":true,"priority":57,"config":{"max_auth_age":"200","free":null}}`},
		{"    requiredActions: [{alias: UPDATE_PASSWORD}]\n", "/authentication/required-actions/UPDATE_PASSWORD", `{"priority":57,"config":{"max_auth_age":null}}`},
		{"    requiredActions: []\n", "/authentication/required-actions/UPDATE_PASSWORD", `{"providerId":"UPDATE_PASSWORD"}`},
	},
	"localization texts": {
		{"    localizationTexts: {de: {hello: Hallo, a.b: x, empty: \"\"}, pt-BR: {hello: Oi}}\n", "/localization/de", `{"hello":"Hallo","a.b":"x","empty":""}`},
		{"    localizationTexts: {de: {hello: Guten Tag, a.b: x, \"a/b c\": y}, pt-BR: {hello: Oi}}\n", "/localization/de", `{"hello":"Guten Tag","a.b":"x","a/b c":"y","empty":null}`},
		{"    displayName: Acme\n    localizationTexts: {de: {hello: \"\"}, fr: {hello: Salut}}\n", "/localization/de", `{"hello":"","a.b":null,"a/b c":null}`},
		{"    displayName: Acme\n    localizationTexts: {fr: {hello: Salut}}\n", "/localization/pt-BR", `{"hello":null}`},
		{"    displayName: Acme\n", "/localization/fr", `{"hello":null}`},
	},
	"client profiles and policies": {
		{"    clientProfiles: {profiles: [{name: p}]}\n", "/client-policies/profiles", `{"profiles":[{"name":"p"}]}`},
		{"    clientProfiles: {profiles: [{name: p, description: D, executors: [{executor: pkce-enforcer, configuration: {auto-configure: true}}, {executor: secure-session}]}, {name: q}]}\n", "/client-policies/profiles",
			`{"profiles":[{"name":"p","description":"D","executors":[{"executor":"pkce-enforcer","configuration":{"auto-configure":true}},{"executor":"secure-session","configuration":{}}]},{"name":"q"}]}`},
		{"    clientProfiles: {profiles: [{name: p, description: \"\", executors: [{executor: secure-session}, {executor: pkce-enforcer, configuration: {auto-configure: false}}]}, {name: q}]}\n", "/client-policies/profiles",
			`{"profiles":[{"name":"p","executors":[{"executor":"secure-session"},{"executor":"pkce-enforcer","configuration":{"auto-configure":false}}]},{"name":"q"}]}`},
		{"    clientProfiles: {profiles: [{name: p, executors: [{executor: secure-session, configuration: {}}]}]}\n    clientPolicies: {policies: [{name: po, enabled: true, conditions: [{condition: client-roles, configuration: {roles: [a]}}], profiles: [p, fapi-1-baseline]}]}\n", "/client-policies/policies",
			`{"policies":[{"name":"po","enabled":true,"conditions":[{"condition":"client-roles","configuration":{"roles":["a"]}}],"profiles":["p","fapi-1-baseline"]}]}`},
		{"    clientPolicies: {policies: [{name: po, description: D, enabled: false, conditions: [{condition: any-client}], profiles: [fapi-1-baseline]}]}\n    displayName: Acme\n", "/client-policies/policies",
			`{"policies":[{"name":"po","description":"D","enabled":false,"conditions":[{"condition":"any-client"}],"profiles":["fapi-1-baseline"]}]}`},
		{"    clientPolicies: {policies: [{name: po, enabled: null, description: null, profiles: null}]}\n", "/client-policies/policies", `{"policies":[{"name":"po","enabled":false,"profiles":[]}]}`},
		{"    clientPolicies: {policies: [{name: po, description: \"\", conditions: [], profiles: []}]}\n", "/client-policies/policies", `{"policies":[{"name":"po","conditions":[],"profiles":[]}]}`},
		{"    clientPolicies: {policies: []}\n", "/client-policies/policies", `{"policies":[]}`},
	},
	"user profile": {
		{profile(`{"attributes":[{"name":"username"},{"name":"email"},{"name":"phone","multivalued":true,"permissions":{"view":["admin"],"edit":["admin"]}}]}`), "/users/profile",
			`{"attributes":[{"name":"username"},{"name":"email"},{"name":"phone","multivalued":true,"permissions":{"view":["admin"]}}]}`},
		{profile(`{"unmanagedAttributePolicy":"ENABLED","attributes":[{"name":"username"},{"name":"email","required":{}}],"groups":[{"name":"g"}]}`), "/users/profile",
			`{"attributes":[{"name":"username"},{"name":"email","required":{}}],"groups":[{"name":"g"}],"unmanagedAttributePolicy":"ENABLED"}`},
		{"    displayName: none\n", "/users/profile", `{"attributes":[{"name":"username"},{"name":"email"},{"name":"firstName"},{"name":"lastName"}],"unmanagedAttributePolicy":null}`},
	},
	"key providers": {
		{component("org.keycloak.keys.KeyProvider", `{name: rsa-2026, providerId: rsa-generated, config: {priority: ["150"], keySize: ["2048"], privateKey: [x], certificate: [x]}}`), "/components?name=rsa-2026",
			`[{"providerId":"rsa-generated","config":{"priority":["150"],"keySize":["2048"]}}]`},
		{component("org.keycloak.keys.KeyProvider", `{name: rsa-2026, providerId: rsa-generated, config: {priority: ["90"], active: [false], algorithm: [PS256]}}`), "/components?name=rsa-2026",
			`[{"config":{"priority":["90"],"active":["false"],"algorithm":["PS256"],"keySize":null}}]`},
		{component("org.keycloak.keys.KeyProvider", `{name: rsa-2027, $was: [rsa-2026], providerId: rsa-generated, config: {priority: ["90"]}}`), "/components?name=rsa-2027", `[{"config":{"priority":["90"],"active":null}}]`},
		{component("org.keycloak.keys.KeyProvider", `{name: rsa-2027, providerId: rsa-generated}`), "/components?name=rsa-2027", `[{"name":"rsa-2027"}]`},
		{"    components: {}\n", "/components?name=rsa-2027", `[]`},
	},
	"client registration policies": {
		{component("org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy", `{name: Max Clients Limit, providerId: max-clients, subType: anonymous, config: {max-clients: ["5"]}}`), "/components?name=Max%20Clients%20Limit",
			`[{"subType":"anonymous","config":{"max-clients":["5"]}}]`},
		{component("org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy", `{name: Mine, providerId: allowed-protocol-mappers, subType: authenticated, config: {allowed-protocol-mapper-types: [oidc-full-name-mapper, saml-role-list-mapper]}}`), "/components?name=Mine",
			`[{"subType":"authenticated","providerId":"allowed-protocol-mappers"}]`},
		{component("org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy", `{name: Mine, providerId: allowed-protocol-mappers, subType: authenticated, config: {allowed-protocol-mapper-types: [oidc-full-name-mapper]}}`), "/components?name=Mine",
			`[{"config":{"allowed-protocol-mapper-types":["oidc-full-name-mapper"]}}]`},
		{"    components: {org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy: []}\n", "/components?name=Mine", `[]`},
	},
	"user federations": {
		{federation("", `bindCredential: [$(env:SECRET)], usersDn: ["ou=people,dc=acme,dc=example"]`), "/components?name=corp", `[{"providerId":"ldap","config":{"bindCredential":["**********"],"usersDn":["ou=people,dc=acme,dc=example"]}}]`},
		{federation("", `bindCredential: [$(env:SECRET)], usersDn: ["ou=staff,dc=acme,dc=example"], enabled: ["false"], customUserSearchFilter: ["(a=b)"]`), "/components?name=corp",
			`[{"config":{"bindCredential":["**********"],"usersDn":["ou=staff,dc=acme,dc=example"],"enabled":["false"],"customUserSearchFilter":["(a=b)"]}}]`},
		{federation("", `customUserSearchFilter: null, usersDn: ["ou=staff,dc=acme,dc=example"]`), "/components?name=corp", `[{"config":{"customUserSearchFilter":null}}]`},
		{federation("", `usersDn: ["ou=staff,dc=acme,dc=example"]`), "/components?name=corp", `[{"config":{"bindCredential":null,"enabled":null,"customUserSearchFilter":null}}]`},
		{"    components: {}\n", "/components?name=username", `[]`},
		{federation(ldapMapper("username", "uid"), `usersDn: ["ou=staff,dc=acme,dc=example"]`), "/components?name=username",
			`[{"name":"username","config":{"ldap.attribute":["uid"]}}]`},
		{federation(ldapMapper("username", "cn")+", "+ldapMapper("mail", "mail"), `usersDn: ["ou=staff,dc=acme,dc=example"]`), "/components?name=username", `[{"name":"username","config":{"ldap.attribute":["cn"]}}]`},
		{federation(ldapMapper("username", "cn")+", "+ldapMapper("mail", "mail"), `usersDn: ["ou=staff,dc=acme,dc=example"]`), "/components?name=email", `[]`}, // Keycloak's own, which isn't declared
		{federation(ldapMapper("mail", "mail"), `usersDn: ["ou=staff,dc=acme,dc=example"]`), "/components?name=username", `[]`},
		{component("org.keycloak.storage.UserStorageProvider", `{name: krb, providerId: kerberos, config: {kerberosRealm: [ACME], serverPrincipal: [HTTP/a], keyTab: [/k], allowPasswordAuthentication: ["false"]}}`), "/components?name=krb",
			`[{"providerId":"kerberos","config":{"kerberosRealm":["ACME"]}}]`},
	},
	"workflows": {
		{"    workflows: [{name: w, enabled: true, \"on\": user-created, steps: [{uses: notify-user, after: 1d, with: {subject: Hi, to: [b, a]}}, {uses: disable-user, after: 30d}]}]\n", "/workflows",
			`[{"name":"w","enabled":true,"on":"user-created","steps":[{"uses":"notify-user","after":"1d","with":{"subject":"Hi"}},{"uses":"disable-user","after":"30d"}]}]`},
		{"    workflows: [{name: w, enabled: false, \"on\": user-created, if: \"has-role(\\\"a\\\")\", steps: [{uses: disable-user, after: 30d}, {uses: notify-user, after: 2d, with: {subject: [Hi]}}]}]\n", "/workflows",
			`[{"name":"w","enabled":false,"if":"has-role(\"a\")","steps":[{"uses":"disable-user","after":"30d"},{"uses":"notify-user","after":"2d","with":{"subject":"Hi"}}]}]`},
		{"    workflows: [{name: v, $was: [w], if: \"\", schedule: {after: 1d, batch-size: 10}, concurrency: {restart-in-progress: \"true\"}, steps: [{uses: notify-user, after: 2d}]}]\n", "/workflows",
			`[{"name":"v","enabled":false,"if":"","schedule":{"after":"1d","batch-size":10},"concurrency":{"restart-in-progress":"true"},"steps":[{"uses":"notify-user","after":"2d","with":null}]}]`},
		{"    workflows: []\n", "/workflows", `[]`},
	},
	"organizations": {
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme}]\n", "/organizations?briefRepresentation=false", `[{"alias":"acme","name":"Acme","enabled":true}]`},
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme Inc, description: D, redirectUrl: \"https://acme.example\", enabled: false, attributes: {a: [\"1\", \"2\"], b: [x]}, domains: [{name: b.example, verified: true}, {name: acme.example}]}]\n", "/organizations?briefRepresentation=false",
			`[{"name":"Acme Inc","description":"D","redirectUrl":"https://acme.example","enabled":false,"attributes":{"b":["x"]}}]`},
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme Inc, enabled: null, description: null, attributes: {a: null, b: [x]}, domains: [{name: b.example, verified: true}]}]\n", "/organizations?briefRepresentation=false",
			`[{"enabled":true,"attributes":{"a":null,"b":["x"]}}]`},
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme Inc, description: \"\", domains: [{name: b.example}], attributes: {a: [\"3\"]}}]\n", "/organizations?briefRepresentation=false",
			`[{"description":"","redirectUrl":"https://acme.example","attributes":{"a":["3"],"b":null},"domains":[{"name":"b.example","verified":true}]}]`},
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme, redirectUrl: \"\", domains: []}]\n", "/organizations?briefRepresentation=false",
			`[{"redirectUrl":null,"domains":null,"attributes":{"a":null}}]`},
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme, identityProviders: [{alias: hub}]}, {alias: other, name: Other, domains: [{name: o.example}]}]\n    identityProviders: [{alias: hub, providerId: oidc}, {alias: spoke, providerId: oidc}]\n", "/organizations/{organizations:acme}/identity-providers", `[{"alias":"hub"}]`},
		{"    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme, identityProviders: []}, {alias: other, name: Other, identityProviders: [{alias: spoke}]}]\n    identityProviders: [{alias: hub, providerId: oidc}, {alias: spoke, providerId: oidc}]\n", "/identity-provider/instances/hub",
			`{"organizationId":null}`},
		{"    organizationsEnabled: true\n    organizations: []\n", "/organizations", `[]`},
	},
	"members of organizations": {
		{organization(`members: [{username: Ann}]`), "/organizations/{organizations:acme}/members", `[{"username":"ann","membershipType":"UNMANAGED"}]`},
		{organization(`members: [{username: bob}]`), "/organizations/{organizations:acme}/members", `[{"username":"bob"}]`},
		{strings.Replace(organization(`members: [{username: robert}]`), "username: bob", "username: robert, $was: [bob]", 1), "/organizations/{organizations:acme}/members", `[{"username":"robert"}]`},
		{strings.Replace(organization(`name: Acme Inc`), "username: bob", "username: robert", 1), "/organizations/{organizations:acme}/members", `[]`},
		{organization(`members: []`), "/organizations/{organizations:acme}/members", `[]`},
	},
	"groups of organizations": {
		{organization(`groups: [{name: g, description: D, attributes: {a: ["1"]}, realmRoles: [offline_access], clientRoles: {account: [view-profile]}, subGroups: [{name: h}]}, {name: a/b}], members: [{username: ann, groups: [/g/h, "/a~/b"]}]`),
			"/organizations/{organizations:acme}/groups?briefRepresentation=false&exact=true&search=g", `[{"name":"g","description":"D","attributes":{"a":["1"]},"realmRoles":["offline_access"],"clientRoles":{"account":["view-profile"]}}]`},
		{organization(`groups: [{name: g, attributes: {b: ["2"]}, subGroups: [{name: k, $was: [h]}]}], members: [{username: ann, groups: [/g]}]`), "/organizations/{organizations:acme}/members/{users:ann}/groups", `[{"path":"/g"}]`},
		{organization(`groups: [{name: g}, {name: k, $was: [/g/k]}], members: [{username: ann, groups: [/k]}]`), "/organizations/{organizations:acme}/groups?briefRepresentation=false",
			`[{"name":"g","attributes":{"b":null},"realmRoles":[]},{"name":"k","path":"/k"}]`},
		{organization(`groups: [{name: g, subGroups: [{name: k, $was: [/k]}]}], members: [{username: ann}]`), "/organizations/{organizations:acme}/members/{users:ann}/groups", `[]`},
		{organization(`name: Acme`), "/organizations/{organizations:acme}/groups", `[]`},
	},
}

// organization is the only one of a realm with two users.
func organization(fields string) string {
	if !strings.Contains(fields, "name: Acme") {
		fields = "name: Acme, " + fields
	}
	return "    organizationsEnabled: true\n    editUsernameAllowed: true\n    users: [{username: ann}, {username: bob}]\n    organizations: [{alias: acme, " + fields + "}]\n"
}

func profile(json string) string {
	return "    components:\n      org.keycloak.userprofile.UserProfileProvider:\n        - {providerId: declarative-user-profile, config: {kc.user.profile.config: ['" + json + "']}}\n"
}

func component(providerType, fields string) string {
	return "    components:\n      " + providerType + ":\n        - " + fields + "\n"
}

func federation(mappers, config string) string {
	below := ""
	if mappers != "" {
		below = "subComponents: {org.keycloak.storage.ldap.mappers.LDAPStorageMapper: [" + mappers + "]}, "
	}
	return component("org.keycloak.storage.UserStorageProvider", "{name: corp, providerId: ldap, "+below+
		`config: {vendor: [other], editMode: [READ_ONLY], connectionUrl: ["ldap://127.0.0.1:1"], bindDn: ["cn=admin"], authType: [simple], rdnLDAPAttribute: [uid], uuidLDAPAttribute: [entryUUID], usernameLDAPAttribute: [uid], userObjectClasses: [inetOrgPerson], `+config+"}}")
}

func ldapMapper(name, attribute string) string {
	return "{name: " + name + ", providerId: user-attribute-ldap-mapper, config: {ldap.attribute: [" + attribute + "], user.model.attribute: [" + name + "], is.mandatory.in.ldap: [\"true\"], read.only: [\"true\"], always.read.value.from.ldap: [\"false\"]}}"
}

func TestMoreKindsWalkTheirStates(t *testing.T) { walk(t, moreWalks) }
