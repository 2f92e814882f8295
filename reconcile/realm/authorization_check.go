package realm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// permissionsToCome tells whether something will be there once Keycloak has made the client of the admin permissions.
func permissionsToCome(live Live, a schema.Address) bool {
	client := schema.Join(schema.RealmAddress, "clients", adminPermissions)
	_, there := live.State[client]
	return !there && a.Within(client) && a.Kind() != "policies"
}

// Registered tells whether an application may have made an object itself, by way of Keycloak's protection API: a resource
// of a client that lets its resources be managed so. Such a one is no stranger.
func Registered(s schema.State, a schema.Address) bool {
	return a.Kind() == "resources" && s[schema.Join(a.Parent(), "authorizationSettings")].Fields["allowRemoteResourceManagement"] == true
}

// policyTypes are those that every server has.
var policyTypes = []string{"aggregate", "client", "client-scope", "group", "regex", "resource", "role", "scope", "time", "uma", "user"}

// policyTypes reads which types of policies the server has, where one is declared that not every server has.
func (o *observation) policyTypes(want schema.State) []func(context.Context) error {
	for a, w := range want {
		if t := text(w.Fields["type"]); a.Kind() == "policies" && t != "" && !slices.Contains(policyTypes, t) {
			return []func(context.Context) error{o.readPolicyTypes}
		}
	}
	return nil
}

func (o *observation) readPolicyTypes(ctx context.Context) error {
	var info struct {
		Providers struct {
			Policy struct{ Providers map[string]any }
		}
	}
	if err := o.Client.Get(ctx, keycloak.Path("serverinfo"), nil, &info); err != nil {
		return err
	}
	for t := range info.Providers.Policy.Providers {
		o.live.PolicyTypes = append(o.live.PolicyTypes, t)
	}
	slices.Sort(o.live.PolicyTypes)
	return nil
}

// unprotected are the problems of what clients protect that no single name shows: Keycloak answers most of these with 500.
func unprotected(live Live, want schema.State) []schema.Problem {
	var problems []schema.Problem
	say := func(origin schema.Origin, hint, format string, args ...any) {
		problems = append(problems, schema.Problem{Origin: origin, What: fmt.Sprintf(format, args...), Hint: hint})
	}
	will := func(a schema.Address, field string) any {
		if v, declared := want[a].Fields[field]; declared {
			return v
		}
		return live.State[a].Fields[field]
	}
	for _, a := range want.Addresses() {
		o := want[a]
		switch client := a.Parent(); a.Kind() {
		case "clients":
			if will(a, "authorizationServicesEnabled") == true && a.Name() != adminPermissions &&
				(will(a, "serviceAccountsEnabled") != true || will(a, "publicClient") == true) {
				say(originOf(o, "authorizationServicesEnabled"), "set serviceAccountsEnabled: true and publicClient: false",
					"%s: only a confidential client with a service account can have authorization services", a)
			}
		case "authorizationSettings":
			if client.Name() == adminPermissions {
				if _, there := live.State[client]; !there && will(schema.RealmAddress, "adminPermissionsEnabled") != true {
					say(o.Origin, "set adminPermissionsEnabled: true", "%s: Keycloak makes this client for a realm with admin permissions", client)
				}
			} else if will(client, "authorizationServicesEnabled") != true {
				say(o.Origin, "set authorizationServicesEnabled: true", "%s: the client has no authorization services", a)
			}
		case "policies":
			t := text(will(a, "type"))
			switch {
			case t == "":
				say(o.Origin, "write one of "+strings.Join(policyTypes, ", "), "%s has no type", a)
			case slices.Contains(policyTypes, t) || slices.Contains(live.PolicyTypes, t):
			case t == "js":
				say(originOf(o, "type"), "start Keycloak with --features=scripts, or write the policy without JavaScript", "%s: this Keycloak has no policies of type js", a)
			default:
				say(originOf(o, "type"), "it has "+strings.Join(live.PolicyTypes, ", "), "%s: this Keycloak has no policies of type %s", a, t)
			}
			if around := circle(want, a); around != "" {
				say(originOf(o, "config.applyPolicies"), "take one of them out of another", "%s apply each other", around)
			}
		}
	}
	return problems
}

// circle names the policies by which a policy applies itself, where it is the first of them; "" where it doesn't.
func circle(want schema.State, start schema.Address) string {
	seen := map[schema.Address]bool{}
	var path []schema.Address
	var follow func(a schema.Address) bool
	follow = func(a schema.Address) bool {
		if seen[a] {
			return a == start
		}
		seen[a] = true
		path = append(path, a)
		for _, r := range references(want[a]) {
			if r.may[0].Kind() == "policies" && follow(r.may[0]) {
				return true
			}
		}
		path = path[:len(path)-1]
		return false
	}
	if !follow(start) || slices.Min(path) != start {
		return ""
	}
	names := make([]string, len(path))
	for i, a := range path {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}
