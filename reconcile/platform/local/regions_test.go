package local_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/traffic"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// places are two regions, each at an address of its own.
var places = []schema.Region{{Name: "paris", Address: "127.0.1.1"}, {Name: "milan", Address: "127.0.2.1"}}

// two is the deployment in two regions, of which paris is the active one.
func (w *world) two(nodes int, changes ...func(*schema.Deployment)) schema.Deployment {
	return declared(w.port, nodes, append([]func(*schema.Deployment){func(d *schema.Deployment) {
		d.Regions, d.Active = places, "paris"
		d.Hostname.Hostname = "http://" + places[0].Address + ":" + strconv.Itoa(w.port)
		d.Failover = schema.Failover{Mode: "automatic", After: schema.Duration(time.Second)}
	}}, changes...)...)
}

// at is the deployment with another active region.
func at(region string) func(*schema.Deployment) {
	return func(d *schema.Deployment) { d.Active = region }
}

// fronts are the ways to both regions.
func (w *world) fronts(d *local.Driver, want schema.Deployment) (fronts []traffic.Front) {
	w.t.Helper()
	for _, r := range want.Regions {
		config, err := d.Connection(w.t.Context(), want)
		if err != nil {
			w.t.Fatal(err)
		}
		config.URL, config.Patience, config.Timeout = "http://"+r.Address+":"+strconv.Itoa(w.port), -1, 2*time.Minute
		c, err := keycloak.New(config)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(c.Close)
		fronts = append(fronts, traffic.Front{URL: config.URL, Admin: c})
	}
	return fronts
}

func (w *world) planeOf(region string) *dataplane.Client {
	return dataplane.NewClient(filepath.Join(w.dir, "eu", "regions", region, "plane"))
}

func (w *world) databaseOf(region string) postgres.Server {
	w.t.Helper()
	s := postgres.Server{Name: region, Dir: filepath.Join(w.dir, "eu", "regions", region, "db")}
	var err error
	if s.Programs, err = postgres.Find("", 0); err != nil {
		w.t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if s.Account, err = postgres.AccountOf("postgres"); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// killRegion ends all that runs in a region at once: keeper, data plane, nodes, database.
func (w *world) killRegion(region string) {
	w.t.Helper()
	seen, err := w.planeOf(region).Look(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", seen.PID))
	if err != nil {
		w.t.Fatal(err)
	}
	keeper, err := strconv.Atoi(strings.Fields(string(stat[strings.LastIndex(string(stat), ")"):]))[2])
	if err != nil {
		w.t.Fatal(err)
	}
	pids := []int{keeper, seen.PID}
	for _, n := range seen.Nodes {
		if n.PID > 0 {
			pids = append(pids, n.PID)
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // or one would see another die
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil {
				w.t.Errorf("kill %d: %v", pid, err)
			}
		}
	}
}

// primaries are the regions whose databases take writes, as they say themselves.
func (w *world) primaries() (names []string) {
	w.t.Helper()
	for _, r := range places {
		seen, err := w.databaseOf(r.Name).Look(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if seen.Up && seen.Role == platform.Primary {
			names = append(names, r.Name)
		}
	}
	return names
}

// byHand starts a region's database as somebody does who doesn't know what a fence is for.
func (w *world) byHand(region string) {
	w.t.Helper()
	db := w.databaseOf(region)
	command, err := db.Command()
	if err != nil {
		w.t.Fatal(err)
	}
	argv := append(command.Argv, "-c", "config_file="+filepath.Join(db.Dir, "conf", "postgresql.conf.fenced"))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = command.Dir, command.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if command.UID != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: *command.UID, Gid: *command.GID}
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // it has ended long ago, where all went well
		<-ended
	})
	if err := db.AwaitUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// strangers are those who are connected to a region's database, but for ourselves.
func (w *world) strangers(region string) (count int) {
	w.t.Helper()
	db := w.databaseOf(region)
	passwords, err := db.Passwords()
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := pgx.ParseConfig(fmt.Sprintf("host='%s' port=5432 user=cloakwork dbname=postgres sslmode=disable", filepath.Dir(db.Socket())))
	if err != nil {
		w.t.Fatal(err)
	}
	config.Password = passwords[postgres.Own]
	conn, err := pgx.ConnectConfig(w.t.Context(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(w.t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename <> 'cloakwork'").Scan(&count); err != nil {
		w.t.Fatal(err)
	}
	return count
}

// arrived tells whether a region is the active one, serves, and moves no more.
func (w *world) arrived(d *local.Driver, want schema.Deployment, region string) func(rollout.Decision) bool {
	return func(next rollout.Decision) bool {
		if next.Record.Active != region || next.Record.Toward != "" {
			return false
		}
		seen, err := d.Observe(w.t.Context(), want)
		return err == nil && slices.ContainsFunc(seen.Nodes, func(n platform.Node) bool { return n.Region == region && n.Serves() })
	}
}

func TestTwoRegionsTakeOverFromEachOther(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.two(1)
	w.settle(d, want)
	if got := w.primaries(); !slices.Equal(got, []string{"paris"}) {
		t.Fatalf("primaries at first: %v", got)
	}
	fronts := w.fronts(d, want)
	if err := traffic.Make(t.Context(), fronts[0].Admin); err != nil {
		t.Fatal(err)
	}
	people := w.begin(fronts...)

	// A commit has milan be the active region.
	want = w.two(1, at("milan"))
	began := time.Now()
	w.settle(d, want)
	sum := people.Sum()
	t.Logf("switchover after %s: %s", time.Since(began).Round(time.Millisecond), sum)
	if got := w.primaries(); !slices.Equal(got, []string{"milan"}) {
		t.Errorf("primaries after the switchover: %v", got)
	}
	if sum.Failed > 0 || sum.Lost > 0 {
		t.Errorf("somebody noticed the switchover: %s: %q", sum, sum.Fails)
	}

	// All that runs in milan dies. Paris takes over, and then somebody starts milan's database as it was.
	w.killRegion("milan")
	began = time.Now()
	w.drive(d, want, w.arrived(d, want, "paris"))
	t.Logf("failover after %s: %s", time.Since(began).Round(time.Millisecond), people.Sum())
	if got := w.primaries(); !slices.Equal(got, []string{"paris"}) {
		t.Errorf("primaries after the failover: %v", got)
	}
	w.byHand("milan")
	if got := w.primaries(); len(got) != 2 {
		t.Errorf("started by hand, the primaries are %v", got)
	}
	writes := people.Sum().Writes
	w.eventually("people write again", func() bool { return people.Sum().Writes > writes+3 })
	if n := w.strangers("milan"); n > 0 {
		t.Errorf("%d are connected to the primary that somebody started", n)
	}

	// It comes back as a standby. Git says so, too.
	want = w.two(1)
	seen := w.settle(d, want)
	if got := w.primaries(); !slices.Equal(got, []string{"paris"}) {
		t.Errorf("primaries at last: %v", got)
	}
	milan, _ := seen.Region("milan")
	if milan.Role != platform.Standby || !milan.Streaming || !milan.Synchronous || !milan.Lost.IsZero() || seen.Record.Synced != "milan" {
		t.Errorf("milan came back as %+v, synced is %q", milan, seen.Record.Synced)
	}
	sum, err := people.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log("at last:", sum, sum.Fails)
	if sum.Gone > 0 || sum.Lost > 0 {
		t.Errorf("something is lost: %s", sum)
	}
}
