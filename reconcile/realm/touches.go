package realm

import (
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// names are what the ids in events stand for: an object under the name that it has, and those that it had. An execution's
// stands for the flow that holds it.
type names struct {
	live Live
	ids  map[string][]schema.Address
	told map[string]schema.Address // the newest name that an event has told
}

// Names are what the ids of the realm's objects stand for; an execution's stands for the flow that holds it, a user's for the
// members of organizations too.
func (l Live) Names() map[string][]schema.Address { return namesIn(l).ids }

func namesIn(live Live) names {
	n := names{live, map[string][]schema.Address{}, map[string]schema.Address{}}
	for a, o := range live.State {
		if a.Kind() != "authorizationSettings" { // they have their client's id
			n.call(o.ID, a)
		}
		elements, _ := o.Fields[executions].([]any)
		for _, e := range elements {
			fields, _ := e.(map[string]any)
			n.call(text(fields["id"]), a)
		}
	}
	return n
}

func (n names) call(id string, a schema.Address) {
	if id != "" && !slices.Contains(n.ids[id], a) {
		n.ids[id] = append(n.ids[id], a)
	}
}

// tell takes the name that an event tells, and says whether the one before it told another.
func (n names) tell(id string, a schema.Address) (another bool) {
	before, known := n.told[id]
	n.call(id, a)
	n.told[id] = a
	return known && before != a
}

// touched is what an event is about, as far as its path tells, and what it holds where the realm keeps details. Events are
// asked for from the oldest on.
func (n names) touched(e record) (touched []schema.Address, renamed bool) {
	p := place{names: n, record: e, parts: strings.Split(e.ResourcePath, "/"), body: holds[map[string]any](e)}
	touched = p.touched()
	return touched, p.renamed && e.OperationType == "UPDATE"
}

// place is where an event happened.
type place struct {
	names
	record
	parts   []string // of the path, which isn't escaped: a role's name may take several
	body    map[string]any
	renamed bool
}

func (p *place) at(i int) string {
	if i < len(p.parts) {
		return p.parts[i]
	}
	return ""
}

// rest is the path from a part on.
func (p *place) rest(i int) string { return strings.Join(p.parts[min(i, len(p.parts)):], "/") }

// eventSettings are the fields of a realm that have a page of their own.
var eventSettings = []string{"adminEventsDetailsEnabled", "adminEventsEnabled", "enabledEventTypes", "eventsEnabled", "eventsExpiration", "eventsListeners"}

func (p *place) touched() []schema.Address {
	realm := []schema.Address{schema.RealmAddress}
	switch p.at(0) {
	case "":
		return realm
	case "events":
		return fieldsOf(realm, eventSettings...)
	case "realms": // an import
		return p.ids[p.at(1)]
	case "clients":
		return p.inClient("clients", "clientId")
	case "client-scopes":
		return p.inClient("clientScopes", "name")
	case "roles":
		return p.role(realm, p.rest(1))
	case "roles-by-id":
		if p.at(2) == "composites" {
			return below(p.ids[p.at(1)], "composites")
		}
		return p.sibling("roles")
	case "groups":
		return p.inGroup()
	case "users":
		return p.inUser()
	case "identity-provider":
		provider := below(realm, "identityProviders", p.at(2))
		if p.at(3) == "mappers" {
			return p.member(provider, "identityProviderMappers", p.at(4), text(p.body["name"]))
		}
		return provider
	case "components":
		return p.component()
	case "organizations":
		return p.inOrganization()
	case "default-groups":
		return below(realm, "defaultGroups")
	case "default-default-client-scopes":
		return below(realm, "defaultDefaultClientScopes")
	case "default-optional-client-scopes":
		return below(realm, "defaultOptionalClientScopes")
	case "authentication":
		return p.inAuthentication()
	}
	return nil
}

// below are the objects of a kind, and a key where it has one, that stand in others.
func below(owners []schema.Address, kind string, key ...string) []schema.Address {
	var all []schema.Address
	for _, owner := range owners {
		all = append(all, schema.Join(owner, kind, key...))
	}
	return all
}

func fieldsOf(owners []schema.Address, paths ...string) []schema.Address {
	var all []schema.Address
	for _, owner := range owners {
		for _, path := range paths {
			all = append(all, drift.Key(owner, path))
		}
	}
	return all
}

// member is an object with an id, under all names that are known of it; name is the one that the event tells, or "".
func (p *place) member(owners []schema.Address, kind, id, name string) []schema.Address {
	if name != "" {
		for _, a := range below(owners, kind, name) {
			p.renamed = p.tell(id, a) || p.renamed
		}
	}
	return p.ids[id]
}

// inClient is what stands in a client or client scope.
func (p *place) inClient(kind, key string) []schema.Address {
	owners := p.ids[p.at(1)]
	switch p.at(2) {
	case "authz":
		return p.inAuthorization(owners, p.parts[3:])
	case "":
		if p.ResourceType == "AUTHORIZATION_RESOURCE_SERVER" { // its clientId is an id
			return below(owners, "authorizationSettings")
		}
		owners = p.member([]schema.Address{schema.RealmAddress}, kind, p.at(1), text(p.body[key]))
		if p.body["protocolMappers"] != nil && kind == "clients" { // a client's PUT replaces them, a scope's leaves them alone
			return append(slices.Clip(owners), below(owners, "protocolMappers")...)
		}
		return owners
	case "roles":
		return p.role(owners, p.rest(3))
	case "protocol-mappers":
		if p.at(3) == "models" {
			return p.member(owners, "protocolMappers", p.at(4), text(p.body["name"]))
		}
		var added []schema.Address
		for _, mapper := range holds[[]map[string]any](p.record) {
			added = append(added, below(owners, "protocolMappers", text(mapper["name"]))...)
		}
		return added
	case "scope-mappings":
		return below(owners, "scopeMappings")
	case "default-client-scopes":
		return below(owners, "defaultClientScopes")
	case "optional-client-scopes":
		return below(owners, "optionalClientScopes")
	case "client-secret":
		return fieldsOf(owners, "secret", "attributes.client.secret.creation.time", "attributes.client.secret.rotated")
	case "certificates":
		return fieldsOf(owners, "attributes."+p.at(3)+".certificate", "attributes."+p.at(3)+".private.key")
	}
	return nil
}

// inAuthorization is what a client protects, below authz. Of these objects only what the events tell is known by id.
func (p *place) inAuthorization(clients []schema.Address, parts []string) []schema.Address {
	switch len(parts) {
	case 1:
		return below(clients, "authorizationSettings")
	case 3, 4: // resource-server/scope/ID, resource-server/policy/role/ID
		kind := map[string]string{"scope": "scopes", "resource": "resources", "policy": "policies", "permission": "policies"}[parts[1]]
		if kind != "" {
			return p.member(clients, kind, parts[len(parts)-1], text(p.body["name"]))
		}
	}
	return nil
}

// role is a role by its name, or what it is composed of. A name may end like that path, so that both can be meant.
func (p *place) role(owners []schema.Address, name string) []schema.Address {
	roles := below(owners, "roles", name)
	if of, ok := strings.CutSuffix(name, "/composites"); ok {
		return append(roles, below(below(owners, "roles", of), "composites")...)
	}
	if now := text(p.body["name"]); now != "" && now != name {
		p.renamed = true
		return append(roles, below(owners, "roles", now)...)
	}
	for _, a := range roles {
		p.call(text(p.body["id"]), a)
	}
	return roles
}

// sibling is an object with an id that its path names without what it stands in, which it stays in.
func (p *place) sibling(kind string) []schema.Address {
	id := p.at(1)
	known, ok := p.told[id]
	if !ok && len(p.ids[id]) > 0 {
		known, ok = p.ids[id][0], true
	}
	if !ok {
		return nil
	}
	return p.member([]schema.Address{known.Parent()}, kind, id, text(p.body["name"]))
}

func (p *place) inGroup() []schema.Address {
	owners := p.ids[p.at(1)]
	switch p.at(2) {
	case "":
		if p.OperationType == "CREATE" {
			return p.member([]schema.Address{schema.RealmAddress}, "groups", p.at(1), text(p.body["name"]))
		}
		return p.sibling("groups")
	case "children":
		return p.member(owners, "groups", text(p.body["id"]), text(p.body["name"]))
	case "role-mappings":
		return roleMappings(owners, p.at(3))
	}
	return nil
}

func roleMappings(owners []schema.Address, of string) []schema.Address {
	if of == "realm" {
		return below(owners, "realmRoles")
	}
	return below(owners, "clientRoles")
}

// inOrganization is what stands in an organization. Who is taken into it isn't told, who leaves is.
func (p *place) inOrganization() []schema.Address {
	organizations := p.ids[p.at(1)]
	switch p.at(2) {
	case "":
		return p.member([]schema.Address{schema.RealmAddress}, "organizations", p.at(1), text(p.body["alias"]))
	case "members":
		if p.at(3) == "" {
			return below(organizations, "members")
		}
		return p.members(organizations, p.at(3))
	case "groups":
		if p.at(3) == "" {
			return p.member(organizations, "groups", text(p.body["id"]), text(p.body["name"]))
		}
		if p.at(4) == "members" {
			return below(p.members(organizations, p.at(5)), "memberships")
		}
		group := *p
		group.parts = p.parts[2:]
		touched := group.inGroup()
		p.renamed = group.renamed
		return touched
	}
	return nil
}

// members are those who bear the id of a user.
func (p *place) members(organizations []schema.Address, id string) []schema.Address {
	var members []schema.Address
	for _, user := range usersAmong(p.ids[id]) {
		members = append(members, below(organizations, "members", user.Name())...)
	}
	return members
}

// usersAmong are the users who bear an id, and not what they are elsewhere: members of organizations.
func usersAmong(all []schema.Address) []schema.Address {
	return slices.DeleteFunc(slices.Clone(all), func(a schema.Address) bool { return a.Kind() != "users" })
}

func (p *place) inUser() []schema.Address {
	owners := usersAmong(p.ids[p.at(1)])
	switch p.at(2) {
	case "":
		if p.ResourceType == "USER_PROFILE" {
			return p.profile()
		}
		all := p.member([]schema.Address{schema.RealmAddress}, "users", p.at(1), strings.ToLower(text(p.body["username"])))
		if p.OperationType == "DELETE" {
			return all
		}
		return usersAmong(all)
	case "role-mappings":
		return roleMappings(owners, p.at(3))
	case "groups":
		return below(owners, "memberships")
	case "federated-identity":
		return below(owners, "federatedIdentities", p.rest(3))
	}
	return nil
}

// profile is the component that the user profile stands in.
func (p *place) profile() []schema.Address {
	var profiles []schema.Address
	for a := range p.live.State {
		if a.List() == "components" && a.Key()[0] == "org.keycloak.userprofile.UserProfileProvider" {
			profiles = append(profiles, a)
		}
	}
	return profiles
}

func (p *place) component() []schema.Address {
	owners := p.ids[text(p.body["parentId"])]
	if text(p.body["parentId"]) == p.live.ID {
		owners = []schema.Address{schema.RealmAddress}
	}
	if p.body != nil {
		for _, owner := range owners {
			p.renamed = p.tell(p.at(1), componentAt(owner, p.body)) || p.renamed
		}
	}
	return p.ids[p.at(1)]
}

func (p *place) inAuthentication() []schema.Address {
	realm := []schema.Address{schema.RealmAddress}
	switch p.at(1) {
	case "required-actions":
		return below(realm, "requiredActions", p.at(2))
	case "register-required-action":
		return below(realm, "requiredActions", text(p.body["providerId"]))
	case "config":
		return p.member(realm, "authenticatorConfig", p.at(2), text(p.body["alias"]))
	case "executions":
		flows := p.ids[p.at(2)]
		if p.at(3) == "config" {
			flows = append(slices.Clip(flows), p.member(realm, "authenticatorConfig", text(p.body["id"]), text(p.body["alias"]))...)
		}
		return flows
	case "flows":
	default:
		return nil
	}
	alias, in, isIn := strings.Cut(p.rest(2), "/executions")
	if from, ok := strings.CutSuffix(alias, "/copy"); ok && !isIn && from != "" {
		return p.member(realm, "authenticationFlows", text(p.body["id"]), text(p.body["newName"]))
	}
	if !isIn {
		return p.member(realm, "authenticationFlows", p.at(2), text(p.body["alias"]))
	}
	flow := []schema.Address{flowAt(alias)}
	switch execution := text(p.body["id"]); in {
	case "/flow":
		return append(flow, below(realm, "authenticationFlows", text(p.body["alias"]))...)
	case "/execution":
		p.call(execution, flowAt(alias))
		return flow
	default: // the console names the flow at the top, wherever below the execution is
		if holding := p.ids[execution]; len(holding) > 0 {
			return append(slices.Clip(holding), p.ids[text(p.body["flowId"])]...)
		}
		return p.flowTree(flow[0])
	}
}

// flowTree is a flow with those below it.
func (p *place) flowTree(flow schema.Address) []schema.Address {
	tree := []schema.Address{flow}
	for i := 0; i < len(tree); i++ {
		for _, x := range listed(p.live.State[tree[i]]) {
			if sub := flowAt(x.flow); x.flow != "" && !slices.Contains(tree, sub) {
				tree = append(tree, sub)
			}
		}
	}
	return tree
}
