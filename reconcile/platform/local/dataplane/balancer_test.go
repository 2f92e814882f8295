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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		w.Header().Set("Upgrade", "websocket")
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
	fmt.Fprint(conn, "GET /realms/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
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
	s := f.balancer.server(slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 {
		t.Error("a client may take for ever")
	}
}

func TestASlowBodyHasABoundAndASlowAnswerHasNone(t *testing.T) {
	read := make(chan error, 1)
	finish := make(chan bool)
	a := newNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			<-finish
			fmt.Fprint(w, "late")
			return
		}
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	f := newFront(t, Settings{}, a)
	f.balancer.rest = 30 * time.Millisecond
	conn, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /realms/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nslow")
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%v %v, want 408", answer, err)
	}
	select {
	case err := <-read: // where the node heard of it at all
		if err == nil {
			t.Error("the node got a whole body")
		}
	default:
	}
	// The rest of a request that was read in time is not its sender's to hurry.
	body := make(chan string)
	go func() {
		r, _ := http.NewRequest("GET", f.URL+"/realms/x", strings.NewReader("question"))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
			body <- ""
			return
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		body <- string(text)
	}()
	eventually(t, "it is asked", func() bool { f.pool.mu.Lock(); defer f.pool.mu.Unlock(); return len(f.pool.flights("a")) == 1 })
	time.AfterFunc(5*f.balancer.rest, func() { close(finish) })
	if got := <-body; got != "late" {
		t.Errorf("got %q", got)
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
