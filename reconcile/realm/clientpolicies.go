package realm

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// clientPolicies takes the profiles and policies of clients from the settings of the realm, which bring them along.
func (o *observation) clientPolicies(realm map[string]any) {
	for kind, list := range policyLists {
		document, _ := realm[kind].(map[string]any)
		for _, object := range objectsIn(document, list) {
			o.put(schema.Join(schema.RealmAddress, kind, text(object["name"])), "", object)
		}
	}
}

// globalProfile tells whether a client profile is one that every realm has, which nobody can change.
func globalProfile(_ string, o schema.Object) bool { return o.Fields["global"] == true }

// globalProfiles reads the profiles that every realm has, where a declared policy names any that the realm's own aren't.
func (o *observation) globalProfiles(ctx context.Context) error {
	var all map[string]any
	query := url.Values{"include-global-profiles": {"true"}}
	if err := o.Client.Get(ctx, o.path("client-policies", "profiles"), query, &all); keycloak.IsForbidden(err) {
		return unseen("view-realm", "the client profiles")
	} else if err != nil {
		return err
	}
	for _, profile := range objectsIn(all, "globalProfiles") {
		name := text(profile["name"])
		o.put(schema.Join(schema.RealmAddress, "clientProfiles", name), "", map[string]any{"name": name, "global": true})
	}
	return nil
}

// namesUnknownProfile tells whether a declared policy names a profile that is neither declared nor the realm's own.
func (o *observation) namesUnknownProfile() bool {
	for _, object := range o.want {
		if object.Address.Kind() != "clientPolicies" {
			continue
		}
		for _, profile := range Targets(object) {
			if !known(o.want, o.live.State, profile) {
				return true
			}
		}
	}
	return false
}

// policyLists are the lists in the documents of two kinds.
var policyLists = map[string]string{"clientProfiles": "profiles", "clientPolicies": "policies"}

func objectsIn(document map[string]any, list string) []map[string]any {
	var objects []map[string]any
	elements, _ := document[list].([]any)
	for _, e := range elements {
		if object, ok := e.(map[string]any); ok {
			objects = append(objects, object)
		}
	}
	return objects
}

// clientPolicy changes one profile or policy in the document that holds all of them, as it is at this moment.
func (a *application) clientPolicy(ctx context.Context, c *drift.Change) error {
	a.policies.Lock()
	defer a.policies.Unlock()
	k := kinds[row(c.Address.Kind())]
	list := policyLists[k.Name]
	path := a.path(strings.Split(k.Path, "/")...)
	var document map[string]any
	if err := a.Client.Get(ctx, path, nil, &document); err != nil {
		return err
	}
	objects := objectsIn(document, list)
	i := slices.IndexFunc(objects, func(o map[string]any) bool { return text(o["name"]) == c.Address.Name() })
	switch {
	case c.Op == drift.Delete && i < 0:
		return nil
	case c.Op == drift.Delete:
		if err := a.unnamed(ctx, c.Address); err != nil {
			return err
		}
		objects = slices.Delete(objects, i, i+1)
	case i < 0:
		objects = append(objects, configured(deepCopy(c.Want.Fields)))
	default:
		merge(objects[i], c.Diffs, false)
		objects[i] = configured(deepCopy(objects[i])) // what is declared stays as it is
	}
	if objects == nil {
		objects = []map[string]any{}
	}
	return a.Client.Put(ctx, path, map[string]any{list: objects})
}

// unnamed makes sure that no policy names a profile that is to go: Keycloak lets it go, and then answers every PUT of the
// realm's settings with 500 (26.7.3).
func (a *application) unnamed(ctx context.Context, profile schema.Address) error {
	if profile.Kind() != "clientProfiles" {
		return nil
	}
	var document map[string]any
	if err := a.Client.Get(ctx, a.path("client-policies", "policies"), nil, &document); err != nil {
		return err
	}
	for _, policy := range objectsIn(document, "policies") {
		if profiles, _ := policy["profiles"].([]any); slices.Contains(profiles, any(profile.Name())) {
			return fmt.Errorf("the client policy %q still names it", text(policy["name"]))
		}
	}
	return nil
}

// configured gives every executor and condition a configuration. Without one Keycloak refuses an executor with 500; it takes
// a condition, and then answers every write of a client with 500 (26.7.3).
func configured(object map[string]any) map[string]any {
	for _, list := range []string{"executors", "conditions"} {
		for _, step := range objectsIn(object, list) {
			if step["configuration"] == nil {
				step["configuration"] = map[string]any{}
			}
		}
	}
	return object
}
