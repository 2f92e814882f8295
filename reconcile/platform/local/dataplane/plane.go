// Package dataplane is the process that serves a region on platform local: the balancer before its nodes, the one way to
// the primary of its database, and the supervision that has its processes run. It does what it was told last, whether or
// not anybody is there to tell it more, and outlives its own death; docs/dataplane.md says what it guarantees.
package dataplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// Plane is a data plane at work.
type Plane struct {
	dir      folder
	config   Config
	since    time.Time
	log      *slog.Logger
	metrics  *metrics
	balancer *balancer
	writer   *writer
	upgrade  func() error // returns when a newer process serves
	end      func() error // asks for the end

	mu     sync.Mutex
	told   Told
	sealed bool // another process tells and is told

	changed  bell // how a node's process does
	slots    map[string]*slot
	slotsMu  sync.Mutex
	stopped  bool            // another process watches over nodes; slotsMu guards it
	life     context.Context // of the watching over nodes, and of commands
	watchers sync.WaitGroup

	breath    context.Context // of what requests need, which may take longer to end
	unbreathe context.CancelFunc
	checks    sync.WaitGroup

	before <-chan struct{} // closed when no process before this one has anything in flight
}

// open reads all that a data plane needs, and touches nothing.
func open(dir string, log *slog.Logger) (*Plane, error) {
	p := &Plane{dir: folder(dir), since: time.Now().UTC().Truncate(time.Second), log: log, metrics: newMetrics(), slots: map[string]*slot{}}
	var err error
	if p.config, err = p.dir.config(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.dir.path("log"), 0o700); err != nil {
		return nil, err
	}
	access := slog.New(slog.NewJSONHandler(&logFile{path: p.dir.path("log", "access.log"), size: logSize}, nil))
	p.balancer = newBalancer(p.config.Base, p.metrics, access, log)
	p.writer = newWriter(p.config.Region, p.dial)
	p.metrics.registry.MustRegister(gauges{p.balancer.pool, p.writer})
	if p.told, err = p.dir.told(); err != nil {
		return nil, err
	}
	return p, p.balancer.settle(p.told.Settings)
}

// begin does what was told last. Where nobody served just before, and other regions may have a primary by now, the way to
// ours stays closed until somebody says again that it is the one.
func (p *Plane) begin(ctx context.Context, cold bool, before <-chan struct{}) error {
	p.mu.Lock()
	told, err := p.dir.told()
	if err == nil && cold && len(p.config.Peers) > 0 && told.Writer.Mode == Routed {
		told.Writer.Mode = Held
		err = p.dir.keep(told)
	}
	p.told = told
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.life, p.before = ctx, before
	p.breath, p.unbreathe = context.WithCancel(context.WithoutCancel(ctx))
	if err := p.balancer.settle(told.Settings); err != nil {
		return err
	}
	p.balancer.pool.gate(told.Gated)
	p.writer.tell(told.Writer)
	if err := p.relay(told.Writer.Primary); err != nil {
		return err
	}
	for name := range told.Nodes {
		if err := p.settle(name); err != nil {
			p.log.Error("know node", "node", name, "error", err)
		}
	}
	return nil
}

// command carries out what comes with an epoch: told is amended and kept, or nothing is done.
func (p *Plane) command(epoch int64, amend func(*Told) error) error {
	return p.amend(func(t *Told) error {
		if epoch < t.Epoch {
			return platform.ErrOldEpoch
		}
		t.Epoch = epoch
		return amend(t)
	})
}

func (p *Plane) amend(amend func(*Told) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sealed {
		return context.Canceled
	}
	t := p.told
	t.Nodes = maps.Clone(t.Nodes)
	if err := amend(&t); err != nil {
		return err
	}
	if err := p.dir.keep(t); err != nil {
		return fmt.Errorf("keep what was told: %w", err)
	}
	p.told = t
	return nil
}

// settle brings the balancer and the watching over a node to what was told of it.
func (p *Plane) settle(name string) error {
	p.slotsMu.Lock()
	defer p.slotsMu.Unlock()
	if p.stopped {
		return context.Canceled
	}
	p.mu.Lock()
	told, ok := p.told.Nodes[name]
	p.mu.Unlock()
	s := p.slots[name]
	if !ok {
		p.balancer.pool.remove(name)
		if s != nil {
			s.wake()
			delete(p.slots, name)
		}
		return nil
	}
	if s == nil {
		s = &slot{plane: p, name: name, woken: make(chan struct{}, 1)}
		p.slots[name] = s
		p.watchers.Go(func() { s.watch(p.life) })
	}
	defer s.wake()
	c, err := p.dir.command(name, told.Revision)
	if err != nil {
		return err
	}
	if c.Address == "" {
		return nil
	}
	to, err := targetOf(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(p.breath)
	n := &node{name: name, revision: told.Revision, to: to, in: told.Run && told.In, stop: stop}
	if !p.balancer.pool.put(n) {
		stop()
		return nil
	}
	p.checks.Go(func() { check(ctx, p.balancer.pool, n, c) })
	return nil
}

// dial finds the primary of a region.
func (p *Plane) dial(ctx context.Context, region string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	if region == p.config.Region {
		return dialer.DialContext(ctx, "unix", p.config.DB)
	}
	address, ok := p.config.Peers[region]
	if !ok {
		return nil, fmt.Errorf("nobody knows the way to region %q", region)
	}
	config, err := p.mutual()
	if err != nil {
		return nil, err
	}
	config.ServerName = region
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
}

// mutual is how regions speak to each other: each shows a certificate of one authority that is for nothing else, with the
// region's name in it.
func (p *Plane) mutual() (*tls.Config, error) {
	pem, err := os.ReadFile(p.dir.path("tls", "peer-ca.crt"))
	if err != nil {
		return nil, err
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(pem) {
		return nil, errors.New("tls/peer-ca.crt holds no certificate")
	}
	own := &certificate{cert: p.dir.path("tls", "peer.crt"), key: p.dir.path("tls", "peer.key")}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: authority, ClientCAs: authority, ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate: own.forServer, GetClientCertificate: own.forClient,
		VerifyConnection: func(s tls.ConnectionState) error {
			for name := range p.config.Peers {
				if s.PeerCertificates[0].VerifyHostname(name) == nil {
					return nil
				}
			}
			return errors.New("its certificate names no other region")
		},
	}, nil
}

// https is the front with TLS.
func (p *Plane) https() *http.Server {
	front := &certificate{cert: p.dir.path("tls", "front.crt"), key: p.dir.path("tls", "front.key")}
	s := p.balancer.server(p.log)
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: front.forServer}
	return s
}
