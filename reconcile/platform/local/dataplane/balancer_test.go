package dataplane

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

// frontOf is a balancer that serves, with the nodes that were given.
type testFront struct {
	*balancer
	*httptest.Server
	access bytes.Buffer
}

func newFront(t *testing.T, settings Settings, nodes ...*testNode) *testFront {
	t.Helper()
	f := &testFront{}
	quiet := slog.New(slog.DiscardHandler)
	f.balancer = newBalancer("", newMetrics(), slog.New(slog.NewJSONHandler(&f.access, nil)), quiet)
	if err := f.settle(settings); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		f.add(t, n)
	}
	f.Server = httptest.NewUnstartedServer(f.balancer)
	f.Config = f.balancer.server(quiet)
	f.Start()
	t.Cleanup(f.Server.Close)
	return f
}

func (f *testFront) add(t *testing.T, n *testNode) {
	t.Helper()
	to, err := targetOf(Command{Address: n.address})
	if err != nil {
		t.Fatal(err)
	}
	f.pool.put(&node{name: n.name, to: to, in: true, ready: true, checked: true, stop: to.CloseIdleConnections})
}

// testNode is a node behind it.
type testNode struct {
	name, address string
	got           atomic.Int64
}

func newNode(t *testing.T, name string, serve http.HandlerFunc) *testNode {
	n := &testNode{name: name}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.got.Add(1)
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	n.address = s.Listener.Addr().String()
	return n
}

func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) }
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
}

// nobody is a node that isn't there.
func nobody(t *testing.T, name string) *testNode {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return &testNode{name: name, address: l.Addr().String()}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestRequestsGoRoundTheNodesThatAreReadyAndIn(t *testing.T) {
	a, b, c, d := newNode(t, "a", named("a")), newNode(t, "b", named("b")), newNode(t, "c", named("c")), newNode(t, "d", named("d"))
	f := newFront(t, Settings{}, a, b, c, d)
	f.pool.mu.Lock()
	f.pool.find("c").in = false
	f.pool.find("d").ready = false
	f.pool.mu.Unlock()
	for range 6 {
		get(t, f.URL+"/realms/x")
	}
	if got, want := []int64{a.got.Load(), b.got.Load(), c.got.Load(), d.got.Load()}, []int64{3, 3, 0, 0}; !cmp.Equal(got, want) {
		t.Errorf("nodes got %v requests, want %v", got, want)
	}
}

func TestWhatCouldNotBeSentGoesToAnotherNodeWithItsBody(t *testing.T) {
	sent := strings.Repeat("körper ", 3000)
	b := newNode(t, "b", echo)
	f := newFront(t, Settings{}, nobody(t, "a"), b)
	for range 4 {
		answer, err := http.Post(f.URL+"/realms/x", "text/plain", strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 200 || string(got) != sent {
			t.Fatalf("%s with %d bytes, want 200 with %d", answer.Status, len(got), len(sent))
		}
	}
	if b.got.Load() != 4 {
		t.Errorf("b got %d requests, want 4", b.got.Load())
	}
}

func TestNoRequestIsExecutedTwice(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			var got atomic.Int64
			dies := func(w http.ResponseWriter, r *http.Request) { // after it has begun to work
				if r.URL.Path != "/realms/die" {
					return
				}
				got.Add(1)
				conn, _, _ := w.(http.Hijacker).Hijack()
				conn.Close()
			}
			f := newFront(t, Settings{}, newNode(t, "a", dies), newNode(t, "b", dies))
			for range 4 {
				get(t, f.URL+"/realms/x") // so that connections are there to be used again
			}
			r, _ := http.NewRequest(method, f.URL+"/realms/die", nil)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusBadGateway || got.Load() != 1 {
				t.Errorf("%d after %d executions, want 502 after 1", answer.StatusCode, got.Load())
			}
		})
	}
}

// The node closes its connections without a word; what is sent next must not be lost on one of them.
func TestAConnectionThatTheNodeHasClosedCostsNoRequest(t *testing.T) {
	n := &testNode{name: "a"}
	backend := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(backend.Close)
	n.address = backend.Listener.Addr().String()
	f := newFront(t, Settings{}, n)
	for range 50 {
		answer, err := http.Post(f.URL+"/realms/x", "text/plain", strings.NewReader("said"))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 200 || string(got) != "said" {
			t.Fatalf("%s %q", answer.Status, got)
		}
		backend.CloseClientConnections()
	}
}

func TestDrainReturnsWithTheLastByte(t *testing.T) {
	begun, finish := make(chan bool, 2), make(chan bool)
	slow := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "first ")
		w.(http.Flusher).Flush()
		begun <- true
		<-finish
		fmt.Fprint(w, "last")
	}
	a := newNode(t, "a", slow)
	f := newFront(t, Settings{}, a)
	body := make(chan string)
	go func() { _, b := get(t, f.URL+"/realms/x"); body <- b }()
	<-begun
	f.pool.mu.Lock()
	f.pool.find("a").in = false
	f.pool.mu.Unlock()
	drained := make(chan int)
	go func() {
		cut, err := f.pool.quiet(context.Background(), "a")
		if err != nil {
			t.Error(err)
		}
		drained <- cut
	}()
	f.add(t, newNode(t, "b", named("b")))
	for range 3 {
		if _, who := get(t, f.URL+"/realms/x"); who != "b" {
			t.Errorf("%s answers while a drains", who)
		}
	}
	select {
	case <-drained:
		t.Fatal("drained with a request in flight")
	default:
	}
	close(finish)
	if got := <-body; got != "first last" {
		t.Errorf("got %q", got)
	}
	if cut := <-drained; cut != 0 {
		t.Errorf("%d cut off, want 0", cut)
	}
}

func TestWhatTakesTooLongIsCutOff(t *testing.T) {
	begun := make(chan bool, 1)
	a := newNode(t, "a", func(w http.ResponseWriter, r *http.Request) { begun <- true; <-r.Context().Done() })
	f := newFront(t, Settings{Drain: Duration(50 * time.Millisecond)}, a)
	status := make(chan int)
	go func() { s, _ := get(t, f.URL+"/realms/x"); status <- s }()
	<-begun
	cut, err := f.pool.quiet(context.Background(), "a")
	if cut != 1 || err != nil {
		t.Errorf("%d cut off, %v, want 1", cut, err)
	}
	<-status
}

func TestTheGateHoldsRequestsAndLetsThemGo(t *testing.T) {
	a := newNode(t, "a", named("a"))
	f := newFront(t, Settings{Queue: 5}, a)
	f.pool.gate(true)
	var all sync.WaitGroup
	var well atomic.Int64
	for range 5 {
		all.Go(func() {
			if s, _ := get(t, f.URL+"/realms/x"); s == 200 {
				well.Add(1)
			}
		})
	}
	eventually(t, "five wait", func() bool { f.pool.mu.Lock(); defer f.pool.mu.Unlock(); return f.pool.waiting == 5 })
	answer, err := http.Get(f.URL + "/realms/x")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("the sixth: %s, Retry-After %q; want 503 with one", answer.Status, answer.Header.Get("Retry-After"))
	}
	if a.got.Load() != 0 {
		t.Errorf("%d went through the closed gate", a.got.Load())
	}
	f.pool.gate(false)
	all.Wait()
	if well.Load() != 5 || a.got.Load() != 5 {
		t.Errorf("%d of 5 answered, %d sent on", well.Load(), a.got.Load())
	}
}

func TestWaitingHasABound(t *testing.T) {
	f := newFront(t, Settings{QueueTime: Duration(30 * time.Millisecond)})
	answer, err := http.Get(f.URL + "/realms/x")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%s, want 503 with Retry-After", answer.Status)
	}
}

func TestRequestsWaitForANodeToComeBack(t *testing.T) {
	a := newNode(t, "a", named("a"))
	f := newFront(t, Settings{}, nobody(t, "b"))
	said := make(chan string)
	go func() { _, b := get(t, f.URL+"/realms/x"); said <- b }()
	eventually(t, "it waits", func() bool { f.pool.mu.Lock(); defer f.pool.mu.Unlock(); return f.pool.waiting == 1 })
	f.add(t, a)
	if got := <-said; got != "a" {
		t.Errorf("answered by %q, want a", got)
	}
}

func TestBodiesStreamBothWays(t *testing.T) {
	a := newNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		first := make([]byte, 5)
		if _, err := io.ReadFull(r.Body, first); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Got", string(first))
		rest, _ := io.ReadAll(r.Body)
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		fmt.Fprintf(w, "%s", rest)
	})
	f := newFront(t, Settings{}, a)
	up, feed := io.Pipe()
	r, _ := http.NewRequest("POST", f.URL+"/realms/x", up)
	got := make(chan int64, 1)
	go func() {
		fmt.Fprint(feed, "begin")
		eventually(t, "the node has the beginning while the end isn't written", func() bool { return a.got.Load() == 1 })
		got <- a.got.Load()
		fmt.Fprint(feed, "end")
		feed.Close()
	}()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "end" || answer.Header.Get("X-Got") != "begin" || <-got != 1 {
		t.Errorf("got %q after %q", body, answer.Header.Get("X-Got"))
	}
}

func TestAnswersStreamAsTheyCome(t *testing.T) {
	next := make(chan bool)
	f := newFront(t, Settings{}, newNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "line %d\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	}))
	answer, err := http.Get(f.URL + "/realms/x")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for i := range 3 {
		if line, err := lines.ReadString('\n'); line != fmt.Sprintf("line %d\n", i) {
			t.Fatalf("%q %v", line, err)
		}
		next <- true // only now does the node go on
	}
}

func TestAWebsocketCountsUntilItEnds(t *testing.T) {
	f := newFront(t, Settings{Drain: Duration(50 * time.Millisecond)}, newNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, both)
	}))
	conn, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /realms/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != 101 {
		t.Fatal(answer, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		fmt.Fprint(conn, word)
		if got, err := in.ReadString('\n'); got != word {
			t.Fatalf("%q %v", got, err)
		}
	}
	if cut, err := f.pool.quiet(context.Background(), "a"); cut != 1 || err != nil {
		t.Errorf("%d cut, %v, want the websocket alone", cut, err)
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("it goes on after it was cut off")
	}
}

func TestNobodyOutsideSaysWhoHeIs(t *testing.T) {
	heard := make(chan http.Header, 1)
	a := newNode(t, "a", func(w http.ResponseWriter, r *http.Request) { heard <- r.Header })
	outside := http.Header{
		"X-Forwarded-For": {"10.9.9.9, 203.0.113.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"id.acme.example"}, "X-Forwarded-Port": {"444"},
		"X-Forwarded-Prefix": {"/evil"}, "X_forwarded_for": {"10.9.9.9"}, "Forwarded": {"for=10.9.9.9"}, "X-Real-Ip": {"10.9.9.9"},
		"Ssl-Client-Cert": {"mine"}, "Ssl_client_cert": {"mine"}, "Client-Cert": {":mine:"}, "X-Mine": {"kept"},
	}
	for name, c := range map[string]struct {
		trusted []string
		want    map[string]string
	}{
		"from anybody": {nil, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "front.example:8080", "X-Forwarded-Port": "8080",
			"Forwarded": `for=127.0.0.1;host="front.example:8080";proto=http`, "X-Mine": "kept"}},
		"through a trusted proxy": {[]string{"127.0.0.0/8"}, map[string]string{
			"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "id.acme.example", "X-Forwarded-Port": "444",
			"Forwarded": `for=203.0.113.7;host="id.acme.example";proto=https`, "X-Mine": "kept"}},
		"through two trusted proxies": {[]string{"127.0.0.0/8", "203.0.113.0/24"}, map[string]string{
			"X-Forwarded-For": "10.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "id.acme.example", "X-Forwarded-Port": "444",
			"Forwarded": `for=10.9.9.9;host="id.acme.example";proto=https`, "X-Mine": "kept"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, Settings{Trusted: c.trusted}, a)
			r, _ := http.NewRequest("GET", f.URL+"/realms/x", nil)
			r.Header, r.Host = outside.Clone(), "front.example:8080"
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			got := map[string]string{}
			for name, values := range <-heard {
				if name != "User-Agent" && name != "Accept-Encoding" {
					got[name] = strings.Join(values, "|")
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestIPv6ClientsAreToldOf(t *testing.T) {
	h := http.Header{}
	client{netip.MustParseAddr("2001:db8::1"), "https", "x", "443"}.tell(h)
	if got, want := h.Get("Forwarded"), `for="[2001:db8::1]";host="x";proto=https`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestZonesDecideBeforeANodeHears(t *testing.T) {
	a := newNode(t, "a", named("a"))
	f := newFront(t, Settings{Admin: []schema.Rule{{Deny: "0.0.0.0/0"}}}, a)
	ask := func(path string) int {
		conn, err := net.Dial("tcp", f.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	for path, want := range map[string]int{
		"/realms/x": 200, "/realms/x?a=%zz;b": 200, "http://x/realms/x": 200,
		"/admin/realms": 403, "/": 403, "/Admin": 403, "http://x/admin/realms": 403, "/admin/realms?/realms/": 403,
		"//admin/realms": 400, "/%61dmin/realms": 400, "/realms/../admin/realms": 400, "/admin;x/realms": 400, `/admin\realms`: 400,
		"/realms/..%2fadmin": 400, "http://x//admin": 400, "http:admin/realms": 400, "*": 400,
	} {
		before := a.got.Load()
		if got := ask(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
		if heard := a.got.Load() - before; heard != int64(map[bool]int{true: 1}[want == 200]) {
			t.Errorf("%s: the node heard %d requests", path, heard)
		}
	}
}

func TestSlowAndLargeHeadersHaveABound(t *testing.T) {
	f := newFront(t, Settings{}, newNode(t, "a", named("a")))
	r, _ := http.NewRequest("GET", f.URL+"/realms/x", nil)
	r.Header.Set("X-Large", strings.Repeat("x", 80<<10))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%s, want 431", answer.Status)
	}
	f.Config.ReadHeaderTimeout = 0 // is what newFront was given, and what Serve uses
	if got := f.balancer.server(slog.New(slog.DiscardHandler)).ReadHeaderTimeout; got == 0 {
		t.Error("headers may take for ever")
	}
}

func TestTheLogHoldsNoQueryAndNoCookie(t *testing.T) {
	f := newFront(t, Settings{}, newNode(t, "a", named("a")))
	r, _ := http.NewRequest("GET", f.URL+"/realms/x/broker?code=s3cret-code&state=s3cret", nil)
	r.Header.Set("Cookie", "KEYCLOAK_SESSION=s3cret-cookie")
	r.Header.Set("Authorization", "Bearer s3cret-token")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	f.Server.Close() // so that the line is written
	line := f.access.String()
	if strings.Contains(line, "s3cret") {
		t.Errorf("it holds a secret: %s", line)
	}
	for _, want := range []string{`"path":"/realms/x/broker"`, `"status":200`, `"node":"a"`, `"client":"127.0.0.1"`, `"zone":"login"`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
}
