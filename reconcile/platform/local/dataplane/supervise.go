package dataplane

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// slot watches over one node: it runs as was told, and is started again when it dies.
type slot struct {
	plane *Plane
	name  string
	woken chan struct{} // holds one: something was told

	mu       sync.Mutex
	known    bool // alive and why are so; before that nobody has looked
	alive    bool
	resting  bool // nothing runs, and nothing will before something is told
	restarts int
	why      string        // how it ended, or why it can't be started
	exit     <-chan string // how the process ends; nil where another process started it
}

// How long a node that dies at once waits for its next start, at least and at most; and how long it must have lived to
// begin with the least again.
const (
	leastPause = 250 * time.Millisecond
	mostPause  = 30 * time.Second
	steadyLife = time.Minute
)

// watch keeps the slot as told, until it is removed or ctx ends, which leaves the process alone.
func (s *slot) watch(ctx context.Context) {
	pause := leastPause
	s.remember()
	for ctx.Err() == nil {
		s.mu.Lock()
		s.resting = false // before it is asked what was told: who tells meanwhile waits
		s.mu.Unlock()
		told, ok := s.told()
		if !ok {
			return
		}
		h, err := told.Process.open()
		switch {
		case err == nil:
			s.is(true, "")
			began := time.Now()
			s.attend(ctx, h)
			h.Close()
			if ctx.Err() != nil {
				return
			}
			s.is(false, s.ending())
			s.plane.balancer.pool.gone(s.name)
			if told, _ = s.told(); !told.Run {
				break
			}
			if time.Since(began) > steadyLife {
				pause = leastPause
			}
			s.died()
			s.rest(ctx, pause)
			pause = min(2*pause, mostPause)
		case !errors.Is(err, os.ErrProcessDone):
			s.is(false, err.Error())
			s.rest(ctx, mostPause)
		case !told.Run:
			pause = leastPause
			s.is(false, "")
			s.mu.Lock()
			s.resting = true
			s.mu.Unlock()
			s.plane.changed.ring()
			select {
			case <-s.woken:
			case <-ctx.Done():
			}
		default:
			if err := s.begin(told); err != nil {
				s.is(false, err.Error())
				s.rest(ctx, pause)
				pause = min(2*pause, mostPause)
			}
		}
	}
}

// remember finds a process that was started just before its data plane died.
func (s *slot) remember() {
	told, _ := s.told()
	if h, err := told.Process.open(); err == nil {
		h.Close()
	} else if p, found := s.plane.dir.stray(s.name); found {
		s.record(p)
	}
}

func (s *slot) told() (Slot, bool) {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	t, ok := s.plane.told.Nodes[s.name]
	return t, ok
}

// is notes how the process does, and lets whoever waits for it look.
func (s *slot) is(alive bool, why string) {
	s.mu.Lock()
	changed := !s.known || s.alive != alive || s.why != why
	s.known, s.alive, s.why = true, alive, why
	s.mu.Unlock()
	if changed {
		s.plane.log.Info("node", "node", s.name, "runs", alive, "why", why)
		s.plane.changed.ring()
	}
}

func (s *slot) died() {
	s.mu.Lock()
	s.restarts++
	s.mu.Unlock()
	s.plane.metrics.restarts.WithLabelValues(s.name).Inc()
}

// ending is how the process ended, as far as that can be known.
func (s *slot) ending() string {
	s.mu.Lock()
	exit := s.exit
	s.exit = nil
	s.mu.Unlock()
	if exit == nil {
		return "ended"
	}
	return <-exit
}

func (s *slot) begin(told Slot) error {
	c, err := s.plane.dir.command(s.name, told.Revision)
	if err != nil {
		return err
	}
	p, exit, err := s.plane.dir.start(s.name, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.exit = exit
	s.mu.Unlock()
	s.record(p)
	return nil
}

// record keeps which process is the slot's. Where that can't be written down, its mark tells the next data plane.
func (s *slot) record(p Process) {
	err := s.plane.amend(func(t *Told) error {
		if slot, ok := t.Nodes[s.name]; ok {
			slot.Process = p
			t.Nodes[s.name] = slot
		}
		return nil
	})
	if err != nil {
		s.plane.log.Error("keep the state", "error", err)
	}
}

// attend returns when the process has ended, or ctx has. It stops the process once it is told to.
func (s *slot) attend(ctx context.Context, h hold) {
	ended := h.ended()
	look := time.NewTicker(10 * time.Second)
	defer look.Stop()
	var late <-chan time.Time
	asked := false
	for {
		told, _ := s.told()
		c, _ := s.plane.dir.command(s.name, told.Revision) // what can't be read asks for nothing special
		if !told.Run && !asked {
			asked = true
			gently := syscall.SIGTERM
			if c.Interrupt {
				gently = syscall.SIGINT
			}
			s.signal(h, gently)
			if told.Patience > 0 {
				late = time.After(time.Duration(told.Patience))
			}
		}
		select {
		case <-ended:
			return
		case <-late:
			s.signal(h, syscall.SIGKILL)
		case <-look.C:
			if err := cutLog(c.Log); err != nil {
				s.plane.log.Error("cut the log", "node", s.name, "error", err)
			}
		case <-s.woken:
		case <-ctx.Done():
			return
		}
	}
}

func (s *slot) signal(h hold, sig syscall.Signal) {
	if err := h.signal(sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.plane.log.Error("signal node", "node", s.name, "signal", sig.String(), "error", err)
	}
}

// rest waits, unless something is told meanwhile.
func (s *slot) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.woken:
	case <-ctx.Done():
	}
}

func (s *slot) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}
