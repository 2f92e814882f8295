package reconcile_test

import (
	"strings"
	"testing"
)

// What random realms found.

// Keycloak makes another client of one that names its protocol: a public one, with URIs and origins of its own choice.
func TestAClientThatNamesItsProtocolIsMadeAsDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps(
		step{"    clients: [{clientId: c, protocol: openid-connect}]\n", "/clients/{client:c}", `{"publicClient":false,"redirectUris":[],"webOrigins":[]}`},
		step{"    clients: [{clientId: d, protocol: openid-connect, rootUrl: \"https://d.example\", redirectUris: [], webOrigins: [\"https://e.example\"], attributes: {backchannel.logout.session.required: false, backchannel.logout.revoke.offline.tokens: true}}]\n",
			"/clients/{client:d}", `{"redirectUris":[],"webOrigins":["https://e.example"],"attributes":{"backchannel.logout.session.required":"false","backchannel.logout.revoke.offline.tokens":"true"}}`},
		step{"    clients: [{clientId: e, protocol: openid-connect, rootUrl: null, secret: given}]\n", "/clients/{client:e}", `{"redirectUris":[],"secret":"given"}`},
		step{"    clients: [{clientId: \"urn:sp\", attributes: {saml.authnstatement: null, saml.signing.certificate: MIIA}, protocol: saml}]\n", "/clients/{client:urn:sp}", `{"attributes":{"saml.authnstatement":"true"}}`},
	)
}

// A PUT of a client that leaves its origins out makes some up from its redirect URIs, where there are none.
func TestOriginsThatAreNotDeclaredStayAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps(step{"    clients: [{clientId: c, redirectUris: [\"https://c.example/*\"]}]\n", "/clients/{client:c}", `{"redirectUris":["https://c.example/*"]}`})
	w.admin.Edit(w.at("/clients/"+w.clientID("c")), func(c map[string]any) { c["webOrigins"] = []any{} })
	w.steps(
		step{"    clients: [{clientId: c, name: C, redirectUris: [\"https://c.example/*\"]}]\n", "/clients/{client:c}", `{"name":"C","webOrigins":[]}`},
		step{"    clients: [{clientId: c, name: C, redirectUris: [\"https://c.example/*\", \"https://d.example/*\"]}]\n", "/clients/{client:c}", `{"webOrigins":[]}`},
		step{"    clients: [{clientId: c, name: C, webOrigins: [+]}]\n", "/clients/{client:c}", `{"webOrigins":["+"]}`},
		step{"    clients: [{clientId: c, name: D}]\n", "/clients/{client:c}", `{"webOrigins":["+"]}`},
	)
}

// A realm that is made with a part of a policy has nothing in place of the rest, and can't be read any more.
func TestARealmThatIsMadeWithAPartOfAPolicyHasTheRestByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps(
		step{"    otpPolicyType: hotp\n    webAuthnPolicyUserVerificationRequirement: required\n", "", `{"otpPolicyType":"hotp","otpPolicyDigits":6,"otpPolicyAlgorithm":"HmacSHA1","webAuthnPolicyUserVerificationRequirement":"required","webAuthnPolicyRpEntityName":"keycloak"}`},
	)
}

func TestAttributesThatAreFieldsOfTheRealmTooAreWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps(
		step{"    displayName: Acme\n", "", `{"oauth2DeviceCodeLifespan":600}`},
		step{"    attributes: {oauth2DeviceCodeLifespan: 700, clientSessionIdleTimeout: 60, realmReusableOtpCode: true}\n", "",
			`{"oauth2DeviceCodeLifespan":700,"clientSessionIdleTimeout":60,"otpPolicyCodeReusable":true,"attributes":{"clientSessionIdleTimeout":"60"}}`},
		step{"    attributes: {oauth2DeviceCodeLifespan: 800}\n", "", `{"oauth2DeviceCodeLifespan":800,"clientSessionIdleTimeout":60}`},
	)
}

func TestWhatAProviderPutsIntoItsConfigurationStaysOnceItIsNotDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := "org.keycloak.keys.KeyProvider"
	w.steps(
		step{component(keys, `{name: k, providerId: ecdsa-generated, config: {ecdsaEllipticCurveKey: [P-384], priority: ["5"]}}`), "/components?name=k", `[{"config":{"ecdsaEllipticCurveKey":["P-384"]}}]`},
		step{component(keys, `{name: k, providerId: ecdsa-generated, config: {priority: ["6"]}}`), "/components?name=k", `[{"config":{"priority":["6"]}}]`},
		step{component(keys, `{name: h, providerId: hmac-generated, config: {secretSize: ["64"]}}`), "/components?name=h", `[{"config":{"secretSize":["64"]}}]`},
		step{component(keys, `{name: h, providerId: hmac-generated, config: {priority: [""]}}`), "/components?name=h", `[{"config":{"priority":null}}]`},
		step{federation("", `usersDn: ["ou=a"], readTimeout: [""], enabled: ["false"]`), "/components?name=corp", `[{"config":{"readTimeout":null}}]`},
	)
}

// A set of grants that is no longer declared is emptied of what was, and of nothing else.
func TestGrantsUnderClientsThatWereNeverDeclaredStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	granting := "    roles: {realm: [{name: r, composites: {client: {account: [view-profile]}}}]}\n    groups: [{name: g, clientRoles: {account: [view-profile]}}]\n" +
		"    clients: [{clientId: c}]\n    clientScopeMappings: {account: [{client: c, roles: [view-profile]}]}\n"
	w.steps(
		step{granting, "/roles/r/composites", `[{"name":"view-profile"}]`},
		step{strings.Replace(granting, "{client:", "{realm: [uma_authorization], client:", 1), "/roles/r/composites/realm", `[{"name":"uma_authorization"}]`},
		step{granting, "/roles/r/composites/realm", `[]`},
	)
	realmRole, readToken := w.role("/roles/offline_access"), w.role("/clients/"+w.clientID("broker")+"/roles/read-token")
	w.must("POST", w.at("/roles/r/composites"), []any{realmRole, readToken})
	w.must("POST", w.at("/groups/"+w.id("groups", "/g")+"/role-mappings/clients/"+w.clientID("broker")), []any{readToken})
	w.must("POST", w.below("c", "/scope-mappings/realm"), []any{realmRole})
	w.steps(
		step{granting, "/groups/{groups:/g}/role-mappings/clients/{client:account}", `[{"name":"view-profile"}]`},
		step{"    roles: {realm: [{name: r}]}\n    groups: [{name: g}]\n    clients: [{clientId: c}]\n", "/roles/r/composites/realm", `[{"name":"offline_access"}]`},
	)
	for _, s := range []step{
		{"", "/roles/r/composites/clients/{client:account}", `[]`},
		{"", "/roles/r/composites/clients/{client:broker}", `[{"name":"read-token"}]`},
		{"", "/groups/{groups:/g}/role-mappings", `{"clientMappings":{"account":null,"broker":{"mappings":[{"name":"read-token"}]}}}`},
		{"", "/clients/{client:c}/scope-mappings", `{"realmMappings":[{"name":"offline_access"}],"clientMappings":null}`},
	} {
		w.finds(s)
	}
}
