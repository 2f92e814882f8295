package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
	"github.com/cloakwork/cloakwork/schema"
)

// A step is worked on by a goroutine of the process that began it, which holds the file "worker" locked for as long. What
// comes of it stands in step.json. A step that is said to be under way while nobody holds the lock is lost.

// verb is how a step is made, and how long that may take besides what a node may take to get ready.
type verb struct {
	do   func(*work, context.Context) error
	most time.Duration
}

var verbs = map[drift.Verb]verb{
	drift.Prepare: {(*work).prepare, 15 * time.Minute},
	drift.Dump:    {(*work).dump, time.Hour},
	drift.Drain:   {(*work).drain, 3 * time.Minute},
	drift.Replace: {(*work).replace, 3 * time.Minute},
	drift.Start:   {(*work).start, 2 * time.Minute},
	drift.Probe:   {(*work).probe, 2 * time.Minute},
	drift.Admit:   {(*work).admit, time.Minute},
	drift.Add:     {(*work).add, 2 * time.Minute},
	drift.Remove:  {(*work).remove, 3 * time.Minute},
	drift.Gate:    {(*work).gate, 3 * time.Minute},
	drift.Open:    {(*work).open, time.Minute},
	drift.Stop:    {(*work).stop, 3 * time.Minute},
	drift.Fence:   {(*work).fence, 2 * time.Minute},
	drift.Promote: {(*work).promote, 3 * time.Minute},
	drift.Follow:  {(*work).follow, 2 * time.Hour},
	drift.Degrade: {(*work).degrade, time.Minute},
	drift.Restore: {(*work).exchange, 3 * time.Minute},
}

// work is a step on its way.
type work struct {
	site
	want schema.Deployment
	step drift.Step
}

// Do implements platform.Driver.
func (d *Driver) Do(ctx context.Context, want schema.Deployment, step drift.Step) error {
	if d.life.Err() != nil {
		return errors.New("the driver is closed")
	}
	s, record, leave, err := d.enter(want.Name)
	if err != nil {
		return err
	}
	defer leave()
	if step.Epoch != record.Epoch || step.Epoch == 0 {
		return platform.ErrOldEpoch
	}
	how, ok := verbs[step.Verb]
	if !ok {
		return fmt.Errorf("platform local can't %s", step.Verb)
	}
	var move platform.Move
	if _, err := s.read(&move, "step.json"); err != nil {
		return err
	}
	worker, err := s.seize()
	switch {
	case err != nil:
		return err
	case worker == nil && move.Step == step:
		return nil
	case worker == nil:
		return fmt.Errorf("another step is under way: %s", move.Step)
	case move.Step == step && (move.State == platform.Done || move.State == platform.Failed):
		return worker.Close()
	}
	w := &work{s, want, step}
	if err := w.possible(); err != nil {
		worker.Close()
		return err
	}
	if err := s.write(platform.Move{Step: step, State: platform.Doing, At: now()}, "step.json"); err != nil {
		worker.Close()
		return fmt.Errorf("keep the step: %w", err)
	}
	d.working.Go(func() {
		defer worker.Close()
		w.run(how)
	})
	return nil
}

// possible tells what of the step can't be meant.
func (w *work) possible() error {
	switch w.step.Verb {
	case drift.Prepare:
		if w.step.Revision != w.want.Revision {
			return fmt.Errorf("revision %s isn't declared", w.step.Revision)
		}
	case drift.Replace, drift.Add:
		if _, err := w.release(w.step.Revision); err != nil {
			return err
		}
	}
	return nil
}

// run works on the step, and keeps what comes of it; where the driver is closed, nothing.
func (w *work) run(how verb) {
	ctx, cancel := context.WithTimeout(w.life, how.most+w.Ready)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	began := time.Now()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.watch(ctx, giveUp)
	}()
	err := how.do(w, ctx)
	giveUp(nil)
	<-watched
	if w.life.Err() != nil {
		return
	}
	move := platform.Move{Step: w.step, State: platform.Done, At: now()}
	if err != nil {
		if why := new(silent); errors.As(context.Cause(ctx), &why) {
			err = why
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("takes longer than %s: %w", how.most+w.Ready, err)
		}
		why := err.Error()
		if refused := new(distribution.Refused); errors.As(err, &refused) {
			why = refused.Why // its log goes apart
		}
		hide := w.secrets()
		move.State, move.Why, move.Log = platform.Failed, hide.Replace(why), hide.Replace(w.lastLines(err))
	}
	w.Log.Info("step ended", "deployment", w.name, "step", w.step.String(), "epoch", w.step.Epoch, "state", string(move.State),
		"why", drift.Escape(move.Why), "seconds", time.Since(began).Seconds())
	if err := w.past(move); err != nil {
		w.Log.Warn("keep what came of a step for people", "deployment", w.name, "step", w.step.String(), "error", err)
	}
	for { // until it is written, the step is under way: a full disk may be mended
		if err := w.write(move, "step.json"); err == nil {
			return
		} else {
			w.Log.Error("keep what came of a step", "deployment", w.name, "step", w.step.String(), "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-w.life.Done():
			return
		}
	}
}

// past keeps that a step of a region has ended.
func (s site) past(m platform.Move) error {
	var past []platform.Move
	if _, err := s.read(&past, "past.json"); err != nil {
		return err
	}
	return s.write(platform.Passed(past, m), "past.json")
}

// silent is why a step is given up: a region has fallen silent, and another one may have to take over.
type silent struct{ region string }

func (e *silent) Error() string { return "region " + e.region + " answers no longer" }

// watch gives a step up where the active region, or its own one, answers no longer for some time: a failover waits for its end.
func (w *work) watch(ctx context.Context, giveUp context.CancelCauseFunc) {
	if len(w.want.Regions) < 2 || w.step.Verb == drift.Fence || w.step.Verb == drift.Promote {
		return // these are what a failover is made of
	}
	record, err := w.record()
	if err != nil {
		return // whoever looks next says so
	}
	type state struct {
		answered, up bool
		since        time.Time
	}
	known := map[string]*state{cmp.Or(w.step.Region, w.want.Active): {}, cmp.Or(record.Active, w.want.Active): {}}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		for region, s := range known {
			r := seenRegion{name: region}
			if errors.Join(w.lookAtPlane(ctx, &r, true), w.lookAtDatabase(ctx, w.want, &r)) != nil {
				continue
			}
			s.answered, s.up = s.answered || r.answers, s.up || r.db.Up
			switch down := s.answered && !r.answers || s.up && r.answers && r.down(); {
			case !down:
				s.since = time.Time{}
			case s.since.IsZero():
				s.since = time.Now()
			case time.Since(s.since) > silence:
				giveUp(&silent{region})
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// silence is how long a region doesn't answer until a step is given up for that.
const silence = 2 * time.Second

// move is the last step that was taken up, and how far it is.
func (s site) move() (platform.Move, error) {
	for {
		var m, again platform.Move
		if _, err := s.read(&m, "step.json"); err != nil || m.State != platform.Doing {
			return m, err
		}
		busy, err := s.worked()
		if err != nil || busy {
			return m, err
		}
		if _, err := s.read(&again, "step.json"); err != nil {
			return m, err
		}
		if again == m {
			m.State = platform.Lost
			return m, nil
		}
	}
}

func now() time.Time { return time.Now().UTC() }
