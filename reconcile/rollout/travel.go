package rollout

import (
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// travel is the next step on the way to the region that is about to become the active one, or its end. The way: bring its
// nodes into service, gate every front, fence who writes, promote, have the old one follow, open. Of a region that is lost
// only the fence is left, and without it there is no promotion.
func (f *failover) travel() Decision {
	r, to := &f.record, f.record.Toward
	from, writers := f.region(r.Active), f.writers(to)
	if r.Active == to && (!f.based() || f.region(to).Role == platform.Primary && len(writers) == 0) {
		return f.arrive()
	}
	planned := from.Name != to && from.Lost.IsZero() && (from.Role == platform.Primary || !f.based())
	if planned && f.goal() != to {
		r.Toward, r.Step = "", drift.Step{}
		return f.going("%s serves, and shall", from.Name)
	}
	why := f.unfit(to)
	if planned {
		why = f.unready(to)
	}
	if why != "" {
		return f.turn(why)
	}
	if planned {
		if d, more := f.prepare(to, from); more {
			return d
		}
	}
	for _, n := range f.in(to) { // what its cluster remembers is old
		if !n.Stopped && f.region(to).View != from.View {
			return f.insist(drift.Stop, to, "its cluster isn't that of %s", from.Name)
		}
	}
	if len(writers) > 0 {
		name := writers[0]
		if why := f.failed(drift.Fence, name); why != "" && planned && f.seen.Move.Step == r.Step { // and not long ago
			return f.turn("fence " + name + ": " + why)
		}
		if f.region(name).Lost.IsZero() {
			return f.insist(drift.Fence, name, "%s is to write", to)
		}
		return f.insist(drift.Fence, name, "%s", silent(f.region(name)))
	}
	if behind := f.behind(to); behind > 0 {
		if f.now.Sub(r.At) > pause {
			return f.turn(to + " lacks " + size(behind) + " of what " + from.Name + " has written")
		}
		return f.going("%s gets the last %s from %s", to, size(behind), from.Name)
	}
	if !f.based() {
		f.activate(to)
		return f.going("%s is the active region", to)
	}
	if why := f.failed(drift.Promote, to); why != "" && f.now.Sub(r.At) < pause {
		return f.stuck(drift.Promote, to, why)
	}
	f.activate(to)
	r.Synced = ""
	return f.do(drift.Promote, "", to, "%s", f.because(from))
}

// toward sets out for a region.
func (f *failover) toward(name, why string) Decision {
	f.record.Toward, f.record.Step = name, drift.Step{}
	f.decided(why)
	return f.travel()
}

// decided writes down why another region is to be the active one; by whom, the caller of Failover knows.
func (f *failover) decided(why string) {
	f.record.Decided = platform.Decided{Why: why, At: f.now, Epoch: f.seen.Record.Epoch + 1}
}

// because is why a region is promoted.
func (f *failover) because(from platform.Region) string {
	if from.Lost.IsZero() {
		return from.Name + " is fenced and has given all"
	}
	return from.Name + " is lost, and fenced"
}

// prepare gets all ready for another region to take over from one that serves.
func (f *failover) prepare(to string, from platform.Region) (Decision, bool) {
	if move := f.seen.Move; move.State == platform.Failed && move.Step == f.record.Step && !moves(move.Step.Verb) {
		return f.turn(move.Step.String() + ": " + move.Why), true
	}
	if f.region(to).View == from.View {
		if d, more := f.raise(to, true); more {
			return d, true
		}
	}
	names := f.everywhere() // the one that serves last
	names = append(slices.DeleteFunc(names, func(name string) bool { return name == from.Name }), from.Name)
	for _, name := range names {
		r := f.region(name)
		serves := slices.ContainsFunc(f.in(name), func(n platform.Node) bool { return n.In })
		if !r.Gated && r.Lost.IsZero() && (serves || name == from.Name) {
			return f.do(drift.Gate, "", name, "the active region moves to %s", to), true
		}
	}
	return Decision{}, false
}

// turn gives a move up. Where nothing was promoted yet, the region that served serves again.
func (f *failover) turn(why string) Decision {
	r := &f.record
	from := f.region(r.Active)
	switch {
	case from.Name == r.Toward:
		return f.say(drift.Blocked, "%s", why)
	case f.based() && from.Role == platform.Fenced && !from.Lost.IsZero():
		return f.say(drift.Blocked, "%s; %s is lost, and fenced", why, from.Name)
	case f.based() && from.Role == platform.Fenced:
		r.Toward = from.Name
	default:
		r.Toward = ""
	}
	r.Step, r.GaveUp = drift.Step{}, platform.GaveUp{At: f.now, Why: why, Times: r.GaveUp.Times + 1}
	return f.going("gives up: %s", why)
}

// arrive lets people in, when the region is the active one.
func (f *failover) arrive() Decision {
	r, to := &f.record, f.record.Toward
	gated := slices.ContainsFunc(f.seen.Regions, func(r platform.Region) bool { return r.Gated && r.Lost.IsZero() })
	for _, name := range f.everywhere() {
		if old := f.region(name); gated && old.Role == platform.Fenced && old.Lost.IsZero() && f.declared(name) && f.failed(drift.Follow, name) == "" {
			return f.do(drift.Follow, "", name, "%s is the primary", to)
		}
	}
	if f.serving(to) == 0 {
		if d, more := f.raise(to, false); more {
			return d
		}
	}
	names := append([]string{to}, slices.DeleteFunc(f.everywhere(), func(name string) bool { return name == to })...)
	for _, name := range names {
		if x := f.region(name); x.Gated && x.Lost.IsZero() && f.serving(to) > 0 {
			return f.insist(drift.Open, name, "%s serves", to)
		}
	}
	r.Toward, r.Step = "", drift.Step{}
	return f.going("%s serves", to)
}

// raise brings nodes of a region into service: all that can be, or one. It waits only where none serves.
func (f *failover) raise(region string, all bool) (Decision, bool) {
	var waits *platform.Node
	last := f.seen.Move
	for _, n := range f.in(region) {
		again := last.State == platform.Failed && last.Step.Node == n.Name && f.now.Sub(f.record.At) < pause
		switch {
		case !f.wanted(n.Name) || n.Serves() || !all && f.serving(region) > 0:
		case again:
			waits = &n
		case n.Stopped:
			return f.do(drift.Start, n.Name, region, "%s becomes the active region", region), true
		case !n.Ready || n.View != f.seen.Cluster(region):
			waits = &n
		case last.State == platform.Done && last.Step.Verb == drift.Probe && last.Step.Node == n.Name:
			return f.do(drift.Admit, n.Name, region, "people can log in through it"), true
		default:
			return f.do(drift.Probe, n.Name, region, "%s becomes the active region", region), true
		}
	}
	if waits == nil || f.serving(region) > 0 {
		return Decision{}, false
	}
	if f.now.Sub(f.record.At) > retry {
		return f.say(drift.Blocked, "no node of %s gets ready: %s", region, waits.Why), true
	}
	return f.going("waits for %s", waits.Name), true
}

// writers are the regions that may take writes, but for one: the primaries, also those that were when they were last seen,
// and the active region as long as it isn't fenced: it may be about to be promoted.
func (f *failover) writers(but string) (names []string) {
	if !f.based() {
		return nil
	}
	for _, name := range f.everywhere() {
		r := f.region(name)
		if name != but && (r.Role == platform.Primary || name == f.record.Active && r.Role != platform.Fenced) {
			names = append(names, name)
		}
	}
	return names
}

// behind is how much a standby lacks of what the fenced region has written that was active, as far as that can be asked.
func (f *failover) behind(to string) int64 {
	own, old := f.region(to), f.region(f.record.Active)
	if own.Role == platform.Standby && old.Role == platform.Fenced && old.Lost.IsZero() && old.LSN > own.LSN {
		return int64(old.LSN - own.LSN)
	}
	return 0
}

// activate makes a region the active one, against what is declared where that says something else.
func (f *failover) activate(name string) {
	r := &f.record
	if r.Active == name {
		return
	}
	r.Active, r.Since, r.Apart = name, f.now, time.Time{}
	if r.Override, r.Declared = "", ""; name != f.want.Active {
		r.Override, r.Declared = name, f.want.Active
	}
}
