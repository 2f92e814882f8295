package realm

import (
	"testing"

	"github.com/cloakwork/cloakwork/schema"
)

func TestMissingRoleOfAWriteIsTheOneThatKeycloakAsksFor(t *testing.T) {
	for address, want := range map[schema.Address]string{
		"realm":                                                "manage-realm",
		"roles/auditor":                                        "manage-realm",
		"roles/auditor/composites":                             "manage-realm",
		"authenticationFlows/acme":                             "manage-realm",
		"requiredActions/UPDATE_PASSWORD":                      "manage-realm",
		"defaultGroups":                                        "manage-realm",
		"clients/portal":                                       "manage-clients",
		"clients/portal/roles/viewer":                          "manage-clients",
		"clientScopes/orders/protocolMappers/tenant":           "manage-clients",
		"defaultDefaultClientScopes":                           "manage-clients",
		"groups/staff/groups/emea":                             "manage-users",
		"groups/staff/realmRoles":                              "manage-users",
		"users/ann":                                            "manage-users",
		"users/ann/federatedIdentities/hub":                    "manage-users",
		"identityProviders/hub":                                "manage-identity-providers",
		"identityProviders/hub/identityProviderMappers/tenant": "manage-identity-providers",
		"organizations/acme":                                   "manage-organizations",
		"workflows/leavers":                                    "realm-admin",
	} {
		if got := writer(address); got != want {
			t.Errorf("%s takes %s, want %s", address, got, want)
		}
	}
}
