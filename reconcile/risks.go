package reconcile

import (
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// risks are the classes of harm that a change can do.
func risks(realmName string, account Account, c drift.Change) []drift.Risk {
	var found []drift.Risk
	if c.Op == drift.Delete && !realm.IsLinks(c.Address) {
		found = append(found, drift.Deletes)
	}
	if account.Realm == realmName && cutsAccess(account, c) {
		found = append(found, drift.CutsOwnAccess)
	}
	return found
}

// cutsAccess tells whether a change in the realm that we sign in to could lock us out: of the client that we come through,
// of the role that lets us in, or of the realm itself.
func cutsAccess(account Account, c drift.Change) bool {
	client := schema.Join(schema.RealmAddress, "clients", account.ClientID)
	touches := func(paths ...string) bool {
		return slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool { return slices.Contains(paths, d.At[0]) })
	}
	switch c.Address {
	case schema.RealmAddress:
		return c.Op != drift.Update || touches("enabled", "sslRequired", "realm")
	case client:
		return c.Op == drift.Delete || c.Op == drift.Rename || c.Op == drift.Update && touches("enabled", "secret", "publicClient",
			"clientAuthenticatorType", "serviceAccountsEnabled", "directAccessGrantsEnabled", "bearerOnly", "fullScopeAllowed")
	}
	return c.Op != drift.Create && (c.Address == "roles/admin" || strings.HasPrefix(string(c.Address), "roles/admin/")) ||
		c.From == client
}
