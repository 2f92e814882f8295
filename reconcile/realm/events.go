package realm

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Event is one write to the realm, as Keycloak's admin events record it.
type Event struct {
	At      time.Time
	Op      string           // CREATE, UPDATE, DELETE or ACTION
	Touches []schema.Address // objects, fields of them as drift.Key makes them, and lists; none where the event doesn't tell
	Renames bool             // it gave an object another name
	Realm   string           // where the writer signed in, by name
	Client  string           // by id: the client that signed in, or that the user signed in through
	User    string           // by id: the user, or the client's service account
	IP      string
}

// recorded are the types of the events about objects of each kind; none where Keycloak records nothing. A type that it doesn't
// know it answers with 500 (26.7.3); these are the same in 26.4, but for those of groups of organizations, which came with them.
var recorded = map[string][]string{
	"authenticationFlows":         {"AUTH_FLOW", "AUTH_EXECUTION", "AUTH_EXECUTION_FLOW"},
	"authenticatorConfig":         {"AUTHENTICATOR_CONFIG", "AUTH_EXECUTION"},
	"realm":                       {"REALM"},
	"clientScopes":                {"CLIENT_SCOPE"},
	"clients":                     {"CLIENT"},
	"roles":                       {"REALM_ROLE", "CLIENT_ROLE"},
	"protocolMappers":             {"PROTOCOL_MAPPER"},
	"groups":                      {"GROUP"},
	"identityProviders":           {"IDENTITY_PROVIDER"},
	"identityProviderMappers":     {"IDENTITY_PROVIDER_MAPPER"},
	"components":                  {"COMPONENT", "USER_PROFILE"},
	"requiredActions":             {"REQUIRED_ACTION", "REQUIRED_ACTION_CONFIG"},
	"organizations":               {"ORGANIZATION"},
	"members":                     {"ORGANIZATION_MEMBERSHIP", "USER"},
	"users":                       {"USER"},
	"federatedIdentities":         {"USER"},
	"composites":                  {"REALM_ROLE", "CLIENT_ROLE"},
	"scopeMappings":               {"REALM_SCOPE_MAPPING", "CLIENT_SCOPE_MAPPING"},
	"realmRoles":                  {"REALM_ROLE_MAPPING"},
	"clientRoles":                 {"CLIENT_ROLE_MAPPING"},
	"memberships":                 {"GROUP_MEMBERSHIP"},
	"defaultClientScopes":         {"CLIENT_SCOPE_CLIENT_MAPPING"},
	"optionalClientScopes":        {"CLIENT_SCOPE_CLIENT_MAPPING"},
	"defaultDefaultClientScopes":  {"CLIENT_SCOPE"},
	"defaultOptionalClientScopes": {"CLIENT_SCOPE"},
	"defaultGroups":               {"GROUP"},
	"authorizationSettings":       {"AUTHORIZATION_RESOURCE_SERVER"},
	"scopes":                      {"AUTHORIZATION_SCOPE"},
	"resources":                   {"AUTHORIZATION_RESOURCE"},
	"policies":                    {"AUTHORIZATION_POLICY"},
	"clientProfiles":              nil,
	"clientPolicies":              nil,
	"workflows":                   nil,
}

// unrecorded are the fields whose writes leave no event although those of their kind do (26.7.3).
var unrecorded = map[string][]string{"realm": {"localizationTexts"}, "organizations": {linked}}

// Recorded tells whether Keycloak records writes of a field of a kind, where it records any.
func Recorded(kind, path string) bool {
	return recorded[kind] != nil && !slices.ContainsFunc(unrecorded[kind], func(f string) bool { return path == f || strings.HasPrefix(path, f+".") })
}

// RecordsEvents tells whether the realm, as observed, records who writes to it.
func (l Live) RecordsEvents() bool {
	return l.State[schema.RealmAddress].Fields["adminEventsEnabled"] == true
}

// pages is how many pages of events are read at most: what is older is not worth its time.
const pages = 2

// Events are the newest events about objects like those named, newest first, as far as two pages of them reach back. The
// account needs view-events. What is gone from live is known again by what the realm held when formerly was observed, and
// where the realm keeps the details of events, by those.
func (r *Realm) Events(ctx context.Context, live Live, formerly map[string][]schema.Address, about []schema.Address) ([]Event, error) {
	types := typesOf(about)
	if len(types) == 0 {
		return nil, nil
	}
	var all []record
	for range pages {
		var some []record
		query := url.Values{"resourceTypes": types, "first": {strconv.Itoa(len(all))}, "max": {strconv.Itoa(page)}}
		if err := r.Client.Get(ctx, r.path("admin-events"), query, &some); keycloak.IsForbidden(err) {
			return nil, unseen("view-events", "who changed realm "+r.Name)
		} else if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < page {
			break
		}
	}
	names := namesIn(live)
	for id, all := range formerly {
		for _, a := range all {
			names.call(id, a)
		}
		if len(all) == 1 {
			names.tell(id, all[0])
		}
	}
	events := make([]Event, len(all))
	for i, e := range slices.Backward(all) { // what an old event tells of an id holds for the newer ones
		events[i] = Event{At: time.UnixMilli(e.Time), Op: e.OperationType, Realm: "master",
			Client: e.AuthDetails.ClientID, User: e.AuthDetails.UserID, IP: e.AuthDetails.IPAddress}
		if e.AuthDetails.RealmID == live.ID {
			events[i].Realm = r.Name
		}
		events[i].Touches, events[i].Renames = names.touched(e)
	}
	return events, nil
}

// typesOf are the types of the events about objects, and about what they stand in.
func typesOf(about []schema.Address) []string {
	var types []string
	for _, a := range about {
		if recorded[a.Kind()] == nil {
			continue
		}
		types = append(types, "REALM") // an import
		if a.Within("organizations") { // versions that have no groups there don't know the types
			switch a.Kind() {
			case "groups":
				types = append(types, "ORGANIZATION_GROUP")
			case "memberships":
				types = append(types, "ORGANIZATION_GROUP_MEMBERSHIP")
			}
		}
		for ; a != "" && a != schema.RealmAddress; a = a.Parent() {
			types = append(types, recorded[a.Kind()]...)
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// record is an event as Keycloak gives it.
type record struct {
	Time                                      int64
	OperationType, ResourceType, ResourcePath string
	Representation                            string // "" unless the realm keeps details
	AuthDetails                               struct{ RealmID, ClientID, UserID, IPAddress string }
}

// holds decodes an event's representation into out, as far as it is of that shape.
func holds[T any](e record) (out T) {
	_ = json.Unmarshal([]byte(e.Representation), &out) // what isn't kept, or is of another shape, tells nothing
	return out
}
