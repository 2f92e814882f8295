package platformtest_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

// mutant is a driver with one thing wrong.
type mutant struct {
	*platformtest.Process
	wrong wrong
	kept  platform.Record
}

type wrong struct {
	observe func(m *mutant, s platform.Seen) platform.Seen
	desired func(m *mutant, s schema.State)
	apply   func(m *mutant, changes []drift.Change, epoch int64) ([]drift.Change, int64)
	do      func(m *mutant, d schema.Deployment, s drift.Step) drift.Step
	done    func(s drift.Step, seen *platform.Seen) // changes the platform at the end of each step
	save    func(m *mutant, old, new platform.Record) (platform.Record, platform.Record)
	memory  func(m *platformtest.Memory)
}

func (m *mutant) Observe(ctx context.Context, d schema.Deployment) (platform.Seen, error) {
	seen, err := m.Process.Observe(ctx, d)
	if err == nil && m.wrong.observe != nil {
		seen = m.wrong.observe(m, seen)
	}
	return seen, err
}

func (m *mutant) Desired(d schema.Deployment) (schema.State, schema.Facts, error) {
	want, facts, err := m.Process.Desired(d)
	if m.wrong.desired != nil {
		m.wrong.desired(m, want)
	}
	return want, facts, err
}

func (m *mutant) Apply(ctx context.Context, d schema.Deployment, changes []drift.Change, epoch int64) error {
	if m.wrong.apply != nil {
		changes, epoch = m.wrong.apply(m, changes, epoch)
	}
	return m.Process.Apply(ctx, d, changes, epoch)
}

func (m *mutant) Do(ctx context.Context, d schema.Deployment, s drift.Step) error {
	if m.wrong.do != nil {
		s = m.wrong.do(m, d, s)
	}
	return m.Process.Do(ctx, d, s)
}

func (m *mutant) Save(ctx context.Context, d schema.Deployment, old, new platform.Record) error {
	if m.wrong.save != nil {
		old, new = m.wrong.save(m, old, new)
	}
	return m.Process.Save(ctx, d, old, new)
}

// node changes the node of a step.
func node(seen *platform.Seen, name string, change func(*platform.Node)) {
	for i := range seen.Nodes {
		if seen.Nodes[i].Name == name {
			change(&seen.Nodes[i])
		}
	}
}

// region changes the region of a step.
func region(seen *platform.Seen, name string, change func(*platform.Region)) {
	for i := range seen.Regions {
		if seen.Regions[i].Name == name {
			change(&seen.Regions[i])
		}
	}
}

// edit changes the platform.
func (m *mutant) edit(change func(*platform.Seen)) {
	seen := m.Now()
	change(&seen)
	m.Put(seen)
}

var mutants = map[string]wrong{
	"saves over whatever there is": {save: func(m *mutant, old, new platform.Record) (platform.Record, platform.Record) {
		return m.Now().Record, new
	}},
	"takes an epoch that doesn't rise": {save: func(m *mutant, old, new platform.Record) (platform.Record, platform.Record) {
		if new.Epoch <= old.Epoch {
			m.edit(func(s *platform.Seen) { s.Record = new })
			return platform.Record{Epoch: new.Epoch}, platform.Record{Epoch: new.Epoch + 1}
		}
		return old, new
	}},
	"drops the log of a fault": {save: func(m *mutant, old, new platform.Record) (platform.Record, platform.Record) {
		new.Fault.Log = ""
		return old, new
	}},
	"keeps seconds only": {save: func(m *mutant, old, new platform.Record) (platform.Record, platform.Record) {
		new.At = new.At.Truncate(time.Second)
		return old, new
	}},
	"keeps the record in its own memory": {
		save: func(m *mutant, old, new platform.Record) (platform.Record, platform.Record) {
			m.kept = new
			new.Override = ""
			return old, new
		},
		observe: func(m *mutant, s platform.Seen) platform.Seen {
			if m.kept.Epoch == s.Record.Epoch {
				s.Record = m.kept
			}
			return s
		}},
	"begins whatever the epoch": {do: func(m *mutant, d schema.Deployment, s drift.Step) drift.Step {
		s.Epoch = m.Now().Record.Epoch
		return s
	}},
	"restarts a node whenever a step is begun again": {do: func(m *mutant, d schema.Deployment, s drift.Step) drift.Step {
		if move := m.Now().Move; move.Step == s && move.State == platform.Done {
			m.Kill(s.Node)
		}
		return s
	}},
	"begins another step while one is under way": {do: func(m *mutant, d schema.Deployment, s drift.Step) drift.Step {
		m.edit(func(seen *platform.Seen) {
			if seen.Move.Step != s && s.Epoch == seen.Record.Epoch {
				node(seen, seen.Move.Step.Node, func(n *platform.Node) { n.In = n.Ready })
				seen.Move.State = platform.Done
			}
		})
		return s
	}},
	"runs what is declared, whatever the step says": {do: func(m *mutant, d schema.Deployment, s drift.Step) drift.Step {
		if s.Verb == drift.Replace {
			s.Revision = d.Revision
		}
		return s
	}},
	"drains nothing": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Drain {
			node(seen, s.Node, func(n *platform.Node) { n.In = true })
		}
	}},
	"sends requests to what was replaced at once": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Replace {
			node(seen, s.Node, func(n *platform.Node) { n.In = true })
		}
	}},
	"sends requests to what was added at once": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Add {
			node(seen, s.Node, func(n *platform.Node) { n.In = true })
		}
	}},
	"replaces without the other revision": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Replace {
			node(seen, s.Node, func(n *platform.Node) { n.Revision = "r1" })
		}
	}},
	"starts what is stopped when it is replaced": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Replace {
			node(seen, s.Node, func(n *platform.Node) { n.Stopped, n.Ready = false, true })
		}
	}},
	"takes a neighbour along": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Replace {
			node(seen, "paris-1", func(n *platform.Node) { n.Ready = false })
		}
	}},
	"probes nothing, but admits": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Probe {
			node(seen, s.Node, func(n *platform.Node) { n.In = true })
		}
	}},
	"admits nothing": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Admit {
			node(seen, s.Node, func(n *platform.Node) { n.In = false })
		}
	}},
	"stops all but one": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Stop {
			node(seen, "paris-2", func(n *platform.Node) { n.Stopped, n.Ready = false, true })
		}
	}},
	"stops other regions too": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Stop {
			node(seen, "milan-0", func(n *platform.Node) { n.Stopped, n.Ready = true, false })
		}
	}},
	"starts a node and its neighbour": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Start {
			node(seen, "paris-2", func(n *platform.Node) { n.Stopped, n.Ready = false, true })
		}
	}},
	"removes nothing": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Remove {
			seen.Nodes = append(seen.Nodes, platform.Node{Name: s.Node, Region: s.Region, Revision: "r1", Version: "26.7.2", Stopped: true})
		}
	}},
	"gates nothing": {done: func(s drift.Step, seen *platform.Seen) {
		for i := range seen.Regions {
			seen.Regions[i].Gated = false
		}
	}},
	"never opens": {done: func(s drift.Step, seen *platform.Seen) {
		for i := range seen.Regions {
			seen.Regions[i].Gated = seen.Regions[i].Gated || s.Verb == drift.Open && seen.Regions[i].Name == s.Region
		}
	}},
	"fences nothing": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Fence {
			region(seen, s.Region, func(r *platform.Region) { r.Role = platform.Primary })
		}
	}},
	"lifts the fence of the other when it promotes": {done: func(s drift.Step, seen *platform.Seen) {
		for i := range seen.Regions {
			if r := &seen.Regions[i]; s.Verb == drift.Promote && r.Role == platform.Fenced {
				r.Role = platform.Primary
			}
		}
	}},
	"promotes nothing": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Promote {
			region(seen, s.Region, func(r *platform.Region) { r.Role = platform.Standby })
		}
	}},
	"can't take a fence back": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Promote && s.Region == "paris" {
			region(seen, s.Region, func(r *platform.Region) { r.Role = platform.Fenced })
		}
	}},
	"follows, and the primary doesn't wait": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Follow {
			region(seen, s.Region, func(r *platform.Region) { r.Synchronous = false })
		}
	}},
	"follows nobody": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Follow {
			region(seen, s.Region, func(r *platform.Region) { r.Role = platform.Fenced })
		}
	}},
	"degrades nothing": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Degrade {
			region(seen, s.Region, func(r *platform.Region) { r.Synchronous = true })
		}
	}},
	"keeps what was written last to itself": {done: func(s drift.Step, seen *platform.Seen) {
		if s.Verb == drift.Fence {
			region(seen, s.Region, func(r *platform.Region) { r.LSN += 48 })
		}
	}},
	"opens the neighbour's front too": {done: func(s drift.Step, seen *platform.Seen) {
		for i := range seen.Regions {
			seen.Regions[i].Gated = seen.Regions[i].Gated && s.Verb != drift.Open
		}
	}},
	"doesn't say which step gave a role": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		for i := range s.Regions {
			s.Regions[i].Epoch = 0
		}
		return s
	}},
	"says that nobody streams": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		for i := range s.Regions {
			s.Regions[i].Streaming = false
		}
		return s
	}},
	"dumps nothing":                     {observe: func(m *mutant, s platform.Seen) platform.Seen { s.Dumped = 0; return s }},
	"forgets what ran when it compared": {observe: func(m *mutant, s platform.Seen) platform.Seen { s.Fit.From = nil; return s }},
	"forgets when it compared":          {observe: func(m *mutant, s platform.Seen) platform.Seen { s.Fit.Epoch = 0; return s }},
	"takes what is ready for a cluster": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		for i := range s.Nodes {
			s.Nodes[i].View = min(1, s.Nodes[i].View)
		}
		return s
	}},
	"says done before it is": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		if s.Move.State == platform.Doing {
			s.Move.State = platform.Done
		}
		return s
	}},
	"shows the nodes as they were before the move": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		if s.Move.State == platform.Done && s.Move.Step.Verb == drift.Drain {
			node(&s, s.Move.Step.Node, func(n *platform.Node) { n.In = true })
		}
		return s
	}},
	"never says that a step failed": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		if s.Move.State == platform.Failed {
			s.Move.State = platform.Doing
		}
		return s
	}},
	"doesn't say why a step failed": {observe: func(m *mutant, s platform.Seen) platform.Seen { s.Move.Why = ""; return s }},
	"shows no log of what failed":   {observe: func(m *mutant, s platform.Seen) platform.Seen { s.Move.Log = ""; return s }},
	"believes that the dead work on": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		if s.Move.State == platform.Lost {
			s.Move.State = platform.Doing
		}
		return s
	}},
	"takes what a crash left half done for done": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		if s.Move.State == platform.Lost {
			s.Move.State = platform.Done
		}
		return s
	}},
	"knows the move only while it lives": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		if s.Move.State == platform.Lost {
			m.edit(func(seen *platform.Seen) { // and begins with nothing
				node(seen, seen.Move.Step.Node, func(n *platform.Node) { n.Stopped = true })
				seen.Move = platform.Move{}
			})
			s.Move = platform.Move{}
		}
		return s
	}},
	"leaves the dead dead": {memory: func(m *platformtest.Memory) { m.Restart = 1 << 30 }},
	"gives the dead no requests when they are back": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		m.edit(func(seen *platform.Seen) {
			for i := range seen.Nodes {
				n := &seen.Nodes[i]
				n.In = n.In && n.Ready
			}
		})
		return s
	}},
	"starts with any revision": {do: func(m *mutant, d schema.Deployment, s drift.Step) drift.Step {
		if s.Revision == "never prepared" {
			s.Revision = d.Revision
		}
		return s
	}},
	"sees something where nothing is": {observe: func(m *mutant, s platform.Seen) platform.Seen {
		s.Record.Active = "paris"
		return s
	}},
	"desires something else each time": {desired: func(m *mutant, s schema.State) {
		a := schema.Address("networks/" + time.Now().Format("150405.000000000"))
		s[a] = schema.Object{Address: a}
	}},
	"deletes nothing": {apply: func(m *mutant, changes []drift.Change, epoch int64) ([]drift.Change, int64) {
		return slices.DeleteFunc(slices.Clone(changes), func(c drift.Change) bool { return c.Op == drift.Delete }), epoch
	}},
	"changes nothing that there is": {apply: func(m *mutant, changes []drift.Change, epoch int64) ([]drift.Change, int64) {
		return slices.DeleteFunc(slices.Clone(changes), func(c drift.Change) bool { return c.Op == drift.Update }), epoch
	}},
	"applies only the first change": {apply: func(m *mutant, changes []drift.Change, epoch int64) ([]drift.Change, int64) {
		return changes[:min(1, len(changes))], epoch
	}},
	"applies whatever the epoch": {apply: func(m *mutant, changes []drift.Change, epoch int64) ([]drift.Change, int64) {
		return changes, epoch + 1000
	}},
	"doesn't show what it holds": {observe: func(m *mutant, s platform.Seen) platform.Seen { s.Have = nil; return s }},
}

// The suite is worth what it catches: each of these drivers has one thing wrong, and fails. The same driver without it passes.
func TestTheSuiteCatchesEveryWrongDriver(t *testing.T) {
	if caught := catches(t, wrong{}); len(caught) > 0 {
		t.Fatal("a right driver fails: " + strings.Join(caught, "\n"))
	}
	for name, w := range mutants {
		t.Run(name, func(t *testing.T) {
			caught := catches(t, w)
			if len(caught) == 0 {
				t.Error("no case of the suite minds")
			}
			t.Log(strings.Join(caught, "\n"))
		})
	}
}

// catches are the cases that a driver fails.
func catches(t *testing.T, w wrong) []string {
	var caught []string
	for _, c := range slices.Concat(platformtest.Cases, platformtest.RegionCases) {
		m := memory(4)
		if w.memory != nil {
			w.memory(m)
		}
		if w.done != nil {
			m.Ended = func(seen *platform.Seen) { w.done(seen.Move.Step, seen) }
		}
		s := subject(m)
		s.Looks = 500
		s.Open = func() platformtest.Opened {
			p := m.Process()
			return platformtest.Opened{Driver: &mutant{Process: p, wrong: w}, Crash: p.Crash}
		}
		if err := c.Run(t.Context(), s); err != nil {
			caught = append(caught, c.Name+": "+err.Error())
		}
	}
	return caught
}
