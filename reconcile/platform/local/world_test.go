package local_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// world is a folder of deployments with one of them, "eu".
type world struct {
	t    testing.TB
	dir  string
	port int
	log  *slog.Logger

	within  func(region string, do func() error) error // does something in a region's network; nil: there is but one
	watched bool                                       // regions have watchers; else what a test decides is decided by nobody besides
}

// newWorld is an empty one. All that ever ran in it has ended when the test has.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "ha-") // not t.TempDir: a socket's path has no room for a test's name
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, port: freePort(t), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	t.Cleanup(func() {
		if t.Failed() {
			w.showLogs()
		}
		w.destroy()
		os.RemoveAll(dir)
	})
	return w
}

func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 15000 + rand.N(4000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (w *world) plane() *dataplane.Client {
	return dataplane.NewClient(filepath.Join(w.dir, "eu", "regions", "eu", "plane"))
}

// planes are the data planes of all regions.
func (w *world) planes() (planes []*dataplane.Client) {
	found, _ := filepath.Glob(filepath.Join(w.dir, "eu", "regions", "*", "plane"))
	for _, dir := range found {
		planes = append(planes, dataplane.NewClient(dir))
	}
	return planes
}

// destroy ends the data planes, and all that they had run.
func (w *world) destroy() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, database := range []bool{false, true} { // nodes first
		for _, plane := range w.planes() {
			seen, err := plane.Look(ctx)
			if err != nil {
				continue
			}
			for _, n := range seen.Nodes {
				if database == (n.Name == "postgres") {
					_ = plane.Stop(ctx, seen.Told.Epoch, n.Name, map[bool]time.Duration{false: time.Millisecond, true: 5 * time.Second}[database])
				}
			}
			if !database {
				continue
			}
			if err := plane.End(ctx, seen.Told.Epoch); err != nil {
				w.t.Error(err)
			}
		}
	}
}

func (w *world) showLogs() {
	files, _ := filepath.Glob(filepath.Join(w.dir, "eu", "regions", "*", "*", "*.log"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		w.t.Logf("--- %s\n%s", f, text[max(0, len(text)-3000):])
	}
}

// eu is the deployment, with changes.
func (w *world) eu(nodes int, changes ...func(*schema.Deployment)) schema.Deployment {
	return declared(w.port, nodes, changes...)
}

func declared(port, nodes int, changes ...func(*schema.Deployment)) schema.Deployment {
	d := schema.Deployment{Name: "eu", Platform: "local", Version: "26.7.3", Instances: nodes,
		Regions: []schema.Region{{Name: "eu"}}, Active: "eu", Standby: "warm", Files: fstest.MapFS{},
		HTTP: schema.HTTP{HTTPPort: port}, DB: schema.Database{Replication: "synchronous", WhenStandbyLost: "wait"},
		Update: schema.Update{Strategy: "Auto", OnFailure: "hold"}, Limits: schema.NodeLimits{NodesDown: 1},
		Resources: schema.Resources{Limits: map[string]string{"memory": "700Mi"}}, Revision: "r1"}
	d.Env = []schema.Variable{{Name: "JAVA_OPTS_APPEND", Value: "-XX:TieredStopAtLevel=1"}}
	for _, change := range changes {
		change(&d)
	}
	return d
}

func (w *world) open() *local.Driver {
	w.t.Helper()
	d, err := local.Open(w.dir, local.Options{Log: w.log, Ready: 15 * time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

func (w *world) url() string { return "http://127.0.0.1:" + strconv.Itoa(w.port) }

// settle does as a controller does, until the deployment is as wanted.
func (w *world) settle(d *local.Driver, want schema.Deployment) platform.Seen {
	w.t.Helper()
	seen, says := w.drive(d, want, func(d rollout.Decision) bool { return d.Verdict == drift.Errored })
	if seen.Record.Lifecycle != platform.Running {
		w.t.Fatalf("stopped: %s", says)
	}
	return seen
}

// drive does as a controller does, until the deployment is as wanted, or it is enough.
func (w *world) drive(d *local.Driver, want schema.Deployment, enough func(rollout.Decision) bool) (platform.Seen, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Minute)
	defer cancel()
	says := ""
	for ctx.Err() == nil {
		seen, err := d.Observe(ctx, want)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.applySettings(ctx, d, want, seen); err != nil {
			w.log.Warn("settings", "error", err) // the next pass looks again
		}
		next := rollout.Next(want, seen, time.Now())
		if next.Says != says {
			says = next.Says
			w.log.Info("says", "verdict", next.Verdict, "says", says)
		}
		if next.Record != seen.Record {
			if err := d.Save(ctx, want, seen.Record, next.Record); errors.Is(err, platform.ErrMoved) {
				continue // a watcher has been faster
			} else if err != nil {
				w.t.Fatal(err)
			}
		}
		if enough(next) || next.Verdict == drift.InSync && next.Record == seen.Record {
			seen.Record = next.Record
			return seen, says
		}
		if next.Step != nil {
			if err := d.Do(ctx, want, *next.Step); err != nil {
				w.log.Warn("do", "step", next.Step.String(), "error", err)
			}
		}
		time.Sleep(reconcile.Deployed{Report: drift.Report{Verdict: next.Verdict}, Record: next.Record}.Soon())
	}
	w.t.Fatalf("never settled; at last: %s", says)
	return platform.Seen{}, ""
}

func (w *world) applySettings(ctx context.Context, d *local.Driver, want schema.Deployment, seen platform.Seen) error {
	state, facts, err := d.Desired(want)
	if err != nil {
		return err
	}
	changes := drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, state, seen.Have)
	if !w.watched {
		changes = slices.DeleteFunc(changes, func(c drift.Change) bool { return c.Address.Kind() == platform.Watchers })
	}
	if len(changes) == 0 {
		return nil
	}
	return d.Apply(ctx, want, changes, seen.Record.Epoch)
}

// kill ends the process of a node.
func (w *world) kill(node string) error {
	seen, err := w.plane().Look(context.Background())
	if err != nil {
		return err
	}
	for _, n := range seen.Nodes {
		if n.Name == node && n.PID > 0 {
			return syscall.Kill(n.PID, syscall.SIGKILL)
		}
	}
	return errors.New("nothing runs for " + node)
}

// serving is how many nodes get requests, as their front sees them.
func (w *world) serving() (count int) {
	seen, err := w.plane().Look(context.Background())
	if err != nil {
		return -1
	}
	for _, n := range seen.Nodes {
		if n.In && n.Ready {
			count++
		}
	}
	return count
}

// eventually waits for something to be so.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for !so() {
		if time.Now().After(deadline) {
			w.t.Fatal("waited in vain: ", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
