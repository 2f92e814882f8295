package reconcile_test

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
	"github.com/cloakwork/cloakwork/schema"
)

func TestMain(m *testing.M) { keycloaktest.Main(m) }

// world is one realm on the real server, and a source that declares it.
type world struct {
	t      *testing.T
	server *keycloaktest.Server
	admin  *keycloaktest.Admin
	name   string // the realm's
	url    string // where the product finds Keycloak: the server itself, or a proxy
	source string
	env    map[string]string
	client *keycloak.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := keycloaktest.For(t)
	w := &world{t: t, server: server, admin: server.Admin(t), name: keycloaktest.Realm(t), url: server.URL, source: "test", env: map[string]string{}}
	w.connect()
	return w
}

// connect signs in anew, as a new process does.
func (w *world) connect() {
	w.t.Helper()
	client, err := keycloak.New(keycloak.Config{URL: w.url, User: w.server.User, Password: w.server.Password, Patience: -1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	w.client = client
}

// load reads manifests, in which REALM stands for the realm's name, from one file.
func (w *world) load(manifest string) schema.Declared {
	w.t.Helper()
	text := strings.ReplaceAll(manifest, "REALM", w.name)
	env := func(name string) (string, bool) { v, ok := w.env[name]; return v, ok }
	return schema.Load(fstest.MapFS{"acme.yaml": {Data: []byte(text)}}, schema.Options{Server: "eu", Env: env})
}

// pass is a pass over what the manifest declares.
func (w *world) pass(mode reconcile.Mode, manifest string) reconcile.Pass {
	w.t.Helper()
	declared := w.load(manifest)
	for _, p := range declared.Problems {
		w.t.Errorf("problem: %s", p)
	}
	want := declared.Realms[schema.RealmRef{Server: "eu", Realm: w.name}]
	if want == nil {
		w.t.Fatalf("no realm declared")
	}
	return reconcile.Pass{Mode: mode, Client: w.client, Account: reconcile.Account{Realm: "master", ClientID: "admin-cli", User: w.server.User},
		Want: want, Facts: declared.Facts, Kinds: declared.Kinds, Source: w.source, Log: slog.New(slog.DiscardHandler)}
}

func (w *world) plan(manifest string) drift.Report {
	w.t.Helper()
	report, err := w.pass(reconcile.Plan, manifest).Run(context.Background())
	if err != nil {
		w.t.Fatalf("plan: %v\n%s", err, text(report))
	}
	return report
}

func (w *world) apply(manifest string) drift.Report {
	w.t.Helper()
	report, err := w.pass(reconcile.Apply, manifest).Run(context.Background())
	if err != nil {
		w.t.Fatalf("apply: %v\n%s", err, text(report))
	}
	return report
}

// settled applies, and then expects a second pass to find nothing and send no write.
func (w *world) settled(manifest string) drift.Report {
	w.t.Helper()
	report := w.apply(manifest)
	mark := w.server.Mark(w.t)
	second := w.apply(manifest)
	if len(second.Changes) > 0 {
		w.t.Errorf("the second pass changes\n%s", text(second))
	}
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(w.t, mark, w.name)) {
		w.t.Errorf("the second pass sent %s", r)
	}
	return report
}

func text(r drift.Report) string {
	var b strings.Builder
	if err := drift.Text(&b, r, nil); err != nil {
		return err.Error()
	}
	return b.String()
}

// ops is what a report changes, in short: create clients/portal.
func ops(r drift.Report) string {
	var lines []string
	for _, c := range r.Changes {
		line := fmt.Sprintf("%s %s", c.Op, c.Address)
		if c.Op == drift.Update {
			line += " " + strings.Join(c.Fields(), ",")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// realm is a manifest with the given fields of spec.realm, indented by four.
func realm(fields string) string { return spec("", fields) }

// spec is a manifest with other fields of spec too, indented by two.
func spec(settings, fields string) string {
	return "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: REALM}\nspec:\n  server: eu\n" + settings + "  realm:\n    enabled: true\n" + fields
}
