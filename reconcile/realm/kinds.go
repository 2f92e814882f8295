// Package realm observes a realm of a live Keycloak and makes changes to it.
package realm

import (
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Shape is how the admin API holds objects of a kind.
type Shape int

// The shapes. X is the kind's path below its parent.
const (
	Document   Shape = iota // GET and PUT X
	Collection              // POST to X; GET, PUT, DELETE X/{id}
	BodyLinks               // POST and DELETE a list of representations at X
	PathLinks               // PUT and DELETE X/{id}
	Apart                   // none of these: written by a file of its own
)

// Kind says where one kind of object lives in the admin API; what it is called and keyed by stands in its CUE definition.
type Kind struct {
	Name    string // as manifests and addresses spell it
	Shape   Shape
	Path    string                                   // below its parent: clients
	Nested  string                                   // the path below a parent of the same kind, where that differs
	Item    string                                   // where single objects stand below the realm, where they don't stand in their list
	Merge   bool                                     // a PUT keeps the fields that it leaves out; elsewhere it needs the object as just read
	Split   bool                                     // links only: roles of the realm stand below realm, those of clients below clients/{id}
	Release bool                                     // links only: no longer declared, the set stays as it is, since emptying it would break logins
	Builtin func(realm string, o schema.Object) bool // made by Keycloak itself or for it: never deleted, never a stranger
}

// kinds is every kind we manage. Objects are created and updated from the top of the table to the bottom and deleted
// from the bottom to the top, so that whatever a row refers to stands above it. References that could form a cycle are
// rows of their own, of links (one object per owner, its field the set), below all objects.
var kinds = []Kind{
	{Name: "authenticationFlows", Shape: Apart, Path: "authentication/flows", Builtin: builtinFlow},
	{Name: "authenticatorConfig", Shape: Apart, Path: "authentication/config", Builtin: named(builtinConfigs)},
	{Name: "realm", Shape: Document, Builtin: always},
	{Name: "clientScopes", Shape: Collection, Path: "client-scopes", Merge: true, Builtin: named(builtinScopes)},
	{Name: "clients", Shape: Collection, Path: "clients", Merge: true, Builtin: builtinClient},
	{Name: "authorizationSettings", Shape: Apart, Path: "authz/resource-server", Builtin: always},
	{Name: "roles", Shape: Collection, Path: "roles", Item: "roles-by-id", Builtin: builtinRole},
	{Name: "protocolMappers", Shape: Collection, Path: "protocol-mappers/models", Builtin: serverMapper},
	{Name: "identityProviders", Shape: Collection, Path: "identity-provider/instances", Builtin: never},
	{Name: "organizations", Shape: Apart, Path: "organizations", Builtin: never},
	{Name: "groups", Shape: Collection, Path: "groups", Nested: "children", Item: "groups", Builtin: never},
	{Name: "identityProviderMappers", Shape: Collection, Path: "mappers", Builtin: never},
	{Name: "components", Shape: Apart, Path: "components", Item: "components", Builtin: builtinComponent},
	{Name: "requiredActions", Shape: Apart, Path: "authentication/required-actions", Builtin: always},
	{Name: "clientProfiles", Shape: Apart, Path: "client-policies/profiles", Builtin: globalProfile},
	{Name: "clientPolicies", Shape: Apart, Path: "client-policies/policies", Builtin: never},
	{Name: "workflows", Shape: Collection, Path: "workflows", Builtin: never},
	{Name: "users", Shape: Apart, Path: "users", Builtin: builtinUser},
	{Name: "federatedIdentities", Shape: Apart, Path: "federated-identity", Builtin: never},
	{Name: "members", Shape: Apart, Path: "members", Builtin: managedMember},
	{Name: "scopes", Shape: Apart, Path: "authz/resource-server/scope", Builtin: never},
	{Name: "resources", Shape: Apart, Path: "authz/resource-server/resource", Builtin: named([]string{"Default Resource"})},
	{Name: "policies", Shape: Apart, Path: "authz/resource-server/policy", Builtin: named([]string{"Default Policy", "Default Permission"})},

	{Name: "composites", Shape: BodyLinks, Path: "composites", Builtin: never},
	{Name: "scopeMappings", Shape: BodyLinks, Path: "scope-mappings", Split: true, Builtin: never},
	{Name: "realmRoles", Shape: BodyLinks, Path: "role-mappings/realm", Builtin: never},
	{Name: "clientRoles", Shape: BodyLinks, Path: "role-mappings/clients", Builtin: never},
	{Name: "memberships", Shape: PathLinks, Path: "groups", Builtin: never},
	{Name: "defaultClientScopes", Shape: PathLinks, Path: "default-client-scopes", Release: true, Builtin: never},
	{Name: "optionalClientScopes", Shape: PathLinks, Path: "optional-client-scopes", Release: true, Builtin: never},
	{Name: "defaultDefaultClientScopes", Shape: PathLinks, Path: "default-default-client-scopes", Release: true, Builtin: never},
	{Name: "defaultOptionalClientScopes", Shape: PathLinks, Path: "default-optional-client-scopes", Release: true, Builtin: never},
	{Name: "defaultGroups", Shape: PathLinks, Path: "default-groups", Release: true, Builtin: never},
}

// Kinds is the table, from what is referred to down to what refers.
func Kinds() []Kind { return slices.Clone(kinds) }

// row is the kind's place in the table, -1 for none.
func row(name string) int {
	return slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
}

func always(string, schema.Object) bool { return true }
func never(string, schema.Object) bool  { return false }

func named(names []string) func(string, schema.Object) bool {
	return func(_ string, o schema.Object) bool { return slices.Contains(names, o.Address.Name()) }
}

// What a new realm of 26.7.3 holds by itself.
var (
	builtinScopes = []string{"AuthnContextClassRef", "acr", "address", "basic", "email", "microprofile-jwt", "offline_access",
		"organization", "phone", "profile", "role_list", "roles", "saml_organization", "service_account", "web-origins"}
	builtinClients = []string{"account", "account-console", "admin-cli", "admin-permissions", "broker", "realm-management",
		"security-admin-console"}
	builtinFlows = []string{"browser", "clients", "direct grant", "docker auth", "first broker login", "registration",
		"reset credentials", "saml ecp"}
	builtinConfigs = []string{"browser-conditional-credential", "create unique user config",
		"first-broker-login-conditional-credential", "review profile config"}
	builtinRoles       = []string{"offline_access", "uma_authorization"}
	builtinClientRoles = map[string][]string{
		"account": {"delete-account", "manage-account", "manage-account-links", "manage-consent", "view-applications",
			"view-consent", "view-groups", "view-profile"},
		"broker": {"read-token"},
	}
	// serviceAccountMappers stood on every client with a service account before 25; the service_account scope holds them since.
	serviceAccountMappers = []string{"Client ID", "Client Host", "Client IP Address"}
)

func builtinClient(realm string, o schema.Object) bool {
	name := o.Address.Name()
	return name == LedgerClient || slices.Contains(builtinClients, name) || realm == "master" && strings.HasSuffix(name, "-realm")
}

func builtinRole(realm string, o schema.Object) bool {
	name := o.Address.Name()
	if client := o.Address.Parent(); client != schema.RealmAddress {
		return slices.Contains(builtinClientRoles[client.Name()], name) || name == protection || ReadOnly(realm, client)
	}
	return slices.Contains(builtinRoles, name) || strings.HasPrefix(name, "default-roles-") ||
		realm == "master" && (name == "admin" || name == "create-realm")
}

func builtinFlow(realm string, o schema.Object) bool {
	return o.Fields["builtIn"] == true || slices.Contains(builtinFlows, o.Address.Name())
}

func serverMapper(realm string, o schema.Object) bool {
	return slices.Contains(serviceAccountMappers, o.Address.Name())
}

// Builtin tells whether Keycloak made the object itself: it is never deleted and never a stranger.
func Builtin(realm string, o schema.Object) bool {
	i := row(o.Address.Kind())
	return i < 0 || kinds[i].Builtin(realm, o)
}

// Released tells whether a set of links stays as it is when nobody declares it any longer: because a client couldn't log in
// without it, or because Keycloak filled it itself.
func Released(realm string, a schema.Address) bool {
	i := row(a.Kind())
	return i >= 0 && (kinds[i].Release || IsLinks(a) && a.Parent() != schema.RealmAddress && Builtin(realm, schema.Object{Address: a.Parent()}))
}

// ReadOnly tells whether Keycloak refuses every write to the object: realm-management, and in master the clients that
// stand for the realms, with all below them (26.7.3 answers 403 to an unchanged PUT); the client of the admin permissions, but
// for these; and the one flow that it doesn't show.
func ReadOnly(realm string, a schema.Address) bool {
	if a == flowAt("saml ecp") {
		return true
	}
	parts := strings.Split(string(a), "/")
	if parts[0] != "clients" || len(parts) < 2 {
		return false
	}
	name := schema.Address(parts[0] + "/" + parts[1]).Name()
	return name == "realm-management" || realm == "master" && strings.HasSuffix(name, "-realm") || name == adminPermissions && a.Kind() != "policies"
}
