package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Restore is the record with which a database that a backup was restored into takes the place of the one that serves, or why
// that can't be. Nothing else may be under way.
func Restore(want schema.Deployment, have platform.Seen, database, point string) (platform.Record, error) {
	r := have.Record
	primary, _ := have.Region(r.Active)
	switch {
	case r.Active == "":
		return r, fmt.Errorf("deployment %s was never seen", want.Name)
	case r.Restore.Database != "":
		return r, fmt.Errorf("deployment %s is being restored already, from %s", want.Name, r.Restore.Point)
	case r.Toward != "":
		return r, fmt.Errorf("deployment %s is moving to %s", want.Name, r.Toward)
	case r.Lifecycle == platform.Starting, have.Move.State == platform.Doing:
		return r, fmt.Errorf("deployment %s is %s: wait until its move has ended, or stopped", want.Name, platform.Starting)
	case !primary.Lost.IsZero():
		return r, fmt.Errorf("region %s of deployment %s hasn't answered since %s", r.Active, want.Name, primary.Lost.UTC().Format("15:04"))
	}
	r.Epoch++
	r.Lifecycle, r.Step, r.Fault, r.Back, r.How = platform.Starting, drift.Step{}, platform.Fault{}, false, ""
	r.Restore = platform.Restoring{Database: database, Point: point}
	return r, nil
}

// restoring holds requests, stops every node, has the databases change places, and starts the nodes again. Where that fails,
// they start again with what there was.
func restoring(want schema.Deployment, have platform.Seen, now time.Time) Decision {
	u := &upgrade{want: want, seen: have, record: have.Record, now: now.UTC()}
	r := &u.record
	step, move := r.Step, have.Move
	ours := step.Verb == drift.Restore && move.Step == step
	switch {
	case r.Lifecycle == platform.Error:
		return u.failed()
	case ours && move.State == platform.Done:
		r.Restore.Done, r.Step = true, drift.Step{}
	case ours && move.State == platform.Failed:
		r.Restore.Why, r.Step = move.Why, drift.Step{}
	default:
		if d, unfinished := u.pending(); unfinished {
			return d
		}
	}
	if !r.Restore.Done && r.Restore.Why == "" {
		return u.exchange()
	}
	for _, next := range []func() (Decision, bool){u.halfway, u.open, u.startStopped} {
		if d, more := next(); more {
			return d
		}
	}
	was := r.Restore
	r.Restore = platform.Restoring{}
	if was.Why != "" {
		return u.fail(platform.Fault{Step: drift.Step{Verb: drift.Restore, Region: r.Active, Database: was.Database}, Why: was.Why + "; what there was serves again"})
	}
	r.Lifecycle, r.Step, r.At = platform.Running, drift.Step{}, u.now
	return u.progress("restored from %s; %s", was.Point, u.standing())
}

// exchange is the next step on the way to the other database.
func (u *upgrade) exchange() Decision {
	r := &u.record
	why := "the database is restored from " + r.Restore.Point
	if slices.ContainsFunc(u.seen.Nodes, func(n platform.Node) bool { return !n.Stopped }) {
		if active, ok := u.seen.Region(r.Active); ok && !active.Gated {
			return u.begin(drift.Step{Verb: drift.Gate, Region: r.Active, Why: why})
		}
		for _, region := range u.regions() {
			if slices.ContainsFunc(u.seen.Nodes, func(n platform.Node) bool { return n.Region == region && !n.Stopped }) {
				return u.begin(drift.Step{Verb: drift.Stop, Region: region, Why: why})
			}
		}
	}
	return u.begin(drift.Step{Verb: drift.Restore, Region: r.Active, Database: r.Restore.Database, Why: why})
}
