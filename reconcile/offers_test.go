package reconcile_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// offers are the providers that the server has, and what else it lists for the admin console.
type offers struct {
	mappers, components map[string][]provider // of tokens, by protocol; others, by type
	locales, events     []string
}

// Some providers look at other hosts, or at what they name.
var unoffered = []string{"oidc-sha256-pairwise-sub-mapper", "hardcoded-ldap-group-mapper", "hardcoded-ldap-role-mapper", "client-scopes"}

func readOffers(w *world) offers {
	w.t.Helper()
	text, err := json.Marshal(w.admin.Get("/admin/serverinfo"))
	if err != nil {
		w.t.Fatal(err)
	}
	var info struct {
		Themes map[string][]struct{ Locales []string }
		Enums  map[string][]string
	}
	if err := json.Unmarshal(text, &info); err != nil {
		w.t.Fatal(err)
	}
	o := offers{locales: info.Themes["login"][0].Locales, events: info.Enums["eventType"]}
	o.components, o.mappers = w.offers()
	for _, list := range []map[string][]provider{o.mappers, o.components} { // the server lists them in any order
		for kind, offers := range list {
			slices.SortFunc(offers, func(a, b provider) int { return strings.Compare(a.ID, b.ID) })
			list[kind] = slices.DeleteFunc(offers, func(p provider) bool { return slices.Contains(unoffered, p.ID) })
		}
	}
	slices.Sort(o.events)
	return o
}

// component is the provider of a type and id.
func (o offers) component(providerType, id string) provider {
	for _, offer := range o.components[providerType] {
		if offer.ID == id {
			return offer
		}
	}
	return provider{}
}

// leftOut is what a rule returns for a field that isn't to be declared.
type leftOut struct{}

func never(*draw, map[string]any) any { return leftOut{} }

func from[T any](values ...T) func(*draw, map[string]any) any {
	return func(d *draw, _ map[string]any) any { return one(d, values...) }
}

// rules keep single fields within what the server takes, each with its reason.
var rules = map[string]func(*draw, map[string]any) any{
	"realm.realm":                        never, // the manifest's name says it
	"realm.adminPermissionsEnabled":      never, // makes a client, and roles of it
	"realm.verifiableCredentialsEnabled": never, // is of a feature that is off
	"realm.scimApiEnabled":               never, // is of a feature that is off
	"realm.registrationEmailAsUsername":  never, // renames users
	"realm.duplicateEmailsAllowed":       never, // is tied to loginWithEmailAllowed
	"realm.requiredCredentials":          from[any]([]any{"password"}),
	"realm.sslRequired":                  from("all", "external", "none"),
	"realm.otpPolicyType":                from("totp", "hotp"),
	"realm.otpPolicyAlgorithm":           from("HmacSHA1", "HmacSHA256", "HmacSHA512"),
	"realm.otpPolicyDigits":              from(6, 8),
	"realm.bruteForceStrategy":           from("LINEAR", "MULTIPLE"),
	"realm.defaultSignatureAlgorithm":    from("RS256", "ES512", "PS384"),
	"realm.passwordPolicy":               from("length(8)", "length(12) and notUsername(undefined)", "regexPattern(a b) and digits(1)", ""),
	"realm.enabledEventTypes":            func(d *draw, _ map[string]any) any { return d.somes(d.offers.events, 5) },
	"realm.eventsListeners":              from[any]([]any{"jboss-logging"}, []any{}, []any{"email", "jboss-logging"}),
	"realm.supportedLocales":             func(d *draw, _ map[string]any) any { return d.somes(d.offers.locales, 4) },
	"realm.defaultLocale":                func(d *draw, _ map[string]any) any { return one(d, d.offers.locales...) },

	// A session of a client lasts no longer than that of the person.
	"realm.ssoSessionIdleTimeout":                            from(2000, 86400),
	"realm.ssoSessionMaxLifespan":                            from(40_000, 90_000),
	"realm.ssoSessionIdleTimeoutRememberMe":                  from(0, 90_000),
	"realm.ssoSessionMaxLifespanRememberMe":                  from(0, 100_000),
	"realm.offlineSessionIdleTimeout":                        from(2000, 86400),
	"realm.offlineSessionMaxLifespan":                        from(40_000, 90_000),
	"realm.clientSessionIdleTimeout":                         from(0, 60, 1000),
	"realm.clientSessionMaxLifespan":                         from(0, 60, 1000),
	"realm.clientOfflineSessionIdleTimeout":                  from(0, 60, 1000),
	"realm.clientOfflineSessionMaxLifespan":                  from(0, 60, 1000),
	"realm.attributes.cibaBackchannelTokenDeliveryMode":      from("poll"),
	"realm.attributes.cibaAuthRequestedUserHint":             from("login_hint"),
	"realm.attributes.clientSessionIdleTimeout":              from[any](60, "1000"),
	"realm.attributes.clientSessionMaxLifespan":              from[any](60, "1000"),
	"realm.attributes.clientOfflineSessionIdleTimeout":       from[any](60, "1000"),
	"realm.attributes.clientOfflineSessionMaxLifespan":       from[any](60, "1000"),
	"clients.attributes.client.session.idle.timeout":         from[any](60, "1000", ""),
	"clients.attributes.client.session.max.lifespan":         from[any](60, "1000", ""),
	"clients.attributes.client.offline.session.idle.timeout": from[any](60, "1000", ""),
	"clients.attributes.client.offline.session.max.lifespan": from[any](60, "1000", ""),

	"realm.browserFlow":              from("browser"),
	"realm.registrationFlow":         from("registration"),
	"realm.directGrantFlow":          from("direct grant"),
	"realm.resetCredentialsFlow":     from("reset credentials"),
	"realm.clientAuthenticationFlow": from("clients"),
	"realm.dockerAuthenticationFlow": from("docker auth"),
	"realm.firstBrokerLoginFlow":     from("first broker login"),

	"realm.webAuthnPolicySignatureAlgorithms":                         algorithms,
	"realm.webAuthnPolicyPasswordlessSignatureAlgorithms":             algorithms,
	"realm.webAuthnPolicyExtraOrigins":                                origins,
	"realm.webAuthnPolicyPasswordlessExtraOrigins":                    origins,
	"realm.webAuthnPolicyAcceptableAaguids":                           aaguids,
	"realm.webAuthnPolicyPasswordlessAcceptableAaguids":               aaguids,
	"realm.webAuthnPolicyRpEntityName":                                entity, // "" is the server's own
	"realm.webAuthnPolicyPasswordlessRpEntityName":                    entity,
	"realm.webAuthnPolicyUserVerificationRequirement":                 requirement,
	"realm.webAuthnPolicyPasswordlessUserVerificationRequirement":     requirement,
	"realm.webAuthnPolicyAttestationConveyancePreference":             attestation,
	"realm.webAuthnPolicyPasswordlessAttestationConveyancePreference": attestation,
	"realm.webAuthnPolicyAuthenticatorAttachment":                     attachment,
	"realm.webAuthnPolicyPasswordlessAuthenticatorAttachment":         attachment,
	"realm.webAuthnPolicyRequireResidentKey":                          never, // is what webAuthnPolicyResidentKey was
	"realm.webAuthnPolicyPasswordlessRequireResidentKey":              never,
	"realm.webAuthnPolicyResidentKey":                                 requirement,
	"realm.webAuthnPolicyPasswordlessResidentKey":                     requirement,
	"realm.webAuthnPolicyPasswordlessMediation":                       from("none", "conditional"),
	"realm.localizationTexts": func(d *draw, _ map[string]any) any {
		m := map[string]any{}
		for _, locale := range some(d, []string{"de", "pt-BR", "zh-CN"}, 2) {
			m[locale] = map[string]any{one(d, freeKeys...): d.text(), "hello": d.text()}
		}
		return m
	},
	"realm.browserSecurityHeaders": func(d *draw, _ map[string]any) any {
		return map[string]any{one(d, "xFrameOptions", "contentSecurityPolicy", "xRobotsTag", "referrerPolicy"): d.text()}
	},
	"realm.smtpServer": func(d *draw, _ map[string]any) any {
		if d.chance(0.3) {
			return map[string]any{}
		}
		m := map[string]any{"host": one(d, "mail.acme.example", "::1"), "from": one(d, "id@acme.example", "ID@Acme.example"), "port": one[any](d, 25, "587")}
		for _, k := range []string{"starttls", "ssl", "auth", "debug"} {
			if d.chance(0.4) {
				m[k] = one[any](d, true, "false")
			}
		}
		if on := fmt.Sprint(m["auth"]); on == "true" { // or there is no user
			m["user"] = d.text() + "x"
		}
		for _, k := range []string{"fromDisplayName", "replyToDisplayName"} {
			if d.chance(0.4) {
				m[k] = d.text()
			}
		}
		return m
	},

	"users.serviceAccountClientId": never, // has tests of its own
	"users.credentials":            never, // is never compared
	"users.attributes":             never, // takes a user profile that allows them
	"users.email": func(d *draw, o map[string]any) any {
		name := strings.Trim(strings.Split(o["username"].(string), "@")[0], "ü") // its local part is ASCII
		return one(d, "", name+"@acme.example", strings.ToUpper(name)+"@Acme.example")
	},
	"users.requiredActions": func(d *draw, _ map[string]any) any {
		return d.somes([]string{"VERIFY_EMAIL", "UPDATE_PASSWORD", "CONFIGURE_TOTP"}, 3)
	},
	"users.firstName": from("Ann", "", "Änn-Marie O'Neil", "漢字"), // some characters are none of a person's name
	"users.lastName":  from("Other", "", "漢字", "de la Cruz"),

	"clients.authenticationFlowBindingOverrides": never,
	"clients.attributes.client.secret.rotated":   never, // has its companions
	"clients.authorizationServicesEnabled":       never,
	"clients.type":                               never, // is of a feature that is off
	"clients.registeredNodes":                    never, // come and go by themselves
	"clients.attributes.default.acr.values":      never, // stands or falls with acr.loa.map
	"clients.clientAuthenticatorType":            from("client-secret", "client-jwt", "client-secret-jwt", "client-x509"),
	"clients.redirectUris": func(d *draw, _ map[string]any) any {
		return d.somes([]string{"https://a.example/*", "/ü/*", "http://127.0.0.1:8080/x?y=z", "com.acme.app:/cb", "*"}, 4)
	},
	"clients.webOrigins": func(d *draw, _ map[string]any) any {
		return d.somes([]string{"+", "*", "https://a.example", "http://b.example:8080"}, 3)
	},
	"clients.rootUrl":                            from("", "https://a.example", "https://a.example/ü?b=c"),
	"clients.baseUrl":                            from("", "/app", "https://a.example/app"),
	"clients.adminUrl":                           from("", "https://a.example/k"),
	"clients.bearerOnly":                         never, // excludes other settings
	"clients.attributes.oidc.ciba.grant.enabled": never, // asks for others
	"clients.attributes.realm_client":            never, // is the server's
	"clients.attributes.use.jwks.string":         never, // excludes use.jwks.url
	"clients.secret":                             from("a secret", "ü%/:#\"'", strings.Repeat("x", 200)),

	"requiredActions.providerId":                            never, // names what is there
	"identityProviders.providerId":                          never,
	"identityProviders.firstBrokerLoginFlowAlias":           from("first broker login", ""),
	"identityProviders.postBrokerLoginFlowAlias":            from("browser", ""),
	"identityProviders.updateProfileFirstLoginMode":         from("on", "off", "missing"),
	"identityProviders.config.validateSignature":            from(false), // asks for keys
	"identityProviders.config.pkceEnabled":                  from(false), // asks for a method
	"identityProviders.config.supportsClientAssertions":     never,       // asks for keys, and for an issuer of its own
	"identityProviders.config.jwtAuthorizationGrantEnabled": never,
	"clientPolicies.enabled":                                from(false), // or it refuses clients, that of the ledger too
	"clientPolicies.mode":                                   from("DEFAULT", "STRICT"),
	"clientPolicies.profiles": func(d *draw, _ map[string]any) any {
		return d.somes(append([]string{"fapi-1-baseline"}, d.there["clientProfiles"]...), 2)
	},
	"components.ldap.config.startTls":                                  from(false), // excludes other settings
	"components.user-attribute-ldap-mapper.config.is.binary.attribute": from(false), // asks for others
	"components.certificate-ldap-mapper.config.is.binary.attribute":    from(false),
	"components.certificate-ldap-mapper.config.is.der.formatted":       from(false),
	"components.full-name-ldap-mapper.config.write.only":               from(false), // is for another edit mode
	"components.group-ldap-mapper.config.preserve.group.inheritance":   from(false), // excludes other settings
	"components.group-ldap-mapper.config.groups.path":                  from("/"),
	"components.max-clients.config.max-clients":                        from[any]("5", 200),
	"components.ldap.config.customUserSearchFilter":                    from("", "(a=ü)"),
	"components.role-ldap-mapper.config.roles.ldap.filter":             from("", "(a=ü)"),
	"components.group-ldap-mapper.config.groups.ldap.filter":           from("", "(a=ü)"),
	"components.ldap.config.validatePasswordPolicy":                    from(false), // is for another edit mode
	"components.ldap.config.allowKerberosAuthentication":               from(false), // changes the flow browser
	"components.role-ldap-mapper.config.use.realm.roles.mapping":       from(true),  // asks for a client
	"components.ldap.config.krbPrincipalAttribute":                     from("krb5PrincipalName", "ü"),
	"components.ldap.config.connectionTimeout":                         from("", "100"),
	"components.ldap.config.readTimeout":                               from("", "100"),
}

// identityProviderConfig is what a provider of identities can't do without.
func identityProviderConfig(d *draw, provider string) map[string]any {
	config := map[string]any{"syncMode": one(d, "IMPORT", "FORCE", "LEGACY")}
	switch provider {
	case "oidc", "keycloak-oidc":
		config["authorizationUrl"], config["tokenUrl"], config["clientId"] = "https://hub.example/a?b=ü", "https://hub.example/t", d.text()
	case "saml":
		config["singleSignOnServiceUrl"], config["entityId"] = "https://saml.example/sso", d.text()
	}
	return config
}

// componentOf keeps what a component is in its name: the type of its provider, the provider, and the type of what
// stands below it.
func componentOf(name string) (providerType, provider, below string) {
	switch provider, _, _ = strings.Cut(name, " "); provider {
	case "ldap":
		return federations, provider, federationMappers
	case "max-clients", "trusted-hosts", "allowed-protocol-mappers", "consent-required":
		return policies, provider, ""
	}
	return keyProviders, provider, ""
}

// componentConfig is what a provider can't do without, and what the server refuses at random.
func componentConfig(d *draw, provider string) map[string]any {
	switch provider {
	case "ldap":
		return map[string]any{"vendor": []any{"other"}, "editMode": []any{"READ_ONLY"}, "connectionUrl": []any{"ldap://127.0.0.1:1"}, "authType": []any{"simple"}, "bindDn": []any{"cn=ü"},
			"rdnLDAPAttribute": []any{"uid"}, "uuidLDAPAttribute": []any{"entryUUID"}, "usernameLDAPAttribute": []any{"uid"}, "userObjectClasses": []any{"inetOrgPerson, a"}, "usersDn": []any{"ou=a b,dc=acme"},
			"enabled": []any{"false"}} // nothing answers there, and then no user can be made
	}
	config := map[string]any{}
	switch provider {
	case "max-clients":
		config[provider] = []any{one[any](d, 5, "200")}
	case "full-name-ldap-mapper":
		config["ldap.full.name.attribute"] = []any{one(d, "cn", "ü")}
	case "group-ldap-mapper":
		config["mode"] = []any{"READ_ONLY"}
	case "role-ldap-mapper":
		config["mode"], config["use.realm.roles.mapping"] = []any{"READ_ONLY"}, []any{true}
	}
	if strings.HasSuffix(provider, "-generated") {
		config["priority"] = []any{one[any](d, 5, "0100", "-7")}
	}
	return config
}

var (
	entity      = from("acme", "ü/1", "${realm}")
	requirement = from("not specified", "required", "preferred", "discouraged")
	attestation = from("not specified", "none", "indirect", "direct")
	attachment  = from("not specified", "platform", "cross-platform")
)

func aaguids(d *draw, _ map[string]any) any {
	return d.somes([]string{"00000000-0000-0000-0000-000000000000", "adce0002-35bc-c60a-648b-0b25f1f05503"}, 2)
}

func algorithms(d *draw, _ map[string]any) any {
	return append(d.somes([]string{"ES256", "RS256", "ES384", "Ed25519"}, 3), "RS512")
}

func origins(d *draw, _ map[string]any) any {
	return d.somes([]string{"https://a.example", "https://b.example:8443"}, 2)
}
