// Package keycloak is a client of Keycloak's admin REST API: it signs in, pages, retries where a repeat is safe and
// keeps to a rate. It knows no kinds: representations are JSON that the caller reads and writes, so that a field which
// this code never heard of survives.
//
// Paths stand below /admin and are made by Path, which escapes names:
//
//	var client json.RawMessage
//	err := c.Get(ctx, keycloak.Path("realms", "acme", "clients", id), nil, &client)
//
// All methods may be called from many goroutines. A context that ends stops reads, and stops writes before they are
// sent; a write on its way is given up to 10 seconds to bring its answer, so that an orderly end doesn't leave behind
// a write of which nobody knows whether it happened.
package keycloak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Config says which server to speak to, as whom, and how hard.
type Config struct {
	URL          string                          // http or https, with the base path where there is one: https://id.example/auth
	Realm        string                          // where to sign in; default master
	User         string                          // with Password; without both, the client's own credentials sign in
	Password     string                          //
	ClientID     string                          // default admin-cli
	ClientSecret string                          // of a confidential client
	CA           []byte                          // PEM: roots to trust besides the system's
	InFlight     int                             // requests under way at a time; default 4, the useful maximum of a small server
	PerSecond    float64                         // requests a second; 0 sets no limit
	Timeout      time.Duration                   // of one request with its reply; default 60 s
	Patience     time.Duration                   // how long a failing request is repeated, and a dead server waited for; default 20 s, below 0 not at all
	Sent         func(method string, status int) // nil, or told of every request to the admin API; status is 0 where no answer came
	Log          *slog.Logger                    // debug lines, one a request: never bodies, queries, headers; default none
}

// Client speaks to one server as one account.
type Client struct {
	base     string // scheme, host and base path, without a slash at the end
	http     *http.Client
	session  *session
	secrets  []string // never to appear in a message
	timeout  time.Duration
	patience time.Duration
	slots    chan struct{} // holds one for each request under way
	rate     *rate.Limiter
	lines    lines
	down     atomic.Pointer[time.Time] // since when nothing useful has been answered; nil while all is well
	sent     func(method string, status int)
	log      *slog.Logger

	reads, writes atomic.Int64
}

// New checks the configuration; it sends nothing. The first request signs in.
func New(c Config) (*Client, error) {
	base, err := baseURL(c.URL)
	if err != nil {
		return nil, err
	}
	c.Realm = orDefault(c.Realm, "master")
	c.ClientID = orDefault(c.ClientID, "admin-cli")
	if badSegment(c.Realm) {
		return nil, fmt.Errorf("sign-in realm %q can't stand in a URL", c.Realm)
	}
	switch {
	case c.User == "" && c.Password == "" && c.ClientSecret == "":
		return nil, errors.New("no credentials: give a user and a password, or a client ID and its secret")
	case c.User == "" && c.Password != "":
		return nil, errors.New("a password without a user")
	case c.User != "" && c.Password == "":
		return nil, errors.New("a user without a password")
	}
	roots, err := roots(c.CA)
	if err != nil {
		return nil, err
	}
	if c.InFlight <= 0 {
		c.InFlight = 4
	}
	limit := rate.Inf
	if c.PerSecond > 0 {
		limit = rate.Limit(c.PerSecond)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Timeout = orDefault(c.Timeout, 60*time.Second)
	c.Patience = max(orDefault(c.Patience, 20*time.Second), 0)

	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConns:          0,
		MaxIdleConnsPerHost:   c.InFlight + 1,
		IdleConnTimeout:       30 * time.Second, // below what balancers keep, so that a POST rarely meets a connection just closed
		ExpectContinueTimeout: time.Second,
	}
	return &Client{
		base:     base,
		http:     &http.Client{Transport: transport, CheckRedirect: stay},
		session:  newSession(c, base, transport),
		secrets:  nonEmpty(c.Password, c.ClientSecret),
		timeout:  c.Timeout,
		patience: c.Patience,
		slots:    make(chan struct{}, c.InFlight),
		rate:     rate.NewLimiter(limit, int(math.Max(1, math.Min(c.PerSecond, float64(c.InFlight))))),
		sent:     c.Sent,
		log:      c.Log,
	}, nil
}

// stay keeps an HTTP client from following redirects: they would take a password or a token to wherever they point.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// baseURL is the server's address without a slash at the end.
func baseURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "", errors.New("no server URL")
	case err != nil:
		return "", errors.New("the server URL can't be read as one") // url.Error would repeat it, with what stands in it
	case u.User != nil:
		return "", errors.New("the server URL holds credentials; give them apart")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("the server URL begins with neither http:// nor https://, but with %q", u.Scheme)
	case u.Hostname() == "":
		return "", errors.New("the server URL names no host")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the server URL has a query or a fragment")
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

func roots(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA holds no PEM certificate")
	}
	return pool, nil
}

// Get reads path into out, a *json.RawMessage (the reply byte for byte) or whatever encoding/json can fill. A reply
// without a body leaves out as it is.
func (c *Client) Get(ctx context.Context, path string, query url.Values, out any) error {
	got, err := c.do(ctx, request{method: http.MethodGet, path: path, query: query, read: true})
	if err != nil {
		return err
	}
	return got.into(out)
}

// Export reads a realm by partial-export, the one POST that changes nothing: it is repeated, given up and counted like
// a read. Keycloak masks secrets in it; keycloak needs manage-realm for it. Where the reply takes longer than within, the
// error is ErrSlow.
func (c *Client) Export(ctx context.Context, realm string, clients, groupsAndRoles bool, within time.Duration, out any) error {
	got, err := c.do(ctx, request{
		method: http.MethodPost,
		path:   Path("realms", realm, "partial-export"),
		query: url.Values{
			"exportClients":        {fmt.Sprint(clients)},
			"exportGroupsAndRoles": {fmt.Sprint(groupsAndRoles)},
		},
		read:   true,
		within: within,
	})
	if err != nil {
		return err
	}
	return got.into(out)
}

// Post sends body, anything that encoding/json can write, json.RawMessage as it is, or nil for none. The id is the last
// segment of the reply's Location, unescaped: a UUID for most, the name for realms and roles, "" where there is none.
// The reply's body goes to out, unless that is nil.
//
// A POST is repeated only where the server surely did nothing: it couldn't be reached, refused the token, or answered
// 429, or 503 with Retry-After. After a lost reply the error is Unreachable with Sent true, and only a look at the
// server tells what happened.
func (c *Client) Post(ctx context.Context, path string, query url.Values, body, out any) (id string, err error) {
	r, err := write(http.MethodPost, path, body)
	if err != nil {
		return "", err
	}
	r.query = query
	got, err := c.do(ctx, r)
	if err != nil {
		return "", err
	}
	if out != nil {
		err = got.into(out)
	}
	return got.id(), err
}

// Put replaces what stands at path. It is idempotent, and so repeated when the server was busy or its reply was lost;
// and once on 409 or 500, with which Keycloak answers a collision with another writer. PUTs on one path go one at a
// time.
//
// Where a PUT renames what its path names (a realm, a role by name), the repeat of one whose reply was lost meets 404:
// Error.Repeated tells.
func (c *Client) Put(ctx context.Context, path string, body any) error {
	r, err := write(http.MethodPut, path, body)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, r)
	return err
}

// Delete removes what stands at path, or the links that body lists; nil sends none. It is idempotent, and repeated like
// a PUT, but for 409. Where the reply was lost and the repeat meets 404, the thing is gone: that is success. A first 404 is an error.
func (c *Client) Delete(ctx context.Context, path string, body any) error {
	r, err := write(http.MethodDelete, path, body)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, r)
	return err
}

func write(method, path string, body any) (request, error) {
	r := request{method: method, path: path}
	if body == nil {
		return r, nil
	}
	data, err := json.Marshal(body)
	if err != nil {
		return r, fmt.Errorf("%s /admin%s: encode the body: %w", method, path, err)
	}
	r.body = data
	return r, nil
}

// Counts says how many requests to the admin API were sent since New, repeats included: those that read, and those that
// write.
func (c *Client) Counts() (reads, writes int64) { return c.reads.Load(), c.writes.Load() }

// PerSecond is how many requests may be sent a second; 0 where there is no limit.
func (c *Client) PerSecond() float64 {
	if limit := c.rate.Limit(); limit != rate.Inf {
		return float64(limit)
	}
	return 0
}

// Close signs out, where there is a session to end, and closes idle connections. It waits two seconds at most; no other
// method may be running.
func (c *Client) Close() {
	c.session.end()
	c.http.CloseIdleConnections()
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

func nonEmpty(values ...string) (kept []string) {
	for _, v := range values {
		if v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}

// atMost reads r up to n bytes; more is an error, not a part.
func atMost(r io.Reader, n int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, n+1))
	if err == nil && int64(len(data)) > n {
		err = fmt.Errorf("a reply of more than %d MB", n>>20)
	}
	return data, err
}
