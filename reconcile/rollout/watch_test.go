package rollout_test

import (
	"fmt"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// decided is what was so when a step was decided, and may have changed until it is begun.
type decided struct {
	dead      bool // the node didn't serve anyway
	instances int
	ready     map[string]bool // nodes, which may have died since
	apart     bool            // a node didn't see its whole cluster
}

// watch is told of all that changes, and holds it against what must always be so.
func (l *life) watch(before, after platform.Seen) {
	for _, wrong := range []string{
		l.saved(before.Record, after.Record, after), l.leaves(before, after), l.begun(before, after),
	} {
		if wrong != "" && l.wrong == nil {
			l.wrong = fmt.Errorf("%s\nbefore %+v\nafter  %+v", wrong, before, after)
		}
	}
	if step := after.Move.Step; after.Move.State == platform.Done && before.Move.State == platform.Doing {
		switch step.Verb {
		case drift.Probe:
			l.probed[step.Node] = true
		case drift.Replace, drift.Start, drift.Add:
			l.probed[step.Node] = false
		}
	}
}

// saved holds what is written into the record against what is seen then.
func (l *life) saved(b, a platform.Record, seen platform.Seen) string {
	if a == b {
		return ""
	}
	changes, newer := false, false
	for _, n := range seen.Nodes {
		changes = changes || n.Revision != a.To.Revision
		newer = newer || platform.Minor(n.Version) > platform.Minor(a.To.Version)
	}
	set := b.How == "" && a.How != ""
	strategy := l.want.Update.Strategy
	switch {
	case a.Epoch <= b.Epoch:
		return "the epoch doesn't rise"
	case b.Lifecycle == platform.Starting && a.Lifecycle == platform.Starting && b.How != "" && b.To.Revision != a.To.Revision:
		return "what nodes are brought to changes in the midst"
	case set && changes && strategy == "Auto" && a.How == platform.Roll && (seen.Fit.Verdict != platform.Compatible || seen.Fit.Revision != a.To.Revision):
		return "rolls what isn't known to be compatible"
	case set && newer && strategy != "Explicit":
		return "goes back behind the database's version"
	case set && changes && b.Lifecycle == platform.Running && len(l.want.Update.Windows) > 0 && (l.now.Hour() < 2 || l.now.Hour() > 3):
		return "begins outside its window, at " + l.now.String()
	case a.Back && !b.Back && (a.Good.Version != a.To.Version || l.want.Update.OnFailure != "rollback"):
		return "brings a node back that must be held"
	case a.Lifecycle == platform.Error && b.Lifecycle != platform.Error && a.Fault.Why == "":
		return "stops without a reason"
	}
	return ""
}

// leaves tells whether what a controller does leaves enough nodes in service.
func (l *life) leaves(before, after platform.Seen) string {
	step := after.Move.Step
	then := l.decided[step]
	if step == before.Move.Step && after.Move.State == before.Move.State || after.Record.How == platform.Recreate || then.dead {
		return ""
	}
	for _, region := range []string{"paris", "milan"} {
		if _, declared := l.want.Region(region); !declared || l.want.Standby == "cold" && region != "paris" {
			continue
		}
		slots := 0
		for _, n := range before.Nodes {
			if n.Region == region {
				slots++
			}
		}
		had, has := serving(before, region), serving(after, region)
		for _, n := range after.Nodes {
			if n.Region == region && n.Why == "killed" && then.ready[n.Name] {
				has, had = has+1, had+1
			}
		}
		if least := min(then.instances, slots) - l.want.Limits.NodesDown; has < had && has < least {
			return fmt.Sprintf("%s leaves %d nodes of %s in service, %d must be", step, has, region, least)
		}
	}
	return ""
}

// begun holds a step against what must have been before it.
func (l *life) begun(before, after platform.Seen) string {
	step, record := after.Move.Step, after.Record
	if step == before.Move.Step {
		return ""
	}
	n, there := before.Node(step.Node)
	then := l.decided[step]
	starts := step.Verb == drift.Start || step.Verb == drift.Add || step.Verb == drift.Replace && !n.Stopped
	var old, running, migrates bool // nodes of another revision that run; of the new one; of another minor version
	for _, o := range before.Nodes {
		if o.Revision != record.To.Revision {
			old = old || !o.Stopped
			migrates = migrates || platform.Minor(o.Version) != platform.Minor(record.To.Version)
		} else {
			running = running || !o.Stopped
		}
	}
	switch {
	case before.Move.State == platform.Doing:
		return "another step is begun while one is under way"
	case (step.Verb == drift.Replace || step.Verb == drift.Remove) && there && !n.Drained() && !then.dead:
		return step.String() + ": it has requests to answer"
	case step.Verb == drift.Admit && !l.probed[n.Name]:
		return step.String() + ": nobody tried it"
	case step.Verb == drift.Admit && then.apart:
		return step.String() + ": it wasn't in its cluster"
	case step.Verb == drift.Drain && then.apart && n.In && !then.dead && !record.Back:
		return step.String() + ": its cluster wasn't whole"
	case record.How == platform.Recreate && !record.Back && starts && old:
		return step.String() + ": nodes of another revision still run"
	case record.How != "" && !record.Back && starts && migrates && !running && after.Dumped < record.Began && record.To.Version != "":
		return step.String() + ": there is no dump"
	}
	return ""
}
