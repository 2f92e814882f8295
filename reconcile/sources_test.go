package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

// part is a manifest of a source that shares the realm with another, which declares the realm's settings.
func part(settings, fields string) string {
	return strings.Replace(spec(settings, fields), "    enabled: true\n", "", 1)
}

func TestExclusiveLeavesWhatAnotherSourceOwns(t *testing.T) {
	w := newWorld(t)
	w.source = "b"
	w.settled(realm("    clients: [{clientId: theirs}]\n"))
	w.source = "a"
	w.admin.Create(w.at("/clients"), map[string]any{"clientId": "stranger"})
	report := w.settled(part("  exclusive: [clients]\n", "    clients: [{clientId: ours}]\n"))
	if got, want := ops(report), "create clients/ours\ndelete clients/stranger"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
	if got := w.clients(); !cmp.Equal(got, []string{"ours", "theirs"}) {
		t.Errorf("clients %v", got)
	}
}

func TestDeleteThatWouldTakeAnotherSourcesObjectsAlongIsWithheld(t *testing.T) {
	w := newWorld(t)
	w.source = "a"
	w.settled(realm("    clients: [{clientId: portal}, {clientId: shop}]\n"))
	w.source = "b"
	w.settled(part("", "    roles: {client: {portal: [{name: viewer}]}}\n"))
	w.source = "a"
	report, err := w.pass(reconcile.Apply, realm("    displayName: Acme\n    clients: []\n")).Run(context.Background())
	var blocked *reconcile.Blocked
	if got, want := report.Says, "would delete clients/portal, but it holds clients/portal/roles/viewer of b"; got != want || !errors.As(err, &blocked) {
		t.Errorf("says %q, error %v, want %q", got, err, want)
	}
	if got := w.clients(); !cmp.Equal(got, []string{"portal"}) {
		t.Errorf("clients %v: all but the withheld delete should have been done", got)
	}
	// Once the other source lets go, the client goes: it was still ours.
	w.source = "b"
	w.settled(part("", "    roles: {client: {portal: []}}\n"))
	w.source = "a"
	w.settled(realm("    displayName: Acme\n    clients: []\n"))
	if got := w.clients(); len(got) > 0 {
		t.Errorf("clients %v are left", got)
	}
}

func TestRealmThatAnotherSourceDeclaresAPartOfIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	w.source = "a"
	w.settled(realm(""))
	w.source = "b"
	w.settled(part("", "    clients: [{clientId: theirs}]\n"))
	w.source = "a"
	gone := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: REALM}\nspec: {server: eu, realm: null}\n"
	pass := w.pass(reconcile.Apply, gone)
	pass.AllowRealmDeletion = true
	report, err := pass.Run(context.Background())
	if want := "would delete realm " + w.name + ", of which b declares a part"; err == nil || report.Says != want {
		t.Errorf("says %q, error %v, want %q", report.Says, err, want)
	}
	w.source = "b"
	w.settled(part("", "    displayNameHtml: b\n"))
	w.admin.Get(w.at(""))
}

func TestSubgroupsOfAnExclusiveListAreStrangersToo(t *testing.T) {
	w := newWorld(t)
	manifest := spec("  exclusive: [groups]\n", "    groups: [{name: staff}]\n")
	w.settled(manifest)
	top := w.admin.Create(w.at("/groups"), map[string]any{"name": "top"})
	w.admin.Create(w.at("/groups/"+top+"/children"), map[string]any{"name": "sub"})
	report := w.settled(manifest)
	if got, want := ops(report), "delete groups/top"; got != want {
		t.Errorf("changes %q, want %q", got, want)
	}
}

// committed makes a pass that of a commit, with the history of what commits declared.
func (w *world) committed(p reconcile.Pass, commit string, history map[string]string) reconcile.Pass {
	p.Commit = commit
	p.Base = func(c string) (*schema.Realm, error) {
		manifest, ok := history[c]
		if !ok {
			return nil, errors.New("no such commit")
		}
		return reconcile.Declares(w.load(manifest), p.Want.Ref)
	}
	p.Descends = func(a, b string) (bool, error) { return a <= b, nil }
	return p
}

func (w *world) run(p reconcile.Pass) drift.Report {
	w.t.Helper()
	report, err := p.Run(context.Background())
	if err != nil {
		w.t.Fatalf("%v\n%s", err, text(report))
	}
	return report
}

// A commit made a client and died; the next no longer has it. Nobody moved the server, so it is no drift, and goes also
// where drift is only reported.
func TestWhatACrashedCommitMadeGoesAlsoWhereDriftIsOnlyReported(t *testing.T) {
	w := newWorld(t)
	settings := "  drift: report\n"
	history := map[string]string{"1": spec(settings, "    clients: [{clientId: first}]\n"), "2": spec(settings, "    clients: [{clientId: first}, {clientId: second}]\n"), "3": spec(settings, "    clients: [{clientId: first}]\n    displayName: Acme\n")}
	w.run(w.committed(w.pass(reconcile.Apply, history["1"]), "1", history))
	ctx, stop := context.WithCancel(context.Background())
	crashed := w.committed(w.pass(reconcile.Apply, history["2"]), "2", history)
	crashed.Report = func(r drift.Report) {
		if r.Verdict == drift.Progressing {
			stop()
		}
	}
	if _, err := crashed.Run(ctx); err == nil {
		t.Fatal("the pass was not cut off")
	}
	// It was cut off before its first write; the ledger's intent and the client are made as they would stand after it.
	w.connect()
	w.run(w.committed(w.pass(reconcile.Apply, history["2"]), "1", history)) // as commit 1 would: the ledger doesn't name commit 2
	report := w.run(w.committed(w.pass(reconcile.Apply, history["3"]), "3", history))
	if !strings.Contains(ops(report), "delete clients/second") {
		t.Errorf("changes %q, want second to go", ops(report))
	}
	if got := w.clients(); !cmp.Equal(got, []string{"first"}) {
		t.Errorf("clients %v", got)
	}
}

// Where what was last applied can't be read any more, an unchanged declaration still tells drift from a commit.
func TestUnreadablePastTakesNothingForACommitThatIsDrift(t *testing.T) {
	w := newWorld(t)
	w.env["SMTP"] = "mail-secret-1"
	manifest := spec("  drift: report\n", "    displayName: Acme\n    smtpServer: {host: mail.acme.example, from: id@acme.example, auth: true, user: id, password: $(env:SMTP)}\n")
	w.run(w.committed(w.pass(reconcile.Apply, manifest), "1", nil))
	w.admin.Edit(w.at(""), func(r map[string]any) { r["displayName"] = "Evil" })
	report := w.run(w.committed(w.pass(reconcile.Apply, manifest), "2", nil))
	if report.Verdict != drift.Drifted || w.admin.Get(w.at("")).(map[string]any)["displayName"] != "Evil" {
		t.Errorf("the edit was taken for a commit's\n%s", text(report))
	}
	// A second look knows this commit.
	report = w.run(w.committed(w.pass(reconcile.Apply, manifest), "2", nil))
	if i := slices.IndexFunc(report.Changes, func(c drift.Change) bool { return len(c.Diffs) > 1 }); i >= 0 || report.Verdict != drift.Drifted {
		t.Errorf("the password is written again\n%s", text(report))
	}
}

// Drift is looked for in what was applied, also where the manifests no longer declare it.
func TestDriftReadsWhatWasApplied(t *testing.T) {
	w := newWorld(t)
	history := map[string]string{"1": realm("    roles: {realm: [{name: r, composites: {realm: [offline_access]}}]}\n"), "2": realm("    displayName: Acme\n")}
	w.run(w.committed(w.pass(reconcile.Apply, history["1"]), "1", history))
	report := w.run(w.committed(w.pass(reconcile.Drift, history["2"]), "2", history))
	if len(report.Changes) > 0 {
		t.Errorf("drift on an untouched server\n%s", text(report))
	}
}
