package realm

import (
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// reference is a name in a policy or resource, and what it may mean: client/role is a role of a client, or one of the realm
// with a slash in its name. What it means is the first of these that there is.
type reference struct {
	path string // of the field that holds it
	name string
	may  []schema.Address
}

// after is the name after renames.
func (r reference) after(now func(schema.Address) schema.Address) string {
	for _, target := range r.may {
		if to := now(target); to != target {
			return called(to)
		}
	}
	return r.name
}

// references are the names in a policy or resource of a client, without those that mean every object of a type.
func references(o schema.Object) []reference {
	var all []reference
	renamed(o, func(r reference) string {
		all = append(all, r)
		return r.name
	})
	return all
}

// renamed is an object with its references called as now says; others are left as they are.
func renamed(o schema.Object, now func(reference) string) schema.Object {
	list := func(fields map[string]any, key, path string) {
		names, ok := fields[key].([]any)
		if !ok {
			return
		}
		kind, everything := referredBy(o, key)
		names = slices.Clone(names)
		for i, v := range names {
			entry, isObject := v.(map[string]any)
			field := map[bool]string{true: "path", false: "id"}[kind == "groups"]
			r := reference{path: path + key, name: text(v)}
			if isObject {
				r.name = text(entry[field])
			}
			if kind == "" || r.name == everything {
				continue
			}
			r.may = meant(o.Address.Parent(), kind, r.name)
			if name := now(r); isObject {
				entry = maps.Clone(entry)
				entry[field], names[i] = name, entry
			} else {
				names[i] = name
			}
		}
		fields[key] = names
	}
	switch o.Address.Kind() {
	case "resources":
		o.Fields = maps.Clone(o.Fields)
		list(o.Fields, "scopes", "")
	case "policies":
		if config, ok := o.Fields["config"].(map[string]any); ok {
			o.Fields, config = maps.Clone(o.Fields), maps.Clone(config)
			o.Fields["config"] = config
			for _, key := range configLists {
				list(config, key, "config.")
			}
		}
	}
	return o
}

// referredBy is the kind of what a list of names in a policy or resource is about, "" where nobody knows, and the name that
// stands for all objects of the kind.
func referredBy(o schema.Object, key string) (kind, everything string) {
	switch {
	case key == "applyPolicies":
		return "policies", ""
	case key == "resources" && o.Address.Parent().Name() == adminPermissions:
		config, _ := o.Fields["config"].(map[string]any)
		everything = text(config["defaultResourceType"])
		return permissionKinds[everything], everything
	}
	return key, ""
}

// meant are the objects that a name in the authorization of a client may stand for.
func meant(client schema.Address, kind, name string) []schema.Address {
	switch kind {
	case "scopes", "resources", "policies":
		return []schema.Address{schema.Join(client, kind, name)}
	case "groups":
		return []schema.Address{drift.GroupAt(schema.RealmAddress, name)}
	case "users":
		name = strings.ToLower(name)
	case "roles":
		var may []schema.Address
		for i := range name {
			if name[i] == '/' {
				may = append(may, schema.Join(schema.Join(schema.RealmAddress, "clients", name[:i]), "roles", name[i+1:]))
			}
		}
		return append(may, schema.Join(schema.RealmAddress, "roles", name))
	}
	return []schema.Address{schema.Join(schema.RealmAddress, kind, name)}
}

// called is the name by which policies call an object.
func called(a schema.Address) string {
	switch {
	case a.Kind() == "groups":
		return drift.GroupPath(a)
	case a.Kind() == "roles" && a.Parent() != schema.RealmAddress:
		return a.Parent().Name() + "/" + a.Name()
	}
	return a.Name()
}
