package reconcile_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// draw makes representations of realms at random: which fields there are, and what they hold, it takes from the facts of
// the definitions, and what they can't know from the tables in offers_test.go.
type draw struct {
	*rand.Rand
	facts  schema.Facts
	offers offers
	there  map[string][]string // kind → the names of what the manifest may refer to; groups by path, roles of clients at clients/ID
}

// chance is true p times of 1.
func (d *draw) chance(p float64) bool { return d.Float64() < p }

func one[T any](d *draw, of ...T) T { return of[d.IntN(len(of))] }

// some are a few of a list, each once, in any order.
func some[T any](d *draw, of []T, most int) []T {
	list := slices.Clone(of)
	d.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:d.IntN(min(most, len(list))+1)]
}

// somes is some as a list of JSON.
func (d *draw) somes(of []string, most int) []any {
	list := []any{}
	for _, v := range some(d, of, most) {
		list = append(list, v)
	}
	return list
}

// fields fills in fields of an object of a kind: each with the chance given, but for those that it has already.
func (d *draw) fields(kind string, o map[string]any, chance float64) map[string]any {
	for _, path := range slices.Sorted(maps.Keys(d.facts[kind])) {
		if _, has := o[path]; has || strings.Contains(path, ".") || !d.chance(chance) {
			continue
		}
		if v, ok := d.value(kind, path, o); ok {
			o[path] = v
		}
	}
	return o
}

// value draws what a field may hold, and says whether it may hold anything in this object.
func (d *draw) value(kind, path string, o map[string]any) (any, bool) {
	fact := d.facts.Of(kind, path)
	if rule, ok := rules[kind+"."+path]; ok {
		v := rule(d, o)
		_, out := v.(leftOut)
		return v, !out
	}
	if fact.Empty && d.chance(0.1) && nullable[kind] && fact.Type != "struct" {
		return nil, true
	}
	switch {
	case fact.Ref != "":
		names := d.there[fact.Ref]
		if fact.Type == "list" {
			return d.somes(names, 4), true
		}
		return one(d, names...), len(names) > 0
	case fact.As == "bool":
		return one[any](d, true, false, "true", "false"), true
	case fact.As == "int":
		n := d.IntN(5000)
		return one[any](d, n, strconv.Itoa(n)), true
	case fact.As == "##":
		return one(d, "+", "https://a.example/*", "https://a.example/*##https://b.example/ü"), true
	case fact.As == "json":
		return `{"` + one(d, "gold", "silver") + `": ` + strconv.Itoa(d.IntN(9)) + `}`, true
	}
	switch fact.Type {
	case "bool":
		return d.chance(0.5), true
	case "int":
		return d.IntN(10_000), true
	case "string":
		return d.text(), true
	case "list":
		list := []any{}
		for range d.IntN(4) {
			list = append(list, d.text())
		}
		return list, true
	case "struct":
		return d.mapping(kind, path, o), true
	}
	panic("nothing says what " + kind + "." + path + " may hold")
}

// mapping draws some of the keys that the definitions name, and some others.
func (d *draw) mapping(kind, path string, o map[string]any) map[string]any {
	m := map[string]any{}
	for _, p := range slices.Sorted(maps.Keys(d.facts[kind])) {
		key, below := strings.CutPrefix(p, path+".")
		if !below || key == "*" || strings.Contains(key, "*.") || !d.chance(0.2) {
			continue
		}
		if v, ok := d.value(kind, p, o); ok {
			m[key] = v
		}
	}
	if _, free := d.facts[kind][path+".*"]; free {
		for range d.IntN(4) {
			if v, ok := d.value(kind, path+".*", o); ok {
				m[one(d, freeKeys...)] = v
			}
		}
	}
	return m
}

// freeKeys are keys of open maps that mean nothing to Keycloak.
var freeKeys = []string{"team", "a.b.c", "with space", "ü", "a/b", "x:y#z%20", "UPPER", "0"}

// texts are what people write, and what breaks those who quote, split or escape in the wrong place.
var texts = []string{"Acme", "", "true", "0123", "5", "null", "~", "a b", " padded ", "a/b", "a:b", "#x", "50%", "%2F", `"quoted"`, "it's", "${role_x}", "${vault.x}", "$(date)", "$5",
	"a,b", "a##b", "[a]", "{a: b}", `{"a": "b"}`, "- a", "ü", "漢字", "🙂", "é vs é", "<b>&amp;</b>", `back\slash`, "tab\tbed", "two\nlines", "***", "?a=b&c=d", "*", "+", "a@b.example"}

func (d *draw) text() string {
	switch d.IntN(12) {
	case 0:
		return strings.Repeat(one(d, "long ", "ü", "x/"), 40)
	case 1:
		return one(d, texts...) + one(d, texts...)
	}
	return one(d, texts...)
}

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

// config draws a provider's configuration from the properties that the server lists for it.
func (d *draw) config(kind string, offer provider) map[string]any {
	config := map[string]any{}
	for _, p := range offer.Properties {
		if !p.Required && d.chance(0.4) {
			continue
		}
		if v, ok := d.property(kind, p); ok {
			config[p.Name] = v
		}
	}
	return config
}

func (d *draw) property(kind string, p property) (any, bool) {
	if rule, ok := rules[kind+".config."+p.Name]; ok {
		v := rule(d, nil)
		_, out := v.(leftOut)
		return v, !out
	}
	switch p.Type {
	case "boolean":
		return one[any](d, true, false, "true", "false"), true
	case "List":
		return one(d, p.Options...), len(p.Options) > 0
	case "Role":
		return one(d, d.there["roles"]...), len(d.there["roles"]) > 0
	case "Group":
		return one(d, d.there["groups"]...), len(d.there["groups"]) > 0
	case "ClientList":
		return one(d, d.there["clients"]...), len(d.there["clients"]) > 0
	case "Map":
		return `[{"key":"` + one(d, "a", "ü") + `","value":"b"}]`, true
	case "int", "Integer":
		return d.IntN(100), true
	case "MultivaluedString", "MultivaluedList", "File", "Password", "IdentityProviderMultiList":
		return nil, false
	}
	if p.Required {
		return d.text() + "x", true
	}
	return d.text(), true
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

// typed draws a configuration whose values bear their own types.
func (d *draw) typed(offer provider) map[string]any {
	config := map[string]any{}
	for _, p := range offer.Properties {
		if d.chance(0.4) {
			continue
		}
		switch p.Type {
		case "boolean":
			config[p.Name] = d.chance(0.5)
		case "Integer", "int":
			config[p.Name] = d.IntN(4)
		case "MultivaluedString":
			config[p.Name] = []any{"a", d.text()}
		case "MultivaluedList":
			config[p.Name] = d.somes(p.Options, 3)
		case "List":
			config[p.Name] = one(d, p.Options...)
		case "String":
			config[p.Name] = d.text()
			if strings.HasSuffix(p.Name, "-period") || strings.HasSuffix(p.Name, "-skew") {
				config[p.Name] = strconv.Itoa(d.IntN(5000))
			}
		}
	}
	return config
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
