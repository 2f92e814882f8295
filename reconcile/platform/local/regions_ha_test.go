package local_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/traffic"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// What takes minutes, or tens of them: make test-ha.

func TestHATheDriverMovesRegions(t *testing.T) {
	for _, c := range platformtest.RegionCases {
		t.Run(c.Name, func(t *testing.T) {
			w := newWorld(t)
			if err := c.Run(t.Context(), platformtest.Subject{
				Open: func() platformtest.Opened {
					d := w.open()
					return platformtest.Opened{Driver: d, Crash: func() { d.Close() }}
				},
				Want: w.two(1), Pause: 500 * time.Millisecond, Looks: 2000,
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// moves is how often the active region moves: 5 times, or as MOVES says.
func moves() int {
	if n, err := strconv.Atoi(os.Getenv("MOVES")); err == nil {
		return n
	}
	return 5
}

// inTwoRegions brings the deployment up, and makes what people use.
func (w *world) inTwoRegions(nodes int, changes ...func(*schema.Deployment)) (*local.Driver, schema.Deployment, []traffic.Front) {
	w.t.Helper()
	d, want := w.open(), w.two(nodes, changes...)
	w.settle(d, want)
	fronts := w.fronts(d, want)
	if err := traffic.Make(w.t.Context(), fronts[0].Admin); err != nil {
		w.t.Fatal(err)
	}
	return d, want, fronts
}

// onlyPrimary fails where another region than this one is a primary too, or this one isn't.
func (w *world) onlyPrimary(region string) {
	w.t.Helper()
	if got := w.primaries(); !slices.Equal(got, []string{region}) {
		w.t.Errorf("the primaries are %v, want %s alone", got, region)
	}
}

// kept ends the use, of which nothing that was acknowledged may be lost.
func (w *world) kept(what string, people *traffic.Traffic) traffic.Sum {
	w.t.Helper()
	sum, err := people.Stop(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%s: %s", what, sum)
	if sum.Gone > 0 || sum.Lost > 0 {
		w.t.Errorf("%s: something is lost: %s: %q", what, sum, sum.Fails)
	}
	return sum
}

// other is the region that isn't this one.
func other(region string) string {
	if region == "paris" {
		return "milan"
	}
	return "paris"
}

func TestHATheActiveRegionMovesFiveTimesAndNobodyNotices(t *testing.T) {
	w := newWorld(t)
	d, want, fronts := w.inTwoRegions(2)
	for i := range moves() {
		people := w.begin(fronts...)
		want.Active = other(want.Active)
		began := time.Now()
		w.settle(d, want)
		took := time.Since(began)
		w.onlyPrimary(want.Active)
		sum := w.kept("switchover "+strconv.Itoa(i+1)+", "+took.Round(time.Second).String(), people)
		if sum.Failed > 0 || sum.Thrown > 0 {
			t.Errorf("somebody noticed: %s: %q", sum, sum.Fails)
		}
	}

	// Whoever begins a step dies right after.
	people := w.begin(fronts...)
	want.Active = other(want.Active)
	steps := w.crashing(want, func(step drift.Step, d *local.Driver) *local.Driver {
		d.Close()
		return w.open()
	})
	w.onlyPrimary(want.Active)
	if sum := w.kept("a controller killed at each of "+strconv.Itoa(steps)+" steps", people); sum.Failed > 0 {
		t.Errorf("somebody noticed: %s: %q", sum, sum.Fails)
	}

	// The data plane of either region dies in the midst of each step.
	people = w.begin(fronts...)
	want.Active = other(want.Active)
	steps = w.crashing(want, func(step drift.Step, d *local.Driver) *local.Driver {
		for _, plane := range w.planes() {
			if seen, err := plane.Look(t.Context()); err == nil {
				_ = syscall.Kill(seen.PID, syscall.SIGKILL)
			}
		}
		return d
	})
	w.onlyPrimary(want.Active)
	w.kept("data planes killed at each of "+strconv.Itoa(steps)+" steps", people)
}

// crashing does as controllers do, until all is as wanted, with an accident after each step that was begun. It returns how many.
func (w *world) crashing(want schema.Deployment, accident func(drift.Step, *local.Driver) *local.Driver) (steps int) {
	w.t.Helper()
	d := w.open()
	met := map[string]bool{}
	deadline := time.Now().Add(20 * time.Minute)
	says := ""
	for time.Now().Before(deadline) {
		next, settled := w.pass(d, want)
		if settled {
			return len(met)
		}
		if next.Says != says {
			says = next.Says
			w.log.Info("says", "verdict", next.Verdict, "says", says)
		}
		if next.Step != nil && !met[next.Step.String()] {
			met[next.Step.String()] = true
			d = accident(*next.Step, d)
		}
		time.Sleep(300 * time.Millisecond)
	}
	w.t.Fatal("never ends: ", says)
	return 0
}

// pass is one look of a controller, and what it does then.
func (w *world) pass(d *local.Driver, want schema.Deployment) (next rollout.Decision, settled bool) {
	ctx := w.t.Context()
	seen, err := d.Observe(ctx, want)
	if err != nil {
		w.log.Warn("observe", "error", err)
		return next, false
	}
	if err := w.applySettings(ctx, d, want, seen); err != nil {
		w.log.Warn("settings", "error", err)
	}
	next = rollout.Next(want, seen, time.Now())
	if next.Record != seen.Record {
		if err := d.Save(ctx, want, seen.Record, next.Record); err != nil {
			w.log.Warn("save", "error", err)
			return next, false
		}
	}
	if next.Step != nil {
		if err := d.Do(ctx, want, *next.Step); err != nil {
			w.log.Warn("do", "step", next.Step.String(), "error", err)
		}
	}
	return next, next.Verdict == drift.InSync && next.Record == seen.Record
}

// firstLogin tells when somebody could log in again by the front of a region.
func firstLogin(ctx context.Context, front traffic.Front) <-chan time.Duration {
	began, done := time.Now(), make(chan time.Duration, 1)
	go func() {
		for ctx.Err() == nil {
			r, _ := http.NewRequestWithContext(ctx, http.MethodPost, front.URL+"/realms/"+traffic.Realm+"/protocol/openid-connect/token", strings.NewReader(
				url.Values{"grant_type": {"password"}, "client_id": {"app"}, "username": {"ada"}, "password": {"correct horse battery"}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if answer, err := http.DefaultClient.Do(r); err == nil {
				answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					done <- time.Since(began)
					return
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return done
}

// takesOver kills the active region and has the other one take over: by its watcher, where there is one, and else by our passes.
func (w *world) takesOver(what string, d *local.Driver, want *schema.Deployment, fronts []traffic.Front) traffic.Sum {
	w.t.Helper()
	people := w.begin(fronts...)
	dead := want.Active
	to := other(dead)
	w.killRegion(dead)
	login := firstLogin(w.t.Context(), fronts[slices.IndexFunc(places, func(r schema.Region) bool { return r.Name == to })])
	if w.watched {
		w.eventually(to+" takes over", func() bool {
			seen, err := d.Observe(w.t.Context(), *want)
			return err == nil && w.arrived(d, *want, to)(rollout.Decision{Record: seen.Record})
		})
	} else {
		w.drive(d, *want, w.arrived(d, *want, to))
	}
	w.onlyPrimary(to)
	first := <-login
	before := people.Sum().Writes
	w.eventually("people write again", func() bool { return people.Sum().Writes > before })
	want.Active = to // git says so too, and the other one comes back
	seen := w.settle(d, *want)
	back, _ := seen.Region(dead)
	if back.Role != platform.Standby || !back.Streaming || back.Synchronous != (want.DB.Replication == "synchronous") {
		w.t.Errorf("%s came back as %+v", dead, back)
	}
	w.onlyPrimary(to)
	return w.kept(what+", first login after "+first.Round(100*time.Millisecond).String(), people)
}

func TestHAARegionIsKilledFiveTimesAndTheOtherTakesOver(t *testing.T) {
	w := newWorld(t)
	d, want, fronts := w.inTwoRegions(1)
	for i := range moves() {
		if w.watched = i%2 == 1; w.watched {
			w.settle(d, want)
		}
		w.takesOver(fmt.Sprintf("failover %d, watched: %v", i+1, w.watched), d, &want, fronts)
		if w.watched {
			w.unwatch()
		}
	}
}

// unwatch ends the watchers.
func (w *world) unwatch() {
	w.t.Helper()
	for _, plane := range w.planes() {
		seen, err := plane.Look(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if err := plane.Stop(w.t.Context(), seen.Told.Epoch, "watcher", time.Second); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestHAAColdStandbyTakesOver(t *testing.T) {
	w := newWorld(t)
	d, want, fronts := w.inTwoRegions(1, func(d *schema.Deployment) { d.Standby = "cold" })
	if seen, err := d.Observe(t.Context(), want); err != nil || !slices.ContainsFunc(seen.Nodes, func(n platform.Node) bool { return n.Region == "milan" && n.Stopped }) {
		t.Errorf("a cold standby: %+v %v", seen.Nodes, err)
	}
	w.takesOver("failover to a cold standby", d, &want, fronts)
}

func TestHAWithoutItsStandbyThePrimaryWaitsOrDegradesAndLosesNothing(t *testing.T) {
	for _, policy := range []string{"wait", "degrade"} {
		t.Run(policy, func(t *testing.T) {
			w := newWorld(t)
			d, want, fronts := w.inTwoRegions(1, func(d *schema.Deployment) { d.DB.WhenStandbyLost = policy })
			people := w.begin(fronts...)
			w.killRegion("milan")
			apart := func(next rollout.Decision) bool { // nothing brings it back, since nothing is applied
				return strings.Contains(next.Says, map[string]string{"wait": "writes wait for it", "degrade": "writes don't wait for it"}[policy])
			}
			var says string
			w.eventually("the status says what writes do", func() bool {
				seen, err := d.Observe(t.Context(), want)
				if err != nil {
					return false
				}
				next := rollout.Next(want, seen, time.Now())
				says = next.Says
				if next.Record != seen.Record && d.Save(t.Context(), want, seen.Record, next.Record) != nil {
					return false
				}
				if next.Step != nil && d.Do(t.Context(), want, *next.Step) != nil {
					return false
				}
				return apart(next)
			})
			t.Log(says)
			writes := people.Sum().Writes
			if policy == "degrade" {
				w.eventually("writes go on", func() bool { return people.Sum().Writes > writes+2 })
			}
			w.settle(d, want) // milan is back
			w.eventually("writes go on", func() bool { return people.Sum().Writes > writes+2 })
			w.onlyPrimary("paris")
			w.kept(policy, people)
			w.takesOver("and then the primary dies", d, &want, fronts)
		})
	}
}
