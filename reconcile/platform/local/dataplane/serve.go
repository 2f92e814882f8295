package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What a keeper tells a data plane by: its leash is the first file, the listeners are the next ones, by these names.
const (
	listenersVariable = "CLOAKWORK_LISTENERS"
	firstFile         = 3
)

// lingering is how long a connection on which nothing is asked is kept when another process has taken over. One on which
// something is asked meanwhile ends with the answer, as HTTP allows without loss.
const lingering = 5 * time.Second

// Serve is a data plane from its first breath on. It is started by Keep, and returns when another process has taken over
// and all that was in flight here has ended, or with ctx. The nodes are left as they are.
func Serve(ctx context.Context, dir string) error {
	if os.Getenv(listenersVariable) == "" {
		return errors.New("a data plane is started by its keeper: --supervise")
	}
	tether, err := leashOf(os.NewFile(firstFile, "leash"))
	if err != nil {
		return fmt.Errorf("no keeper: %w", err)
	}
	files := map[string]*os.File{}
	for i, name := range strings.Split(os.Getenv(listenersVariable), ",") {
		files[name] = os.NewFile(uintptr(firstFile+1+i), name)
	}
	log := slog.New(slog.NewJSONHandler(&logFile{path: folder(dir).path("log", "dataplane.log"), size: logSize}, nil)).With("pid", os.Getpid())
	p, err := open(dir, log)
	if err != nil {
		return err
	}
	s := &serving{Plane: p, files: files, listeners: map[string]net.Listener{}}
	s.tether.Store(&tether)
	defer func() { s.tether.Load().Close() }()
	return s.serve(ctx)
}

// serving is a data plane and what it serves on.
type serving struct {
	*Plane
	tether    atomic.Pointer[leash] // to the keeper, which may be another one in time
	files     map[string]*os.File
	listeners map[string]net.Listener
	servers   []*http.Server
	accepting sync.WaitGroup
	asked     chan string // how an upgrade went; "" is well
}

func (s *serving) serve(ctx context.Context) error {
	if err := s.tether.Load().send(message{Say: ready, PID: os.Getpid()}); err != nil {
		return err
	}
	m, with, err := s.tether.Load().receive()
	if err != nil || m.Say != serve {
		return fmt.Errorf("wait for the keeper's word: %s %w", m.Say, errors.Join(err))
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	before := make(chan struct{})
	s.asked = make(chan string, 1)
	s.upgrade = s.askForNext
	s.end = func() error { return s.tether.Load().send(message{Say: end}) }
	if err := s.begin(life, m.Cold, before); err != nil {
		return err
	}
	go s.follow(with, before)
	if err := s.listen(); err != nil {
		return err
	}
	s.log.Info("serves", "region", s.config.Region, "epoch", s.see().Told.Epoch)
	var next leash
	told := make(chan error, 1)
	go func() {
		var err error
		next, err = s.hear(ctx)
		told <- err
	}()
	select {
	case err := <-told:
		stop()
		if err == nil {
			return s.handOver(next)
		}
	case <-ctx.Done():
		stop()
	}
	return s.goAway()
}

// follow takes up what the process before this one had, and learns when it is gone.
func (s *serving) follow(with []*os.File, before chan struct{}) {
	defer close(before)
	if len(with) == 0 {
		return
	}
	predecessor, err := leashOf(with[0])
	if err != nil {
		s.log.Error("take over", "error", err)
		return
	}
	defer predecessor.Close()
	for {
		m, files, err := predecessor.receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.log.Error("take over", "error", err)
			}
			return
		}
		if m.Say == carry && m.Pair != nil {
			s.take(m.Pair, files)
		}
	}
}

func (s *serving) take(p *pair, files []*os.File) {
	var ends []net.Conn
	for _, f := range files {
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			s.log.Error("take over a connection", "error", err)
			continue
		}
		ends = append(ends, conn)
	}
	if len(ends) == 0 || len(ends) != len(files) {
		for _, c := range ends {
			c.Close()
		}
		return
	}
	if p.down = ends[0]; len(ends) > 1 {
		p.up = ends[1]
	}
	s.writer.take(p)
}

// listen serves all that the keeper listens on.
func (s *serving) listen() error {
	for name, f := range s.files {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		s.listeners[name] = l
		switch name {
		case "control":
			s.start(s.control(), func(h *http.Server) error { return h.Serve(ours{l}) })
		case "http":
			s.start(s.balancer.server(s.log), func(h *http.Server) error { return h.Serve(l) })
		case "inside":
			h := s.balancer.server(s.log)
			h.Handler = from(insideKey{}, h.Handler)
			s.start(h, func(h *http.Server) error { return h.Serve(l) })
		case "https":
			s.start(s.https(), func(h *http.Server) error { return h.ServeTLS(l, "", "") })
		case "metrics":
			mux := http.NewServeMux()
			mux.Handle("GET /metrics", s.metrics.handler())
			s.start(&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, func(h *http.Server) error { return h.Serve(l) })
		case "writer":
			s.accepting.Go(func() { s.writer.accept(l, false) })
		case "peers":
			config, err := s.mutual()
			if err != nil {
				return fmt.Errorf("listen for other regions: %w", err)
			}
			config.NextProtos = []string{relayProtocol}
			requests := newHanded(l.Addr())
			s.listeners["relayed"], s.writer.requests = requests, requests.hand
			s.start(s.relayed(), func(h *http.Server) error { return h.Serve(requests) })
			s.accepting.Go(func() { s.writer.accept(tls.NewListener(l, config), true) })
		default:
			return fmt.Errorf("nobody knows what listens as %q", name)
		}
	}
	return nil
}

func (s *serving) start(h *http.Server, on func(*http.Server) error) {
	s.servers = append(s.servers, h)
	s.accepting.Go(func() {
		if err := on(h); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serve", "error", err)
		}
	})
}

// errEnd is the keeper's word that nobody shall serve any longer.
var errEnd = errors.New("told to end")

// hear waits for the keeper's word that another process takes over. Where the keeper dies instead, it gets a new one.
func (s *serving) hear(ctx context.Context) (next leash, err error) {
	for ctx.Err() == nil {
		m, files, err := s.tether.Load().receive()
		switch {
		case err != nil:
			s.log.Error("the keeper is gone", "error", err)
			for ctx.Err() == nil {
				tether, err := s.newKeeper()
				if err == nil {
					s.tether.Swap(&tether).Close()
					break
				}
				s.log.Error("start a keeper", "error", err)
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
		case m.Say == end:
			return leash{}, errEnd
		case m.Say == failed:
			s.asked <- m.Why
		case m.Say == release && len(files) == 1:
			return leashOf(files[0])
		}
	}
	return leash{}, ctx.Err()
}

// askForNext asks the keeper for the next process, and returns when that one is about to take over.
func (s *serving) askForNext() error {
	if err := s.tether.Load().send(message{Say: upgrade}); err != nil {
		return err
	}
	if why := <-s.asked; why != "" {
		return errors.New(why)
	}
	return nil
}

// handOver gives all to the next process: from the first line on this one accepts, starts and writes nothing.
func (s *serving) handOver(next leash) error {
	defer next.Close() // which tells that nothing is in flight here any more
	s.stop()
	pairs := s.writer.release()
	if err := s.tether.Load().send(message{Say: released}); err != nil {
		s.log.Error("tell the keeper", "error", err)
	}
	select {
	case s.asked <- "":
	default:
	}
	for _, p := range pairs {
		files := p.files()
		if len(files) > 0 {
			if err := next.send(message{Say: carry, Pair: p}, files...); err != nil {
				s.log.Error("hand a connection over", "error", err)
			}
		}
		for _, f := range files {
			f.Close()
		}
		p.close()
	}
	s.finish(lingering)
	s.log.Info("has handed over", "connections", len(pairs))
	return nil
}

// goAway ends the data plane without another one: what is in flight is let end.
func (s *serving) goAway() error {
	s.stop()
	for _, p := range s.writer.release() {
		p.close()
	}
	s.finish(0)
	return nil
}

// stop has this process accept, start and write nothing more.
func (s *serving) stop() {
	s.balancer.leaving.Store(true)
	for _, l := range s.listeners {
		l.Close()
	}
	s.accepting.Wait()
	s.slotsMu.Lock()
	s.stopped = true
	s.slotsMu.Unlock()
	s.watchers.Wait()
	s.mu.Lock() // not before: a node that was just started is written down
	s.sealed = true
	s.mu.Unlock()
}

// finish returns when all requests are answered, or cut off since they took too long.
func (s *serving) finish(linger time.Duration) {
	bound, cancel := context.WithTimeout(context.Background(), linger)
	defer cancel()
	_ = s.balancer.idle(bound) // then it is too late for those that asked nothing
	patience, enough := context.WithTimeout(context.Background(), s.balancer.pool.bound())
	defer enough()
	var all sync.WaitGroup
	for _, h := range s.servers {
		all.Go(func() { _ = h.Shutdown(patience) }) // what is left then is cut
	}
	all.Wait()
	_, _ = s.balancer.pool.quiet(patience, "")
	for _, h := range s.servers {
		h.Close()
	}
	s.unbreathe()
	s.checks.Wait()
}
