package realm

import (
	"context"
	"net/url"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// linked is the field of an organization that its representation doesn't bring: the aliases of its identity providers.
const linked = "identityProviders"

// organizations reads them, and of those whose identity providers, groups or members are asked for, these too.
func (o *observation) organizations(needed needed) func(context.Context) error {
	return func(ctx context.Context) error {
		all, err := o.all(ctx, url.Values{"briefRepresentation": {"false"}}, "organizations")
		if keycloak.IsNotFound(err) { // the realm has them not enabled
			return nil
		} else if keycloak.IsForbidden(err) {
			return unseen("view-organizations", "the organizations, which versions without that role show to manage-realm")
		} else if err != nil {
			return err
		}
		for _, organization := range all {
			a, id := schema.Join(schema.RealmAddress, "organizations", text(organization["alias"])), text(organization["id"])
			_, wanted := o.want[a]
			goes := !wanted && (o.Complete["organizations"] || o.live.Ledgers[o.source].Owned[a]) // and with it what others may take
			if _, declared := o.want[a].Fields[linked]; declared || goes {
				if organization[linked], err = o.linkedProviders(ctx, id); err != nil {
					return err
				}
			}
			o.put(a, id, organization)
			if needed["groups"][a] {
				if err := o.organizationGroups(ctx, a, id); err != nil {
					return err
				}
			}
			if needed["members"][a] {
				if err := o.members(ctx, a, id); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (r *Realm) linkedProviders(ctx context.Context, organization string) ([]any, error) {
	var providers []map[string]any
	err := r.Client.Get(ctx, r.path("organizations", organization, "identity-providers"), nil, &providers)
	if keycloak.IsForbidden(err) {
		return nil, unseen("view-identity-providers", "the identity providers of organizations")
	} else if err != nil {
		return nil, err
	}
	aliases := []any{}
	for _, p := range providers {
		aliases = append(aliases, p["alias"])
	}
	return aliases, nil
}

// organization creates, changes or deletes an organization, and links it to identity providers.
func (a *application) organization(ctx context.Context, c *drift.Change) error {
	id := c.Have.ID
	switch c.Op {
	case drift.Delete:
		return a.remove(ctx, c.Address)
	case drift.Create:
		var err error
		if id, err = a.Client.Post(ctx, a.path("organizations"), nil, without(deepCopy(c.Want.Fields), linked), nil); err != nil {
			return err
		}
		a.made(c.Address, id)
	default:
		diffs := slices.DeleteFunc(slices.Clone(c.Diffs), func(d drift.Diff) bool { return d.At[0] == linked })
		if len(diffs) == 0 {
			break
		}
		body, err := a.current(ctx, c.Address)
		if err != nil {
			return err
		}
		merge(body, diffs, false)
		if err := a.put(ctx, c.Address, body); err != nil {
			return err
		}
	}
	want, _ := c.Want.Fields[linked].([]any)
	have, _ := c.Have.Fields[linked].([]any)
	if _, declared := c.Want.Fields[linked]; !declared {
		return nil
	}
	for _, alias := range difference(have, want) {
		if err := a.discard(ctx, "organizations", id, "identity-providers", text(alias)); err != nil {
			return err
		}
	}
	for _, alias := range difference(want, have) {
		if _, err := a.Client.Post(ctx, a.path("organizations", id, "identity-providers"), nil, alias, nil); err != nil {
			return err
		}
	}
	return nil
}
