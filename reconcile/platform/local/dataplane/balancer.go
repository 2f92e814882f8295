package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// balancer takes requests in, and hands them to the nodes in turn. Nodes of one cluster share all sessions, and who is in
// the middle of a login goes on at any of them: nobody sticks to a node, so that draining one is all it takes.
type balancer struct {
	pool    *pool
	base    string // what Keycloak serves under
	front   atomic.Pointer[front]
	proxy   httputil.ReverseProxy
	metrics *metrics
	access  *slog.Logger
	rest    time.Duration // bodyRest, but in tests
	leaving atomic.Bool   // another process has taken over: each answer is the last of its connection

	connections atomic.Int64
	closed      bell // rings when there is one less
}

// front is what Settings say of those who ask.
type front struct {
	zones   map[Zone]rules
	trusted []netip.Prefix
}

// How long a client may rest within a body that it sends or is sent.
const bodyRest = time.Minute

func newBalancer(base string, m *metrics, access, errs *slog.Logger) *balancer {
	b := &balancer{pool: &pool{}, base: base, metrics: m, access: access, rest: bodyRest}
	b.front.Store(&front{})
	b.proxy = httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     b,
		FlushInterval: -1,
		ErrorHandler:  b.unanswered,
		ErrorLog:      slog.NewLogLogger(errs.Handler(), slog.LevelDebug),
	}
	return b
}

// settle takes new settings into force, for requests from now on.
func (b *balancer) settle(s Settings) error {
	f := &front{zones: map[Zone]rules{}}
	var err error
	if f.zones[Login], err = parseRules(s.Login); err != nil {
		return invalid{fmt.Errorf("login: %w", err)}
	}
	if f.zones[Admin], err = parseRules(s.Admin); err != nil {
		return invalid{fmt.Errorf("admin: %w", err)}
	}
	for _, t := range s.Trusted {
		network, err := netip.ParsePrefix(t)
		if err != nil {
			return invalid{fmt.Errorf("trusted: %w", err)}
		}
		f.trusted = append(f.trusted, network.Masked())
	}
	if s.Queue < 0 || s.QueueTime < 0 || s.Drain < 0 {
		return invalid{errors.New("a limit is less than nothing")}
	}
	b.front.Store(f)
	b.pool.mu.Lock()
	b.pool.limits = limits{or(s.Queue, 1000), or(time.Duration(s.QueueTime), 30*time.Second), or(time.Duration(s.Drain), time.Minute)}
	b.pool.mu.Unlock()
	return nil
}

func or[T comparable](v, instead T) T {
	var zero T
	if v == zero {
		return instead
	}
	return v
}

// passage is one request on its way through.
type passage struct {
	flight
	client client
	body   *patient
	node   string // the last that it was given
}

type passageKey struct{}

// Where a request comes from, if not from the front: from inside, where no rule keeps it out, or from another region's front.
type (
	insideKey  struct{}
	relayedKey struct{}
)

func from(key any, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key, true)))
	})
}

func passageOf(ctx context.Context) *passage { return ctx.Value(passageKey{}).(*passage) }

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	f := b.front.Load()
	inside, relayed := r.Context().Value(insideKey{}) != nil, r.Context().Value(relayedKey{}) != nil
	p := &passage{client: clientOf(r, f.trusted, relayed)}
	p.home = inside || relayed
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), passageKey{}, p))
	defer cancel()
	p.cut = cancel
	answer := &answering{ResponseWriter: w, control: http.NewResponseController(w), rest: b.rest}
	zone := Admin
	defer func() {
		b.pool.leave(&p.flight)
		b.metrics.request(zone, answer.status, time.Since(began))
		b.log(r, p, zone, answer, time.Since(began))
	}()
	if b.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	path, ok := pathOf(r)
	if ok {
		zone, ok = zoneOf(path, b.base)
	}
	switch {
	case !ok:
		refuse(answer, http.StatusBadRequest, "the path can be read in more than one way")
		return
	case !inside && !f.zones[zone].admit(p.client.addr):
		refuse(answer, http.StatusForbidden, "not from here")
		return
	}
	r = r.WithContext(ctx)
	p.body = &patient{ReadCloser: r.Body, control: answer.control, rest: b.rest}
	r.Body = p.body
	b.proxy.ServeHTTP(answer, r)
}

// refuse answers a request that goes to no node.
func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, why, status)
}

// rewrite makes what a node gets of what came: the path and query letter by letter, and our own word for who the client is.
// Of other protocols only websockets pass: Keycloak speaks h2c with whoever asks, and what came after that would go through
// no zone and to no log.
func rewrite(r *httputil.ProxyRequest) {
	if !strings.EqualFold(r.Out.Header.Get("Upgrade"), "websocket") {
		r.Out.Header.Del("Upgrade")
		r.Out.Header.Del("Connection")
	}
	r.Out.Header.Del("Http2-Settings")
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	passageOf(r.In.Context()).client.tell(r.Out.Header)
}

// RoundTrip sends a request to a node. It goes to another one only where not a byte of it was sent: no request is executed
// twice, even one that may be.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	p := passageOf(r.Context())
	body := &replay{}
	if r.Body != nil {
		body.from = r.Body
	}
	for {
		if err := b.pool.board(r.Context(), &p.flight); err != nil {
			return nil, err
		}
		n := p.flight.node
		p.node = n.name
		attempt, sent := &view{replay: body}, &sending{}
		out, to := r.WithContext(sent.watch(r.Context())), *r.URL
		to.Scheme, to.Host = n.to.scheme, n.to.address
		out.URL = &to
		if r.Body != nil || repeatable(r.Method) {
			out.Body = attempt // also where it is empty: a transport would send again what has none
		}
		answer, err := n.to.RoundTrip(out)
		if err == nil {
			b.pool.answer(n, answer.StatusCode)
			return answer, nil
		}
		var before *notSent
		unsent := errors.As(err, &before)
		if unsent && sent.conn.Load() == nil && r.Context().Err() == nil {
			b.pool.unreachable(n) // no connection came about
		}
		if again := r.Context().Err() == nil && attempt.end() && (unsent || sent.nothing()); !again {
			return nil, err
		}
		b.pool.leave(&p.flight)
	}
}

// repeatable tells which requests net/http takes the liberty of sending twice.
func repeatable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// unanswered answers where no node did.
func (b *balancer) unanswered(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errFull), errors.Is(err, errLong):
		w.Header().Set("Retry-After", "2")
		refuse(w, http.StatusServiceUnavailable, "no node can take the request now")
	case passageOf(r.Context()).body.late.Load():
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusRequestTimeout, "the body doesn't come")
	case r.Context().Err() != nil:
		w.WriteHeader(statusGone)
	default:
		refuse(w, http.StatusBadGateway, "the node went away in the middle of the request")
	}
}

// statusGone stands in the log for a client that didn't wait for its answer.
const statusGone = 499

// answering notes what is answered, and doesn't wait for ever for whom it is sent to.
type answering struct {
	http.ResponseWriter
	control *http.ResponseController
	rest    time.Duration
	status  int
	bytes   int64
}

func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answering) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	defer a.hurry()()
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

func (a *answering) FlushError() error {
	defer a.hurry()()
	return a.control.Flush()
}

// hurry bounds one write. A deadline that stayed would end an answer that has nothing to say for a while.
func (a *answering) hurry() (end func()) {
	_ = a.control.SetWriteDeadline(time.Now().Add(a.rest)) // where it can't be set there is nobody slow
	return func() { _ = a.control.SetWriteDeadline(time.Time{}) }
}

// log writes a line for each request. Queries hold codes and tokens, and headers cookies: neither is written.
func (b *balancer) log(r *http.Request, p *passage, zone Zone, a *answering, took time.Duration) {
	path := r.URL.EscapedPath()
	if len(path) > 512 {
		path = path[:512] + "…"
	}
	agent := r.UserAgent()
	if len(agent) > 200 {
		agent = agent[:200]
	}
	b.access.LogAttrs(context.Background(), slog.LevelInfo, "request",
		slog.String("client", p.client.addr.String()), slog.String("method", r.Method), slog.String("host", p.client.host), slog.String("path", path),
		slog.String("proto", r.Proto+"/"+p.client.proto), slog.String("zone", string(zone)), slog.String("node", p.node), slog.Int("status", a.status),
		slog.Int64("bytes", a.bytes), slog.String("ms", strconv.FormatFloat(float64(took.Microseconds())/1000, 'f', 1, 64)), slog.String("agent", agent))
}

// server serves the front. What isn't patience with a slow but living client has a bound.
func (b *balancer) server(errs *slog.Logger) *http.Server {
	return &http.Server{
		Handler: b, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(errs.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, now http.ConnState) {
			switch now {
			case http.StateNew:
				b.connections.Add(1)
			case http.StateClosed, http.StateHijacked:
				b.connections.Add(-1)
				b.closed.ring()
			}
		},
	}
}

// idle returns when nobody is connected, or ctx ends.
func (b *balancer) idle(ctx context.Context) error {
	return b.closed.until(ctx, func() bool { return b.connections.Load() == 0 })
}
