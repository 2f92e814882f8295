package keycloaktest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands before a server and makes the network fail. It counts writes as Writes does, from 1, among those that it
// didn't answer by itself; the numbers given to CutBefore, CutAfter and LoseReply count from the call.
//
// A cut connection is closed without an answer. After a cut every request is refused in that way, and the replies of
// those under way are lost, as if the client had died or lost its network, until Heal.
type Proxy struct {
	URL string

	forward http.Handler

	mu        sync.Mutex // guards what follows
	writes    int
	fault     fault
	at        int // the write that the fault hits
	cut       bool
	delay     time.Duration
	intercept func(*http.Request) *http.Response
}

type fault int

const (
	none fault = iota
	cutBefore
	cutAfter
	loseReply
)

// NewProxy listens on 127.0.0.1 and passes everything on to target, a server's URL, the Host header included. It ends
// with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	p := &Proxy{forward: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		Transport: transport,
	}}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	p.URL = server.URL
	return p
}

// CutBefore cuts at the n-th write from now, before the server sees it.
func (p *Proxy) CutBefore(n int) { p.arm(cutBefore, n) }

// CutAfter cuts at the n-th write from now: the server carries it out, its reply is lost.
func (p *Proxy) CutAfter(n int) { p.arm(cutAfter, n) }

// LoseReply lets the server carry out the n-th write from now and loses its reply, once; then all goes on.
func (p *Proxy) LoseReply(n int) { p.arm(loseReply, n) }

// Heal ends a cut, and takes back one that hasn't happened yet.
func (p *Proxy) Heal() { p.arm(none, 0) }

// Intercept has f answer the requests for which it doesn't return nil, in place of the server (Reply makes an answer).
// f is called in parallel. A nil f ends that.
func (p *Proxy) Intercept(f func(*http.Request) *http.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.intercept = f
}

// Delay holds every request for d before it is passed on.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Writes is the number of writes since the beginning; the one that was cut is among them.
func (p *Proxy) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// Cut tells whether a cut has happened and isn't healed.
func (p *Proxy) Cut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// Reply is an answer for Intercept, with headers given as name, value, name, value.
func Reply(status int, body string, headers ...string) *http.Response {
	response := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(headers); i += 2 {
		response.Header.Add(headers[i], headers[i+1])
	}
	return response
}

func (p *Proxy) arm(f fault, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.at, p.cut = f, p.writes+n, false
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	cut, delay, intercept := p.cut, p.delay, p.intercept
	p.mu.Unlock()
	if cut {
		panic(http.ErrAbortHandler)
	}
	if intercept != nil {
		if response := intercept(r); response != nil {
			answer(w, response)
			return
		}
	}
	hold(r.Context(), delay)
	hit := p.count(r)
	if hit == cutBefore {
		panic(http.ErrAbortHandler)
	}
	// What has come this far is carried out, even if the client gives up on it.
	reply := httptest.NewRecorder()
	p.forward.ServeHTTP(reply, r.WithContext(context.WithoutCancel(r.Context())))
	if hit != none || p.Cut() {
		panic(http.ErrAbortHandler)
	}
	answer(w, reply.Result())
}

// count says which fault hits the request: cutBefore for all that come after a cut.
func (p *Proxy) count(r *http.Request) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return cutBefore
	}
	if !write(r.Method, r.URL.EscapedPath()) {
		return none
	}
	p.writes++
	if p.fault == none || p.writes != p.at {
		return none
	}
	p.cut = p.fault != loseReply
	return p.fault
}

func hold(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func answer(w http.ResponseWriter, response *http.Response) {
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	if response.Body != nil {
		defer response.Body.Close()
		io.Copy(w, response.Body)
	}
}
