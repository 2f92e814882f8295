package reconcile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

const loginClient = "    clients: [{clientId: app, publicClient: true, redirectUris: [\"http://127.0.0.1/back\"]}]\n"

// bound is a manifest with a flow that the realm signs people in by, and more flows below it.
func bound(top string, below ...string) string {
	return realm(flowsAre(append([]string{top}, below...)...) + "    browserFlow: acme\n" + loginClient)
}

// A plan says all that a flow gains, loses and puts in another order.
func TestPlanShowsTheOrderOfExecutions(t *testing.T) {
	w := newWorld(t)
	comma := strings.Replace(formsIn, "acme forms", "\"acme, forms\"", 1)
	w.settled(bound(flow("acme", "", cookie, comma), flowBelow("\"acme, forms\"", "", password)))
	plan := text(w.plan(bound(flow("acme", "", comma, redirect, cookie), flowBelow("\"acme, forms\"", "", password, otp))))
	for _, want := range []string{
		`authenticationExecutions.order: "auth-cookie, flow:acme%2C forms" → "flow:acme%2C forms, identity-provider-redirector, auth-cookie"`,
		`authenticationExecutions.identity-provider-redirector.requirement: (none) → "ALTERNATIVE"`,
		`authenticationExecutions.order: "auth-username-password-form" → "auth-username-password-form, auth-otp-form"`,
	} {
		if !strings.Contains(plan, want) {
			t.Errorf("no line says %s:\n%s", want, plan)
		}
	}
}

// executionIDs are the ids of the executions that a flow shows, by what they are.
func (w *world) executionIDs(alias string) map[string]string {
	ids := map[string]string{}
	for _, e := range w.admin.Get(w.at("/authentication/flows/" + url.PathEscape(alias) + "/executions")).([]any) {
		e := e.(map[string]any)
		ids[e["displayName"].(string)] = e["id"].(string)
	}
	return ids
}

const editedFlows = `    authenticationFlows:
      - alias: acme
        description: Ours
        authenticationExecutions:
          - {authenticator: auth-cookie, requirement: ALTERNATIVE, priority: 10}
          - {authenticator: identity-provider-redirector, requirement: ALTERNATIVE, priority: 20, authenticatorConfig: hub}
          - {flowAlias: acme forms, requirement: ALTERNATIVE, priority: 30}
      - alias: acme forms
        authenticationExecutions:
          - {authenticator: auth-username-password-form, requirement: REQUIRED, priority: 10}
          - {authenticator: auth-otp-form, requirement: REQUIRED, priority: 20}
    authenticatorConfig: [{alias: hub, config: {defaultProvider: hub}}]
    browserFlow: acme
    clients: [{clientId: app, authenticationFlowBindingOverrides: {browser: acme}}]
`

var flowEdits = []handEdit{
	{"requirement changed", func(w *world) {
		w.editExecution("acme", "OTP Form", map[string]any{"requirement": "DISABLED", "priority": 20})
	}, "authenticationFlows/acme forms (authenticationExecutions.auth-otp-form.requirement)", []string{"PUT /authentication/flows/acme%20forms/executions"}},
	{"order changed", func(w *world) {
		w.editExecution("acme", "Cookie", map[string]any{"requirement": "ALTERNATIVE", "priority": 25})
	}, "authenticationFlows/acme (authenticationExecutions.auth-cookie.priority, authenticationExecutions.order)", []string{"PUT /authentication/flows/acme/executions"}},
	{"execution added", func(w *world) {
		w.admin.Create(w.at("/authentication/flows/acme/executions/execution"), map[string]any{"provider": "auth-spnego", "priority": 5})
	}, "authenticationFlows/acme (authenticationExecutions.order)", []string{"DELETE /authentication/executions/*"}},
	{"execution removed", func(w *world) {
		w.admin.Do("DELETE", w.at("/authentication/executions/"+w.executionIDs("acme")["Cookie"]), nil)
	}, "authenticationFlows/acme (authenticationExecutions.auth-cookie.priority, authenticationExecutions.auth-cookie.requirement, authenticationExecutions.order)",
		[]string{"POST /authentication/flows/acme/executions/execution", "PUT /authentication/flows/acme/executions"}},
	{"subflow removed", func(w *world) {
		w.admin.Do("DELETE", w.at("/authentication/executions/"+w.executionIDs("acme")["acme forms"]), nil)
	}, "authenticationFlows/acme (authenticationExecutions.flow:acme forms.priority, authenticationExecutions.flow:acme forms.requirement, authenticationExecutions.order), authenticationFlows/acme forms (gone)",
		[]string{"POST /authentication/flows/acme%20forms/executions/execution", "POST /authentication/flows/acme%20forms/executions/execution",
			"POST /authentication/flows/acme/executions/flow", "PUT /authentication/flows/acme%20forms/executions", "PUT /authentication/flows/acme/executions"}},
	{"description changed", func(w *world) {
		w.admin.Edit(w.at("/authentication/flows/"+w.flowID("acme")), func(f map[string]any) { f["description"] = "Evil" })
	}, "authenticationFlows/acme (description)", []string{"PUT /authentication/flows/*"}},
	{"configuration changed", func(w *world) {
		w.admin.Edit(w.at(w.withFlowIDs("/authentication/config/{config:acme}")), func(c map[string]any) { c["config"] = map[string]any{"defaultProvider": "evil"} })
	}, "authenticatorConfig/hub (config.defaultProvider)", []string{"PUT /authentication/config/*"}},
	{"configuration removed", func(w *world) {
		w.admin.Do("DELETE", w.at(w.withFlowIDs("/authentication/config/{config:acme}")), nil)
	}, "authenticationFlows/acme (authenticationExecutions.identity-provider-redirector.authenticatorConfig), authenticatorConfig/hub (gone)",
		[]string{"POST /authentication/executions/*/config"}},
	{"other flow bound", func(w *world) {
		w.admin.Edit(w.at(""), func(r map[string]any) { r["browserFlow"] = "browser" })
	}, "realm (browserFlow)", []string{"PUT "}},
	{"other flow bound to a client", func(w *world) {
		w.admin.Edit(w.below("app", ""), func(c map[string]any) {
			c["authenticationFlowBindingOverrides"] = map[string]any{"browser": w.flowID("browser")}
		})
	}, "clients/app (authenticationFlowBindingOverrides.browser)", []string{"PUT /clients/*"}},
}

func (w *world) editExecution(flow, name string, fields map[string]any) {
	w.t.Helper()
	fields["id"] = w.executionIDs(flow)[name]
	if status := w.admin.Do("PUT", w.at("/authentication/flows/"+url.PathEscape(flow)+"/executions"), fields); status/100 != 2 {
		w.t.Fatalf("edit %s: %d", name, status)
	}
}

// An edit of flows by hand is found, named, and repaired by exactly the writes that it takes.
func TestHandEditsOfFlowsAreNamedAndRepairedAlone(t *testing.T) {
	w := newWorld(t)
	manifest := realm(editedFlows)
	w.settled(manifest)
	w.admin.Edit(w.at(""), func(map[string]any) {})
	for _, e := range flowEdits {
		t.Run(e.name, func(t *testing.T) {
			w.t = t
			w.admin = w.server.Admin(t)
			before := keycloaktest.Portable(w.name, w.admin.Dump(w.name))
			e.edit(w)
			found, err := w.pass(reconcile.Drift, manifest).Run(context.Background())
			if err != nil {
				t.Fatalf("drift: %v\n%s", err, text(found))
			}
			var names []string
			for _, c := range found.Changes {
				name := strings.ReplaceAll(string(c.Address), "%20", " ")
				if c.Op == drift.Create {
					names = append(names, name+" (gone)")
				} else {
					names = append(names, fmt.Sprintf("%s (%s)", name, strings.Join(c.Fields(), ", ")))
				}
			}
			if got := strings.Join(names, ", "); got != e.says || found.Verdict != drift.Drifted {
				t.Errorf("%s: %q, want %q", found.Verdict, got, e.says)
			}
			mark := w.server.Mark(t)
			w.apply(manifest)
			var writes []string
			for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
				writes = append(writes, w.shape(r))
			}
			slices.Sort(writes)
			if !cmp.Equal(writes, e.writes) {
				t.Errorf("wrote %q, want %q", writes, e.writes)
			}
			if diff := cmp.Diff(before, keycloaktest.Portable(w.name, w.admin.Dump(w.name))); diff != "" {
				t.Errorf("the realm differs from before the edit (-before +after):\n%s", diff)
			}
		})
	}
}

// What can't be changed in place, or is in use, is refused with a hint before anything is written.
func TestFlowsAreNotChangedWhereThatDoesHarm(t *testing.T) {
	w := newWorld(t)
	before := flowsAre(flow("acme", "", cookie, formsIn), flowBelow("acme forms", "", password, withConfig("hub")), flow("other", "", cookie),
		flow("brokers", "", cookie), "      - {alias: hides, topLevel: true}\n      - {alias: long "+strings.Repeat("x", 235)+", topLevel: true}\n") +
		"    authenticatorConfig: [{alias: hub, config: {defaultProvider: a}}]\n    clients: [{clientId: c, authenticationFlowBindingOverrides: {browser: acme}}]\n"
	w.settled(realm(before + "    browserFlow: other\n"))
	w.admin.Create(w.at("/authentication/flows"), map[string]any{"alias": "by-hand", "providerId": "basic-flow", "topLevel": true})
	w.admin.Create(w.at("/authentication/flows/by-hand/executions/flow"), map[string]any{"alias": "theirs", "type": "basic-flow", "provider": ""})
	w.admin.Create(w.at("/authentication/flows/hides/executions/execution"), map[string]any{"provider": "identity-provider-redirector"})
	w.admin.Create(w.at("/authentication/executions/"+w.executionIDs("hides")["Identity Provider Redirector"]+"/config"),
		map[string]any{"alias": "masked", "config": map[string]any{"unknown": "a secret, maybe"}})
	w.admin.Create(w.at(brokers), map[string]any{"alias": "by-hand", "providerId": "oidc", "firstBrokerLoginFlowAlias": "brokers", "config": map[string]any{"clientId": "a"}})
	for _, test := range []struct{ manifest, says, hint string }{
		{strings.Replace(before, "alias: other, topLevel: true", "alias: other, topLevel: false", 1), "authenticationFlows/other stands in no flow", "topLevel: true"},
		{strings.Replace(before, flow("other", "", cookie), flow("other", "", cookie)+flowBelow("lone", "topLevel: false, ", cookie), 1), "authenticationFlows/lone stands in no flow", "name it as flowAlias"},
		{flowsAre(flow("acme", "", cookie)) + "    clients: [{clientId: c, authenticationFlowBindingOverrides: {browser: acme}}]\n", "authenticationFlows/other is no longer declared, and still the browserFlow of realm", "bind another flow in its place"},
		{flowsAre(flow("other", "", cookie)) + "    clients: [{clientId: c, authenticationFlowBindingOverrides: {browser: acme}}]\n", "clients/c names authenticationFlows/acme, which neither", "declare it"},
		{strings.Replace(before, flow("other", "", cookie), flow("other", "", formsIn), 1), "authenticationFlows/acme%20forms stands in authenticationFlows/acme and again in authenticationFlows/other", "a flow of its own"},
		{strings.Replace(before, flow("other", "", cookie), flow("other", "", "{flowAlias: forms, requirement: REQUIRED}")+flowBelow("forms", "", password), 1), "authenticationFlows/forms stands in authenticationFlows/browser, and can't be moved to authenticationFlows/other", "another alias"},
		{strings.Replace(before, flow("other", "", cookie), flow("other", "", "{flowAlias: theirs, requirement: REQUIRED}")+flowBelow("theirs", "", password), 1), "authenticationFlows/theirs stands in authenticationFlows/by-hand, and can't be moved to authenticationFlows/other", "another alias"},
		{strings.Replace(before, "alias: long", "providerId: client-flow, alias: long", 1), ".providerId is basic-flow and can't be changed while people log in by it", "another alias"},
		{strings.Replace(before, "alias: hides", "providerId: client-flow, alias: hides", 1), "authenticatorConfig/masked is to be made anew, and not all that it holds can be read", "declare it"},
		{strings.Replace(before, flow("brokers", "", cookie), "", 1), "authenticationFlows/brokers is no longer declared, and still the firstBrokerLoginFlowAlias of identityProviders/by-hand", "bind another flow in its place"},
		{before + "    browserFlow: acme forms\n", "realm.browserFlow names authenticationFlows/acme%20forms, which is a part of authenticationFlows/acme", "stands in no other"},
		{before + "    browserFlow: nope\n", "realm names authenticationFlows/nope, which neither the manifests nor Keycloak have", ""},
		{strings.Replace(before, withConfig("hub"), withConfig("nope"), 1), "names authenticatorConfig/nope, which neither", "declare it below authenticatorConfig"},
		{strings.Replace(before, flow("other", "", cookie), flow("other", "", withConfig("hub")), 1), "authenticatorConfig/hub is used by", "a configuration of its own"},
		{flowsAre("      - {alias: browser, authenticationExecutions: [" + cookie + "]}\n"), "authenticationFlows/browser is built in", "declare a flow with another alias"},
		{flowsAre("      - {alias: other, authenticationExecutions: [{authenticator: auth-cookie}]}\n"), "auth-cookie has no requirement", "REQUIRED"},
		{flowsAre("      - {alias: other, authenticationExecutions: [{requirement: REQUIRED}]}\n"), "has neither authenticator nor flowAlias", ""},
	} {
		mark := w.server.Mark(t)
		report, err := w.pass(reconcile.Apply, realm(test.manifest)).Run(context.Background())
		if err == nil || report.Verdict != drift.Blocked {
			t.Fatalf("%s: %v\n%s", test.says, err, text(report))
		}
		found := slices.ContainsFunc(report.Problems, func(p schema.Problem) bool {
			return strings.Contains(p.What, test.says) && strings.Contains(p.Hint, test.hint) &&
				(p.Origin.Line > 0 || strings.Contains(test.says, "identityProviders/by-hand"))
		})
		if !found {
			t.Errorf("no problem says %q and hints %q:\n%s", test.says, test.hint, text(report))
		}
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			t.Errorf("%s: it sent %s", test.says, r)
		}
	}
}

// A flow that could not be made is not bound: nobody could sign in by it.
func TestFlowThatFailedIsNotBound(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(""))
	manifest := realm(flowsAre(flow("acme", "", cookie, formsIn), flowBelow("acme forms", "", "{authenticator: nobody-has-it, requirement: REQUIRED}")) +
		"    browserFlow: acme\n    clients: [{clientId: c, authenticationFlowBindingOverrides: {browser: acme}}, {clientId: d}]\n")
	report, err := w.pass(reconcile.Apply, manifest).Run(context.Background())
	if err == nil {
		t.Fatalf("it says that all is well:\n%s", text(report))
	}
	var got []string
	for _, c := range report.Changes {
		got = append(got, fmt.Sprintf("%s: %s %s", c.Address, c.Outcome, c.Says))
	}
	want := []string{
		"realm: skipped because of authenticationFlows/acme",
		"authenticationFlows/acme: skipped because of authenticationFlows/acme%20forms",
		"clients/c: skipped because of authenticationFlows/acme",
		"clients/d: done ",
	}
	got = slices.DeleteFunc(got, func(line string) bool { return strings.HasPrefix(line, "authenticationFlows/acme%20forms: failed") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if bound := w.admin.Get(w.at("")).(map[string]any)["browserFlow"]; bound != "browser" {
		t.Errorf("the realm is bound to %v", bound)
	}
	w.settled(strings.Replace(manifest, "nobody-has-it", "auth-username-password-form", 1))
}

// What Keycloak exports of its flows, with ids in the overrides of clients, is taken by another realm as it is.
func TestExportedFlowsAreTakenAsTheyAre(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(editedFlows))
	export := w.admin.Dump(w.name)["realm"].(map[string]any)
	part := map[string]any{}
	for _, name := range []string{"authenticationFlows", "authenticatorConfig", "browserFlow", "registrationFlow", "directGrantFlow", "resetCredentialsFlow",
		"clientAuthenticationFlow", "dockerAuthenticationFlow", "firstBrokerLoginFlow"} {
		part[name] = export[name]
	}
	for _, c := range export["clients"].([]any) {
		if c := c.(map[string]any); c["clientId"] == "app" {
			part["clients"] = []any{map[string]any{"clientId": "app", "authenticationFlowBindingOverrides": c["authenticationFlowBindingOverrides"]}}
		}
	}
	document, err := json.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.Replace(realm(""), "  realm:\n    enabled: true\n", "  realm: "+string(document)+"\n", 1)
	other := newWorld(t)
	other.settled(manifest)
	got := other.admin.Get(other.at("/clients/" + other.clientID("app"))).(map[string]any)["authenticationFlowBindingOverrides"]
	if want := map[string]any{"browser": other.flowID("acme")}; !cmp.Equal(got, any(want)) {
		t.Errorf("the client has %v, want %v", got, want)
	}
	if again := w.plan(manifest); len(again.Changes) > 0 {
		t.Errorf("where it was exported it would change\n%s", text(again))
	}
}

// A value that Keycloak shows as asterisks is written by the commit that changes it, and not again.
func TestMaskedConfigurationIsWrittenByTheCommitThatChangesIt(t *testing.T) {
	w := newWorld(t)
	manifest := func(value string) string {
		return realm(flowsAre(flow("acme", "", withConfig("hub"))) + "    authenticatorConfig: [{alias: hub, config: {other: \"" + value + "\", secret.key: \"" + value + "\"}}]\n")
	}
	commits := []string{"1", "1", "2", "2"}
	for i, value := range commits {
		p := w.pass(reconcile.Apply, manifest(value))
		p.Commit = fmt.Sprintf("%040d", i)
		p.Base = func(commit string) (*schema.Realm, error) {
			n, err := strconv.Atoi(commit)
			return w.pass(reconcile.Apply, manifest(commits[n])).Want, err
		}
		mark := w.server.Mark(t)
		if report, err := p.Run(context.Background()); err != nil {
			t.Fatalf("commit %d: %v\n%s", i, err, text(report))
		}
		var writes []string
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			if strings.Contains(r.Path, "/config") {
				writes = append(writes, w.shape(r))
			}
		}
		want := map[int][]string{0: {"POST /authentication/executions/*/config"}, 2: {"PUT /authentication/config/*"}}[i]
		if !cmp.Equal(writes, want) {
			t.Errorf("commit %d wrote %q, want %q", i, writes, want)
		}
	}
	for _, e := range w.admin.Get(w.at("/authentication/flows/acme/executions")).([]any) {
		id, _ := e.(map[string]any)["authenticationConfig"].(string)
		config := w.admin.Get(w.at("/authentication/config/" + id)).(map[string]any)["config"].(map[string]any)
		if config["secret.key"] != "**********" {
			t.Errorf("Keycloak doesn't hide the configuration: %v", config)
		}
	}
}
