package realm

import (
	"context"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// scopeMappings reads what tokens of one client, or with one client scope, may bear.
func (o *observation) scopeMappings(ctx context.Context, owner schema.Address) error {
	object, ok := o.object(owner)
	if !ok {
		return nil // nobody has made it yet
	}
	path := []string{"clients", object.ID, "scope-mappings"}
	if owner.Kind() == "clientScopes" {
		path[0] = "client-scopes"
	}
	realm, client, err := o.mappings(ctx, path...)
	if keycloak.IsForbidden(err) {
		return unseen("view-clients", "the scope mappings of "+string(owner))
	} else if keycloak.IsNotFound(err) {
		return nil // gone since
	} else if err != nil {
		return err
	}
	o.putScopeMappings(owner, realm, client)
	return nil
}

func (o *observation) putScopeMappings(owner schema.Address, realm []any, client map[string]any) {
	mappings := map[string]any{"client": client}
	if len(realm) > 0 { // the key of an open map
		mappings["realm"] = realm
	}
	o.put(schema.Join(owner, "scopeMappings"), "", map[string]any{"scopeMappings": mappings})
}

// mappings reads roles that are mapped to something: the names of the realm's, and by client those of clients.
func (o *observation) mappings(ctx context.Context, path ...string) (realm []any, client map[string]any, err error) {
	type mapped []struct{ Name string }
	var found struct {
		RealmMappings  mapped
		ClientMappings map[string]struct{ Mappings mapped }
	}
	if err := o.Client.Get(ctx, o.path(path...), nil, &found); err != nil {
		return nil, nil, err
	}
	names := func(roles mapped) []any {
		names := []any{}
		for _, r := range roles {
			names = append(names, r.Name)
		}
		return names
	}
	client = map[string]any{}
	for name, m := range found.ClientMappings {
		client[name] = names(m.Mappings)
	}
	return names(found.RealmMappings), client, nil
}
