package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// People come by the thousand, and change themselves: only those are read that are declared or owned, and each is written
// over what it is at that moment.

// serviceAccount begins the names of the users that Keycloak makes, renames and removes together with their clients.
const serviceAccount = "service-account-"

const (
	fewUsers  = 50  // are read one by one; of more, all users of the realm may be cheaper by pages
	usersPage = 500 // users that one request asks for
)

// builtinUser tells whether a user goes with a client or with a directory.
func builtinUser(_ string, o schema.Object) bool {
	return o.Fields["serviceAccountClientId"] != nil || o.Fields["federationLink"] != nil
}

// users reads those that are declared, owned or referred to; all of them where strangers matter.
func (o *observation) users(want *schema.Realm, owned map[schema.Address]bool) func(context.Context) error {
	return func(ctx context.Context) error {
		names, all := usersNamed(want, owned), want.Complete["users"]
		single := names
		if all || len(names) > fewUsers {
			count, err := o.countUsers(ctx)
			if err != nil {
				return err
			}
			o.people = count
			if all || count < len(names)*usersPage/10 {
				if err := o.usersByPages(ctx, names, all); err != nil {
					return err
				}
				// Pages leave the service accounts out.
				single = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, serviceAccount) })
			}
		}
		var reads []func(context.Context) error
		for _, name := range single {
			reads = append(reads, func(ctx context.Context) error { return o.user(ctx, name) })
		}
		if err := together(ctx, reads...); err != nil {
			return err
		}
		return o.usersSeen(ctx)
	}
}

// usersNamed are the names of the users that a pass is about.
func usersNamed(want *schema.Realm, owned map[schema.Address]bool) []string {
	var names []string
	add := func(a schema.Address) {
		if parts := strings.SplitN(string(a), "/", 3); parts[0] == "users" && len(parts) > 1 {
			names = append(names, schema.Address("users/"+parts[1]).Name())
		}
	}
	for a, o := range want.State {
		add(a)
		for _, target := range Targets(o) {
			add(target)
		}
		if a.Kind() == "users" {
			names = append(names, o.Was...)
		}
	}
	for a := range owned {
		if !strings.Contains(string(a), "#") {
			add(a)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (o *observation) countUsers(ctx context.Context) (n int, err error) {
	if err = o.Client.Get(ctx, o.path("users", "count"), nil, &n); keycloak.IsForbidden(err) {
		err = unseen("view-users", "the users")
	}
	return n, err
}

func (o *observation) usersByPages(ctx context.Context, names []string, all bool) error {
	raw, err := o.Client.All(ctx, o.path("users"), url.Values{"briefRepresentation": {"false"}}, usersPage)
	if err != nil {
		return err
	}
	for _, b := range raw {
		var user map[string]any
		if err := json.Unmarshal(b, &user); err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		if _, wanted := slices.BinarySearch(names, strings.ToLower(text(user["username"]))); wanted || all {
			o.putUser(user)
		}
	}
	return nil
}

func (o *observation) user(ctx context.Context, name string) error {
	user, err := o.findUser(ctx, name)
	if keycloak.IsForbidden(err) {
		return unseen("view-users", "the users")
	} else if err != nil || user == nil {
		return err
	}
	o.putUser(user)
	return nil
}

// findUser is the user of a name, nil where there is none.
func (r *Realm) findUser(ctx context.Context, name string) (map[string]any, error) {
	var users []map[string]any
	query := url.Values{"username": {name}, "exact": {"true"}, "briefRepresentation": {"false"}}
	if err := r.Client.Get(ctx, r.path("users"), query, &users); err != nil {
		return nil, err
	}
	for _, user := range users {
		if strings.EqualFold(text(user["username"]), name) {
			return user, nil
		}
	}
	return nil, nil
}

func (o *observation) putUser(user map[string]any) {
	name := strings.ToLower(text(user["username"]))
	if client, ok := o.clientOf(name); ok {
		user["serviceAccountClientId"] = client
	}
	o.put(schema.Join(schema.RealmAddress, "users", name), text(user["id"]), without(user, "access"))
}

// clientOf is the client whose service account a user is. Keycloak says so in exports alone.
func (o *observation) clientOf(user string) (string, bool) {
	name, ok := strings.CutPrefix(user, serviceAccount)
	if !ok {
		return "", false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for a, c := range o.live.State {
		if a.Kind() == "clients" && strings.ToLower(a.Name()) == name && c.Fields["serviceAccountsEnabled"] == true {
			return a.Name(), true
		}
	}
	return "", false
}

// usersSeen makes sure that users which weren't found aren't there: with query-users alone Keycloak answers 200 with none.
func (o *observation) usersSeen(ctx context.Context) error {
	o.mu.Lock()
	for a := range o.live.State {
		if a.Kind() == "users" {
			o.mu.Unlock()
			return nil
		}
	}
	o.mu.Unlock()
	var users []map[string]any
	if err := o.Client.Get(ctx, o.path("users"), url.Values{"max": {"1"}}, &users); keycloak.IsForbidden(err) {
		return unseen("view-users", "the users")
	} else if err != nil || len(users) > 0 {
		return err
	}
	if n, err := o.countUsers(ctx); err != nil || n == 0 {
		return err
	}
	return unseen("view-users", "the users")
}

// userLinks are the reads of what users are granted and belong to, for those of whom somebody wants to know: user by user,
// or role by role and group by group where that takes fewer requests, and most users of the realm are asked for.
func (o *observation) userLinks(want schema.State, n needed) []func(context.Context) error {
	h := holders{observation: o, granted: map[schema.Address]bool{}, grouped: n["memberships"]}
	for _, kind := range []string{"realmRoles", "clientRoles"} {
		for owner := range n[kind] {
			if owner.Kind() == "users" {
				h.granted[owner] = true
			}
		}
	}
	reads := n.reads("federatedIdentities", o.federatedIdentities)
	targets := h.targets(want)
	byUser := len(h.granted) + len(h.grouped)
	if len(targets) < byUser && o.people > 0 && o.people < 2*max(len(h.granted), len(h.grouped)) {
		return append(reads, func(ctx context.Context) error { return h.read(ctx, targets) })
	}
	for user := range h.granted {
		reads = append(reads, func(ctx context.Context) error { return o.grants(ctx, want, user) })
	}
	return append(reads, n.reads("memberships", o.memberships)...)
}

// grants reads the roles of a user. Everybody has the default role; it counts only where it is declared.
func (o *observation) grants(ctx context.Context, want schema.State, user schema.Address) error {
	return o.ofUser(user, func(id string) error {
		realm, client, err := o.mappings(ctx, "users", id, "role-mappings")
		if err != nil {
			return err
		}
		declared, _ := want[schema.Join(user, "realmRoles")].Fields["realmRoles"].([]any)
		realm = slices.DeleteFunc(realm, func(role any) bool {
			return strings.HasPrefix(text(role), "default-roles-") && !slices.Contains(declared, role)
		})
		o.put(schema.Join(user, "realmRoles"), "", map[string]any{"realmRoles": realm})
		o.put(schema.Join(user, "clientRoles"), "", map[string]any{"clientRoles": client})
		return nil
	})
}

// memberships reads the groups of a user, or of a member of an organization among the organization's.
func (o *observation) memberships(ctx context.Context, owner schema.Address) error {
	return o.ofUser(owner, func(id string) error {
		path := []string{"users", id}
		if owner.Kind() == "members" {
			organization, ok := o.object(owner.Parent())
			if !ok {
				return nil
			}
			path = []string{"organizations", organization.ID, "members", id}
		}
		groups, err := o.groupsOf(ctx, path...)
		if err != nil {
			return err
		}
		paths := []any{}
		for _, g := range groups {
			if a, ok := o.withID("groups", g.ID); ok { // its path doesn't tell a slash in a name from one between two
				g.Path = drift.GroupPath(a)
			}
			paths = append(paths, g.Path)
		}
		o.put(schema.Join(owner, "memberships"), "", map[string]any{"groups": paths})
		return nil
	})
}

type groupOf struct{ ID, Path string }

// groupsOf are the groups that a user is in.
func (r *Realm) groupsOf(ctx context.Context, path ...string) ([]groupOf, error) {
	raw, err := r.Client.All(ctx, r.path(append(path, "groups")...), nil, page)
	if err != nil {
		return nil, err
	}
	groups := make([]groupOf, len(raw))
	for i, b := range raw {
		if err := json.Unmarshal(b, &groups[i]); err != nil {
			return nil, fmt.Errorf("read the groups of a user: %w", err)
		}
	}
	return groups, nil
}

func (o *observation) federatedIdentities(ctx context.Context, user schema.Address) error {
	return o.ofUser(user, func(id string) error {
		var identities []map[string]any
		if err := o.Client.Get(ctx, o.path("users", id, "federated-identity"), nil, &identities); err != nil {
			return err
		}
		for _, identity := range identities {
			provider := text(identity["identityProvider"])
			o.put(schema.Join(user, "federatedIdentities", provider), provider, identity)
		}
		return nil
	})
}

// ofUser reads something of a user who is there.
func (o *observation) ofUser(user schema.Address, read func(id string) error) error {
	object, ok := o.object(user)
	if !ok {
		return nil // nobody has made it yet
	}
	err := read(object.ID)
	if keycloak.IsForbidden(err) {
		return unseen("view-users", "what "+string(user)+" has")
	} else if keycloak.IsNotFound(err) {
		return nil // gone since
	}
	return err
}

// user creates, updates, renames or deletes a user.
func (a *application) user(ctx context.Context, c *drift.Change) error {
	switch c.Op {
	case drift.Create:
		return a.createUser(ctx, c)
	case drift.Delete:
		return a.remove(ctx, c.Address)
	default:
		id, err := a.id(ctx, c.Address)
		if err != nil {
			return err
		}
		err = a.writeUser(ctx, id, c.Diffs)
		if c.Op == drift.Rename && keycloak.Status(err) == http.StatusBadRequest {
			return fmt.Errorf("rename %s: the realm needs editUsernameAllowed: %w", c.From.Name(), err)
		}
		return err
	}
}

// createUser makes a user, or finds the one that its client has brought along in this pass.
func (a *application) createUser(ctx context.Context, c *drift.Change) error {
	name := c.Address.Name()
	if !strings.HasPrefix(name, serviceAccount) {
		if err := a.create(ctx, kinds[row("users")], c.Want); err != nil {
			return err
		}
		return a.requireNoMore(ctx, c.Want)
	}
	user, err := a.findUser(ctx, name)
	switch client := text(c.Want.Fields["serviceAccountClientId"]); {
	case err != nil:
		return err
	case user == nil && client != "":
		return fmt.Errorf("client %s has no service account %s: it needs serviceAccountsEnabled", client, name)
	case user == nil:
		return a.create(ctx, kinds[row("users")], c.Want)
	}
	id := text(user["id"])
	a.made(c.Address, id)
	diffs := slices.DeleteFunc(slices.Clone(c.Diffs), func(d drift.Diff) bool {
		return d.Path == "username" || d.Path == "serviceAccountClientId" || d.Path == "credentials"
	})
	if len(diffs) == 0 {
		return nil
	}
	return a.writeUser(ctx, id, diffs)
}

// requireNoMore takes from a new user the actions that the realm requires of everybody new, where the user declares others.
func (a *application) requireNoMore(ctx context.Context, user schema.Object) error {
	declared, ok := user.Fields["requiredActions"].([]any)
	if !ok {
		return nil
	}
	ofEverybody, err := a.requiredOfEverybody(ctx)
	if err != nil || len(difference(ofEverybody, declared)) == 0 {
		return err
	}
	id, err := a.id(ctx, user.Address)
	if err != nil {
		return err
	}
	var made struct{ RequiredActions []any }
	if err := a.Client.Get(ctx, a.path("users", id), nil, &made); err != nil {
		return err
	}
	required := difference(made.RequiredActions, difference(ofEverybody, declared))
	return a.writeUser(ctx, id, []drift.Diff{{Path: "requiredActions", At: []string{"requiredActions"}, Want: required}})
}

// OfEverybody are the aliases of the default actions, as far as they were read.
func OfEverybody(live schema.State) []any {
	var aliases []any
	for a, o := range live {
		if a.Kind() == "requiredActions" && o.Fields["enabled"] == true && o.Fields["defaultAction"] == true {
			aliases = append(aliases, a.Name())
		}
	}
	return aliases
}

// requiredOfEverybody are the aliases of the default actions, which are looked for once.
func (a *application) requiredOfEverybody(ctx context.Context) ([]any, error) {
	a.everybody.Lock()
	defer a.everybody.Unlock()
	if a.ofEverybody != nil {
		return a.ofEverybody, nil
	}
	var actions []struct {
		Alias                  string
		Enabled, DefaultAction bool
	}
	if err := a.Client.Get(ctx, a.path("authentication", "required-actions"), nil, &actions); err != nil {
		return nil, err
	}
	a.ofEverybody = []any{}
	for _, action := range actions {
		if action.Enabled && action.DefaultAction {
			a.ofEverybody = append(a.ofEverybody, action.Alias)
		}
	}
	return a.ofEverybody, nil
}

// writeUser puts what differs over the user as it is now: what a PUT with attributes leaves out is removed.
func (a *application) writeUser(ctx context.Context, id string, diffs []drift.Diff) error {
	var body map[string]any
	if err := a.Client.Get(ctx, a.path("users", id), nil, &body); err != nil {
		return err
	}
	merge(body, diffs, false)
	return a.Client.Put(ctx, a.path("users", id), without(body, "access", "federatedIdentities"))
}

// federatedIdentity links a user with one of a provider, anew where it was linked with another, or unlinks them.
func (a *application) federatedIdentity(ctx context.Context, c *drift.Change) error {
	if c.Op == drift.Delete {
		return a.remove(ctx, c.Address)
	}
	user, err := a.item(ctx, c.Address.Parent())
	if err != nil {
		return err
	}
	path := append(user, "federated-identity", c.Address.Name())
	body := c.Want.Fields
	if c.Op == drift.Update {
		body = deepCopy(c.Have.Fields)
		merge(body, c.Diffs, false)
		if err := a.discard(ctx, path...); err != nil {
			return err
		}
	}
	if _, err := a.Client.Post(ctx, a.path(path...), nil, body, nil); err != nil {
		return err
	}
	a.made(c.Address, c.Address.Name())
	return nil
}
