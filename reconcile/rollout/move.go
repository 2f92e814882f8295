package rollout

import (
	"fmt"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// move is the next step of a move that is decided, or its end.
func (u *upgrade) move() Decision {
	if u.record.How == platform.Recreate {
		if d, more := u.halt(); more {
			return d
		}
	}
	if d, more := u.halfway(); more {
		return d
	}
	for _, step := range []func() (Decision, bool){u.open, u.cool, u.surplus, u.startStopped, u.replaceNext, u.add, u.unspared} {
		if d, more := step(); more {
			return d
		}
	}
	return u.settled()
}

// halt stops every node of an old revision before any of the new one starts: first the front holds what comes, then the
// passive regions stop, then the active one.
func (u *upgrade) halt() (Decision, bool) {
	to := u.record.To.Revision
	running := func(n platform.Node) bool { return !n.Stopped && n.Revision != to }
	if slices.ContainsFunc(u.seen.Nodes, running) {
		if d, more := u.dump(); more {
			return d, true
		}
		if r, ok := u.seen.Region(u.record.Active); ok && !r.Gated {
			return u.begin(drift.Step{Verb: drift.Gate, Region: r.Name, Why: "all nodes stop before any starts with " + u.target()}), true
		}
		for _, region := range u.regions() {
			if slices.ContainsFunc(u.seen.Nodes, func(n platform.Node) bool { return n.Region == region && !n.Stopped }) {
				return u.begin(drift.Step{Verb: drift.Stop, Region: region, Why: u.change() + " needs all nodes to stop"}), true
			}
		}
	}
	for _, n := range u.seen.Nodes {
		if n.Revision != to && u.wanted(n.Name) {
			return u.replace(n), true
		}
	}
	return Decision{}, false
}

// dump writes a dump before the first node of another minor version migrates the database.
func (u *upgrade) dump() (Decision, bool) {
	to, good := u.record.To, u.record.Good
	migrates := false
	for _, n := range u.seen.Nodes {
		if n.Revision == to.Revision {
			if !n.Stopped {
				return Decision{}, false // it is migrated
			}
			continue
		}
		migrates = migrates || platform.Minor(n.Version) != platform.Minor(to.Version) || to.Version == "" && to.Image != good.Image
	}
	if !migrates || u.seen.Dumped >= u.record.Began {
		return Decision{}, false
	}
	return u.begin(drift.Step{Verb: drift.Dump, Revision: to.Revision, Why: "no way back from " + u.target() + " but this dump"}), true
}

// halfway goes on with nodes that are out of service: they are brought in before any other is taken out.
func (u *upgrade) halfway() (Decision, bool) {
	for _, region := range u.backwards() {
		for _, n := range u.in(region) {
			if n.In || n.Stopped || !u.wanted(n.Name) || u.cold(region) {
				continue
			}
			if n.Revision != u.record.To.Revision {
				if d, more := u.dump(); more {
					return d, true
				}
				return u.swap(n), true
			}
			return u.bringIn(n, u.record.To.Revision), true
		}
	}
	return Decision{}, false
}

// bringIn gets a node that runs what it shall run into service.
func (u *upgrade) bringIn(n platform.Node, revision string) Decision {
	last := u.seen.Move
	just := last.State == platform.Done && last.Step.Node == n.Name
	step := drift.Step{Node: n.Name, Region: n.Region}
	switch size := u.seen.Cluster(n.Region); {
	case !n.Ready && just && last.Step.Verb != drift.Drain:
		return u.wait("%s was ready and is no longer, it restarts by itself", n.Name)
	case !n.Ready:
		step.Verb, step.Revision, step.Why = drift.Replace, revision, "isn't ready"
	case n.View != size:
		return u.wait("%s sees %d of %d nodes", n.Name, n.View, size)
	case just && last.Step.Verb == drift.Probe:
		step.Verb, step.Why = drift.Admit, "people can log in through it"
	default:
		step.Verb, step.Why = drift.Probe, "ready, in a cluster of "+count(size, "node")
	}
	return u.begin(step)
}

// swap replaces a node that gets no requests, when it has answered those that it had.
func (u *upgrade) swap(n platform.Node) Decision {
	if !n.Drained() {
		return u.begin(drift.Step{Verb: drift.Drain, Node: n.Name, Region: n.Region, Why: u.differs(n)})
	}
	return u.replace(n)
}

func (u *upgrade) replace(n platform.Node) Decision {
	return u.begin(drift.Step{Verb: drift.Replace, Node: n.Name, Region: n.Region, Revision: u.record.To.Revision, Why: u.differs(n)})
}

// open lets requests through again, as soon as one node serves them.
func (u *upgrade) open() (Decision, bool) {
	for _, r := range u.seen.Regions {
		if r.Gated && r.Name == u.record.Active && u.serving(r.Name) > 0 {
			return u.begin(drift.Step{Verb: drift.Open, Region: r.Name, Why: u.serve()}), true
		}
	}
	return Decision{}, false
}

// cool stops what runs in a cold standby.
func (u *upgrade) cool() (Decision, bool) {
	for _, n := range u.seen.Nodes {
		if !n.Stopped && u.cold(n.Region) {
			return u.begin(drift.Step{Verb: drift.Stop, Region: n.Region, Why: "a cold standby"}), true
		}
	}
	return Decision{}, false
}

// surplus removes nodes that are no longer declared, as far as they can be spared.
func (u *upgrade) surplus() (Decision, bool) {
	for _, n := range slices.Backward(u.seen.Nodes) {
		step := drift.Step{Verb: drift.Remove, Node: n.Name, Region: n.Region, Why: u.surplusWhy(n)}
		switch {
		case u.wanted(n.Name), n.Region == u.record.Active && !u.declared(n.Region), n.Serves() && !u.spare(n):
			continue
		case n.Serves() && u.apart() != "":
			return u.wait("%s before %s is drained", u.apart(), n.Name), true
		case n.In || !n.Drained():
			step.Verb = drift.Drain
		}
		return u.begin(step), true
	}
	return Decision{}, false
}

// unspared waits for those that serve in place of the declared ones, when all else is done.
func (u *upgrade) unspared() (Decision, bool) {
	for _, n := range u.seen.Nodes {
		switch {
		case u.wanted(n.Name):
		case !u.declared(n.Region):
			return u.wait("%s serves, and is no longer declared: another region must take over", n.Region), true
		default:
			return u.wait("%d of %s in %s serve, %s can't be spared", u.serving(n.Region), count(u.want.Instances, "node"), n.Region, n.Name), true
		}
	}
	return Decision{}, false
}

// replaceNext takes the next node of an old revision out of service: those that don't serve first, then the passive regions,
// in each the youngest first. The oldest leads its cluster, and the others have to agree on another one when it goes: so that
// happens once, and not with each node.
func (u *upgrade) replaceNext() (Decision, bool) {
	var next *platform.Node
	for _, region := range u.regions() {
		for _, n := range u.in(region) {
			if n.Revision == u.record.To.Revision || !u.wanted(n.Name) {
				continue
			}
			if next == nil || next.Serves() && !n.Serves() || next.Serves() == n.Serves() && n.Region == next.Region && n.Since.After(next.Since) {
				next = &n
			}
		}
	}
	if next == nil {
		return Decision{}, false
	}
	if d, more := u.dump(); more {
		return d, true
	}
	if !next.In {
		return u.swap(*next), true
	}
	if next.Ready {
		if apart := u.apart(); apart != "" {
			return u.wait("%s before %s is drained", apart, next.Name), true
		}
		if !u.spare(*next) {
			return u.wait("%d of %s in %s serve, %s can't be spared", u.serving(next.Region), count(u.want.Instances, "node"), next.Region, next.Name), true
		}
	}
	return u.begin(drift.Step{Verb: drift.Drain, Node: next.Name, Region: next.Region, Why: u.differs(*next)}), true
}

// startStopped starts the nodes that were stopped and have what they shall run, one at a time: the active region's first.
func (u *upgrade) startStopped() (Decision, bool) {
	for _, region := range u.backwards() {
		for _, n := range u.in(region) {
			if n.Stopped && !u.cold(region) && u.wanted(n.Name) && n.Revision == u.record.To.Revision {
				if d, more := u.dump(); more {
					return d, true
				}
				return u.begin(drift.Step{Verb: drift.Start, Node: n.Name, Region: region, Why: "stopped, and shall serve"}), true
			}
		}
	}
	return Decision{}, false
}

// add makes the next node that is declared and isn't there, the active region's first.
func (u *upgrade) add() (Decision, bool) {
	for _, name := range u.missing() {
		region, _ := u.regionOf(name)
		return u.begin(drift.Step{Verb: drift.Add, Node: name, Region: region, Revision: u.record.To.Revision, Why: count(u.want.Instances, "node") + " declared"}), true
	}
	return Decision{}, false
}

// spare tells whether a node that serves may go without serving: enough others do, or its region is no longer declared.
func (u *upgrade) spare(n platform.Node) bool {
	if !u.declared(n.Region) {
		return true
	}
	there := len(u.in(n.Region))
	return u.serving(n.Region)-1 >= min(u.want.Instances, there)-u.want.Limits.NodesDown
}

// apart names a node that serves and doesn't see its whole cluster; "" where none does. Its users' sessions would be lost
// with the nodes that it doesn't see.
func (u *upgrade) apart() string {
	for _, n := range u.seen.Nodes {
		if size := u.seen.Cluster(n.Region); n.Ready && n.View != size {
			return fmt.Sprintf("%s sees %d of %d nodes, it must see all", n.Name, n.View, size)
		}
	}
	return ""
}

func (u *upgrade) serving(region string) int {
	count := 0
	for _, n := range u.in(region) {
		if n.Serves() {
			count++
		}
	}
	return count
}

// regions are those that are declared, the active one last.
func (u *upgrade) regions() []string {
	var names []string
	for _, r := range u.want.Regions {
		if r.Name != u.record.Active {
			names = append(names, r.Name)
		}
	}
	for _, n := range u.seen.Nodes { // of a region that is no longer declared
		if n.Region != u.record.Active && !slices.Contains(names, n.Region) {
			names = append(names, n.Region)
		}
	}
	return append(names, u.record.Active)
}

// backwards are the regions, the active one first.
func (u *upgrade) backwards() []string {
	names := u.regions()
	slices.Reverse(names)
	return names
}

func (u *upgrade) declared(region string) bool { _, ok := u.want.Region(region); return ok }

// in are the nodes of a region.
func (u *upgrade) in(region string) []platform.Node {
	return slices.DeleteFunc(slices.Clone(u.seen.Nodes), func(n platform.Node) bool { return n.Region != region })
}

// cold tells whether the region's nodes shall be stopped.
func (u *upgrade) cold(region string) bool {
	return u.want.Standby == "cold" && region != u.record.Active
}

func (u *upgrade) regionOf(slot string) (string, bool) {
	for _, r := range u.want.Regions {
		if slices.Contains(u.want.Slots(r.Name), slot) {
			return r.Name, true
		}
	}
	return "", false
}

func (u *upgrade) wanted(slot string) bool { _, ok := u.regionOf(slot); return ok }

// missing are the nodes that are declared and aren't there, the active region's first.
func (u *upgrade) missing() []string {
	var names []string
	for _, region := range u.backwards() {
		if !u.declared(region) {
			continue
		}
		for _, slot := range u.want.Slots(region) {
			if _, there := u.seen.Node(slot); !there {
				names = append(names, slot)
			}
		}
	}
	return names
}
