package realm

import (
	"fmt"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// MissingRole is what an account lacks. Keycloak answers 200 with an empty list where it should refuse, and that must
// not read as a realm where everything is gone.
type MissingRole struct{ Role, Why string }

func (m *MissingRole) Error() string { return fmt.Sprintf("missing role %s: %s", m.Role, m.Why) }

// unseen is the error of an account that lacks a role to read something.
func unseen(role, what string) error {
	return &MissingRole{role, "the account can't see " + what}
}

// unwritten is the error of a write, with the role that it lacked where that was the cause.
func unwritten(role string, err error) error {
	if keycloak.IsForbidden(err) {
		return &MissingRole{role, err.Error()}
	}
	return err
}

// writer is the role that writing an object takes. Client scopes go with the clients, the realm's default groups and
// roles with the realm, and what groups are granted with the users.
func writer(a schema.Address) string {
	switch top, _, _ := strings.Cut(string(a), "/"); top {
	case "clients", "clientScopes":
		return "manage-clients"
	case "groups", "users":
		return "manage-users"
	case "identityProviders":
		return "manage-identity-providers"
	case "workflows":
		return "realm-admin"
	case "organizations":
		return "manage-organizations"
	}
	if strings.HasSuffix(a.Kind(), "ClientScopes") {
		return "manage-clients"
	}
	return "manage-realm"
}
