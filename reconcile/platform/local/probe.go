package local

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
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// A node is tried by logging in through it as a person does, in a realm that is there for nothing else: what the
// deployment's own realms ask of people (a second factor, terms) can't be answered by a machine.
const (
	probeRealm    = "cloakwork-probe"
	probeRedirect = "https://probe.invalid/"
	probeLogins   = 6 // the first ones are slow: classes are loaded, templates read
	probeTime     = 20 * time.Second
)

// probe logs in through the node until it is warm. What fails once may be of the moment.
func (w *work) probe(ctx context.Context) error {
	l, there, err := w.slot(w.step.Node)
	if err == nil && !there {
		err = fmt.Errorf("there is no node %s", w.step.Node)
	}
	if err != nil {
		return err
	}
	a, err := w.credentials()
	if err != nil {
		return err
	}
	node, err := w.url(l)
	if err != nil {
		return err
	}
	var last error
	made, done := false, 0
	err = until(ctx, 100*time.Millisecond, func() (bool, error) {
		if !made {
			if last = w.makeProbe(ctx, l, a); last != nil {
				return false, nil
			}
			made = true
		}
		if err := login(ctx, node, a.Probe); err != nil {
			last, done = err, 0
			return false, nil
		}
		done++
		return done >= probeLogins, nil
	})
	if err != nil && last != nil {
		return &unready{l.Name, "lets nobody log in: " + last.Error()}
	}
	return err
}

// makeProbe makes the realm of the probe where there is none.
func (w *work) makeProbe(ctx context.Context, l slot, a account) error {
	c, err := w.signIn(l, controllerClient, a.Secret)
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Get(ctx, keycloak.Path("realms", probeRealm), nil, new(json.RawMessage))
	if err == nil {
		return nil
	}
	if !keycloak.IsNotFound(err) {
		return fmt.Errorf("look for the probe's realm: %w", err)
	}
	_, err = c.Post(ctx, keycloak.Path("realms"), nil, map[string]any{
		"realm": probeRealm, "enabled": true, "displayName": "cloakwork tries whether people can log in",
		"clients": []any{map[string]any{"clientId": "probe", "publicClient": true, "standardFlowEnabled": true, "directAccessGrantsEnabled": false, "redirectUris": []string{probeRedirect}}},
		"users": []any{map[string]any{"username": "probe", "enabled": true, "email": "probe@probe.invalid", "emailVerified": true, "firstName": "Probe", "lastName": "Probe",
			"credentials": []any{map[string]any{"type": "password", "value": a.Probe}}}},
	}, nil)
	if err != nil && !keycloak.IsConflict(err) {
		return fmt.Errorf("make the probe's realm: %w", err)
	}
	return nil
}

var formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)

// login logs in by the form, takes a token for the code, and logs out again. Whatever address the pages name, the node that
// is tried is asked.
func login(ctx context.Context, node, password string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	realm := node + "/realms/" + probeRealm
	cookies := map[string]string{}
	page, _, err := visit(ctx, cookies, http.MethodGet, realm+"/protocol/openid-connect/auth?"+url.Values{
		"client_id": {"probe"}, "redirect_uri": {probeRedirect}, "response_type": {"code"}, "scope": {"openid"}}.Encode(), nil, http.StatusOK)
	if err != nil {
		return fmt.Errorf("ask for the login form: %w", err)
	}
	form := formAction.FindStringSubmatch(page)
	if form == nil {
		return errors.New("the login page holds no form")
	}
	action, err := url.Parse(html.UnescapeString(form[1]))
	if err != nil {
		return fmt.Errorf("read the login form: %w", err)
	}
	straight, err := url.Parse(node)
	if err != nil {
		return err
	}
	action.Scheme, action.Host = straight.Scheme, straight.Host
	_, to, err := visit(ctx, cookies, http.MethodPost, action.String(), url.Values{"username": {"probe"}, "password": {password}}, http.StatusFound)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	back, err := url.Parse(to)
	if err != nil || back.Query().Get("code") == "" {
		return errors.New("log in: it brings no code")
	}
	answer, _, err := visit(ctx, cookies, http.MethodPost, realm+"/protocol/openid-connect/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"probe"}, "redirect_uri": {probeRedirect}, "code": {back.Query().Get("code")}}, http.StatusOK)
	if err != nil {
		return fmt.Errorf("take a token: %w", err)
	}
	var token struct {
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(answer), &token); err != nil || token.Refresh == "" {
		return errors.New("take a token: there is none")
	}
	if _, _, err = visit(ctx, cookies, http.MethodPost, realm+"/protocol/openid-connect/logout", url.Values{"client_id": {"probe"}, "refresh_token": {token.Refresh}}, http.StatusNoContent); err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	return nil
}

// browser follows nothing by itself.
var browser = &http.Client{Transport: &http.Transport{IdleConnTimeout: 5 * time.Second}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// visit asks for one page, with the cookies that were set before.
func visit(ctx context.Context, cookies map[string]string, method, at string, form url.Values, want int) (body, location string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	answer, err := browser.Do(r)
	if err != nil {
		return "", "", errors.Unwrap(err) // without the URL, which may hold a code
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return "", "", err
	}
	for _, c := range answer.Cookies() {
		cookies[c.Name] = c.Value
	}
	if answer.StatusCode != want {
		return "", "", fmt.Errorf("answers %d, not %d", answer.StatusCode, want)
	}
	return string(text), answer.Header.Get("Location"), nil
}
