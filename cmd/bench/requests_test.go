package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

func TestMain(m *testing.M) { keycloaktest.Main(m) }

// sized is a realm of a size on the real server.
type sized struct {
	t       *testing.T
	server  *keycloaktest.Server
	name    string
	config  keycloak.Config
	want    *schema.Realm // what was declared last
	commits int
}

// pass makes a pass over the realm as declared, and returns the requests that it sent.
func (s *sized) pass(mode reconcile.Mode, declared map[string]any) (drift.Report, []keycloaktest.Request) {
	s.t.Helper()
	loaded := schema.Load(fstest.MapFS{"realm.json": {Data: manifest(declared)}}, schema.Options{Server: "bench"})
	for _, p := range loaded.Problems {
		s.t.Fatalf("problem: %s", p)
	}
	before := s.want
	s.want = loaded.Realms[schema.RealmRef{Server: "bench", Realm: s.name}]
	client, err := keycloak.New(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	if mode == reconcile.Apply {
		s.commits++
	}
	mark := s.server.Mark(s.t)
	report, err := reconcile.Pass{Mode: mode, Client: client, Want: s.want, Facts: loaded.Facts, Kinds: loaded.Kinds, Source: "bench",
		Commit: fmt.Sprint(s.commits), Base: func(string) (*schema.Realm, error) { return before, nil },
		Account: reconcile.Account{Realm: "master", ClientID: "admin-cli", User: s.server.User}, Log: slog.New(slog.DiscardHandler)}.Run(context.Background())
	if err != nil {
		s.t.Fatalf("%v: %s", err, report.Says)
	}
	return report, s.server.RequestsSince(s.t, mark, s.name)
}

// expect compares the counts of requests with what they may be.
func (s *sized) expect(what string, requests []keycloaktest.Request, reads, writes int) {
	s.t.Helper()
	w := len(keycloaktest.Writes(requests))
	r := len(requests) - w
	s.t.Logf("%s: %d reads, %d writes", what, r, w)
	if r > reads || w > writes {
		s.t.Errorf("%s: %d reads and %d writes, want at most %d and %d:\n%s", what, r, w, reads, writes, counted(requests))
	}
}

// counted are requests by what they are for, in short.
func counted(requests []keycloaktest.Request) string {
	counts := map[string]int{}
	for _, r := range requests {
		path, _, _ := strings.Cut(r.Path, "?")
		counts[r.Method+" "+uuid.ReplaceAllString(path, "ID")]++
	}
	var b strings.Builder
	for what, n := range counts {
		fmt.Fprintf(&b, "%6d %s\n", n, what)
	}
	return b.String()
}

// mostWrites is one write an object, one a set of links that isn't empty, one an execution, and four for the ledger.
func (s *sized) mostWrites() int {
	n := 4
	for a, o := range s.want.State {
		executions, _ := o.Fields["authenticationExecutions"].([]any)
		if !realm.IsLinks(a) || len(realm.Targets(o)) > 0 {
			n += 1 + len(executions)
		}
	}
	return n
}

func TestRequestsOfARealmOfMediumSize(t *testing.T) {
	t.Parallel()
	s := &sized{t: t, server: keycloaktest.For(t), name: keycloaktest.Realm(t)}
	s.config = keycloak.Config{URL: s.server.URL, User: s.server.User, Password: s.server.Password}
	medium, err := sizeOf("medium")
	if err != nil {
		t.Fatal(err)
	}
	plain := medium.realm(s.name, false)

	_, requests := s.pass(reconcile.Apply, plain)
	s.expect("created", requests, 200, s.mostWrites())

	_, requests = s.pass(reconcile.Apply, plain)
	s.expect("nothing changed", requests, 40, 0)
	unchanged := len(requests)

	plain["clients"].([]any)[0].(map[string]any)["name"] = "Renamed"
	report, requests := s.pass(reconcile.Apply, plain)
	if len(report.Changes) != 1 {
		t.Errorf("%d changes, want 1", len(report.Changes))
	}
	s.expect("one attribute changed", requests, 2*unchanged+4, 3)

	admin := s.config
	s.reader()
	_, requests = s.pass(reconcile.Drift, plain)
	s.expect("read-only", requests, medium.clients+40, 0)
	s.config = admin

	plain["users"] = medium.realm(s.name, true)["users"]
	report, requests = s.pass(reconcile.Apply, plain)
	s.expect("its users created", requests, 2*unchanged+2*medium.users+60, len(report.Changes)+4)
	_, requests = s.pass(reconcile.Apply, plain)
	s.expect("nothing changed, with its users", requests, medium.users, 0)
}

// reader lets the passes sign in as a client of the realm that may look at everything, and change nothing.
func (s *sized) reader() {
	s.t.Helper()
	admin, base := s.server.Admin(s.t), "/admin/realms/"+s.name
	id := admin.Create(base+"/clients", map[string]any{"clientId": "reader", "secret": "as reader", "serviceAccountsEnabled": true})
	user := admin.Get(base + "/clients/" + id + "/service-account-user").(map[string]any)["id"].(string)
	management := admin.Get(base + "/clients?clientId=realm-management").([]any)[0].(map[string]any)["id"].(string)
	var views []any
	for _, role := range admin.Get(base + "/clients/" + management + "/roles").([]any) {
		if name := role.(map[string]any)["name"].(string); strings.HasPrefix(name, "view-") || strings.HasPrefix(name, "query-") {
			views = append(views, role)
		}
	}
	if status := admin.Do("POST", base+"/users/"+user+"/role-mappings/clients/"+management, views); status != 204 {
		s.t.Fatalf("give the roles: %d", status)
	}
	s.config = keycloak.Config{URL: s.server.URL, Realm: s.name, ClientID: "reader", ClientSecret: "as reader"}
}
