package local_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/traffic"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// admin is a client of the front, with the deployment's own account. What fails is not tried again.
func (w *world) admin(d *local.Driver, want schema.Deployment) *keycloak.Client {
	w.t.Helper()
	config, err := d.Connection(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	config.URL, config.Patience, config.Timeout = w.url(), -1, 2*time.Minute
	c, err := keycloak.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// use has people use the deployment.
func (w *world) use(d *local.Driver, want schema.Deployment) *traffic.Traffic {
	w.t.Helper()
	c := w.admin(d, want)
	if err := traffic.Make(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	return w.resume(d, want) // signed in anew: before 26.7.3, rights in a new realm are those of a new token
}

// resume has people use it again.
func (w *world) resume(d *local.Driver, want schema.Deployment) *traffic.Traffic {
	w.t.Helper()
	return w.begin(traffic.Front{URL: w.url(), Admin: w.admin(d, want)})
}

func (w *world) begin(fronts ...traffic.Front) *traffic.Traffic {
	w.t.Helper()
	people := traffic.Start(fronts, 4, 200*time.Millisecond)
	w.t.Cleanup(people.End)
	deadline := time.Now().Add(10 * time.Minute)
	for people.Sum().Sessions < 4 || people.Sum().Writes == 0 || people.Sum().Forms < 2 {
		if time.Now().After(deadline) {
			w.t.Fatal("nobody gets in: ", people.Sum())
		}
		time.Sleep(100 * time.Millisecond)
	}
	return people
}

// unharmed ends the use, of which nobody must have noticed anything.
func (w *world) unharmed(people *traffic.Traffic) {
	w.t.Helper()
	sum, err := people.Stop(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Log(sum)
	if sum.Failed > 0 || sum.Thrown > 0 || sum.Lost > 0 || sum.Gone > 0 {
		w.t.Errorf("somebody noticed: %s: %q", sum, sum.Fails)
	}
}

// The rest of what is promised takes longer: make test-ha.
func TestTwoNodesInUse(t *testing.T) {
	w := newWorld(t)
	collector, token := newCollector(t), "Bearer hidden"
	d := w.collecting(collector, &token)
	want := w.eu(2, sending)
	w.settle(d, want)
	people := w.use(d, want)

	want = w.eu(2, sending, changed("r2"))
	seen := w.settle(d, want)
	for _, n := range seen.Nodes {
		if n.Revision != "r2" || !n.Serves() || n.View != 2 {
			t.Errorf("a roll left %+v", n)
		}
	}

	jar := []byte("this is no jar")
	for why, bad := range map[string]func(*schema.Deployment){
		"audit.jar: it is no jar": func(d *schema.Deployment) {
			d.Files = fstest.MapFS{"extensions/audit.jar": {Data: jar}}
			d.Extensions = []schema.Extension{{Name: "audit", Path: "extensions/audit.jar", SHA256: fmt.Sprintf("%x", sha256.Sum256(jar))}}
		},
		"Unknown option: '--log-lvl'": func(d *schema.Deployment) {
			d.AdditionalOptions = []schema.Variable{{Name: "log-lvl", Value: "debug"}}
		},
	} {
		stopped, _ := w.drive(d, w.eu(2, sending, changed(fmt.Sprintf("r-%d", len(why))), bad), func(d rollout.Decision) bool {
			if serving := w.serving(); serving < 2 {
				t.Errorf("%d of 2 nodes serve while it is found out that %s", serving, why)
			}
			return d.Verdict == drift.Errored
		})
		if stopped.Record.Lifecycle != platform.Error || !strings.Contains(stopped.Record.Fault.Why, why) {
			t.Errorf("came to %s %q, want %q", stopped.Record.Lifecycle, stopped.Record.Fault.Why, why)
		}
	}
	w.settle(d, want)
	w.unharmed(people)
	w.edited(d, want)
	w.quiet()
	w.hears(collector, "eu-0", "eu-1")

	people = w.resume(d, want)
	d.Close() // nobody is there to see to it
	if err := w.kill("eu-0"); err != nil {
		t.Fatal(err)
	}
	w.eventually("the node is dead", func() bool { return w.serving() == 1 })
	w.eventually("the node is back", func() bool { return w.serving() == 2 })
	sum, err := people.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log("killed:", sum)
	if sum.Lost > 0 || sum.Gone > 0 {
		t.Errorf("a killed node took something along: %s: %q", sum, sum.Fails)
	}
	seen, err = w.open().Observe(t.Context(), want)
	if err != nil || seen.Record.Lifecycle != platform.Running || len(seen.Nodes) != 2 {
		t.Errorf("%+v %v", seen, err)
	}
	w.eventually("the nodes have found together", func() bool {
		seen, err := d.Observe(t.Context(), want)
		return err == nil && seen.Nodes[0].View == 2 && seen.Nodes[1].View == 2
	})
}

// edited changes by hand what needs no order, and expects it to be seen and undone.
func (w *world) edited(d *local.Driver, want schema.Deployment) {
	w.t.Helper()
	seen, err := d.Observe(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.plane().Settle(w.t.Context(), seen.Record.Epoch, dataplane.Settings{Admin: []schema.Rule{{Deny: "0.0.0.0/0"}}}); err != nil {
		w.t.Fatal(err)
	}
	changes := w.changes(d, want)
	if len(changes) != 1 || changes[0].Cause != drift.FromDrift || changes[0].Address != "fronts/eu" {
		w.t.Errorf("a rule that was set by hand shows as %+v", changes)
	}
	if err := d.Apply(w.t.Context(), want, changes, seen.Record.Epoch); err != nil {
		w.t.Fatal(err)
	}
	if left := w.changes(d, want); len(left) > 0 {
		w.t.Errorf("there is left %+v", left)
	}
	if why := w.waits(d, want); why != "" {
		w.t.Errorf("after its first start the database says %q", why)
	}
	larger := want
	larger.DB.PoolMaxSize = 300
	for _, c := range []struct {
		want schema.Deployment
		why  string
	}{{larger, "its next start brings max_connections"}, {want, ""}} {
		if err := d.Apply(w.t.Context(), c.want, w.changes(d, c.want), seen.Record.Epoch); err != nil {
			w.t.Fatal(err)
		}
		if why := w.waits(d, c.want); why != c.why {
			w.t.Errorf("the database says %q, want %q", why, c.why)
		}
	}
}

// waits is what is wrong with the database, or waits for its next start.
func (w *world) waits(d *local.Driver, want schema.Deployment) string {
	w.t.Helper()
	seen, err := d.Observe(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	return seen.Regions[0].Why
}

func (w *world) changes(d *local.Driver, want schema.Deployment) []drift.Change {
	w.t.Helper()
	seen, err := d.Observe(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	state, facts, err := d.Desired(want)
	if err != nil {
		w.t.Fatal(err)
	}
	return drift.Compare(facts, seen.Base, drift.Memory{Owned: func(schema.Address) bool { return true }}, state, seen.Have)
}

// quiet looks at every process of the deployment: none runs as root where another user can be had, none shows a secret, none
// listens where others could reach it, and no file that holds anything can be read by others.
func (w *world) quiet() {
	w.t.Helper()
	secrets := w.secrets()
	if len(secrets) < 4 {
		w.t.Fatalf("only %d secrets are known", len(secrets))
	}
	seen, err := w.plane().Look(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range seen.Nodes {
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.PID, file))
			if err != nil {
				w.t.Fatal(err)
			}
			for name, secret := range secrets {
				if strings.Contains(string(text), secret) {
					w.t.Errorf("%s of %s shows %s", file, n.Name, name)
				}
			}
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID))
		if n.Name != "shipper" && strings.Contains(string(status), "Uid:\t0") {
			w.t.Errorf("%s runs as root", n.Name)
		}
		for _, address := range listening(w.t, n.PID) {
			if !strings.HasPrefix(address, "127.") {
				w.t.Errorf("%s listens on %s", n.Name, address)
			}
		}
	}
	err = filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it may be gone
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for name, secret := range secrets {
			if strings.Contains(string(text), secret) && (info.Mode().Perm()&0o077 != 0 || strings.HasSuffix(path, ".log") || strings.HasSuffix(path, "step.json")) {
				w.t.Errorf("%s (%s) holds %s", path, info.Mode(), name)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

// secrets are those that the deployment keeps.
func (w *world) secrets() map[string]string {
	w.t.Helper()
	var kept struct {
		Secret, Bootstrap, Probe string
		Database                 map[string]string
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "eu", "account.json"))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if kept.Bootstrap != "" {
		w.t.Error("the first administrator is still there")
	}
	all := map[string]string{"the account's secret": kept.Secret, "the probe's password": kept.Probe}
	for role, password := range kept.Database {
		all["the password of "+role] = password
	}
	return all
}

// listening are the addresses that a process listens on.
func listening(t testing.TB, pid int) (addresses []string) {
	t.Helper()
	sockets := map[string]bool{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		sockets[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile("/proc/self/net/" + table)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !sockets[f[9]] {
				continue
			}
			hex, port, _ := strings.Cut(f[1], ":")
			var d, c, b, a int
			if _, err := fmt.Sscanf(hex[len(hex)-8:], "%02X%02X%02X%02X", &d, &c, &b, &a); err != nil {
				t.Fatal(err)
			}
			addresses = append(addresses, fmt.Sprintf("%d.%d.%d.%d:%s", a, b, c, d, port))
		}
	}
	return addresses
}
