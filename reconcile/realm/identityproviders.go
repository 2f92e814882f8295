package realm

import (
	"context"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

func (o *observation) identityProviders(ctx context.Context) error {
	providers, err := o.all(ctx, nil, "identity-provider", "instances")
	if keycloak.IsForbidden(err) {
		return unseen("view-identity-providers", "the identity providers")
	} else if err != nil {
		return err
	}
	for _, p := range providers {
		alias := text(p["alias"])
		o.put(schema.Join(schema.RealmAddress, "identityProviders", alias), alias, p)
	}
	return nil
}

func (o *observation) identityProviderMappers(ctx context.Context, provider schema.Address) error {
	if _, ok := o.object(provider); !ok {
		return nil // nobody has made it yet
	}
	var mappers []map[string]any
	err := o.Client.Get(ctx, o.path("identity-provider", "instances", provider.Name(), "mappers"), nil, &mappers)
	if keycloak.IsNotFound(err) {
		return nil // gone since
	} else if err != nil {
		return err
	}
	for _, m := range mappers {
		o.put(schema.Join(provider, "identityProviderMappers", text(m["name"])), text(m["id"]), m)
	}
	return nil
}
