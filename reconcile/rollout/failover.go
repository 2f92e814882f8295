package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Next is what happens next to a deployment: first to its regions, then to its nodes. While regions move, nodes wait, and both
// while a backup is on its way into the place of the database.
func Next(want schema.Deployment, have platform.Seen, now time.Time) Decision {
	if have.Record.Restore.Database != "" {
		return restoring(want, have, now)
	}
	d := Failover(want, have, now)
	silent := d.Verdict == drift.InSync
	if d.Step != nil || d.Record.Toward != "" || d.Verdict == drift.Progressing || d.Record != have.Record && !silent {
		return d
	}
	u := Upgrade(want, have, now)
	if d.Record != have.Record {
		u.Record, u.Step = d.Record, nil // first that, and then another look
		return u
	}
	minor := u.Verdict == drift.InSync || u.Verdict == drift.Drifted
	if u.Until.IsZero() || !d.Until.IsZero() && d.Until.Before(u.Until) {
		u.Until = d.Until
	}
	if !silent && (minor || d.Verdict == drift.Blocked && u.Step == nil && u.Verdict != drift.Progressing) {
		u.Verdict, u.Says, u.Hint = d.Verdict, d.Says, d.Hint
	}
	return u
}

// Failover brings the active region to where it is declared, or a person wants it, or where it can be when it is lost, one
// step at a time. Where nothing is to be done, it says what is wrong, or in sync.
//
// Two regions never take writes: one is promoted only when every other that could take them is seen as fenced or a standby.
// What that rests on: the Record names the region that is moved to, and the epoch of the last step of a region, so that
// nothing is decided on a look that is older; and it names the standby that has all that was acknowledged, until before the
// primary waits for it no longer.
func Failover(want schema.Deployment, have platform.Seen, now time.Time) Decision {
	f := &failover{upgrade: &upgrade{want: want, seen: have, record: have.Record, now: now.UTC()}}
	if len(f.everywhere()) < 2 || f.record.Active == "" || f.record.Restore.Database != "" { // a restore is nobody's but Next's
		return f.decision(nil, drift.InSync, "")
	}
	if want.DB.Managed() && !f.based() { // there is nothing yet that could move
		if len(have.Nodes) == 0 {
			f.record.Active = want.Active
		}
		return f.decision(nil, drift.InSync, "")
	}
	if d, unfinished := f.pending(); unfinished {
		return d
	}
	f.notice()
	if f.record.Toward != "" {
		return f.travel()
	}
	for _, step := range []func() (Decision, bool){f.oneWriter, f.suspended, f.lost, f.wish, f.ungate, f.follow, f.degrade} {
		if d, more := step(); more {
			return d
		}
	}
	return f.well()
}

// failover looks at the same as upgrade does.
type failover struct {
	*upgrade
	held func() Decision // why a switchover that is wanted isn't begun; nil where none is
}

// pause is how long a step that failed isn't begun again, and how long a standby has to get what was written last.
const pause = 30 * time.Second

// moves tells whether a step is of a region's database: those are Failover's alone.
func moves(v drift.Verb) bool {
	return v == drift.Fence || v == drift.Promote || v == drift.Follow || v == drift.Degrade
}

// pending deals with the step that was begun last, and tells whether that is all there is to do.
func (f *failover) pending() (Decision, bool) {
	step, move := f.record.Step, f.seen.Move
	old := move.Step.Epoch < f.record.Moved || move.Step.Epoch == f.record.Moved && move.State == platform.Lost // before its end
	ours := f.record.Toward != "" || moves(step.Verb) || step.Verb == drift.Open && f.record.How != platform.Recreate
	switch {
	case move.State == platform.Doing && (f.record.Toward != "" || moves(move.Step.Verb)):
		return f.going("%s", doing(move.Step)), true
	case move.State == platform.Doing:
		if r := f.region(f.record.Active); !r.Lost.IsZero() {
			return f.going("%s; waits for the end of %s", silent(r), move.Step), true
		}
		return f.decision(nil, drift.InSync, ""), true
	case ours && step.Verb != "" && move.Step.Epoch > step.Epoch:
		return f.going("looks again, what was seen is old"), true
	case ours && step.Verb != "" && (move.Step.Epoch < step.Epoch || move.State == platform.Lost):
		if f.now.Sub(f.record.At) < retry && step.Epoch == f.record.Epoch {
			return f.decision(&step, drift.Progressing, f.way()+"begins again: "+doing(step)), true
		}
		return f.do(step.Verb, step.Node, step.Region, "%s", step.Why), true
	case old && f.record.Toward != "":
		return f.going("looks again, what was seen is old"), true
	case old && step.Verb == "":
		return f.say(drift.Drifted, "what is seen of the regions is older than their last step"), true
	case old:
		return f.decision(nil, drift.InSync, ""), true // for nodes it may do
	case ours && move.State == platform.Failed && f.record.Toward == "":
		f.record.Step = drift.Step{} // it is no failure of the nodes
	}
	return Decision{}, false
}

// notice writes down what must be known when the primary can't be asked any more.
func (f *failover) notice() {
	r, active := &f.record, f.region(f.record.Active)
	if r.Override != "" && (r.Override == f.want.Active || r.Declared != f.want.Active || !f.declared(r.Override)) {
		r.Override, r.Declared = "", "" // git has caught up, or says something new
	}
	if !active.Lost.IsZero() || active.Role != platform.Primary {
		return
	}
	synced := f.region(r.Synced)
	if r.Synced != "" && !synced.Synchronous {
		r.Synced = ""
	}
	move := f.seen.Move
	if x := f.region(move.Step.Region); move.Step.Verb == drift.Follow && move.State == platform.Done && move.Step == r.Step && streams(x) && x.Synchronous {
		r.Synced = x.Name
	}
	switch alone := !slices.ContainsFunc(f.seen.Regions, streams); {
	case !alone:
		r.Apart = time.Time{}
	case r.Apart.IsZero():
		r.Apart = f.now
	}
}

// oneWriter mends what a person has done by hand: the Record says who is the primary, unless there is exactly one other.
func (f *failover) oneWriter() (Decision, bool) {
	active := f.region(f.record.Active)
	if !f.based() || !active.Lost.IsZero() {
		return Decision{}, false
	}
	var others []string
	for _, r := range f.seen.Regions {
		if r.Role == platform.Primary && r.Name != active.Name {
			others = append(others, r.Name)
		}
	}
	switch {
	case active.Role == platform.Primary:
		for _, name := range others {
			if f.region(name).Lost.IsZero() {
				return f.insist(drift.Fence, name, "it is a primary too, beside %s", active.Name), true
			}
		}
		return Decision{}, false
	case len(others) == 1 && f.region(others[0]).Lost.IsZero():
		f.activate(others[0])
		f.decided("by somebody's hand")
		return f.going("%s is the primary, by somebody's hand", others[0]), true
	case len(others) == 0 && active.Role == platform.Fenced:
		return f.toward(active.Name, "no region is the primary"), true
	case len(others) == 0 && f.goal() != active.Name && f.unfit(f.goal()) == "":
		return f.toward(f.goal(), f.wisher()), true
	}
	d := f.say(drift.Blocked, "no region is the primary for sure: %s", f.roles())
	d.Hint = "look at the databases; `cloakwork failover " + f.want.Name + " --to REGION` makes one the primary, where it has all"
	return d, true
}

func (f *failover) suspended() (Decision, bool) {
	s := f.want.Suspend
	return f.decision(nil, drift.InSync, ""), s != nil && (s.Until.IsZero() || f.now.Before(s.Until))
}

// lost has another region take over from the active one that doesn't answer.
func (f *failover) lost() (Decision, bool) {
	active := f.region(f.record.Active)
	if active.Lost.IsZero() {
		return Decision{}, false
	}
	if goal := f.goal(); goal != active.Name && f.unfit(goal) == "" {
		return f.toward(goal, f.wisher()), true // somebody wants it anyway
	}
	to, why := "", ""
	for _, r := range f.want.Regions {
		if r.Name == active.Name {
			continue
		}
		unfit := f.unfit(r.Name)
		if unfit == "" {
			to = r.Name
			break
		}
		why = unfit
	}
	due := active.Lost.UTC().Add(time.Duration(f.want.Failover.After))
	switch {
	case to == "":
		return f.say(drift.Blocked, "%s; nobody can take over: %s", silent(active), why), true
	case f.want.Failover.Mode != "automatic":
		d := f.say(drift.Blocked, "%s; %s can take over, by your word", silent(active), to)
		d.Hint = "cloakwork failover " + f.want.Name + " --to " + to
		return d, true
	case f.now.Before(due):
		d := f.say(drift.Drifted, "%s; %s takes over at %s", silent(active), to, due.Format("15:04:05"))
		d.Until = due
		return d, true
	}
	if why := f.failed(drift.Fence, active.Name); why != "" && f.now.Sub(f.record.At) < pause { // who sees it serve has called us back
		return f.stuck(drift.Fence, active.Name, why), true
	}
	return f.toward(to, silent(active)), true
}

// wish moves to the region that is declared to be active, or that a person wants. What it has to wait for goes on meanwhile.
func (f *failover) wish() (Decision, bool) {
	r, goal := &f.record, f.goal()
	if goal == r.Active {
		r.GaveUp = platform.GaveUp{}
		return Decision{}, false
	}
	hold := func(v drift.Verdict, until time.Time, format string, args ...any) (Decision, bool) {
		f.held = func() Decision {
			d := f.say(v, "would move from %s to %s%s", r.Active, goal, fmt.Sprintf(format, args...))
			d.Until = until
			return d
		}
		return Decision{}, false
	}
	again := r.GaveUp.At.Add(retry)
	if r.GaveUp.Times == 1 { // what was in the way may have been of the moment, and each try has people wait
		again = r.GaveUp.At.Add(pause)
	}
	if r.Back || r.How != "" && r.Lifecycle == platform.Starting {
		return hold(drift.Pending, time.Time{}, ", when the nodes are done")
	}
	if r.GaveUp.Why != "" && f.now.Before(again) {
		return hold(drift.Blocked, again, " again at %s; gave up: %s", again.Format("15:04"), r.GaveUp.Why)
	}
	if why := f.unready(goal); why != "" {
		return hold(drift.Blocked, time.Time{}, ": %s", why)
	}
	if open, next := window(f.want.Update.Windows, f.now); !open && r.Override == "" {
		return hold(drift.Pending, next, ", waits for its window %s", when(next))
	}
	return f.toward(goal, f.wisher()), true
}

// goal is the region that shall be active.
func (f *failover) goal() string {
	if f.record.Override != "" {
		return f.record.Override
	}
	return f.want.Active
}

// wisher is who wants the goal to be the active region.
func (f *failover) wisher() string {
	if f.record.Override != "" {
		return "cloakwork failover --to " + f.record.Override
	}
	return "active: " + f.want.Active
}

// unfit is why a region can't be promoted without a loss; "" where it can.
func (f *failover) unfit(name string) string {
	r := f.region(name)
	active := f.region(f.record.Active)
	switch {
	case !f.declared(name):
		return name + " isn't declared"
	case !r.Lost.IsZero():
		return silent(r)
	case !f.based() || r.Role == platform.Primary:
		return ""
	case r.Role == "":
		return name + " has no database"
	case r.Role == platform.Fenced && name == f.record.Active:
		return "" // it was the last that wrote
	case r.Role == platform.Fenced:
		return name + " is fenced, and has to follow first"
	case name == f.record.Active && name == f.record.Toward:
		return "" // it was fit when its promotion was begun
	case f.synchronous() && f.record.Synced != name:
		return name + " may lack what was acknowledged" + f.since()
	case !f.synchronous() && !active.Lost.IsZero() && !f.record.Apart.IsZero() && active.Lost.Sub(f.record.Apart) > pause:
		return name + " hasn't streamed" + f.since()
	case !f.synchronous() && active.Lost.IsZero() && active.Role == platform.Standby && active.LSN > r.LSN:
		return name + " lacks what " + active.Name + " has"
	}
	return ""
}

// unready is why a region can't take over from one that serves; "" where it can.
func (f *failover) unready(name string) string {
	r := f.region(name)
	if why := f.unfit(name); why != "" && (r.Role != platform.Standby || !r.Lost.IsZero()) {
		return why
	}
	switch nodes := f.in(name); {
	case f.based() && !r.Streaming:
		return fmt.Sprintf("%s doesn't stream, it is %s behind", name, size(r.Lag))
	case f.based() && f.synchronous() && f.record.Synced != name:
		return fmt.Sprintf("%s isn't synchronous, it is %s behind", name, size(r.Lag))
	case !slices.ContainsFunc(nodes, func(n platform.Node) bool { return n.Ready || n.Stopped }):
		return "no node of " + name + " is ready"
	}
	return ""
}

// Move is the record with which a person has another region be the active one, or why that can't be.
func Move(want schema.Deployment, have platform.Seen, to string) (platform.Record, error) {
	f := &failover{upgrade: &upgrade{want: want, seen: have, record: have.Record}}
	r := &f.record
	active := f.region(r.Active)
	switch {
	case !f.declared(to):
		return have.Record, fmt.Errorf("deployment %s has no region %q", want.Name, to)
	case r.Active == "":
		return have.Record, fmt.Errorf("deployment %s was never seen", want.Name)
	case r.Toward != "" && r.Toward != to:
		return have.Record, fmt.Errorf("deployment %s is moving to %s", want.Name, r.Toward)
	case f.goal() == to && r.GaveUp.Why == "":
		return have.Record, fmt.Errorf("%s is the active region of deployment %s, or about to be", to, want.Name)
	}
	why := f.unready(to)
	if !active.Lost.IsZero() || active.Role != platform.Primary {
		why = f.unfit(to)
	}
	if why != "" && to != r.Active {
		return have.Record, fmt.Errorf("move deployment %s from %s to %s: %s", want.Name, r.Active, to, why)
	}
	r.Epoch++
	r.GaveUp = platform.GaveUp{}
	if r.Override, r.Declared = "", ""; to != want.Active {
		r.Override, r.Declared = to, want.Active
	}
	return *r, nil
}
