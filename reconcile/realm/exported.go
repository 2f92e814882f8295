package realm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// A partial export shows in one request what elsewhere takes one an object: the roles of clients, what roles are composed
// of, scope mappings, the mappers of identity providers. It needs manage-realm, and so nothing depends on it: an account
// without that reads object by object. All else is read by pages, and first: on a just-started server an export that
// comes before them takes minutes where it takes a second after them (26.7.3, a thousand clients). One that takes long all
// the same is given up: what it would have shown costs a request an object, of which each is short.

// exportable are the kinds that an export holds.
var exportable = []string{"roles", "composites", "scopeMappings", "identityProviderMappers"}

// export is what is taken from a partial export.
type export struct {
	Roles struct {
		Realm  []map[string]any
		Client map[string][]map[string]any
	}
	ScopeMappings           []exportedMapping            // of the realm's roles
	ClientScopeMappings     map[string][]exportedMapping // by the client whose roles they are
	IdentityProviderMappers []map[string]any
}

type exportedMapping struct {
	Client, ClientScope string // one of them: to whom the roles are mapped
	Roles               []any
}

func (m exportedMapping) owner() schema.Address {
	if m.Client != "" {
		return schema.Join(schema.RealmAddress, "clients", m.Client)
	}
	return schema.Join(schema.RealmAddress, "clientScopes", m.ClientScope)
}

// worthExporting tells whether an export replaces so many requests that it is the cheaper way.
func (o *observation) worthExporting(n needed) bool {
	replaces := 0
	for _, kind := range exportable {
		for owner := range n[kind] {
			if object, live := o.object(owner); live && (kind != "composites" || object.Fields["composite"] == true) {
				replaces++
			}
		}
	}
	return replaces >= 4
}

// exportTime is how long an export may take.
const exportTime = 10 * time.Second

// export reads what is needed of the exportable kinds, of which nothing is needed any longer then. It is false where the
// account may not, or the export takes too long.
func (o *observation) export(ctx context.Context, n needed) (bool, error) {
	var e export
	switch err := o.Client.Export(ctx, o.Name, true, true, exportTime, &e); {
	case err == nil:
	case keycloak.IsForbidden(err), errors.Is(err, keycloak.ErrSlow):
		return false, nil
	default:
		return false, fmt.Errorf("export the realm: %w", err)
	}
	o.exportedRoles(e, n)
	o.exportedMappings(e, n)
	for _, m := range e.IdentityProviderMappers {
		provider := schema.Join(schema.RealmAddress, "identityProviders", text(m["identityProviderAlias"]))
		if n["identityProviderMappers"][provider] {
			o.put(schema.Join(provider, "identityProviderMappers", text(m["name"])), text(m["id"]), m)
		}
	}
	return true, nil
}

func (o *observation) exportedRoles(e export, n needed) {
	put := func(owner schema.Address, roles []map[string]any) {
		for _, role := range roles {
			a := schema.Join(owner, "roles", text(role["name"]))
			if n["composites"][a] {
				o.put(schema.Join(a, "composites"), "", map[string]any{"composites": composites(role)})
			}
			if n["roles"][owner] && owner != schema.RealmAddress { // the realm's were read by pages
				o.put(a, text(role["id"]), without(role, "composites"))
			}
		}
	}
	put(schema.RealmAddress, e.Roles.Realm)
	for client, roles := range e.Roles.Client {
		put(schema.Join(schema.RealmAddress, "clients", client), roles)
	}
}

// composites are what a role is composed of, in the shape that reading it by itself gives.
func composites(role map[string]any) map[string]any {
	of, _ := role["composites"].(map[string]any)
	realm, _ := of["realm"].([]any)
	client, _ := of["client"].(map[string]any)
	if of == nil {
		return map[string]any{}
	}
	if realm == nil {
		realm = []any{}
	}
	if client == nil {
		client = map[string]any{}
	}
	return map[string]any{"realm": realm, "client": client}
}

func (o *observation) exportedMappings(e export, n needed) {
	realm, client := map[schema.Address][]any{}, map[schema.Address]map[string]any{}
	for _, m := range e.ScopeMappings {
		realm[m.owner()] = m.Roles
	}
	for name, mappings := range e.ClientScopeMappings {
		for _, m := range mappings {
			if client[m.owner()] == nil {
				client[m.owner()] = map[string]any{}
			}
			client[m.owner()][name] = m.Roles
		}
	}
	for owner := range n["scopeMappings"] {
		if _, live := o.object(owner); live {
			o.putScopeMappings(owner, realm[owner], client[owner])
		}
	}
}
