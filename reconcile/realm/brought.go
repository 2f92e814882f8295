package realm

import (
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Some of what stands below an object is made together with it, in the same request: the protocol mappers of a client or a
// client scope, the scopes of a client, the groups of a user.

// brought are the changes that the creation of an object makes along with it.
func (a *application) brought(o schema.Object) []*drift.Change {
	return slices.DeleteFunc(slices.Clone(a.below[o.Address]), func(c *drift.Change) bool {
		if c.Op != drift.Create || c.Outcome != "" || a.blocked(c) != "" {
			return true
		}
		return !ComesAlong(c.Address) || c.Address.Kind() == "memberships" && !a.bringsGroups(c)
	})
}

// ComesAlong tells whether an object can be made together with its parent.
func ComesAlong(a schema.Address) bool {
	switch a.Kind() {
	case "protocolMappers", "defaultClientScopes", "optionalClientScopes", "memberships":
		return true
	}
	return false
}

// bringsGroups tells whether a new user may name its groups: it gets the realm's default groups besides, and a name with a
// slash in it is none that Keycloak finds by a path.
func (a *application) bringsGroups(c *drift.Change) bool {
	byDefault, _ := a.live.State["defaultGroups"].Fields["defaultGroups"].([]any)
	groups, _ := c.Want.Fields["groups"].([]any)
	return len(byDefault) == 0 && !slices.ContainsFunc(groups, func(path any) bool { return strings.Contains(text(path), "~/") })
}

// bring puts what they ask for into the body of a new object.
func (a *application) bring(body map[string]any, along []*drift.Change) {
	var mappers []any
	for _, c := range along {
		switch kind := c.Address.Kind(); kind {
		case "protocolMappers":
			mappers = append(mappers, withoutNulls(c.Want.Fields))
		case "memberships":
			body["groups"] = c.Want.Fields["groups"]
		default:
			body[kind] = c.Want.Fields[kind]
		}
	}
	if mappers != nil {
		body["protocolMappers"] = mappers
	}
	a.completeScopes(body)
}

// completeScopes adds the realm's default scopes of one sort where only the other sort is declared: a new client that
// brings either gets no others (26.7.3).
func (a *application) completeScopes(body map[string]any) {
	standard, optional := body["defaultClientScopes"], body["optionalClientScopes"]
	byDefault := func(list schema.Address, but any) []any {
		scopes, _ := a.live.State[list].Fields[string(list)].([]any)
		declared, _ := but.([]any)
		return difference(scopes, declared)
	}
	switch {
	case standard != nil && optional == nil:
		body["optionalClientScopes"] = byDefault("defaultOptionalClientScopes", standard)
	case standard == nil && optional != nil:
		body["defaultClientScopes"] = byDefault("defaultDefaultClientScopes", optional)
	}
}
