package schema

import (
	"slices"
	"strings"
)

// permissionKinds are the kinds of what admin permissions are about, by the types that Keycloak gives them.
var permissionKinds = map[string]string{"Users": "users", "Groups": "groups", "Clients": "clients", "Roles": "roles", "Organizations": "organizations"}

// permissionNames settles what admin permissions are about, which Keycloak and its exports name by ids: a file resolves
// those of its own. A permission that names nothing is about everything of its type, as it is for Keycloak.
func (w *walker) permissionNames() {
	policies := Join(Join(RealmAddress, "clients", "admin-permissions"), "policies")
	for a, o := range w.into.State {
		config, _ := o.Fields["config"].(map[string]any)
		kind, _ := config["defaultResourceType"].(string)
		if a.List() != policies || kind == "" {
			continue
		}
		about, _ := config["resources"].([]any)
		about = slices.Clone(about)
		if len(about) == 0 {
			about = []any{kind}
		}
		for i, v := range about {
			id, _ := v.(string)
			if name, ok := w.named[permissionKinds[kind]][id]; ok {
				about[i] = name
			} else if kind == "Users" && id != kind {
				about[i] = strings.ToLower(id)
			}
		}
		config["resources"] = about
	}
}
