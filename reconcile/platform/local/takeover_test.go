package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// databases are those of a deployment in two regions, which has no nodes.
type databases struct {
	t    *testing.T
	want schema.Deployment
	*Driver
}

func newDatabases(t *testing.T) *databases {
	dir, err := os.MkdirTemp("", "db-") // not t.TempDir: a socket's path has no room for a test's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := Open(dir, Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	w := &databases{t, schema.Deployment{Name: "eu", Platform: "local", Instances: 1, Active: "paris", Standby: "warm", Files: fstest.MapFS{},
		Regions: []schema.Region{{Name: "paris", Address: "127.0.1.1"}, {Name: "milan", Address: "127.0.2.1"}}, HTTP: schema.HTTP{HTTPPort: 15000 + rand.N(4000)},
		Failover: schema.Failover{Mode: "automatic", After: schema.Duration(time.Second)}, DB: schema.Database{Replication: "synchronous", WhenStandbyLost: "wait"}}, d}
	t.Cleanup(w.end)
	w.record(func(r *platform.Record) { r.Active = "paris" })
	w.apply()
	work := &work{w.site("eu"), w.want, drift.Step{Epoch: w.look().Record.Epoch}}
	if err := work.firstDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.want.Regions {
		if err := work.database(t.Context(), work.plane(r.Name), r.Name); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *databases) end() {
	s := w.site("eu")
	for _, r := range w.want.Regions {
		seen, err := s.plane(r.Name).Look(context.Background())
		if err != nil {
			continue
		}
		if _, known := seen.Told.Nodes[databaseSlot]; known {
			_ = s.plane(r.Name).Stop(context.Background(), 1000, databaseSlot, 5*time.Second)
		}
		if err := s.plane(r.Name).End(context.Background(), 1000); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *databases) look() platform.Seen {
	w.t.Helper()
	seen, err := w.Observe(context.Background(), w.want)
	if err != nil {
		w.t.Fatal(err)
	}
	return seen
}

func (w *databases) region(name string) platform.Region {
	w.t.Helper()
	r, _ := w.look().Region(name)
	return r
}

// record changes the record.
func (w *databases) record(change func(*platform.Record)) platform.Record {
	w.t.Helper()
	old := w.look().Record
	now := old
	now.Epoch++
	change(&now)
	if err := w.Save(context.Background(), w.want, old, now); err != nil {
		w.t.Fatal(err)
	}
	return now
}

// do makes a step, and returns why it failed.
func (w *databases) do(verb drift.Verb, region string) error {
	w.t.Helper()
	step := drift.Step{Verb: verb, Region: region}
	w.record(func(r *platform.Record) {
		step.Epoch = r.Epoch
		r.Step = step
		if verb == drift.Promote {
			r.Active = region
		}
	})
	if err := w.Do(context.Background(), w.want, step); err != nil {
		w.t.Fatal(err)
	}
	var move platform.Move
	w.eventually(step.String()+" ends", func() bool { move = w.look().Move; return move.Step == step && move.State != platform.Doing })
	if move.State != platform.Done {
		return errors.New(move.Why)
	}
	if verb != drift.Degrade && verb != drift.Gate && verb != drift.Open && w.region(region).Epoch != step.Epoch {
		w.t.Errorf("after %s of epoch %d: %+v", step, step.Epoch, w.region(region))
	}
	return nil
}

func (w *databases) must(verb drift.Verb, region string) {
	w.t.Helper()
	if err := w.do(verb, region); err != nil {
		w.t.Fatalf("%s %s: %v", verb, region, err)
	}
}

// changes are those that a pass would make.
func (w *databases) changes() []drift.Change {
	w.t.Helper()
	want, facts, err := w.Desired(w.want)
	if err != nil {
		w.t.Fatal(err)
	}
	seen := w.look()
	changes := drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, want, seen.Have)
	return slices.DeleteFunc(changes, func(c drift.Change) bool { return c.Address.Kind() == platform.Watchers })
}

func (w *databases) apply() {
	w.t.Helper()
	if err := w.Apply(context.Background(), w.want, w.changes(), w.look().Record.Epoch); err != nil {
		w.t.Fatal(err)
	}
	if left := w.changes(); len(left) > 0 {
		w.t.Errorf("there is left %+v", left)
	}
}

func (w *databases) eventually(what string, so func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain until %s: %+v", what, w.look().Regions)
		}
	}
}

// roles are what the databases are.
func (w *databases) roles() string {
	w.t.Helper()
	var words []string
	for _, r := range w.look().Regions {
		word := r.Name + " " + string(r.Role)
		if !r.Lost.IsZero() {
			word += ", lost"
		}
		words = append(words, word)
	}
	return strings.Join(words, "; ")
}

// kill ends a region's data plane, and where all is to die its keeper and its database too.
func (w *databases) kill(region string, all bool) {
	w.t.Helper()
	seen, err := w.site("eu").plane(region).Look(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	pids := []int{seen.PID}
	if all {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", seen.PID))
		if err != nil {
			w.t.Fatal(err)
		}
		keeper, err := strconv.Atoi(string(bytes.Fields(stat[bytes.LastIndexByte(stat, ')'):])[2]))
		if err != nil {
			w.t.Fatal(err)
		}
		pids = append(pids, keeper, seen.Nodes[0].PID)
	}
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // or one would see another die
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil {
				w.t.Errorf("kill %d: %v", pid, err)
			}
		}
	}
}

func TestARegionTakesOverFromOneThatIsDeadAndHandsBackWhileDataPlanesDie(t *testing.T) {
	w := newDatabases(t)
	for range 2 {
		w.must(drift.Follow, "milan")
	}
	if r := w.region("milan"); r.Role != platform.Standby || !r.Streaming || !r.Synchronous {
		t.Errorf("a standby: %+v", r)
	}
	w.must(drift.Degrade, "milan")
	if r := w.region("milan"); r.Synchronous {
		t.Errorf("degraded: %+v", r)
	}
	w.must(drift.Follow, "milan")

	w.kill("paris", true)
	w.eventually("paris is lost", func() bool { return w.roles() == "milan standby; paris primary, lost" })
	since := w.region("paris").Lost
	if r := w.region("milan"); !r.Synchronous {
		t.Errorf("whom paris waited for isn't known any more: %+v", r)
	}
	if err := w.do(drift.Promote, "milan"); err == nil || !strings.Contains(err.Error(), "fence it first") {
		t.Errorf("promoted beside a primary that isn't fenced: %v", err)
	}
	if err := w.do(drift.Gate, "paris"); err == nil || !strings.Contains(err.Error(), "doesn't answer") {
		t.Errorf("a front that is dead is gated: %v", err)
	}
	w.record(func(r *platform.Record) { r.Active = "paris" })
	if left := w.changes(); len(left) > 0 {
		t.Errorf("before milan takes over paris isn't left alone: %+v", left)
	}
	w.must(drift.Fence, "paris")
	w.must(drift.Promote, "milan")
	if got := w.roles(); got != "milan primary; paris fenced, lost" {
		t.Errorf("after the failover: %s", got)
	}
	if got := w.region("paris").Lost; !got.Equal(since) {
		t.Errorf("lost since %s, and before that since %s", got, since)
	}

	if left := w.changes(); len(left) != 1 || left[0].Address != "fronts/paris" {
		t.Errorf("of paris there is to be done: %+v", left)
	}
	w.apply()
	w.must(drift.Follow, "paris")
	if r := w.region("paris"); r.Role != platform.Standby || !r.Streaming || !r.Synchronous || !r.Lost.IsZero() {
		t.Errorf("back, it is %+v", r)
	}

	// A switchover, with a data plane killed before each step; its keeper has another one.
	for _, step := range []drift.Step{
		{Verb: drift.Gate, Region: "milan"}, {Verb: drift.Fence, Region: "milan"}, {Verb: drift.Promote, Region: "paris"},
		{Verb: drift.Follow, Region: "milan"}, {Verb: drift.Open, Region: "milan"},
	} {
		for _, r := range w.want.Regions {
			w.kill(r.Name, false)
		}
		w.must(step.Verb, step.Region)
		if step.Verb == drift.Fence {
			w.eventually("paris has all that milan has written", func() bool { return w.region("paris").LSN >= w.region("milan").LSN })
		}
	}
	w.eventually("milan follows", func() bool {
		r := w.region("milan")
		return w.roles() == "milan standby; paris primary" && r.Streaming && r.Synchronous && !r.Gated
	})
	w.eventually("every way leads to paris", func() bool { return len(w.changes()) == 0 })
}
