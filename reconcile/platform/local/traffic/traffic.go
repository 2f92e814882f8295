// Package traffic is people and programs that use a Keycloak while something happens to it: logins by form and by password,
// sessions that are refreshed, userinfo, and writes of which each one that was acknowledged is looked for afterwards.
package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// Realm is where it happens; Make makes it.
const (
	Realm    = "traffic"
	client   = "app"
	redirect = "https://app.invalid/"
	user     = "ada"
	password = "correct horse battery"
)

// Make makes the realm, on a server that doesn't have it.
func Make(ctx context.Context, c *keycloak.Client) error {
	_, err := c.Post(ctx, keycloak.Path("realms"), nil, map[string]any{
		"realm": Realm, "enabled": true, "accessTokenLifespan": 600, "ssoSessionIdleTimeout": 36000, "ssoSessionMaxLifespan": 36000,
		"clients": []any{map[string]any{"clientId": client, "publicClient": true, "standardFlowEnabled": true, "directAccessGrantsEnabled": true, "redirectUris": []string{redirect + "*"}}},
		"users": []any{map[string]any{"username": user, "enabled": true, "email": "ada@app.invalid", "emailVerified": true, "firstName": "A", "lastName": "B",
			"credentials": []any{map[string]any{"type": "password", "value": password}}}},
	}, nil)
	return err
}

// Traffic is what goes on until Stop.
type Traffic struct {
	fronts []Front
	stop   context.CancelFunc
	all    sync.WaitGroup
	http   *http.Client

	mu    sync.Mutex
	at    int // the front that is asked
	sum   Sum
	kept  []string // users whose making was acknowledged
	fails []string
}

// Sum is what came of it.
type Sum struct {
	Requests int // that were answered, or not
	Failed   int // answered 5xx or otherwise than they should, or not at all
	Refused  int // that found nobody listening at one front, and were made at the other
	Forms    int // logins by form
	Thrown   int // of these, those that came to no end
	Sessions int // that were held and refreshed all the time
	Lost     int // of these, those that the server knows no more
	Writes   int // that were acknowledged
	Gone     int // of these, those that aren't there
	Slowest  time.Duration
	Fails    []string // the first ones, in words
}

func (s Sum) String() string {
	return fmt.Sprintf("%d of %d requests failed, %d were refused by one front and made at the other, %d of %d form logins came to no end, %d of %d sessions lost, %d of %d acknowledged writes gone, slowest %s",
		s.Failed, s.Requests, s.Refused, s.Thrown, s.Forms, s.Lost, s.Sessions, s.Gone, s.Writes, s.Slowest.Round(time.Millisecond))
}

// Front is one way to the deployment. Where there are several, nodes must be known by one hostname at all of them.
type Front struct {
	URL   string
	Admin *keycloak.Client // signs in through it
}

// Start has so many sessions be used, with one person who logs in by the form again and again, and one program that writes.
// Each waits for a moment between two requests. Where nobody listens at a front, all go to the next one, as they would
// with several answers of DNS.
func Start(fronts []Front, sessions int, pause time.Duration) *Traffic {
	ctx, stop := context.WithCancel(context.Background())
	t := &Traffic{fronts: fronts, stop: stop, http: &http.Client{
		Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	repeat := func(do func(context.Context)) {
		t.all.Go(func() {
			for ctx.Err() == nil {
				do(context.WithoutCancel(ctx)) // what has begun is brought to its end
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
	for range sessions {
		s := &session{Traffic: t}
		repeat(s.next)
	}
	repeat(t.form)
	repeat(t.write)
	return t
}

// End ends it.
func (t *Traffic) End() {
	t.stop()
	t.all.Wait()
	t.http.CloseIdleConnections()
}

// Stop ends it and looks for what was written.
func (t *Traffic) Stop(ctx context.Context) (Sum, error) {
	t.End()
	there := map[string]bool{}
	var users []json.RawMessage
	err := t.anywhere(func(f Front) (err error) {
		users, err = f.Admin.All(ctx, keycloak.Path("realms", Realm, "users"), url.Values{"briefRepresentation": {"true"}}, 100)
		return err
	})
	if err != nil {
		return t.sum, fmt.Errorf("look for what was written: %w", err)
	}
	for _, raw := range users {
		var u struct{ Username string }
		if err := json.Unmarshal(raw, &u); err != nil {
			return t.sum, err
		}
		there[u.Username] = true
	}
	t.sum.Writes = len(t.kept)
	for _, name := range t.kept {
		if !there[name] {
			t.sum.Gone++
		}
	}
	t.sum.Fails = t.fails
	return t.sum, nil
}

// Sum is what has come of it so far; what was written isn't looked for.
func (t *Traffic) Sum() Sum {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sum
	s.Writes, s.Fails = len(t.kept), slices.Clone(t.fails)
	return s
}

// anywhere does something at the front that is asked, and where nobody listens there at the next one.
func (t *Traffic) anywhere(do func(Front) error) (err error) {
	for range t.fronts {
		t.mu.Lock()
		at := t.at
		t.mu.Unlock()
		if err = do(t.fronts[at]); !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		t.mu.Lock()
		t.sum.Refused++
		if t.at == at {
			t.at = (at + 1) % len(t.fronts)
		}
		t.mu.Unlock()
	}
	return err
}

func (t *Traffic) note(change func(*Sum)) {
	t.mu.Lock()
	change(&t.sum)
	t.mu.Unlock()
}

func (t *Traffic) fail(what string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Failed++
	if len(t.fails) < 20 {
		t.fails = append(t.fails, time.Now().UTC().Format("15:04:05.000")+" "+what+": "+err.Error())
	}
}

// session is one that somebody has and uses.
type session struct {
	*Traffic
	access, refresh string
	begun           bool
	turn            int
}

func (s *session) next(ctx context.Context) {
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Error   string `json:"error"`
	}
	s.turn++
	switch {
	case s.refresh == "":
		if s.ask(ctx, "log in by password", http.MethodPost, "/protocol/openid-connect/token", url.Values{"grant_type": {"password"}, "client_id": {client},
			"username": {user}, "password": {password}, "scope": {"openid"}}, "", &tokens, http.StatusOK) == nil {
			s.access, s.refresh = tokens.Access, tokens.Refresh
			if !s.begun {
				s.begun = true
				s.note(func(sum *Sum) { sum.Sessions++ })
			}
		}
	case s.turn%3 == 0:
		err := s.ask(ctx, "refresh", http.MethodPost, "/protocol/openid-connect/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {s.refresh}}, "", &tokens, http.StatusOK)
		switch {
		case err == nil:
			s.access, s.refresh = tokens.Access, tokens.Refresh
		case tokens.Error == "invalid_grant":
			s.refresh = ""
			s.note(func(sum *Sum) { sum.Lost++ })
		}
	default:
		_ = s.ask(ctx, "userinfo", http.MethodGet, "/protocol/openid-connect/userinfo", nil, s.access, nil, http.StatusOK) // is noted
	}
}

// ask makes one request that should be answered so.
func (t *Traffic) ask(ctx context.Context, what, method, path string, form url.Values, token string, into any, want int) error {
	body, _, err := t.visit(ctx, method, "/realms/"+Realm+path, form, token, nil, want)
	if into != nil {
		_ = json.Unmarshal([]byte(body), into) // what isn't there is missed
	}
	if err != nil {
		t.fail(what, err)
	}
	return err
}

// visit makes one request, at a path of whichever front is asked.
func (t *Traffic) visit(ctx context.Context, method, path string, form url.Values, token string, cookies map[string]string, want int) (body, location string, err error) {
	began := time.Now()
	err = t.anywhere(func(f Front) error {
		r, err := http.NewRequestWithContext(ctx, method, f.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		for name, value := range cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		answer, err := t.http.Do(r)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		body, location = string(text), answer.Header.Get("Location")
		if cookies != nil {
			for _, c := range answer.Cookies() {
				cookies[c.Name] = c.Value
			}
		}
		if err == nil && answer.StatusCode != want {
			err = fmt.Errorf("answers %d, not %d: %.200s", answer.StatusCode, want, body)
		}
		return err
	})
	took := time.Since(began)
	t.note(func(sum *Sum) {
		sum.Requests++
		sum.Slowest = max(sum.Slowest, took)
	})
	return body, location, err
}

var formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)

// form logs in as a person does.
func (t *Traffic) form(ctx context.Context) {
	t.note(func(sum *Sum) { sum.Forms++ })
	if err := t.fill(ctx); err != nil {
		t.note(func(sum *Sum) { sum.Thrown++ })
		t.fail("log in by the form", err)
	}
}

func (t *Traffic) fill(ctx context.Context) error {
	cookies := map[string]string{}
	const realm = "/realms/" + Realm + "/protocol/openid-connect"
	page, _, err := t.visit(ctx, http.MethodGet, realm+"/auth?"+url.Values{"client_id": {client}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid"}}.Encode(), nil, "", cookies, http.StatusOK)
	if err != nil {
		return fmt.Errorf("ask for the form: %w", err)
	}
	found := formAction.FindStringSubmatch(page)
	if found == nil {
		return errors.New("the page holds no form")
	}
	time.Sleep(300 * time.Millisecond) // who types
	action, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		return fmt.Errorf("read the form: %w", err)
	}
	_, to, err := t.visit(ctx, http.MethodPost, action.RequestURI(), url.Values{"username": {user}, "password": {password}}, "", cookies, http.StatusFound)
	if err != nil {
		return fmt.Errorf("send the form: %w", err)
	}
	back, err := url.Parse(to)
	if err != nil || back.Query().Get("code") == "" {
		return errors.New("no code comes of it")
	}
	_, _, err = t.visit(ctx, http.MethodPost, realm+"/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {client}, "redirect_uri": {redirect}, "code": {back.Query().Get("code")}}, "", nil, http.StatusOK)
	if err != nil {
		return fmt.Errorf("take a token for the code: %w", err)
	}
	return nil
}

// write makes a user.
func (t *Traffic) write(ctx context.Context) {
	t.mu.Lock()
	name := fmt.Sprintf("user-%d-%d", len(t.kept), time.Now().UnixNano())
	t.mu.Unlock()
	began := time.Now()
	err := t.anywhere(func(f Front) error {
		_, err := f.Admin.Post(ctx, keycloak.Path("realms", Realm, "users"), nil, map[string]any{"username": name, "enabled": true}, nil)
		return err
	})
	took := time.Since(began)
	t.mu.Lock()
	t.sum.Requests++
	t.sum.Slowest = max(t.sum.Slowest, took)
	if err == nil {
		t.kept = append(t.kept, name)
	}
	t.mu.Unlock()
	if err != nil {
		t.fail("write", err)
	}
}
