package rollout

import (
	"fmt"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// begin takes a step: it is saved with an epoch of its own, and then begun.
func (u *upgrade) begin(s drift.Step) Decision {
	u.record.Epoch = u.seen.Record.Epoch + 1
	s.Epoch = u.record.Epoch
	u.record.Step, u.record.At, u.record.Tries = s, u.now, 0
	return u.decision(&s, drift.Progressing, u.standing()+"; "+doing(s))
}

// progress is another look, while a move is in progress.
func (u *upgrade) progress(format string, args ...any) Decision {
	return u.decision(nil, drift.Progressing, fmt.Sprintf(format, args...))
}

// wait is another look at what should come by itself, for as long as patience lasts.
func (u *upgrade) wait(format string, args ...any) Decision {
	why := fmt.Sprintf(format, args...)
	if u.seen.Record.Lifecycle != platform.Starting {
		u.record.At = u.now // the wait begins the move
	}
	since := u.record.At
	if u.seen.Move.At.After(since) {
		since = u.seen.Move.At
	}
	if u.record.Lifecycle == platform.Starting && u.now.Sub(since) > patience {
		return u.fail(platform.Fault{Step: drift.Step{Node: u.seen.Move.Step.Node}, Why: why + ", for " + patience.String()})
	}
	return u.progress("%s; waits: %s", u.standing(), why)
}

func (u *upgrade) blocked(format string, args ...any) Decision {
	d := u.decision(nil, drift.Blocked, fmt.Sprintf(format, args...))
	d.Hint = "raise limits.nodes-down"
	return d
}

// suspended holds everything as it is.
func (u *upgrade) suspended() Decision {
	says := "suspended"
	if !u.want.Suspend.Until.IsZero() {
		says += " until " + u.want.Suspend.Until.UTC().Format("2 Jan")
	}
	if u.want.Suspend.Reason != "" {
		says += ": " + u.want.Suspend.Reason
	}
	d := u.decision(nil, drift.Suspended, says)
	d.Until = u.want.Suspend.Until
	return d
}

// failed says why a move stopped, and how to go on.
func (u *upgrade) failed() Decision {
	f := u.record.Fault
	says := f.Why
	if f.Step.Verb != "" {
		says = f.Step.String() + " failed: " + f.Why
	}
	if f.Step.Verb == drift.Prepare {
		says = "refused " + u.target() + ": " + f.Why
	}
	n, ok := u.seen.Node(f.Step.Node)
	if ok && n.Serves() && n.Revision == u.record.Good.Revision && u.record.Good != u.record.To && f.Step.Verb != "" && f.Step.Verb != drift.Drain {
		says = n.Name + " runs again what it ran: " + says
	}
	d := u.decision(nil, drift.Errored, u.serve()+"; "+says)
	d.Hint = "mend it in a new commit, or try again by `cloakwork resume " + u.want.Name + "`"
	d.Log = f.Log
	return d
}

func (u *upgrade) decision(s *drift.Step, v drift.Verdict, says string) Decision {
	if u.record != u.seen.Record {
		u.record.Epoch = u.seen.Record.Epoch + 1
	}
	return Decision{Record: u.record, Step: s, Verdict: v, Says: drift.Sentence(u.want.Name + ": " + says)}
}

// standing is how far the nodes are: 2 of 3 nodes run 26.7.4.
func (u *upgrade) standing() string {
	at, all := 0, u.want.Instances*len(u.want.Regions)
	for _, n := range u.seen.Nodes {
		if n.Revision == u.record.To.Revision && u.wanted(n.Name) {
			at++
		}
	}
	switch {
	case at < all && u.changesVersion():
		return fmt.Sprintf("%d of %s run %s", at, count(all, "node"), u.target())
	case at < all:
		return fmt.Sprintf("%d of %s as declared", at, count(all, "node"))
	}
	return u.serve()
}

// serve is how many nodes serve, of those that shall: 2 of 3 nodes serve.
func (u *upgrade) serve() string {
	serve, shall := 0, 0
	for _, n := range u.seen.Nodes {
		if n.Serves() && u.wanted(n.Name) {
			serve++
		}
	}
	for _, r := range u.want.Regions {
		if !u.cold(r.Name) {
			shall += u.want.Instances
		}
	}
	return fmt.Sprintf("%d of %s serve", serve, count(shall, "node"))
}

func (u *upgrade) changesVersion() bool {
	good, to := u.record.Good, u.record.To
	return good.Version != to.Version || good.Image != to.Image
}

// target names what the nodes are brought to.
func (u *upgrade) target() string {
	switch to := u.record.To; {
	case to.Version != "":
		return to.Version
	case to.Image != "":
		return to.Image
	default:
		return "revision " + to.Revision
	}
}

// change names what the move does to the nodes.
func (u *upgrade) change() string {
	if good := u.record.Good.Version; good != "" && good != u.record.To.Version {
		return good + " → " + u.target()
	}
	return "the change"
}

// differs is why a node is replaced.
func (u *upgrade) differs(n platform.Node) string {
	if n.Version != u.record.To.Version && n.Version != "" {
		return "runs " + n.Version + ", shall run " + u.target()
	}
	return "its settings changed"
}

func (u *upgrade) surplusWhy(n platform.Node) string {
	if !u.declared(n.Region) {
		return "its region is no longer declared"
	}
	return count(u.want.Instances, "node") + " declared"
}

// plan is what a move would do.
func (u *upgrade) plan(how platform.How) string {
	nodes := count(len(u.seen.Nodes), "node")
	if how == platform.Recreate {
		return "stop all of " + nodes + " and start them with " + u.target()
	}
	if u.changesVersion() {
		return "roll " + nodes + " to " + u.target()
	}
	return "restart " + nodes + " one by one"
}

// doing is a step in words, under way.
func doing(s drift.Step) string {
	words := map[drift.Verb]string{drift.Prepare: "preparing", drift.Dump: "dumping the database", drift.Drain: "draining", drift.Replace: "replacing",
		drift.Start: "starting", drift.Probe: "logging in through", drift.Admit: "admitting", drift.Add: "adding", drift.Remove: "removing",
		drift.Gate: "holding requests of", drift.Open: "opening", drift.Stop: "stopping", drift.Restore: "putting the backup in the place of the database of", drift.Fence: "fencing", drift.Degrade: "no longer waiting for", drift.Promote: "promoting",
		drift.Follow: "making a standby of"}[s.Verb]
	switch {
	case s.Node != "":
		words += " " + s.Node
	case s.Region != "":
		words += " " + s.Region
	}
	if s.Why != "" {
		words += " (" + s.Why + ")"
	}
	return words
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", n, what))
}
