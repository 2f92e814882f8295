package platformtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// crashes rolls to the next revision; whoever begins a step dies right after, and another process goes on.
func crashes(ctx context.Context, s Subject) error {
	crashed := map[drift.Step]bool{}
	return s.rolls(ctx, func(n *session) error {
		return n.settle(nil, func(step drift.Step) {
			if !crashed[step] {
				crashed[step] = true
				n.Crash()
				n.Opened = s.Open()
			}
		})
	})
}

// crashesBefore is the same, but that the step has only been saved. The process that goes on begins it.
func crashesBefore(ctx context.Context, s Subject) error {
	crashed := map[drift.Step]bool{}
	return s.rolls(ctx, func(n *session) error {
		return n.settle(func(step drift.Step) {
			if !crashed[step] {
				crashed[step] = true
				n.Crash() // so that to begin it fails
			}
		}, func(step drift.Step) {
			if crashed[step] {
				n.Opened = s.Open()
			}
		})
	})
}

// flaky is the same on calls of which every third is throttled, every fourth loses its answer, and every second look is an
// old one.
func flaky(ctx context.Context, s Subject) error {
	return s.rolls(ctx, func(n *session) error {
		n.Opened.Driver = &unreliable{Driver: n.Opened.Driver}
		return n.settle(nil, nil)
	})
}

// two rolls by two controllers that take turns, each with looks of its own that may be old.
func two(ctx context.Context, s Subject) error {
	return s.rolls(ctx, func(n *session) error {
		other := s.session(ctx)
		other.want = n.want
		other.Opened.Driver = &unreliable{Driver: other.Opened.Driver}
		for range s.Looks {
			other.look(nil, nil) // what it is refused is told by the end
			d, settled, _ := n.look(nil, nil)
			switch {
			case settled:
				return nil
			case d.Verdict == drift.Errored:
				return errors.New(d.Says)
			case ctx.Err() != nil:
				return ctx.Err()
			}
			time.Sleep(s.Pause)
		}
		return errors.New("never settled")
	})
}

// rolls installs the deployment, rolls it to the next revision as roll does, while one of each region may be out of service
// at any time, and expects it to serve.
func (s Subject) rolls(ctx context.Context, roll func(*session) error) error {
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	n.want = s.Next
	watcher := s.session(ctx)
	watcher.want = s.Next
	n.beside = func() error {
		seen, err := watcher.Observe(ctx, watcher.want)
		if err != nil {
			return err
		}
		return watcher.short(seen)
	}
	if err := roll(n); err != nil {
		return err
	}
	seen, err := s.Open().Observe(ctx, n.want)
	if err != nil {
		return err
	}
	if seen.Record.Lifecycle != platform.Running || seen.Record.Good != platform.ReleaseOf(s.Next) {
		return fmt.Errorf("the record is %+v", seen.Record)
	}
	return n.as(seen, s.Next.Revision)
}

// unreliable passes calls on to a driver: some are throttled, some answers get lost, and some looks are old.
type unreliable struct {
	platform.Driver
	calls int
	past  []platform.Seen
}

func (u *unreliable) call(do func() error) error {
	u.calls++
	if u.calls%3 == 0 {
		return errThrottled
	}
	if err := do(); err != nil || u.calls%4 != 0 {
		return err
	}
	return errLost
}

// Observe gives every second time the look before the last one.
func (u *unreliable) Observe(ctx context.Context, d schema.Deployment) (seen platform.Seen, err error) {
	err = u.call(func() error {
		if seen, err = u.Driver.Observe(ctx, d); err != nil {
			return err
		}
		u.past = append(u.past, seen)
		if len(u.past)%2 == 0 {
			seen = u.past[max(0, len(u.past)-3)]
		}
		return nil
	})
	return seen, err
}

func (u *unreliable) Apply(ctx context.Context, d schema.Deployment, changes []drift.Change, epoch int64) error {
	return u.call(func() error { return u.Driver.Apply(ctx, d, changes, epoch) })
}

func (u *unreliable) Do(ctx context.Context, d schema.Deployment, s drift.Step) error {
	return u.call(func() error { return u.Driver.Do(ctx, d, s) })
}

func (u *unreliable) Save(ctx context.Context, d schema.Deployment, old, new platform.Record) error {
	return u.call(func() error { return u.Driver.Save(ctx, d, old, new) })
}
