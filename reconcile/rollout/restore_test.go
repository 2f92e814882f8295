package rollout_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// restored is a deployment of two regions that a backup comes into the place of.
type restored struct {
	*platformtest.Memory
	process *platformtest.Process
	want    schema.Deployment
	now     time.Time
	verbs   []string
	wrong   string
}

func newRestored(t *testing.T) *restored {
	r := &restored{Memory: &platformtest.Memory{Pace: 2, Restart: 2}, want: both(), now: noon}
	r.process = r.Process()
	if d := r.until(t, 400); d.Verdict != drift.InSync {
		t.Fatalf("it isn't there: %s", d.Says)
	}
	r.Watch = func(before, after platform.Seen) {
		s := after.Move.Step
		if after.Move == before.Move {
			return
		}
		if after.Move.State == platform.Doing && (len(r.verbs) == 0 || r.verbs[len(r.verbs)-1] != s.String()) {
			r.verbs = append(r.verbs, s.String())
		}
		if s.Verb == drift.Restore && slices.ContainsFunc(after.Nodes, func(n platform.Node) bool { return !n.Stopped }) {
			r.wrong = "databases change places while " + fmt.Sprint(after.Nodes)
		}
	}
	return r
}

// look is what a controller does in one look.
func (r *restored) look() rollout.Decision {
	ctx := context.Background()
	r.now = r.now.Add(time.Second)
	seen, err := r.process.Observe(ctx, r.want)
	if err != nil {
		return rollout.Decision{Verdict: drift.Progressing}
	}
	d := rollout.Next(r.want, seen, r.now)
	if d.Record != seen.Record {
		if r.process.Save(ctx, r.want, seen.Record, d.Record) != nil {
			return rollout.Decision{Verdict: drift.Progressing}
		}
	}
	if d.Step != nil {
		_ = r.process.Do(ctx, r.want, *d.Step) // what isn't begun is begun again
	}
	return d
}

// until looks until the deployment stands still.
func (r *restored) until(t *testing.T, looks int) (d rollout.Decision) {
	t.Helper()
	for range looks {
		if d = r.look(); d.Verdict == drift.InSync || d.Verdict == drift.Errored {
			return d
		}
	}
	t.Fatalf("never stands still: %s %s", d.Verdict, d.Says)
	return d
}

// ask has a person ask for the backup.
func (r *restored) ask(t *testing.T) {
	t.Helper()
	seen, err := r.process.Observe(t.Context(), r.want)
	if err != nil {
		t.Fatal(err)
	}
	record, err := rollout.Restore(r.want, seen, "restored_1", "vault/cold/1")
	if err == nil {
		err = r.process.Save(t.Context(), r.want, seen.Record, record)
	}
	if err != nil {
		t.Fatal(err)
	}
	if seen.Record = record; true {
		if _, err := rollout.Restore(r.want, seen, "restored_2", "vault/cold/2"); err == nil || !strings.Contains(err.Error(), "is being restored already, from vault/cold/1") {
			t.Errorf("asked for another one: %v", err)
		}
	}
}

func TestARestoreStopsAllNodesAndNothingElseMovesMeanwhile(t *testing.T) {
	r := newRestored(t)
	r.ask(t)
	r.want.Revision = "r2" // a roll that has to wait
	first := r.look()
	if first.Verdict != drift.Progressing || !strings.Contains(first.Says, "holding requests of paris (the database is restored from vault/cold/1)") {
		t.Errorf("at first it says %s", first.Says)
	}
	r.until(t, 600)
	i := slices.Index(r.verbs, "admit milan-0")
	for j, v := range r.verbs {
		if strings.HasPrefix(v, "admit ") && !slices.ContainsFunc(r.verbs[j+1:], func(v string) bool { return strings.HasPrefix(v, "start ") }) {
			i = j // the last that is started
			break
		}
	}
	want := []string{"gate paris", "stop milan", "stop paris", "restore paris", "start paris-0", "probe paris-0", "admit paris-0", "open paris", "start paris-1", "probe paris-1", "admit paris-1",
		"start milan-0", "probe milan-0", "admit milan-0", "start milan-1", "probe milan-1", "admit milan-1"}
	if got := r.verbs[:min(i+1, len(r.verbs))]; !slices.Equal(got, want) {
		t.Errorf("steps:\n%v\nwant:\n%v", got, want)
	}
	if rest := r.verbs[len(want):]; len(rest) == 0 || !strings.HasPrefix(rest[0], "prepare ") {
		t.Errorf("the roll comes after it: %v", rest)
	}
}

func TestARestoreThatFailsLeavesWhatServedServing(t *testing.T) {
	r := newRestored(t)
	r.Fails = func(s drift.Step) string {
		if s.Verb == drift.Restore {
			return "it holds no account of ours"
		}
		return ""
	}
	r.ask(t)
	d := r.until(t, 400)
	if want := "restore paris failed: it holds no account of ours; what there was serves again"; d.Verdict != drift.Errored || !strings.HasSuffix(d.Says, want) {
		t.Errorf("it says %s", d.Says)
	}
	seen, err := r.process.Observe(t.Context(), r.want)
	if err != nil || slices.ContainsFunc(seen.Nodes, func(n platform.Node) bool { return !n.Serves() }) || seen.Record.Restore != (platform.Restoring{}) {
		t.Errorf("left: %+v, %v", seen, err)
	}
	record, ok := rollout.Resume(seen.Record)
	if !ok || r.process.Save(t.Context(), r.want, seen.Record, record) != nil {
		t.Fatal("it can't be resumed")
	}
	if d := r.until(t, 100); d.Verdict != drift.InSync || slices.Contains(r.verbs[len(r.verbs)-1:], "gate paris") {
		t.Errorf("resumed, it says %s", d.Says)
	}
}

func TestARestoreEndsWhateverIsLostOnTheWay(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 5))
		r := newRestored(t)
		r.ask(t)
		faults := true
		flaw := func(string) platformtest.Answer {
			if !faults || random.IntN(100) < 80 {
				return platformtest.Given
			}
			return platformtest.Answer(1 + random.IntN(2))
		}
		r.Stale = func() int {
			if faults && random.IntN(100) < 30 {
				return random.IntN(5)
			}
			return 0
		}
		for range 80 {
			r.process.Flaw = flaw
			r.look()
			if random.IntN(100) < 15 {
				r.process.Crash()
				r.process = r.Process()
			}
		}
		faults = false
		d := r.until(t, 600)
		seen, err := r.process.Observe(t.Context(), r.want)
		if d.Verdict != drift.InSync || err != nil || seen.Record.Restore != (platform.Restoring{}) || r.wrong != "" || !slices.Contains(r.verbs, "restore paris") {
			t.Errorf("seed %d: %s; %s; %v, steps %v", seed, d.Says, r.wrong, err, r.verbs)
		}
		if slices.ContainsFunc(seen.Nodes, func(n platform.Node) bool { return !n.Serves() }) {
			t.Errorf("seed %d: %+v", seed, seen.Nodes)
		}
	}
}
