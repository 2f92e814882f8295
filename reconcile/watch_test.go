package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

// twoRegions declares that milan takes over when paris hasn't answered for a second.
func twoRegions() *schema.Deployment {
	d := deployment("r1", "26.7.3")
	d.Regions = []schema.Region{{Name: "paris"}, {Name: "milan"}}
	d.DB = schema.Database{Replication: "synchronous", WhenStandbyLost: "wait"}
	d.Failover = schema.Failover{Mode: "automatic", After: schema.Duration(time.Second)}
	return d
}

// regions is a platform on which paris writes, and milan has all that it acknowledges.
type regions struct {
	*platformtest.Memory
	t     *testing.T
	began time.Time

	mu    sync.Mutex
	steps []drift.Step // that were begun
	at    []time.Time
	wrong string // what must never be and was
}

func newRegions(t *testing.T) *regions {
	d := twoRegions()
	release := platform.ReleaseOf(*d)
	r := &regions{Memory: &platformtest.Memory{Pace: 2}, t: t, began: time.Now()}
	seen := platform.Seen{Record: platform.Record{Lifecycle: platform.Running, Epoch: 10, Active: "paris", Moved: 5, Synced: "milan", To: release, Good: release,
		Step: drift.Step{Verb: drift.Follow, Region: "milan", Epoch: 5}, At: time.Now().Add(-time.Hour).UTC()}}
	seen.Move = platform.Move{Step: seen.Record.Step, State: platform.Done}
	seen.Regions = []platform.Region{
		{Name: "milan", View: "paris", Role: platform.Standby, Epoch: 5, Streaming: true, Synchronous: true, LSN: 1000},
		{Name: "paris", View: "paris", Role: platform.Primary, Epoch: 2, LSN: 1000},
	}
	for _, region := range []string{"milan", "paris"} {
		for _, slot := range d.Slots(region) {
			seen.Nodes = append(seen.Nodes, platform.Node{Name: slot, Region: region, Revision: release.Revision, Version: release.Version, Ready: true, In: true, View: 4})
		}
	}
	r.Put(seen)
	r.Acked = 1000
	r.Memory.Watch = r.watch
	return r
}

// watch holds every change against what must always be so.
func (r *regions) watch(before, after platform.Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var primaries []string
	for _, region := range after.Regions {
		if region.Role == platform.Primary {
			primaries = append(primaries, region.Name)
		}
	}
	step := after.Move.Step
	begins := step != before.Move.Step
	if begins {
		r.steps, r.at = append(r.steps, step), append(r.at, time.Now())
	}
	to, _ := after.Region(step.Region)
	switch {
	case r.wrong != "":
	case len(primaries) > 1:
		r.wrong = fmt.Sprint("two regions take writes: ", primaries)
	case after.Record != before.Record && after.Record.Epoch <= before.Record.Epoch:
		r.wrong = "the epoch doesn't rise"
	case begins && step.Epoch <= before.Move.Step.Epoch:
		r.wrong = step.String() + " has no epoch of its own"
	case step.Verb == drift.Promote && after.Move.State == platform.Done && before.Move.State == platform.Doing && to.LSN < r.Acked:
		r.wrong = "what was acknowledged is lost"
	}
}

// story is the steps that were begun, each once.
func (r *regions) story() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.steps {
		if name := s.String(); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func (r *regions) check() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong != "" {
		r.t.Errorf("%s; steps %v", r.wrong, r.steps)
	}
}

// paris is lost with all that it had.
func (r *regions) losesParis() { r.Lose("paris", true, time.Now()) }

// watcher is one that stands in a region, by a driver of its own.
func watcher(driver platform.Driver, region string, declared func() (*schema.Deployment, error)) reconcile.Watch {
	return reconcile.Watch{Driver: driver, Region: region, Declared: declared, Pause: 250 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
}

func always(d *schema.Deployment) func() (*schema.Deployment, error) {
	return func() (*schema.Deployment, error) { return d, nil }
}

// until waits for something to be so.
func (r *regions) until(what string, so func(platform.Seen) bool) {
	r.t.Helper()
	for range 1200 {
		if so(r.Now()) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("waited in vain: %s; steps %s; %+v", what, r.story(), r.Now())
}

// tookOver tells whether milan serves in the place of paris, and nothing is left to do.
func tookOver(s platform.Seen) bool {
	milan, _ := s.Region("milan")
	return s.Record.Active == "milan" && s.Record.Toward == "" && milan.Role == platform.Primary && !milan.Gated && s.Move.State == platform.Done
}

// during runs watchers and the like until the end of what is done meanwhile.
func during(ctx context.Context, run []func(context.Context), do func()) {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, r := range run {
		all.Go(func() { r(ctx) })
	}
	do()
	stop()
	all.Wait()
}

func TestAWatcherFailsOverWithNobodyElseThereAfterTheDeclaredTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		d := twoRegions()
		during(t.Context(), []func(context.Context){watcher(r.Process(), "milan", always(d)).Run}, func() {
			time.Sleep(time.Minute)
			if story := r.story(); story != "" || r.Now().Record.Epoch != 10 {
				t.Errorf("while all is well: %s, %+v", story, r.Now().Record)
			}
			r.losesParis()
			lost := time.Now()
			r.until("milan takes over", tookOver)
			if got, want := r.story(), "fence paris, promote milan"; got != want {
				t.Errorf("steps %q, want %q", got, want)
			}
			if waited := r.at[0].Sub(lost); waited < time.Second || waited > time.Second+250*time.Millisecond {
				t.Errorf("fences after %s, declared is 1s", waited)
			}
			record := r.Now().Record
			want := platform.Decided{By: "the watcher of milan", Why: "paris hasn't answered since " + lost.UTC().Format("15:04:05"), At: record.Decided.At, Epoch: 11}
			if record.Decided != want || record.Override != "milan" || record.Declared != "paris" || record.Since.IsZero() {
				t.Errorf("record %+v", record)
			}
		})
		r.check()
	})
}

func TestAWatcherHoldsStillWhereItIsToldTo(t *testing.T) {
	for name, change := range map[string]func(*schema.Deployment){
		"manual":    func(d *schema.Deployment) { d.Failover.Mode = "manual" },
		"suspended": func(d *schema.Deployment) { d.Suspend = &schema.Suspend{Reason: "migration"} },
		"later":     func(d *schema.Deployment) { d.Failover.After = schema.Duration(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegions(t)
				d := twoRegions()
				change(d)
				var told atomic.Pointer[schema.Deployment]
				told.Store(d)
				during(t.Context(), []func(context.Context){watcher(r.Process(), "milan", func() (*schema.Deployment, error) { return told.Load(), nil }).Run}, func() {
					r.losesParis()
					time.Sleep(10 * time.Minute)
					if story := r.story(); story != "" || r.Now().Record.Epoch != 10 {
						t.Errorf("steps %q, %+v", story, r.Now().Record)
					}
					told.Store(twoRegions()) // and what is declared then holds
					r.until("milan takes over", tookOver)
				})
				r.check()
			})
		})
	}
}

func TestAWatcherLeavesNodesToTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		d := twoRegions()
		d.Revision, d.Version, d.Instances = "r2", "26.7.4", 3
		during(t.Context(), []func(context.Context){watcher(r.Process(), "milan", always(d)).Run}, func() {
			time.Sleep(10 * time.Minute)
			if story := r.story(); story != "" {
				t.Errorf("steps %q", story)
			}
			r.losesParis()
			r.until("milan takes over", tookOver)
			time.Sleep(10 * time.Minute)
			if got, want := r.story(), "fence paris, promote milan"; got != want {
				t.Errorf("steps %q, want %q", got, want)
			}
		})
		r.check()
	})
}

func TestAWatcherGoesByWhatItWasToldLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		var broken atomic.Bool
		d := twoRegions()
		during(t.Context(), []func(context.Context){watcher(r.Process(), "milan", func() (*schema.Deployment, error) {
			if broken.Load() {
				return nil, errors.New("the disk is broken")
			}
			return d, nil
		}).Run}, func() {
			time.Sleep(time.Minute)
			broken.Store(true)
			r.losesParis()
			r.until("milan takes over", tookOver)
		})
		r.check()
	})
}

func TestAWatcherLooksOnlyWhereThereIsSomethingToSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		s := &site{Process: r.Process(), memory: r.Memory, refuses: map[string]error{}}
		w := watcher(s, "milan", always(twoRegions()))
		w.Glance = func(context.Context, schema.Deployment) string {
			paris, _ := r.Now().Region("paris")
			return paris.Lost.String()
		}
		during(t.Context(), []func(context.Context){w.Run}, func() {
			time.Sleep(time.Minute + time.Second)
			synctest.Wait()
			if looks := len(s.calls); looks != 13 {
				t.Errorf("%d looks in a minute, one each 5 s are enough", looks)
			}
			r.losesParis()
			lost := time.Now()
			r.until("milan takes over", tookOver)
			if waited := r.at[0].Sub(lost); waited < time.Second || waited > time.Second+250*time.Millisecond {
				t.Errorf("fences after %s, declared is 1s", waited)
			}
		})
		r.check()
	})
}

// mortal is a driver whose process dies at one of its calls: before it is made, or after.
type mortal struct {
	*platformtest.Process
	left  int
	after bool
	die   func()
}

func (m *mortal) call(do func() error) error {
	m.left--
	if m.left == 0 && !m.after {
		m.Crash()
		m.die()
	}
	err := do()
	if m.left == 0 && m.after {
		m.Crash()
		m.die()
	}
	return err
}

func (m *mortal) Observe(ctx context.Context, d schema.Deployment) (seen platform.Seen, err error) {
	return seen, m.call(func() error { seen, err = m.Process.Observe(ctx, d); return err })
}

func (m *mortal) Do(ctx context.Context, d schema.Deployment, step drift.Step) error {
	return m.call(func() error { return m.Process.Do(ctx, d, step) })
}

func (m *mortal) Save(ctx context.Context, d schema.Deployment, old, new platform.Record) error {
	return m.call(func() error { return m.Process.Save(ctx, d, old, new) })
}

func TestAFailoverComesToItsEndWhereverTheWatcherDies(t *testing.T) {
	for call := 1; call <= 20; call++ {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				r := newRegions(t)
				r.losesParis()
				declared := always(twoRegions())
				during(t.Context(), []func(context.Context){func(ctx context.Context) {
					life, die := context.WithCancel(ctx)
					watcher(&mortal{r.Process(), call, after, die}, "milan", declared).Run(life)
					if ctx.Err() != nil && call < 15 {
						t.Errorf("the watcher never made its call %d", call)
					}
					watcher(r.Process(), "milan", declared).Run(ctx) // the data plane has started another one
				}}, func() { r.until("milan takes over", tookOver) })
				if got, want := r.story(), "fence paris, promote milan"; got != want {
					t.Errorf("call %d, after %t: steps %q, want %q", call, after, got, want)
				}
				r.check()
			})
		}
	}
}

// slow is a driver whose calls take their time.
type slow struct {
	*platformtest.Process
	*rand.Rand
}

func (s slow) lag() { time.Sleep(s.N() * time.Millisecond) }

func (s slow) N() time.Duration { return time.Duration(s.IntN(400)) }

func (s slow) Observe(ctx context.Context, d schema.Deployment) (platform.Seen, error) {
	seen, err := s.Process.Observe(ctx, d)
	s.lag() // what it shows is old by then
	return seen, err
}

func (s slow) Do(ctx context.Context, d schema.Deployment, step drift.Step) error {
	s.lag()
	return s.Process.Do(ctx, d, step)
}

func (s slow) Save(ctx context.Context, d schema.Deployment, old, new platform.Record) error {
	s.lag()
	return s.Process.Save(ctx, d, old, new)
}

// controller makes passes over all of a deployment, as Poll does.
func controller(driver platform.Driver, d func() *schema.Deployment) func(context.Context) {
	return func(ctx context.Context) {
		for ctx.Err() == nil {
			_, _ = reconcile.Deploy{Mode: reconcile.Apply, Driver: driver, Want: d()}.Run(ctx) // what goes wrong is tried again
			time.Sleep(time.Second)
		}
	}
}

func TestTwoWatchersAndAControllerAreSafeSideBySide(t *testing.T) {
	deciders := map[string]int{}
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := newRegions(t)
			r.Beyond = func(string) string { // at first nobody is certain of it
				if time.Since(r.began) < 20*time.Second {
					return "the host doesn't answer"
				}
				return ""
			}
			process := func(n uint64) slow { return slow{r.Process(), rand.New(rand.NewPCG(seed, n))} }
			d := twoRegions()
			during(t.Context(), []func(context.Context){
				watcher(process(1), "milan", always(d)).Run, watcher(process(2), "paris", always(d)).Run, controller(process(3), func() *schema.Deployment { return d }),
			}, func() {
				time.Sleep(time.Duration(seed) * 50 * time.Millisecond)
				r.losesParis()
				r.until("milan takes over", tookOver)
				deciders[r.Now().Record.Decided.By]++
				time.Sleep(time.Duration(seed) * time.Second)
				r.Mend("paris")
				r.until("paris follows", func(s platform.Seen) bool {
					paris, _ := s.Region("paris")
					return paris.Role == platform.Standby && paris.Streaming && paris.Synchronous && s.Record.Synced == "paris"
				})
				time.Sleep(time.Minute)
				if now := r.Now(); !tookOver(now) {
					t.Errorf("seed %d: flaps: %s, %+v", seed, r.story(), now.Record)
				}
			})
			r.check()
		})
	}
	if len(deciders) < 3 {
		t.Errorf("always the same one decides: %v", deciders)
	}
}

func TestTheControllerThatComesBackShowsTheFailoverAndKeepsIt(t *testing.T) {
	repository := &source{world: &world{t: t, name: "acme"}}
	repository.repository()
	declare := func(active string) string {
		return repository.push("eu.yaml", "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: local, version: 26.7.3, instances: 2, "+
			"regions: [{name: paris}, {name: milan}], active: "+active+", failover: {mode: automatic, after: 1s}}\n")
	}
	declare("paris")
	mirror, err := git.Open(repository.mirror, git.Remote{URL: repository.bare, Branch: "main"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r, shown := newRegions(t), &board{shown: map[string][]string{}}
		r.losesParis()
		during(t.Context(), []func(context.Context){watcher(r.Process(), "milan", always(twoRegions())).Run}, func() { r.until("milan takes over", tookOver) })
		since := r.Now().Record.Since.Format("2 Jan 15:04")

		var last reconcile.Deployed
		poll := &reconcile.Poll{Mirror: mirror, Source: "s", Prefix: "cloakwork", Interval: time.Second, Schedule: every(time.Second), Log: slog.New(slog.DiscardHandler),
			Load: func(tree fs.FS) schema.Declared {
				declared := schema.Load(tree, schema.Options{})
				declared.Deployments["eu"].Revision = "r1" // what runs
				return declared
			},
			Drive: func(*schema.Deployment) (platform.Driver, error) { return r.Process(), nil },
			Seen:  func(_ schema.Deployment, d reconcile.Deployed) { last = d },
			Post:  shown.post}
		says := func(want string) {
			t.Helper()
			for range 60 {
				if _, err := poll.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				if shown.last("cloakwork/deployment/eu") == want {
					return
				}
				time.Sleep(time.Second)
			}
			t.Fatalf("never says %q, but %q", want, shown.shown["cloakwork/deployment/eu"])
		}
		says("failure: eu: milan serves; paris hasn't answered since " + r.began.UTC().Format("15:04:05") + "; writes don't wait for it")
		if by := last.Record.Decided.By; by != "the watcher of milan" {
			t.Errorf("decided by %q", by)
		}
		r.Mend("paris")
		says("failure: eu: git still names paris; milan serves since " + since)
		for range 120 { // and so it stays
			if _, err := poll.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if got, want := r.story(), "fence paris, promote milan, follow paris"; got != want {
			t.Errorf("steps %q, want %q", got, want)
		}
		declare("milan")
		says("success: eu: 4 of 4 nodes serve")
		if record := r.Now().Record; record.Active != "milan" || record.Override != "" {
			t.Errorf("record %+v", record)
		}
		r.check()
	})
}
