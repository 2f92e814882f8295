package dataplane

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"
)

// Seen is how a data plane and what it serves are.
type Seen struct {
	Told    Told         `json:"told"`
	PID     int          `json:"pid"`
	Since   time.Time    `json:"since"`
	Passing bool         `json:"passing,omitempty"` // the process before this one still answers requests that it had
	Waiting int          `json:"waiting"`           // requests that wait for a node
	Nodes   []NodeSeen   `json:"nodes,omitempty"`
	Writer  EndpointSeen `json:"writer"`
}

// NodeSeen is one node.
type NodeSeen struct {
	Name     string    `json:"name"`
	Revision string    `json:"revision"`
	Run      bool      `json:"run"`
	In       bool      `json:"in"`
	Alive    bool      `json:"alive"` // its process runs
	Ready    bool      `json:"ready"` // and says that it is ready
	InFlight int       `json:"inFlight"`
	PID      int       `json:"pid,omitempty"` // while it is alive
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts,omitempty"` // as often as this process has seen it die
	Why      string    `json:"why,omitempty"`      // how it ended, or why it can't be started
}

// EndpointSeen is the writer endpoint.
type EndpointSeen struct {
	Route
	Connections int `json:"connections"`
	Older       int `json:"older,omitempty"` // of them, let through before the route's epoch
	Held        int `json:"held,omitempty"`
}

// look waits, after a takeover, until this process knows of each node whether it lives and is ready: one that nobody has
// looked at yet isn't dead.
func (p *Plane) look(ctx context.Context) (Seen, error) {
	if err := p.changed.until(ctx, p.knows); err != nil {
		return Seen{}, err
	}
	if err := p.balancer.pool.changed.until(ctx, p.balancer.pool.asked); err != nil {
		return Seen{}, err
	}
	return p.see(), nil
}

func (p *Plane) knows() bool {
	p.slotsMu.Lock()
	defer p.slotsMu.Unlock()
	for _, s := range p.slots {
		s.mu.Lock()
		known := s.known
		s.mu.Unlock()
		if !known {
			return false
		}
	}
	return true
}

// asked tells whether each node has said at least once whether it is ready.
func (p *pool) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.nodes, func(n *node) bool { return !n.checked })
}

func (p *Plane) see() Seen {
	p.mu.Lock()
	told := p.told
	told.Nodes = maps.Clone(told.Nodes)
	p.mu.Unlock()
	seen := Seen{Told: told, PID: os.Getpid(), Since: p.since}
	select {
	case <-p.before:
	default:
		seen.Passing = true
	}
	for _, name := range slices.Sorted(maps.Keys(told.Nodes)) {
		t := told.Nodes[name]
		n := NodeSeen{Name: name, Revision: t.Revision, Run: t.Run, In: t.In}
		p.slotsMu.Lock()
		s := p.slots[name]
		p.slotsMu.Unlock()
		if s != nil {
			s.mu.Lock()
			n.Alive, n.Restarts, n.Why = s.alive, s.restarts, s.why
			s.mu.Unlock()
		}
		if n.Alive {
			n.PID, n.Since = t.Process.PID, t.Process.Since
		}
		seen.Nodes = append(seen.Nodes, n)
	}
	p.balancer.pool.see(&seen)
	p.writer.see(&seen)
	return seen
}

func (p *pool) see(seen *Seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen.Waiting = p.waiting
	for i := range seen.Nodes {
		if n := p.find(seen.Nodes[i].Name); n != nil {
			seen.Nodes[i].Ready, seen.Nodes[i].InFlight = n.ready && seen.Nodes[i].Alive, len(n.flying)
		}
	}
}

func (w *writer) see(seen *Seen) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen.Writer = EndpointSeen{Route: w.route, Connections: len(w.pairs), Held: len(w.waiting)}
	for p := range w.pairs {
		if p.Epoch < w.route.Epoch {
			seen.Writer.Older++
		}
	}
}
