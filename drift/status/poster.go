package status

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// What a Poster allows before it holds back: flips of one commit's context within an hour, and entries it remembers.
const (
	calmFlips  = 3
	calmPeriod = time.Hour
	remembered = 1024
)

// Poster posts statuses, and only where one differs from what the forge shows. A forge keeps every status that it is
// sent (GitHub takes 1,000 per commit and context), so a realm that drifts and heals all day must not fill it: after
// three flips of the state within an hour there is at most one post an hour for that commit and context, which says how
// often it drifted, until an hour has passed without a flip.
//
// A Poster may be used by several goroutines.
type Poster struct {
	Forge Forge
	Now   func() time.Time // nil is time.Now

	mu   sync.Mutex
	seen map[key]*memory
}

type key struct{ commit, context string }

// memory is what is known of one commit's context.
type memory struct {
	turn    sync.Mutex // one post at a time, so that an older status never lands on a newer one
	touched time.Time  // guarded by Poster.mu

	known  bool // there is what the forge shows; its zero value is nothing
	there  Status
	posted time.Time // when the last Write succeeded

	asked  State       // of the last Post, shown or not
	flips  []time.Time // changes of asked within the last hour
	drifts int         // those that were for the worse, since the last calm
	since  time.Time   // the first of them
}

// Post makes the forge show s: it writes nothing where the forge shows s already, and while a context drifts repeatedly
// it says so, at most once an hour. What a forge refuses is an error to log and no reason to fail: the next Post tries
// again.
func (p *Poster) Post(ctx context.Context, s Status) error {
	s = Fit(s)
	now := time.Now()
	if p.Now != nil {
		now = p.Now()
	}
	m := p.memory(s, now)
	m.turn.Lock()
	defer m.turn.Unlock()

	if !m.known {
		there, ok, err := p.Forge.Read(ctx, s.Commit, s.Context)
		if err != nil {
			return fmt.Errorf("read status %s of %s: %w", s.Context, short(s.Commit), err)
		}
		if ok {
			m.there = Fit(there)
		}
		if m.asked == "" && m.there.State != Pending {
			m.asked = m.there.State
		}
		m.known = true
	}
	if s.State != Pending { // which says nothing of how it will end
		m.count(s.State, now)
	}
	if len(m.flips) >= calmFlips && m.drifts > 1 {
		if now.Sub(m.posted) < calmPeriod && m.there.State != Pending {
			return nil
		}
		s.Says = cut(fmt.Sprintf("drifts repeatedly, %d times since %s; %s", m.drifts, m.since.Format("15:04"), s.Says), MaxSays)
	}
	if m.there == s {
		return nil
	}
	if err := p.Forge.Write(ctx, s); err != nil {
		m.known = false // the forge may have taken it and only its answer was lost
		return fmt.Errorf("write status %s of %s: %w", s.Context, short(s.Commit), err)
	}
	m.there, m.posted = s, now
	return nil
}

// count takes note of a flip, and forgets those of more than an hour ago.
func (m *memory) count(s State, now time.Time) {
	old := 0
	for old < len(m.flips) && now.Sub(m.flips[old]) >= calmPeriod {
		old++
	}
	m.flips = m.flips[old:]
	if len(m.flips) == 0 {
		m.drifts = 0
	}
	if m.asked != "" && s != m.asked {
		m.flips = append(m.flips, now)
	}
	if s != m.asked && (s == Failure || s == Error) {
		if m.drifts == 0 {
			m.since = now
		}
		m.drifts++
	}
	m.asked = s
}

// memory finds what is known of a status's commit and context, and forgets the one that was longest untouched where
// there are too many.
func (p *Poster) memory(s Status, now time.Time) *memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[key]*memory{}
	}
	k := key{s.Commit, s.Context}
	m := p.seen[k]
	if m == nil {
		if len(p.seen) >= remembered {
			oldest := k
			for other, o := range p.seen {
				if oldest == k || o.touched.Before(p.seen[oldest].touched) {
					oldest = other
				}
			}
			delete(p.seen, oldest)
		}
		m = &memory{}
		p.seen[k] = m
	}
	m.touched = now
	return m
}

func short(commit string) string {
	return commit[:min(len(commit), 7)]
}
