package reconcile_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// newMaster is the realm master of a server of its own.
func newMaster(t *testing.T) *world {
	t.Helper()
	server, err := keycloaktest.Start(context.Background(), keycloaktest.Options{Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, server: server, admin: server.Admin(t), name: "master", url: server.URL, source: "test", env: map[string]string{}}
	w.connect()
	return w
}

// The realm that we sign in to is managed like any other, but for what would lock us out of it, and for the clients by which
// it administers the others.
func TestTheRealmMasterIsManagedAndOurAccessToItStays(t *testing.T) {
	t.Parallel()
	w := newMaster(t)
	w.admin.Create("/admin/realms", map[string]any{"realm": "shop"})
	w.admin.Create(w.at("/clients"), map[string]any{"clientId": "stranger"})

	// Something of ours, and everything else a stranger.
	const ours = "    displayName: Acme\n    loginTheme: keycloak.v2\n    clients: [{clientId: console, publicClient: true}]\n    roles: {realm: [{name: auditor, composites: {client: {shop-realm: [view-users]}}}]}\n"
	w.settled(spec("  exclusive: [clients, roles, users]\n  limits: {deletes: 5}\n", ours))
	for path, want := range map[string]int{"/clients?clientId=stranger": 0, "/clients?clientId=shop-realm": 1, "/clients?clientId=master-realm": 1, "/clients?clientId=admin-cli": 1, "/clients?clientId=console": 1, "/users?username=admin": 1} {
		if got := len(w.admin.Get(w.at(path)).([]any)); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}

	for name, fields := range map[string]string{
		"the client that we come through, disabled": "    clients: [{clientId: admin-cli, enabled: false}]\n",
		"its grant":                                     "    clients: [{clientId: admin-cli, directAccessGrantsEnabled: false}]\n",
		"its flow":                                      "    clients: [{clientId: admin-cli, authenticationFlowBindingOverrides: {direct_grant: docker auth}}]\n",
		"the user that we are, disabled":                "    users: [{username: " + w.server.User + ", enabled: false}]\n",
		"without the role":                              "    users: [{username: " + w.server.User + ", realmRoles: [offline_access]}]\n",
		"the role, without what it is made of":          "    roles: {realm: [{name: admin, composites: {realm: []}}]}\n",
		"the realm, for secure connections alone":       "    sslRequired: all\n",
		"the realm, by another flow":                    "    directGrantFlow: docker auth\n",
		"the flow, without what it asks":                "    authenticationFlows:\n      - alias: direct grant\n        authenticationExecutions: [{authenticator: direct-grant-validate-username, requirement: DISABLED}, {authenticator: direct-grant-validate-password, requirement: REQUIRED}, {flowAlias: Direct Grant - Conditional OTP, requirement: CONDITIONAL}]\n",
		"the realm itself, disabled, in a longer story": "    displayName: Other\n    enabled: false\n",
	} {
		t.Run(name, func(t *testing.T) {
			w.t, w.admin = t, w.server.Admin(t)
			manifest := strings.Replace(realm(fields), "    enabled: true\n", "", 1)
			mark := w.server.Mark(t)
			report, err := w.pass(reconcile.Apply, manifest).Run(context.Background())
			if err == nil || report.Verdict != drift.Blocked || !strings.HasPrefix(report.Says, `1 changes with the risk "cuts own access", the limit is 0`) {
				t.Errorf("%s: %q (%v)\n%s", report.Verdict, report.Says, err, text(report))
			}
			for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
				t.Errorf("sent %s", r)
			}
			allowed := strings.Replace(manifest, "  realm:\n", "  limits: {risks: {cuts-own-access: 1}}\n  realm:\n", 1)
			if report, err := w.pass(reconcile.Plan, allowed).Run(context.Background()); err != nil || report.Verdict != drift.Pending {
				t.Errorf("allowed: %s: %q (%v)", report.Verdict, report.Says, err)
			}
		})
	}
	w.t, w.admin = t, w.server.Admin(t)
	// All that it holds, as it is.
	version, err := w.client.Version(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	declared := schema.Load(fstest.MapFS{"master.json": {Data: w.server.Export(t, "master")}}, schema.Options{Server: "eu", Version: version})
	for _, p := range declared.Problems {
		t.Errorf("problem: %s", p)
	}
	whole := func(mode reconcile.Mode) drift.Report {
		report, err := w.whole(mode, declared, version).Run(context.Background())
		if err != nil || len(report.Changes) > 0 {
			t.Fatalf("%v\n%s", err, text(report))
		}
		return report
	}
	whole(reconcile.Plan)
	whole(reconcile.Apply)
	mark := w.server.Mark(t)
	if report := whole(reconcile.Apply); report.Objects < 50 {
		t.Errorf("%d objects", report.Objects)
	}
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
		t.Errorf("the second pass sent %s", r)
	}
}
