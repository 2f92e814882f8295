package reconcile_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// kindsNullable are those of which null asks for a default that is known.
var nullable = map[string]bool{"realm": true, "clients": true, "clientScopes": true, "roles": true, "groups": true, "users": true,
	"identityProviders": true, "protocolMappers": true, "identityProviderMappers": true}

// realm draws a manifest's spec.realm with the objects of a cast.
func (d *draw) realm(c cast) map[string]any {
	r := d.fields("realm", map[string]any{"enabled": true}, 0.3)
	if attributes, ok := r["attributes"].(map[string]any); ok {
		for name := range attributes { // some are fields of the realm, too
			if _, twin := r[name]; twin || name == "realmReusableOtpCode" && r["otpPolicyCodeReusable"] != nil {
				delete(attributes, name)
			}
		}
	}
	list := func(name string, object func(name string) map[string]any) {
		objects := []any{}
		for _, key := range c[name] {
			objects = append(objects, object(key))
		}
		if len(objects) > 0 || d.chance(0.3) {
			r[name] = objects
		}
	}
	list("clientScopes", d.clientScope)
	list("clients", d.client)
	r["roles"] = d.roles(c)
	r["groups"] = d.groups(c["groups"], "/")
	list("identityProviders", d.identityProvider)
	if mappers := d.identityProviderMappers(c["identityProviders"]); mappers != nil {
		r["identityProviderMappers"] = mappers
	}
	r["components"] = d.components(c["components"])
	list("requiredActions", func(alias string) map[string]any {
		return d.fields("requiredActions", map[string]any{"alias": alias}, 0.5)
	})
	d.policies(r, c)
	list("users", d.user)
	r["defaultGroups"] = d.somes(d.there["groups"], 3)
	if d.chance(0.4) { // a scope stands in one of the two lists
		r["defaultDefaultClientScopes"], r["defaultOptionalClientScopes"] = d.somes(d.there["clientScopes"], 4), d.somes(d.there["clientScopes"], 4)
		apart(r, "defaultDefaultClientScopes", "defaultOptionalClientScopes")
	}
	d.scopeMappings(r, c)
	return r
}

// apart takes from the second list what stands in the first.
func apart(o map[string]any, first, second string) {
	a, _ := o[first].([]any)
	b, ok := o[second].([]any)
	if ok {
		o[second] = slices.DeleteFunc(b, func(v any) bool { return slices.Contains(a, v) })
	}
}

func (d *draw) clientScope(name string) map[string]any {
	s := map[string]any{"name": name, "protocol": protocolOf(name)}
	d.mappers(s)
	return d.fields("clientScopes", s, 0.5)
}

func (d *draw) client(id string) map[string]any {
	c := map[string]any{"clientId": id, "protocol": protocolOf(id)}
	d.mappers(c)
	if d.chance(0.4) { // a scope stands in one of the two lists
		for _, links := range []string{"defaultClientScopes", "optionalClientScopes"} {
			c[links] = slices.DeleteFunc(d.somes(d.there["clientScopes"], 4), func(name any) bool { return protocolOf(name.(string)) != c["protocol"] })
		}
		apart(c, "defaultClientScopes", "optionalClientScopes")
	}
	d.fields("clients", c, 0.4)
	if _, secret := c["secret"]; secret { // or the server doesn't keep it
		c["publicClient"] = false
	}
	if c["protocol"] == "saml" { // or the server makes a key, which takes a minute on a busy machine
		attributes, _ := c["attributes"].(map[string]any)
		c["attributes"] = attributes
		if attributes == nil {
			c["attributes"] = map[string]any{}
		}
		c["attributes"].(map[string]any)["saml.signing.certificate"] = one(d, "MIIA", "MIIB")
	}
	return c
}

// protocolOf keeps clients and scopes of either protocol apart by their names: an object's protocol doesn't change.
func protocolOf(name string) string {
	if strings.Contains(name, "saml") || name == "role_list" || name == "AuthnContextClassRef" {
		return "saml"
	}
	return "openid-connect"
}

func (d *draw) mappers(o map[string]any) {
	if d.chance(0.5) {
		return
	}
	mappers := []any{}
	for _, name := range some(d, []string{"m", "mapper ü", "a/b:c"}, 3) {
		offer := one(d, d.offers.mappers[o["protocol"].(string)]...)
		mappers = append(mappers, map[string]any{"name": name, "protocol": o["protocol"], "protocolMapper": offer.ID, "config": d.config("protocolMappers", offer)})
	}
	o["protocolMappers"] = mappers
}

func (d *draw) roles(c cast) map[string]any {
	realm, clients := []any{}, map[string]any{}
	for _, name := range c["roles"] {
		realm = append(realm, d.role(name, "", c))
	}
	for _, id := range c["clients"] {
		roles := []any{}
		for _, name := range c["clients/"+id] {
			roles = append(roles, d.role(name, id, c))
		}
		if len(roles) > 0 {
			clients[id] = roles
		}
	}
	return map[string]any{"realm": realm, "client": clients}
}

func (d *draw) role(name, client string, c cast) map[string]any {
	r := map[string]any{"name": name}
	if d.chance(0.4) {
		r["composites"] = d.rolesOf("realm", "client")
	}
	return d.fields("roles", r, 0.5)
}

// rolesOf draws roles of the realm, and of clients.
func (d *draw) rolesOf(realm, client string) map[string]any {
	m := map[string]any{}
	if d.chance(0.7) {
		m[realm] = d.somes(d.there["roles"], 3)
	}
	clients := map[string]any{}
	for _, id := range some(d, d.there["clients"], 2) {
		clients[id] = d.somes(d.there["clients/"+id], 2)
	}
	if len(clients) > 0 {
		m[client] = clients
	}
	return m
}

// groups draws those of the paths that stand right below one.
func (d *draw) groups(paths []string, below string) []any {
	groups := []any{}
	for _, path := range paths {
		name, ok := strings.CutPrefix(path, below)
		if !ok || name == "" || strings.Contains(name, "/") {
			continue
		}
		g := map[string]any{"name": name}
		if under := d.groups(paths, path+"/"); len(under) > 0 {
			g["subGroups"] = under
		}
		if d.chance(0.4) {
			maps.Copy(g, d.rolesOf("realmRoles", "clientRoles"))
		}
		groups = append(groups, d.fields("groups", g, 0.5))
	}
	return groups
}

func (d *draw) identityProvider(alias string) map[string]any {
	p := map[string]any{"alias": alias, "providerId": providerOf(alias)}
	p["config"] = d.mapping("identityProviders", "config", p)
	maps.Copy(p["config"].(map[string]any), identityProviderConfig(d, p["providerId"].(string)))
	return d.fields("identityProviders", p, 0.4)
}

// providerOf keeps the provider of an identity provider, which doesn't change, in its alias.
func providerOf(alias string) string {
	provider, _, _ := strings.Cut(alias, "_")
	return provider
}

func (d *draw) identityProviderMappers(aliases []string) []any {
	if d.chance(0.3) {
		return nil
	}
	mappers := []any{}
	for _, alias := range aliases {
		for _, name := range some(d, []string{"m", "mapper ü"}, 2) {
			offer := one(d, d.offers.components[brokerMappers]...)
			m := map[string]any{"name": name, "identityProviderAlias": alias, "identityProviderMapper": offer.ID, "config": d.config("identityProviderMappers", offer)}
			if d.chance(0.5) {
				m["config"].(map[string]any)["syncMode"] = one(d, "INHERIT", "FORCE", "LEGACY", "IMPORT")
			}
			mappers = append(mappers, m)
		}
	}
	return mappers
}

func (d *draw) components(names []string) map[string]any {
	components := map[string]any{}
	for _, name := range names {
		providerType, provider, below := componentOf(name)
		o := map[string]any{"name": name, "providerId": provider}
		offer := d.offers.component(providerType, provider)
		config := lists(d.config("components."+provider, offer))
		maps.Copy(config, componentConfig(d, provider))
		o["config"] = config
		if providerType == policies {
			o["subType"] = "anonymous"
		}
		if below != "" && d.chance(0.6) {
			mappers := []any{}
			for _, mapper := range some(d, d.offers.components[below], 3) {
				config := lists(d.config("components."+mapper.ID, mapper))
				maps.Copy(config, componentConfig(d, mapper.ID))
				mappers = append(mappers, map[string]any{"name": mapper.ID + " ü/1", "providerId": mapper.ID, "config": config})
			}
			o["subComponents"] = map[string]any{below: mappers}
		}
		list, _ := components[providerType].([]any)
		components[providerType] = append(list, o)
	}
	return components
}

// lists puts every value into a list, which is how components have them.
func lists(config map[string]any) map[string]any {
	for k, v := range config {
		if _, ok := v.([]any); !ok {
			config[k] = []any{v}
		}
	}
	return config
}

func (d *draw) policies(r map[string]any, c cast) {
	of := func(kind, list, each string, name string) map[string]any {
		providers := []any{}
		for _, offer := range some(d, d.offers.components[map[string]string{"executors": executors, "conditions": conditions}[list]], 3) {
			providers = append(providers, map[string]any{each: offer.ID, "configuration": d.typed(offer)})
		}
		return d.fields(kind, map[string]any{"name": name, list: providers}, 0.5)
	}
	if len(c["clientProfiles"]) > 0 || d.chance(0.3) {
		profiles := []any{}
		for _, name := range c["clientProfiles"] {
			profiles = append(profiles, of("clientProfiles", "executors", "executor", name))
		}
		r["clientProfiles"] = map[string]any{"profiles": profiles}
	}
	if len(c["clientPolicies"]) > 0 || d.chance(0.3) {
		policies := []any{}
		for _, name := range c["clientPolicies"] {
			policy := of("clientPolicies", "conditions", "condition", name)
			policy["profiles"] = rules["clientPolicies.profiles"](d, nil) // or it keeps one that goes
			policies = append(policies, policy)
		}
		r["clientPolicies"] = map[string]any{"policies": policies}
	}
}

func (d *draw) user(name string) map[string]any {
	u := map[string]any{"username": name}
	if d.chance(0.5) {
		maps.Copy(u, d.rolesOf("realmRoles", "clientRoles"))
	}
	if d.chance(0.5) {
		u["groups"] = d.somes(d.there["groups"], 3)
	}
	if d.chance(0.5) {
		linked := []any{}
		for _, alias := range some(d, d.there["identityProviders"], 2) {
			linked = append(linked, map[string]any{"identityProvider": alias, "userId": "id-" + name + one(d, "", "ü", "/2"), "userName": one(d, name, "Other Name")})
		}
		u["federatedIdentities"] = linked
	}
	return d.fields("users", u, 0.5)
}

func (d *draw) scopeMappings(r map[string]any, c cast) {
	entries := []any{}
	for _, id := range some(d, c["clients"], 2) {
		entries = append(entries, map[string]any{"client": id, "roles": d.somes(d.there["roles"], 3)})
	}
	for _, name := range some(d, c["clientScopes"], 2) {
		entries = append(entries, map[string]any{"clientScope": name, "roles": d.somes(d.there["roles"], 3)})
	}
	if len(entries) > 0 {
		r["scopeMappings"] = entries
	}
	byClient := map[string]any{}
	for _, id := range some(d, d.there["clients"], 2) {
		entries := []any{}
		for _, name := range some(d, c["clients"], 2) {
			entries = append(entries, map[string]any{"client": name, "roles": d.somes(d.there["clients/"+id], 2)})
		}
		if len(entries) > 0 {
			byClient[id] = entries
		}
	}
	if len(byClient) > 0 {
		r["clientScopeMappings"] = byClient
	}
}

// manifest is the text of a manifest that declares a representation. JSON is YAML too.
func manifest(name string, representation map[string]any) []byte {
	text, err := json.MarshalIndent(map[string]any{"apiVersion": "cloakwork.dev/v1alpha1", "kind": "Realm", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"server": "eu", "limits": map[string]any{"deletes": "100%", "changes": "100%"}, "realm": representation}}, "", "  ")
	if err != nil {
		panic(err) // JSON values always encode
	}
	return text
}
