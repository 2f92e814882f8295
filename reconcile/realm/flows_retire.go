package realm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// retirements are the changes of flows that make room for others, or did in a pass that was cut off.
func (a *application) retirements(changes []drift.Change) []*drift.Change {
	var found []*drift.Change
	for i := range changes {
		if c := &changes[i]; a.retires(c.Address) && c.Op != drift.Delete && c.Outcome == "" {
			found = append(found, c)
		}
	}
	return found
}

func (a *application) retires(flow schema.Address) bool {
	_, ok := a.live.Retired[flow]
	return ok
}

// begun takes back the outcome of changes of which only a part is done.
func begun(changes []*drift.Change) {
	for _, c := range changes {
		if c.Outcome == drift.Done {
			c.Outcome = ""
		}
	}
}

// retire renames the flows that make room, each before what stands in it: with the first of these writes it is settled, and
// can be seen, that a flow shall go. Where it fails, nothing is made in its place.
func (a *application) retire(ctx context.Context, changes []drift.Change) error {
	todo := a.retirements(changes)
	err := a.each(ctx, todo, func(ctx context.Context, c *drift.Change) error {
		r := a.live.Retired[c.Address]
		for _, part := range append([]schema.Address{r.Of}, r.Parts.Addresses()...) {
			if err := a.rename(ctx, r.Parts[part], retiredAlias(part.Name(), c.Have.ID)); err != nil {
				return fmt.Errorf("rename %s: %w", part, err)
			}
		}
		return nil
	})
	rebuilt := a.live.Rebuilt(a.want)
	for i := range changes {
		c := &changes[i]
		if because := rebuilt[c.Address]; because != "" && a.failed[because] && c.Outcome == "" {
			a.outcome(c, drift.Skipped, "because of "+string(because))
		}
	}
	begun(todo)
	return err
}

// rename gives a flow or a configuration another alias, if it hasn't got it.
func (a *application) rename(ctx context.Context, o schema.Object, alias string) error {
	path := a.path("authentication", "flows", o.ID)
	if o.Address.Kind() == "authenticatorConfig" {
		path = a.path("authentication", "config", o.ID)
	}
	var body map[string]any
	if err := a.Client.Get(ctx, path, nil, &body); err != nil || body["alias"] == alias {
		return err
	}
	body["alias"] = alias
	return a.Client.Put(ctx, path, body)
}

// rebind binds whoever is bound to a retired flow to the one that takes its place, whether we manage them or not: they
// named the flow, and mean the one that bears its name.
func (a *application) rebind(ctx context.Context, changes []drift.Change) error {
	todo := slices.DeleteFunc(a.retirements(changes), func(c *drift.Change) bool {
		return a.live.Retired[c.Address].Successor(a.want) == ""
	})
	err := a.each(ctx, todo, func(ctx context.Context, c *drift.Change) error {
		to := a.live.Retired[c.Address].Successor(a.want)
		for part := range parts(a.want, to) {
			if a.failed[part] {
				return fmt.Errorf("%s isn't as declared, and nobody is bound to it", part)
			}
		}
		id, err := a.id(ctx, to)
		if err != nil {
			return err
		}
		bound, err := a.bound(ctx, c.Have.ID, c.Address.Name())
		if err != nil {
			return err
		}
		for _, b := range bound {
			if err := b.bind(ctx, a, to.Name(), id); err != nil {
				return unwritten(writer(b.address), fmt.Errorf("bind %s to %s: %w", b.address, to, err))
			}
		}
		return nil
	})
	begun(todo)
	return err
}

// Retiring are the flows that this pass was to retire, and did as far as that they bear their new names.
func (r *Realm) Retiring(ctx context.Context, live Live) ([]schema.Address, error) {
	if !slices.ContainsFunc(slices.Collect(maps.Values(live.Retired)), func(r Retired) bool { return r.From != "" }) {
		return nil, nil
	}
	var flows []map[string]any
	if err := r.Client.Get(ctx, r.path("authentication", "flows"), nil, &flows); err != nil {
		return nil, err
	}
	var found []schema.Address
	for _, f := range flows {
		if a := flowAt(text(f["alias"])); live.Retired[a].From != "" {
			found = append(found, a)
		}
	}
	return found, nil
}

// binder is an object with fields that name one flow.
type binder struct {
	address schema.Address
	path    []string // below the realm
	fields  []string
}

// bound are those who name a flow at this moment.
func (r *Realm) bound(ctx context.Context, id, alias string) ([]binder, error) {
	o := observation{Realm: r}
	var realm map[string]any
	if err := r.Client.Get(ctx, r.path(), nil, &realm); err != nil {
		return nil, err
	}
	clients, err := o.all(ctx, nil, "clients")
	if err != nil {
		return nil, err
	}
	providers, err := o.all(ctx, nil, "identity-provider", "instances")
	if keycloak.IsForbidden(err) {
		return nil, unseen("view-identity-providers", "the identity providers, which may be bound to flow "+alias)
	} else if err != nil {
		return nil, err
	}
	var found []binder
	add := func(b binder, fields map[string]any, names []string, as string) {
		for _, name := range names {
			if fields[name] == as {
				b.fields = append(b.fields, name)
			}
		}
		if len(b.fields) > 0 {
			found = append(found, b)
		}
	}
	add(binder{address: schema.RealmAddress}, realm, bindings["realm"], alias)
	for _, c := range clients {
		by, _ := c[overrides].(map[string]any)
		add(binder{address: schema.Join(schema.RealmAddress, "clients", text(c["clientId"])), path: []string{"clients", text(c["id"])}},
			by, slices.Sorted(maps.Keys(by)), id)
	}
	for _, p := range providers {
		add(binder{address: schema.Join(schema.RealmAddress, "identityProviders", text(p["alias"])),
			path: []string{"identity-provider", "instances", text(p["alias"])}}, p, bindings["identityProviders"], alias)
	}
	return found, nil
}

// bind makes the fields name another flow.
func (b binder) bind(ctx context.Context, a *application, alias, id string) error {
	body := map[string]any{}
	switch b.address.Kind() {
	case "clients": // a PUT keeps what it leaves out
		byName := map[string]any{}
		for _, name := range b.fields {
			byName[name] = id
		}
		return a.Client.Put(ctx, a.path(b.path...), map[string]any{"clientId": b.address.Name(), overrides: byName})
	case "identityProviders":
		if err := a.Client.Get(ctx, a.path(b.path...), nil, &body); err != nil {
			return err
		}
	}
	for _, name := range b.fields {
		body[name] = alias
	}
	return a.Client.Put(ctx, a.path(b.path...), body)
}

// part notes on the retired flows since when nobody is bound to them.
func (a *application) part(ctx context.Context, changes []drift.Change) error {
	return a.each(ctx, a.retirements(changes), func(ctx context.Context, c *drift.Change) error {
		if err := a.unbound(ctx, c.Have.ID, c.Address.Name()); err != nil {
			return err
		}
		var flow map[string]any
		path := a.path("authentication", "flows", c.Have.ID)
		if err := a.Client.Get(ctx, path, nil, &flow); err != nil {
			return err
		}
		flow["description"] = retiredDescription(a.now)
		return a.Client.Put(ctx, path, flow)
	})
}

// unbound makes sure that nobody names a flow.
func (r *Realm) unbound(ctx context.Context, id, alias string) error {
	bound, err := r.bound(ctx, id, alias)
	if err != nil || len(bound) == 0 {
		return err
	}
	return fmt.Errorf("it is still the %s of %s: bind another flow in its place", strings.Join(bound[0].fields, " and "), bound[0].address)
}
