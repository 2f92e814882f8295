package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// Deploy is one look at one deployment, from the beginning to the report. It begins at most one step of what needs order,
// and then another look is due. Its zero Mode plans.
type Deploy struct {
	Mode     Mode
	Driver   platform.Driver
	Want     *schema.Deployment // what is in force
	Problems []schema.Problem   // of the tree; those that block the deployment end the pass
	Commit   string             // "" for what stands in no commit
	Log      *slog.Logger

	By      string // who decides, as the Record has it; "" is the controller
	Regions bool   // looks after the regions alone: settings, and what nodes run, are left as they are
}

// Deployed is what a pass over a deployment came to.
type Deployed struct {
	drift.Report
	Record   platform.Record
	Seen     platform.Seen // when the pass began
	Observed bool          // somebody could look
	Serving  bool          // some node of the active region serves
	Until    time.Time     // when something is due by itself, besides the schedule; zero: nothing is
}

// Ready tells whether the deployment's realms may be read and written: no move is in progress, and somebody answers.
func (d Deployed) Ready() bool {
	return d.Serving && d.Record.Lifecycle != platform.Starting && d.Record.Toward == ""
}

// Run makes the pass. Its report says all that happened; the error is what ended it early.
func (p Deploy) Run(ctx context.Context) (done Deployed, err error) {
	done.Report = drift.Report{Commit: p.Commit, Deployment: p.Want.Name, Began: time.Now()}
	defer func() {
		if err != nil || done.Verdict == "" {
			conclude(&done.Report, p.Mode, err)
		}
		done.Ended = time.Now()
	}()
	if done.Problems = schema.BlockingDeployment(p.Problems, p.Want.Name); len(done.Problems) > 0 {
		return done, &Blocked{Why: done.Problems[0].String()}
	}
	seen, err := p.Driver.Observe(ctx, *p.Want)
	if err != nil {
		return done, fmt.Errorf("look at deployment %s: %w", p.Want.Name, err)
	}
	done.see(*p.Want, seen)
	if p.Regions {
		return done, p.carry(ctx, &done, seen, rollout.Failover(*p.Want, seen, time.Now()))
	}
	done.Changes, done.Objects, err = p.settings(ctx, seen)
	if p.Mode != Apply {
		p.plan(&done, seen)
		return done, err
	}
	return done, cmp.Or(p.move(ctx, &done, seen), err) // nodes go on, whatever is wrong with the settings
}

// see takes over what a look shows of the deployment as a whole.
func (d *Deployed) see(want schema.Deployment, seen platform.Seen) {
	d.Record, d.Seen, d.Observed = seen.Record, seen, true
	active := seen.Record.Active
	if active == "" {
		active = want.Active
	}
	d.Serving = slices.ContainsFunc(seen.Nodes, func(n platform.Node) bool { return n.Region == active && n.Serves() })
}

// settings compares what needs no order with what is desired of it, and applies what differs.
func (p Deploy) settings(ctx context.Context, seen platform.Seen) ([]drift.Change, int, error) {
	want, facts, err := p.Driver.Desired(*p.Want)
	if err != nil {
		return nil, 0, fmt.Errorf("say what deployment %s needs: %w", p.Want.Name, err)
	}
	changes := drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, want, seen.Have)
	var todo []drift.Change
	for i, c := range changes {
		if p.Want.Drift == "report" && c.Cause == drift.FromDrift {
			changes[i].Says = "reported only"
		} else {
			todo = append(todo, c)
		}
	}
	if suspends(p.Want.Suspend) {
		todo = slices.DeleteFunc(todo, func(c drift.Change) bool { return c.Address.Kind() != platform.Watchers })
	}
	if p.Mode != Apply || len(todo) == 0 {
		return changes, len(want), nil
	}
	limits := schema.Limits{Deletes: schema.Limit{Count: 10}, Changes: schema.Limit{Count: 30, Percent: true}, Origin: p.Want.Origin}
	if err := checkLimits(limits, todo, seen.Have, len(seen.Have)); err != nil {
		return changes, len(want), err
	}
	err = p.Driver.Apply(ctx, *p.Want, todo, seen.Record.Epoch)
	for i, c := range changes {
		if slices.ContainsFunc(todo, func(t drift.Change) bool { return t.Address == c.Address }) {
			changes[i].Outcome = drift.Done
			if err != nil {
				changes[i].Outcome, changes[i].Says = drift.Failed, drift.Escape(err.Error())
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("apply the settings of deployment %s: %w", p.Want.Name, err)
	}
	return changes, len(want), err
}

func suspends(s *schema.Suspend) bool {
	return s != nil && (s.Until.IsZero() || time.Now().Before(s.Until))
}

// plan says what apply would do.
func (p Deploy) plan(done *Deployed, seen platform.Seen) {
	steps, d := rollout.Plan(*p.Want, seen, time.Now())
	done.Steps, done.Verdict, done.Says, done.Hint, done.Log = steps, d.Verdict, d.Says, d.Hint, d.Log
	done.besides(p.Mode)
}

// besides lets the settings speak where the nodes have nothing to say.
func (d *Deployed) besides(mode Mode) {
	if d.Verdict != drift.InSync {
		return
	}
	says := d.Says
	conclude(&d.Report, mode, nil)
	if d.Verdict == drift.InSync {
		d.Says = says
	}
}

// move decides what happens next to the regions and nodes, and begins it.
func (p Deploy) move(ctx context.Context, done *Deployed, seen platform.Seen) error {
	err := p.carry(ctx, done, seen, rollout.Next(*p.Want, seen, time.Now()))
	done.Steps = rollout.Foresee(*p.Want, seen, time.Now())
	done.besides(p.Mode)
	return err
}

// carry saves what was decided, and begins it.
func (p Deploy) carry(ctx context.Context, done *Deployed, seen platform.Seen, d rollout.Decision) error {
	done.Verdict, done.Says, done.Hint, done.Log, done.Until = d.Verdict, d.Says, d.Hint, d.Log, d.Until
	if d.Record.Decided != seen.Record.Decided {
		d.Record.Decided.By = cmp.Or(p.By, "the controller")
	}
	err := p.begin(ctx, seen.Record, d)
	if errors.Is(err, platform.ErrMoved) || errors.Is(err, platform.ErrOldEpoch) {
		done.Verdict, done.Says = drift.Progressing, drift.Sentence(p.Want.Name+": another controller has been faster, looks again")
		return nil
	}
	if err == nil {
		done.Record = d.Record
	}
	return err
}

// begin saves the record, with the step that is about to be begun, and begins it.
func (p Deploy) begin(ctx context.Context, old platform.Record, d rollout.Decision) error {
	if d.Record != old {
		if err := p.Driver.Save(ctx, *p.Want, old, d.Record); err != nil {
			return fmt.Errorf("save the record of deployment %s: %w", p.Want.Name, err)
		}
	}
	if d.Step == nil {
		return nil
	}
	if p.Log != nil {
		p.Log.Info("step", "deployment", p.Want.Name, "step", d.Step.String(), "epoch", d.Step.Epoch, "why", drift.Escape(d.Step.Why))
	}
	if err := p.Driver.Do(ctx, *p.Want, *d.Step); err != nil {
		return fmt.Errorf("%s of deployment %s: %w", d.Step, p.Want.Name, err)
	}
	return nil
}
