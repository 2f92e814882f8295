package reconcile_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// clock is a time that a test sets.
type clock struct{ time.Time }

func newClock() *clock { return &clock{time.Now().Truncate(time.Second)} }

// at is a pass at the clock's time.
func (c *clock) at(p reconcile.Pass) reconcile.Pass {
	p.Now = func() time.Time { return c.Time }
	return p
}

// applyAt applies at the clock's time.
func (w *world) applyAt(c *clock, manifest string) drift.Report {
	w.t.Helper()
	report, err := c.at(w.pass(reconcile.Apply, manifest)).Run(context.Background())
	if err != nil {
		w.t.Fatalf("apply: %v\n%s", err, text(report))
	}
	return report
}

// aliases are those of the flows that are of their own and that Keycloak didn't make.
func (w *world) aliases() []string {
	w.t.Helper()
	var aliases []string
	for _, f := range w.admin.Get(w.at("/authentication/flows")).([]any) {
		if f := f.(map[string]any); f["builtIn"] != true {
			aliases = append(aliases, f["alias"].(string))
		}
	}
	slices.Sort(aliases)
	return aliases
}

// shape of a flow: what its executions are, by an independent read.
func (w *world) shapeOf(alias string) []string {
	w.t.Helper()
	var lines []string
	for _, e := range w.admin.Get(w.at("/authentication/flows/" + strings.ReplaceAll(alias, " ", "%20") + "/executions")).([]any) {
		e := e.(map[string]any)
		line := fmt.Sprintf("%v %v %v", e["level"], e["displayName"], e["requirement"])
		if e["alias"] != nil {
			line += fmt.Sprintf(" %v", e["alias"])
		}
		lines = append(lines, line)
	}
	return lines
}

const brokers = "/identity-provider/instances"

// A flow that can't be changed in place is built beside the old one. Whoever was bound to that is bound to the new one,
// strangers too, and the old one goes once nobody can be signing in by it.
func TestFlowThatCannotBeChangedIsBuiltBesideTheOldOne(t *testing.T) {
	w := newWorld(t)
	c := newClock()
	manifest := func(flows ...string) string {
		return realm("    accessCodeLifespanLogin: 600\n" + flowsAre(flows...) +
			"    authenticatorConfig: [{alias: hub, config: {defaultProvider: a}}]\n    browserFlow: acme\n    clients: [{clientId: app, authenticationFlowBindingOverrides: {browser: acme}}]\n")
	}
	forms := flowBelow("acme forms", "description: F, ", password)
	w.settled(manifest(flow("acme", "", cookie, formsIn, withConfig("hub")), forms))
	old := w.flowID("acme")
	w.admin.Create(w.at("/clients"), map[string]any{"clientId": "by-hand", "authenticationFlowBindingOverrides": map[string]any{"browser": w.flowID("browser"), "direct_grant": old}})
	w.admin.Create(w.at(brokers), map[string]any{"alias": "by-hand", "providerId": "oidc", "firstBrokerLoginFlowAlias": "acme", "postBrokerLoginFlowAlias": "acme",
		"config": map[string]any{"clientId": "a", "clientSecret": "kept", "authorizationUrl": "https://a.example", "tokenUrl": "https://a.example"}})
	w.admin.Edit(w.at(""), func(r map[string]any) {
		r["resetCredentialsFlow"], r["attributes"].(map[string]any)["theirs"], r["webAuthnPolicyRpEntityName"] = "acme", "kept", "theirs"
		r["otpPolicyDigits"], r["smtpServer"], r["passwordPolicy"] = 8, map[string]any{"host": "mail.acme.example", "from": "id@acme.example", "password": "kept"}, "length(9)"
	})

	var builtin [][]string
	for _, alias := range []string{"browser", "first broker login", "reset credentials"} {
		builtin = append(builtin, w.shapeOf(alias))
	}
	next := manifest(flow("acme", "", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}", withConfig("hub")), flowBelow("acme all", "", formsIn), forms)
	before := w.admin.Get(w.at(""))
	plan, err := c.at(w.pass(reconcile.Plan, next)).Run(context.Background())
	if err != nil {
		t.Fatalf("plan: %v\n%s", err, text(plan))
	}
	retired := "acme retired-" + old[:8]
	if got, want := ops(plan), strings.Join([]string{"rename authenticationFlows/acme%20retired-" + old[:8], "create authenticationFlows/acme",
		"create authenticationFlows/acme%20all", "create authenticationFlows/acme%20forms", "create authenticatorConfig/hub"}, "\n"); got != want {
		t.Errorf("the plan is to\n%s\nwant\n%s", got, want)
	}
	for _, change := range plan.Changes {
		if change.Op == drift.Rename != slices.Contains(change.Risk, drift.AsksAgain) {
			t.Errorf("%s %s bears the risks %v", change.Op, change.Address, change.Risk)
		}
	}

	report := w.applyAt(c, next)
	if got, want := w.aliases(), []string{"acme", retired}; !cmp.Equal(got, want) {
		t.Fatalf("the flows are %q, want %q", got, want)
	}
	built := w.flowID("acme")
	if w.flowID(retired) != old || built == old {
		t.Errorf("the old one is %s, and was %s; the new one is %s", w.flowID(retired), old, built)
	}
	if diff := cmp.Diff([]string{"0 Cookie ALTERNATIVE", "0 acme all ALTERNATIVE", "1 acme forms ALTERNATIVE", "2 Username Password Form REQUIRED",
		"0 Identity Provider Redirector ALTERNATIVE hub"}, w.shapeOf("acme")); diff != "" {
		t.Errorf("the new one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, w.admin.Get(w.at(""))); diff != "" { // it is bound to the alias as before
		t.Errorf("the realm (-before +after):\n%s", diff)
	}
	for client, want := range map[string]map[string]any{"app": {"browser": built}, "by-hand": {"browser": w.flowID("browser"), "direct_grant": built}} {
		if got := w.admin.Get(w.at("/clients/" + w.clientID(client))).(map[string]any)["authenticationFlowBindingOverrides"]; !cmp.Equal(got, any(want)) {
			t.Errorf("%s is bound to %v, want %v", client, got, want)
		}
	}
	hub := w.admin.Get(w.at(brokers + "/by-hand")).(map[string]any)
	if hub["firstBrokerLoginFlowAlias"] != "acme" || hub["postBrokerLoginFlowAlias"] != "acme" || hub["config"].(map[string]any)["clientSecret"] != "**********" {
		t.Errorf("the identity provider is %v", hub)
	}

	due := c.Add(600 * time.Second)
	if says := fmt.Sprintf("authenticationFlows/acme%%20retired-%s is removed after %s", old[:8], due.UTC().Format("2006-01-02 15:04:05 UTC")); !strings.Contains(text(report), says) {
		t.Errorf("the report doesn't say that %s:\n%s", says, text(report))
	}
	later := []drift.Later{{Address: schema.Address("authenticationFlows/acme%20retired-" + old[:8]), After: due}}
	for _, when := range []time.Time{c.Time, due.Add(-time.Second)} {
		c.Time = when
		mark := w.server.Mark(t)
		again := w.applyAt(c, next)
		if len(again.Changes) > 0 || again.Verdict != drift.InSync || !cmp.Equal(again.Later, later) {
			t.Errorf("another pass finds\n%s", text(again))
		}
		if found, err := c.at(w.pass(reconcile.Drift, next)).Run(context.Background()); err != nil || found.Verdict != drift.InSync {
			t.Errorf("drift: %v\n%s", err, text(found))
		}
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			t.Errorf("another pass sent %s", r)
		}
	}
	c.Time = due
	if found, err := c.at(w.pass(reconcile.Drift, next)).Run(context.Background()); err != nil || found.Verdict != drift.InSync {
		t.Errorf("drift when it is due: %v\n%s", err, text(found))
	}
	last := w.applyAt(c, next)
	if got := w.aliases(); !cmp.Equal(got, []string{"acme"}) || len(last.Changes) != 1 || len(last.Changes[0].Risk) > 0 || len(last.Later) > 0 {
		t.Errorf("in the end there are %q\n%s", got, text(last))
	}
	if status := w.admin.Do(http.MethodGet, w.at("/authentication/flows/"+old), nil); status != http.StatusNotFound {
		t.Errorf("the old one answers %d", status)
	}
	for i, alias := range []string{"browser", "first broker login", "reset credentials"} {
		if diff := cmp.Diff(builtin[i], w.shapeOf(alias)); diff != "" {
			t.Errorf("%s, which nobody declares (-before +after):\n%s", alias, diff)
		}
	}
	mark := w.server.Mark(t)
	w.settled(next)
	for _, r := range w.server.RequestsSince(t, mark, w.name) {
		if strings.Contains(r.Path, brokers) {
			t.Errorf("a pass that removes no flow asked for identity providers: %s", r)
		}
	}
}

// A plan says of a flow that is built beside the old one, and asks for less, that it does; and of one that goes, that it
// is deleted, also where it goes later.
func TestPlanOfAFlowThatIsRetiredTellsItsRisks(t *testing.T) {
	w := newWorld(t)
	w.settled(bound(flow("acme", "", cookie, formsIn), flowBelow("acme forms", "", password, otp)))
	all := flow("acme", "", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}") + flowBelow("acme all", "", formsIn)
	browser := func(manifest string) string {
		return strings.Replace(manifest, "browserFlow: acme", "browserFlow: browser", 1)
	}
	for _, c := range []struct{ what, manifest, want string }{
		{"as strict", bound(all, flowBelow("acme forms", "", password, otp)), "breaks logins, asks people again"},
		{"less strict", bound(all, flowBelow("acme forms", "", password)), "breaks logins, asks people again, weakens security"},
		{"none", browser(realm("    browserFlow: acme\n" + loginClient)), "deletes, breaks logins, asks people again"},
	} {
		var got []string
		for _, change := range w.plan(c.manifest).Changes {
			for _, r := range change.Risk {
				if strings.Contains(string(change.Address), "retired-") {
					got = append(got, string(r))
				}
			}
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	limited := strings.Replace(browser(realm("    browserFlow: acme\n"+loginClient)), "  realm:\n", "  limits: {deletes: 0}\n  realm:\n", 1)
	if report, err := w.pass(reconcile.Plan, limited).Run(context.Background()); err == nil || report.Verdict != drift.Blocked || !strings.HasPrefix(report.Says, "would delete 1 of ") {
		t.Errorf("%s: %v", text(report), err)
	}
}

// What was built beside can't be built: whoever is bound to the old flow goes on by it, and the commit can be taken back.
func TestFlowServesOnWhereItsSuccessorCannotBeBuilt(t *testing.T) {
	w, c := newWorld(t), newClock()
	good := bound(flow("acme", "", cookie, formsIn), acmeForms)
	bad := bound(flow("acme", "", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}"),
		flowBelow("acme all", "", formsIn, "{authenticator: nobody-has-it, requirement: ALTERNATIVE}"), acmeForms)
	w.settled(good)
	w.ann()
	old := w.flowID("acme")
	open := w.logins(2)
	for range 2 {
		report, err := c.at(w.pass(reconcile.Apply, bad)).Run(context.Background())
		if err == nil || report.Verdict != drift.Errored {
			t.Fatalf("%s: %v", report.Verdict, err)
		}
		if bound := w.admin.Get(w.at("")).(map[string]any)["browserFlow"]; bound != "acme retired-"+old[:8] {
			t.Errorf("the realm is bound to %v", bound)
		}
	}
	if got := counted(w.signIn(slices.Concat(open[:1], w.logins(1)))()); got != "2 signed in" {
		t.Error(got)
	}
	w.applyAt(c, good)
	if got := counted(w.signIn(slices.Concat(open[1:], w.logins(1)))()); got != "1 asked once more, 1 signed in" {
		t.Error(got)
	}
	c.Time = c.Add(time.Hour)
	w.applyAt(c, good)
	if got := w.aliases(); !cmp.Equal(got, []string{"acme"}) {
		t.Errorf("in the end there are %q", got)
	}
	w.settled(good)
}

// What a manifest leaves to the server in a flow that is built anew is taken over, whatever its names; drift that is only
// reported retires nothing, and a commit that does is no drift.
func TestFlowThatIsBuiltAnewKeepsWhatNobodyDeclares(t *testing.T) {
	w, c := newWorld(t), newClock()
	history := map[string]string{}
	for commit, provider := range map[string]string{"1": "basic-flow", "2": "client-flow"} {
		history[commit] = spec("  drift: report\n", "    accessCodeLifespanLogin: 0\n    authenticationFlows: [{alias: acme, topLevel: true, providerId: "+provider+"}]\n")
	}
	w.run(c.at(w.committed(w.pass(reconcile.Apply, history["1"]), "1", history)))
	below := w.at("/authentication/flows/acme/executions/flow")
	w.admin.Create(below, map[string]any{"alias": "a_b, c", "type": "basic-flow", "provider": "", "description": "Theirs"})
	w.admin.Create(w.at("/authentication/flows/a_b,%20c/executions/execution"), map[string]any{"provider": "identity-provider-redirector"})
	w.admin.Create(w.at("/authentication/executions/"+w.executionIDs("acme")["Identity Provider Redirector"]+"/config"),
		map[string]any{"alias": "hub", "config": map[string]any{"defaultProvider": "theirs"}})
	before := w.shapeOf("acme")

	report := w.run(c.at(w.committed(w.pass(reconcile.Apply, history["2"]), "2", history)))
	for _, change := range report.Changes {
		if change.Cause != drift.FromCommit || change.Outcome != drift.Done {
			t.Errorf("%s %s: %s, by %s", change.Op, change.Address, change.Outcome, change.Cause)
		}
	}
	if diff := cmp.Diff(before, w.shapeOf("acme")); diff != "" {
		t.Errorf("what nobody declares (-before +after):\n%s", diff)
	}
	config := w.admin.Get(w.at(w.withFlowIDs("/authentication/config/{config:acme}"))).(map[string]any)
	if config["alias"] != "hub" || !cmp.Equal(config["config"], any(map[string]any{"defaultProvider": "theirs"})) {
		t.Errorf("its configuration is %v", config)
	}
	if got := len(w.aliases()); got != 2 || len(report.Later) > 0 {
		t.Errorf("%d flows\n%s", got, text(report))
	}
	w.run(c.at(w.committed(w.pass(reconcile.Apply, history["2"]), "2", history)))
	if got := w.aliases(); !cmp.Equal(got, []string{"acme"}) {
		t.Errorf("in the end there are %q", got)
	}

	w.must(http.MethodDelete, w.at("/authentication/flows/"+w.flowID("acme")), nil)
	w.admin.Create(w.at("/authentication/flows"), map[string]any{"alias": "acme", "providerId": "basic-flow", "topLevel": true})
	again := w.run(c.at(w.committed(w.pass(reconcile.Apply, history["2"]), "2", history)))
	if got := ops(again); got != "update authenticationFlows/acme providerId" || again.Verdict != drift.Drifted || again.Changes[0].Outcome != "" {
		t.Errorf("a flow that somebody made anew:\n%s", text(again))
	}
}

// A flow gets another name in the commit for which it has to be built anew: whoever is bound to it is bound to the one of
// that name.
func TestRenamedFlowIsBuiltBesideUnderItsNewName(t *testing.T) {
	w, c := newWorld(t), newClock()
	w.settled(realm(flowsAre(flow("acme", "", cookie, formsIn), acmeForms) + "    browserFlow: acme\n"))
	old := w.flowID("acme")
	w.admin.Create(w.at("/clients"), map[string]any{"clientId": "by-hand", "authenticationFlowBindingOverrides": map[string]any{"browser": old}})
	next := realm(flowsAre(flow("gate", "$was: [acme], ", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}"), flowBelow("acme all", "", formsIn), acmeForms) +
		"    browserFlow: gate\n")
	w.applyAt(c, next)
	if got, want := w.aliases(), []string{"acme retired-" + old[:8], "gate"}; !cmp.Equal(got, want) {
		t.Errorf("the flows are %q, want %q", got, want)
	}
	if got := w.admin.Get(w.at("")).(map[string]any)["browserFlow"]; got != "gate" {
		t.Errorf("the realm is bound to %v", got)
	}
	got := w.admin.Get(w.at("/clients/" + w.clientID("by-hand"))).(map[string]any)["authenticationFlowBindingOverrides"]
	if want := map[string]any{"browser": w.flowID("gate")}; !cmp.Equal(got, any(want)) {
		t.Errorf("the client that was bound by hand is bound to %v, want %v", got, want)
	}
	c.Time = c.Add(time.Hour)
	w.applyAt(c, next)
	if got := w.aliases(); !cmp.Equal(got, []string{"gate"}) {
		t.Errorf("in the end there are %q", got)
	}
	w.settled(next)
}

// Somebody binds by hand what is retired already: it stays, and they are bound to what took its place.
func TestRetiredFlowThatIsBoundAgainStays(t *testing.T) {
	w, c := newWorld(t), newClock()
	outer := flow("acme", "", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}") + flowBelow("acme all", "", formsIn)
	w.settled(realm(flowsAre(flow("acme", "", cookie, formsIn), acmeForms)))
	next := realm(flowsAre(outer, acmeForms))
	w.applyAt(c, next)
	retired := w.aliases()[1]
	w.admin.Create(w.at(brokers), map[string]any{"alias": "by-hand", "providerId": "oidc", "postBrokerLoginFlowAlias": retired, "config": map[string]any{"clientId": "a"}})
	c.Time = c.Add(time.Hour)
	report := w.applyAt(c, next)
	if got := w.admin.Get(w.at(brokers + "/by-hand")).(map[string]any)["postBrokerLoginFlowAlias"]; got != "acme" {
		t.Errorf("the identity provider is bound to %v", got)
	}
	if got := w.aliases(); len(got) != 2 || len(report.Later) != 1 || !report.Later[0].After.After(c.Time) {
		t.Errorf("there are %q\n%s", got, text(report))
	}
	c.Time = c.Add(time.Hour)
	w.applyAt(c, next)
	if got := w.aliases(); !cmp.Equal(got, []string{"acme"}) {
		t.Errorf("in the end there are %q", got)
	}
}

// What another source declared in a flow of ours isn't taken from it.
func TestFlowWithSomebodyElsesPartIsNotRetired(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(flowsAre(flow("acme", "", cookie, formsIn), acmeForms)))
	w.source = "other"
	w.must(http.MethodPost, w.at("/authentication/flows/acme/executions/flow"), map[string]any{"alias": "theirs", "type": "basic-flow", "provider": ""})
	w.settled(strings.Replace(realm(flowsAre("      - {alias: theirs, description: Ours}\n")), "    enabled: true\n", "", 1))
	w.source = "test"
	report, err := w.pass(reconcile.Apply, realm(flowsAre(flow("acme", "providerId: client-flow, ", cookie, formsIn), acmeForms))).Run(context.Background())
	if err == nil || report.Verdict != drift.Blocked || !strings.Contains(text(report), "authenticationFlows/theirs in it is declared by another source, other") {
		t.Errorf("%v\n%s", err, text(report))
	}
}
