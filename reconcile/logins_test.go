package reconcile_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
)

// many is how many people are signing in, each with a form on the screen, when a flow changes.
const many = 50

// What flows are made of that people sign in by here.
var (
	acmeForms = flowBelow("acme forms", "", password)
	asked     = strings.Replace(formsIn, "ALTERNATIVE", "REQUIRED", 1)
	twoSteps  = []string{flowBelow("acme forms", "", password, "{flowAlias: acme second, requirement: CONDITIONAL}"),
		flowBelow("acme second", "", "{authenticator: conditional-user-configured, requirement: REQUIRED}", strings.Replace(otp, "REQUIRED", "ALTERNATIVE", 1))}
)

func toHub(value string) string {
	return "    authenticatorConfig: [{alias: hub, config: {defaultProvider: " + value + "}}]\n"
}

// A flow is changed in place while people sign in by it: of those who have its form open nobody sees an error, and nobody
// is asked again, neither while it changes nor afterwards.
func TestChangesInPlaceAskNobodyAgain(t *testing.T) {
	for _, c := range []struct{ what, before, after string }{
		{"an execution added", bound(flow("acme", "", cookie, formsIn), acmeForms), bound(flow("acme", "", cookie, redirect, formsIn), acmeForms)},
		{"an execution removed", bound(flow("acme", "", cookie, redirect, formsIn), acmeForms), bound(flow("acme", "", cookie, formsIn), acmeForms)},
		{"another order", bound(flow("acme", "", cookie, redirect, formsIn), acmeForms), bound(flow("acme", "", formsIn, redirect, cookie), acmeForms)},
		{"another requirement", bound(flow("acme", "", cookie, formsIn), acmeForms),
			bound(flow("acme", "", strings.Replace(cookie, "ALTERNATIVE", "DISABLED", 1), asked), acmeForms)},
		{"another configuration", bound(flow("acme", "", cookie, withConfig("hub"), formsIn), acmeForms) + toHub("a"),
			bound(flow("acme", "", cookie, withConfig("hub"), formsIn), acmeForms) + toHub("b")},
		{"a configuration taken away", bound(flow("acme", "", cookie, withConfig("hub"), formsIn), acmeForms) + toHub("a"),
			bound(flow("acme", "", cookie, redirect, formsIn), acmeForms)},
		{"a flow added below", bound(flow("acme", "", cookie, formsIn), acmeForms), bound(flow("acme", "", cookie, formsIn), twoSteps...)},
		{"a flow removed below", bound(flow("acme", "", cookie, formsIn), twoSteps...), bound(flow("acme", "", cookie, formsIn), acmeForms)},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.settled(c.before)
			w.ann()
			ids, open := w.executionIDs("acme"), w.logins(many)
			during := w.signIn(open[:many/2])
			report := w.apply(c.after)
			seen := append(during(), w.signIn(open[many/2:])()...)
			if got, want := counted(seen), "50 signed in"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			for _, change := range report.Changes {
				if slices.Contains(change.Risk, drift.AsksAgain) {
					t.Errorf("the report says that people are asked again:\n%s", text(report))
				}
			}
			for key, id := range w.executionIDs("acme") {
				if ids[key] != "" && ids[key] != id {
					t.Errorf("%s was made anew", key)
				}
			}
			w.settled(c.after)
		})
	}
}

// People get another flow while they sign in: nobody sees an error, and each is asked again once, those too who answer
// only when the old flow is gone.
func TestRebindsAskEachOnceAtMost(t *testing.T) {
	outer := []string{flowBelow("acme all", "", formsIn), acmeForms}
	for _, c := range []struct {
		what, before, after string
		retired             bool
	}{
		{"a flow built beside the old one", bound(flow("acme", "", cookie, formsIn), acmeForms),
			bound(flow("acme", "", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}"), outer...), true},
		{"another flow bound", bound(flow("acme", "", cookie, formsIn), acmeForms, flow("acme 2", "", cookie, password)),
			strings.Replace(bound(flow("acme", "", cookie, formsIn), acmeForms, flow("acme 2", "", cookie, password)), "browserFlow: acme", "browserFlow: acme 2", 1), false},
		{"another flow bound, the old one no longer declared", bound(flow("acme", "", cookie, formsIn), acmeForms),
			strings.Replace(bound(flow("acme 2", "", cookie, formsIn), acmeForms), "browserFlow: acme", "browserFlow: acme 2", 1), true},
		{"another flow bound to the client", bound(flow("acme", "", cookie, formsIn), acmeForms, flow("acme 2", "", cookie, password)),
			strings.Replace(bound(flow("acme", "", cookie, formsIn), acmeForms, flow("acme 2", "", cookie, password)), "{clientId: app,", "{clientId: app, authenticationFlowBindingOverrides: {browser: acme 2},", 1), false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w, clock := newWorld(t), newClock()
			w.settled(c.before)
			w.ann()
			open := w.logins(many)
			plan := w.plan(c.after)
			if !slices.ContainsFunc(plan.Changes, func(c drift.Change) bool { return slices.Contains(c.Risk, drift.AsksAgain) }) {
				t.Errorf("the plan doesn't say that people are asked again:\n%s", text(plan))
			}
			during := w.signIn(open[:10])
			w.applyAt(clock, c.after)
			quick := during()
			seen := w.signIn(open[10:30])()
			clock.Time = clock.Add(time.Hour)
			last := w.applyAt(clock, c.after)
			if removed := len(last.Changes) == 1 && last.Changes[0].Op == drift.Delete; removed != c.retired {
				t.Errorf("an hour later the pass did\n%s", text(last))
			}
			seen = append(seen, w.signIn(open[30:])()...)
			if got, want := counted(seen), "40 asked once more"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			for _, s := range quick {
				if s != "signed in" && s != "asked once more" {
					t.Errorf("of those who answered meanwhile one was %s", s)
				}
			}
			w.applyAt(clock, c.after)
		})
	}
}

// Those who stand at the second of two pages are asked for nothing again by a change in place, and for that page once more
// by another flow, or where the form on the screen itself makes way for another.
func TestPeopleAtTheSecondPageGoOn(t *testing.T) {
	pages := flowBelow("acme forms", "", "{authenticator: auth-username-form, requirement: REQUIRED}", "{authenticator: auth-password-form, requirement: REQUIRED}")
	before := bound(flow("acme", "", cookie, formsIn), pages)
	for _, c := range []struct{ what, after, want string }{
		{"in place", bound(flow("acme", "", redirect, formsIn, cookie), pages), "50 signed in"},
		{"another flow", bound(flow("acme", "", cookie, "{flowAlias: acme all, requirement: ALTERNATIVE}"), flowBelow("acme all", "", formsIn), pages), "50 asked once more"},
		{"another form", bound(flow("acme", "", cookie, formsIn), acmeForms), "50 asked once more"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.settled(before)
			w.ann()
			open := w.logins(many)
			for _, l := range open {
				if status, _, err := l.do("POST", l.action, url.Values{"username": {"ann"}}); status != http.StatusOK || err != nil {
					t.Fatalf("the first page answers %d: %v", status, err)
				}
			}
			w.apply(c.after)
			if got := counted(w.signIn(open)()); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// counted says how many logins ended how: 50 signed in.
func counted(seen []string) string {
	slices.Sort(seen)
	var parts []string
	for len(seen) > 0 {
		n := 1
		for n < len(seen) && seen[n] == seen[0] {
			n++
		}
		parts, seen = append(parts, fmt.Sprintf("%d %s", n, seen[0])), seen[n:]
	}
	return strings.Join(parts, ", ")
}

// ann is somebody who can sign in, with a password that costs the server little to check.
func (w *world) ann() {
	w.t.Helper()
	w.admin.Edit(w.at(""), func(r map[string]any) { r["passwordPolicy"] = "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)" })
	w.admin.Create(w.at("/users"), map[string]any{"username": "ann", "enabled": true, "email": "ann@acme.example", "firstName": "Ann", "lastName": "A",
		"credentials": []any{map[string]any{"type": "password", "value": "secret", "temporary": false}}})
}

// logins are people with the login form before them.
func (w *world) logins(n int) []*login {
	w.t.Helper()
	var open []*login
	for range n {
		l := &login{cookies: map[string]string{}}
		query := url.Values{"client_id": {"app"}, "redirect_uri": {"http://127.0.0.1/back"}, "response_type": {"code"}, "scope": {"openid"}}
		status, _, err := l.do("GET", w.server.URL+"/realms/"+w.name+"/protocol/openid-connect/auth?"+query.Encode(), nil)
		if err != nil || status != http.StatusOK || l.action == "" {
			w.t.Fatalf("the login page answers %d and has the form %q: %v", status, l.action, err)
		}
		open = append(open, l)
	}
	return open
}

// signIn has people answer until they are in, two at a time; the func waits for them and says what became of each.
func (w *world) signIn(open []*login) func() []string {
	seen := make([]string, len(open))
	var all sync.WaitGroup
	for first := range 2 {
		all.Go(func() {
			for i := first; i < len(open); i += 2 {
				seen[i] = open[i].signIn()
			}
		})
	}
	return func() []string { all.Wait(); return seen }
}

// login is somebody's browser with a login form in it.
type login struct {
	cookies map[string]string
	action  string
}

var formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)

// signIn answers the form, and again if it comes again.
func (l *login) signIn() string {
	for again := range 3 {
		action := l.action
		l.action = ""
		status, where, err := l.do("POST", action, url.Values{"username": {"ann"}, "password": {"secret"}})
		switch {
		case err != nil:
			return err.Error()
		case status == http.StatusFound && strings.Contains(where, "code="):
			return []string{"signed in", "asked once more", "asked twice more"}[again]
		case status != http.StatusOK || l.action == "":
			return fmt.Sprintf("shown an error page, %d %s", status, where)
		}
	}
	return "asked for ever"
}

// do sends what a browser would: over loopback it keeps also cookies that are for secure connections only.
func (l *login) do(method, to string, form url.Values) (status int, where string, err error) {
	request, err := http.NewRequest(method, to, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	for name, value := range l.cookies {
		request.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	for _, c := range response.Cookies() {
		l.cookies[c.Name] = c.Value
	}
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	if found := formAction.FindSubmatch(page); found != nil {
		l.action = html.UnescapeString(string(found[1]))
	}
	return response.StatusCode, response.Header.Get("Location"), nil
}
