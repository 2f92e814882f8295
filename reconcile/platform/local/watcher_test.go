package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/schema"
)

// watcher is the process of a region's watcher; 0 where none runs.
func (w *world) watcher(region string) int {
	seen, _ := w.planeOf(region).Look(context.Background()) // one that is gone runs none
	for _, n := range seen.Nodes {
		if n.Name == "watcher" {
			return n.PID
		}
	}
	return 0
}

// only applies the changes of some kinds of what needs no order.
func (w *world) only(d *local.Driver, want schema.Deployment, kinds ...string) {
	w.t.Helper()
	seen, err := d.Observe(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	state, facts, err := d.Desired(want)
	if err != nil {
		w.t.Fatal(err)
	}
	var some []drift.Change
	for _, c := range drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, state, seen.Have) {
		for _, kind := range kinds {
			if c.Address.Kind() == kind {
				some = append(some, c)
			}
		}
	}
	if err := d.Apply(w.t.Context(), want, some, seen.Record.Epoch); err != nil {
		w.t.Fatal(err)
	}
}

func TestWatchersRunWhereARegionTakesOverByItself(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	has := func(want schema.Deployment) (names []string) {
		state, _, err := d.Desired(want)
		if err != nil {
			t.Fatal(err)
		}
		for a := range state {
			if a.Kind() == platform.Watchers {
				names = append(names, a.Name())
			}
		}
		return names
	}
	for name, c := range map[string]struct {
		change func(*schema.Deployment)
		want   int
	}{
		"automatic":               {func(*schema.Deployment) {}, 2},
		"manual":                  {func(d *schema.Deployment) { d.Failover.Mode = "manual" }, 0},
		"one region":              {func(d *schema.Deployment) { d.Regions = d.Regions[:1] }, 0},
		"a database of another's": {func(d *schema.Deployment) { d.DB.Host = "db.acme.example" }, 0},
	} {
		if got := has(w.two(1, c.change)); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAWatcherIsKeptRunningAndKnowsWhatIsDeclaredAndNoSecret(t *testing.T) {
	w := newWorld(t)
	binary := filepath.Join(w.dir, "cloakwork")
	program := func(path string) {
		text, err := os.ReadFile(os.Args[0])
		if err == nil {
			err = errors.Join(os.WriteFile(path+".new", text, 0o700), os.Rename(path+".new", path))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	program(binary)
	d, err := local.Open(w.dir, local.Options{Log: w.log, Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	secret := func(d *schema.Deployment) {
		d.Env = append(d.Env, schema.Variable{Name: "ACME", Value: "hidden one", Input: true})
		d.AdditionalOptions = []schema.Variable{{Name: "spi-x", Value: "hidden two", Input: true}}
	}
	t.Setenv("CLOAKWORK_GIT_TOKEN", "hidden three")
	want := w.two(1, secret)
	w.only(d, want, "fronts", platform.Watchers)
	inForce := func(want schema.Deployment) bool {
		seen, err := d.Observe(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		state, facts, _ := d.Desired(want)
		for _, c := range drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, state, seen.Have) {
			if c.Address.Kind() == platform.Watchers {
				return false
			}
		}
		return true
	}
	if !inForce(want) {
		t.Error("what was applied isn't seen")
	}
	for _, region := range []string{"paris", "milan"} {
		w.eventually("a watcher in "+region, func() bool { return w.watcher(region) > 0 })
		pid := w.watcher(region)
		for _, file := range []string{fmt.Sprintf("/proc/%d/cmdline", pid), fmt.Sprintf("/proc/%d/environ", pid), filepath.Join(w.dir, "eu", "regions", region, "plane", "watch.json")} {
			text, err := os.ReadFile(file)
			if err != nil || len(text) == 0 || bytes.Contains(text, []byte("hidden")) {
				t.Errorf("%s: %q %v", file, text, err)
			}
		}
		if info, err := os.Stat(filepath.Join(w.dir, "eu", "regions", region, "plane", "watch.json")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.eventually("another watcher in "+region, func() bool { now := w.watcher(region); return now > 0 && now != pid })
	}

	t.Log("its program is replaced: so is it")
	before := w.watcher("milan")
	program(binary)
	w.eventually("the new program", func() bool { now := w.watcher("milan"); return now > 0 && now != before })

	t.Log("suspended: they have to know that, and nothing else is touched")
	held := w.two(1, secret, func(d *schema.Deployment) {
		d.Suspend = &schema.Suspend{Reason: "migration"}
		d.Network.Admin = []schema.Rule{{Deny: "0.0.0.0/0"}}
	})
	done, err := reconcile.Deploy{Mode: reconcile.Apply, Driver: d, Want: &held}.Run(t.Context())
	if err != nil || done.Verdict != drift.Suspended || !inForce(held) {
		t.Errorf("%s: %s %v", done.Verdict, done.Says, err)
	}
	if seen, err := w.planeOf("milan").Look(t.Context()); err != nil || len(seen.Told.Settings.Admin) != 0 {
		t.Errorf("the front has %+v, %v", seen.Told.Settings, err)
	}
	for _, c := range done.Changes {
		if watcher := c.Address.Kind() == platform.Watchers; watcher != (c.Outcome == drift.Done) {
			t.Errorf("%s is %q", c.Address, c.Outcome)
		}
	}

	t.Log("by hand: nobody watches")
	manual := w.two(1, secret, func(d *schema.Deployment) { d.Failover.Mode = "manual" })
	w.only(d, manual, platform.Watchers)
	if !inForce(manual) || w.watcher("paris") != 0 || w.watcher("milan") != 0 {
		t.Error("a watcher is left")
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "eu", "regions", "*", "plane", "watch.json")); len(left) > 0 {
		t.Error(strings.Join(left, " "))
	}
}
