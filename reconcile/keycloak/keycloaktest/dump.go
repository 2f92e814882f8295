package keycloaktest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Dump is all that the admin API shows of a realm, in a form to be compared: what has no order is sorted. It takes a
// request or more for each client, user and organization.
func (a *Admin) Dump(realm string) map[string]any {
	a.t.Helper()
	base := "/admin/realms/" + url.PathEscape(realm)
	dump := map[string]any{
		"realm":         a.Export(realm),
		"clients":       a.pages(base+"/clients", "x="), // secrets in clear, which the export masks
		"requiredCreds": a.Get(base + "/authentication/required-actions"),
		"users":         a.dumpUsers(base),
		"organizations": a.dumpOrganizations(base),
		"workflows":     a.dumpWorkflows(base),
	}
	return canonical("", dump).(map[string]any)
}

// Export is what the admin API exports of a realm: no users, and no secrets. See Server.Export for what kc.sh writes.
func (a *Admin) Export(realm string) any {
	a.t.Helper()
	return a.must(http.MethodPost, "/admin/realms/"+url.PathEscape(realm)+"/partial-export?exportClients=true&exportGroupsAndRoles=true", nil)
}

func (a *Admin) dumpUsers(base string) []any {
	a.t.Helper()
	users := a.pages(base+"/users", "briefRepresentation=false")
	for _, user := range users {
		user := user.(map[string]any)
		path := base + "/users/" + user["id"].(string)
		user["credentials"] = a.Get(path + "/credentials")
		user["roleMappings"] = a.Get(path + "/role-mappings")
		user["groups"] = a.pages(path+"/groups", "briefRepresentation=true")
		user["federatedIdentities"] = a.Get(path + "/federated-identity")
	}
	return users
}

// dumpWorkflows are none where the server has them not enabled.
func (a *Admin) dumpWorkflows(base string) any {
	a.t.Helper()
	if a.Do(http.MethodGet, base+"/workflows", nil) == http.StatusNotFound {
		return nil
	}
	return a.Get(base + "/workflows")
}

// dumpOrganizations are none where the realm doesn't have them enabled, which the server answers with 404.
func (a *Admin) dumpOrganizations(base string) []any {
	a.t.Helper()
	if a.Do(http.MethodGet, base+"/organizations", nil) == http.StatusNotFound {
		return nil
	}
	organizations := a.pages(base+"/organizations", "briefRepresentation=false")
	for _, organization := range organizations {
		organization := organization.(map[string]any)
		path := base + "/organizations/" + organization["id"].(string)
		members := a.pages(path+"/members", "briefRepresentation=true")
		organization["members"] = members
		if a.Do(http.MethodGet, path+"/groups", nil) == http.StatusOK { // before 26.7 there are none
			organization["groups"] = a.dumpGroups(path+"/groups", path+"/groups")
			for _, member := range members {
				member := member.(map[string]any)
				member["groups"] = a.pages(path+"/members/"+member["id"].(string)+"/groups", "briefRepresentation=true")
			}
		}
		organization["identityProviders"] = a.Get(path + "/identity-providers")
	}
	return organizations
}

// dumpGroups are the groups of a list, with those below them; base is where each stands by its id.
func (a *Admin) dumpGroups(list, base string) []any {
	a.t.Helper()
	groups := a.pages(list, "briefRepresentation=false")
	for _, group := range groups {
		group := group.(map[string]any)
		group["subGroups"] = a.dumpGroups(base+"/"+group["id"].(string)+"/children", base)
	}
	return groups
}

// Portable is a dump without what differs between two realms that were made in the same way: identifiers become the
// names of what they identify, the realm's name becomes REALM, generated secrets and times are left out.
func Portable(realm string, dump map[string]any) map[string]any {
	names := map[string]string{}
	nameIDs(dump, names)
	return canonical("", portable(dump, realm, names)).(map[string]any)
}

// naturalKeys are the fields that name an object, the most telling first.
var naturalKeys = []string{"clientId", "alias", "username", "name", "providerId"}

// volatile are fields that no one declares, and that differ from one realm to the next.
var volatile = []string{"id", "_id", "containerId", "parentId", "internalId", "createdTimestamp", "createdDate",
	"client.secret.creation.time", "kid", "privateKey", "certificate", "keyId"}

func nameIDs(value any, names map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for _, field := range []string{"id", "_id"} {
			if id, ok := value[field].(string); ok && uuid.MatchString(id) {
				for _, key := range slices.Backward(naturalKeys) {
					if name, ok := value[key].(string); ok {
						names[id] = name
					}
				}
			}
		}
		for _, inner := range value {
			nameIDs(inner, names)
		}
	case []any:
		for _, inner := range value {
			nameIDs(inner, names)
		}
	}
}

func portable(value any, realm string, names map[string]string) any {
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range value {
			if !slices.Contains(volatile, key) && !(key == "secret" && generated(inner)) {
				out[portable(key, realm, names).(string)] = portable(inner, realm, names)
			}
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, inner := range value {
			out[i] = portable(inner, realm, names)
		}
		return out
	case string:
		text := uuid.ReplaceAllStringFunc(value, func(id string) string {
			if name, ok := names[id]; ok {
				return name
			}
			return id
		})
		return strings.ReplaceAll(text, realm, "REALM")
	}
	return value
}

// generated tells whether a secret looks like one that the server made up: 32 characters or 86, by version.
func generated(secret any) bool {
	text, ok := secret.(string)
	return ok && (len(text) == 32 || len(text) == 86) && !strings.ContainsAny(text, " *")
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// ordered are the lists whose order counts.
var ordered = []string{"authenticationExecutions", "executors", "conditions", "policies", "profiles", "steps", "levels"}

// canonical sorts the lists that have no order, from the inside out.
func canonical(field string, value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := maps.Clone(value)
		_, guarded := value["policyEnforcementMode"] // what a client protects, in which nothing has an order
		for key, inner := range value {
			out[key] = canonical(key, inner)
			if guarded {
				out[key] = canonical("", inner)
			}
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, inner := range value {
			out[i] = canonical("", inner)
		}
		if !slices.Contains(ordered, field) {
			slices.SortFunc(out, func(a, b any) int { return strings.Compare(sortKey(a), sortKey(b)) })
		}
		return out
	case string: // a list in a string has no order either
		var list []any
		if strings.HasPrefix(value, "[") && json.Unmarshal([]byte(value), &list) == nil {
			text, err := json.Marshal(canonical("", list))
			if err != nil {
				panic(err)
			}
			return string(text)
		}
	}
	return value
}

// sortKey is an object's natural key, and then all of it as JSON, whose keys are sorted.
func sortKey(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	if object, ok := value.(map[string]any); ok {
		for _, key := range naturalKeys {
			if name, ok := object[key].(string); ok {
				return name + "\x00" + string(text)
			}
		}
	}
	return string(text)
}
