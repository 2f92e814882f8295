package realm

import (
	"context"
	"net/url"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// groups reads whole trees, with attributes and role mappings, in one request (26.7.3: search=* matches all of them).
func (o *observation) groups(ctx context.Context) error {
	var groups []map[string]any
	query := url.Values{"search": {"*"}, "populateHierarchy": {"true"}, "briefRepresentation": {"false"}}
	err := o.Client.Get(ctx, o.path("groups"), query, &groups)
	if keycloak.IsForbidden(err) {
		return unseen("view-users", "the groups")
	} else if err != nil {
		return err
	}
	if len(groups) == 0 {
		var count struct{ Count int }
		if err := o.Client.Get(ctx, o.path("groups", "count"), nil, &count); err != nil && !keycloak.IsForbidden(err) {
			return err
		} else if err != nil {
			return unseen("view-users", "the groups")
		}
		if count.Count > 0 {
			if groups, err = o.groupsOneByOne(ctx, "groups"); err != nil {
				return err
			}
			if len(groups) == 0 {
				return unseen("view-users", "the groups")
			}
		}
	}
	o.putGroups(schema.RealmAddress, groups)
	return nil
}

// groupsOneByOne reads the groups of a list, and those below each, as versions before 26.7 need it: they match no group by *.
func (o *observation) groupsOneByOne(ctx context.Context, list ...string) ([]map[string]any, error) {
	groups, err := o.all(ctx, url.Values{"briefRepresentation": {"false"}}, list...)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if count, _ := g["subGroupCount"].(float64); count == 0 {
			continue
		}
		below, err := o.groupsOneByOne(ctx, "groups", text(g["id"]), "children")
		if err != nil {
			return nil, err
		}
		subGroups := []any{}
		for _, s := range below {
			subGroups = append(subGroups, s)
		}
		g["subGroups"] = subGroups
	}
	return groups, nil
}

func (o *observation) putGroups(parent schema.Address, groups []map[string]any) {
	for _, g := range groups {
		a := schema.Join(parent, "groups", text(g["name"]))
		realmRoles, _ := g["realmRoles"].([]any)
		clientRoles, _ := g["clientRoles"].(map[string]any)
		o.put(schema.Join(a, "realmRoles"), "", map[string]any{"realmRoles": realmRoles})
		o.put(schema.Join(a, "clientRoles"), "", map[string]any{"clientRoles": clientRoles})
		var children []map[string]any
		subGroups, _ := g["subGroups"].([]any)
		for _, s := range subGroups {
			if child, ok := s.(map[string]any); ok {
				children = append(children, child)
			}
		}
		o.putGroups(a, children)
		o.put(a, text(g["id"]), bare("groups", g))
	}
}
