package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// What users are granted and belong to can be asked of each user, or of each role and group who has it. Of thousands of
// users with dozens of roles the second takes a small part of the requests.

// holders asks roles and groups for their users, where somebody wants to know.
type holders struct {
	*observation
	granted, grouped map[schema.Address]bool // the users whose roles and whose groups are asked for

	mu      sync.Mutex
	roles   map[schema.Address][]any            // by user: of the realm
	clients map[schema.Address]map[string][]any // by user and client
	groups  map[schema.Address][]any            // by user: paths
}

// targets are the roles and groups to be asked. Everybody has the default role: it is asked for only where a user's roles
// name it. Of clients only those count that a user's roles name, for the map of them is open.
func (h *holders) targets(want schema.State) []schema.Address {
	named := map[schema.Address]bool{}
	for user := range h.granted {
		for _, kind := range []string{"realmRoles", "clientRoles"} {
			for _, target := range Targets(want[schema.Join(user, kind)]) {
				named[target], named[target.Parent()] = true, true
			}
		}
	}
	var targets []schema.Address
	for a := range h.live.State {
		switch parent := a.Parent(); a.Kind() {
		case "roles":
			ofRealm := parent == schema.RealmAddress && !strings.HasPrefix(a.Name(), "default-roles-")
			if len(h.granted) > 0 && (ofRealm || named[a] || (named[parent] || h.whole) && parent != schema.RealmAddress) {
				targets = append(targets, a)
			}
		case "groups":
			if len(h.grouped) > 0 && strings.HasPrefix(string(a), "groups/") { // not those of organizations
				targets = append(targets, a)
			}
		}
	}
	return targets
}

// read asks them all, and puts what came of it.
func (h *holders) read(ctx context.Context, targets []schema.Address) error {
	h.roles, h.groups, h.clients = map[schema.Address][]any{}, map[schema.Address][]any{}, map[schema.Address]map[string][]any{}
	var reads []func(context.Context) error
	for _, target := range targets {
		reads = append(reads, func(ctx context.Context) error { return h.of(ctx, target) })
	}
	if err := together(ctx, reads...); err != nil {
		return err
	}
	for user := range h.granted {
		if _, live := h.object(user); !live {
			continue
		}
		client := map[string]any{}
		for name, roles := range h.clients[user] {
			client[name] = roles
		}
		h.put(schema.Join(user, "realmRoles"), "", map[string]any{"realmRoles": h.roles[user]})
		h.put(schema.Join(user, "clientRoles"), "", map[string]any{"clientRoles": client})
	}
	for user := range h.grouped {
		if _, live := h.object(user); live {
			h.put(schema.Join(user, "memberships"), "", map[string]any{"groups": h.groups[user]})
		}
	}
	return nil
}

// of notes who has a role or belongs to a group.
func (h *holders) of(ctx context.Context, target schema.Address) error {
	object, _ := h.object(target)
	path := []string{"groups", object.ID, "members"}
	if target.Kind() == "roles" {
		path = []string{"roles", target.Name(), "users"}
		if client, ofClient := h.object(target.Parent()); ofClient && target.Parent() != schema.RealmAddress {
			path = append([]string{"clients", client.ID}, path...)
		}
	}
	users, err := h.Client.All(ctx, h.path(path...), url.Values{"briefRepresentation": {"true"}}, usersPage)
	if keycloak.IsForbidden(err) {
		return unseen("view-users", "who has "+string(target))
	} else if keycloak.IsNotFound(err) {
		return nil // gone since
	} else if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range users {
		var user struct{ Username string }
		if err := json.Unmarshal(b, &user); err != nil {
			return fmt.Errorf("read the users of %s: %w", target, err)
		}
		a := schema.Join(schema.RealmAddress, "users", strings.ToLower(user.Username))
		switch parent := target.Parent(); {
		case target.Kind() == "groups":
			h.groups[a] = append(h.groups[a], text(object.Fields["path"]))
		case parent == schema.RealmAddress:
			h.roles[a] = append(h.roles[a], target.Name())
		default:
			if h.clients[a] == nil {
				h.clients[a] = map[string][]any{}
			}
			h.clients[a][parent.Name()] = append(h.clients[a][parent.Name()], target.Name())
		}
	}
	return nil
}
