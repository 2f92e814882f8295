package realm

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// adminPermissions is the client whose policies say who may administer what in the realm (fine-grained admin permissions).
// Keycloak makes it, with its scopes, and a resource for each type and for each thing that a permission names.
const adminPermissions = "admin-permissions"

// resourceServer is where the authorization of a client stands below it.
var resourceServer = []string{"authz", "resource-server"}

// authorizationLists are what stands in the settings of a client's authorization, by the kind of the objects.
var authorizationLists = []string{"scopes", "resources", "policies"}

// configLists are the keys of a policy's config that are lists, which Keycloak holds as JSON.
var configLists = []string{"applyPolicies", "resources", "scopes", "users", "clients", "roles", "clientScopes", "groups"}

// combining are the types of policies that apply others, or hold for resources and scopes.
var combining = []string{"aggregate", "resource", "scope", "uma"}

// authorizations are the reads of what clients protect, of those of which somebody wants to know.
func (o *observation) authorizations(n needed) []func(context.Context) error {
	clients := needed{"clients": {}}
	for _, kind := range append([]string{"authorizationSettings"}, authorizationLists...) {
		maps.Copy(clients["clients"], n[kind])
	}
	return clients.reads("clients", o.authorization)
}

// authorization reads all of a client's settings by one request, or by their pieces: where the account lacks
// manage-authorization, and for the admin permissions, whose settings Keycloak doesn't give.
func (o *observation) authorization(ctx context.Context, client schema.Address) error {
	owner, ok := o.object(client)
	if !ok || owner.Fields["authorizationServicesEnabled"] != true {
		return nil // nobody has made it yet
	}
	path := append([]string{"clients", owner.ID}, resourceServer...)
	var settings map[string]any
	var err error
	pieces := client.Name() == adminPermissions
	if !pieces {
		err = o.Client.Get(ctx, o.path(append(path, "settings")...), nil, &settings)
		pieces = keycloak.IsForbidden(err)
	}
	if pieces {
		settings, err = o.authorizationPieces(ctx, client, path)
	}
	if keycloak.IsForbidden(err) {
		return unseen("view-authorization", "the authorization of "+string(client))
	} else if keycloak.IsNotFound(err) {
		return nil // gone since
	} else if err != nil {
		return err
	}
	for _, kind := range authorizationLists {
		for _, object := range objectsIn(settings, kind) {
			if object["owner"] == nil { // else it belongs to a user of the application
				o.put(schema.Join(client, kind, text(object["name"])), "", o.plain(kind, object))
			}
		}
	}
	o.put(schema.Join(client, "authorizationSettings"), owner.ID, without(settings, authorizationLists...))
	return nil
}

// plain is an object of a client's authorization in the form in which it is declared.
func (o *observation) plain(kind string, object map[string]any) map[string]any {
	switch kind {
	case "resources":
		object["scopes"] = namesOf(objectsIn(object, "scopes"))
	case "policies":
		config, _ := object["config"].(map[string]any)
		for _, key := range configLists {
			if list, ok := listIn(config[key]); ok && len(list) > 0 {
				config[key] = list
			} else if ok { // what a policy no longer names may be left as an empty list
				delete(config, key)
			}
		}
		for _, g := range objectsIn(config, "groups") {
			g["path"] = o.groupPath(text(g["path"]))
		}
	}
	return object
}

func namesOf(objects []map[string]any) []any {
	names := []any{}
	for _, o := range objects {
		names = append(names, o["name"])
	}
	return names
}

// listIn is the list that a string holds as JSON.
func listIn(v any) ([]any, bool) {
	var list []any
	s, ok := v.(string)
	return list, ok && json.Unmarshal([]byte(s), &list) == nil
}

// groupPath is the path of the group that Keycloak means by one in which a slash in a name looks like one between two.
func (o *observation) groupPath(path string) string {
	if _, ok := o.object(drift.GroupAt(schema.RealmAddress, path)); ok {
		return path
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for a := range o.live.State {
		if exact := drift.GroupPath(a); a.Kind() == "groups" && strings.ReplaceAll(exact, "~/", "/") == path {
			return exact
		}
	}
	return path
}

// authorizationPieces reads what the settings would have told, for which an account with view roles is enough. Policies
// then name everything by its id.
func (o *observation) authorizationPieces(ctx context.Context, client schema.Address, path []string) (map[string]any, error) {
	var settings map[string]any
	if err := o.Client.Get(ctx, o.path(path...), nil, &settings); err != nil {
		return nil, err
	}
	for _, kind := range authorizationLists {
		query := url.Values{}
		if kind == "policies" {
			query.Set("fields", "*")
		}
		objects, err := o.all(ctx, query, append(path, authorizationPaths[kind])...)
		if err != nil {
			return nil, err
		}
		var list []any
		for _, object := range objects {
			if owner, _ := object["owner"].(map[string]any); owner["id"] == settings["clientId"] {
				delete(object, "owner")
			}
			if kind == "policies" {
				if err := o.wholePolicy(ctx, client, path, object); err != nil {
					return nil, err
				}
			}
			list = append(list, object)
		}
		settings[kind] = list
	}
	return settings, nil
}

// authorizationPaths are the collections below the resource server.
var authorizationPaths = map[string]string{"scopes": "scope", "resources": "resource", "policies": "policy"}

// wholePolicy puts names in the place of ids, and what a list of policies leaves out: those that a policy applies.
func (o *observation) wholePolicy(ctx context.Context, client schema.Address, path []string, policy map[string]any) error {
	config, _ := policy["config"].(map[string]any)
	if config == nil {
		config = map[string]any{}
		policy["config"] = config
	}
	if slices.Contains(combining, text(policy["type"])) {
		applied, err := o.names(ctx, append(path, "policy", text(policy["id"]), "associatedPolicies")...)
		if err != nil {
			return err
		}
		config["applyPolicies"] = inString(applied)
	}
	if resources := namesOf(objectsIn(policy, "resourcesData")); len(resources) > 0 {
		if client.Name() == adminPermissions {
			if err := o.renameAll(ctx, permissionKinds[text(config["defaultResourceType"])], resources); err != nil {
				return err
			}
		}
		config["resources"] = inString(resources)
	}
	if scopes := namesOf(objectsIn(policy, "scopesData")); len(scopes) > 0 {
		config["scopes"] = inString(scopes)
	}
	for _, key := range []string{"users", "clients", "roles", "clientScopes", "groups"} {
		if list, ok := listIn(config[key]); ok {
			if err := o.renameAll(ctx, key, list); err != nil {
				return err
			}
			config[key] = inString(list)
		}
	}
	without(policy, "resources", "resourcesData", "scopes", "scopesData", "policies")
	return nil
}

func inString(list []any) string {
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // JSON values always encode
	}
	return string(b)
}

// permissionKinds are the kinds of what admin permissions are about, by the types that Keycloak gives them. The name of a
// type stands for everything of it.
var permissionKinds = map[string]string{"Users": "users", "Groups": "groups", "Clients": "clients", "Roles": "roles", "Organizations": "organizations"}

// renameAll puts the names of objects of a kind in the place of their ids, in a list of those or of objects that bear one.
func (o *observation) renameAll(ctx context.Context, kind string, list []any) error {
	for i, v := range list {
		entry, isObject := v.(map[string]any)
		if !isObject {
			name, err := o.nameOf(ctx, kind, text(v))
			if err != nil {
				return err
			}
			list[i] = name
			continue
		}
		name, err := o.nameOf(ctx, kind, text(entry["id"]))
		if err != nil {
			return err
		}
		if kind == "groups" {
			delete(entry, "id")
			entry["path"] = name
		} else {
			entry["id"] = name
		}
	}
	return nil
}

// nameOf is what manifests call the object of a kind with an id; the id itself where there is none.
func (o *observation) nameOf(ctx context.Context, kind, id string) (string, error) {
	if a, ok := o.withID(kind, id); ok {
		return called(a), nil
	}
	var found struct {
		Username, Name, ContainerID string
		ClientRole                  bool
	}
	var err error
	switch kind {
	case "users":
		err = o.Client.Get(ctx, o.path("users", id), nil, &found)
		found.Name = found.Username
	case "roles": // of a client, of which nobody else wants to know
		err = o.Client.Get(ctx, o.path("roles-by-id", id), nil, &found)
		if owner, ok := o.withID("clients", found.ContainerID); ok && found.ClientRole {
			found.Name = owner.Name() + "/" + found.Name
		}
	default:
		return id, nil
	}
	if keycloak.IsNotFound(err) {
		return id, nil
	} else if keycloak.IsForbidden(err) {
		return "", unseen("view-users", "whom policies name")
	}
	return found.Name, err
}
