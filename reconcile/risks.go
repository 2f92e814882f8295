package reconcile

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// risks are the classes of harm that a change can do, the plainest first.
func risks(realmName string, account Account, c drift.Change) []drift.Risk {
	var found []drift.Risk
	for _, class := range []struct {
		risk drift.Risk
		does bool
	}{
		{drift.Deletes, c.Op == drift.Delete && !realm.IsLinks(c.Address)},
		{drift.Recreates, c.Op == drift.Update && (c.Address.Kind() == "federatedIdentities" || differs(c, "type") && c.Address.Kind() == "policies")}, // Keycloak can't change one
		{drift.EndsSessions, c.Op != drift.Create && endsSessions(c)},
		{drift.BreaksLogins, c.Op != drift.Create && breaksLogins(c)},
		{drift.AsksAgain, c.Op == drift.Update && differs(c, "browserFlow", "authenticationFlowBindingOverrides.browser", "registrationFlow",
			"resetCredentialsFlow", "firstBrokerLoginFlow", "firstBrokerLoginFlowAlias", "postBrokerLoginFlowAlias")},
		{drift.WeakensSafety, weakens(c)},
		{drift.CutsOwnAccess, account.Realm == realmName && cutsAccess(account, c)},
	} {
		if class.does {
			found = append(found, class.risk)
		}
	}
	return found
}

// endsSessions tells whether people who are signed in have to sign in again.
func endsSessions(c drift.Change) bool {
	switch c.Address.Kind() {
	case "realm":
		return becomes(c, "enabled", false) || lowered(c, "ssoSessionIdleTimeout", "ssoSessionMaxLifespan", "clientSessionIdleTimeout",
			"clientSessionMaxLifespan", "offlineSessionIdleTimeout", "offlineSessionMaxLifespan") || differs(c, "notBefore")
	case "clients":
		return c.Op == drift.Delete || becomes(c, "enabled", false) || differs(c, "notBefore")
	case "users":
		return c.Op == drift.Delete || becomes(c, "enabled", false)
	}
	return false
}

// breaksLogins tells whether a login that works today may not work afterwards.
func breaksLogins(c drift.Change) bool {
	switch c.Address.Kind() {
	case "realm":
		return becomes(c, "enabled", false) || becomes(c, "sslRequired", "all") || differs(c, "browserFlow", "directGrantFlow", "clientAuthenticationFlow",
			"dockerAuthenticationFlow", "firstBrokerLoginFlow")
	case "authenticationFlows", "authenticatorConfig":
		return changesFlow(c)
	case "clients":
		return c.Op == drift.Delete || c.Op == drift.Rename || loses(c, "redirectUris") || loses(c, "webOrigins") ||
			becomes(c, "enabled", false) || becomes(c, "standardFlowEnabled", false) || becomes(c, "directAccessGrantsEnabled", false) ||
			becomes(c, "implicitFlowEnabled", false) || becomes(c, "serviceAccountsEnabled", false) || becomes(c, "bearerOnly", true) ||
			differs(c, "secret", "publicClient", "clientAuthenticatorType", "protocol", "authenticationFlowBindingOverrides",
				"attributes.pkce.code.challenge.method")
	case "identityProviders":
		return c.Op == drift.Delete || becomes(c, "enabled", false) || becomes(c, "linkOnly", true) ||
			differs(c, "firstBrokerLoginFlowAlias", "postBrokerLoginFlowAlias")
	case "defaultClientScopes":
		return loses(c, "defaultClientScopes")
	case "clientScopes":
		return c.Op == drift.Delete || c.Op == drift.Rename
	}
	return false
}

// weakens tells whether the realm is easier to attack afterwards.
func weakens(c drift.Change) bool {
	switch c.Address.Kind() {
	case "realm":
		return becomes(c, "sslRequired", "none") || becomes(c, "bruteForceProtected", false) || raised(c, "accessTokenLifespan", "ssoSessionIdleTimeout",
			"ssoSessionMaxLifespan", "offlineSessionIdleTimeout", "accessCodeLifespan", "failureFactor") || becomes(c, "revokeRefreshToken", false) ||
			becomes(c, "verifyEmail", false) || becomes(c, "editUsernameAllowed", true) || differs(c, "passwordPolicy") && c.Op == drift.Update
	case "clients":
		return wildcard(c) || becomes(c, "publicClient", true) && c.Op != drift.Create || becomes(c, "implicitFlowEnabled", true) ||
			becomes(c, "directAccessGrantsEnabled", true) || becomes(c, "fullScopeAllowed", true) || becomes(c, "consentRequired", false) && c.Op != drift.Create ||
			gone(c, "attributes.pkce.code.challenge.method") || becomes(c, "attributes.pkce.code.challenge.method", "plain") ||
			raised(c, "attributes.access.token.lifespan")
	case "identityProviders":
		return becomes(c, "trustEmail", true) || becomes(c, "config.validateSignature", "false") || becomes(c, "config.disableNonce", "true")
	case "authenticationFlows":
		return loosensFlow(c)
	case "authorizationSettings":
		return becomes(c, "policyEnforcementMode", "PERMISSIVE") || becomes(c, "policyEnforcementMode", "DISABLED") || becomes(c, "decisionStrategy", "AFFIRMATIVE")
	case "policies":
		return weakensPolicy(c)
	case "composites", "realmRoles", "clientRoles":
		return grantsAdmin(c)
	}
	return false
}

// becomes tells whether a field is set to a value, and wasn't it before.
func becomes(c drift.Change, path string, value any) bool {
	d, ok := at(c, path)
	return ok && !d.Unset && fmt.Sprint(d.Want) == fmt.Sprint(value) && fmt.Sprint(d.Have) != fmt.Sprint(value)
}

func at(c drift.Change, path string) (drift.Diff, bool) {
	i := slices.IndexFunc(c.Diffs, func(d drift.Diff) bool { return d.Path == path })
	if i < 0 {
		return drift.Diff{}, false
	}
	return c.Diffs[i], true
}

// differs tells whether any of the fields does, or anything below one.
func differs(c drift.Change, paths ...string) bool {
	return slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool {
		return slices.ContainsFunc(paths, func(p string) bool { return d.Path == p || strings.HasPrefix(d.Path, p+".") })
	})
}

// gone tells whether a field had a value and has none.
func gone(c drift.Change, path string) bool {
	d, ok := at(c, path)
	return ok && d.Have != nil && (d.Unset || d.Want == nil || d.Want == "")
}

// loses tells whether a list has fewer members than before.
func loses(c drift.Change, path string) bool {
	d, _ := at(c, path)
	have, _ := d.Have.([]any)
	want, _ := d.Want.([]any)
	return slices.ContainsFunc(have, func(v any) bool { return !among(want, v) })
}

// gains are the members that a list didn't have before.
func gains(d drift.Diff) []any {
	have, _ := d.Have.([]any)
	want, _ := d.Want.([]any)
	return slices.DeleteFunc(slices.Clone(want), func(v any) bool { return among(have, v) })
}

// among tells whether a list holds a value, which may be an object.
func among(list []any, v any) bool {
	return slices.ContainsFunc(list, func(other any) bool { return reflect.DeepEqual(other, v) })
}

// wildcard tells whether a client gets a redirect URI that leads anywhere.
func wildcard(c drift.Change) bool {
	d, ok := at(c, "redirectUris")
	return ok && slices.ContainsFunc(gains(d), func(v any) bool {
		uri, _ := v.(string)
		_, rest, absolute := strings.Cut(uri, "://")
		host, _, _ := strings.Cut(rest, "/")
		return uri == "*" || absolute && strings.Contains(host, "*") || strings.HasPrefix(uri, "http://") &&
			host != "localhost" && !strings.HasPrefix(host, "localhost:") && !strings.HasPrefix(host, "127.0.0.1")
	})
}

// grantsAdmin tells whether links give somebody roles over the realm itself.
func grantsAdmin(c drift.Change) bool {
	return slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool {
		last := d.At[len(d.At)-1]
		over := last == "realm-management" || strings.HasSuffix(last, "-realm")
		return over && len(gains(d)) > 0 || slices.ContainsFunc(gains(d), func(v any) bool { return v == "admin" || v == "create-realm" })
	})
}

// weakensPolicy tells whether a policy or permission may grant what it didn't: with fewer conditions, or one that says the
// opposite; of the admin permissions, each that allows more to more people, or over more.
func weakensPolicy(c drift.Change) bool {
	lists := []string{"config.users", "config.groups", "config.roles", "config.clients", "config.clientScopes", "config.scopes", "config.resources"}
	if c.Address.Parent() == "clients/admin-permissions" && slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool { return slices.Contains(lists, d.Path) && len(gains(d)) > 0 }) {
		return true
	}
	return c.Op == drift.Update && (differs(c, "logic", "type") || becomes(c, "decisionStrategy", "AFFIRMATIVE") || loses(c, "config.applyPolicies") ||
		slices.ContainsFunc(c.Diffs, optional))
}

// optional tells whether a policy asks no longer for what it required.
func optional(d drift.Diff) bool {
	want, _ := d.Want.([]any)
	have, _ := d.Have.([]any)
	required := func(list []any, id any) bool {
		return slices.ContainsFunc(list, func(v any) bool {
			entry, _ := v.(map[string]any)
			return entry["id"] == id && entry["required"] == true
		})
	}
	return (d.Path == "config.roles" || d.Path == "config.clientScopes") && slices.ContainsFunc(have, func(v any) bool {
		entry, _ := v.(map[string]any)
		return required(have, entry["id"]) && !required(want, entry["id"])
	})
}

// raised tells whether any of the fields, all seconds or counts, goes up. Zero and less mean that there is no limit.
func raised(c drift.Change, paths ...string) bool { return moves(c, paths, 1) }

func lowered(c drift.Change, paths ...string) bool { return moves(c, paths, -1) }

func moves(c drift.Change, paths []string, direction int) bool {
	return c.Op == drift.Update && slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool {
		want, ok1 := number(d.Want)
		have, ok2 := number(d.Have)
		if !slices.Contains(paths, d.Path) || !ok1 || !ok2 {
			return false
		}
		return direction > 0 && want > have || direction < 0 && want < have
	})
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil
	}
	return 0, false
}

// user is the user that a client signs in as: where it gives its own credentials, its service account.
func (a Account) user() schema.Address {
	name := a.User
	if name == "" {
		name = "service-account-" + a.ClientID
	}
	return schema.Join(schema.RealmAddress, "users", strings.ToLower(name))
}

// cutsAccess tells whether a change in the realm that we sign in to could lock us out: of the client that we come through,
// of the user or role that lets us in, or of the realm itself.
func cutsAccess(account Account, c drift.Change) bool {
	client := schema.Join(schema.RealmAddress, "clients", account.ClientID)
	switch c.Address {
	case schema.RealmAddress:
		return c.Op != drift.Update || differs(c, "enabled", "sslRequired", "realm", "directGrantFlow", "clientAuthenticationFlow")
	case client:
		return c.Op == drift.Delete || c.Op == drift.Rename || c.Op == drift.Update && differs(c, "enabled", "secret", "publicClient", "protocol",
			"clientAuthenticatorType", "serviceAccountsEnabled", "directAccessGrantsEnabled", "bearerOnly", "fullScopeAllowed", "authenticationFlowBindingOverrides")
	}
	ours := c.Address.Within(account.user()) || c.Address == "roles/admin" || c.Address.Within("roles/admin")
	flow := c.Address.Kind() == "authenticationFlows" && c.Op == drift.Update && differs(c, "authenticationExecutions") // maybe the one that lets us in
	return c.Op != drift.Create && ours || c.From == client || flow
}
