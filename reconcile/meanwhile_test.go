package reconcile_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// ofMany is a manifest in which a field of every kind has a value of its own.
func ofMany(v int) string {
	return spec("  limits: {changes: 100}\n", strings.ReplaceAll(`
    organizationsEnabled: true
    roles: {realm: [{name: auditor, description: NN}]}
    groups: [{name: staff, attributes: {ours: ["NN"]}}]
    clients:
      - clientId: portal
        attributes: {ours: "NN"}
        protocolMappers: [{name: tenant, protocol: openid-connect, protocolMapper: oidc-usermodel-attribute-mapper, config: {user.attribute: "NN", claim.name: tenant}}]
    identityProviders: [{alias: hub, providerId: oidc, config: {ours: "NN"}}]
    identityProviderMappers: [{name: site, identityProviderAlias: hub, identityProviderMapper: hardcoded-attribute-idp-mapper, config: {attribute.value: "NN"}}]
    organizations: [{alias: acme, name: Acme, domains: [{name: acme.example}], attributes: {ours: ["NN"]}}]
    requiredActions: [{alias: UPDATE_PASSWORD, priority: NN, config: {}}]
    authenticatorConfig: [{alias: hint, config: {defaultProvider: "NN"}}]
    components: {org.keycloak.keys.KeyProvider: [{name: own, providerId: aes-generated, config: {priority: ["NN"]}}]}
`+flowsAre(flow("acme", "description: NN, ", withConfig("hint"))), "NN", fmt.Sprint(v)))
}

// What somebody adds to an object after the pass has looked at it, and before the pass writes it, stays.
func TestWhatOthersAddDuringAPassStays(t *testing.T) {
	w := newWorld(t)
	w.settled(ofMany(71))
	config := ""
	for _, e := range w.admin.Get(w.at("/authentication/flows/acme/executions")).([]any) {
		config, _ = e.(map[string]any)["authenticationConfig"].(string)
	}
	mapper := w.admin.Get(w.below("portal", "/protocol-mappers/models")).([]any)[0].(map[string]any)["id"].(string)
	site := w.admin.Get(w.at("/identity-provider/instances/hub/mappers")).([]any)[0].(map[string]any)["id"].(string)
	edits := []struct {
		path, field, key string
		value            any
	}{
		{w.at("/roles/auditor"), "attributes", "theirs", []any{"x"}},
		{w.at("/groups/" + w.id("groups", "/staff")), "attributes", "theirs", []any{"x"}},
		{w.below("portal", ""), "attributes", "theirs", "x"},
		{w.below("portal", "/protocol-mappers/models/"+mapper), "config", "jsonType.label", "long"},
		{w.at("/identity-provider/instances/hub"), "config", "theirs", "x"},
		{w.at("/identity-provider/instances/hub/mappers/" + site), "config", "attribute", "site"},
		{w.organization(""), "attributes", "theirs", []any{"x"}},
		{w.at("/authentication/required-actions/UPDATE_PASSWORD"), "", "defaultAction", true},
		{w.at("/authentication/config/" + config), "config", "default.reference.value", "x"},
		{w.component("own"), "config", "enabled", []any{"false"}},
	}
	proxy := keycloaktest.NewProxy(t, w.server.URL)
	w.url = proxy.URL
	w.connect()
	var once sync.Once
	proxy.Intercept(func(r *http.Request) *http.Response {
		if r.URL.Query().Get("clientId") == "cloakwork" { // before the first write the pass looks at its ledger again
			once.Do(func() {
				for _, e := range edits {
					w.admin.Edit(e.path, func(o map[string]any) { in(o, e.field)[e.key] = e.value })
				}
			})
		}
		return nil
	})
	report := w.apply(ofMany(72))
	if len(report.Changes) != len(edits)+1 {
		t.Errorf("it changed\n%s", text(report))
	}
	const masked = "**********" // is all that Keycloak shows of some configurations
	for _, e := range edits {
		if got := in(w.admin.Get(e.path).(map[string]any), e.field)[e.key]; fmt.Sprint(got) != fmt.Sprint(e.value) && got != masked {
			t.Errorf("%s: %s.%s is %v, want %v", e.path, e.field, e.key, got, e.value)
		}
	}
}

// in is a map in an object, or the object itself.
func in(object map[string]any, field string) map[string]any {
	if field == "" {
		return object
	}
	nested, ok := object[field].(map[string]any)
	if !ok {
		nested = map[string]any{}
		object[field] = nested
	}
	return nested
}
