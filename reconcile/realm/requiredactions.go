package realm

import (
	"context"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

func (o *observation) requiredActions(ctx context.Context) error {
	var actions []map[string]any
	if err := o.Client.Get(ctx, o.path("authentication", "required-actions"), nil, &actions); keycloak.IsForbidden(err) {
		return unseen("view-realm", "the required actions")
	} else if err != nil {
		return err
	}
	for _, action := range actions {
		alias := text(action["alias"])
		o.put(schema.Join(schema.RealmAddress, "requiredActions", alias), alias, action)
	}
	return nil
}

// requiredAction registers an action, or changes one. A registration takes no more than the provider, whose name becomes
// the alias, and what comes of it is then changed.
func (a *application) requiredAction(ctx context.Context, c *drift.Change) error {
	if c.Op == drift.Create {
		alias := c.Address.Name()
		registration := map[string]any{"providerId": alias, "name": alias}
		if name := text(c.Want.Fields["name"]); name != "" {
			registration["name"] = name
		}
		if _, err := a.Client.Post(ctx, a.path("authentication", "register-required-action"), nil, registration, nil); err != nil {
			return err
		}
		a.made(c.Address, alias)
	}
	body, err := a.current(ctx, c.Address)
	if err != nil {
		return err
	}
	merge(body, c.Diffs, false)
	return a.put(ctx, c.Address, body)
}
