package reconcile_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	realms "github.com/cloakwork/cloakwork/reconcile/realm"
)

// lesser is an account of the realm itself that has only the roles that it was given.
type lesser struct {
	*world
	user       string // the id of its service account
	management string // the id of the client whose roles are given
}

func newLesser(t *testing.T) *lesser {
	t.Helper()
	l := &lesser{world: newWorld(t)}
	l.settled(rights)
	client := l.admin.Create(l.at("/clients"), map[string]any{"clientId": "lesser", "secret": "as lesser", "serviceAccountsEnabled": true})
	l.user = l.admin.Get(l.at("/clients/" + client + "/service-account-user")).(map[string]any)["id"].(string)
	l.management = l.clientID("realm-management")
	return l
}

// rights is a manifest in which every kind of object needs another role.
var rights = realm(`
    displayName: Acme
    clientScopes: [{name: orders, protocol: openid-connect}]
    clients: [{clientId: portal, name: Portal}]
    roles: {realm: [{name: auditor, description: Reads}], client: {portal: [{name: viewer, description: Views}]}}
    groups: [{name: staff, attributes: {site: [hq]}, realmRoles: [auditor]}]
    identityProviders: [{alias: hub, providerId: oidc, displayName: Hub}]
    identityProviderMappers: [{name: tenant, identityProviderAlias: hub, identityProviderMapper: hardcoded-attribute-idp-mapper, config: {attribute: tenant, attribute.value: acme}}]
`)

// become gives the account exactly these roles and signs in.
func (l *lesser) become(roles ...string) {
	l.t.Helper()
	mappings := l.at("/users/" + l.user + "/role-mappings/clients/" + l.management)
	if had := l.admin.Get(mappings).([]any); len(had) > 0 {
		l.must(http.MethodDelete, mappings, had)
	}
	var give []any
	for _, name := range roles {
		give = append(give, l.role("/clients/"+l.management+"/roles/"+name))
	}
	if len(give) > 0 {
		l.must(http.MethodPost, mappings, give)
	}
	client, err := keycloak.New(keycloak.Config{URL: l.url, Realm: l.name, ClientID: "lesser", ClientSecret: "as lesser", Patience: -1})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(client.Close)
	l.client = client
}

func (w *world) must(method, path string, body any) {
	w.t.Helper()
	if status := w.admin.Do(method, path, body); status/100 != 2 {
		w.t.Fatalf("%s %s: %d", method, path, status)
	}
}

// run makes a pass as the account, which is to send no write unless it may.
func (l *lesser) run(mode reconcile.Mode, manifest string) (drift.Report, error) {
	l.t.Helper()
	pass := l.pass(mode, manifest)
	pass.Account = reconcile.Account{Realm: l.name, ClientID: "lesser", User: "service-account-lesser"}
	return pass.Run(context.Background())
}

var (
	queries = []string{"query-clients", "query-groups", "query-realms", "query-users"}
	views   = append([]string{"view-clients", "view-identity-providers", "view-realm", "view-users"}, queries...)
)

// Keycloak answers an account that may not look with 200 and less: no clients, no groups, seven of a realm's settings.
func TestAnAccountThatCanNotSeeIsBlockedAndNothingReadsAsGone(t *testing.T) {
	l := newLesser(t)
	for _, c := range []struct {
		name    string
		roles   []string
		missing []string // one of which is named
	}{
		{"no role", nil, []string{"view-realm"}},
		{"only query roles", queries, []string{"view-realm"}},
		{"only view-realm", []string{"view-realm"}, []string{"view-clients", "view-users"}},
		{"view-realm and query roles", append([]string{"view-realm"}, queries...), []string{"view-clients", "view-users"}},
		{"all but view-realm", append([]string{"view-clients", "view-users"}, queries...), []string{"view-realm"}},
		{"all but view-clients", append([]string{"view-realm", "view-users"}, queries...), []string{"view-clients"}},
		{"all but view-users", append([]string{"view-realm", "view-clients"}, queries...), []string{"view-users"}},
		{"all but view-identity-providers", append([]string{"view-clients", "view-realm", "view-users"}, queries...), []string{"view-identity-providers"}},
		{"may manage what it can't see", []string{"manage-realm", "query-clients"}, []string{"view-clients", "view-users"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.t, l.admin = t, l.server.Admin(t)
			l.become(c.roles...)
			mark := l.server.Mark(t)
			for _, mode := range []reconcile.Mode{reconcile.Plan, reconcile.Drift, reconcile.Apply} {
				report, err := l.run(mode, rights)
				var missing *realms.MissingRole
				if !errors.As(err, &missing) || !slices.Contains(c.missing, missing.Role) {
					t.Fatalf("mode %d: error %v, want one that names one of %v", mode, err, c.missing)
				}
				if report.Verdict != drift.Blocked || !strings.HasPrefix(report.Says, "missing role "+missing.Role) || report.Hint == "" {
					t.Errorf("mode %d: %s: %q, hint %q", mode, report.Verdict, report.Says, report.Hint)
				}
				if len(report.Changes) > 0 {
					t.Errorf("mode %d: changes\n%s", mode, text(report))
				}
			}
			for _, r := range keycloaktest.Writes(l.server.RequestsSince(t, mark, l.name)) {
				t.Errorf("sent %s", r)
			}
		})
	}
}

func TestAReadOnlyAccountPlansFindsDriftAndWritesNothing(t *testing.T) {
	l := newLesser(t)
	l.become(views...)
	mark := l.server.Mark(t)
	for _, mode := range []reconcile.Mode{reconcile.Plan, reconcile.Drift, reconcile.Apply} {
		if report, err := l.run(mode, rights); err != nil || report.Verdict != drift.InSync || len(report.Changes) > 0 {
			t.Errorf("mode %d: %v\n%s", mode, err, text(report))
		}
	}
	l.admin.Edit(l.below("portal", ""), func(c map[string]any) { c["name"] = "Evil" })
	report, err := l.run(reconcile.Drift, rights)
	if got, want := report.Says, "1 drifted: clients/portal (name)"; err != nil || got != want {
		t.Errorf("drift says %q, want %q (%v)", got, want, err)
	}
	report, err = l.run(reconcile.Plan, strings.ReplaceAll(rights, "auditor", "reader"))
	if got, want := ops(report), "update clients/portal name\nupdate groups/staff/realmRoles realmRoles\ncreate roles/reader\ndelete roles/auditor"; err != nil || got != want {
		t.Errorf("plan lists %q, want %q (%v)", got, want, err)
	}
	for _, r := range keycloaktest.Writes(l.server.RequestsSince(t, mark, l.name)) {
		t.Errorf("sent %s", r)
	}
}

// All roles to view show no workflows, and on 26.4 and 26.5 no organizations.
func TestDriftSaysWhatAReadOnlyAccountCanNotSeeAndLooksAtTheRest(t *testing.T) {
	l := newLesser(t)
	manifest := strings.Replace(rights, "    displayName: Acme\n", "    displayName: Acme\n    organizationsEnabled: true\n    organizations: [{alias: acme, name: Acme, groups: [{name: sales}]}]\n"+
		"    workflows: [{name: w, enabled: true, \"on\": user-created, steps: [{uses: disable-user, after: 30d}]}]\n", 1)
	l.settled(manifest)
	l.become(views...)
	mark := l.server.Mark(t)
	report, err := l.run(reconcile.Drift, manifest)
	if err != nil || report.Verdict != drift.InSync || !strings.HasSuffix(report.Says, " objects as declared; can't see organizations and workflows") || report.Objects != 8 {
		t.Errorf("%d objects: %s: %q (%v)", report.Objects, report.Verdict, report.Says, err)
	}
	notes := []string{"missing role view-organizations: the account can't see the organizations, which versions without that role show to manage-realm; they weren't compared",
		"missing role realm-admin: the account can't see the workflows; they weren't compared"}
	if diff := cmp.Diff(notes, report.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	l.become(append([]string{"view-organizations"}, views...)...)
	l.admin.Edit(l.organization(""), func(o map[string]any) { o["name"] = "Evil" })
	report, err = l.run(reconcile.Drift, manifest)
	if got, want := report.Says, "1 drifted: organizations/acme (name)"; err != nil || got != want || !slices.Equal(report.Notes, notes[1:]) {
		t.Errorf("says %q, want %q; %q (%v)", got, want, report.Notes, err)
	}
	for _, mode := range []reconcile.Mode{reconcile.Plan, reconcile.Apply} { // which need to know all
		if report, err := l.run(mode, manifest); err == nil || report.Verdict != drift.Blocked || !strings.HasPrefix(report.Says, "missing role realm-admin: ") {
			t.Errorf("mode %d: %s: %q (%v)", mode, report.Verdict, report.Says, err)
		}
	}
	for _, r := range keycloaktest.Writes(l.server.RequestsSince(t, mark, l.name)) {
		t.Errorf("sent %s", r)
	}
}

func TestAnAccountThatCanNotWriteIsToldTheRoleAndTheRestIsDone(t *testing.T) {
	l := newLesser(t)
	change := func(from, to string) string { return strings.Replace(rights, from, to, 1) }
	for _, c := range []struct {
		name     string
		manifest string
		without  string // the role that is missing
		op       string // what fails for it
	}{
		{"settings", change("Acme", "Other"), "manage-realm", "update realm displayName"},
		{"client", change("name: Portal", "name: Other"), "manage-clients", "update clients/portal name"},
		{"client scope", change("{name: orders,", "{name: orders, description: x,"), "manage-clients", "update clientScopes/orders description"},
		{"client role", change("Views", "Other"), "manage-clients", "update clients/portal/roles/viewer description"},
		{"realm role", change("Reads", "Other"), "manage-realm", "update roles/auditor description"},
		{"group", change("[hq]", "[b]"), "manage-users", "update groups/staff attributes.site"},
		{"grants", change("realmRoles: [auditor]", "realmRoles: []"), "manage-users", "update groups/staff/realmRoles realmRoles"},
		{"identity provider", change("displayName: Hub", "displayName: Other"), "manage-identity-providers", "update identityProviders/hub displayName"},
		{"mapper of an identity provider", change("attribute.value: acme", "attribute.value: b"), "manage-identity-providers",
			"update identityProviders/hub/identityProviderMappers/tenant config.attribute.value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.t, l.admin = t, l.server.Admin(t)
			manage := slices.DeleteFunc([]string{"manage-clients", "manage-identity-providers", "manage-realm", "manage-users"}, func(role string) bool { return role == c.without })
			l.become(append(manage, views...)...)
			report, err := l.run(reconcile.Apply, c.manifest)
			if err == nil || report.Verdict != drift.Errored || !strings.Contains(report.Says, ": failed: missing role "+c.without+": ") || report.Hint == "" {
				t.Errorf("%s: %q, hint %q (%v)", report.Verdict, report.Says, report.Hint, err)
			}
			if got := ops(report); got != c.op || report.Changes[0].Outcome != drift.Failed {
				t.Errorf("changes\n%s", text(report))
			}
		})
	}

	l.t, l.admin = t, l.server.Admin(t)
	l.become(append([]string{"manage-clients", "manage-realm"}, views...)...)
	several := strings.NewReplacer("Acme", "Ours", "name: Portal", "name: Ours", "[hq]", "[b]").Replace(rights)
	report, err := l.run(reconcile.Apply, several)
	if err == nil {
		t.Fatal("no error")
	}
	outcomes := map[string]drift.Outcome{}
	for _, change := range report.Changes {
		outcomes[string(change.Address)] = change.Outcome
	}
	if outcomes["realm"] != drift.Done || outcomes["clients/portal"] != drift.Done || outcomes["groups/staff"] != drift.Failed || len(outcomes) != 3 {
		t.Errorf("outcomes %v", outcomes)
	}
	l.connect()
	if report := l.settled(several); ops(report) != "update groups/staff attributes.site" {
		t.Errorf("an account with all rights still had to\n%s", ops(report))
	}
}

// What is new is owned before it is made, and that is a write to a client.
func TestWithoutTheRightToWriteTheLedgerNothingIsMade(t *testing.T) {
	l := newLesser(t)
	l.become(append([]string{"manage-realm", "manage-users"}, views...)...)
	mark := l.server.Mark(t)
	report, err := l.run(reconcile.Apply, strings.Replace(rights, "groups: [", "groups: [{name: guests}, ", 1))
	if err == nil || report.Verdict != drift.Blocked || !strings.HasPrefix(report.Says, "missing role manage-clients: write the ledger: ") {
		t.Errorf("%s: %q (%v)", report.Verdict, report.Says, err)
	}
	for _, r := range keycloaktest.Writes(l.server.RequestsSince(t, mark, l.name)) {
		if r.Status != http.StatusForbidden {
			t.Errorf("sent %s", r)
		}
	}
	if groups := l.admin.Get(l.at("/groups")).([]any); len(groups) != 1 {
		t.Errorf("groups %v", groups)
	}
}

func TestARealmThatTheAccountMayNotMakeIsBlocked(t *testing.T) {
	w := newWorld(t)
	id := w.admin.Create("/admin/realms/master/clients", map[string]any{"clientId": w.name, "secret": "as nobody", "serviceAccountsEnabled": true})
	t.Cleanup(func() { w.must(http.MethodDelete, "/admin/realms/master/clients/"+id, nil) })
	client, err := keycloak.New(keycloak.Config{URL: w.url, ClientID: w.name, ClientSecret: "as nobody", Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	report, err := w.pass(reconcile.Apply, rights).Run(context.Background())
	if err == nil || report.Verdict != drift.Blocked || !strings.HasPrefix(report.Says, "missing role create-realm: ") {
		t.Errorf("%s: %q (%v)", report.Verdict, report.Says, err)
	}
}
