package reconcile_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	realms "github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// Keycloak answers some of these with an error in the middle of a pass, and takes others without a word.
func TestAReferenceThatLeadsNowhereIsAProblemOfThePlan(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    organizationsEnabled: true\n    users: [{username: ann}]\n    organizations: [{alias: acme, name: Acme}]\n"))
	manifest := realm(`    organizationsEnabled: true
    users: [{username: ann, requiredActions: [UPDATE_PASSWORT, VERIFY_EMAIL]}]
    organizations:
      - alias: acme
        name: Acme
        identityProviders:
          - {alias: hub}
        members:
          - username: an
          - username: ann
            groups: [/sales]
    clientPolicies:
      policies:
        - {name: partners, enabled: true, conditions: [{condition: any-client}], profiles: [fapi-1-baseline, fapi-1-basline]}
`)
	mark := w.server.Mark(t)
	for _, mode := range []reconcile.Mode{reconcile.Plan, reconcile.Apply} {
		report, err := w.pass(mode, manifest).Run(context.Background())
		if err == nil || report.Verdict != drift.Blocked {
			t.Errorf("%s: %v", report.Verdict, err)
		}
		var says []string
		for _, p := range report.Problems {
			says = append(says, p.String())
		}
		want := []string{
			"acme.yaml:9:29: users/ann names requiredActions/UPDATE_PASSWORT, which neither the manifests nor Keycloak have; did you mean UPDATE_PASSWORD?",
			"acme.yaml:13:9: organizations/acme names identityProviders/hub, which neither the manifests nor Keycloak have; declare it, or correct the name",
			"acme.yaml:16:13: organizations/acme/members/an names users/an, which neither the manifests nor Keycloak have; did you mean ann?",
			"acme.yaml:18:13: organizations/acme/members/ann/memberships names organizations/acme/groups/sales, which neither the manifests nor Keycloak have; declare it, or correct the name",
			"acme.yaml:21:82: clientPolicies/partners names clientProfiles/fapi-1-basline, which neither the manifests nor Keycloak have; did you mean fapi-1-baseline?",
		}
		if diff := cmp.Diff(want, says); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	}
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
		t.Errorf("sent %s", r)
	}
}

func TestAStrangerAmongTheMembersOfAnOrganizationIsDriftWhereMembersAreDeclared(t *testing.T) {
	w := newWorld(t)
	manifest := organization("members: [{username: ann}]")
	w.settled(realm(manifest))
	join := func(user string) {
		w.must(http.MethodPost, w.organization("/members"), w.userID(user))
	}
	join("bob")
	if got, want := ops(w.apply(realm(manifest))), "delete organizations/acme/members/bob"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
	w.userID("bob") // is still there
	join("bob")
	if report := w.settled(realm(organization("enabled: true"))); ops(report) != "delete organizations/acme/members/ann" {
		t.Errorf("changes %q", ops(report))
	}
	w.finds(step{"", "/organizations/{organizations:acme}/members", `[{"username":"bob"}]`})
}

// Keycloak deletes a managed member's user together with the membership.
func TestAManagedMemberIsNobodysToRemove(t *testing.T) {
	for membership, want := range map[string]bool{"MANAGED": true, "UNMANAGED": false} {
		member := schema.Object{Address: "organizations/acme/members/ann", Fields: map[string]any{"username": "ann", "membershipType": membership}}
		if got := realms.Builtin("acme", member); got != want {
			t.Errorf("%s: built in is %v", membership, got)
		}
	}
}
