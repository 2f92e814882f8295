package realm

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// authorizationSettings sets how a client decides. A PUT replaces these settings, and refuses some of them alone with 409.
func (a *application) authorizationSettings(ctx context.Context, c *drift.Change) error {
	path, err := a.resourceServer(ctx, c.Address.Parent())
	if err != nil || len(c.Diffs) == 0 {
		return err
	}
	var body map[string]any
	if err := a.Client.Get(ctx, a.path(path...), nil, &body); err != nil {
		return err
	}
	merge(body, c.Diffs, false)
	return a.Client.Put(ctx, a.path(path...), without(body, authorizationLists...))
}

// protection is the role that a client gets along with authorization services: its service account needs it to manage resources.
const protection = "uma_protection"

// broughtAlong tells whether what is to be made came with a client of this pass.
func (a *application) broughtAlong(ctx context.Context, address schema.Address) (bool, error) {
	if address.Kind() != "roles" || address.Name() != protection || address.Parent() == schema.RealmAddress {
		return false, nil
	}
	_, err := a.id(ctx, address)
	if keycloak.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// resourceServer leads to the authorization of a client.
func (a *application) resourceServer(ctx context.Context, client schema.Address) ([]string, error) {
	path, err := a.item(ctx, client)
	return append(path, resourceServer...), err
}

// adminPermissions is the id of the client that Keycloak makes when a realm gets admin permissions.
func (a *application) adminPermissions(ctx context.Context, address schema.Address) (string, error) {
	var found []struct{ ID string }
	if err := a.Client.Get(ctx, a.path("clients"), url.Values{"clientId": {adminPermissions}}, &found); err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%s isn't there", address)
	}
	a.made(address, found[0].ID)
	return found[0].ID, nil
}

// authorized creates, changes, renames or deletes a scope, resource or policy of a client.
func (a *application) authorized(ctx context.Context, c *drift.Change) error {
	server, err := a.resourceServer(ctx, c.Address.Parent())
	if c.Op == drift.Delete && keycloak.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	path := append(slices.Clip(server), authorizationPaths[c.Address.Kind()])
	if c.Op == drift.Create {
		return a.createAuthorized(ctx, path, c.Want)
	}
	at := c.Address
	if c.Op == drift.Rename {
		at = c.From
	}
	id, err := a.search(ctx, path, at.Name())
	switch {
	case err != nil:
		return err
	case id == "" && c.Op == drift.Delete: // it went with another, or with all that its client protected
		return nil
	case id == "":
		return fmt.Errorf("%s isn't there", at)
	case c.Op == drift.Delete:
		return a.discard(ctx, append(path, id)...)
	}
	var body map[string]any
	if err := a.Client.Get(ctx, a.path(append(path, id)...), nil, &body); err != nil {
		return err
	}
	if c.Address.Kind() != "policies" {
		merge(body, c.Diffs, false)
		return a.Client.Put(ctx, a.path(append(path, id)...), withScopes(without(body, "owner")))
	}
	if differsIn(c.Diffs, "type") {
		return a.replacePolicy(ctx, path, id, body, c.Want)
	}
	if body, err = a.policy(ctx, c.Want, body, c.Diffs); err != nil {
		return err
	}
	return a.Client.Put(ctx, a.path(append(path, id)...), body)
}

// search is the id of what bears a name in a collection of a client's authorization; "" where there is none.
func (a *application) search(ctx context.Context, path []string, name string) (string, error) {
	var found map[string]any
	err := a.Client.Get(ctx, a.path(append(slices.Clip(path), "search")...), url.Values{"name": {name}}, &found)
	if keycloak.IsNotFound(err) {
		return "", nil
	}
	if id := text(found["_id"]); id != "" {
		return id, err
	}
	return text(found["id"]), err
}

func (a *application) createAuthorized(ctx context.Context, path []string, o schema.Object) error {
	body := withoutNulls(o.Fields)
	if o.Address.Kind() == "policies" {
		var diffs []drift.Diff
		for name, v := range body {
			diffs = append(diffs, drift.Diff{At: []string{name}, Want: v})
		}
		config, _ := body["config"].(map[string]any)
		for key, v := range config {
			diffs = append(diffs, drift.Diff{At: []string{"config", key}, Want: v})
		}
		var err error
		if body, err = a.policy(ctx, o, map[string]any{}, diffs); err != nil {
			return err
		}
	}
	_, err := a.Client.Post(ctx, a.path(path...), nil, withScopes(body), nil)
	return err
}

// withScopes is a resource with its scopes as Keycloak takes them, where they stand there as they are declared.
func withScopes(body map[string]any) map[string]any {
	scopes, _ := body["scopes"].([]any)
	var objects []any
	for _, s := range scopes {
		if name, ok := s.(string); ok {
			s = map[string]any{"name": name}
		}
		objects = append(objects, s)
	}
	if objects != nil {
		body["scopes"] = objects
	}
	return body
}

// policy is a policy as Keycloak takes it, with what differs. What it names outside of the client's authorization is named
// by its id: of names that it doesn't find, Keycloak makes nothing, or everything (26.4.7).
func (a *application) policy(ctx context.Context, want schema.Object, body map[string]any, diffs []drift.Diff) (map[string]any, error) {
	config, _ := body["config"].(map[string]any)
	if config == nil {
		config = map[string]any{}
	}
	body["config"] = config
	for _, d := range diffs {
		if len(d.At) != 2 || d.At[0] != "config" || !slices.Contains(configLists, d.At[1]) {
			if d.At[0] != "config" || len(d.At) == 2 {
				merge(body, []drift.Diff{d}, false)
			}
			continue
		}
		list, err := a.withIDs(ctx, want, d.At[1], d.Want)
		if err != nil {
			return nil, err
		}
		config[d.At[1]] = inString(list)
	}
	if kind := config["defaultResourceType"]; want.Address.Parent().Name() == adminPermissions && kind != nil {
		body["resourceType"] = kind
	}
	return body, nil
}

// withIDs is a list of a policy's config with ids in the place of names.
func (a *application) withIDs(ctx context.Context, want schema.Object, key string, v any) ([]any, error) {
	config := map[string]any{key: v}
	if declared, ok := want.Fields["config"].(map[string]any); ok && key == "resources" {
		config["defaultResourceType"] = declared["defaultResourceType"]
	}
	want.Fields = map[string]any{"config": config}
	var failed error
	want = renamed(want, func(r reference) string {
		if slices.Contains(authorizationLists, r.may[0].Kind()) {
			return r.name // which the server takes
		}
		id, err := a.find(ctx, r.may)
		failed = cmp.Or(failed, err)
		return id
	})
	list := append([]any{}, listOf(want.Fields["config"].(map[string]any)[key])...)
	if key == "groups" {
		for _, v := range list {
			entry := v.(map[string]any)
			entry["id"] = entry["path"]
			delete(entry, "path")
		}
	}
	return list, failed
}

func listOf(v any) []any { list, _ := v.([]any); return list }

// find is the id of the first of some objects that there is.
func (a *application) find(ctx context.Context, may []schema.Address) (string, error) {
	there := func(address schema.Address) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return address == schema.RealmAddress || a.ids[address] != ""
	}
	for _, address := range may {
		if address.Kind() == "roles" && !there(address.Parent()) || address.Kind() != "roles" && !there(address) {
			continue
		}
		if id, err := a.id(ctx, address); !keycloak.IsNotFound(err) {
			return id, err
		}
	}
	return "", fmt.Errorf("%s isn't there", may[len(may)-1])
}

// replacePolicy makes a policy anew, since Keycloak changes no type. The former one stays in force under another name until
// whatever applies it applies the new one: with one condition less, a permission might grant what it shouldn't.
func (a *application) replacePolicy(ctx context.Context, path []string, id string, former map[string]any, want schema.Object) error {
	aside := text(former["name"]) + " (replaced)"
	former["name"] = aside
	if err := a.Client.Put(ctx, a.path(append(path, id)...), former); err != nil {
		return err
	}
	if err := a.createAuthorized(ctx, path, want); err != nil {
		return err
	}
	var dependents []struct{ ID string }
	if err := a.Client.Get(ctx, a.path(append(path, id, "dependentPolicies")...), nil, &dependents); err != nil {
		return err
	}
	for _, d := range dependents {
		var body map[string]any
		if err := a.Client.Get(ctx, a.path(append(path, d.ID)...), nil, &body); err != nil {
			return err
		}
		applied, err := a.names(ctx, append(path, d.ID, "associatedPolicies")...)
		if err != nil {
			return err
		}
		if i := slices.Index(applied, any(aside)); i >= 0 {
			applied[i] = want.Address.Name()
		}
		config, _ := body["config"].(map[string]any)
		config["applyPolicies"] = inString(applied)
		if err := a.Client.Put(ctx, a.path(append(path, d.ID)...), body); err != nil {
			return err
		}
	}
	return a.discard(ctx, append(path, id)...)
}

// differsIn tells whether a field at the top is among what differs.
func differsIn(diffs []drift.Diff, field string) bool {
	return slices.ContainsFunc(diffs, func(d drift.Diff) bool { return len(d.At) == 1 && d.At[0] == field })
}

// nesting is how many policies that this pass writes must be there before a policy is, one after the other.
func (a *application) nesting(c *drift.Change) int {
	return a.nestingIn(c, map[schema.Address]bool{})
}

func (a *application) nestingIn(c *drift.Change, above map[schema.Address]bool) int {
	deepest := 0
	if c.Address.Kind() != "policies" || above[c.Address] {
		return 0
	}
	above[c.Address] = true
	defer delete(above, c.Address)
	for _, r := range references(c.Want) {
		for i := range a.changes {
			other := &a.changes[i]
			if slices.Contains(r.may, other.Address) && other.Address.Kind() == "policies" && other.Op != drift.Delete {
				deepest = max(deepest, 1+a.nestingIn(other, above))
			}
		}
	}
	return deepest
}
