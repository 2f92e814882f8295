package platformtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Memory is a platform in memory, with one deployment on it. Its time goes on by a tick with each look that anyone takes, so
// that what happens on it depends on nothing but the calls. Processes are its drivers.
type Memory struct {
	Pace    int                               // ticks that a step takes, at least 1
	Restart int                               // ticks until a dead node is restarted, at least 1
	Fails   func(s drift.Step) string         // why a step fails; "" or nil: it doesn't
	Breaks  func(n platform.Node) bool        // the node never gets ready with what it runs; nil: none
	Fit     func(platform.Fit) platform.Fit   // what Prepare finds out, from what versions say; nil: just that
	Apart   func(node string) bool            // the node sees itself alone, though others are there; nil: none
	Stale   func() int                        // of how many looks before a look is; nil: it is of now
	Ended   func(*platform.Seen)              // changes what a step has come to, for what it isn't meant to; may be nil
	Watch   func(before, after platform.Seen) // told of every change, as it happens; may be nil
	Beyond  func(region string) string        // why a region that doesn't answer can't be fenced; nil, or "": it can

	Acked uint64 // how far what was acknowledged goes; to be read in Watch, or while nothing runs

	mu       sync.Mutex
	seen     platform.Seen
	past     []platform.Seen   // looks, oldest first
	left     int               // ticks until the move ends
	worker   *Process          // who works on it
	since    map[string]int    // ticks that a node has been dead
	revision map[string]string // the versions of the revisions that are known
	deployed schema.Deployment // as it was when the step was begun
	clock    time.Time
	away     map[string]bool // regions that don't answer
	dead     map[string]bool // and of which nothing runs
}

// Process is a driver in a process of its own.
type Process struct {
	*Memory
	Flaw Flaw // what goes wrong with calls; nil: nothing

	dead bool
}

// Flaw says what goes wrong with a call: nothing done and an error, done and an error, or nothing.
type Flaw func(method string) Answer

// Answer is how a call ends.
type Answer int

// The answers.
const (
	Given Answer = iota
	Throttled
	LostAnswer
)

var (
	errThrottled = errors.New("throttled: too many requests")
	errLost      = errors.New("connection reset by peer")
	errDead      = errors.New("the process has ended")
	errBusy      = errors.New("another step is under way")
)

// Process starts a process that drives the platform.
func (m *Memory) Process() *Process { return &Process{Memory: m} }

// Crash ends the process at once. What it worked on is left half done.
func (p *Process) Crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	if p.worker == p && p.seen.Move.State == platform.Doing {
		p.change(func(s *platform.Seen) { s.Move.State = platform.Lost })
	}
}

// call does what is asked for, or goes wrong.
func (p *Process) call(ctx context.Context, method string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answer := Given
	if p.Flaw != nil {
		answer = p.Flaw(method)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.dead:
		return errDead
	case answer == Throttled:
		return errThrottled
	}
	if err := do(); err != nil {
		return err
	}
	if answer == LostAnswer {
		return errLost
	}
	return nil
}

// Observe implements platform.Driver.
func (p *Process) Observe(ctx context.Context, d schema.Deployment) (seen platform.Seen, err error) {
	err = p.call(ctx, "Observe", func() error {
		p.tick(d)
		p.past = append(p.past, p.seen)
		i := len(p.past) - 1
		if p.Stale != nil {
			i = max(0, i-p.Stale())
		}
		seen = copied(p.past[i])
		return nil
	})
	if err != nil {
		return platform.Seen{}, err
	}
	return seen, nil
}

// Desired implements platform.Driver.
func (p *Process) Desired(d schema.Deployment) (schema.State, schema.Facts, error) {
	want := schema.State{}
	put := func(kind, key string, fields map[string]any) {
		a := schema.Join(schema.RealmAddress, kind, key)
		want[a] = schema.Object{Address: a, Fields: fields, Origin: d.Origin}
	}
	for zone, rules := range map[string][]schema.Rule{"login": d.Network.Login, "admin": d.Network.Admin} {
		if len(rules) == 0 {
			continue
		}
		list := []any{}
		for _, r := range rules {
			list = append(list, map[string]any{"allow": r.Allow, "deny": r.Deny})
		}
		put("networks", zone, map[string]any{"rules": list})
	}
	put("balancers", "front", map[string]any{"certificate": d.TLS.Certificate, "key": d.TLS.Key})
	facts := schema.Facts{"networks": {"rules": {Ordered: true}}, "balancers": {"key": {Secret: true}}}
	return want, facts, nil
}

// Apply implements platform.Driver.
func (p *Process) Apply(ctx context.Context, d schema.Deployment, changes []drift.Change, epoch int64) error {
	return p.call(ctx, "Apply", func() error {
		if epoch < p.seen.Record.Epoch {
			return platform.ErrOldEpoch
		}
		p.change(func(s *platform.Seen) {
			s.Have, s.Base = maps.Clone(s.Have), maps.Clone(s.Base)
			if s.Have == nil {
				s.Have, s.Base = schema.State{}, schema.State{}
			}
			for _, c := range changes {
				delete(s.Have, c.Address)
				delete(s.Base, c.Address)
				if c.Op != drift.Delete {
					s.Have[c.Address], s.Base[c.Address] = c.Want, c.Want
				}
			}
		})
		return nil
	})
}

// Do implements platform.Driver.
func (p *Process) Do(ctx context.Context, d schema.Deployment, s drift.Step) error {
	return p.call(ctx, "Do", func() error {
		move := p.seen.Move
		switch {
		case s.Epoch != p.seen.Record.Epoch:
			return platform.ErrOldEpoch
		case move.Step == s && move.State != platform.Lost:
			return nil
		case move.State == platform.Doing:
			return errBusy
		}
		if s.Verb == drift.Prepare {
			if s.Revision != d.Revision {
				return fmt.Errorf("revision %s isn't declared", s.Revision)
			}
			p.know(d.Revision, d.Version)
		}
		if s.Verb == drift.Replace || s.Verb == drift.Add {
			if _, known := p.revision[s.Revision]; !known && s.Revision != d.Revision {
				return fmt.Errorf("revision %s was never prepared", s.Revision)
			}
			if s.Revision == d.Revision {
				p.know(d.Revision, d.Version)
			}
		}
		p.left, p.worker, p.deployed = max(1, p.Pace), p, d
		p.change(func(seen *platform.Seen) { begun(seen, s, p.revision, p.clock) })
		return nil
	})
}

// Save implements platform.Driver.
func (p *Process) Save(ctx context.Context, d schema.Deployment, old, new platform.Record) error {
	return p.call(ctx, "Save", func() error {
		switch {
		case p.seen.Record.Epoch != old.Epoch:
			return platform.ErrMoved
		case new.Epoch <= old.Epoch:
			return fmt.Errorf("epoch %d doesn't follow %d", new.Epoch, old.Epoch)
		}
		p.change(func(s *platform.Seen) { s.Record = new })
		for r := range p.revision { // what nothing names any more is forgotten
			named := r == new.To.Revision || r == new.Good.Revision
			if !named && !slices.ContainsFunc(p.seen.Nodes, func(n platform.Node) bool { return n.Revision == r }) {
				delete(p.revision, r)
			}
		}
		return nil
	})
}

func (m *Memory) know(revision, version string) {
	if m.revision == nil {
		m.revision = map[string]string{}
	}
	m.revision[revision] = version
}

// begun is what is so as soon as a step is under way, and stays so where it goes no further.
func begun(seen *platform.Seen, s drift.Step, versions map[string]string, now time.Time) {
	seen.Move = platform.Move{Step: s, State: platform.Doing, At: now}
	if _, there := seen.Node(s.Node); s.Verb == drift.Add && !there {
		seen.Nodes = append(seen.Nodes, platform.Node{Name: s.Node, Region: s.Region})
		slices.SortFunc(seen.Nodes, func(a, b platform.Node) int { return cmp.Compare(a.Name, b.Name) })
	}
	stopped := false
	for i := range seen.Nodes {
		n := &seen.Nodes[i]
		switch {
		case s.Verb == drift.Stop && n.Region == s.Region && !stopped:
			n.Stopped, n.Ready, n.In, n.Draining, stopped = true, false, false, false, true // one after the other
		case n.Name != s.Node:
		case s.Verb == drift.Drain:
			n.In, n.Draining = false, n.Serves() || n.Draining
		case s.Verb == drift.Replace, s.Verb == drift.Add:
			if n.Revision != s.Revision || !n.Ready {
				n.Ready, n.Why = false, "is being replaced"
			}
			n.Draining = false
			n.Revision, n.Version, n.In = s.Revision, versions[s.Revision], false
		case s.Verb == drift.Start:
			n.Stopped, n.In = false, false
		case s.Verb == drift.Remove:
			n.Ready, n.In, n.Draining, n.Why = false, false, false, "is being removed"
		}
	}
}

// tick is a moment on the platform: steps come to their end, and dead nodes are restarted by whoever supervises them.
func (m *Memory) tick(d schema.Deployment) {
	m.clock = m.clock.Add(time.Second)
	m.change(func(s *platform.Seen) {
		for _, r := range d.Regions {
			if _, ok := s.Region(r.Name); !ok {
				s.Regions = append(s.Regions, platform.Region{Name: r.Name, View: d.Regions[0].Name})
			}
		}
		slices.SortFunc(s.Regions, func(a, b platform.Region) int { return cmp.Compare(a.Name, b.Name) })
		m.supervise(s)
		m.based(s, d)
		m.replicate(s)
		if s.Move.State == platform.Doing {
			if m.left--; m.left <= 0 {
				m.end(s)
			}
		}
		m.cluster(s)
	})
}

// supervise restarts what died.
func (m *Memory) supervise(s *platform.Seen) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Stopped || n.Ready || m.away[n.Region] || s.Move.State == platform.Doing && s.Move.Step.Node == n.Name || s.Move.State == platform.Lost && s.Move.Step.Node == n.Name {
			delete(m.since, n.Name)
			continue
		}
		if m.since == nil {
			m.since = map[string]int{}
		}
		if m.since[n.Name]++; m.since[n.Name] >= max(1, m.Restart) {
			delete(m.since, n.Name)
			n.Ready = m.Breaks == nil || !m.Breaks(*n)
			if n.Ready {
				n.Why = ""
			} else {
				n.Why = "exited with 1, restarted again and again"
			}
		}
	}
}

// end is how the step under way ends.
func (m *Memory) end(s *platform.Seen) {
	step := s.Move.Step
	why := ""
	if m.Fails != nil {
		why = m.Fails(step)
	}
	n, _ := s.Node(step.Node)
	starts := step.Verb == drift.Replace && !n.Stopped || step.Verb == drift.Add || step.Verb == drift.Start
	if why == "" {
		why = m.unanswered(s, step)
	}
	if why == "" && starts && m.Breaks != nil && m.Breaks(n) {
		why = "isn't ready after 5m"
	}
	if why != "" {
		s.Move.State, s.Move.At, s.Move.Why, s.Move.Log = platform.Failed, m.clock, why, "ERROR: "+why
		s.Past = platform.Passed(s.Past, s.Move)
		return
	}
	stale := s.Record
	*s = platform.After(m.deployed, *s, step)
	s.Record, s.Move.At = stale, m.clock
	s.Past = platform.Passed(s.Past, s.Move)
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Name == step.Node && n.Revision != "" {
			n.Version = m.revision[n.Revision]
		}
	}
	if step.Verb == drift.Prepare && m.Fit != nil {
		s.Fit = m.Fit(s.Fit)
	}
	if m.Ended != nil {
		m.Ended(s)
	}
}

// cluster lets every node see what there is.
func (m *Memory) cluster(s *platform.Seen) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.View = 0; n.Ready {
			n.View = s.Cluster(n.Region)
		}
		if n.Ready && m.Apart != nil && m.Apart(n.Name) {
			n.View = 1
		}
	}
}

// Kill ends a node's process, as a crash would.
func (m *Memory) Kill(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change(func(s *platform.Seen) {
		for i := range s.Nodes {
			if n := &s.Nodes[i]; n.Name == node && n.Ready {
				n.Ready, n.Draining, n.Why = false, false, "killed"
			}
		}
		m.cluster(s)
	})
}

// Now is the deployment as it really is.
func (m *Memory) Now() platform.Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return copied(m.seen)
}

// Put makes the platform another one, for a test that begins there. It knows the revisions that are named there.
func (m *Memory) Put(seen platform.Seen) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = copied(seen)
	for _, n := range seen.Nodes {
		m.know(n.Revision, n.Version)
	}
	for _, r := range []platform.Release{seen.Record.To, seen.Record.Good} {
		m.know(r.Revision, r.Version)
	}
	m.cluster(&m.seen)
}

// change makes a change and tells of it.
func (m *Memory) change(how func(*platform.Seen)) {
	before := m.seen
	after := copied(m.seen)
	how(&after)
	m.seen = after
	if m.Watch != nil {
		m.Watch(before, after)
	}
}

func copied(s platform.Seen) platform.Seen {
	s.Nodes, s.Regions = slices.Clone(s.Nodes), slices.Clone(s.Regions)
	s.Fit.From = slices.Clone(s.Fit.From)
	s.Have, s.Base = maps.Clone(s.Have), maps.Clone(s.Base)
	return s
}
