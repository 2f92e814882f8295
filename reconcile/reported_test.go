package reconcile_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
)

// A commit changes one field of objects in which a person has changed others.
func TestReportedDriftStaysInWhatACommitChanges(t *testing.T) {
	w := newWorld(t)
	declared := func(name string) string {
		return spec("  drift: report\n", `
    displayName: Acme
    clients: [{clientId: portal, name: `+name+`, description: ours, attributes: {note: ours}}]
    roles: {realm: [{name: auditor, description: Reads, attributes: {site: [`+name+`]}}]}
    authenticationFlows: [{alias: ours, description: `+name+`, authenticationExecutions: [{authenticator: auth-cookie, requirement: ALTERNATIVE}]}]
`)
	}
	history := map[string]string{"1": declared("One"), "2": declared("Two")}
	w.run(w.committed(w.pass(reconcile.Apply, history["1"]), "1", history))
	w.admin.Edit(w.at(""), func(r map[string]any) { r["displayName"] = "Evil" })
	w.admin.Edit(w.below("portal", ""), func(c map[string]any) {
		c["description"], c["attributes"].(map[string]any)["note"] = "by hand", "by hand"
	})
	w.admin.Edit(w.at("/roles/auditor"), func(r map[string]any) { r["description"] = "by hand" })
	executions := w.at("/authentication/flows/ours/executions")
	cookie := w.admin.Get(executions).([]any)[0].(map[string]any)
	cookie["requirement"] = "DISABLED"
	w.must(http.MethodPut, executions, cookie)

	report := w.run(w.committed(w.pass(reconcile.Apply, history["2"]), "2", history))
	want := "update realm displayName\nupdate authenticationFlows/ours description\nupdate authenticationFlows/ours authenticationExecutions.auth-cookie.requirement\nupdate clients/portal name\nupdate clients/portal attributes.note,description\n" +
		"update roles/auditor attributes.site\nupdate roles/auditor description"
	if got := ops(report); got != want {
		t.Errorf("changes\n%s\nwant\n%s", got, want)
	}
	for _, c := range report.Changes {
		if reported := c.Cause == drift.FromDrift; reported != (c.Outcome == "") || reported != (c.Says == "reported only") {
			t.Errorf("%s %s %v (%s): outcome %q, says %q", c.Op, c.Address, c.Fields(), c.Cause, c.Outcome, c.Says)
		}
	}
	if want := "4 drifted: realm (displayName), authenticationFlows/ours ("; report.Verdict != drift.Drifted || !strings.HasPrefix(report.Says, want) {
		t.Errorf("%s: %q, want %q", report.Verdict, report.Says, want)
	}
	client := w.admin.Get(w.below("portal", "")).(map[string]any)
	if client["name"] != "Two" || client["description"] != "by hand" || client["attributes"].(map[string]any)["note"] != "by hand" {
		t.Errorf("the client is %v", client)
	}
	role := w.admin.Get(w.at("/roles/auditor")).(map[string]any)
	if role["description"] != "by hand" {
		t.Errorf("the role is %v", role)
	}

	if got := w.admin.Get(executions).([]any)[0].(map[string]any)["requirement"]; got != "DISABLED" {
		t.Errorf("the execution is %v", got)
	}
	plan := text(w.run(w.committed(w.pass(reconcile.Plan, history["2"]), "2", history)))
	if n := strings.Count(plan, "reported only"); n != 4 {
		t.Errorf("the plan says %d times that it only reports\n%s", n, plan)
	}
}

// What is never touched costs nothing of what a commit may change.
func TestLimitsLetACommitThroughBesideReportedDrift(t *testing.T) {
	w := newWorld(t)
	settings := "  drift: report\n  limits: {changes: 1}\n"
	roles := "    roles: {realm: [{name: a, description: x}, {name: b, description: x}, {name: c, description: x}]}\n"
	history := map[string]string{"1": spec(settings, roles), "2": spec(settings, "    displayName: Acme\n"+roles)}
	w.run(w.committed(w.pass(reconcile.Apply, history["1"]), "1", history))
	for _, role := range []string{"a", "b", "c"} {
		w.admin.Edit(w.at("/roles/"+role), func(r map[string]any) { r["description"] = "by hand" })
	}
	report := w.run(w.committed(w.pass(reconcile.Apply, history["2"]), "2", history))
	if want := "3 drifted: roles/a (description), roles/b (description), roles/c (description)"; report.Says != want {
		t.Errorf("%s: %q, want %q", report.Verdict, report.Says, want)
	}
	if got := w.admin.Get(w.at("")).(map[string]any)["displayName"]; got != "Acme" {
		t.Errorf("the realm is called %v", got)
	}
}

func TestAPlanOfASuspendedRealmSaysThatApplyWouldDoNothing(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    displayName: Acme\n"))
	changed := spec("  suspend: {until: 2926-12-01T08:00:00Z, reason: migration}\n", "    displayName: Other\n")
	report := w.plan(changed)
	if want := "suspended until 1 Dec: migration; apply would do nothing"; report.Verdict != drift.Suspended || report.Says != want {
		t.Errorf("%s: %q, want %q", report.Verdict, report.Says, want)
	}
	if got := ops(report); got != "update realm displayName" {
		t.Errorf("changes %q", got)
	}
	if report := w.apply(changed); report.Verdict != drift.Suspended || len(report.Changes) > 0 {
		t.Errorf("apply\n%s", text(report))
	}
}
