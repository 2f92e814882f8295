package realm

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// components reads all of them, which costs one request: each names the one that it stands in.
func (o *observation) components(ctx context.Context) error {
	var all []map[string]any
	if err := o.Client.Get(ctx, o.path("components"), nil, &all); keycloak.IsForbidden(err) {
		return unseen("view-realm", "the components")
	} else if err != nil {
		return err
	}
	below := map[string][]map[string]any{}
	for _, c := range all {
		below[text(c["parentId"])] = append(below[text(c["parentId"])], c)
	}
	o.componentsIn(schema.RealmAddress, o.live.ID, below)
	return nil
}

func (o *observation) componentsIn(parent schema.Address, id string, below map[string][]map[string]any) {
	for _, c := range below[id] {
		if c["providerType"] == workflowProvider { // bears no name here; workflows are read for themselves
			continue
		}
		a, id := componentAt(parent, c), text(c["id"])
		if _, twice := o.object(a); twice {
			o.mu.Lock()
			o.live.Ambiguous[a] = true
			o.mu.Unlock()
		}
		o.put(a, id, bare("components", c))
		o.componentsIn(a, id, below)
	}
}

func componentAt(parent schema.Address, c map[string]any) schema.Address {
	return schema.Join(parent, "components", text(c["providerType"]), text(c["providerId"]), text(c["name"]), text(c["subType"]))
}

// component creates, changes or deletes a component.
func (a *application) component(ctx context.Context, c *drift.Change) error {
	id := a.known(c.Address)
	switch {
	case c.Op == drift.Delete:
		return a.remove(ctx, c.Address)
	case c.Op == drift.Create && id == "":
		return a.createComponent(ctx, c)
	}
	body := deepCopy(c.Want.Fields)
	if c.Op != drift.Create { // else the server made it along with what it stands in
		var err error
		if body, err = a.current(ctx, c.Address); err != nil {
			return err
		}
	}
	merge(body, c.Diffs, false)
	return a.put(ctx, c.Address, componentBody(body, c.Diffs))
}

// componentBody is a component as a PUT takes it: config must be there, keeps the keys that it lacks, and loses one by "".
func componentBody(body map[string]any, diffs []drift.Diff) map[string]any {
	config, _ := body["config"].(map[string]any)
	if config == nil {
		config = map[string]any{}
	}
	for _, d := range diffs {
		if list, isList := d.Want.([]any); len(d.At) == 2 && (d.Want == nil || isList && len(list) == 0) {
			config[d.At[1]] = []any{""}
		}
	}
	if renewed, certified := differs(diffs, "privateKey"), differs(diffs, "certificate"); renewed && !certified {
		config["certificate"] = []any{""} // the one that Keycloak made for the former key would be refused
	}
	body["config"] = config
	return body
}

// differs tells whether a key of config is among what differs.
func differs(diffs []drift.Diff, key string) bool {
	return slices.ContainsFunc(diffs, func(d drift.Diff) bool { return len(d.At) == 2 && d.At[1] == key })
}

func (a *application) createComponent(ctx context.Context, c *drift.Change) error {
	body := componentBody(deepCopy(c.Want.Fields), nil)
	body["parentId"] = a.live.ID
	if parent := c.Address.Parent(); parent != schema.RealmAddress {
		id, err := a.id(ctx, parent)
		if err != nil {
			return err
		}
		body["parentId"] = id
	}
	id, err := a.Client.Post(ctx, a.path("components"), nil, body, nil)
	if err != nil {
		return err
	}
	a.made(c.Address, id)
	if a.Complete[schema.Join(c.Address, "components")] {
		return a.adoptComponents(ctx, c.Address, id)
	}
	return nil
}

// adoptComponents settles what Keycloak made below a new component, as it makes mappers below an LDAP federation: what is
// declared there is that, and what isn't goes, since the list is complete.
func (a *application) adoptComponents(ctx context.Context, parent schema.Address, id string) error {
	var made []map[string]any
	if err := a.Client.Get(ctx, a.path("components"), url.Values{"parent": {id}}, &made); err != nil {
		return err
	}
	for _, m := range made {
		address, id := componentAt(parent, m), text(m["id"])
		if slices.ContainsFunc(a.changes, func(c drift.Change) bool { return c.Address == address }) {
			a.made(address, id)
		} else if err := a.discard(ctx, "components", id); err != nil {
			return err
		}
	}
	return nil
}

// What a new realm of 26.7.3 holds by itself: type, provider and name.
const (
	registrationPolicies = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
	workflowProvider     = "org.keycloak.models.workflow.WorkflowProvider"
	keyProviders         = "org.keycloak.keys.KeyProvider"
)

var (
	builtinPolicies = []string{"Allowed Client Scopes", "Allowed Protocol Mapper Types", "Allowed Registration Web Origins",
		"Consent Required", "Full Scope Disabled", "Max Clients Limit", "Trusted Hosts"}
	builtinKeys = []string{"aes-generated", "ecdsa-generated", "hmac-generated", "hmac-generated-hs512", "rsa-enc-generated", "rsa-generated"}
)

func builtinComponent(_ string, o schema.Object) bool {
	key := o.Address.Key()
	if len(key) < 3 || o.Address.Parent() != schema.RealmAddress {
		return false
	}
	switch key[0] {
	case registrationPolicies:
		return slices.Contains(builtinPolicies, key[2])
	case keyProviders:
		return slices.Contains(builtinKeys, key[2]) || strings.HasPrefix(key[2], "fallback-")
	}
	return false
}
