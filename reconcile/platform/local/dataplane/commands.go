package dataplane

import (
	"context"
	"errors"
	"fmt"
)

// doSettle takes balancer settings into force.
func (p *Plane) doSettle(_ context.Context, o Order) (int, error) {
	return 0, p.command(o.Epoch, func(t *Told) error {
		t.Settings = o.Settings
		return p.balancer.settle(o.Settings)
	})
}

// doRun has a node of a revision run, from now on, whatever happens to it. Requests it gets when it is admitted.
func (p *Plane) doRun(_ context.Context, o Order) (int, error) {
	if _, err := p.dir.command(o.Node, o.Revision); err != nil {
		return 0, err
	}
	err := p.command(o.Epoch, func(t *Told) error {
		s, ok := t.Nodes[o.Node]
		if ok && s.Revision != o.Revision && (s.Run || !p.rests(o.Node)) {
			return invalid{fmt.Errorf("node %s runs revision %s: stop it first", o.Node, s.Revision)}
		}
		s.Revision, s.Run = o.Revision, true
		t.Nodes[o.Node] = s
		return nil
	})
	if err != nil {
		return 0, err
	}
	return 0, p.settle(o.Node)
}

// doStop returns when the node's process is gone. It gets no requests any more, also when it runs again.
func (p *Plane) doStop(ctx context.Context, o Order) (int, error) {
	err := p.slotCommand(o, func(s *Slot) { s.Run, s.In, s.Patience = false, false, o.Patience })
	if err != nil {
		return 0, err
	}
	return 0, p.changed.until(ctx, func() bool { return p.rests(o.Node) })
}

// doRemove forgets a node that is stopped.
func (p *Plane) doRemove(_ context.Context, o Order) (int, error) {
	err := p.command(o.Epoch, func(t *Told) error {
		if t.Nodes[o.Node].Run || !p.rests(o.Node) {
			return invalid{fmt.Errorf("node %s runs: stop it first", o.Node)}
		}
		delete(t.Nodes, o.Node)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return 0, p.settle(o.Node)
}

// doDrain returns when the node gets no requests and has answered all that it had, to the last byte and whichever of our
// processes they came through. Those that take too long are cut off.
func (p *Plane) doDrain(ctx context.Context, o Order) (cut int, err error) {
	if err := p.slotCommand(o, func(s *Slot) { s.In = false }); err != nil {
		return 0, err
	}
	return p.quiet(ctx, o.Node)
}

func (p *Plane) quiet(ctx context.Context, name string) (cut int, err error) {
	cut, err = p.balancer.pool.quiet(ctx, name)
	if err != nil {
		return cut, err
	}
	select {
	case <-p.before:
		return cut, nil
	case <-ctx.Done():
		return cut, ctx.Err()
	}
}

// doAdmit lets the node have requests, now and whenever it is ready again.
func (p *Plane) doAdmit(_ context.Context, o Order) (int, error) {
	return 0, p.slotCommand(o, func(s *Slot) { s.In = true })
}

// slotCommand changes what is told of one node.
func (p *Plane) slotCommand(o Order, change func(*Slot)) error {
	err := p.command(o.Epoch, func(t *Told) error {
		s, ok := t.Nodes[o.Node]
		if !ok {
			return invalid{fmt.Errorf("there is no node %q", o.Node)}
		}
		change(&s)
		t.Nodes[o.Node] = s
		return nil
	})
	if err != nil {
		return err
	}
	return p.settle(o.Node)
}

// doGate returns when new requests are held and all others have been answered. Those that take too long are cut off.
func (p *Plane) doGate(ctx context.Context, o Order) (cut int, err error) {
	if err := p.command(o.Epoch, func(t *Told) error { t.Gated = true; return nil }); err != nil {
		return 0, err
	}
	p.balancer.pool.gate(true)
	return p.quiet(ctx, "")
}

// doOpen sends on what was held, and what comes.
func (p *Plane) doOpen(_ context.Context, o Order) (int, error) {
	if err := p.command(o.Epoch, func(t *Told) error { t.Gated = false; return nil }); err != nil {
		return 0, err
	}
	p.balancer.pool.gate(false)
	return 0, nil
}

// doRoute opens the way to the one primary that was seen.
func (p *Plane) doRoute(_ context.Context, o Order) (cut int, err error) {
	return p.way(o, func(now Route) (Route, error) {
		to, err := p.writer.routable(o.Primaries, p.config.Peers, o.Epoch)
		return Route{Routed, to, o.Epoch}, err
	})
}

// doHold has new connections wait until there is a primary; those that flow are left.
func (p *Plane) doHold(_ context.Context, o Order) (cut int, err error) {
	return p.way(o, func(now Route) (Route, error) {
		if now.Mode == Fenced {
			return now, invalid{errors.New("it is fenced: only a route opens it")}
		}
		return Route{Held, now.Primary, o.Epoch}, nil // which front leads where changes with a route alone
	})
}

// doFence closes every connection and refuses each new one, until a newer epoch routes.
func (p *Plane) doFence(_ context.Context, o Order) (cut int, err error) {
	return p.way(o, func(now Route) (Route, error) { return Route{Fenced, now.Primary, o.Epoch}, nil })
}

func (p *Plane) way(o Order, to func(now Route) (Route, error)) (cut int, err error) {
	var route Route
	err = p.command(o.Epoch, func(t *Told) error {
		var err error
		route, err = to(t.Writer)
		t.Writer = route
		return err
	})
	if err != nil {
		return 0, err
	}
	cut = p.writer.tell(route)
	return cut, p.relay(route.Primary)
}

// doShut closes the connections that were let through before this epoch.
func (p *Plane) doShut(_ context.Context, o Order) (cut int, err error) {
	if err := p.command(o.Epoch, func(*Told) error { return nil }); err != nil {
		return 0, err
	}
	return p.writer.closeBefore(o.Epoch), nil
}

// doUpgrade returns when a process of the declared binary serves in place of this one.
func (p *Plane) doUpgrade(ctx context.Context, o Order) (int, error) {
	err := p.command(o.Epoch, func(t *Told) error {
		if t.Gated {
			return invalid{errors.New("the gate is closed, and who waits at it would be lost: open it first")}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-p.before:
		return 0, p.upgrade()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// doEnd asks the keeper to have nobody serve any longer.
func (p *Plane) doEnd(_ context.Context, o Order) (int, error) {
	if err := p.command(o.Epoch, func(*Told) error { return nil }); err != nil {
		return 0, err
	}
	return 0, p.end()
}

// rests tells whether nothing runs for a node, and nothing will before something is told.
func (p *Plane) rests(name string) bool {
	p.slotsMu.Lock()
	s := p.slots[name]
	p.slotsMu.Unlock()
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resting
}
