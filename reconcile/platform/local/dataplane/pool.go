package dataplane

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// pool is the nodes that requests go to, and the queue of those that can go nowhere yet.
type pool struct {
	mu      sync.Mutex
	nodes   []*node // by name
	away    *node   // another region's front, to which all is led; nil: to the nodes
	next    int     // whose turn it is
	gated   bool
	limits  limits
	waiting int
	changed bell
}

type limits struct {
	queue     int
	queueTime time.Duration
	drain     time.Duration
}

// node is one that the balancer knows of. Its pool's mutex guards it.
type node struct {
	name, revision string
	to             target
	in             bool // it gets requests when it is ready
	ready          bool
	checked        bool // it was asked at least once whether it is ready
	good, bad      int  // answers in a row
	flying         map[*flight]struct{}
	served         map[int]int // answers by hundreds of status
	stop           func()      // ends its checks
}

// flight is a request on its way. Its pool's mutex guards node.
type flight struct {
	node *node // nil while it waits
	home bool  // it goes to the nodes here, wherever others are led
	cut  context.CancelFunc
}

// Why a request gets no node.
var (
	errFull = errors.New("the queue is full")
	errLong = errors.New("no node came in time")
)

// board gives a request a node, the next one whose turn it is. Where there is none, or the gate is closed, it waits.
func (p *pool) board(ctx context.Context, f *flight) error {
	changed := p.changed.next()
	p.mu.Lock()
	if p.take(f) {
		p.mu.Unlock()
		return nil
	}
	if p.waiting >= p.limits.queue {
		p.mu.Unlock()
		return errFull
	}
	p.waiting++
	limit := p.limits.queueTime
	p.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		case <-timer.C:
			err = errLong
		}
		changed = p.changed.next()
		p.mu.Lock()
		taken := err == nil && p.take(f)
		if taken || err != nil {
			p.waiting--
		}
		p.mu.Unlock()
		if taken || err != nil {
			return err
		}
	}
}

func (p *pool) take(f *flight) bool {
	if p.gated {
		return false
	}
	if n := p.away; n != nil && !f.home {
		if n.ready {
			n.flying[f], f.node = struct{}{}, n
		}
		return n.ready
	}
	for range p.nodes {
		p.next = (p.next + 1) % len(p.nodes)
		if n := p.nodes[p.next]; n.in && n.ready {
			n.flying[f] = struct{}{}
			f.node = n
			return true
		}
	}
	return false
}

// leave ends a request's stay at its node.
func (p *pool) leave(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.node != nil {
		delete(f.node.flying, f)
		f.node = nil
		p.changed.ring()
	}
}

// unreachable takes a node out until it is ready again: a request couldn't be sent to it.
func (p *pool) unreachable(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.ready, n.good = false, 0
	p.changed.ring()
}

// gone is unreachable, of a node whose process has ended.
func (p *pool) gone(name string) {
	p.mu.Lock()
	n := p.find(name)
	p.mu.Unlock()
	if n != nil {
		p.unreachable(n)
	}
}

// How many answers in a row change what is held of a node; the very first counts at once.
const rise, fall = 2, 3

// answered counts what a node says of itself.
func (p *pool) answered(n *node, ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ready {
		n.good, n.bad = n.good+1, 0
	} else {
		n.good, n.bad = 0, n.bad+1
	}
	before := n.ready
	switch {
	case !n.checked:
		n.ready = ready
	case n.good >= rise:
		n.ready = true
	case n.bad >= fall:
		n.ready = false
	}
	if first := !n.checked; first || n.ready != before {
		n.checked = true
		p.changed.ring()
	}
}

// put makes the pool know a node; if it does so already in that revision, only whether it gets requests is taken over.
func (p *pool) put(n *node) (isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.changed.ring()
	if old := p.find(n.name); old != nil {
		if old.revision == n.revision {
			old.in = n.in
			return false
		}
		p.drop(old)
	}
	n.flying, n.served = map[*flight]struct{}{}, map[int]int{}
	p.nodes = append(p.nodes, n)
	slices.SortFunc(p.nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return true
}

// relay has all be led to another region's front, or with nil to the nodes here.
func (p *pool) relay(n *node) (isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch old := p.away; {
	case old == nil && n == nil, old != nil && n != nil && old.name == n.name:
		return false
	case old != nil:
		old.stop()
	}
	if n != nil {
		n.flying, n.served = map[*flight]struct{}{}, map[int]int{}
	}
	p.away = n
	p.changed.ring()
	return true
}

// remove makes the pool forget a node, which is stopped.
func (p *pool) remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.find(name); n != nil {
		p.drop(n)
		p.changed.ring()
	}
}

func (p *pool) drop(n *node) {
	n.stop()
	p.nodes = slices.DeleteFunc(p.nodes, func(other *node) bool { return other == n })
}

func (p *pool) find(name string) *node {
	for _, n := range p.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// quiet returns when no request is at the node, or with "" at any, and how many had to be cut off because they took longer
// than the limit.
func (p *pool) quiet(ctx context.Context, name string) (cut int, err error) {
	bound, cancel := context.WithTimeout(ctx, p.bound())
	defer cancel()
	none := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.flights(name)) == 0
	}
	if p.changed.until(bound, none) == nil {
		return 0, nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	p.mu.Lock()
	left := p.flights(name)
	p.mu.Unlock()
	for _, f := range left {
		f.cut()
	}
	return len(left), p.changed.until(ctx, none)
}

// flights are the requests at a node, or with "" at any. The mutex is held.
func (p *pool) flights(name string) (at []*flight) {
	nodes := p.nodes
	if p.away != nil {
		nodes = append(slices.Clip(nodes), p.away)
	}
	for _, n := range nodes {
		if name == "" || n.name == name {
			for f := range n.flying {
				at = append(at, f)
			}
		}
	}
	return at
}

// answer counts what a node answered.
func (p *pool) answer(n *node, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.served[status/100*100]++
}

// gate closes or opens the front.
func (p *pool) gate(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gated = closed
	p.changed.ring()
}

// bound is how long requests have to end.
func (p *pool) bound() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits.drain
}
