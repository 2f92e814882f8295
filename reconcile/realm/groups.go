package realm

import (
	"context"
	"net/url"
	"slices"

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

// organizationGroups reads the trees of groups that an organization has, which no version before 26.6 knows.
func (o *observation) organizationGroups(ctx context.Context, organization schema.Address, id string) error {
	var groups []map[string]any
	query := url.Values{"search": {"*"}, "populateHierarchy": {"true"}, "briefRepresentation": {"false"}}
	if err := o.Client.Get(ctx, o.path("organizations", id, "groups"), query, &groups); keycloak.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	o.putGroups(organization, groups)
	return nil
}

// organizationPath leads to the organization that a group stands in; it is empty for groups of the realm.
func (a *application) organizationPath(ctx context.Context, address schema.Address) ([]string, error) {
	for ; address != "" && address != schema.RealmAddress; address = address.Parent() {
		if address.Kind() == "organizations" {
			return a.item(ctx, address)
		}
	}
	return nil, nil
}

// groupsWith are the groups that have the ids.
func (a *application) groupsWith(groups []groupOf) []schema.Address {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []schema.Address
	for address, id := range a.ids {
		if address.Kind() == "groups" && slices.ContainsFunc(groups, func(g groupOf) bool { return g.ID == id }) {
			found = append(found, address)
		}
	}
	return found
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
