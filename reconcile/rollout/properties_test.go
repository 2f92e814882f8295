package rollout_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// More lives, or one that failed: go test ./reconcile/rollout -lives 30000, -seed 815 -lives 1.
var (
	first = flag.Uint64("seed", 0, "seed of the first life")
	lives = flag.Uint64("lives", 1000, "how many lives are lived")
	tail  = flag.Int("tail", 30, "how much of what a life said is shown when it fails")
)

// life is a random deployment, from any start, on a platform where anything may go wrong for a while.
type life struct {
	*rand.Rand
	*platformtest.Memory
	process *platformtest.Process
	want    schema.Deployment
	now     time.Time
	faults  bool
	broken  map[string]bool        // revisions whose nodes never get ready
	decided map[drift.Step]decided // of each step, when it was decided
	steps   int                    // begun since the faults ended
	probed  map[string]bool        // nodes, since they last started
	wrong   error                  // what must never happen and did
	told    []string               // what was said, for a failure
}

func (l *life) maybe(percent int) bool { return l.IntN(100) < percent }

func pick[T any](l *life, of ...T) T { return of[l.IntN(len(of))] }

// begin makes a start: nodes in any state, with any record.
func begin(seed uint64) *life {
	l := &life{Rand: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 8, 3, 12, 0, 0, 0, time.UTC), faults: true, broken: map[string]bool{"r3": true}, decided: map[drift.Step]decided{},
		probed: map[string]bool{}}
	l.want = schema.Deployment{Name: "eu", Revision: "r1", Version: "26.7.2", Instances: 1 + l.IntN(4), Regions: []schema.Region{{Name: "paris"}},
		Active: "paris", Standby: pick(l, "warm", "cold"), Limits: schema.NodeLimits{NodesDown: pick(l, 1, 1, 1, 2)},
		Update: schema.Update{Strategy: pick(l, "Auto", "Auto", "RecreateOnImageChange", "Explicit"), OnFailure: pick(l, "hold", "rollback")}}
	if l.maybe(50) {
		l.want.Regions = append(l.want.Regions, schema.Region{Name: "milan"})
	}
	if l.maybe(20) {
		l.want.Update.Windows = []schema.Window{{Schedule: "0 2 * * *", Duration: schema.Duration(2 * time.Hour)}}
	}
	l.Memory = &platformtest.Memory{Pace: 1 + l.IntN(4), Restart: 1 + l.IntN(6)}
	l.Breaks = func(n platform.Node) bool { return l.broken[n.Revision] }
	l.Fails = func(s drift.Step) string {
		if l.faults && l.maybe(10) {
			return "the disk is full"
		}
		return ""
	}
	l.Fit = func(f platform.Fit) platform.Fit {
		if l.faults && l.maybe(5) {
			f.Verdict, f.Says = "", "update-compatibility exited with 2"
		}
		return f
	}
	l.Stale = func() int {
		if l.faults && l.maybe(30) {
			return l.IntN(6)
		}
		return 0
	}
	l.Apart = func(string) bool { return l.faults && l.maybe(3) }
	l.Watch = l.watch
	if l.maybe(70) {
		l.Put(l.anything())
	}
	l.process = l.Process()
	l.process.Flaw = l.flaw
	l.commit()
	return l
}

func (l *life) flaw(string) platformtest.Answer {
	if !l.faults || l.maybe(75) {
		return platformtest.Given
	}
	return pick(l, platformtest.Throttled, platformtest.LostAnswer)
}

// anything is a deployment in any state.
func (l *life) anything() platform.Seen {
	s := platform.Seen{Regions: []platform.Region{{Name: "paris", View: "paris", Gated: l.maybe(10)}}}
	release := func() platform.Release {
		return pick(l, platform.Release{Revision: "r0", Version: "26.7.1"}, platform.Release{Revision: "r1", Version: "26.7.2"}, platform.Release{Revision: "r2", Version: "26.7.3"}, platform.Release{Revision: "other", Version: "26.4.7"})
	}
	s.Record = platform.Record{Epoch: 100, Lifecycle: pick(l, platform.Running, platform.Running, platform.Starting, platform.Error, ""), To: release(), Good: release(), At: l.now}
	if s.Record.Lifecycle == "" {
		s.Record = platform.Record{}
	}
	if s.Record.Lifecycle == platform.Starting {
		s.Record.How = pick(l, platform.Roll, platform.Recreate, "")
		if l.maybe(30) {
			s.Record.Step = drift.Step{Verb: drift.Drain, Node: "paris-0", Region: "paris", Epoch: 100}
		}
	}
	if s.Record.Lifecycle == platform.Error {
		s.Record.Fault = platform.Fault{Why: "something", Step: drift.Step{Verb: drift.Replace, Node: "paris-0"}}
	}
	usual := release()
	for _, region := range []string{"paris", "milan"} {
		for i := range l.IntN(5) {
			r := usual
			if l.maybe(25) {
				r = release()
			}
			n := platform.Node{Name: fmt.Sprint(region, "-", i), Region: region, Revision: r.Revision, Version: r.Version, Ready: true, In: true}
			if l.maybe(20) {
				n.In, n.Draining = false, l.maybe(30)
			}
			if l.maybe(20) {
				n.Ready, n.Draining = false, false
			}
			if l.maybe(10) {
				n.Stopped, n.Ready, n.In, n.Draining = true, false, false, false
			}
			s.Nodes = append(s.Nodes, n)
		}
	}
	slices.SortFunc(s.Nodes, func(a, b platform.Node) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return s
}

// commit declares something else.
func (l *life) commit() {
	r := pick(l, platform.Release{Revision: "r1", Version: "26.7.2"}, platform.Release{Revision: "r2", Version: "26.7.3"}, platform.Release{Revision: "r3", Version: "26.7.3"},
		platform.Release{Revision: "r4", Version: "26.7.3"}, platform.Release{Revision: "r5", Version: "26.8.0"})
	l.want.Revision, l.want.Version = r.Revision, r.Version
	l.want.Update.Revision = pick(l, "", "a", "b")
	if l.maybe(30) {
		l.want.Instances = 1 + l.IntN(4)
	}
}

func serving(s platform.Seen, region string) int {
	count := 0
	for _, n := range s.Nodes {
		if n.Region == region && n.Serves() {
			count++
		}
	}
	return count
}

// look is one look of the controller, which may die anywhere in it.
func (l *life) look() (d rollout.Decision, done bool) {
	l.now = l.now.Add(10 * time.Second)
	if l.faults {
		l.fate()
	}
	seen, err := l.process.Observe(context.Background(), l.want)
	if err != nil {
		return d, false
	}
	d = rollout.Upgrade(l.want, seen, l.now)
	if d.Step != nil {
		if _, again := l.decided[*d.Step]; !again {
			n, _ := seen.Node(d.Step.Node)
			now := decided{dead: !n.Ready, instances: l.want.Instances, ready: map[string]bool{}}
			for _, n := range seen.Nodes {
				now.ready[n.Name] = n.Ready
				now.apart = now.apart || n.Ready && n.View != seen.Cluster(n.Region) && (d.Step.Verb == drift.Drain || n.Name == d.Step.Node)
			}
			l.decided[*d.Step] = now
		}
	}
	l.told = append(l.told, string(d.Verdict)+": "+d.Says)
	if d.Says == "" || len([]rune(d.Says)) > drift.Longest {
		l.wrong = fmt.Errorf("says %q", d.Says)
	}
	if d.Step != nil && d.Step.Epoch != d.Record.Epoch {
		l.wrong = fmt.Errorf("%+v has another epoch than its record, %d", d.Step, d.Record.Epoch)
	}
	l.crash(10)
	if d.Record != seen.Record {
		if err := l.process.Save(context.Background(), l.want, seen.Record, d.Record); err != nil {
			return d, false
		}
	}
	l.crash(10)
	if d.Step != nil {
		if !l.faults {
			l.steps++
		}
		err := l.process.Do(context.Background(), l.want, *d.Step)
		if err != nil && !l.faults && !errors.Is(err, platform.ErrOldEpoch) {
			l.wrong = fmt.Errorf("%+v: %w", d.Step, err)
		}
		l.crash(10)
	}
	if d.Verdict == drift.Pending && !d.Until.IsZero() {
		l.now = d.Until
	}
	return d, d.Step == nil && d.Record == seen.Record && err == nil
}

func (l *life) crash(percent int) {
	if l.faults && l.maybe(percent) {
		l.process.Crash()
		l.process = l.Process()
		l.process.Flaw = l.flaw
	}
}

// fate is what happens from outside.
func (l *life) fate() {
	seen := l.Now()
	if len(seen.Nodes) > 0 && l.maybe(5) {
		l.Kill(pick(l, seen.Nodes...).Name)
	}
	if l.maybe(4) {
		l.commit()
	}
	if r, ok := rollout.Resume(seen.Record); ok && l.maybe(10) {
		l.process.Save(context.Background(), l.want, seen.Record, r)
	}
}

// declared tells whether everything is as declared, independently of what Upgrade thinks.
func (l *life) declared() error {
	seen := l.Now()
	for _, r := range l.want.Regions {
		for _, slot := range l.want.Slots(r.Name) {
			n, ok := seen.Node(slot)
			cold := l.want.Standby == "cold" && r.Name != "paris"
			switch {
			case !ok:
				return fmt.Errorf("there is no %s", slot)
			case n.Revision != l.want.Revision:
				return fmt.Errorf("%s runs %s", slot, n.Revision)
			case cold != n.Stopped || !cold && !n.Serves():
				return fmt.Errorf("%s: %+v", slot, n)
			}
		}
	}
	if len(seen.Nodes) != l.want.Instances*len(l.want.Regions) {
		return fmt.Errorf("%d nodes", len(seen.Nodes))
	}
	if r, _ := seen.Region("paris"); r.Gated {
		return errors.New("the gate is closed")
	}
	if seen.Record.Fault != (platform.Fault{}) {
		return fmt.Errorf("fault %+v", seen.Record.Fault)
	}
	if seen.Record.Lifecycle != platform.Running || seen.Record.Good.Revision != l.want.Revision {
		return fmt.Errorf("record %+v", seen.Record)
	}
	return nil
}

// ends looks until nothing changes any more.
func (l *life) ends() (rollout.Decision, error) {
	const most = 1500
	quiet := 0
	for range most {
		d, done := l.look()
		if l.wrong != nil {
			return d, l.wrong
		}
		if quiet++; !done || d.Verdict == drift.Progressing || d.Verdict == drift.Pending || d.Verdict == drift.Drifted {
			quiet = 0
		}
		if quiet > 20 {
			return d, nil
		}
	}
	return rollout.Decision{}, errors.New("never ends")
}

// What is declared comes true, or the deployment stands in ERROR with a reason, whatever the start was and whatever went wrong on
// the way. In the end a person resumes, and mends what can't run: then it is as declared.
func TestFromAnyStartItEndsAsDeclaredOrSaysWhyNot(t *testing.T) {
	ended := map[drift.Verdict]int{}
	for seed := *first; seed < *first+*lives; seed++ {
		l := begin(seed)
		fail := func(err error) {
			t.Fatalf("seed %d: %v\nwant %+v\nlast said:\n%s", seed, err, l.want, lines(l.told))
		}
		for range l.IntN(250) {
			if l.look(); l.wrong != nil {
				fail(l.wrong)
			}
		}
		l.faults = false
		d, err := l.ends()
		if err != nil {
			fail(err)
		}
		ended[d.Verdict]++
		switch err := l.declared(); {
		case d.Verdict == drift.InSync && err != nil:
			fail(fmt.Errorf("says %q, but %w", d.Says, err))
		case d.Verdict == drift.Errored:
			if f := l.Now().Record.Fault; f.Why == "" || d.Hint == "" {
				fail(fmt.Errorf("stands in ERROR without a reason: %+v", f))
			}
		case d.Verdict != drift.InSync:
			fail(fmt.Errorf("ends with %s: %s", d.Verdict, d.Says))
		}
		if l.steps > 400 {
			fail(fmt.Errorf("%d steps", l.steps))
		}
		// A person mends what is broken, and goes on.
		l.broken = nil
		l.want.Update.Strategy = "Explicit" // and knows what may serve side by side
		if r, ok := rollout.Resume(l.Now().Record); ok {
			if err := l.process.Save(context.Background(), l.want, l.Now().Record, r); err != nil {
				fail(err)
			}
		}
		if d, err := l.ends(); err != nil || d.Verdict != drift.InSync {
			fail(fmt.Errorf("after it was mended and resumed: %s %s: %v", d.Verdict, d.Says, err))
		}
		if err := l.declared(); err != nil {
			fail(err)
		}
	}
	t.Logf("%d lives ended: %v", *lives, ended)
	if *lives > 100 && (ended[drift.InSync] == 0 || ended[drift.Errored] == 0) {
		t.Error("only one end was seen; the lives are too much alike")
	}
}

func lines(told []string) (s string) {
	for _, t := range told[max(0, len(told)-*tail):] {
		s += t + "\n"
	}
	return s
}
