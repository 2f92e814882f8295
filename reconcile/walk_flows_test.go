package reconcile_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// flow is a flow of its own, with its executions in YAML's short form, one a line.
func flow(alias, settings string, executions ...string) string {
	return flowBelow(alias, "topLevel: true, "+settings, executions...)
}

func flowBelow(alias, settings string, executions ...string) string {
	return "      - {alias: " + alias + ", " + settings + "authenticationExecutions: [" + strings.Join(executions, ", ") + "]}\n"
}

func flowsAre(flows ...string) string { return "    authenticationFlows:\n" + strings.Join(flows, "") }

const (
	cookie   = "{authenticator: auth-cookie, requirement: ALTERNATIVE}"
	redirect = "{authenticator: identity-provider-redirector, requirement: ALTERNATIVE}"
	password = "{authenticator: auth-username-password-form, requirement: REQUIRED}"
	otp      = "{authenticator: auth-otp-form, requirement: REQUIRED}"
	formsIn  = "{flowAlias: acme forms, requirement: ALTERNATIVE}"
)

// listing is where an independent read finds the executions of a flow, with those of the flows below it.
const listing = "/authentication/flows/acme/executions"

var flowWalks = map[string][]step{
	"flows": {
		{flowsAre(flow("acme", "", cookie)), listing, `[{"providerId":"auth-cookie","requirement":"ALTERNATIVE","priority":10}]`},
		{flowsAre(flow("acme", "description: D, ", cookie, redirect)), listing,
			`[{"providerId":"auth-cookie","priority":10},{"providerId":"identity-provider-redirector","requirement":"ALTERNATIVE","priority":20}]`},
		{flowsAre(flow("acme", "description: \"\", ", redirect, cookie)), listing, `[{"providerId":"identity-provider-redirector"},{"providerId":"auth-cookie"}]`},
		{flowsAre(flow("acme", "", cookie, formsIn), flowBelow("acme forms", "description: F, ", password)), listing,
			`[{"providerId":"auth-cookie","level":0},{"displayName":"acme forms","description":"F","requirement":"ALTERNATIVE"},{"providerId":"auth-username-password-form","requirement":"REQUIRED","level":1}]`},
		{flowsAre(flow("acme", "", cookie, formsIn), flowBelow("acme forms", "description: G, ", password, otp, strings.Replace(otp, "REQUIRED", "DISABLED", 1))), listing,
			`[{"providerId":"auth-cookie"},{"displayName":"acme forms","description":"G"},{"providerId":"auth-username-password-form"},{"providerId":"auth-otp-form","requirement":"REQUIRED"},{"providerId":"auth-otp-form","requirement":"DISABLED"}]`},
		{flowsAre(flow("acme", "", formsIn, strings.Replace(cookie, "ALTERNATIVE", "DISABLED", 1)),
			flowBelow("acme forms", "", strings.Replace(otp, "REQUIRED", "DISABLED", 1), password, "{flowAlias: acme second, requirement: CONDITIONAL}"),
			flowBelow("acme second", "", "{authenticator: conditional-user-configured, requirement: REQUIRED}", strings.Replace(otp, "REQUIRED", "ALTERNATIVE", 1))), listing,
			`[{"displayName":"acme forms"},{"providerId":"auth-otp-form","requirement":"DISABLED"},{"providerId":"auth-username-password-form"},{"displayName":"acme second","requirement":"CONDITIONAL","level":1},
			{"providerId":"conditional-user-configured","level":2},{"providerId":"auth-otp-form","requirement":"ALTERNATIVE","level":2},{"providerId":"auth-cookie","requirement":"DISABLED"}]`},
		{flowsAre(flow("acme", "", "{authenticator: auth-cookie, requirement: ALTERNATIVE, priority: 7}", "{flowAlias: acme forms, requirement: REQUIRED, priority: 3}"), flowBelow("acme forms", "", password)), listing,
			`[{"displayName":"acme forms","priority":3},{"providerId":"auth-username-password-form","level":1},{"providerId":"auth-cookie","priority":7}]`},
		{flowsAre("      - {alias: acme 2, $was: [acme], description: R}\n      - {alias: acme forms}\n"), "/authentication/flows/acme%202/executions", `[{"displayName":"acme forms"},{"level":1},{"providerId":"auth-cookie"}]`},
		{flowsAre("      - {alias: acme 2, authenticationExecutions: [{flowAlias: acme inner, requirement: REQUIRED}]}\n      - {alias: acme inner, $was: [acme forms]}\n"), "/authentication/flows/acme%202/executions",
			`[{"displayName":"acme inner","requirement":"REQUIRED"},{"providerId":"auth-username-password-form","level":1}]`},
		{flowsAre("      - {alias: acme 2, authenticationExecutions: []}\n"), "/authentication/flows/acme%202/executions", `[]`},
		{"    displayName: none\n", "/authentication/flows/acme%202/executions", `null`},
	},
	"registration flows": {
		{flowsAre(flow("acme", "", "{authenticator: registration-page-form, authenticatorFlow: true, flowAlias: acme form, requirement: REQUIRED}"),
			flowBelow("acme form", "providerId: form-flow, ", "{authenticator: registration-user-creation, requirement: REQUIRED}", "{authenticator: registration-password-action, requirement: REQUIRED}")), listing,
			`[{"displayName":"acme form","providerId":"registration-page-form"},{"providerId":"registration-user-creation"},{"providerId":"registration-password-action"}]`},
		{flowsAre(flow("acme", "", "{authenticator: registration-page-form, authenticatorFlow: true, flowAlias: acme form, requirement: REQUIRED}"),
			flowBelow("acme form", "providerId: form-flow, ", "{authenticator: registration-password-action, requirement: REQUIRED}", "{authenticator: registration-user-creation, requirement: REQUIRED}")) +
			"    registrationFlow: acme\n", "", `{"registrationFlow":"acme"}`},
		{"    registrationFlow: registration\n", "", `{"registrationFlow":"registration"}`},
	},
	"configurations": {
		{flowsAre(flow("acme", "", withConfig("hub"))) + "    authenticatorConfig: [{alias: hub, config: {defaultProvider: a, other: \"1\"}}]\n", listing, `[{"alias":"hub","providerId":"identity-provider-redirector"}]`},
		{flowsAre(flow("acme", "", withConfig("hub"))) + "    authenticatorConfig: [{alias: hub, config: {defaultProvider: b, other: \"2\"}}]\n", "/authentication/config/{config:acme}", `{"alias":"hub","config":{"defaultProvider":"b","other":"**********"}}`},
		{flowsAre(flow("acme", "", withConfig("hub"))) + "    authenticatorConfig: [{alias: hub, config: {defaultProvider: c}}]\n", "/authentication/config/{config:acme}", `{"config":{"defaultProvider":"c","other":null}}`},
		{flowsAre(flow("acme", "", withConfig("other"))) + "    authenticatorConfig: [{alias: other, config: {defaultProvider: c}}]\n", "/authentication/config/{config:acme}", `{"alias":"other","config":{"defaultProvider":"c"}}`},
		{flowsAre(flow("acme", "", redirect, withConfig("other 2"))) + "    authenticatorConfig: [{alias: other 2}]\n", listing, `[{"alias":null},{"alias":"other 2"}]`},
		{flowsAre(flow("acme", "", redirect)), listing, `[{"alias":null,"providerId":"identity-provider-redirector"}]`},
	},
	"bindings": {
		{flowsAre(flow("acme", "", cookie, password), flow("acme direct", "", "{authenticator: direct-grant-validate-username, requirement: REQUIRED}"), flow("acme clients", "providerId: client-flow, ", "{authenticator: client-secret, requirement: ALTERNATIVE}")) +
			"    browserFlow: acme\n    directGrantFlow: acme direct\n    clientAuthenticationFlow: acme clients\n    resetCredentialsFlow: acme\n    dockerAuthenticationFlow: acme\n    firstBrokerLoginFlow: acme\n", "",
			`{"browserFlow":"acme","directGrantFlow":"acme direct","clientAuthenticationFlow":"acme clients","resetCredentialsFlow":"acme","dockerAuthenticationFlow":"acme","firstBrokerLoginFlow":"acme"}`},
		{flowsAre(flow("acme", "", cookie, password)) + "    browserFlow: acme\n    directGrantFlow: direct grant\n    clientAuthenticationFlow: clients\n    resetCredentialsFlow: reset credentials\n    dockerAuthenticationFlow: docker auth\n    firstBrokerLoginFlow: first broker login\n", "",
			`{"browserFlow":"acme","directGrantFlow":"direct grant"}`},
		{flowsAre("      - {alias: acme 2, $was: [acme]}\n") + "    browserFlow: acme 2\n", "", `{"browserFlow":"acme 2"}`},
		{"    browserFlow: browser\n", "/authentication/flows/acme%202/executions", `null`},
	},
	"overrides": {
		{flowsAre(flow("acme", "", cookie, password)) + "    clients: [{clientId: c, authenticationFlowBindingOverrides: {browser: acme}}]\n", "/clients/{client:c}", `{"authenticationFlowBindingOverrides":{"browser":"{flow:acme}"}}`},
		{flowsAre(flow("acme", "", cookie, password)) + "    clients: [{clientId: c, authenticationFlowBindingOverrides: {browser: browser, direct_grant: direct grant}}]\n", "/clients/{client:c}",
			`{"authenticationFlowBindingOverrides":{"browser":"{flow:browser}","direct_grant":"{flow:direct grant}"}}`},
		{flowsAre(flow("acme", "", cookie, password)) + "    clients: [{clientId: c, authenticationFlowBindingOverrides: {direct_grant: acme}}]\n", "/clients/{client:c}", `{"authenticationFlowBindingOverrides":{"direct_grant":"{flow:acme}"}}`},
		{flowsAre("      - {alias: acme 2, $was: [acme]}\n") + "    clients: [{clientId: c, authenticationFlowBindingOverrides: {direct_grant: acme 2}}]\n", "/clients/{client:c}", `{"authenticationFlowBindingOverrides":{"direct_grant":"{flow:acme 2}"}}`},
		{"    clients: [{clientId: c}]\n", "/clients/{client:c}", `{"authenticationFlowBindingOverrides":{}}`},
	},
	"flows of identity providers": {
		{flowsAre(flow("acme", "", cookie)) + "    identityProviders: [{alias: hub, providerId: oidc, firstBrokerLoginFlowAlias: acme, postBrokerLoginFlowAlias: acme, config: {authorizationUrl: \"https://a.example\", tokenUrl: \"https://a.example\", clientId: a}}]\n",
			"/identity-provider/instances/hub", `{"firstBrokerLoginFlowAlias":"acme","postBrokerLoginFlowAlias":"acme"}`},
		{"    identityProviders: [{alias: hub, providerId: oidc, firstBrokerLoginFlowAlias: first broker login, postBrokerLoginFlowAlias: \"\"}]\n",
			"/identity-provider/instances/hub", `{"firstBrokerLoginFlowAlias":"first broker login","postBrokerLoginFlowAlias":null}`},
	},
	"flows that Keycloak made": {
		{flowsAre("      - {alias: browser, description: Ours}\n"), "/authentication/flows/{flow:browser}", `{"description":"Ours","builtIn":true}`},
		{flowsAre("      - {alias: docker auth, authenticationExecutions: [{authenticator: docker-http-basic-authenticator, requirement: DISABLED}]}\n"), "/authentication/flows/docker%20auth/executions", `[{"requirement":"DISABLED"}]`},
		{flowsAre("      - alias: direct grant\n        authenticationExecutions: [{authenticator: direct-grant-validate-password, requirement: REQUIRED}, {authenticator: direct-grant-validate-username, requirement: REQUIRED}, {flowAlias: Direct Grant - Conditional OTP, requirement: DISABLED}]\n"),
			"/authentication/flows/{flow:direct grant}", `{"authenticationExecutions":[{"authenticator":"direct-grant-validate-password"},{"authenticator":"direct-grant-validate-username"},{"requirement":"DISABLED"}]}`},
		{"    authenticatorConfig: [{alias: review profile config, config: {update.profile.on.first.login: \"on\"}}]\n", "/authentication/config/{config:first broker login}", `{"config":{"update.profile.on.first.login":"on"}}`},
		{"    displayName: none\n", "/authentication/config/{config:first broker login}", `{"alias":"review profile config"}`},
	},
}

func withConfig(alias string) string {
	return "{authenticator: identity-provider-redirector, requirement: ALTERNATIVE, authenticatorConfig: " + alias + "}"
}

// Flows go to each of their states in place: nothing but what is said to go does.
func TestFlowsWalkTheirStates(t *testing.T) { walk(t, flowWalks) }

var flowPlaces = regexp.MustCompile(`\{(flow|config):([^}]*)\}`)

// withFlowIDs puts the ids of flows, and of the first configuration in one, in the place of {flow:ALIAS} and {config:ALIAS}.
func (w *world) withFlowIDs(text string) string {
	return flowPlaces.ReplaceAllStringFunc(text, func(place string) string {
		parts := flowPlaces.FindStringSubmatch(place)
		if parts[1] == "flow" {
			return w.flowID(parts[2])
		}
		for _, e := range w.admin.Get(w.at("/authentication/flows/" + url.PathEscape(parts[2]) + "/executions")).([]any) {
			if id, ok := e.(map[string]any)["authenticationConfig"].(string); ok {
				return id
			}
		}
		w.t.Fatalf("no configuration in flow %s", parts[2])
		return ""
	})
}

func (w *world) flowID(alias string) string {
	w.t.Helper()
	for _, f := range w.admin.Get(w.at("/authentication/flows")).([]any) {
		if f := f.(map[string]any); f["alias"] == alias {
			return f["id"].(string)
		}
	}
	w.t.Fatalf("no flow %s", alias)
	return ""
}
