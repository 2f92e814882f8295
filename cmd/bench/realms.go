package main

import (
	"encoding/json"
	"fmt"
)

// size says how much a generated realm holds.
type size struct {
	name                                                    string
	clients, roles, groups, users, providers, flows, scopes int

	tooMuch bool // for one import: it would take longer than Keycloak lets a transaction take, 5 minutes
}

// sizes are those of a team's realm, a company's, and one that has grown for ten years.
var sizes = []size{
	{name: "small", clients: 10, roles: 20, groups: 5, users: 10, providers: 1, flows: 1, scopes: 2},
	{name: "medium", clients: 200, roles: 500, groups: 100, users: 500, providers: 5, flows: 3, scopes: 50},
	{name: "large", clients: 1000, roles: 2000, groups: 500, users: 2000, providers: 20, flows: 3, scopes: 100, tooMuch: true},
}

func sizeOf(name string) (size, error) {
	for _, s := range sizes {
		if s.name == name {
			return s, nil
		}
	}
	return size{}, fmt.Errorf("no size %q: small, medium or large", name)
}

// list makes n objects.
func list(n int, object func(i int) map[string]any) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = object(i)
	}
	return all
}

// realm is a representation of that size, as Keycloak's exports and a manifest's spec.realm spell it. A third of the roles
// are the realm's, the others those of every second client; every tenth realm role is a composite; groups stand in tens,
// nine of them below the first.
func (s size) realm(name string, users bool) map[string]any {
	realm := map[string]any{
		"realm":             name,
		"enabled":           true,
		"displayName":       "Realm of " + s.name + " size",
		"roles":             map[string]any{"realm": s.realmRoles(), "client": s.clientRoles()},
		"clientScopes":      list(s.scopes, scope),
		"clients":           list(s.clients, s.client),
		"groups":            s.groupTrees(),
		"identityProviders": list(s.providers, provider),
		"identityProviderMappers": list(s.providers, func(i int) map[string]any {
			return map[string]any{"name": "role", "identityProviderAlias": fmt.Sprintf("provider-%d", i), "identityProviderMapper": "oidc-hardcoded-role-idp-mapper",
				"config": map[string]any{"role": "role-0", "syncMode": "INHERIT"}}
		}),
		"authenticationFlows": s.flowTrees(),
	}
	if users {
		realm["users"] = list(s.users, s.user)
	}
	return realm
}

func (s size) ofRealm() int { return s.roles / 3 }

func (s size) realmRoles() []any {
	return list(s.ofRealm(), func(i int) map[string]any {
		role := map[string]any{"name": fmt.Sprintf("role-%d", i), "description": fmt.Sprintf("Role %d", i)}
		if i%10 == 9 {
			role["composite"] = true
			role["composites"] = map[string]any{"realm": []any{fmt.Sprintf("role-%d", i-1), fmt.Sprintf("role-%d", i-2)}}
		}
		return role
	})
}

func (s size) clientRoles() map[string]any {
	byClient := map[string]any{}
	left := s.roles - s.ofRealm()
	each := max(1, left/max(1, s.clients/2))
	for i := 0; left > 0; i += 2 {
		n := min(left, each)
		if i+2 >= s.clients {
			n = left
		}
		byClient[clientID(i)] = list(n, func(j int) map[string]any {
			return map[string]any{"name": fmt.Sprintf("right-%d", j), "description": fmt.Sprintf("Right %d of client %d", j, i)}
		})
		left -= n
	}
	return byClient
}

func clientID(i int) string { return fmt.Sprintf("client-%d", i) }

func (s size) client(i int) map[string]any {
	return map[string]any{
		"clientId": clientID(i), "name": fmt.Sprintf("Client %d", i), "enabled": true, "publicClient": false, "protocol": "openid-connect",
		"secret": fmt.Sprintf("secret-of-client-%d", i), "fullScopeAllowed": false,
		"redirectUris": []any{fmt.Sprintf("https://client-%d.example/*", i)}, "webOrigins": []any{"+"},
		"attributes": map[string]any{"post.logout.redirect.uris": "+", "access.token.lifespan": "300"},
		"protocolMappers": []any{map[string]any{"name": "team", "protocol": "openid-connect", "protocolMapper": "oidc-usermodel-attribute-mapper",
			"config": map[string]any{"user.attribute": "team", "claim.name": "team", "jsonType.label": "String", "access.token.claim": "true"}}},
		"defaultClientScopes":  []any{"basic", "profile", "roles", fmt.Sprintf("scope-%d", i%s.scopes)},
		"optionalClientScopes": []any{"offline_access"},
	}
}

func scope(i int) map[string]any {
	return map[string]any{"name": fmt.Sprintf("scope-%d", i), "protocol": "openid-connect", "description": fmt.Sprintf("Scope %d", i),
		"attributes": map[string]any{"include.in.token.scope": "true"},
		"protocolMappers": list(3, func(j int) map[string]any {
			return map[string]any{"name": fmt.Sprintf("mapper-%d", j), "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
				"config": map[string]any{"claim.name": fmt.Sprintf("claim-%d-%d", i, j), "claim.value": "v", "jsonType.label": "String", "access.token.claim": "true"}}
		})}
}

func (s size) groupTrees() []any {
	var trees []any
	for first := 0; first < s.groups; first += 10 {
		tree := s.group(first)
		tree["subGroups"] = list(min(10, s.groups-first)-1, func(j int) map[string]any { return s.group(first + 1 + j) })
		trees = append(trees, tree)
	}
	return trees
}

func (s size) group(i int) map[string]any {
	return map[string]any{"name": fmt.Sprintf("group-%d", i), "attributes": map[string]any{"cost": []any{fmt.Sprint(i)}},
		"realmRoles": []any{fmt.Sprintf("role-%d", i%s.ofRealm())}}
}

func (s size) groupPath(i int) string {
	if first := i / 10 * 10; first != i {
		return fmt.Sprintf("/group-%d/group-%d", first, i)
	}
	return fmt.Sprintf("/group-%d", i)
}

func (s size) user(i int) map[string]any {
	return map[string]any{
		"username": fmt.Sprintf("user-%d", i), "enabled": true, "email": fmt.Sprintf("user-%d@example.org", i), "emailVerified": true,
		"firstName": "User", "lastName": fmt.Sprint(i), "attributes": map[string]any{},
		"realmRoles":  []any{fmt.Sprintf("role-%d", i%s.ofRealm())},
		"clientRoles": map[string]any{clientID(0): []any{"right-0"}},
		"groups":      []any{s.groupPath(i % s.groups)},
	}
}

func provider(i int) map[string]any {
	return map[string]any{"alias": fmt.Sprintf("provider-%d", i), "displayName": fmt.Sprintf("Provider %d", i), "providerId": "oidc", "enabled": true,
		"config": map[string]any{"clientId": "cloakwork", "clientSecret": "provider-secret", "syncMode": "IMPORT",
			"authorizationUrl": fmt.Sprintf("https://provider-%d.example/auth", i), "tokenUrl": fmt.Sprintf("https://provider-%d.example/token", i)}}
}

func (s size) flowTrees() []any {
	var flows []any
	for i := range s.flows {
		alias := fmt.Sprintf("browser-%d", i)
		flows = append(flows, map[string]any{"alias": alias, "providerId": "basic-flow", "topLevel": true, "builtIn": false,
			"authenticationExecutions": []any{
				map[string]any{"authenticator": "auth-cookie", "requirement": "ALTERNATIVE"},
				map[string]any{"flowAlias": alias + "-forms", "authenticatorFlow": true, "requirement": "ALTERNATIVE"},
			}}, map[string]any{"alias": alias + "-forms", "providerId": "basic-flow", "topLevel": false, "builtIn": false,
			"authenticationExecutions": []any{
				map[string]any{"authenticator": "auth-username-password-form", "requirement": "REQUIRED"},
				map[string]any{"authenticator": "auth-otp-form", "requirement": "REQUIRED"},
			}})
	}
	return flows
}

// manifest declares a realm.
func manifest(realm map[string]any) []byte {
	b, err := json.Marshal(map[string]any{"apiVersion": "cloakwork.dev/v1alpha1", "kind": "Realm",
		"metadata": map[string]any{"name": realm["realm"]},
		"spec":     map[string]any{"server": "bench", "realm": realm}})
	if err != nil {
		panic(err) // maps of plain values always encode
	}
	return b
}
