package reconcile_test

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateDefaults = flag.Bool("update", false, "write the table of defaults of the server's version")

// minimal are objects of which nothing but the key is given: how they are made, and where they are read again. ID stands
// for what the creation answered.
var minimal = []struct{ kind, create, body, read string }{
	{"clients", "/clients", `{"clientId":"minimal"}`, "/clients/ID"},
	{"clients saml", "/clients", `{"clientId":"minimal-saml","protocol":"saml"}`, "/clients/ID"},
	{"clientScopes", "/client-scopes", `{"name":"minimal","protocol":"openid-connect"}`, "/client-scopes/ID"},
	{"roles", "/roles", `{"name":"minimal"}`, "/roles/ID"},
	{"groups", "/groups", `{"name":"minimal"}`, "/groups/ID"},
	{"users", "/users", `{"username":"minimal"}`, "/users/ID"},
	{"identityProviders", "/identity-provider/instances", `{"alias":"minimal","providerId":"oidc","config":{"authorizationUrl":"https://a.example","tokenUrl":"https://t.example","clientId":"c"}}`, "/identity-provider/instances/ID"},
	{"organizations", "/organizations", `{"name":"minimal","alias":"minimal","domains":[{"name":"minimal.example"}]}`, "/organizations/ID"},
	{"authenticationFlows", "/authentication/flows", `{"alias":"minimal","providerId":"basic-flow","topLevel":true}`, "/authentication/flows/ID"},
	{"workflows", "/workflows", `{"name":"minimal","steps":[{"uses":"disable-user","after":"30d"}]}`, "/workflows/ID"}, // where there are any
}

// given are the fields of minimal objects that aren't defaults: what names them, what was sent, what is another each time.
var given = strings.Fields("id realm internalId clientId alias providerId name containerId path access secret protocolMappers " +
	"defaultClientScopes optionalClientScopes subGroups subGroupCount realmRoles clientRoles types config " +
	"_id owner builtIn authenticationExecutions policies resources scopes authorizationSchema createdTimestamp disableableCredentialTypes totp defaultRole requiredCredentials clientRole composite localizationTexts")

// The table that null and comparing rest on is what a server makes of objects of which nothing is given. With -update it
// is written; that is how a version gets its table.
func TestDefaultsAreThoseOfTheServer(t *testing.T) {
	w := newWorld(t)
	w.admin.Create("/admin/realms", map[string]any{"realm": w.name})
	table := map[string]any{"realm": plain(w.admin.Get(w.at("")), nil)}
	w.admin.Edit(w.at(""), func(r map[string]any) { r["organizationsEnabled"] = true })
	for _, m := range minimal {
		if m.kind == "workflows" && w.admin.Do("GET", w.at(m.create), nil) == 404 {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(m.body), &body); err != nil {
			t.Fatal(err)
		}
		id := w.admin.Create(w.at(m.create), body)
		table[m.kind] = plain(w.admin.Get(w.at(strings.Replace(m.read, "ID", id, 1))), body)
	}
	app := w.admin.Create(w.at("/clients"), map[string]any{"clientId": "app", "serviceAccountsEnabled": true, "authorizationServicesEnabled": true})
	server := w.at("/clients/" + app + "/authz/resource-server")
	table["authorizationSettings"] = plain(w.admin.Get(server), nil)
	for kind, path := range map[string]string{"scopes": "/scope", "resources": "/resource", "policies": "/policy"} {
		body := map[string]any{"name": "minimal"}
		if kind == "policies" {
			body["type"] = "regex"
		}
		if status := w.admin.Do("POST", server+path, body); status != 201 {
			t.Fatalf("POST %s: %d", path, status)
		}
		table[kind] = plain(w.admin.Get(server+path+"/search?name=minimal"), body)
	}
	w.must("PUT", w.at("/client-policies/policies"), map[string]any{"policies": []any{map[string]any{"name": "minimal"}}})
	table["clientPolicies"] = plain(w.admin.Get(w.at("/client-policies/policies")).(map[string]any)["policies"].([]any)[0], nil)
	for _, kind := range []string{"protocolMappers", "identityProviderMappers", "federatedIdentities", "components", "authenticatorConfig", "requiredActions", "clientProfiles"} {
		table[kind] = map[string]any{}
	}

	version, err := w.client.Version(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(version, ".", 3)
	file := filepath.Join("..", "schema", "keycloak", parts[0]+"."+parts[1], "defaults.json")
	if *updateDefaults {
		text, err := json.MarshalIndent(table, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var committed map[string]any
	if err := json.Unmarshal(text, &committed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(committed, table); diff != "" {
		t.Errorf("the defaults of %s (-committed +the server's; write them by -update):\n%s", version, diff)
	}
}

// plain is an object without what isn't a default.
func plain(object any, sent map[string]any) map[string]any {
	fields := maps.Clone(object.(map[string]any))
	for name := range fields {
		if _, own := sent[name]; own || slices.Contains(given, name) {
			delete(fields, name)
		}
	}
	if attributes, ok := fields["attributes"].(map[string]any); ok {
		for _, own := range []string{"realm_client", "client.secret.creation.time", "saml.signing.certificate", "saml.signing.private.key", "saml.artifact.binding.identifier"} {
			delete(attributes, own)
		}
	}
	return fields
}
