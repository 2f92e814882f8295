package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile"
)

const leaning = `
    clientScopes: [{name: orders, protocol: openid-connect}]
    clients: [{clientId: portal, defaultClientScopes: [profile, orders]}]
    roles:
      realm: [{name: auditor}, {name: boss, composites: {realm: [auditor], client: {portal: [viewer]}}}]
      client: {portal: [{name: viewer}]}
    groups: [{name: staff, realmRoles: [auditor], clientRoles: {portal: [viewer]}, subGroups: [{name: a/b}]}]
    defaultGroups: [/staff/a~/b]
    defaultOptionalClientScopes: [offline_access, orders]
`

// Keycloak holds links by id: when what they lead to is renamed, nothing is left to do for them.
func TestLinksFollowWhatIsRenamed(t *testing.T) {
	w := newWorld(t)
	w.settled(spec("  limits: {changes: 100%}\n", leaning))
	renamed := strings.NewReplacer("{name: orders", "{name: sales, $was: [orders]", "orders]", "sales]", "clientId: portal", "clientId: gate, $was: [portal]",
		"portal:", "gate:", "{name: auditor", "{name: inspector, $was: [auditor]", "[auditor]", "[inspector]", "{name: viewer", "{name: reader, $was: [viewer]",
		"[viewer]", "[reader]", "{name: staff", "{name: people, $was: [staff]", "/staff/", "/people/").Replace(leaning)
	report := w.settled(spec("  limits: {changes: 100%}\n", renamed))
	want := "rename clientScopes/sales\nrename clients/gate\nrename clients/gate/roles/reader\nrename groups/people\nrename roles/inspector"
	if got := ops(report); got != want {
		t.Errorf("changes\n%s\nwant\n%s", text(report), want)
	}
	// What is no longer declared goes, though it was ours under the former names.
	report = w.settled(spec("  limits: {changes: 100%}\n", strings.NewReplacer(", client: {gate: [reader]}}", "}", ", clientRoles: {gate: [reader]}", "").Replace(renamed)))
	want = "update roles/boss/composites composites.client.gate\ndelete groups/people/clientRoles"
	if got := ops(report); got != want {
		t.Errorf("changes\n%s\nwant\n%s", text(report), want)
	}
}

func TestWhatACommitTakesAwayMayNotBeReferredTo(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(leaning))
	for _, manifest := range []string{
		strings.Replace(leaning, "{name: auditor}, ", "", 1),
		strings.Replace(leaning, "{name: auditor}", "{name: inspector, $was: [auditor]}", 1),
		strings.Replace(leaning, "subGroups: [{name: a/b}]", "subGroups: []", 1),
		strings.Replace(leaning, "clientId: portal,", "clientId: gate,", 1),
	} {
		report, err := w.pass(reconcile.Apply, realm(manifest)).Run(context.Background())
		var blocked *reconcile.Blocked
		if !errors.As(err, &blocked) || !strings.Contains(report.Says, ", which neither the manifests nor Keycloak") {
			t.Errorf("%q (%v)\n%s", report.Says, err, text(report))
		}
	}
	w.settled(realm(leaning))
}
