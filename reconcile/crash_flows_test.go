package reconcile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// Four commits of a flow: it is made; it is changed in place; a flow in it is moved, so that it is built beside itself; and
// the third is taken back.
const (
	third  = "3333333"
	fourth = "4444444"
)

func flowCommits() map[string]string {
	spec := func(value string, flows ...string) string {
		return spec("  limits: {changes: 100%, deletes: 100%}\n", "    accessCodeLifespanLogin: 600\n"+flowsAre(flows...)+
			"    authenticatorConfig: [{alias: hub, config: {defaultProvider: "+value+"}}]\n    browserFlow: acme\n"+
			"    clients: [{clientId: app, authenticationFlowBindingOverrides: {browser: acme}}]\n")
	}
	execution := func(what, requirement string, priority int, more string) string {
		return fmt.Sprintf("{%s, requirement: %s, priority: %d%s}", what, requirement, priority, more)
	}
	cookie, forms := "authenticator: auth-cookie", "flowAlias: acme forms"
	redirect, kerberos := "authenticator: identity-provider-redirector", "authenticator: auth-spnego"
	form := execution("authenticator: auth-username-password-form", "REQUIRED", 10, "")
	twoSteps := flowBelow("acme forms", "", form, execution("authenticator: auth-otp-form", "ALTERNATIVE", 20, ""))
	changed := spec("b", flow("acme", "description: Changed, ", execution(redirect, "ALTERNATIVE", 5, ", authenticatorConfig: hub"),
		execution(cookie, "DISABLED", 10, ""), execution(forms, "REQUIRED", 30, "")), twoSteps)
	return map[string]string{
		first: spec("a", flow("acme", "description: Ours, ", execution(cookie, "ALTERNATIVE", 10, ""), execution(kerberos, "ALTERNATIVE", 15, ""),
			execution(redirect, "ALTERNATIVE", 20, ", authenticatorConfig: hub"), execution(forms, "ALTERNATIVE", 30, "")), flowBelow("acme forms", "", form)),
		second: changed,
		third: spec("b", flow("acme", "description: Beside, ", execution(cookie, "ALTERNATIVE", 10, ""), execution("flowAlias: acme all", "ALTERNATIVE", 20, "")),
			flowBelow("acme all", "", execution(redirect, "ALTERNATIVE", 10, ", authenticatorConfig: hub"), execution(forms, "ALTERNATIVE", 20, "")), twoSteps),
		fourth: changed,
	}
}

func newCrashingFlows(t *testing.T, account string) *crashing {
	c := newCrashing(t)
	c.commits, c.account = flowCommits(), account
	return c
}

// bindByHand makes strangers that are bound to our flow.
func (c *crashing) bindByHand() {
	c.t.Helper()
	c.admin.Create(c.at("/clients"), map[string]any{"clientId": "by-hand", "secret": "by hand, too", "authenticationFlowBindingOverrides": map[string]any{"direct_grant": c.flowID("acme")}})
	c.admin.Create(c.at(brokers), map[string]any{"alias": "by-hand", "providerId": "oidc", "firstBrokerLoginFlowAlias": "acme", "config": map[string]any{"clientId": "a", "clientSecret": "s"}})
}

var (
	retiredID   = regexp.MustCompile(`retired-[0-9a-f]{8}`)
	retiredTime = regexp.MustCompile(`Retired by cloakwork at [0-9TZ:-]+`)
)

// flowView is a view without what differs from one retired flow to the next.
func (c *crashing) flowView() map[string]any {
	c.t.Helper()
	text, err := json.Marshal(c.view())
	if err != nil {
		c.t.Fatal(err)
	}
	text = retiredTime.ReplaceAll(retiredID.ReplaceAll(text, []byte("retired-ID")), []byte("Retired by cloakwork at TIME"))
	var view map[string]any
	if err := json.Unmarshal(text, &view); err != nil {
		c.t.Fatal(err)
	}
	return view
}

// uncrashed are the views of a realm where nothing crashed, after each commit and after what was left for later, and how
// many writes each took.
type uncrashed struct {
	writes map[string]int
	views  map[string]map[string]any
	later  int // the writes of the pass that removes the retired flow
	gone   map[string]any
	undone map[string]any
}

func newUncrashed(t *testing.T, account string) uncrashed {
	c := newCrashingFlows(t, account)
	u := uncrashed{writes: map[string]int{}, views: map[string]map[string]any{}}
	for _, commit := range []string{first, second, third} {
		u.writes[commit] = c.heal(commit)
		if commit == first {
			c.bindByHand()
		}
		u.views[commit] = c.flowView()
	}
	c.clock.Time = c.clock.Add(time.Hour)
	u.later, u.gone = c.heal(third), c.flowView()
	c.heal(fourth)
	c.clock.Time = c.clock.Add(time.Hour)
	c.heal(fourth)
	u.undone = c.flowView()
	if got := strings.Join(c.aliases(), " "); got != "acme" {
		t.Errorf("in the end there are the flows %s", got)
	}
	t.Logf("writes: %v, %d later", u.writes, u.later)
	return u
}

func (c *crashing) flowsLike(what string, want map[string]any) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.flowView()); diff != "" {
		c.t.Errorf("%s, it differs from a realm where nothing crashed (-that +this):\n%s", what, diff)
	}
}

// crashAt has a process crash at the n-th write of each commit, and of the removal in the end, as far as there are so many.
func (u uncrashed) crashAt(t *testing.T, account string, n int, cut func(*keycloaktest.Proxy, int)) {
	t.Parallel()
	c := newCrashingFlows(t, account)
	for _, commit := range []string{first, second, third} {
		if n <= u.writes[commit] {
			c.crash(commit, cut, n)
		}
		c.heal(commit)
		if commit == first {
			c.bindByHand()
		}
		c.flowsLike("after "+commit, u.views[commit])
	}
	c.clock.Time = c.clock.Add(time.Hour)
	if n <= u.later {
		c.crash(third, cut, n)
	}
	c.heal(third)
	c.flowsLike("when the old flow is gone", u.gone)
}

// undoneAt has a process crash at the n-th write of the third commit, which is then taken back.
func (u uncrashed) undoneAt(t *testing.T, account string, n int, cut func(*keycloaktest.Proxy, int)) {
	t.Parallel()
	c := newCrashingFlows(t, account)
	c.heal(second)
	c.bindByHand()
	c.crash(third, cut, n)
	c.heal(fourth)
	c.clock.Time = c.clock.Add(time.Hour)
	c.heal(fourth)
	c.flowsLike("when it is taken back", u.undone)
}

// Every crash of a build of a flow, of a change in place, of a build beside it and of the removal of the old flow heals; so
// does every crash of the build beside it after which the commit is taken back.
func TestEveryCrashOfFlowsHeals(t *testing.T) {
	account := newAccount(t)
	u := newUncrashed(t, account)
	for n := 1; n <= max(u.writes[first], u.writes[second], u.writes[third]); n++ {
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("write %d, %s the server got it", n, cut.name), func(t *testing.T) { u.crashAt(t, account, n, cut.cut) })
			if n > 1 && n <= u.writes[third] { // before that there is nothing to take back
				t.Run(fmt.Sprintf("write %d, %s the server got it, taken back", n, cut.name), func(t *testing.T) { u.undoneAt(t, account, n, cut.cut) })
			}
		}
	}
}

// A sample of that.
func TestSomeCrashesOfFlowsHeal(t *testing.T) {
	account := newAccount(t)
	u := newUncrashed(t, account)
	most := u.writes[third]
	for _, n := range []int{2, most / 2, most - 2} { // the rename of the flow, the build, a rebind
		t.Run(fmt.Sprintf("write %d", n), func(t *testing.T) { u.crashAt(t, account, n, (*keycloaktest.Proxy).CutAfter) })
	}
	t.Run("taken back", func(t *testing.T) { u.undoneAt(t, account, most-3, (*keycloaktest.Proxy).CutAfter) })
}

// An older process stands still with a write of a build beside on its way, while another applies the commit that takes it
// back. Then that write arrives.
func TestAProcessThatBuildsAFlowBesideIsOvertaken(t *testing.T) {
	for _, c := range []struct {
		name  string
		write int
	}{{"at the rename of the flow", 2}, {"in the build", 9}} {
		t.Run(c.name, func(t *testing.T) {
			w := newCrashingFlows(t, "")
			w.heal(second)
			w.bindByHand()
			older := keycloaktest.NewProxy(t, w.server.URL)
			arrived, proceed := make(chan struct{}), make(chan struct{})
			var n atomic.Int64
			older.Intercept(func(r *http.Request) *http.Response {
				if r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, "/admin/") && n.Add(1) == int64(c.write) {
					close(arrived)
					<-proceed
				}
				return nil
			})
			pass := w.process(third, older.URL, true)
			var report drift.Report
			var ended sync.WaitGroup
			ended.Go(func() { report, _ = pass.Run(context.Background()) })
			<-arrived
			if newer, err := w.process(fourth, w.proxy.URL, false).Run(context.Background()); err != nil {
				t.Errorf("the newer: %v\n%s", err, text(newer))
			}
			close(proceed)
			ended.Wait()
			if report.Verdict != drift.Superseded {
				t.Errorf("the older: %s: %s", report.Verdict, report.Says)
			}
			w.heal(fourth)
			w.clock.Time = w.clock.Add(time.Hour)
			w.heal(fourth)
			if got := strings.Join(w.aliases(), " "); got != "acme" {
				t.Errorf("in the end there are the flows %s", got)
			}
			if got := strings.Join(w.shapeOf("acme"), ", "); got != "0 Identity Provider Redirector ALTERNATIVE hub, 0 Cookie DISABLED, 0 acme forms REQUIRED, 1 Username Password Form REQUIRED, 1 OTP Form ALTERNATIVE" {
				t.Errorf("the flow is %s", got)
			}
			got := w.admin.Get(w.at("/clients/" + w.clientID("by-hand"))).(map[string]any)["authenticationFlowBindingOverrides"]
			if want := map[string]any{"direct_grant": w.flowID("acme")}; !cmp.Equal(got, any(want)) {
				t.Errorf("the client that was bound by hand is bound to %v, want %v", got, want)
			}
		})
	}
}
