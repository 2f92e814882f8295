package platformtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

func neverSeen(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	seen, err := n.Observe(ctx, n.want)
	if err != nil {
		return err
	}
	if seen.Record != (platform.Record{}) || seen.Move != (platform.Move{}) || len(seen.Nodes) > 0 || len(seen.Have) > 0 {
		return fmt.Errorf("sees %+v", seen)
	}
	return nil
}

func saves(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	first := platform.Record{Epoch: 1, Active: n.want.Active}
	second := platform.Record{Epoch: 2, Active: n.want.Active, Override: "elsewhere"}
	for _, c := range []struct {
		what     string
		old, new platform.Record
		want     error
	}{
		{"the first one", platform.Record{}, first, nil},
		{"the first one again", platform.Record{}, first, platform.ErrMoved},
		{"another first one", platform.Record{}, second, platform.ErrMoved},
		{"over one that never was", platform.Record{Epoch: 7}, platform.Record{Epoch: 8}, platform.ErrMoved},
		{"the second one", first, second, nil},
		{"over the first one", first, platform.Record{Epoch: 3}, platform.ErrMoved},
	} {
		if err := n.Save(ctx, n.want, c.old, c.new); !errors.Is(err, c.want) {
			return fmt.Errorf("saves %s: %v, want %v", c.what, err, c.want)
		}
	}
	for _, epoch := range []int64{1, 2} {
		if err := n.Save(ctx, n.want, second, platform.Record{Epoch: epoch}); err == nil {
			return fmt.Errorf("saves epoch %d after 2", epoch)
		}
	}
	return n.sees(second)
}

// sees looks for a record in a process of its own.
func (s *session) sees(want platform.Record) error {
	seen, err := s.Open().Observe(s.ctx, s.want)
	if err == nil && seen.Record != want {
		err = fmt.Errorf("the record is %+v, want %+v", seen.Record, want)
	}
	return err
}

func oneWinner(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	var old platform.Record
	for round := range int64(5) {
		var wait sync.WaitGroup
		results := make([]error, 8)
		news := make([]platform.Record, len(results))
		for i := range results {
			o := s.Open()
			news[i] = platform.Record{Epoch: old.Epoch + 1, Override: fmt.Sprint(round, "/", i)}
			wait.Go(func() { results[i] = o.Save(ctx, n.want, old, news[i]) })
		}
		wait.Wait()
		won := -1
		for i, err := range results {
			switch {
			case err == nil && won >= 0:
				return fmt.Errorf("two saves over epoch %d both succeed", old.Epoch)
			case err == nil:
				won = i
			case !errors.Is(err, platform.ErrMoved):
				return fmt.Errorf("save over epoch %d: %w", old.Epoch, err)
			}
		}
		if won < 0 {
			return fmt.Errorf("no save over epoch %d succeeds", old.Epoch)
		}
		old = news[won]
		if err := n.sees(old); err != nil {
			return err
		}
	}
	return nil
}

func keepsTheRecord(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	full := platform.Record{Lifecycle: platform.Error, Epoch: 9, Active: "paris", Override: "milan", Declared: "paris",
		Toward: "milan", Moved: 8, Since: time.Date(2026, 8, 3, 2, 0, 0, 123_000_000, time.UTC), Synced: "milan", Apart: time.Date(2026, 8, 3, 2, 0, 1, 0, time.UTC),
		Decided: platform.Decided{By: "the watcher of milan", Why: "paris hasn't answered since 02:00:00", At: time.Date(2026, 8, 3, 2, 0, 1, 0, time.UTC)},
		GaveUp:  platform.GaveUp{At: time.Date(2026, 8, 3, 2, 0, 2, 0, time.UTC), Why: "milan lacks 3 bytes", Times: 2},
		Restore: platform.Restoring{Database: "restored", Point: "vault/cold/1", Done: true, Why: "no"},
		To:      platform.Release{Revision: "r2", Version: "26.7.3", Image: "i", Explicit: "e"},
		Good:    platform.Release{Revision: "r1", Version: "26.7.2"}, Began: 4, How: platform.Recreate, Back: true,
		Step:  drift.Step{Verb: drift.Replace, Node: "paris-0", Region: "paris", Revision: "r2", Epoch: 9, Why: "says \"why\" – ünïcode"},
		Tries: 2,
		At:    time.Date(2026, 8, 3, 2, 0, 0, 123_000_000, time.UTC),
		Fault: platform.Fault{Step: drift.Step{Verb: drift.Probe, Node: "paris-0"}, Why: "no login", Log: "line 1\nline 2\n"}}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			return fmt.Errorf("the suite doesn't set %s", v.Type().Field(i).Name)
		}
	}
	if err := n.Save(ctx, n.want, platform.Record{}, full); err != nil {
		return err
	}
	n.Crash()
	return n.sees(full)
}

func refusesEpochs(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	record := platform.Record{Epoch: 5, To: platform.ReleaseOf(n.want)}
	if err := n.Save(ctx, n.want, platform.Record{}, record); err != nil {
		return err
	}
	for _, epoch := range []int64{0, 1, 4, 6} {
		for _, verb := range []drift.Verb{drift.Prepare, drift.Add} {
			step := drift.Step{Verb: verb, Revision: n.want.Revision, Epoch: epoch}
			if verb == drift.Add {
				step.Node, step.Region = n.want.Slots(n.want.Active)[0], n.want.Active
			}
			if err := n.Do(ctx, n.want, step); !errors.Is(err, platform.ErrOldEpoch) {
				return fmt.Errorf("%s of epoch %d while 5 is in force: %v, want %v", step, epoch, err, platform.ErrOldEpoch)
			}
		}
	}
	want, _, err := n.Desired(n.want)
	if err != nil {
		return err
	}
	var changes []drift.Change
	for _, a := range want.Addresses() {
		changes = append(changes, drift.Change{Op: drift.Create, Address: a, Want: want[a]})
	}
	if err := n.Apply(ctx, n.want, changes, 4); !errors.Is(err, platform.ErrOldEpoch) {
		return fmt.Errorf("apply of epoch 4 while 5 is in force: %v, want %v", err, platform.ErrOldEpoch)
	}
	for range 3 {
		seen, err := n.Observe(ctx, n.want)
		if err != nil {
			return err
		}
		if seen.Move.Step.Verb != "" || len(seen.Nodes) > 0 || len(seen.Have) > 0 {
			return fmt.Errorf("what was refused has been begun: %+v", seen)
		}
		time.Sleep(s.Pause)
	}
	return nil
}

// desired applies what is wanted, then another wish, then the first one again: objects come, change and go.
func desired(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	if err := n.Save(ctx, n.want, platform.Record{}, platform.Record{Epoch: 1}); err != nil {
		return err
	}
	first, _, err := n.Desired(s.Want)
	if err != nil {
		return err
	}
	if len(first) == 0 {
		return errors.New("nothing is desired")
	}
	moved := false
	for _, d := range []schema.Deployment{s.Want, s.Want, s.Edited, s.Want} {
		want, facts, err := n.Desired(d)
		if err != nil {
			return err
		}
		if again, _, _ := s.Open().Desired(d); !cmp.Equal(want, again) {
			return fmt.Errorf("what is desired differs from call to call:\n%s", cmp.Diff(want, again))
		}
		moved = moved || !cmp.Equal(want, first)
		for range 2 {
			changes, err := n.differs(want, facts)
			if err != nil {
				return err
			}
			for range 2 { // the second time after an answer that was lost
				if err := n.Apply(ctx, d, changes, 1); err != nil {
					return fmt.Errorf("apply: %w", err)
				}
			}
			left, err := n.differs(want, facts)
			if err != nil {
				return err
			}
			if len(left) > 0 {
				return fmt.Errorf("after apply there is left: %s", drift.SayChanges(left))
			}
		}
	}
	if !moved {
		return errors.New("the suite's Edited desires the same as Want")
	}
	return nil
}

func (s *session) differs(want schema.State, facts schema.Facts) ([]drift.Change, error) {
	seen, err := s.Observe(s.ctx, s.want)
	if err != nil {
		return nil, err
	}
	return drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, want, seen.Have), nil
}
