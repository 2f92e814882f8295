package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// object creates, updates or renames one object.
func (a *application) object(ctx context.Context, k Kind, c *drift.Change) error {
	if k.Shape == Apart {
		return a.apart(ctx, c)
	}
	if c.Op == drift.Create {
		if there, err := a.broughtAlong(ctx, c.Address); err != nil {
			return err
		} else if !there {
			return a.create(ctx, k, c.Want)
		}
	}
	if k.Shape == Document {
		return a.updateRealm(ctx, c)
	}
	if c.Op == drift.Rename && c.From.Parent() != c.Address.Parent() {
		if err := a.moveGroup(ctx, c); err != nil || len(c.Diffs) == 0 {
			return err
		}
	}
	body := map[string]any{}
	if k.Merge {
		for _, key := range append([]string{"id"}, a.Kinds[k.Name].Key...) {
			body[key] = c.Have.Fields[key]
		}
		if origins, _ := c.Have.Fields["webOrigins"].([]any); k.Name == "clients" && len(origins) == 0 {
			now, err := a.current(ctx, c.Address) // a PUT without origins makes some up where there are none
			if err != nil {
				return err
			}
			body["webOrigins"] = now["webOrigins"]
		}
		if k.Name == "clients" { // of a public client 26.4 and 26.5 take it for true where it is left out
			body["frontchannelLogout"] = c.Have.Fields["frontchannelLogout"]
		}
		merge(body, c.Diffs, true)
	} else {
		var err error
		if body, err = a.current(ctx, c.Address); err != nil {
			return err
		}
		merge(body, c.Diffs, false)
	}
	body, err := a.withFlowIDs(ctx, body)
	if err != nil {
		return err
	}
	if k.Name == "clients" {
		return a.putClient(ctx, c, body)
	}
	return a.put(ctx, c.Address, body)
}

// current is an object as it is at this moment. Most PUTs remove what they leave out, and what others added since we looked
// is theirs.
func (a *application) current(ctx context.Context, address schema.Address) (map[string]any, error) {
	if address.Kind() == "protocolMappers" {
		return a.currentMapper(ctx, address)
	}
	path, err := a.item(ctx, address)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := a.Client.Get(ctx, a.path(path...), nil, &fields); err != nil {
		return nil, err
	}
	return bare(address.Kind(), fields), nil
}

// currentMapper finds a protocol mapper where Observe does, in the body of its owner.
func (a *application) currentMapper(ctx context.Context, address schema.Address) (map[string]any, error) {
	id, err := a.id(ctx, address)
	if err != nil {
		return nil, err
	}
	owner, err := a.ownerPath(ctx, address)
	if err != nil {
		return nil, err
	}
	var holds struct{ ProtocolMappers []map[string]any }
	if err := a.Client.Get(ctx, a.path(owner...), nil, &holds); err != nil {
		return nil, err
	}
	for _, mapper := range holds.ProtocolMappers {
		if mapper["id"] == id {
			return mapper, nil
		}
	}
	return nil, fmt.Errorf("%s isn't there", address)
}

func (a *application) put(ctx context.Context, address schema.Address, body map[string]any) error {
	path, err := a.item(ctx, address)
	if err != nil {
		return err
	}
	if err := a.unmask(address, body); err != nil {
		return err
	}
	return a.Client.Put(ctx, a.path(path...), body)
}

// apart makes a change to an object of a kind that none of the shapes fits.
func (a *application) apart(ctx context.Context, c *drift.Change) error {
	switch kind := c.Address.Kind(); kind {
	case "authenticationFlows":
		return a.flow(ctx, c)
	case "authenticatorConfig":
		return a.authenticatorConfig(ctx, c)
	case "components":
		return a.component(ctx, c)
	case "requiredActions":
		return a.requiredAction(ctx, c)
	case "clientProfiles", "clientPolicies":
		return a.clientPolicy(ctx, c)
	case "organizations":
		return a.organization(ctx, c)
	case "users":
		return a.user(ctx, c)
	case "federatedIdentities":
		return a.federatedIdentity(ctx, c)
	case "members":
		return a.member(ctx, c)
	case "authorizationSettings":
		return a.authorizationSettings(ctx, c)
	case "scopes", "resources", "policies":
		return a.authorized(ctx, c)
	default:
		return fmt.Errorf("nobody writes %s", kind)
	}
}

func (a *application) create(ctx context.Context, k Kind, o schema.Object) error {
	parent := o.Address.Parent()
	below := k.Path
	if k.Nested != "" && parent.Kind() == k.Name {
		below = k.Nested
	}
	path, err := a.ownerPath(ctx, o.Address)
	if err != nil {
		return err
	}
	body, err := a.withFlowIDs(ctx, withoutNulls(o.Fields))
	if err != nil {
		return err
	}
	if k.Name == "clients" && body["protocol"] == "openid-connect" {
		// It is the protocol of a client that names none. One that names it, Keycloak makes public unless told otherwise, gives
		// redirect URIs and origins below its root, and takes its attributes of backchannel logout for others.
		delete(body, "protocol")
	}
	along := a.brought(o)
	a.bring(body, along)
	id, err := a.Client.Post(ctx, a.path(append(path, strings.Split(below, "/")...)...), nil, body, nil)
	if err != nil {
		return err
	}
	if k.Name == "roles" {
		id = "" // the Location of a role bears its name
	}
	a.made(o.Address, id)
	for _, c := range along {
		a.outcome(c, drift.Done, "")
	}
	return nil
}

// moveGroup takes a group with all below it to another parent, by making it a child there again with its id.
func (a *application) moveGroup(ctx context.Context, c *drift.Change) error {
	path, err := a.ownerPath(ctx, c.Address)
	if err != nil {
		return err
	}
	below := "groups"
	if c.Address.Parent().Kind() == "groups" {
		below = "children"
	}
	path = append(path, below)
	_, err = a.Client.Post(ctx, a.path(path...), nil, map[string]any{"id": c.Have.ID, "name": c.Have.Fields["name"]}, nil)
	return err
}

// merge sets the fields that differ. Where a PUT keeps what it leaves out, a map key goes by null; elsewhere by being absent.
func merge(body map[string]any, diffs []drift.Diff, nulls bool) {
	for _, d := range diffs {
		at := body
		for _, key := range d.At[:len(d.At)-1] {
			nested, ok := at[key].(map[string]any)
			if !ok {
				nested = map[string]any{}
				at[key] = nested
			}
			at = nested
		}
		last := d.At[len(d.At)-1]
		if d.Want == nil && !nulls {
			delete(at, last)
		} else {
			at[last] = d.Want
		}
	}
}

// withoutNulls is a copy of fields without the keys of maps that shall not be there.
func withoutNulls(fields map[string]any) map[string]any {
	kept := map[string]any{}
	for name, v := range fields {
		if nested, ok := v.(map[string]any); ok {
			v = withoutNulls(nested)
		}
		if v != nil {
			kept[name] = v
		}
	}
	return kept
}

func deepCopy(fields map[string]any) map[string]any {
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err) // JSON values always encode
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		panic(err)
	}
	return c
}
