// Package rollout decides what happens next to a deployment: which one step, and in which words it is reported. It looks
// at what is wanted and what is seen, and touches nothing.
package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Decision is what is to be done now.
type Decision struct {
	Record  platform.Record // to be saved first, where it isn't the one that was seen
	Step    *drift.Step     // to be begun then; nil: nothing but another look
	Verdict drift.Verdict
	Says    string    // the sentence for the report
	Hint    string    // what a person can do, where one is needed
	Log     string    // the last lines of the node that failed
	Until   time.Time // nothing changes by itself before; zero: look again soon, or by the schedule where all is in sync
}

// patience is how long a move waits for what should come by itself: a node that restarts, a cluster that finds together.
const patience = 15 * time.Minute

// Upgrade brings the nodes to what is declared, one step at a time, in whichever region is active. What it rests on: the Record names the step that was
// last begun, so that a step which the platform doesn't show was never begun, or the look is old; either way it is begun
// again, and does no harm. Every other step is taken from what is seen after that one.
func Upgrade(want schema.Deployment, have platform.Seen, now time.Time) Decision {
	u := &upgrade{want: want, seen: have, record: have.Record, now: now.UTC()}
	if want.Suspend != nil && (want.Suspend.Until.IsZero() || now.Before(want.Suspend.Until)) && u.record.Lifecycle != platform.Starting {
		return u.suspended()
	}
	if d, unfinished := u.pending(); unfinished {
		return d
	}
	if u.record.Lifecycle == platform.Error {
		if u.record.To.Revision == want.Revision {
			return u.failed()
		}
		u.leave()
	}
	u.adopt()
	if u.record.Back {
		return u.restore()
	}
	if !u.work() {
		return u.settled()
	}
	for _, r := range u.seen.Regions {
		if !r.Lost.IsZero() {
			return u.wait("region %s hasn't answered since %s", r.Name, r.Lost.UTC().Format("15:04"))
		}
	}
	if u.record.How == "" {
		if d, undecided := u.decide(); undecided {
			return d
		}
	}
	u.record.Lifecycle = platform.Starting
	return u.move()
}

type upgrade struct {
	want   schema.Deployment
	seen   platform.Seen
	record platform.Record // as it is to be
	now    time.Time
}

// pending deals with the step that was begun last, and tells whether that is all there is to do.
func (u *upgrade) pending() (Decision, bool) {
	step, move := u.record.Step, u.seen.Move
	switch {
	case move.State == platform.Doing: // ours, or that of a controller that has been overtaken
		return u.progress("%s", doing(move.Step)), true
	case step.Verb == "":
		return Decision{}, false
	case move.Step.Epoch > step.Epoch: // the record is an old one
		return u.progress("looks again, what was seen is old"), true
	case move.Step.Epoch < step.Epoch || move.State == platform.Lost:
		return u.again(step)
	case move.State == platform.Failed:
		return u.fail(platform.Fault{Step: step, Why: move.Why, Log: move.Log}), true
	}
	return Decision{}, false
}

// tries is how often a step that the platform doesn't take up is given another epoch, and retry how long it is begun with one.
const (
	tries = 3
	retry = patience / tries
)

// again begins a step that isn't under way, though it should be. A revision that is no longer declared can't be prepared.
func (u *upgrade) again(step drift.Step) (Decision, bool) {
	switch r := &u.record; {
	case step.Verb == drift.Prepare && step.Revision != u.want.Revision:
		r.Step = drift.Step{}
		return Decision{}, false
	case step.Verb == drift.Drain && !u.expendable(step.Node):
		return u.wait("%s can't be spared now", step.Node), true
	case u.now.Sub(r.At) < retry && step.Epoch == r.Epoch:
		return u.decision(&step, drift.Progressing, "begins again: "+doing(step)), true
	case u.now.Sub(r.At) >= retry && r.Tries >= tries:
		return u.fail(platform.Fault{Step: step, Why: "the platform doesn't take it up"}), true
	case u.now.Sub(r.At) >= retry:
		tried := r.Tries
		d := u.begin(step)
		d.Record.Tries = tried + 1
		return d, true
	}
	return u.begin(step), true
}

// expendable tells whether a node may be taken out of service, as far as can be seen.
func (u *upgrade) expendable(node string) bool {
	n, ok := u.seen.Node(node)
	return !ok || !n.Serves() || u.record.Back || u.spare(n) && u.apart() == ""
}

// leave ends ERROR, for a new revision. A node that was left out of service keeps the deployment STARTING.
func (u *upgrade) leave() {
	u.record.Lifecycle, u.record.Fault, u.record.Step, u.record.Back = platform.Running, platform.Fault{}, drift.Step{}, false
	if !u.calm() {
		u.record.Lifecycle = platform.Starting
	}
	u.aim(platform.ReleaseOf(u.want))
}

// Resume is the record with which a move goes on that stopped in ERROR; false where it isn't in ERROR.
func Resume(r platform.Record) (platform.Record, bool) {
	if r.Lifecycle != platform.Error {
		return r, false
	}
	r.Epoch++
	r.Lifecycle, r.Fault, r.Back, r.How, r.Began = platform.Starting, platform.Fault{}, false, "", r.Epoch
	if r.Toward == "" && !moves(r.Step.Verb) { // a step of regions is Failover's, and taken up in any case
		r.Step = drift.Step{}
	}
	return r, true
}

// adopt takes up what is declared, unless nodes are on their way to something else: a newer revision then waits.
func (u *upgrade) adopt() {
	if u.record.Active == "" {
		u.record.Active = u.want.Active
	}
	if u.record.Lifecycle == "" {
		u.record.Lifecycle = platform.Running
	}
	if u.record.How == "" && !u.record.Back && u.calm() {
		u.record.Lifecycle = platform.Running // nothing is broken by the move that stopped, and nothing moves
	}
	switch to := platform.ReleaseOf(u.want); {
	case u.record.To.Revision == to.Revision:
		u.record.To = to
	case u.record.Lifecycle != platform.Starting || u.record.How == "" && !u.record.Back:
		u.aim(to)
	}
}

func (u *upgrade) aim(to platform.Release) {
	u.record.To, u.record.How, u.record.Began = to, "", u.record.Epoch+1
}

// work tells whether any node isn't as it shall be, but for those that the platform restarts by itself.
func (u *upgrade) work() bool {
	if r, _ := u.seen.Region(u.record.Active); r.Gated {
		return true
	}
	for _, n := range u.seen.Nodes {
		if !u.wanted(n.Name) || n.Revision != u.record.To.Revision || n.Stopped != u.cold(n.Region) || !n.Stopped && !n.In {
			return true
		}
	}
	return len(u.missing()) > 0
}

// decide finds out how the nodes are to be brought to the release, and whether now; undecided where that isn't yet so.
func (u *upgrade) decide() (d Decision, undecided bool) {
	changes := slices.ContainsFunc(u.seen.Nodes, func(n platform.Node) bool { return n.Revision != u.record.To.Revision })
	if !changes && u.record.To.Revision == u.record.Good.Revision {
		u.record.How = platform.Roll
		return Decision{}, false
	}
	fit := u.seen.Fit
	if fit.Revision != u.record.To.Revision || fit.Epoch < u.record.Began {
		return u.begin(drift.Step{Verb: drift.Prepare, Revision: u.record.To.Revision, Why: "to be tried before any node is touched"}), true
	}
	how, why := u.how(fit)
	if how == "" {
		return u.fail(platform.Fault{Step: u.record.Step, Why: why}), true
	}
	if changes && u.record.Lifecycle == platform.Running {
		if how == platform.Roll && u.want.Limits.NodesDown < 1 {
			return u.blocked("limits.nodes-down is 0, and %s takes a node down", u.change()), true
		}
		if open, next := window(u.want.Update.Windows, u.now); !open {
			d := u.decision(nil, drift.Pending, fmt.Sprintf("would %s, waits for its window %s", u.plan(how), when(next)))
			d.Until = next
			return d, true
		}
	}
	u.record.How = how
	return Decision{}, false
}

// how is the way that the strategy and the verdict leave; none, and why, where the release is refused.
func (u *upgrade) how(fit platform.Fit) (platform.How, string) {
	to, good := u.record.To, u.record.Good
	var alive bool
	known := true
	for _, n := range u.seen.Nodes {
		alive = alive || n.Ready
		known = known && (n.Revision == to.Revision || slices.Contains(fit.From, n.Revision))
	}
	switch strategy := u.want.Update.Strategy; {
	case strategy == "Explicit" && to.Explicit != good.Explicit:
		return platform.Recreate, ""
	case strategy == "Explicit":
		return platform.Roll, ""
	}
	for _, n := range u.seen.Nodes {
		if older(platform.Minor(to.Version), platform.Minor(n.Version)) {
			return "", fmt.Sprintf("%s can't go back to %s, whose database is another; restore the dump made before", n.Version, to.Version)
		}
	}
	switch {
	case len(u.seen.Nodes) == 0:
		return platform.Roll, ""
	case u.want.Update.Strategy == "RecreateOnImageChange" && (to.Version != good.Version || to.Image != good.Image):
		return platform.Recreate, ""
	case fit.Verdict == platform.Compatible && known:
		return platform.Roll, "" // also where no node is ready: it may be the database that is away for a moment
	case fit.Verdict == platform.Incompatible && known, !alive:
		return platform.Recreate, ""
	}
	why := "nobody knows whether it can serve beside what runs"
	if fit.Says != "" {
		why += ": " + fit.Says
	}
	return "", why
}

// calm tells whether nothing is broken that a change could mend: every node serves, or is stopped in a passive region, and
// all run the same.
func (u *upgrade) calm() bool {
	for _, n := range u.seen.Nodes {
		rests := n.Stopped && n.Region != u.record.Active
		if n.Revision != u.seen.Nodes[0].Revision || !rests && !n.Serves() {
			return false
		}
	}
	return true
}

// fail stops the move, or brings its node back to what it ran, where that is asked for and can be done.
func (u *upgrade) fail(f platform.Fault) Decision {
	r := &u.record
	if r.Back {
		f.Why = r.Fault.Why + "; bringing it back failed too: " + f.Why
		f.Step.Node, f.Step.Region = r.Fault.Step.Node, r.Fault.Step.Region
	} else if u.restorable(f.Step) {
		r.Back, r.Fault, r.Step = true, f, drift.Step{}
		return u.restore()
	}
	if u.want.Update.OnFailure == "rollback" && u.changesVersion() && f.Step.Node != "" && !r.Back {
		f.Why += fmt.Sprintf("; holds, since %s → %s needs all nodes to stop", u.target(), r.Good.Version)
	}
	r.Lifecycle, r.Fault, r.Step, r.Back = platform.Error, f, drift.Step{}, false
	return u.failed()
}

// restorable tells whether the node that a step failed on may run again what it ran: a version that went back would need
// all nodes to stop.
func (u *upgrade) restorable(s drift.Step) bool {
	to, good := u.record.To, u.record.Good
	switch s.Verb {
	case drift.Drain, drift.Replace, drift.Probe, drift.Admit:
	default:
		return false
	}
	return u.want.Update.OnFailure == "rollback" && u.record.How == platform.Roll && good.Revision != "" && good.Revision != to.Revision &&
		good.Version == to.Version && good.Image == to.Image
}

// restore brings the node of the fault back to what it ran, and then stops.
func (u *upgrade) restore() Decision {
	good, fault := u.record.Good, u.record.Fault
	u.record.Lifecycle = platform.Starting
	n, there := u.seen.Node(fault.Step.Node)
	switch {
	case !there:
	case n.Revision != good.Revision && (n.In || !n.Drained()):
		return u.begin(drift.Step{Verb: drift.Drain, Node: n.Name, Region: n.Region, Why: "to be brought back to what it ran"})
	case n.Revision != good.Revision:
		return u.begin(drift.Step{Verb: drift.Replace, Node: n.Name, Region: n.Region, Revision: good.Revision, Why: "brought back to what it ran: " + fault.Why})
	case !n.In:
		return u.bringIn(n, good.Revision)
	}
	u.record.Lifecycle, u.record.Back, u.record.Step = platform.Error, false, drift.Step{}
	return u.failed()
}

// settled is the end of a move, and how it looks when there is none.
func (u *upgrade) settled() Decision {
	r := &u.record
	r.Lifecycle, r.Good, r.How, r.Step = platform.Running, r.To, "", drift.Step{}
	if r.To.Revision != u.want.Revision { // it waited, and is next
		return u.progress("%s; a newer revision is next", u.standing())
	}
	var down []platform.Node
	for _, n := range u.seen.Nodes {
		if !n.Stopped && !n.Ready {
			down = append(down, n)
		}
	}
	if len(down) > 0 {
		why := "it restarts by itself"
		if down[0].Why != "" {
			why += ": " + down[0].Why
		}
		return u.decision(nil, drift.Drifted, fmt.Sprintf("%s, %s is down; %s", u.standing(), down[0].Name, why))
	}
	return u.decision(nil, drift.InSync, u.standing())
}
