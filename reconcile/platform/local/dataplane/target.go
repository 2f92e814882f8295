package dataplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// target is how a node is spoken to.
type target struct {
	address string
	scheme  string
	*http.Transport
}

func targetOf(c Command) (target, error) {
	if c.CA == "" {
		return newTarget(c.Address, nil), nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return target{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return target{}, fmt.Errorf("%s holds no certificate", c.CA)
	}
	host := c.Host
	if host == "" {
		if host, _, err = net.SplitHostPort(c.Address); err != nil {
			return target{}, err
		}
	}
	return newTarget(c.Address, &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}), nil
}

// newTarget is what listens at an address; with a config by TLS.
func newTarget(address string, config *tls.Config) target {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	t := target{address: address, scheme: "http", Transport: &http.Transport{
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, ExpectContinueTimeout: time.Second, DisableCompression: true,
	}}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, &notSent{err}
		}
		return &counted{Conn: conn}, nil
	}
	if config == nil {
		return t
	}
	t.scheme = "https"
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, network, address)
		if err != nil {
			return nil, &notSent{err}
		}
		return &counted{Conn: conn}, nil
	}
	return t
}

// notSent is an error before the first byte of a request.
type notSent struct{ error }

func (e *notSent) Unwrap() error { return e.error }

// counted is a connection to a node that knows whether anything was written to it.
type counted struct {
	net.Conn
	written atomic.Int64
	used    atomic.Bool // before the request that is about to be written
}

// A connection that was kept may have been closed by the node meanwhile. What is written then is lost, and nobody can tell
// whether it was: so we look before the first byte. Nothing speaks to us unasked, but its end.
func (c *counted) Write(b []byte) (int, error) {
	if c.used.Swap(false) && c.speaks() {
		return 0, &notSent{errors.New("the node has closed the connection")}
	}
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// speaks tells whether there is something to be read, were it the end.
func (c *counted) speaks() bool {
	under := c.Conn
	if encrypted, ok := under.(*tls.Conn); ok {
		under = encrypted.NetConn()
	}
	socket, ok := under.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	speaks := true
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		speaks = !errors.Is(err, unix.EAGAIN)
	})
	return speaks || err != nil
}

// CloseWrite lets a websocket's end go through.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// sending watches whether a request leaves us. Connections are kept, and the node may have closed one meanwhile.
type sending struct {
	conn   atomic.Pointer[counted]
	before atomic.Int64
}

func (s *sending) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if c, ok := i.Conn.(*counted); ok {
			c.used.Store(i.Reused)
			s.before.Store(c.written.Load())
			s.conn.Store(c)
		}
	}})
}

// nothing tells whether no byte was sent.
func (s *sending) nothing() bool {
	c := s.conn.Load()
	return c != nil && c.written.Load() == s.before.Load()
}
