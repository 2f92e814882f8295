package realm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Realm is one realm of a server, as the account that the client signs in with may use it.
type Realm struct {
	Client *keycloak.Client
	Name   string
	Kinds  map[string]schema.Kind // of the definitions that the realm is declared by

	Complete map[schema.Address]bool // the lists that hold no others than are declared

	Fresh schema.State // what a new realm holds by itself, as far as that is known; asked for where the realm isn't there yet

	Partly bool // a kind that no role to view shows to the account is left out, and Live says so; else it is an error
	whole  bool // everything is asked for, whether anybody names it or not
}

// Live is a realm as it is.
type Live struct {
	Exists  bool
	ID      string            // the realm's
	State   schema.State      // without our own client
	Ledgers map[string]Ledger // by source
	Unread  []string          // the attributes that hold ledgers of other sources which can't be read

	Blind     map[string]*MissingRole // kinds that the account can't see
	Ambiguous map[schema.Address]bool // names that the server has twice, so that nobody can tell which is meant

	PolicyTypes []string                   // which the server has, where a type is declared that not every server has
	Retired     map[schema.Address]Retired // flows of the source that have made room for others; in the state they stand alone

	ledgerID string // the id of the client that holds the ledgers
}

func (r *Realm) path(segments ...string) string {
	return keycloak.Path(append([]string{"realms", r.Name}, segments...)...)
}

// page is how many objects one request asks for.
const page = 100

// Observe reads the realm, or what an account may see of it. What costs a request a collection is read as a whole; what
// costs one an object, from one export or only where something declared, owned by the source or referred to asks for it.
func (r *Realm) Observe(ctx context.Context, want *schema.Realm, source string) (Live, error) {
	o := observation{Realm: r, want: want.State, source: source, live: Live{State: schema.State{}, Ledgers: map[string]Ledger{}, Ambiguous: map[schema.Address]bool{}, Blind: map[string]*MissingRole{}}}
	if err := together(ctx, o.policyTypes(want.State)...); err != nil {
		return Live{}, err
	}
	if exists, err := o.realm(ctx); err != nil || !exists {
		return o.live, err
	}
	if err := together(ctx, o.clients, o.clientScopes, o.realmRoles, o.groups,
		o.realmScopes("defaultDefaultClientScopes", "default-default-client-scopes"),
		o.realmScopes("defaultOptionalClientScopes", "default-optional-client-scopes")); err != nil {
		return Live{}, err
	}
	needed := need(want, o.live.Ledgers[source].Owned)
	second := []func(context.Context) error{o.defaultGroups}
	exports, exported := o.worthExporting(needed), false
	if exports {
		second = append(second, func(ctx context.Context) (err error) { exported, err = o.export(ctx, needed); return err })
	} else {
		second = append(second, needed.reads("roles", o.clientRoles)...)
	}
	for kind, read := range map[string]func(context.Context) error{"identityProviders": o.identityProviders,
		"requiredActions": o.requiredActions, "components": o.components, "organizations": o.partly("organizations", o.organizations(needed)),
		"workflows": o.partly("workflows", o.workflows)} {
		if needed[kind] != nil {
			second = append(second, read)
		}
	}
	if o.namesUnknownProfile() {
		second = append(second, o.globalProfiles)
	}
	if localizes(want, o.live.Ledgers[source].Owned) {
		second = append(second, o.localization)
	}
	second = append(second, o.flowReads(want.State, o.live.Ledgers[source].Owned, needed)...)
	if needed["users"] != nil {
		second = append(second, o.users(want, o.live.Ledgers[source].Owned))
	}
	if err := together(ctx, second...); err != nil {
		return Live{}, err
	}
	if exported {
		for _, kind := range exportable {
			delete(needed, kind)
		}
	} else if exports { // in vain
		if err := together(ctx, needed.reads("roles", o.clientRoles)...); err != nil {
			return Live{}, err
		}
	}
	third := append(needed.reads("composites", o.composites), needed.reads("identityProviderMappers", o.identityProviderMappers)...)
	third = append(third, needed.reads("scopeMappings", o.scopeMappings)...)
	third = append(third, o.userLinks(want.State, needed)...)
	third = append(third, o.authorizations(needed)...)
	return o.live, together(ctx, third...)
}

// together reads side by side.
func together(ctx context.Context, reads ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, read := range reads {
		group.Go(func() error { return read(ctx) })
	}
	return group.Wait()
}

// partly is a read of a kind that an account with all roles to view may not see: workflows show themselves to realm-admin
// alone, and organizations of 26.4 and 26.5 to manage-realm.
func (o *observation) partly(kind string, read func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := read(ctx)
		var missing *MissingRole
		if !o.Partly || !errors.As(err, &missing) {
			return err
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.live.Blind[kind] = missing
		return nil
	}
}

// Sees tells whether the account could see objects like the one at an address.
func (l Live) Sees(a schema.Address) bool {
	kind, _, _ := strings.Cut(string(a), "/")
	return l.Blind[kind] == nil
}

// needed says of which objects the objects of a kind below them are read: kind → parents.
type needed map[string]map[schema.Address]bool

// reads are the reads of one kind, parent by parent.
func (n needed) reads(kind string, read func(context.Context, schema.Address) error) []func(context.Context) error {
	var reads []func(context.Context) error
	for parent := range n[kind] {
		if parent != schema.RealmAddress {
			reads = append(reads, func(ctx context.Context) error { return read(ctx, parent) })
		}
	}
	return reads
}

// add asks for an object and all that it stands in.
func (n needed) add(a schema.Address) {
	for ; a != "" && a != schema.RealmAddress; a = a.Parent() {
		if n[a.Kind()] == nil {
			n[a.Kind()] = map[schema.Address]bool{}
		}
		n[a.Kind()][a.Parent()] = true
	}
}

func need(want *schema.Realm, owned map[schema.Address]bool) needed {
	n := needed{}
	for a, o := range want.State {
		n.add(a)
		for _, was := range o.Was {
			n.former(want.State, a, drift.Former(a, was))
		}
		for _, target := range Targets(o) {
			n.add(target)
		}
	}
	for list := range want.Complete {
		n.add(list)
	}
	for a := range owned {
		object, path, isKey := strings.Cut(string(a), "#")
		if !isKey {
			n.add(a)
		} else if schema.Address(object).Kind() == "users" && path == "requiredActions" { // see OfEverybody
			n.add("requiredActions")
		}
	}
	return n
}

// former asks below an object's former address for what is wanted below its new one.
func (n needed) former(want schema.State, a, former schema.Address) {
	for below := range want {
		if a != schema.RealmAddress && below.Within(a) {
			n.add(below.Moved(a, former))
		}
	}
}

type observation struct {
	*Realm
	want   schema.State
	source string // whose ledger must be readable
	people int    // how many users the realm has; 0 where nobody asked
	mu     sync.Mutex
	live   Live
}

func (o *observation) put(a schema.Address, id string, fields map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live.State[a] = schema.Object{Address: a, ID: id, Fields: fields}
}

func (o *observation) object(a schema.Address) (schema.Object, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	object, ok := o.live.State[a]
	return object, ok
}

// all reads a collection by pages.
func (o *observation) all(ctx context.Context, query url.Values, segments ...string) ([]map[string]any, error) {
	raw, err := o.Client.All(ctx, o.path(segments...), query, page)
	if err != nil {
		return nil, err
	}
	objects := make([]map[string]any, len(raw))
	for i, b := range raw {
		if err := json.Unmarshal(b, &objects[i]); err != nil {
			return nil, fmt.Errorf("read %s: %w", strings.Join(segments, "/"), err)
		}
	}
	return objects, nil
}

func (o *observation) realm(ctx context.Context) (bool, error) {
	var fields map[string]any
	if err := o.Client.Get(ctx, o.path(), nil, &fields); keycloak.IsNotFound(err) {
		return false, nil
	} else if keycloak.IsForbidden(err) {
		return false, unseen("view-realm", "realm "+o.Name)
	} else if err != nil {
		return false, err
	}
	if _, ok := fields["sslRequired"]; !ok { // without view-realm Keycloak answers 200 with seven fields
		return false, unseen("view-realm", "the settings of realm "+o.Name)
	}
	id, _ := fields["id"].(string)
	o.live.Exists, o.live.ID = true, id
	o.clientPolicies(fields)
	o.put(schema.RealmAddress, id, without(fields, "defaultRole", "clientProfiles", "clientPolicies"))
	return true, nil
}

func (o *observation) clients(ctx context.Context) error {
	clients, err := o.all(ctx, nil, "clients")
	if keycloak.IsForbidden(err) || err == nil && len(clients) == 0 { // every realm holds Keycloak's own
		return unseen("view-clients", "the clients")
	} else if err != nil {
		return err
	}
	for _, c := range clients {
		name, id := text(c["clientId"]), text(c["id"])
		attributes, _ := c["attributes"].(map[string]any)
		if name == LedgerClient {
			o.live.ledgerID = id
			if o.live.Ledgers, o.live.Unread, err = ledgers(attributes, o.source); err != nil {
				return err
			}
			continue
		}
		a := schema.Join(schema.RealmAddress, "clients", name)
		o.mappers(a, c)
		for _, links := range []string{"defaultClientScopes", "optionalClientScopes"} {
			scopes, _ := c[links].([]any)
			declared, _ := o.want[schema.Join(a, links)].Fields[links].([]any)
			if c["serviceAccountsEnabled"] == true && !slices.Contains(declared, any(serviceAccountScope)) {
				scopes = slices.DeleteFunc(scopes, func(v any) bool { return v == serviceAccountScope })
			}
			o.put(schema.Join(a, links), "", map[string]any{links: scopes})
		}
		if c["authorizationServicesEnabled"] == nil { // that is how Keycloak says no
			c["authorizationServicesEnabled"] = false
		}
		o.put(a, id, without(c, "protocolMappers", "defaultClientScopes", "optionalClientScopes", "access"))
	}
	return nil
}

// serviceAccountScope is what Keycloak adds to a client with a service account at every PUT; it counts only where it is declared,
// as exports do.
const serviceAccountScope = "service_account"

// mappers puts the protocol mappers in the body of their client or scope, which is where they are as they were sent:
// /protocol-mappers/models shows what they amount to (26.7.3).
func (o *observation) mappers(owner schema.Address, fields map[string]any) {
	mappers, _ := fields["protocolMappers"].([]any)
	for _, m := range mappers {
		if mapper, ok := m.(map[string]any); ok {
			o.put(schema.Join(owner, "protocolMappers", text(mapper["name"])), text(mapper["id"]), mapper)
		}
	}
}

func (o *observation) clientScopes(ctx context.Context) error {
	var scopes []map[string]any
	err := o.Client.Get(ctx, o.path("client-scopes"), nil, &scopes)
	if keycloak.IsForbidden(err) || err == nil && len(scopes) == 0 {
		return unseen("view-clients", "the client scopes")
	} else if err != nil {
		return err
	}
	for _, s := range scopes {
		a := schema.Join(schema.RealmAddress, "clientScopes", text(s["name"]))
		o.mappers(a, s)
		o.put(a, text(s["id"]), without(s, "protocolMappers"))
	}
	return nil
}

func (o *observation) realmRoles(ctx context.Context) error {
	roles, err := o.all(ctx, url.Values{"briefRepresentation": {"false"}}, "roles")
	if keycloak.IsForbidden(err) || err == nil && len(roles) == 0 { // default-roles-… is always there
		return unseen("view-realm", "the roles")
	} else if err != nil {
		return err
	}
	for _, role := range roles {
		o.put(schema.Join(schema.RealmAddress, "roles", text(role["name"])), text(role["id"]), role)
	}
	return nil
}

func (o *observation) clientRoles(ctx context.Context, client schema.Address) error {
	owner, ok := o.object(client)
	if !ok {
		return nil // nobody has made it yet
	}
	roles, err := o.all(ctx, url.Values{"briefRepresentation": {"false"}}, "clients", owner.ID, "roles")
	if keycloak.IsForbidden(err) {
		return unseen("view-clients", "the roles of "+string(client))
	} else if keycloak.IsNotFound(err) {
		return nil // gone since
	} else if err != nil {
		return err
	}
	for _, role := range roles {
		o.put(schema.Join(client, "roles", text(role["name"])), text(role["id"]), role)
	}
	return nil
}

func (o *observation) composites(ctx context.Context, role schema.Address) error {
	owner, ok := o.object(role)
	if !ok {
		return nil
	}
	links := map[string]any{}
	if owner.Fields["composite"] == true {
		var err error
		if links, err = o.readComposites(ctx, owner.ID); keycloak.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
	}
	o.put(schema.Join(role, "composites"), "", map[string]any{"composites": links})
	return nil
}

func (o *observation) readComposites(ctx context.Context, id string) (map[string]any, error) {
	var roles []map[string]any
	if err := o.Client.Get(ctx, o.path("roles-by-id", id, "composites"), nil, &roles); err != nil {
		return nil, err
	}
	realm, client := []any{}, map[string]any{}
	for _, role := range roles {
		if role["clientRole"] != true {
			realm = append(realm, role["name"])
			continue
		}
		owner, ok := o.withID("clients", text(role["containerId"]))
		if !ok {
			return nil, fmt.Errorf("composite role %q is of a client that the account can't see", role["name"])
		}
		list, _ := client[owner.Name()].([]any)
		client[owner.Name()] = append(list, role["name"])
	}
	return map[string]any{"realm": realm, "client": client}, nil
}

// withID is the object of a kind with an id.
func (o *observation) withID(kind, id string) (schema.Address, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for a, object := range o.live.State {
		if object.ID == id && a.Kind() == kind {
			return a, true
		}
	}
	return "", false
}

// defaultGroups comes after the groups: a path as Keycloak writes it doesn't tell a slash in a name from one between two.
func (o *observation) defaultGroups(ctx context.Context) error {
	var groups []map[string]any
	if err := o.Client.Get(ctx, o.path("default-groups"), nil, &groups); keycloak.IsForbidden(err) {
		return unseen("view-realm", "the default groups")
	} else if err != nil {
		return err
	}
	paths := []any{}
	for _, g := range groups {
		path := text(g["path"])
		if a, ok := o.withID("groups", text(g["id"])); ok {
			path = drift.GroupPath(a)
		}
		paths = append(paths, path)
	}
	o.put("defaultGroups", "", map[string]any{"defaultGroups": paths})
	return nil
}

func (o *observation) realmScopes(kind, path string) func(context.Context) error {
	return func(ctx context.Context) error {
		names, err := o.names(ctx, path)
		if keycloak.IsForbidden(err) {
			return unseen("view-clients", "the realm's default client scopes")
		} else if err != nil {
			return err
		}
		o.put(schema.Join(schema.RealmAddress, kind), "", map[string]any{kind: names})
		return nil
	}
}

// names are those of the objects in a short list.
func (r *Realm) names(ctx context.Context, segments ...string) ([]any, error) {
	var objects []map[string]any
	if err := r.Client.Get(ctx, r.path(segments...), nil, &objects); err != nil {
		return nil, err
	}
	names := []any{}
	for _, o := range objects {
		names = append(names, o["name"])
	}
	return names, nil
}

// elsewhere are the fields of a kind that stand elsewhere in the state, or in another shape, or nowhere.
var elsewhere = map[string][]string{
	"authenticationFlows": {executions},
	"components":          {"id", "parentId"},
	"groups":              {"realmRoles", "clientRoles", "subGroups", "subGroupCount", "access", "parentId"},
	"organizations":       {linked},
	"workflows":           {"state"},
}

// bare is an object of a kind, as Keycloak shows it, without them.
func bare(kind string, fields map[string]any) map[string]any {
	if kind == "workflows" {
		for _, step := range objectsIn(fields, "steps") {
			without(step, "id", "scheduled-at", "status")
		}
	}
	return without(fields, elsewhere[kind]...)
}

// without is the fields but for those named, which stand elsewhere in the state, or nowhere.
func without(fields map[string]any, names ...string) map[string]any {
	for _, name := range names {
		delete(fields, name)
	}
	return fields
}

func text(v any) string { s, _ := v.(string); return s }
