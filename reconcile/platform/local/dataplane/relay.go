package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// A front leads to the nodes of the active region, which is the one whose database is the primary, wherever people come in. Where
// that is another region, its data plane takes the requests by the same way as connections to the primary, told apart by the
// protocol that the two agree on. While nobody is there, requests wait: in a moment that region is back, or this one is active.

// relayProtocol is what data planes agree on for requests; for the database they agree on none.
const relayProtocol = "http/1.1"

// relay has the front lead to the region that was last told to be the active one, which may be our own.
func (p *Plane) relay(active string) error {
	address, known := p.config.Peers[active]
	if !known {
		p.balancer.pool.relay(nil)
		return nil
	}
	config, err := p.mutual()
	if err != nil {
		return err
	}
	config.ServerName, config.NextProtos = active, []string{relayProtocol}
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol != relayProtocol {
			return errors.New("the other region's data plane takes no requests yet")
		}
		return nil
	}
	ctx, stop := context.WithCancel(p.breath)
	n := &node{name: "region " + active, to: newTarget(address, config), stop: stop}
	if !p.balancer.pool.relay(n) {
		stop()
		return nil
	}
	p.checks.Go(func() {
		checks(ctx, p.balancer.pool, n, func(ctx context.Context) bool {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			conn, err := n.to.DialTLSContext(ctx, "tcp", address)
			if err != nil {
				return false
			}
			conn.Close()
			return true
		})
	})
	return nil
}

// relayed is the server for what other regions' fronts send on. It believes what they say of the client, and sends nothing on
// itself: so no request goes round in circles.
func (p *Plane) relayed() *http.Server {
	h := p.balancer.server(p.log)
	h.Handler = from(relayedKey{}, h.Handler)
	return h
}

// handed is a listener for connections that somebody else has accepted.
type handed struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	at    net.Addr
}

func newHanded(at net.Addr) *handed {
	return &handed{conns: make(chan net.Conn), done: make(chan struct{}), at: at}
}

// hand gives it a connection, or closes that.
func (h *handed) hand(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.done:
		conn.Close()
	}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.at }

// itself is the network of one address.
func itself(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
