package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	realms "github.com/cloakwork/cloakwork/reconcile/realm"
)

// commit is a pass that applies a commit of a history.
func (w *world) commit(commit string, history map[string]string) reconcile.Pass {
	w.t.Helper()
	return w.committed(w.pass(reconcile.Apply, history[commit]), commit, history)
}

func (w *world) portalName() string {
	return w.role("/clients/" + w.clientID("portal"))["name"].(string)
}

func TestACommitGoneBackToIsHeldUntilANewerOneComesOrSomebodyResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history := map[string]string{}
	for commit, name := range map[string]string{"1": "One", "2": "Two", "3": "Three", "4": "Four"} {
		history[commit] = realm("    clients: [{clientId: portal, name: " + name + "}]\n")
	}
	step := func(p reconcile.Pass, verdict drift.Verdict, says, live string) {
		t.Helper()
		report, err := p.Run(context.Background())
		if err != nil || report.Verdict != verdict || report.Says != says {
			t.Errorf("%s: %q, %v; want %s: %q", report.Verdict, report.Says, err, verdict, says)
		}
		if got := w.portalName(); got != live {
			t.Errorf("live is %s, want %s", got, live)
		}
	}
	step(w.commit("1", history), drift.InSync, "2 objects as declared", "One")
	step(w.commit("3", history), drift.InSync, "2 objects as declared", "Three")
	back := w.commit("3", history)
	back.Rollback = &reconcile.Rollback{Commit: "1"}
	step(back, drift.Suspended, "held at 1 by a rollback: 2 objects as declared", "One")

	// What was known then doesn't end it, also where another process knows less; drift from it is corrected.
	for _, commit := range []string{"3", "2"} {
		mark := w.server.Mark(t)
		step(w.commit(commit, history), drift.Suspended, "held at 1 by a rollback: 2 objects as declared", "One")
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			t.Errorf("commit %s, held: it sent %s", commit, r)
		}
	}
	w.admin.Edit(w.at("/clients/"+w.clientID("portal")), func(o map[string]any) { o["name"] = "By hand" })
	plan := w.commit("3", history)
	plan.Mode = reconcile.Plan
	step(plan, drift.Drifted, "held at 1 by a rollback: 1 drifted: clients/portal (name)", "By hand")
	step(w.commit("3", history), drift.Suspended, "held at 1 by a rollback: 2 objects as declared", "One")
	loose := w.pass(reconcile.Apply, history["3"])
	if _, err := loose.Run(context.Background()); !asBlocked(err, "held at 1 by a rollback, and this stands in no commit") {
		t.Errorf("manifests of no commit: %v", err)
	}
	unreadable := w.commit("3", map[string]string{"3": history["3"]})
	if _, err := unreadable.Run(context.Background()); !asBlocked(err, "held at 1 by a rollback, and that can't be read: no such commit") {
		t.Errorf("a commit that can't be read: %v", err)
	}

	// A newer one does.
	step(w.commit("4", history), drift.InSync, "2 objects as declared", "Four")
	step(w.commit("4", history), drift.InSync, "2 objects as declared", "Four")

	// From there back to another, and again to one before: what is newest stays known. Resumed, the newest goes on.
	for _, commit := range []string{"3", "2"} {
		back := w.commit("3", history) // a checkout that knows no more
		back.Rollback = &reconcile.Rollback{Commit: commit}
		if _, err := back.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	step(w.commit("4", history), drift.Suspended, "held at 2 by a rollback: 2 objects as declared", "Two")
	pinned, err := (&realms.Realm{Client: w.client, Name: w.name}).Unpin(context.Background())
	if err != nil || len(pinned) != 1 || pinned[w.source] != "2" {
		t.Errorf("resume: %v, %v", pinned, err)
	}
	step(w.commit("4", history), drift.InSync, "2 objects as declared", "Four")
}

func asBlocked(err error, says string) bool {
	var blocked *reconcile.Blocked
	return errors.As(err, &blocked) && strings.HasPrefix(blocked.Why, says)
}

const unlimited = "  limits: {changes: 100%, deletes: 100%}\n"

// Commit 2 deletes clients, a scope and a user, and declares the secret of a client that had none declared.
var goneBackTo = map[string]string{
	"1": spec(unlimited, "    clients:\n      - {clientId: portal, serviceAccountsEnabled: true}\n      - {clientId: api}\n      - {clientId: kept, secret: $(env:KEPT)}\n"+
		"    clientScopes: [{name: orders, protocol: openid-connect}]\n    users: [{username: ann, enabled: true}]\n    roles: {realm: [{name: reader}]}\n"),
	"2": spec(unlimited, "    clients: [{clientId: api, secret: $(env:API)}]\n    roles: {realm: [{name: reader, description: Reads}]}\n"),
}

func TestARollbackBringsBackWhatGitDoesNotHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["KEPT"], w.env["API"] = "kept-s3cret-1", "api-s3cret-2"
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	points := &reconcile.RestorePoints{Folder: t.TempDir(), Recipients: []age.Recipient{identity.Recipient()}, Keep: time.Hour}
	apply := func(commit, to string) drift.Report {
		t.Helper()
		p := w.commit(commit, goneBackTo)
		p.RestorePoints = points
		if to != "" {
			p.Rollback = &reconcile.Rollback{Commit: to, Keys: reconcile.RestoreKeys{identity}}
		}
		return w.run(p)
	}
	secret := func(client string) string { return w.role("/clients/" + w.clientID(client))["secret"].(string) }
	apply("1", "")
	type was struct{ id, secret string }
	before := map[string]was{}
	for _, client := range []string{"portal", "api", "kept"} {
		before[client] = was{w.clientID(client), secret(client)}
	}
	scope := w.id("client-scopes", "orders")
	if w.admin.Do(http.MethodGet, w.at("/users?username=ann"), nil) != http.StatusOK || before["api"].secret == w.env["API"] {
		t.Fatal("not as it should be at first")
	}
	for range 2 { // a second time too
		apply("2", "")
		if secret("api") != w.env["API"] || len(w.admin.Get(w.at("/clients?clientId=portal")).([]any)) > 0 {
			t.Fatal("commit 2 is not in force")
		}
		report := apply("2", "1")
		for client, want := range before {
			if got := (was{w.clientID(client), secret(client)}); got != want {
				t.Errorf("%s has another id (%t) or secret (%t)", client, got.id != want.id, got.secret != want.secret)
			}
		}
		if got := w.id("client-scopes", "orders"); got != scope {
			t.Errorf("orders has id %s, want %s", got, scope)
		}
		for _, want := range []string{"clients/portal comes back with its former id and secret", "clients/kept comes back with its former id",
			"clientScopes/orders comes back with its former id", "users/ann is made anew: its id and its password don't come back"} {
			if !slices.Contains(report.Notes, want) {
				t.Errorf("it doesn't say %q:\n%s", want, text(report))
			}
		}
		// It is as commit 1 made it, for every pass to come.
		mark := w.server.Mark(t)
		if report := apply("2", ""); len(report.Changes) > 0 {
			t.Errorf("afterwards there is\n%s", text(report))
		}
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			t.Errorf("the pass after sent %s", r)
		}
		if _, err := (&realms.Realm{Client: w.client, Name: w.name}).Unpin(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// Without a recipient a restore point holds no secret, whatever made it one: generated, declared, or come from $(…).
func TestARestorePointForNobodyHoldsNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["KEPT"], w.env["API"], w.env["NOTE"] = "kept-s3cret-1", "api-s3cret-2", "note-s3cret-3"
	with := func(text string) string {
		return text + "    smtpServer: {host: mail.acme.example, from: id@acme.example, auth: \"true\", user: id, password: mail-s3cret-4}\n    displayNameHtml: $(env:NOTE)\n"
	}
	history := map[string]string{"1": with(goneBackTo["1"]), "2": strings.ReplaceAll(goneBackTo["2"], "enabled: true", "enabled: true\n    displayNameHtml: x\n    displayName: Acme")}
	points := &reconcile.RestorePoints{Folder: t.TempDir(), Keep: time.Hour}
	apply := func(commit, to string) drift.Report {
		t.Helper()
		p := w.commit(commit, history)
		p.RestorePoints = points
		if to != "" {
			p.Rollback = &reconcile.Rollback{Commit: to}
		}
		return w.run(p)
	}
	apply("1", "")
	secrets := []string{"kept-s3cret-1", "note-s3cret-3", "mail-s3cret-4", w.role("/clients/" + w.clientID("portal"))["secret"].(string), w.role("/clients/" + w.clientID("api"))["secret"].(string)}
	id := w.clientID("portal")
	if report := apply("2", ""); !slices.ContainsFunc(report.Notes, func(n string) bool {
		return strings.HasSuffix(n, " secrets left out of the restore point, which is encrypted to nobody")
	}) {
		t.Errorf("it doesn't say that secrets are left out:\n%s", text(report))
	}
	report := apply("2", "1")
	if want := "clients/portal gets a new secret: the restore point holds none"; !slices.Contains(report.Notes, want) || w.clientID("portal") != id {
		t.Errorf("id kept: %t; it doesn't say %q:\n%s", w.clientID("portal") == id, want, text(report))
	}
	found := 0
	err := filepath.WalkDir(points.Folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		text, err := os.ReadFile(path)
		for i, s := range secrets {
			if bytes.Contains(text, []byte(s)) {
				t.Errorf("%s holds secret %d", d.Name(), i)
			}
		}
		return err
	})
	if err != nil || found != 3 { // the first pass too changed what the new realm brought
		t.Errorf("%d restore points, want 3 (%v)", found, err)
	}
}
