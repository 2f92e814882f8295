package reconcile_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// provider is one that the server offers, with what can be configured of it.
type provider struct {
	ID         string
	Properties []property
}

type property struct {
	Name, Type   string
	DefaultValue any
	Options      []string
	Required     bool
}

// offers are the providers of the server, by type, and those of protocol mappers, by protocol.
func (w *world) offers() (providers, mappers map[string][]provider) {
	w.t.Helper()
	text, err := json.Marshal(w.admin.Get("/admin/serverinfo"))
	if err != nil {
		w.t.Fatal(err)
	}
	var info struct{ ComponentTypes, ProtocolMapperTypes map[string][]provider }
	if err := json.Unmarshal(text, &info); err != nil {
		w.t.Fatal(err)
	}
	return info.ComponentTypes, info.ProtocolMapperTypes
}

// Types of providers, as the server calls them.
const (
	brokerProviders   = "org.keycloak.broker.provider.IdentityProvider"
	socialBrokers     = "org.keycloak.broker.social.SocialIdentityProvider"
	brokerMappers     = "org.keycloak.broker.provider.IdentityProviderMapper"
	keyProviders      = "org.keycloak.keys.KeyProvider"
	policies          = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
	federations       = "org.keycloak.storage.UserStorageProvider"
	federationMappers = "org.keycloak.storage.ldap.mappers.LDAPStorageMapper"
	authenticators    = "org.keycloak.authentication.Authenticator"
	executors         = "org.keycloak.services.clientpolicy.executor.ClientPolicyExecutorProvider"
	conditions        = "org.keycloak.services.clientpolicy.condition.ClientPolicyConditionProvider"
)

// least is what a provider can't be without.
var least = map[string]map[string]string{
	"bitbucket": signing, "facebook": signing, "github": signing, "gitlab": signing, "google": signing, "instagram": signing,
	"linkedin-openid-connect": signing, "microsoft": signing, "openshift-v4": signing, "paypal": signing, "stackoverflow": signing, "twitter": signing,
	"oidc": pointing, "keycloak-oidc": pointing, "oauth2": pointing,
	"saml":                    {"entityId": "acme", "singleSignOnServiceUrl": "https://saml.example/sso"},
	"jwt-authorization-grant": {"issuer": "https://jwt.example", "jwksUrl": "https://jwt.example/k", "useJwksUrl": "true"},
	"kubernetes":              {"issuer": "https://kubernetes.example", "jwksUrl": "https://kubernetes.example/k"},
	"ldap": {"vendor": "other", "editMode": "READ_ONLY", "connectionUrl": "ldap://127.0.0.1:1", "authType": "none", "rdnLDAPAttribute": "uid", "uuidLDAPAttribute": "entryUUID",
		"usernameLDAPAttribute": "uid", "userObjectClasses": "inetOrgPerson", "usersDn": "dc=acme", "enabled": "false"},
	"kerberos":                        {"kerberosRealm": "ACME", "serverPrincipal": "HTTP/acme", "keyTab": "/etc/keytab", "enabled": "false"},
	"certificate-ldap-mapper":         {"user.model.attribute": "a", "ldap.attribute": "b", "is.binary.attribute": "true", "always.read.value.from.ldap": "true"},
	"user-attribute-ldap-mapper":      {"user.model.attribute": "a", "ldap.attribute": "b"},
	"full-name-ldap-mapper":           {"ldap.full.name.attribute": "cn"},
	"group-ldap-mapper":               {"groups.dn": "ou=groups", "mode": "READ_ONLY", "group.name.ldap.attribute": "cn", "group.object.classes": "groupOfNames", "membership.ldap.attribute": "member", "groups.path": "/"},
	"role-ldap-mapper":                {"roles.dn": "ou=roles", "mode": "READ_ONLY", "role.name.ldap.attribute": "cn", "role.object.classes": "groupOfNames", "membership.ldap.attribute": "member", "use.realm.roles.mapping": "true"},
	"hardcoded-attribute-mapper":      {"user.model.attribute": "a", "attribute.value": "b"},
	"hardcoded-ldap-attribute-mapper": {"ldap.attribute.name": "a", "ldap.attribute.value": "b"},
	"hardcoded-ldap-group-mapper":     {"group": "/staff"},
	"hardcoded-ldap-role-mapper":      {"role": "offline_access"},
	"max-clients":                     {"max-clients": "5"},
	"trusted-hosts":                   {"host-sending-registration-request-must-match": "true", "client-uris-must-match": "true"},
}

var (
	signing  = map[string]string{"clientId": "acme", "clientSecret": "a-secret"}
	pointing = map[string]string{"clientId": "acme", "clientSecret": "a-secret", "authorizationUrl": "https://hub.example/a", "tokenUrl": "https://hub.example/t", "userInfoUrl": "https://hub.example/u"}
)

// beyond is what brokers can be configured with besides what the server tells.
var beyond = map[string]map[string][]string{
	"oidc": {"logoutUrl": {"https://hub.example/l", "https://hub.example/m"}, "userInfoUrl": {"https://hub.example/u", "https://hub.example/v"}, "issuer": {"https://hub.example", "https://hub.example/i"},
		"defaultScope": {"openid", "openid email"}, "prompt": {"login", "consent"}, "clientAuthMethod": {"client_secret_post", "client_secret_basic"}, "syncMode": {"FORCE", "IMPORT"},
		"useJwksUrl": booleans, "jwksUrl": {"https://hub.example/k", "https://hub.example/j"}, "validateSignature": booleans, "pkceEnabled": booleans, "pkceMethod": {"S256", "plain"},
		"acceptsPromptNoneForwardFromClient": booleans, "allowedClockSkew": {"5", "10"}, "backchannelSupported": booleans, "disableUserInfo": booleans, "disableNonce": booleans,
		"isAccessTokenJWT": booleans, "loginHint": booleans, "uiLocales": booleans, "passMaxAge": booleans, "sendIdTokenOnLogout": booleans, "sendClientIdOnLogout": booleans,
		"forwardParameters": {"a", "a,b"}, "guiOrder": {"1", "2"}, "filteredByClaim": booleans, "claimFilterName": {"a", "b"}, "claimFilterValue": {"a", "b"}},
	"saml": {"idpEntityId": {"a", "b"}, "singleLogoutServiceUrl": {"https://saml.example/slo", "https://saml.example/out"}, "artifactResolutionServiceUrl": {"https://saml.example/a", "https://saml.example/b"},
		"nameIDPolicyFormat": {"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"}, "principalType": {"SUBJECT", "ATTRIBUTE"}, "principalAttribute": {"a", "b"},
		"allowCreate": booleans, "postBindingResponse": booleans, "postBindingAuthnRequest": booleans, "postBindingLogout": booleans, "wantAuthnRequestsSigned": booleans, "wantAssertionsSigned": booleans,
		"wantAssertionsEncrypted": booleans, "forceAuthn": booleans, "validateSignature": booleans, "signSpMetadata": booleans, "loginHint": booleans, "allowedClockSkew": {"5", "10"},
		"attributeConsumingServiceIndex": {"1", "2"}, "attributeConsumingServiceName": {"a", "b"}, "signatureAlgorithm": {"RSA_SHA256", "RSA_SHA512"}, "xmlSigKeyInfoKeyNameTransformer": {"KEY_ID", "CERT_SUBJECT"},
		"authnContextComparisonType": {"exact", "minimum"}, "authnContextClassRefs": {`["a"]`, `["a","b"]`}, "encryptionAlgorithm": {"RSA-OAEP", "RSA1_5"}, "backchannelSupported": booleans},
}

var booleans = []string{"true", "false"}

// special are the values of properties that take no others.
var special = map[string][]string{
	"groups.path": {"/", "/staff"}, "group": {"/staff", "/guests"}, "role": {"offline_access", "uma_authorization"}, "user.model.attribute": {"a", "b"},
	"max-clients": {"7", "9"}, "editMode": {"READ_ONLY", "UNSYNCED"}, "searchScope": {"1", "2"}, "connectionUrl": {"ldap://127.0.0.1:1", "ldap://127.0.0.1:2"},
	"authType": {"none", "simple"}, "connectionTimeout": {"5", "10"}, "readTimeout": {"5", "10"}, "useTruststoreSpi": {"always", "never"}, "referral": {"ignore", "follow"},
	"startTls": {"false", "false"}, "connectionPooling": {"false", "true"}, "vendor": {"other", "rhds"}, "membership.attribute.type": {"DN", "DN"}, "preserve.group.inheritance": {"false", "false"},
	"use.realm.roles.mapping": {"true", "true"}, "is.binary.attribute": {"true", "true"}, "always.read.value.from.ldap": {"true", "true"}, "write.only": {"false", "false"}, "read.only": {"true", "true"}, "ldap.full.name.attribute": {"cn", "fullName"},
	"mode": {"READ_ONLY", "LDAP_ONLY"}, "importEnabled": {"true", "true"}, "syncRegistrations": {"false", "false"}, "trusted-hosts": {"a.example", "b.example"}, "client.id": {"account", "broker"},
	"host-sending-registration-request-must-match": {"true", "true"}, "web-origins": {"https://a.example", "https://b.example"}, "priority": {"5", "6"}, "enabled": booleans, "active": booleans,
	"jsonType.label": {"String", "String"}, "allowed-client-scopes": {"email", "profile"}, "pairwiseSubAlgorithmSalt": {"a", "b"}, "sectorIdentifierUri": {"", ""},
	"customUserSearchFilter": {"(a=b)", "(a=c)"}, "groups.ldap.filter": {"(a=b)", "(a=c)"}, "roles.ldap.filter": {"(a=b)", "(a=c)"}, "certificate": {"", ""}, "keyUse": {"sig", "sig"}, "validatePasswordPolicy": {"false", "false"},
	"jwtAuthorizationGrantMaxAllowedAssertionExpiration": {"60", "70"},
}

// value is the i-th that a property may have, of two.
func (p property) value(i int) string {
	switch {
	case special[p.Name] != nil:
		return special[p.Name][i]
	case p.Type == "boolean":
		return booleans[i]
	case len(p.Options) > 0:
		return p.Options[min(i, len(p.Options)-1)]
	case p.Type == "Number", p.Type == "Integer":
		return strconv.Itoa(7 + i)
	case p.Type == "Map":
		return fmt.Sprintf(`[{"key":"k","value":"%d"}]`, i)
	}
	if s, ok := p.DefaultValue.(string); ok && i == 0 && s != "" {
		return s
	}
	return fmt.Sprintf("v%d", i)
}

// config is what a provider is configured with: in state 0 and 3 no more than it needs, in states 1 and 2 all that it takes.
func (p provider) config(needs map[string]map[string]string, state int) map[string]any {
	config := map[string]any{}
	for name, v := range needs[p.ID] {
		config[name] = v
	}
	if state == 0 || state == 3 {
		return config
	}
	for _, property := range p.Properties {
		if _, needed := config[property.Name]; needed && special[property.Name] == nil {
			continue
		}
		if v := property.value(state - 1); v != "" {
			config[property.Name] = v
		}
	}
	for name, values := range beyond[p.ID] {
		config[name] = values[state-1]
	}
	return config
}

// inLists is a config as components have it.
func inLists(config map[string]any) map[string]any {
	lists := map[string]any{}
	for name, v := range config {
		lists[name] = []any{v}
	}
	return lists
}

// Every provider that the server has is configured with no more than it needs, with all that it takes, with other values, and
// again with little. After each of these a second pass finds nothing and writes nothing.
func TestEveryProviderOfTheServerWalksItsStates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	version, err := w.client.Version(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	needs := w.withKeys()
	providers, mappers := w.offers()
	for state := range 4 {
		realm := w.everything(providers, mappers, needs, state)
		text, err := json.MarshalIndent(realm, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		declared := schema.Load(fstest.MapFS{"all.json": {Data: text}}, schema.Options{Server: "eu", Version: version})
		for _, p := range declared.Problems {
			t.Errorf("problem: %s", p)
		}
		mark := keycloaktest.Mark(0)
		for second := range 2 {
			pass := w.whole(reconcile.Apply, declared, version)
			pass.Want.Limits = schema.Limits{Deletes: schema.Limit{Count: 1000}, Changes: schema.Limit{Count: 1000}}
			report, err := pass.Run(context.Background())
			if err != nil || second == 1 && len(report.Changes) > 0 {
				t.Errorf("state %d, pass %d: %v", state, second+1, err)
				for _, c := range report.Changes {
					if c.Outcome != drift.Done {
						t.Errorf("%s %s: %s %s", c.Op, c.Address, c.Outcome, c.Says)
					}
				}
				t.FailNow()
			}
			if second == 0 {
				mark = w.server.Mark(t)
			}
		}
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			t.Errorf("state %d: the second pass sent %s", state, r)
		}
		w.holds(realm)
	}
}

// everything is a realm with one of each provider, in one of the states.
func (w *world) everything(providers, mappers map[string][]provider, needs map[string]map[string]string, state int) map[string]any {
	brokered, brokerMapped, flow, configs := []any{}, []any{}, []any{}, []any{}
	for _, p := range slices.Concat(providers[brokerProviders], providers[socialBrokers]) {
		brokered = append(brokered, map[string]any{"alias": p.ID, "providerId": p.ID, "enabled": true, "config": p.config(needs, state)})
	}
	for _, p := range providers[brokerMappers] {
		brokerMapped = append(brokerMapped, map[string]any{"name": p.ID, "identityProviderAlias": "oidc", "identityProviderMapper": p.ID, "config": p.config(needs, state)})
	}
	components := map[string]any{}
	named := func(providers []provider, more ...map[string]any) []any {
		var list []any
		for _, p := range providers {
			c := map[string]any{"name": "ours " + p.ID, "providerId": p.ID, "config": inLists(p.config(needs, state))}
			for _, fields := range more {
				maps.Copy(c, fields)
			}
			list = append(list, c)
		}
		return list
	}
	components[keyProviders] = named(providers[keyProviders])
	components[policies] = named(providers[policies], map[string]any{"subType": "authenticated"})
	components[federations] = named(providers[federations])
	for _, f := range components[federations].([]any) {
		if f := f.(map[string]any); f["providerId"] == "ldap" {
			f["subComponents"] = map[string]any{federationMappers: named(providers[federationMappers])}
		}
	}
	var clients []any
	for protocol, offered := range mappers {
		if protocol == "docker-v2" { // which the server doesn't speak unless it is told to
			continue
		}
		var of []any
		for _, p := range offered {
			of = append(of, map[string]any{"name": p.ID, "protocol": protocol, "protocolMapper": p.ID, "config": p.config(needs, state)})
		}
		clients = append(clients, map[string]any{"clientId": protocol, "protocol": protocol, "redirectUris": []any{"https://acme.example/*"}, "protocolMappers": of})
	}
	for _, p := range providers[authenticators] {
		execution := map[string]any{"authenticator": p.ID, "requirement": "DISABLED"}
		if len(p.Properties) > 0 && state != 0 {
			execution["authenticatorConfig"] = "our " + p.ID
			configs = append(configs, map[string]any{"alias": "our " + p.ID, "config": p.config(needs, state)})
		}
		flow = append(flow, execution)
	}
	return map[string]any{"realm": w.name, "enabled": true, "identityProviders": brokered, "identityProviderMappers": brokerMapped,
		"components": components, "clients": clients, "groups": []any{map[string]any{"name": "staff"}, map[string]any{"name": "guests"}},
		"authenticationFlows": []any{map[string]any{"alias": "everything", "providerId": "basic-flow", "topLevel": true, "authenticationExecutions": flow}},
		"authenticatorConfig": configs}
}

// holds reads what was declared by itself. What Keycloak shows as asterisks can't be compared.
func (w *world) holds(declared map[string]any) {
	w.t.Helper()
	held := map[string]map[string]any{}
	note := func(list any, key string) {
		for _, o := range list.([]any) {
			o := o.(map[string]any)
			held[o[key].(string)], _ = o["config"].(map[string]any)
		}
	}
	note(w.admin.Get(w.at("/components")), "name")
	note(w.admin.Get(w.at("/identity-provider/instances")), "alias")
	note(w.admin.Get(w.at("/identity-provider/instances/oidc/mappers")), "name")
	for _, protocol := range []string{"openid-connect", "saml"} {
		note(w.admin.Get(w.below(protocol, "")).(map[string]any)["protocolMappers"], "name")
	}
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				look(e)
			}
		case map[string]any:
			config, configured := v["config"].(map[string]any)
			name, _ := v["name"].(string)
			if alias, ok := v["alias"].(string); ok && v["providerId"] != nil {
				name = alias
			}
			for key, want := range config {
				got := held[name][key]
				if configured && name != "" && fmt.Sprint(got) != fmt.Sprint(want) && !strings.Contains(fmt.Sprint(got), "**********") {
					w.t.Errorf("%s: %s is %v, want %v", name, key, got, want)
				}
			}
			for key, below := range v {
				if key != "config" && key != "authenticatorConfig" {
					look(below)
				}
			}
		}
	}
	look(declared)
}

// withKeys is what providers can't be without, with new keys for those that need some.
func (w *world) withKeys() map[string]map[string]string {
	t := w.t
	t.Helper()
	needs := maps.Clone(least)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	for _, id := range []string{"rsa", "rsa-enc"} {
		needs[id] = map[string]string{"privateKey": strings.TrimSpace(text)}
	}
	dir := filepath.Join(filepath.Dir(w.server.Log), "home", "data", w.name) // the only place that Keycloak reads them from
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	store := filepath.Join(dir, "keys.p12")
	out, err := exec.Command("keytool", "-genkeypair", "-alias", "ours", "-keyalg", "RSA", "-dname", "CN=acme", "-storetype", "PKCS12", "-keystore", store, "-storepass", "sesame", "-keypass", "sesame").CombinedOutput()
	if err != nil {
		t.Fatalf("keytool: %v\n%s", err, out)
	}
	needs["java-keystore"] = map[string]string{"keystore": store, "keystorePassword": "sesame", "keyAlias": "ours", "keyPassword": "sesame", "keystoreType": "PKCS12", "algorithm": "RS256"}
	return needs
}
