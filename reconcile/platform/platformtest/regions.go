package platformtest

import (
	"cmp"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Lose has a region answer no longer, from a time on: nobody reaches it, nor does it reach another. Where it is dead nothing of
// it runs; else its primary goes on as long as it doesn't have to wait for another region.
func (m *Memory) Lose(region string, dead bool, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away == nil {
		m.away, m.dead = map[string]bool{}, map[string]bool{}
	}
	m.away[region], m.dead[region] = true, dead
	m.change(func(s *platform.Seen) {
		for i := range s.Regions {
			if r := &s.Regions[i]; r.Name == region {
				r.Lost = since
			}
		}
		for i := range s.Nodes {
			if n := &s.Nodes[i]; n.Region == region && n.Ready {
				n.Ready, n.Draining, n.Why = false, false, "doesn't answer"
			}
		}
		m.replicate(s)
		m.cluster(s)
	})
}

// Mend brings a region back, as it is: what was the primary and wasn't fenced is a primary still.
func (m *Memory) Mend(region string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.away, region)
	delete(m.dead, region)
	m.change(func(s *platform.Seen) {
		for i := range s.Regions {
			if r := &s.Regions[i]; r.Name == region {
				r.Lost = time.Time{}
			}
		}
		m.replicate(s)
	})
}

// Edit changes the platform behind everybody's back, as a person does.
func (m *Memory) Edit(how func(*platform.Seen)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change(how)
}

// based has the active region have a database as soon as a node of it runs, however it came to that.
func (m *Memory) based(s *platform.Seen, d schema.Deployment) {
	active := cmp.Or(s.Record.Active, d.Active)
	ready := slices.ContainsFunc(s.Nodes, func(n platform.Node) bool { return n.Ready && n.Region == active })
	if !ready || !d.DB.Managed() || slices.ContainsFunc(s.Regions, func(r platform.Region) bool { return r.Role != "" }) {
		return
	}
	for i := range s.Regions {
		if r := &s.Regions[i]; r.Name == active {
			r.Role, r.Epoch = platform.Primary, s.Record.Epoch
		}
	}
}

// replicate is a moment of the databases: primaries take writes, and standbys that reach the one they follow get them. A
// write is acknowledged when the standby has it that the primary waits for; for whom it doesn't wait, one is a moment late.
func (m *Memory) replicate(s *platform.Seen) {
	for i := range s.Regions {
		if r := &s.Regions[i]; r.Role == platform.Standby {
			r.Streaming = false
		}
	}
	for i := range s.Regions {
		p := &s.Regions[i]
		if p.Role != platform.Primary || m.dead[p.Name] {
			continue
		}
		before := p.LSN
		if !p.Gated {
			p.LSN += 10
		}
		waits, has := false, false
		for j := range s.Regions {
			r := &s.Regions[j]
			if r.Role != platform.Standby {
				continue
			}
			waits = waits || r.Synchronous
			if m.away[r.Name] || m.away[p.Name] || r.Epoch < p.Epoch {
				continue
			}
			r.Streaming = true
			if r.LSN = max(r.LSN, before); r.Synchronous {
				r.LSN, has = p.LSN, true
			}
			r.Lag = int64(p.LSN - min(p.LSN, r.LSN))
		}
		if !waits || has {
			m.Acked = max(m.Acked, p.LSN)
		}
	}
}

// unanswered is why a step can't come to its end where a region doesn't answer.
func (m *Memory) unanswered(s *platform.Seen, step drift.Step) string {
	region := step.Region
	if step.Verb == drift.Degrade || step.Verb == drift.Follow {
		for _, r := range s.Regions {
			if r.Role == platform.Primary && m.away[r.Name] {
				return r.Name + " doesn't answer"
			}
		}
	}
	switch {
	case step.Verb == drift.Degrade, region == "", !m.away[region]:
		return ""
	case step.Verb != drift.Fence:
		return region + " doesn't answer"
	case m.Beyond != nil:
		return m.Beyond(region)
	}
	return ""
}
