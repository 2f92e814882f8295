package reconcile_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is one state of a walk: a piece of a manifest, and what an independent read must then find. Of what the read finds,
// only the fields that want names are compared.
type step struct {
	declared string // fields of spec.realm, indented by four
	path     string // below the realm; {client:NAME}, {client-scopes:NAME}, {groups:PATH}, {users:NAME} stand for ids
	want     string // JSON; null: not there any more
}

var walks = map[string][]step{
	"realm settings": {
		{"    displayName: Acme\n    accessTokenLifespan: 300\n    loginTheme: keycloak\n", "", `{"displayName":"Acme","accessTokenLifespan":300,"loginTheme":"keycloak"}`},
		{"    displayName: Other\n    accessTokenLifespan: 60\n    bruteForceProtected: true\n    failureFactor: 5\n    permanentLockout: false\n", "",
			`{"displayName":"Other","accessTokenLifespan":60,"bruteForceProtected":true,"failureFactor":5,"loginTheme":"keycloak"}`},
		{"    displayName: \"\"\n    internationalizationEnabled: true\n    supportedLocales: [de, en]\n    defaultLocale: de\n", "", `{"displayName":"","defaultLocale":"de"}`},
		{"    internationalizationEnabled: true\n    supportedLocales: [en, fr, de]\n", "", `{"internationalizationEnabled":true}`},
		{"    eventsEnabled: true\n    enabledEventTypes: [LOGIN, LOGIN_ERROR]\n    eventsExpiration: 3600\n    adminEventsEnabled: true\n    eventsListeners: [jboss-logging]\n", "", `{"eventsEnabled":true,"eventsExpiration":3600}`},
		{"    otpPolicyDigits: 8\n    otpPolicyType: totp\n    otpPolicyCodeReusable: true\n    webAuthnPolicyRpEntityName: acme\n    webAuthnPolicySignatureAlgorithms: [ES256, RS256]\n    webAuthnPolicyUserVerificationRequirement: required\n", "",
			`{"otpPolicyDigits":8,"otpPolicyCodeReusable":true,"webAuthnPolicyRpEntityName":"acme","webAuthnPolicySignatureAlgorithms":["ES256","RS256"]}`},
		{"    passwordPolicy: length(12) and notUsername\n    sslRequired: external\n    registrationAllowed: true\n    rememberMe: true\n    ssoSessionIdleTimeout: 900\n    revokeRefreshToken: true\n    refreshTokenMaxReuse: 1\n", "",
			`{"passwordPolicy":"length(12) and notUsername","registrationAllowed":true,"ssoSessionIdleTimeout":900,"refreshTokenMaxReuse":1}`},
		{"    smtpServer: {host: mail.acme.example, port: 587, from: id@acme.example, starttls: true, auth: true, user: id, password: $(env:SMTP)}\n", "",
			`{"smtpServer":{"host":"mail.acme.example","port":"587","starttls":"true","password":"**********"}}`},
		{"    smtpServer: {host: mail.acme.example, port: \"25\", from: id@acme.example}\n", "", `{"smtpServer":{"port":"25","user":null,"password":null}}`},
		{"    browserSecurityHeaders: {xFrameOptions: DENY, contentSecurityPolicy: \"frame-src 'self'\"}\n", "", `{"browserSecurityHeaders":{"xFrameOptions":"DENY"}}`},
		{"    attributes: {team: identity, frontendUrl: \"https://id.acme.example\", number: 5, yes: true}\n", "", `{"attributes":{"team":"identity","frontendUrl":"https://id.acme.example","number":"5","yes":"true"}}`},
		{"    displayName: null\n    accessTokenLifespan: null\n    passwordPolicy: null\n    supportedLocales: null\n    otpPolicyDigits: null\n    attributes: {team: null, frontendUrl: null, cibaExpiresIn: null, number: 5}\n", "",
			`{"accessTokenLifespan":300,"otpPolicyDigits":6,"attributes":{"team":null,"frontendUrl":null,"cibaExpiresIn":"120","number":"5"}}`},
		{"    attributes: {team: other}\n", "", `{"attributes":{"team":"other","frontendUrl":null,"number":null}}`},
	},
	"clients": {
		{"    clients: [{clientId: c}]\n", "/clients/{client:c}", `{"clientId":"c","publicClient":false,"standardFlowEnabled":true}`},
		{"    clients: [{clientId: c, name: C, description: D, rootUrl: \"https://c.example\", baseUrl: /app, adminUrl: \"https://c.example/k\", redirectUris: [/*], webOrigins: [+]}]\n", "/clients/{client:c}",
			`{"name":"C","description":"D","rootUrl":"https://c.example","redirectUris":["/*"],"webOrigins":["+"]}`},
		{"    clients: [{clientId: c, name: \"\", description: \"\", redirectUris: [], webOrigins: [], enabled: false}]\n", "/clients/{client:c}", `{"name":"","redirectUris":[],"enabled":false}`},
		{"    clients: [{clientId: c, publicClient: true, directAccessGrantsEnabled: true, implicitFlowEnabled: true, fullScopeAllowed: false, consentRequired: true}]\n", "/clients/{client:c}",
			`{"publicClient":true,"directAccessGrantsEnabled":true,"implicitFlowEnabled":true,"fullScopeAllowed":false,"consentRequired":true,"secret":null}`},
		{"    clients: [{clientId: c, publicClient: true, name: N}]\n", "/clients/{client:c}", `{"name":"N","frontchannelLogout":false}`},
		{"    clients: [{clientId: c, publicClient: false, secret: $(env:SECRET), serviceAccountsEnabled: true}]\n", "/clients/{client:c}", `{"secret":"a-secret","serviceAccountsEnabled":true}`},
		{"    clients: [{clientId: c, serviceAccountsEnabled: true, attributes: {post.logout.redirect.uris: \"https://a.example/*##https://b.example/*\", access.token.lifespan: 60, use.refresh.tokens: false, free: x}}]\n", "/clients/{client:c}",
			`{"attributes":{"post.logout.redirect.uris":"https://a.example/*##https://b.example/*","access.token.lifespan":"60","use.refresh.tokens":"false","free":"x"}}`},
		{"    clients: [{clientId: c, serviceAccountsEnabled: null, fullScopeAllowed: null, redirectUris: null, name: null, attributes: {free: null, access.token.lifespan: null, use.refresh.tokens: false}}]\n", "/clients/{client:c}",
			`{"serviceAccountsEnabled":false,"fullScopeAllowed":true,"redirectUris":[],"attributes":{"free":null,"access.token.lifespan":null,"use.refresh.tokens":"false"}}`},
		{"    clients: [{clientId: c, attributes: {free: y}}]\n", "/clients/{client:c}", `{"attributes":{"free":"y","access.token.lifespan":null}}`},
		{"    clients: [{clientId: c, serviceAccountsEnabled: false, defaultClientScopes: [email], optionalClientScopes: [profile, address]}]\n", "/clients/{client:c}/default-client-scopes", `[{"name":"email"}]`},
		{"    clients: [{clientId: c, defaultClientScopes: [profile], optionalClientScopes: [email]}]\n", "/clients/{client:c}/optional-client-scopes", `[{"name":"email"}]`},
		{"    clients: [{clientId: c, defaultClientScopes: [], optionalClientScopes: []}]\n", "/clients/{client:c}/default-client-scopes", `[]`},
		{"    clients: [{clientId: d, $was: [c]}]\n", "/clients/{client:d}", `{"clientId":"d"}`},
		{"    clients: []\n", "/clients?clientId=d", `[]`},
	},
	"SAML clients": {
		{"    clients: [{clientId: \"https://sp.example/metadata\", protocol: saml, redirectUris: [\"https://sp.example/*\"], attributes: {saml.assertion.signature: true, saml_name_id_format: email}}]\n", "/clients/{client:https://sp.example/metadata}",
			`{"protocol":"saml","attributes":{"saml.assertion.signature":"true","saml_name_id_format":"email"}}`},
		{"    clients: [{clientId: \"https://sp.example/metadata\", protocol: saml, frontchannelLogout: false, attributes: {saml.assertion.signature: false, saml.encrypt: true}}]\n", "/clients/{client:https://sp.example/metadata}",
			`{"frontchannelLogout":false,"attributes":{"saml.assertion.signature":"false","saml_name_id_format":null,"saml.encrypt":"true"}}`},
		{"    clients: []\n", "/clients?clientId=https://sp.example/metadata", `[]`},
	},
	"client scopes": {
		{"    clientScopes: [{name: s, protocol: openid-connect}]\n", "/client-scopes/{client-scopes:s}", `{"name":"s","protocol":"openid-connect"}`},
		{"    clientScopes: [{name: s, protocol: openid-connect, description: D, attributes: {include.in.token.scope: true, gui.order: 5, free: x}}]\n", "/client-scopes/{client-scopes:s}",
			`{"description":"D","attributes":{"include.in.token.scope":"true","gui.order":"5","free":"x"}}`},
		{"    clientScopes: [{name: s, protocol: openid-connect, description: \"\", attributes: {include.in.token.scope: false}}]\n", "/client-scopes/{client-scopes:s}",
			`{"description":"","attributes":{"include.in.token.scope":"false","free":null,"gui.order":null}}`},
		{"    clientScopes: [{name: t, $was: [s], protocol: openid-connect}]\n", "/client-scopes/{client-scopes:t}", `{"name":"t"}`},
		{"    clientScopes: [{name: t, protocol: openid-connect}]\n    defaultDefaultClientScopes: [profile, t]\n    defaultOptionalClientScopes: [email]\n", "/default-optional-client-scopes", `[{"name":"email"}]`},
		{"    clientScopes: [{name: t, protocol: openid-connect}]\n    defaultDefaultClientScopes: [email]\n    defaultOptionalClientScopes: [t, profile]\n", "/default-default-client-scopes", `[{"name":"email"}]`},
		{"    displayName: none\n", "/client-scopes", `null`},
	},
	"protocol mappers": {
		{mapper(`{user.attribute: a, claim.name: a}`), "/client-scopes/{client-scopes:s}", `{"protocolMappers":[{"name":"m","config":{"user.attribute":"a","claim.name":"a"}}]}`},
		{mapper(`{user.attribute: b, claim.name: a, id.token.claim: true, multivalued: "false"}`), "/client-scopes/{client-scopes:s}",
			`{"protocolMappers":[{"name":"m","config":{"user.attribute":"b","id.token.claim":"true","multivalued":"false"}}]}`},
		{mapper(`{claim.name: c}`), "/client-scopes/{client-scopes:s}", `{"protocolMappers":[{"name":"m","config":{"claim.name":"c","user.attribute":null,"id.token.claim":null}}]}`},
		{"    clientScopes: [{name: s, protocol: openid-connect, protocolMappers: []}]\n    clients: [{clientId: c, protocolMappers: []}]\n", "/client-scopes/{client-scopes:s}", `{"protocolMappers":null}`},
	},
	"roles": {
		{"    roles: {realm: [{name: r}], client: {account: [{name: x}]}}\n", "/roles/r", `{"name":"r","composite":false}`},
		{"    roles: {realm: [{name: r, description: D, attributes: {a: [\"1\", \"2\"], b: [x]}}]}\n", "/roles/r", `{"description":"D","attributes":{"a":["1","2"],"b":["x"]}}`},
		{"    roles: {realm: [{name: r, description: null, attributes: {a: null, b: [x]}}]}\n", "/roles/r", `{"attributes":{"a":null,"b":["x"]}}`},
		{"    roles: {realm: [{name: r, description: \"\", attributes: {a: [\"3\"]}}]}\n", "/roles/r", `{"description":"","attributes":{"a":["3"],"b":null}}`},
		{"    roles: {realm: [{name: r, composites: {realm: [offline_access], client: {account: [view-profile, manage-account]}}}]}\n", "/roles/r/composites/realm", `[{"name":"offline_access"}]`},
		{"    roles: {realm: [{name: r, composites: {realm: [uma_authorization], client: {account: [view-profile]}}}]}\n", "/roles/r/composites/realm", `[{"name":"uma_authorization"}]`},
		{"    roles: {realm: [{name: r, composites: {realm: []}}]}\n", "/roles/r", `{"composite":false}`},
		{"    roles: {realm: [{name: r, composites: {realm: [offline_access]}}]}\n", "/roles/r", `{"composite":true}`},
		{"    roles: {realm: [{name: r}]}\n", "/roles/r", `{"composite":false}`},
		{"    roles: {realm: [{name: a/b 100%, $was: [r]}]}\n", "/roles/a%2Fb%20100%25", `{"name":"a/b 100%"}`},
		{"    roles: {realm: []}\n", "/roles/a%2Fb%20100%25", `null`},
	},
	"groups": {
		{"    groups: [{name: g}]\n", "/groups/{groups:/g}", `{"name":"g"}`},
		{"    groups: [{name: g, description: D, attributes: {a: [\"1\"], b: [x]}, subGroups: [{name: h, subGroups: [{name: i}]}]}]\n", "/groups/{groups:/g}", `{"attributes":{"a":["1"],"b":["x"]},"subGroupCount":1}`},
		{"    groups: [{name: g, attributes: {a: [\"2\"]}, subGroups: [{name: h}]}]\n", "/groups/{groups:/g/h}", `{"subGroupCount":0}`},
		{"    groups: [{name: g, realmRoles: [offline_access], clientRoles: {account: [view-profile], broker: [read-token]}}]\n", "/groups/{groups:/g}/role-mappings", `{"realmMappings":[{"name":"offline_access"}],"clientMappings":{"account":{"mappings":[{"name":"view-profile"}]}}}`},
		{"    groups: [{name: g, realmRoles: [uma_authorization], clientRoles: {account: [manage-account]}}]\n", "/groups/{groups:/g}/role-mappings", `{"realmMappings":[{"name":"uma_authorization"}],"clientMappings":{"account":{"mappings":[{"name":"manage-account"}]},"broker":null}}`},
		{"    groups: [{name: g}]\n    defaultGroups: [/g]\n", "/groups/{groups:/g}/role-mappings", `{"realmMappings":null,"clientMappings":null}`},
		{"    groups: [{name: g}]\n    defaultGroups: []\n", "/default-groups", `[]`},
		{"    groups: [{name: k, $was: [g]}]\n", "/groups/{groups:/k}", `{"name":"k"}`},
		{"    groups: [{name: top, subGroups: [{name: k, $was: [/k]}]}]\n", "/groups/{groups:/top/k}", `{"path":"/top/k"}`},
		{"    groups: [{name: top}, {name: k, $was: [/top/k]}]\n", "/groups/{groups:/k}", `{"path":"/k"}`},
		{"    groups: []\n", "/groups", `[]`},
	},
	"identity providers": {
		{"    identityProviders: [{alias: hub, providerId: oidc, enabled: true, config: {authorizationUrl: \"https://hub.example/a\", tokenUrl: \"https://hub.example/t\", clientId: acme, clientSecret: $(env:SECRET)}}]\n", "/identity-provider/instances/hub",
			`{"alias":"hub","providerId":"oidc","config":{"clientId":"acme","clientSecret":"**********"}}`},
		{"    identityProviders: [{alias: hub, providerId: oidc, displayName: Hub, trustEmail: true, hideOnLogin: true, config: {clientId: acme2, clientSecret: $(env:SECRET), validateSignature: true, useJwksUrl: \"true\", jwksUrl: \"https://hub.example/k\"}}]\n", "/identity-provider/instances/hub",
			`{"displayName":"Hub","trustEmail":true,"hideOnLogin":true,"config":{"clientId":"acme2","clientSecret":"**********","validateSignature":"true","authorizationUrl":null}}`},
		{"    identityProviders: [{alias: hub, providerId: oidc, displayName: \"\", trustEmail: false, enabled: false, config: {clientId: acme2, syncMode: FORCE}}]\n", "/identity-provider/instances/hub",
			`{"trustEmail":false,"enabled":false,"config":{"syncMode":"FORCE","clientSecret":null,"jwksUrl":null}}`},
		{"    identityProviders: [{alias: hub, providerId: oidc}]\n    identityProviderMappers:\n      - {name: m, identityProviderAlias: hub, identityProviderMapper: hardcoded-role-idp-mapper, config: {role: offline_access, syncMode: INHERIT}}\n", "/identity-provider/instances/hub/mappers",
			`[{"name":"m","identityProviderMapper":"hardcoded-role-idp-mapper","config":{"role":"offline_access"}}]`},
		{"    identityProviders: [{alias: hub, providerId: oidc}]\n    identityProviderMappers:\n      - {name: m, identityProviderAlias: hub, identityProviderMapper: hardcoded-role-idp-mapper, config: {role: uma_authorization}}\n", "/identity-provider/instances/hub/mappers",
			`[{"name":"m","config":{"role":"uma_authorization","syncMode":null}}]`},
		{"    identityProviders: [{alias: hub, providerId: oidc}]\n    identityProviderMappers: []\n", "/identity-provider/instances/hub/mappers", `[]`},
		{"    identityProviders: [{alias: saml, providerId: saml, config: {entityId: acme, singleSignOnServiceUrl: \"https://saml.example/sso\", nameIDPolicyFormat: \"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\", wantAuthnRequestsSigned: true}}]\n", "/identity-provider/instances", `[{"alias":"saml","config":{"wantAuthnRequestsSigned":"true"}}]`},
		{"    identityProviders: []\n", "/identity-provider/instances", `[]`},
	},
	"default role": {
		{"    defaultRole: {description: Everybody, composites: {realm: [offline_access]}}\n", "/roles/default-roles-REALM", `{"description":"Everybody"}`},
		{"    roles: {realm: [{name: r}]}\n    defaultRole: {composites: {realm: [r], client: {account: []}}}\n", "/roles/default-roles-REALM/composites/realm", `[{"name":"r"}]`},
		{"    defaultRole: {composites: {realm: [offline_access]}}\n", "/roles/default-roles-REALM/composites/realm", `[{"name":"offline_access"}]`},
		{"    displayName: Acme\n", "/roles/default-roles-REALM/composites/realm", `[{"name":"offline_access"}]`},
	},
}

func mapper(config string) string {
	m := `{name: m, protocol: openid-connect, protocolMapper: oidc-usermodel-attribute-mapper, config: ` + config + `}`
	return "    clientScopes: [{name: s, protocol: openid-connect, protocolMappers: [" + m + "]}]\n    clients: [{clientId: c, protocolMappers: [" + m + "]}]\n"
}

// Every kind goes to each of its states; after each a second plan is empty, nothing is written, and an independent read
// finds what was declared.
func TestEveryKindWalksItsStates(t *testing.T) { walk(t, walks) }

func walk(t *testing.T, walks map[string][]step) {
	for kind, steps := range walks {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env["SMTP"], w.env["SECRET"] = "mail-secret", "a-secret"
			for i, s := range steps {
				w.settled(spec("  limits: {deletes: 100%, changes: 100%}\n", s.declared))
				if t.Failed() {
					t.Fatalf("state %d:\n%s", i, s.declared)
				}
				w.finds(s)
			}
		})
	}
}

// finds reads a step's path by itself and compares the fields that its want names.
func (w *world) finds(s step) {
	w.t.Helper()
	s.path, s.want = w.withFlowIDs(s.path), w.withFlowIDs(s.want)
	path := strings.ReplaceAll(s.path, "REALM", w.name)
	for {
		before, rest, found := strings.Cut(path, "{")
		if !found {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		list, key, _ := strings.Cut(name, ":")
		id := ""
		switch list {
		case "client":
			id = w.clientID(key)
		case "organizations":
			id = w.admin.Get(w.at("/organizations?search=" + key)).([]any)[0].(map[string]any)["id"].(string)
		case "users":
			id = w.userID(key)
		default:
			id = w.id(list, key)
		}
		path = before + id + after
	}
	var want any
	if err := json.Unmarshal([]byte(s.want), &want); err != nil {
		w.t.Fatal(err)
	}
	if want == nil {
		if names := w.ids(); path != "/client-scopes" && w.admin.Do("GET", w.at(path), nil) != 404 || names["client-scopes t"] != "" {
			w.t.Errorf("%s is still there", path)
		}
		return
	}
	got := only(w.admin.Get(w.at(path)), want)
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("after\n%s%s differs (-want +got):\n%s", s.declared, s.path, diff)
	}
}

// only is the part of got that want names.
func only(got, want any) any {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return got
		}
		part := map[string]any{}
		for name, w := range want {
			part[name] = only(object[name], w)
		}
		return part
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return got
		}
		part := []any{}
		for i := range want {
			part = append(part, only(list[i], want[i]))
		}
		return part
	}
	return got
}
