package keycloak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Nerzal/gocloak/v13"
	"github.com/go-resty/resty/v2"
)

// session holds the token that requests carry, and renews it.
type session struct {
	base      string
	config    Config
	transport http.RoundTripper
	lock      chan struct{} // holds one while somebody signs in; the others wait for what comes of it
	current   atomic.Pointer[token]
	refused   *SignInError // why the server wouldn't have us, …
	refusedAt time.Time    // … and when; both belong to the holder of the lock
}

// token is what one sign-in brought. Its times are our own clock's.
type token struct {
	access, refresh string
	id              string    // the ID token: says who we are, which the access tokens of admin-cli don't
	stale           time.Time // when to renew it, and …
	dead            time.Time // … when its refresh token is of no use any more; zero where the server didn't say
}

// A refusal counts for a while, so that hundreds of requests with a wrong password don't lock the account.
const refusalLasts = 5 * time.Second

func newSession(c Config, base string, transport http.RoundTripper) *session {
	return &session{base: base, config: c, transport: transport, lock: make(chan struct{}, 1)}
}

// token gives a token with life left in it.
func (s *session) token(ctx context.Context) (*token, error) {
	if t := s.current.Load(); t.fresh() {
		return t, nil
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	old := s.current.Load()
	if old.fresh() { // somebody else was faster
		return old, nil
	}
	t, err := s.renewed(ctx, old)
	if err != nil {
		return nil, err
	}
	s.current.Store(t)
	return t, nil
}

// renewed uses the refresh token while there is one, and signs in again where that is refused.
func (s *session) renewed(ctx context.Context, old *token) (*token, error) {
	if old.refreshable() {
		t, err := s.ask(ctx, gocloak.TokenOptions{
			ClientID:     &s.config.ClientID,
			ClientSecret: &s.config.ClientSecret,
			GrantType:    gocloak.StringP("refresh_token"),
			RefreshToken: &old.refresh,
		})
		if err == nil || !IsSignIn(err) || busy(Status(err)) || Status(err) == http.StatusTooManyRequests {
			return t, err
		}
	}
	if s.refused != nil && time.Since(s.refusedAt) < refusalLasts {
		return nil, s.refused
	}
	options := gocloak.TokenOptions{
		ClientID:     &s.config.ClientID,
		ClientSecret: &s.config.ClientSecret,
		GrantType:    gocloak.StringP("client_credentials"),
		Scope:        gocloak.StringP("openid"),
	}
	if s.config.User != "" {
		options.GrantType, options.Username, options.Password = gocloak.StringP("password"), &s.config.User, &s.config.Password
	}
	t, err := s.ask(ctx, options)
	s.refused = nil
	var refused *SignInError
	if errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusUnauthorized) {
		s.refused, s.refusedAt = refused, time.Now()
	}
	return t, err
}

// drop forgets a token that the server refused, and the session behind it.
func (s *session) drop(t *token) { s.current.CompareAndSwap(t, nil) }

// end signs out, so that sessions of short runs don't pile up on the server. It may fail: sessions end by themselves.
func (s *session) end() {
	t := s.current.Swap(nil)
	if t == nil || t.refresh == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	g, _ := s.gocloak()
	_ = g.Logout(ctx, s.config.ClientID, s.config.ClientSecret, url.PathEscape(s.config.Realm), t.refresh)
}

// fresh tells whether to send the token with a request.
func (t *token) fresh() bool {
	return t != nil && (t.stale.IsZero() || time.Now().Before(t.stale))
}

func (t *token) refreshable() bool {
	return t != nil && t.refresh != "" && (t.dead.IsZero() || time.Now().Before(t.dead))
}

// early is when to renew what lives so many seconds from began: with a third of its life left, ten seconds at most.
func early(began time.Time, seconds int) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	life := time.Duration(seconds) * time.Second
	return began.Add(life - min(life/3, 10*time.Second))
}

// ask gets a token from the token endpoint.
func (s *session) ask(ctx context.Context, options gocloak.TokenOptions) (*token, error) {
	began := time.Now()
	g, saw := s.gocloak()
	jwt, err := g.GetToken(ctx, url.PathEscape(s.config.Realm), options)
	path := "/realms/" + url.PathEscape(s.config.Realm) + "/protocol/openid-connect/token"
	s.config.Log.Debug("keycloak", "method", http.MethodPost, "path", path, "took", time.Since(began).Round(100*time.Microsecond),
		"grant", *options.GrantType, "status", saw.status, slog.Any("error", saw.err))

	// What gocloak returns isn't enough: its error has lost the cause, and is nil for a redirect or a page of HTML.
	switch {
	case saw.err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("POST %s: %w", path, ctx.Err())
	case saw.err != nil: // not Sent: what the caller asked for wasn't, and signing in twice does no harm
		return nil, &Unreachable{Method: http.MethodPost, Path: path, Err: bare(saw.err)}
	case saw.status == http.StatusOK && err == nil && jwt.AccessToken != "":
		return &token{
			access:  jwt.AccessToken,
			refresh: jwt.RefreshToken,
			id:      jwt.IDToken,
			stale:   early(began, jwt.ExpiresIn),
			dead:    early(began, jwt.RefreshExpiresIn),
		}, nil
	case saw.status == 0:
		return nil, fmt.Errorf("POST %s: not sent", path)
	}
	refused := s.explain(saw)
	if saw.status == http.StatusBadRequest && strings.HasPrefix(refused.Message, brokeDown) {
		return nil, &Unreachable{Method: http.MethodPost, Path: path, Err: errors.New(refused.Message)}
	}
	return nil, refused
}

// brokeDown begins what Keycloak (26.7.3) answers, with a 400, where its database went away while it looked at who signs in.
// A wrong secret is "Invalid client or Invalid client credentials".
const brokeDown = "Unexpected error when authenticating client"

// explain makes an error of a reply that holds no token.
func (s *session) explain(saw *witness) *SignInError {
	e := &SignInError{
		Realm:      s.config.Realm,
		ClientID:   s.config.ClientID,
		User:       s.config.User,
		Status:     saw.status,
		Message:    explanation(saw.status, saw.header, saw.body, nonEmpty(s.config.Password, s.config.ClientSecret)),
		retryAfter: pauseAskedFor(saw.header),
	}
	switch message := e.Message; {
	case saw.status/100 == 2:
		e.Message = "no token in the reply"
		e.Hint = "is this the address of a Keycloak?"
	case strings.Contains(message, "(invalid_client)"), strings.Contains(message, "(unauthorized_client)"):
		e.Hint = "check the client ID and its secret, and that the client may sign in this way"
	case strings.Contains(message, "(invalid_grant)"):
		e.Hint = "check the user and the password"
	case saw.status == http.StatusNotFound && strings.Contains(message, "Realm"):
		e.Hint = "check the realm to sign in to"
	case saw.status == http.StatusNotFound:
		e.Hint = "is this the address of a Keycloak, and does it have a base path such as /auth?"
	}
	return e
}

// gocloak makes a client for one exchange, and the witness that sees what really came back.
func (s *session) gocloak() (*gocloak.GoCloak, *witness) {
	saw := &witness{next: s.transport, id: s.config.ClientID, secret: s.config.ClientSecret}
	g := gocloak.NewClient(s.base)
	r := g.RestyClient()
	r.SetTransport(saw)
	r.SetTimeout(s.config.Timeout)
	r.SetHeader("Accept", "application/json")
	r.SetDisableWarn(true)
	r.SetLogger(silence{log.New(io.Discard, "", 0)})
	r.GetClient().CheckRedirect = stay // or it would follow a 307 and send the password along
	r.GetClient().Jar = nil
	return g, saw
}

// witness is a transport that keeps the one reply that came through it, or the error.
type witness struct {
	next       http.RoundTripper
	id, secret string
	err        error
	status     int
	header     http.Header
	body       []byte
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if w.secret != "" { // as RFC 6749 2.3.1 has it, which gocloak leaves out: + and % would arrive as something else
		req.SetBasicAuth(url.QueryEscape(w.id), url.QueryEscape(w.secret))
	}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		w.err = err
		return nil, err
	}
	defer resp.Body.Close()
	w.status, w.header = resp.StatusCode, resp.Header
	if w.body, w.err = atMost(resp.Body, 1<<20); w.err != nil {
		return nil, w.err
	}
	resp.Body = io.NopCloser(bytes.NewReader(w.body))
	return resp, nil
}

// silence keeps resty's own remarks out of the output.
type silence struct{ *log.Logger }

func (s silence) Errorf(format string, v ...any) {}
func (s silence) Warnf(format string, v ...any)  {}
func (s silence) Debugf(format string, v ...any) {}

var _ resty.Logger = silence{}
