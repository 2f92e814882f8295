package dataplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// database says who it is to each connection, and then back what it is told, until the end of it; then it says bye.
type database struct {
	name string
	net.Listener
	open atomic.Int64
}

func newDatabase(t *testing.T, network, address, name string) *database {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := &database{name: name, Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.open.Add(1)
			go func() {
				defer d.open.Add(-1)
				defer conn.Close()
				fmt.Fprintln(conn, name)
				if _, err := io.Copy(conn, conn); err == nil {
					fmt.Fprintln(conn, "bye")
				}
			}()
		}
	}()
	return d
}

// session is a connection to the writer endpoint.
type session struct {
	net.Conn
	in *bufio.Reader
}

func dialWriter(t *testing.T, address string) *session {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	return &session{conn, bufio.NewReader(conn)}
}

// hears is the next line, "" at the end.
func (s *session) hears() string {
	line, _ := s.in.ReadString('\n')
	return strings.TrimSpace(line)
}

func (s *session) says(t *testing.T, word string) {
	t.Helper()
	fmt.Fprintln(s, word)
	if got := s.hears(); got != word {
		t.Errorf("said %q, heard %q", word, got)
	}
}

// endpoint is a writer of region paris, with databases by region.
func endpoint(t *testing.T, peers bool, databases map[string]*database) (*writer, string) {
	t.Helper()
	w := newWriter("paris", func(ctx context.Context, region string) (net.Conn, error) {
		d, ok := databases[region]
		if !ok {
			return nil, errors.New("no such region")
		}
		return (&net.Dialer{}).DialContext(ctx, d.Addr().Network(), d.Addr().String())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { w.accept(l, peers) })
	t.Cleanup(func() {
		l.Close()
		accepting.Wait()
		for _, p := range w.release() {
			p.close()
		}
	})
	return w, l.Addr().String()
}

func twoDatabases(t *testing.T) map[string]*database {
	return map[string]*database{
		"paris": newDatabase(t, "unix", filepath.Join(t.TempDir(), "db"), "paris"),
		"milan": newDatabase(t, "tcp", "127.0.0.1:0", "milan"),
	}
}

func TestTheWayOpensToThePrimaryAlone(t *testing.T) {
	w, address := endpoint(t, false, twoDatabases(t))
	s := dialWriter(t, address)
	eventually(t, "it waits", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.waiting) == 1 })
	w.tell(Route{Routed, "paris", 1})
	if got := s.hears(); got != "paris" {
		t.Fatalf("led to %q", got)
	}
	s.says(t, "insert")
	if closed := w.tell(Route{Routed, "paris", 2}); closed != 0 {
		t.Errorf("%d closed though the primary is the same", closed)
	}
	s.says(t, "insert")
	if closed := w.tell(Route{Routed, "milan", 3}); closed != 1 {
		t.Errorf("%d closed, want the one to the old primary", closed)
	}
	if got := s.hears(); got != "" {
		t.Errorf("the old connection goes on: %q", got)
	}
	if got := dialWriter(t, address).hears(); got != "milan" {
		t.Errorf("led to %q, want milan", got)
	}
}

func TestFencedMeansNoConnection(t *testing.T) {
	databases := twoDatabases(t)
	w, address := endpoint(t, false, databases)
	w.tell(Route{Routed, "paris", 1})
	var all []*session
	for range 5 {
		s := dialWriter(t, address)
		if got := s.hears(); got != "paris" {
			t.Fatal(got)
		}
		all = append(all, s)
	}
	w.tell(Route{Held, "", 2})
	for range 3 {
		all = append(all, dialWriter(t, address))
	}
	eventually(t, "three wait", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.waiting) == 3 })
	if closed := w.tell(Route{Fenced, "", 3}); closed != 5 {
		t.Errorf("%d closed, want 5", closed)
	}
	all = append(all, dialWriter(t, address))
	for i, s := range all {
		if got := s.hears(); got != "" {
			t.Errorf("connection %d hears %q", i, got)
		}
	}
	eventually(t, "the database has none", func() bool { return databases["paris"].open.Load() == 0 })
	if _, err := w.routable([]string{"paris"}, nil, 3); err == nil {
		t.Error("the epoch that fenced it opens it")
	}
	if _, err := w.routable([]string{"paris"}, nil, 4); err != nil {
		t.Error(err)
	}
}

func TestExactlyOnePrimary(t *testing.T) {
	w, _ := endpoint(t, false, nil)
	for _, seen := range [][]string{nil, {"paris", "milan"}, {"rome"}} {
		if _, err := w.routable(seen, map[string]string{"milan": "127.0.0.1:1"}, 9); err == nil {
			t.Errorf("it opens to %v", seen)
		}
	}
}

func TestConnectionsOfAnOlderEpochAreClosedWhenTold(t *testing.T) {
	w, address := endpoint(t, false, twoDatabases(t))
	w.tell(Route{Routed, "paris", 1})
	old := dialWriter(t, address)
	old.hears()
	w.tell(Route{Routed, "paris", 5})
	young := dialWriter(t, address)
	young.hears()
	if closed := w.closeBefore(5); closed != 1 {
		t.Errorf("%d closed, want 1", closed)
	}
	if got := old.hears(); got != "" {
		t.Errorf("the old one hears %q", got)
	}
	young.says(t, "insert")
}

func TestAnotherRegionGetsNoFurtherThanOurDatabase(t *testing.T) {
	w, address := endpoint(t, true, twoDatabases(t))
	w.tell(Route{Routed, "milan", 1})
	if got := dialWriter(t, address).hears(); got != "" {
		t.Errorf("led on to %q", got)
	}
	w.tell(Route{Routed, "paris", 2})
	if got := dialWriter(t, address).hears(); got != "paris" {
		t.Errorf("led to %q", got)
	}
}

func TestTheEndOfOneDirectionLeavesTheOther(t *testing.T) {
	w, address := endpoint(t, false, twoDatabases(t))
	w.tell(Route{Routed, "paris", 1})
	s := dialWriter(t, address)
	s.hears()
	s.says(t, "insert")
	if err := s.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := s.hears(); got != "bye" {
		t.Errorf("after our end it says %q, want bye", got)
	}
	if got := s.hears(); got != "" {
		t.Errorf("then %q", got)
	}
	eventually(t, "it is forgotten", func() bool { n, _ := w.looks(); return n == 0 })
}

func TestHeldConnectionsHaveABound(t *testing.T) {
	w, address := endpoint(t, false, nil)
	w.tell(Route{Held, "", 1})
	var held []*session
	for range heldCount {
		held = append(held, dialWriter(t, address))
	}
	eventually(t, "all wait", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.waiting) == heldCount })
	if got := dialWriter(t, address).hears(); got != "" {
		t.Errorf("one too many hears %q", got)
	}
	for _, s := range held {
		s.Close()
	}
}

// What flows is carried on by another endpoint to the byte: the way a process hands over to the next.
func TestAHandoverLosesNoByte(t *testing.T) {
	databases := twoDatabases(t)
	old, address := endpoint(t, false, databases)
	old.tell(Route{Routed, "paris", 1})
	const users = 8
	var all sync.WaitGroup
	stop := make(chan bool)
	var said atomic.Int64
	for i := range users {
		s := dialWriter(t, address)
		s.hears()
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				word := fmt.Sprint(i, ":", n, ":", strings.Repeat("x", n%40000))
				go fmt.Fprintln(s, word) // larger than what sockets hold
				if got := s.hears(); got != word {
					t.Errorf("said %.20q (%d), heard %.20q (%d)", word, len(word), got, len(got))
					return
				}
				said.Add(1)
			}
		})
	}
	from := old
	for range 5 {
		before := said.Load()
		eventually(t, "they speak", func() bool { return said.Load() > before+100 })
		next, _ := endpoint(t, false, databases)
		next.tell(Route{Routed, "paris", 1})
		pairs := from.release()
		if len(pairs) != users {
			t.Errorf("%d came to rest, want %d", len(pairs), users)
		}
		for _, p := range pairs {
			files := p.files()
			if len(files) != 2 {
				t.Fatalf("%d files", len(files))
			}
			carried := &pair{Epoch: p.Epoch, To: p.To, Peer: p.Peer, DownEnded: p.DownEnded, UpEnded: p.UpEnded}
			var ends []net.Conn
			for _, f := range files {
				conn, err := net.FileConn(f)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				ends = append(ends, conn)
			}
			p.close()
			carried.down, carried.up = ends[0], ends[1]
			next.take(carried)
		}
		from = next
	}
	close(stop)
	all.Wait()
	if said.Load() == 0 {
		t.Error("nobody said anything")
	}
	if got := from.tell(Route{Fenced, "", 2}); got != users {
		t.Errorf("%d closed by the fence, want all %d that were handed over", got, users)
	}
}
