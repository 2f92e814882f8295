package rollout_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// noon is when the tests look: outside of the windows that they declare.
var noon = time.Date(2026, 8, 3, 12, 0, 0, 0, time.UTC)

var (
	v2    = platform.Release{Revision: "r2", Version: "26.7.2"}
	v3    = platform.Release{Revision: "r3", Version: "26.7.3"}
	v3env = platform.Release{Revision: "r3env", Version: "26.7.3"}
	v8    = platform.Release{Revision: "r8", Version: "26.8.0"}
)

// eu declares three nodes in paris.
func eu(r platform.Release, change ...func(*schema.Deployment)) schema.Deployment {
	d := schema.Deployment{Name: "eu", Revision: r.Revision, Version: r.Version, Instances: 3, Regions: []schema.Region{{Name: "paris"}}, Active: "paris",
		Standby: "warm", Update: schema.Update{Strategy: "Auto", OnFailure: "hold"}, Limits: schema.NodeLimits{NodesDown: 1}}
	for _, c := range change {
		c(&d)
	}
	return d
}

// running is a deployment that serves with a release.
func running(r platform.Release, change ...func(*platform.Seen)) platform.Seen {
	s := platform.Seen{Record: platform.Record{Lifecycle: platform.Running, Epoch: 10, Active: "paris", To: r, Good: r, At: noon},
		Regions: []platform.Region{{Name: "paris", View: "paris"}}}
	for i := range 3 {
		s.Nodes = append(s.Nodes, platform.Node{Name: fmt.Sprint("paris-", i), Region: "paris", Revision: r.Revision, Version: r.Version, Ready: true, In: true, View: 3})
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// fit is what Prepare has found out of a release.
func fit(to platform.Release, v platform.Verdict, says string) func(*platform.Seen) {
	return func(s *platform.Seen) {
		s.Record.To, s.Record.Began, s.Record.Epoch = to, 11, 11
		s.Record.Step = drift.Step{Verb: drift.Prepare, Revision: to.Revision, Epoch: 11}
		s.Move = platform.Move{Step: s.Record.Step, State: platform.Done}
		s.Fit = platform.Fit{Revision: to.Revision, Epoch: 11, From: []string{s.Record.Good.Revision}, Verdict: v, Says: says}
	}
}

// rolling is in the midst of a roll, with a step in some state.
func rolling(to platform.Release, step drift.Step, state platform.MoveState, why string) func(*platform.Seen) {
	return func(s *platform.Seen) {
		fit(to, platform.Compatible, "")(s)
		step.Epoch = 12
		s.Record.Lifecycle, s.Record.How, s.Record.Step, s.Record.Epoch = platform.Starting, platform.Roll, step, 12
		s.Move = platform.Move{Step: step, State: state, Why: why, Log: "last lines"}
	}
}

func on(i int, change func(*platform.Node)) func(*platform.Seen) {
	return func(s *platform.Seen) { change(&s.Nodes[i]) }
}

func has(r platform.Release) func(*platform.Node) {
	return func(n *platform.Node) { n.Revision, n.Version = r.Revision, r.Version }
}

func out(n *platform.Node)  { n.In = false }
func late(n *platform.Node) { n.Since = noon }
func dead(n *platform.Node) { n.Ready, n.View, n.Why = false, 0, "exited with 137" }

func windowed(d *schema.Deployment) {
	d.Update.Windows = []schema.Window{{Schedule: "0 2 * * *", Duration: schema.Duration(2 * time.Hour)}, {Schedule: "0 20 * * *", Duration: schema.Duration(time.Hour)}}
}

func of(verb drift.Verb, node string) drift.Step {
	return drift.Step{Verb: verb, Node: node, Region: "paris"}
}

func TestEachDecisionSaysWhatAndWhy(t *testing.T) {
	for _, c := range []struct {
		name string
		want schema.Deployment
		have platform.Seen
		step string // what is begun
		says string // the verdict and the sentence
	}{
		{"all is well", eu(v3), running(v3), "", "in sync: eu: 3 of 3 nodes serve"},
		{"a dead node is the platform's to restart", eu(v3), running(v3, on(1, dead)), "",
			"drifted: eu: 2 of 3 nodes serve, paris-1 is down; it restarts by itself: exited with 137"},
		{"nothing is there", eu(v3), platform.Seen{}, "prepare r3", "progressing: eu: 0 of 3 nodes run 26.7.3; preparing (to be tried before any node is touched)"},
		{"a new version is prepared before anything else", eu(v3), running(v2), "prepare r3", "progressing: eu: 0 of 3 nodes run 26.7.3; preparing (to be tried before any node is touched)"},
		{"also while its window is closed", eu(v3, windowed), running(v2), "prepare r3", "progressing: eu: 0 of 3 nodes run 26.7.3; preparing (to be tried before any node is touched)"},
		{"the youngest node goes first", eu(v3), running(v2, fit(v3, platform.Compatible, ""), on(1, late)), "drain paris-1", "progressing: eu: 0 of 3 nodes run 26.7.3; draining paris-1 (runs 26.7.2, shall run 26.7.3)"},
		{"a window holds a roll", eu(v3, windowed), running(v2, fit(v3, platform.Compatible, "")), "", "pending: eu: would roll 3 nodes to 26.7.3, waits for its window on 3 Aug 20:00 UTC"},
		{"a window holds a restart", eu(v3env, windowed), running(v3, fit(v3env, platform.Compatible, "")), "", "pending: eu: would restart 3 nodes one by one, waits for its window on 3 Aug 20:00 UTC"},
		{"a window holds a recreate", eu(v8, windowed), running(v2, fit(v8, platform.Incompatible, "")), "",
			"pending: eu: would stop all of 3 nodes and start them with 26.8.0, waits for its window on 3 Aug 20:00 UTC"},
		{"also while a node is dead for a moment", eu(v3, windowed), running(v2, fit(v3, platform.Compatible, ""), on(2, dead)), "", "pending: eu: would roll 3 nodes to 26.7.3, waits for its window on 3 Aug 20:00 UTC"},
		{"a window doesn't hold what mends a move that stopped", eu(v3, windowed), running(v2, fit(v3, platform.Compatible, ""), on(2, dead), on(2, out), func(s *platform.Seen) { s.Record.Lifecycle = platform.Starting }), "replace paris-2",
			"progressing: eu: 0 of 3 nodes run 26.7.3; replacing paris-2 (runs 26.7.2, shall run 26.7.3)"},
		{"but it does where that broke nothing", eu(v3, windowed), running(v2, fit(v3, platform.Compatible, ""), func(s *platform.Seen) { s.Record.Lifecycle = platform.Starting }), "",
			"pending: eu: would roll 3 nodes to 26.7.3, waits for its window on 3 Aug 20:00 UTC"},
		{"the database is away for a moment", eu(v3), running(v2, fit(v3, platform.Compatible, ""), on(0, dead), on(1, dead), on(2, dead)), "drain paris-0",
			"progressing: eu: 0 of 3 nodes run 26.7.3; draining paris-0 (runs 26.7.2, shall run 26.7.3)"},
		{"a window holds no new nodes", eu(v3, windowed, func(d *schema.Deployment) { d.Instances = 4 }), running(v3), "add paris-3", "progressing: eu: 3 of 4 nodes as declared; adding paris-3 (4 nodes declared)"},
		{"one may be rolled", eu(v3), running(v2, fit(v3, platform.Compatible, "")), "drain paris-0", "progressing: eu: 0 of 3 nodes run 26.7.3; draining paris-0 (runs 26.7.2, shall run 26.7.3)"},
		{"no node may be taken down", eu(v3, func(d *schema.Deployment) { d.Limits.NodesDown = 0 }), running(v2, fit(v3, platform.Compatible, "")), "",
			"blocked: eu: limits.nodes-down is 0, and 26.7.2 → 26.7.3 takes a node down"},
		{"nobody knows whether they fit", eu(v3), running(v2, fit(v3, "", "update-compatibility exited with 2")), "",
			"failed: eu: 3 of 3 nodes serve; refused 26.7.3: nobody knows whether it can serve beside what runs: update-compatibility exited with 2"},
		{"what runs isn't what was compared", eu(v3), running(v2, fit(v3, platform.Compatible, ""), on(1, has(v8))), "",
			"failed: eu: 3 of 3 nodes serve; refused 26.7.3: 26.8.0 can't go back to 26.7.3, whose database is another; restore the dump made before"},
		{"and even if nothing went back", eu(v3), running(v2, fit(v3, platform.Compatible, ""), on(1, has(v3env))), "",
			"failed: eu: 3 of 3 nodes serve; refused 26.7.3: nobody knows whether it can serve beside what runs"},
		{"a bad extension", eu(v3), running(v2, fit(v3, "", ""), func(s *platform.Seen) { s.Move.State, s.Move.Why = platform.Failed, "audit.jar: not a jar" }), "",
			"failed: eu: 3 of 3 nodes serve; refused 26.7.3: audit.jar: not a jar"},
		{"a recreate begins with a dump", eu(v8), running(v2, fit(v8, platform.Incompatible, "")), "dump r8",
			"progressing: eu: 0 of 3 nodes run 26.8.0; dumping the database (no way back from 26.8.0 but this dump)"},
		{"then requests are held", eu(v8), running(v2, fit(v8, platform.Incompatible, ""), func(s *platform.Seen) { s.Dumped = 11 }), "gate paris",
			"progressing: eu: 0 of 3 nodes run 26.8.0; holding requests of paris (all nodes stop before any starts with 26.8.0)"},
		{"then all stop", eu(v8), running(v2, fit(v8, platform.Incompatible, ""), func(s *platform.Seen) { s.Dumped, s.Regions[0].Gated = 11, true }), "stop paris",
			"progressing: eu: 0 of 3 nodes run 26.8.0; stopping paris (26.7.2 → 26.8.0 needs all nodes to stop)"},
		{"no dump within a minor version", eu(v3env), running(v3, fit(v3env, platform.Incompatible, "")), "gate paris",
			"progressing: eu: 0 of 3 nodes as declared; holding requests of paris (all nodes stop before any starts with 26.7.3)"},
		{"a step is under way", eu(v3), running(v2, rolling(v3, of(drift.Replace, "paris-0"), platform.Doing, "")), "", "progressing: eu: replacing paris-0"},
		{"a step was never begun, or isn't seen yet", eu(v3), running(v2, rolling(v3, of(drift.Replace, "paris-0"), platform.Done, ""), func(s *platform.Seen) { s.Move = platform.Move{} }), "replace paris-0",
			"progressing: eu: begins again: replacing paris-0"},
		{"whoever worked on a step is gone", eu(v3), running(v2, rolling(v3, of(drift.Drain, "paris-0"), platform.Lost, "")), "drain paris-0", "progressing: eu: begins again: draining paris-0"},
		{"the record is older than the move", eu(v3), running(v2, rolling(v3, of(drift.Drain, "paris-0"), platform.Done, ""), func(s *platform.Seen) { s.Move.Step.Epoch = 13 }), "",
			"progressing: eu: looks again, what was seen is old"},
		{"a drained node is replaced", eu(v3), running(v2, rolling(v3, of(drift.Drain, "paris-0"), platform.Done, ""), on(0, out)), "replace paris-0",
			"progressing: eu: 0 of 3 nodes run 26.7.3; replacing paris-0 (runs 26.7.2, shall run 26.7.3)"},
		{"not before it has answered all", eu(v3), running(v2, rolling(v3, of(drift.Drain, "paris-0"), platform.Done, ""), on(0, out), on(0, func(n *platform.Node) { n.Draining = true })), "drain paris-0",
			"progressing: eu: 0 of 3 nodes run 26.7.3; draining paris-0 (runs 26.7.2, shall run 26.7.3)"},
		{"a replaced node is tried", eu(v3), running(v2, rolling(v3, of(drift.Replace, "paris-0"), platform.Done, ""), on(0, out), on(0, has(v3))), "probe paris-0",
			"progressing: eu: 1 of 3 nodes run 26.7.3; logging in through paris-0 (ready, in a cluster of 3 nodes)"},
		{"not before it is in its cluster", eu(v3), running(v2, rolling(v3, of(drift.Replace, "paris-0"), platform.Done, ""), on(0, out), on(0, has(v3)), on(0, func(n *platform.Node) { n.View = 1 })), "",
			"progressing: eu: 1 of 3 nodes run 26.7.3; waits: paris-0 sees 1 of 3 nodes"},
		{"what was tried is admitted", eu(v3), running(v2, rolling(v3, of(drift.Probe, "paris-0"), platform.Done, ""), on(0, out), on(0, has(v3))), "admit paris-0",
			"progressing: eu: 1 of 3 nodes run 26.7.3; admitting paris-0 (people can log in through it)"},
		{"it died when it was just there", eu(v3), running(v2, rolling(v3, of(drift.Replace, "paris-0"), platform.Done, ""), on(0, out), on(0, has(v3)), on(0, dead)), "",
			"progressing: eu: 1 of 3 nodes run 26.7.3; waits: paris-0 was ready and is no longer, it restarts by itself"},
		{"the next one", eu(v3), running(v2, rolling(v3, of(drift.Admit, "paris-0"), platform.Done, ""), on(0, has(v3))), "drain paris-1",
			"progressing: eu: 1 of 3 nodes run 26.7.3; draining paris-1 (runs 26.7.2, shall run 26.7.3)"},
		{"not while another is down", eu(v3), running(v2, rolling(v3, of(drift.Admit, "paris-0"), platform.Done, ""), on(0, has(v3)), on(0, dead), on(1, func(n *platform.Node) { n.View = 2 }), on(2, func(n *platform.Node) { n.View = 2 })), "",
			"progressing: eu: 1 of 3 nodes run 26.7.3; waits: 2 of 3 nodes in paris serve, paris-1 can't be spared"},
		{"not while the cluster is in parts", eu(v3), running(v2, rolling(v3, of(drift.Admit, "paris-0"), platform.Done, ""), on(0, has(v3)), on(2, func(n *platform.Node) { n.View = 1 })), "",
			"progressing: eu: 1 of 3 nodes run 26.7.3; waits: paris-2 sees 1 of 3 nodes, it must see all before paris-1 is drained"},
		{"a newer commit waits", eu(v8), running(v2, rolling(v3, of(drift.Admit, "paris-0"), platform.Done, ""), on(0, has(v3))), "drain paris-1",
			"progressing: eu: 1 of 3 nodes run 26.7.3; draining paris-1 (runs 26.7.2, shall run 26.7.3)"},
		{"until all run what was begun", eu(v8), running(v3, rolling(v3, of(drift.Admit, "paris-2"), platform.Done, "")), "", "progressing: eu: 3 of 3 nodes serve; a newer revision is next"},
		{"the end", eu(v3), running(v3, rolling(v3, of(drift.Admit, "paris-2"), platform.Done, "")), "", "in sync: eu: 3 of 3 nodes serve"},
		{"a node that doesn't start holds", eu(v3env), running(v3, rolling(v3env, of(drift.Replace, "paris-0"), platform.Failed, "exited with 1"), on(0, has(v3env)), on(0, out), on(0, dead)), "",
			"failed: eu: 2 of 3 nodes serve; replace paris-0 failed: exited with 1"},
		{"or runs again what it ran", eu(v3env, back), running(v3, rolling(v3env, of(drift.Replace, "paris-0"), platform.Failed, "exited with 1"), on(0, has(v3env)), on(0, out), on(0, dead)), "replace paris-0",
			"progressing: eu: 1 of 3 nodes as declared; replacing paris-0 (brought back to what it ran: exited with 1)"},
		{"but not another version", eu(v3, back), running(v2, rolling(v3, of(drift.Replace, "paris-0"), platform.Failed, "exited with 1"), on(0, has(v3)), on(0, out), on(0, dead)), "",
			"failed: eu: 2 of 3 nodes serve; replace paris-0 failed: exited with 1; holds, since 26.7.3 → 26.7.2 needs all nodes to stop"},
		{"which is tried too", eu(v3env, back), running(v3, rolling(v3env, of(drift.Replace, "paris-0"), platform.Done, ""), on(0, out), restoring(v3)), "probe paris-0",
			"progressing: eu: 0 of 3 nodes as declared; logging in through paris-0 (ready, in a cluster of 3 nodes)"},
		{"and admitted, and then it stops", eu(v3env, back), running(v3, rolling(v3env, of(drift.Admit, "paris-0"), platform.Done, ""), restoring(v3)), "",
			"failed: eu: 3 of 3 nodes serve; paris-0 runs again what it ran: replace paris-0 failed: exited with 1"},
		{"unless that fails too", eu(v3env, back), running(v3, rolling(v3env, of(drift.Replace, "paris-0"), platform.Failed, "the disk is full"), on(0, out), on(0, dead), restoring(v3)), "",
			"failed: eu: 2 of 3 nodes serve; replace paris-0 failed: exited with 1; bringing it back failed too: the disk is full"},
		{"ERROR stands", eu(v3env), running(v3, stopped(v3env), on(0, has(v3env)), on(0, out), on(0, dead)), "", "failed: eu: 2 of 3 nodes serve; replace paris-0 failed: exited with 1"},
		{"ERROR ends with another revision", eu(v3), running(v3, stopped(v3env), on(0, has(v3env)), on(0, out), on(0, dead)), "prepare r3",
			"progressing: eu: 2 of 3 nodes as declared; preparing (to be tried before any node is touched)"},
		{"a region is lost", eu(v3), running(v2, fit(v3, platform.Compatible, ""), func(s *platform.Seen) { s.Regions[0].Lost = noon.Add(-time.Minute) }), "",
			"progressing: eu: 0 of 3 nodes run 26.7.3; waits: region paris hasn't answered since 11:59"},
		{"fewer nodes", eu(v3, func(d *schema.Deployment) { d.Instances = 2 }), running(v3), "drain paris-2", "progressing: eu: 2 of 2 nodes serve; draining paris-2 (2 nodes declared)"},
		{"and gone", eu(v3, func(d *schema.Deployment) { d.Instances = 2 }), running(v3, on(2, out)), "remove paris-2", "progressing: eu: 2 of 2 nodes serve; removing paris-2 (2 nodes declared)"},
		{"fewer, but who serves can't be spared", eu(v3, func(d *schema.Deployment) { d.Instances = 2 }), running(v3, on(0, dead), on(1, dead), on(2, func(n *platform.Node) { n.View = 1 })), "",
			"progressing: eu: 0 of 2 nodes serve; waits: 1 of 2 nodes in paris serve, paris-2 can't be spared"},
		{"suspended", eu(v3, func(d *schema.Deployment) {
			d.Suspend = &schema.Suspend{Until: noon.Add(100 * time.Hour), Reason: "migration"}
		}), running(v2), "", "suspended: eu: suspended until 7 Aug: migration"},
		{"but not in the midst of a roll", eu(v3, func(d *schema.Deployment) { d.Suspend = &schema.Suspend{Reason: "migration"} }), running(v2, rolling(v3, of(drift.Drain, "paris-0"), platform.Done, ""), on(0, out)), "replace paris-0",
			"progressing: eu: 0 of 3 nodes run 26.7.3; replacing paris-0 (runs 26.7.2, shall run 26.7.3)"},
		{"Explicit rolls what isn't known", eu(v3, explicit("")), running(v2, fit(v3, "", "")), "drain paris-0", "progressing: eu: 0 of 3 nodes run 26.7.3; draining paris-0 (runs 26.7.2, shall run 26.7.3)"},
		{"Explicit recreates for another revision", eu(v3, explicit("a")), running(v2, fit(v3, platform.Compatible, "")), "gate paris",
			"progressing: eu: 0 of 3 nodes run 26.7.3; holding requests of paris (all nodes stop before any starts with 26.7.3)"},
		{"RecreateOnImageChange recreates for a version", eu(v3, imageChange), running(v2, fit(v3, platform.Compatible, "")), "gate paris",
			"progressing: eu: 0 of 3 nodes run 26.7.3; holding requests of paris (all nodes stop before any starts with 26.7.3)"},
		{"RecreateOnImageChange rolls the rest", eu(v3env, imageChange), running(v3, fit(v3env, platform.Compatible, "")), "drain paris-0",
			"progressing: eu: 0 of 3 nodes as declared; draining paris-0 (its settings changed)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := rollout.Upgrade(c.want, c.have, noon)
			step := ""
			if d.Step != nil {
				step = d.Step.String()
			}
			if diff := cmp.Diff([]string{c.step, c.says}, []string{step, string(d.Verdict) + ": " + d.Says}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len([]rune(d.Says)) > drift.Longest {
				t.Errorf("%d characters", len([]rune(d.Says)))
			}
			if d.Verdict == drift.Errored && (d.Hint == "" || d.Record.Lifecycle != platform.Error || d.Record.Fault.Why == "") {
				t.Errorf("hint %q, record %+v", d.Hint, d.Record)
			}
		})
	}
}

func back(d *schema.Deployment)        { d.Update.OnFailure = "rollback" }
func imageChange(d *schema.Deployment) { d.Update.Strategy = "RecreateOnImageChange" }

func explicit(revision string) func(*schema.Deployment) {
	return func(d *schema.Deployment) { d.Update.Strategy, d.Update.Revision = "Explicit", revision }
}

// restoring brings paris-0 back to what all ran.
func restoring(good platform.Release) func(*platform.Seen) {
	return func(s *platform.Seen) {
		s.Record.Good, s.Record.Back = good, true
		s.Record.Fault = platform.Fault{Step: of(drift.Replace, "paris-0"), Why: "exited with 1", Log: "last lines"}
	}
}

// stopped is in ERROR, after a step on the way to a release.
func stopped(to platform.Release) func(*platform.Seen) {
	return func(s *platform.Seen) {
		s.Record.Lifecycle, s.Record.To, s.Record.How = platform.Error, to, platform.Roll
		s.Record.Fault = platform.Fault{Step: of(drift.Replace, "paris-0"), Why: "exited with 1", Log: "last lines"}
	}
}

// A plan shows every step before anything moves.
func TestAPlanForetellsEveryStep(t *testing.T) {
	two := func(d *schema.Deployment) {
		d.Instances, d.Regions = 2, []schema.Region{{Name: "paris"}, {Name: "milan"}}
	}
	for _, c := range []struct {
		name string
		want schema.Deployment
		have platform.Seen
		plan string
	}{
		{"in sync", eu(v3), running(v3), ""},
		{"a roll", eu(v3), running(v2), "prepare r3, drain paris-0, replace paris-0, probe paris-0, admit paris-0, drain paris-1, replace paris-1, probe paris-1, admit paris-1, drain paris-2, replace paris-2, probe paris-2, admit paris-2"},
		{"a roll that waits", eu(v3, windowed), running(v2, fit(v3, platform.Compatible, ""), on(0, has(v3)), on(1, has(v3))), "drain paris-2, replace paris-2, probe paris-2, admit paris-2"},
		{"a recreate", eu(v8), running(v2), "prepare r8, dump r8, gate paris, stop paris, replace paris-0, replace paris-1, replace paris-2, start paris-0, probe paris-0, admit paris-0, open paris, start paris-1, probe paris-1, admit paris-1, start paris-2, probe paris-2, admit paris-2"},
		{"a downgrade", eu(v2), running(v3), "prepare r2, gate paris, stop paris, replace paris-0, replace paris-1, replace paris-2, start paris-0, probe paris-0, admit paris-0, open paris, start paris-1, probe paris-1, admit paris-1, start paris-2, probe paris-2, admit paris-2"},
		{"a beginning", eu(v3, two), platform.Seen{}, "prepare r3, add paris-0, follow milan, probe paris-0, admit paris-0, add paris-1, probe paris-1, admit paris-1, add milan-0, probe milan-0, admit milan-0, add milan-1, probe milan-1, admit milan-1"},
		{"another region", eu(v3, two), running(v3), "drain paris-2, remove paris-2, add milan-0, probe milan-0, admit milan-0, add milan-1, probe milan-1, admit milan-1"},
		{"a cold region", eu(v3, two, func(d *schema.Deployment) { d.Standby, d.Instances = "cold", 1 }), running(v3),
			"drain paris-2, remove paris-2, drain paris-1, remove paris-1, add milan-0, stop milan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var steps []string
			for _, s := range rollout.Foresee(c.want, c.have, noon) {
				steps = append(steps, s.String())
			}
			if got := strings.Join(steps, ", "); got != c.plan {
				t.Errorf("got  %s\nwant %s", got, c.plan)
			}
		})
	}
}

// A step that a platform never takes up ends the move, after it was given new epochs in vain.
func TestAStepThatIsNeverTakenUpEndsInError(t *testing.T) {
	m := &platformtest.Memory{}
	m.Put(running(v2, rolling(v3, of(drift.Admit, "paris-0"), platform.Done, ""), on(0, has(v3))))
	driver, now, epochs := m.Process(), noon, map[int64]bool{}
	for range 1000 {
		now = now.Add(10 * time.Second)
		seen, err := driver.Observe(context.Background(), eu(v3))
		if err != nil {
			t.Fatal(err)
		}
		d := rollout.Upgrade(eu(v3), seen, now)
		if d.Verdict == drift.Errored {
			if want := "eu: 3 of 3 nodes serve; drain paris-1 failed: the platform doesn't take it up"; d.Says != want {
				t.Errorf("says %q, want %q", d.Says, want)
			}
			if len(epochs) != 4 {
				t.Errorf("begun with %d epochs, want 4", len(epochs))
			}
			return
		}
		if d.Record != seen.Record {
			if err := driver.Save(context.Background(), eu(v3), seen.Record, d.Record); err != nil {
				t.Fatal(err)
			}
		}
		if d.Step != nil {
			epochs[d.Step.Epoch] = true // and the call fails
		}
	}
	t.Error("goes on for ever")
}

func TestAControllerThatWasAwayBeginsItsStepAgain(t *testing.T) {
	have := running(v2, rolling(v3, of(drift.Drain, "paris-0"), platform.Done, ""), func(s *platform.Seen) { s.Move = platform.Move{} })
	d := rollout.Upgrade(eu(v3), have, noon.Add(100*time.Hour))
	if d.Step == nil || d.Step.String() != "drain paris-0" || d.Step.Epoch != 13 || d.Record.Epoch != 13 {
		t.Errorf("step %+v, record %+v", d.Step, d.Record)
	}
}

func TestResumeLeavesErrorAlone(t *testing.T) {
	if _, ok := rollout.Resume(running(v3).Record); ok {
		t.Error("resumes what runs")
	}
	seen := running(v3, stopped(v3env), on(0, has(v3env)), on(0, out), on(0, dead))
	r, ok := rollout.Resume(seen.Record)
	if !ok || r.Epoch != seen.Record.Epoch+1 || r.Fault != (platform.Fault{}) {
		t.Errorf("%v %+v", ok, r)
	}
	seen.Record = r
	if d := rollout.Upgrade(eu(v3env), seen, noon); d.Step == nil || d.Step.Verb != drift.Prepare || d.Record.Lifecycle != platform.Starting {
		t.Errorf("then %+v", d)
	}
}

func TestWindowsOpenAndClose(t *testing.T) {
	for _, c := range []struct {
		at   string
		open bool
	}{
		{"2026-08-03T01:59:59Z", false}, {"2026-08-03T02:00:00Z", true}, {"2026-08-03T03:59:59Z", true}, {"2026-08-03T04:00:00Z", false},
		{"2026-08-03T20:30:00Z", true}, {"2026-08-03T04:30:00+02:00", true},
	} {
		now, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		d := rollout.Upgrade(eu(v3, windowed), running(v2, fit(v3, platform.Compatible, "")), now)
		if got := d.Step != nil; got != c.open {
			t.Errorf("%s: %s: %s", c.at, d.Verdict, d.Says)
		}
	}
	zone := eu(v3, func(d *schema.Deployment) {
		d.Update.Windows = []schema.Window{{Schedule: "CRON_TZ=Europe/Paris 0 2 * * *", Duration: schema.Duration(time.Hour)}}
	})
	d := rollout.Upgrade(zone, running(v2, fit(v3, platform.Compatible, "")), noon)
	if want := "eu: would roll 3 nodes to 26.7.3, waits for its window on 4 Aug 00:00 UTC"; d.Says != want || !d.Until.Equal(time.Date(2026, 8, 4, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("says %q until %s, want %q", d.Says, d.Until, want)
	}
	never := eu(v3, func(d *schema.Deployment) {
		d.Update.Windows = []schema.Window{{Schedule: "0 0 30 2 *", Duration: schema.Duration(time.Hour)}}
	})
	if d := rollout.Upgrade(never, running(v2, fit(v3, platform.Compatible, "")), noon); d.Says != "eu: would roll 3 nodes to 26.7.3, waits for its window which never opens" {
		t.Errorf("says %q", d.Says)
	}
}
