package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
)

func TestDroppedClientIsDeletedAndOneMadeByHandIsNot(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: portal}, {clientId: shop}]\n"))
	w.admin.Create("/admin/realms/"+w.name+"/clients", map[string]any{"clientId": "by-hand"})

	report := w.settled(realm("    clients: [{clientId: portal}]\n"))
	if got, want := ops(report), "delete clients/shop"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
	if got, want := report.Changes[0].Cause, drift.FromCommit; got != want {
		t.Errorf("cause %q, want %q", got, want)
	}
	if got := w.clients(); !cmp.Equal(got, []string{"by-hand", "portal"}) {
		t.Errorf("clients %v are left", got)
	}
}

func TestExclusiveListReportsAndRemovesStrangersButNotBuiltins(t *testing.T) {
	w := newWorld(t)
	manifest := spec("  exclusive: [clients]\n", "    clients: [{clientId: portal}]\n")
	w.settled(manifest)
	w.admin.Create("/admin/realms/"+w.name+"/clients", map[string]any{"clientId": "by-hand"})

	planned := w.plan(manifest)
	if got, want := planned.Says, "1 drifted: clients/by-hand (added)"; got != want {
		t.Errorf("says %q, want %q", got, want)
	}
	w.settled(manifest)
	if got := w.clients(); !cmp.Equal(got, []string{"portal"}) {
		t.Errorf("clients %v are left", got)
	}
}

func TestStrangerInACompleteListIsDrift(t *testing.T) {
	w := newWorld(t)
	manifest := realm("    clients:\n      - clientId: portal\n        protocolMappers: []\n      - clientId: shop\n")
	w.settled(manifest)
	mapper := map[string]any{"name": "m", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper", "config": map[string]any{}}
	for _, client := range []string{"portal", "shop"} {
		w.admin.Create("/admin/realms/"+w.name+"/clients/"+w.clientID(client)+"/protocol-mappers/models", mapper)
	}
	report := w.settled(manifest)
	if got, want := ops(report), "delete clients/portal/protocolMappers/m"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
}

func TestMapKeyNoLongerDeclaredIsRemovedAndAForeignOneStays(t *testing.T) {
	w := newWorld(t)
	with := "    attributes: {team: identity, cost: \"12\"}\n    clients: [{clientId: portal, attributes: {pkce.code.challenge.method: S256, ours: a}}]\n"
	w.settled(realm(with))
	w.admin.Edit("/admin/realms/"+w.name, func(r map[string]any) { r["attributes"].(map[string]any)["foreign"] = "kept" })
	w.admin.Edit("/admin/realms/"+w.name+"/clients/"+w.clientID("portal"), func(c map[string]any) { c["attributes"].(map[string]any)["foreign"] = "kept" })

	report := w.settled(realm("    attributes: {team: identity}\n    clients: [{clientId: portal, attributes: {pkce.code.challenge.method: S256}}]\n"))
	if got, want := ops(report), "update realm attributes.cost\nupdate clients/portal attributes.ours"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
	for path, gone := range map[string]string{"": "cost", "/clients/" + w.clientID("portal"): "ours"} {
		attributes := w.admin.Get("/admin/realms/" + w.name + path).(map[string]any)["attributes"].(map[string]any)
		if attributes["foreign"] != "kept" || attributes[gone] != nil {
			t.Errorf("attributes of %q are %v", path, attributes)
		}
	}
}

func TestScalarNoLongerDeclaredStays(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    displayName: Acme\n    clients: [{clientId: portal, name: Portal, redirectUris: [\"https://a.example/*\"]}]\n"))
	report := w.settled(realm("    clients: [{clientId: portal}]\n"))
	if len(report.Changes) > 0 {
		t.Errorf("changes\n%s", text(report))
	}
}

func TestTwoSourcesThatDeclareOneClientAreAProblemNamingBoth(t *testing.T) {
	w := newWorld(t)
	w.source = "https://git.example/a"
	w.settled(realm("    clients: [{clientId: portal}]\n"))
	w.source = "https://git.example/b"
	report, err := w.pass(reconcile.Apply, strings.Replace(realm("    clients: [{clientId: shop}, {clientId: portal}]\n"), "    enabled: true\n", "", 1)).Run(context.Background())
	var blocked *reconcile.Blocked
	if !errors.As(err, &blocked) {
		t.Fatalf("error %v, want blocked\n%s", err, text(report))
	}
	if got := report.Problems[0].String(); !strings.Contains(got, "https://git.example/a") || !strings.Contains(got, "https://git.example/b") || !strings.HasPrefix(got, "acme.yaml:7:") {
		t.Errorf("problem %q", got)
	}
	if got := w.clients(); !cmp.Equal(got, []string{"portal"}) {
		t.Errorf("clients %v, want only portal", got)
	}
	// Apart, they don't touch each other's objects.
	w.settled(strings.Replace(realm("    clients: [{clientId: shop}]\n"), "    enabled: true\n", "", 1))
	w.source = "https://git.example/a"
	w.settled(realm("    clients: [{clientId: portal}]\n"))
	if got := w.clients(); !cmp.Equal(got, []string{"portal", "shop"}) {
		t.Errorf("clients %v, want portal and shop", got)
	}
}

func TestBrokenLedgerOfAnotherSourceIsSaidAndStopsNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(named))
	w.admin.Edit(w.at("/clients/"+w.clientID("cloakwork")), func(c map[string]any) {
		c["attributes"].(map[string]any)["cloakwork.ledger.0123456789abcdef"] = "garbage"
	})
	w.settled(realm(named))
	log := &journal{}
	p := w.pass(reconcile.Plan, realm(named))
	p.Log = slog.New(slog.NewTextHandler(log, nil))
	if _, err := p.Run(t.Context()); err != nil || !strings.Contains(log.String(), "cloakwork.ledger.0123456789abcdef") {
		t.Errorf("%v; it logs\n%s", err, log)
	}
}

func TestStalePutOfTheWholeRealmLosesNothingOfOurs(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    displayName: Acme\n"))
	stale := w.admin.Get("/admin/realms/" + w.name)
	w.settled(realm("    displayName: Acme\n    attributes: {team: identity}\n    clients: [{clientId: portal}, {clientId: shop}]\n"))
	if status := w.admin.Do(http.MethodPut, "/admin/realms/"+w.name, stale); status != http.StatusNoContent {
		t.Fatalf("PUT of the old realm: %d", status)
	}
	// The attribute is drift and comes back; the ledger still knows both clients.
	report := w.settled(realm("    displayName: Acme\n    attributes: {team: identity}\n    clients: [{clientId: portal}]\n"))
	if got, want := ops(report), "update realm attributes.team\ndelete clients/shop"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
}

func TestCopyOfARealmOwnsNothing(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: portal}]\n"))
	ledger := w.admin.Get("/admin/realms/" + w.name + "/clients?clientId=cloakwork").([]any)[0].(map[string]any)

	c := newWorld(t)
	c.admin.Create("/admin/realms", map[string]any{"realm": c.name, "enabled": true, "clients": []any{
		map[string]any{"clientId": "portal"}, map[string]any{"clientId": "cloakwork", "enabled": false, "attributes": ledger["attributes"]}}})
	c.settled(realm("    displayName: Copy\n"))
	if got := c.clients(); !cmp.Equal(got, []string{"portal"}) {
		t.Errorf("clients %v, want portal to be left", got)
	}
}

func TestGroupThatHoldsSomebodyElsesGroupIsKept(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    groups: [{name: staff}, {name: guests}]\n"))
	var staff string
	for _, g := range w.admin.Get("/admin/realms/" + w.name + "/groups").([]any) {
		if g := g.(map[string]any); g["name"] == "staff" {
			staff = g["id"].(string)
		}
	}
	w.admin.Create("/admin/realms/"+w.name+"/groups/"+staff+"/children", map[string]any{"name": "theirs"})
	report, err := w.pass(reconcile.Apply, realm("    groups: [{name: guests}]\n")).Run(context.Background())
	if err == nil || !strings.Contains(report.Says, "holds groups/staff/groups/theirs, which is nobody's") {
		t.Errorf("says %q, error %v", report.Says, err)
	}
	if len(w.admin.Get("/admin/realms/"+w.name+"/groups").([]any)) != 2 {
		t.Error("a group was deleted")
	}
}

func TestRenamesKeepIdsAndWhatStandsBelow(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(`    clients: [{clientId: portal, attributes: {ours: a}}]
    clientScopes: [{name: orders, protocol: openid-connect}]
    roles: {realm: [{name: auditor, description: Reads}], client: {portal: [{name: viewer}, {name: dropped}]}}
    groups: [{name: staff, subGroups: [{name: emea}]}, {name: guests}]
`))
	before := w.ids()
	report := w.settled(spec("  limits: {changes: 100%}\n", `    clients: [{clientId: gate, $was: [portal], attributes: {}}]
    clientScopes: [{name: sales, $was: orders, protocol: openid-connect}]
    roles: {realm: [{name: inspector, $was: [auditor], description: Reads}], client: {gate: [{name: viewer}]}}
    groups: [{name: people, $was: [staff]}, {name: guests, subGroups: [{name: emea, $was: [/staff/emea]}]}]
`))
	t.Log(text(report))
	after := w.ids()
	for old, renamed := range map[string]string{"clients portal": "clients gate", "client-scopes orders": "client-scopes sales",
		"roles auditor": "roles inspector", "groups /staff": "groups /people", "groups /staff/emea": "groups /guests/emea"} {
		if before[old] == "" || before[old] != after[renamed] {
			t.Errorf("%s had id %q, %s has %q", old, before[old], renamed, after[renamed])
		}
	}
	roles := w.admin.Get("/admin/realms/" + w.name + "/clients/" + w.clientID("gate") + "/roles").([]any)
	if len(roles) != 1 {
		t.Errorf("roles of gate are %v, want viewer alone", roles)
	}
	if attributes := w.admin.Get("/admin/realms/" + w.name + "/clients/" + w.clientID("gate")).(map[string]any)["attributes"].(map[string]any); attributes["ours"] != nil {
		t.Errorf("attribute ours is left")
	}
}

func TestRealmIsRenamedInPlace(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: portal}]\n"))
	id := w.clientID("portal")
	was := w.name
	renamed := newWorld(t)
	renamed.client = w.client
	manifest := realm("    $was: [" + was + "]\n    clients: [{clientId: portal}]\n")
	report := renamed.apply(manifest)
	t.Log(text(report))
	renamed.settled(manifest)
	if got := renamed.clientID("portal"); got != id {
		t.Errorf("portal has id %s, want %s", got, id)
	}
}

// clients are the clients that Keycloak didn't make itself, but for the ledger's.
func (w *world) clients() []string {
	builtin := "account account-console admin-cli broker realm-management security-admin-console cloakwork admin-permissions"
	var names []string
	for _, c := range w.admin.Get("/admin/realms/" + w.name + "/clients").([]any) {
		if name := c.(map[string]any)["clientId"].(string); !strings.Contains(builtin, name) {
			names = append(names, name)
		}
	}
	return names
}

func (w *world) clientID(name string) string {
	w.t.Helper()
	found := w.admin.Get("/admin/realms/" + w.name + "/clients?clientId=" + name).([]any)
	if len(found) == 0 {
		w.t.Fatalf("no client %s", name)
	}
	return found[0].(map[string]any)["id"].(string)
}

// ids are the server's identifiers of the objects in the realm's lists.
func (w *world) ids() map[string]string {
	ids := map[string]string{}
	for _, list := range []string{"clients", "client-scopes", "roles"} {
		for _, o := range w.admin.Get("/admin/realms/" + w.name + "/" + list).([]any) {
			object := o.(map[string]any)
			name, ok := object["clientId"].(string)
			if !ok {
				name = object["name"].(string)
			}
			ids[list+" "+name] = object["id"].(string)
		}
	}
	var groups func([]any)
	groups = func(list []any) {
		for _, g := range list {
			group := g.(map[string]any)
			ids["groups "+group["path"].(string)] = group["id"].(string)
			groups(w.admin.Get("/admin/realms/" + w.name + "/groups/" + group["id"].(string) + "/children").([]any))
		}
	}
	groups(w.admin.Get("/admin/realms/" + w.name + "/groups").([]any))
	return ids
}
