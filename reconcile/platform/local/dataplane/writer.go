package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// writer is the one way to the primary. It leads nowhere but to the one region that it was told, and knows each connection
// that it let through.
type writer struct {
	here string // this region
	dial func(ctx context.Context, region string) (net.Conn, error)

	requests func(net.Conn) // takes a connection on which another region sends requests; nil where none can be sent
	mu       sync.Mutex
	route    Route
	pairs    map[*pair]struct{}
	waiting  map[*pair]struct{} // those that have no way yet
	changed  bell               // rings when route changes
	ctx      context.Context
	stop     context.CancelFunc // no new way is found, and what flows comes to rest
	ended    sync.WaitGroup     // everyone who serves a pair
}

// How many connections wait for a primary at most, how long, and how often one that doesn't answer is tried again.
const (
	heldCount  = 500
	heldTime   = 15 * time.Second
	dialPeriod = 100 * time.Millisecond
)

func newWriter(here string, dial func(context.Context, string) (net.Conn, error)) *writer {
	w := &writer{here: here, dial: dial, pairs: map[*pair]struct{}{}, waiting: map[*pair]struct{}{}}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// tell changes where the endpoint leads. Connections to elsewhere than a new primary, and where it is fenced all, are closed
// before tell returns.
func (w *writer) tell(r Route) (closed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.route = r
	w.changed.ring()
	return w.shut(func(p *pair) bool { return r.Mode == Fenced || r.Mode == Routed && p.To != r.Primary })
}

// closeBefore closes the connections that were let through before an epoch.
func (w *writer) closeBefore(epoch int64) (closed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shut(func(p *pair) bool { return p.Epoch < epoch })
}

func (w *writer) shut(which func(*pair) bool) (closed int) {
	for p := range w.pairs {
		if which(p) {
			p.close()
			delete(w.pairs, p)
			closed++
		}
	}
	return closed
}

func (w *writer) looks() (connections int, r Route) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pairs), w.route
}

// accept serves a listener until it is closed.
func (w *writer) accept(l net.Listener, peers bool) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select { // out of files, most likely: others must end first
			case <-time.After(dialPeriod):
				continue
			case <-w.ctx.Done():
				return
			}
		}
		p := &pair{Peer: peers, down: conn}
		w.ended.Add(1)
		go func() {
			defer w.ended.Done()
			w.lead(p)
		}()
	}
}

// handshakeTime is how long another region has to show who it is.
const handshakeTime = 5 * time.Second

// lead finds a connection its way, and carries what it says.
func (w *writer) lead(p *pair) {
	if encrypted, ok := p.down.(*tls.Conn); ok {
		bound, cancel := context.WithTimeout(w.ctx, handshakeTime)
		err := encrypted.HandshakeContext(bound)
		if cancel(); err != nil {
			p.close()
			return
		}
		if encrypted.ConnectionState().NegotiatedProtocol == relayProtocol {
			w.requests(encrypted)
			return
		}
	}
	if p.up == nil && !w.connect(p) {
		return
	}
	p.carry(w.ctx)
	if w.ctx.Err() == nil || !p.rests() {
		p.close()
		w.mu.Lock()
		delete(w.pairs, p)
		w.mu.Unlock()
	}
}

// connect gives a connection its other end, or closes it. One that waits when the endpoint is handed over is left to the
// next process.
func (w *writer) connect(p *pair) bool {
	w.mu.Lock()
	full := len(w.waiting) >= heldCount
	if !full {
		w.waiting[p] = struct{}{}
	}
	w.mu.Unlock()
	if full {
		p.close()
		return false
	}
	bound, cancel := context.WithTimeout(w.ctx, heldTime)
	defer cancel()
	for {
		changed := w.changed.next()
		_, route := w.looks()
		// Another region gets no further than our own database, so that no way leads round in circles.
		if route.Mode == Fenced || route.Mode == Routed && p.Peer && route.Primary != w.here {
			break
		}
		var up net.Conn
		again := changed
		if route.Mode == Routed {
			var err error
			if up, err = w.dial(bound, route.Primary); err != nil {
				retry := make(chan struct{})
				time.AfterFunc(dialPeriod, func() { close(retry) })
				again = retry
			}
		}
		if up != nil && w.join(p, up, route) {
			return true
		}
		if up != nil {
			continue // the way has changed meanwhile
		}
		select {
		case <-again:
		case <-bound.Done():
		}
		if bound.Err() != nil {
			break
		}
	}
	if w.ctx.Err() != nil {
		return false
	}
	w.mu.Lock()
	delete(w.waiting, p)
	w.mu.Unlock()
	p.close()
	return false
}

// join lets a connection through, if where it leads is still where all lead.
func (w *writer) join(p *pair, up net.Conn, route Route) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.route.Mode != Routed || w.route.Primary != route.Primary || w.ctx.Err() != nil {
		up.Close()
		return false
	}
	p.up, p.To, p.Epoch = up, route.Primary, w.route.Epoch
	delete(w.waiting, p)
	w.pairs[p] = struct{}{}
	return true
}

// release brings all to rest, so that another process can go on with it.
func (w *writer) release() []*pair {
	w.stop()
	w.ended.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var left []*pair
	for _, set := range []map[*pair]struct{}{w.pairs, w.waiting} {
		for p := range set {
			left = append(left, p)
		}
	}
	return left
}

// take goes on with what another process released.
func (w *writer) take(p *pair) {
	w.mu.Lock()
	stale := p.up != nil && (w.route.Mode == Fenced || w.route.Mode == Routed && w.route.Primary != p.To)
	if p.up != nil && !stale {
		w.pairs[p] = struct{}{}
	}
	w.mu.Unlock()
	if stale {
		p.close()
		return
	}
	w.ended.Add(1)
	go func() {
		defer w.ended.Done()
		w.lead(p)
	}()
}

// routable checks a command that names the primaries which its sender has seen.
func (w *writer) routable(primaries []string, known map[string]string, epoch int64) (string, error) {
	if len(primaries) != 1 {
		return "", invalid{fmt.Errorf("%d primaries were seen; the way opens to exactly one", len(primaries))}
	}
	to := primaries[0]
	if _, ok := known[to]; !ok && to != w.here {
		return "", invalid{fmt.Errorf("nobody knows the way to region %q", to)}
	}
	if _, now := w.looks(); now.Mode == Fenced && epoch <= now.Epoch {
		return "", invalid{fmt.Errorf("fenced by epoch %d: a newer one opens", now.Epoch)}
	}
	return to, nil
}
