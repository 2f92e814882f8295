package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// What takes minutes, or tens of them: make test-ha.

func of(version string) func(*schema.Deployment) {
	return func(d *schema.Deployment) { d.Version, d.Revision = version, "v"+version }
}

// rolls is how often the same is done again: 10, or as ROLLS says.
func rolls() int {
	if n, err := strconv.Atoi(os.Getenv("ROLLS")); err == nil {
		return n
	}
	return 10
}

func TestHAThreeNodesRollToAnotherVersionAndTenTimesAfter(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.eu(3, of("26.7.0"))
	w.settle(d, want)
	people := w.use(d, want)
	want = w.eu(3, of("26.7.3"))
	seen := w.settle(d, want)
	if seen.Record.Good.Version != "26.7.3" || seen.Fit.Verdict != platform.Compatible {
		t.Errorf("%+v", seen)
	}
	w.unharmed(people)
	before := w.leaks()
	people = w.resume(d, want)
	for i := range rolls() {
		want = w.eu(3, of("26.7.3"), changed(fmt.Sprint("r", i)))
		w.settle(d, want)
	}
	w.unharmed(people)
	w.eventually("nothing of ten rolls is left: "+before, func() bool { return w.leaks() == before })
}

// As it happens once in a while, when the one that leads writes the list while it goes.
func TestHAAClusterWhoseSuccessorIsWrittenOverIsNotSplit(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	w.settle(d, w.eu(3))
	w.query(`CREATE TABLE leaders (address text PRIMARY KEY)`)
	w.query(`CREATE FUNCTION forget() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
		IF new.coord AND NOT EXISTS (SELECT FROM leaders WHERE address = new.address) THEN
			INSERT INTO leaders VALUES (new.address);
			new.coord := (SELECT count(*) = 1 FROM leaders);
		END IF;
		RETURN new; END $$`)
	w.query(`CREATE TRIGGER forget BEFORE INSERT ON jgroups_ping FOR EACH ROW EXECUTE FUNCTION forget()`)
	people := w.use(d, w.eu(3))
	for _, revision := range []string{"r2", "r3"} {
		want := w.eu(3, changed(revision))
		for _, n := range w.settle(d, want).Nodes {
			if n.View != 3 {
				t.Errorf("%s sees %d of 3", n.Name, n.View)
			}
		}
	}
	if got := w.query("SELECT count(*)::text FROM leaders"); got != "3" { // once a roll: the oldest goes last
		t.Errorf("%s nodes have led", got)
	}
	w.unharmed(people)
}

// query asks the database.
func (w *world) query(sql string) (answer string) {
	w.t.Helper()
	config, err := pgx.ParseConfig("host=" + filepath.Join(w.dir, "eu", "regions", "eu", "db", "run") + " user=cloakwork dbname=keycloak sslmode=disable")
	if err != nil {
		w.t.Fatal(err)
	}
	config.Password = w.secrets()["the password of cloakwork"]
	conn, err := pgx.ConnectConfig(w.t.Context(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(w.t.Context(), sql).Scan(&answer); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		w.t.Fatal(sql, err)
	}
	return answer
}

// leaks counts what a roll could leave behind.
func (w *world) leaks() string {
	w.t.Helper()
	processes := 0
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), "CLOAKWORK_SLOT="+w.dir) {
			processes++
		}
	}
	files = nil
	err := filepath.WalkDir(filepath.Join(w.dir, "eu"), func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil: // it may be gone
		case e.IsDir() && slices.Contains([]string{"db", "log", "data", "tmp"}, e.Name()): // theirs who write there
			return fs.SkipDir
		case e.Type().IsRegular():
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	ports := 0
	seen, err := w.plane().Look(context.Background())
	if err != nil {
		return err.Error()
	}
	for _, n := range seen.Nodes {
		ports += len(listening(w.t, n.PID))
	}
	ports += len(listening(w.t, seen.PID))
	return fmt.Sprintf("%d processes, %d ports, %d files, %s in the list of nodes", processes, ports, len(files), w.query("SELECT count(*)::text FROM jgroups_ping"))
}

func TestHAAMinorVersionIsRecreatedAndSessionsSurvive(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.eu(2, of("26.5.6"))
	w.settle(d, want)
	people := w.use(d, want)
	want = w.eu(2, of("26.7.3"))
	seen, err := d.Observe(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if _, plan := rollout.Plan(want, seen, time.Now()); !strings.Contains(plan.Says, "no way back after this but a dump") {
		t.Errorf("the plan says %q", plan.Says)
	}
	seen = w.settle(d, want)
	if seen.Record.Good.Version != "26.7.3" || seen.Dumped == 0 {
		t.Errorf("%+v", seen)
	}
	if dumps, _ := filepath.Glob(filepath.Join(w.dir, "eu", "dumps", "*.dump")); len(dumps) != 1 {
		t.Errorf("%d dumps", len(dumps))
	}
	last := people.Sum()
	w.eventually("sessions are used again", func() bool {
		now := people.Sum()
		if now.Failed > last.Failed {
			last = now
		}
		return now.Requests > last.Requests+5
	})
	sum, err := people.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log("recreated: ", sum)
	if sum.Lost > 0 || sum.Gone > 0 {
		t.Errorf("a recreate lost something: %s %q", sum, sum.Fails)
	}
}

// controllerMain is a controller in a process of its own, which goes on until it is killed.
func controllerMain(dir, port, nodes, revision string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	d, err := local.Open(dir, local.Options{Log: log, Ready: 15 * time.Minute})
	if err != nil {
		log.Error("open", "error", err)
		return 1
	}
	p, _ := strconv.Atoi(port)
	n, _ := strconv.Atoi(nodes)
	want := declared(p, n, changed(revision))
	for ctx := context.Background(); ; time.Sleep(200 * time.Millisecond) {
		seen, err := d.Observe(ctx, want)
		if err != nil {
			log.Error("observe", "error", err)
			continue
		}
		next := rollout.Upgrade(want, seen, time.Now())
		if next.Record != seen.Record {
			if err := d.Save(ctx, want, seen.Record, next.Record); err != nil {
				log.Error("save", "error", err)
				continue
			}
		}
		if next.Step != nil {
			if err := d.Do(ctx, want, *next.Step); err != nil {
				log.Error("do", "error", err)
			}
		}
	}
}

func (w *world) controller(nodes int, revision string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(os.Args[0], "controller", w.dir, strconv.Itoa(w.port), strconv.Itoa(nodes), revision)
	cmd.Stderr = w.t.Output()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

func TestHAWhoeverIsKilledAtAnyStepOfARollItEnds(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	w.settle(d, w.eu(2))
	people := w.use(d, w.eu(2))

	// The controller, a moment after each step has begun.
	want := w.eu(2, changed("r2"))
	controller := w.controller(2, "r2")
	killed := map[int64]bool{}
	w.until(want, func(seen platform.Seen) {
		if seen.Move.State == platform.Doing && !killed[seen.Move.Step.Epoch] {
			killed[seen.Move.Step.Epoch] = true
			_ = controller.Process.Kill()
			_ = controller.Wait()
			controller = w.controller(2, "r2")
		}
	})
	_ = controller.Process.Kill()
	_ = controller.Wait()
	if len(killed) < 5 {
		t.Errorf("the controller was killed %d times", len(killed))
	}
	w.unharmed(people)

	// The data plane. What was in flight there is lost, and nothing else.
	want = w.eu(2, changed("r3"))
	people = w.resume(d, want)
	clear(killed)
	w.drive(d, want, func(next rollout.Decision) bool {
		seen, err := w.plane().Look(t.Context())
		if step := next.Record.Step; err == nil && step.Verb != "" && !killed[step.Epoch] {
			killed[step.Epoch] = true
			_ = syscall.Kill(seen.PID, syscall.SIGKILL)
		}
		return next.Verdict == drift.Errored
	})
	w.until(want, func(platform.Seen) {})
	sum, err := people.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("data plane killed %d times: %s", len(killed), sum)
	if sum.Lost > 0 || sum.Gone > 0 || len(killed) < 5 {
		t.Errorf("killed %d times: %s %q", len(killed), sum, sum.Fails)
	}
}

// until looks until the deployment runs what is declared, and calls at each look.
func (w *world) until(want schema.Deployment, each func(platform.Seen)) {
	w.t.Helper()
	look := w.open()
	deadline := time.Now().Add(40 * time.Minute)
	for {
		seen, err := look.Observe(w.t.Context(), want)
		if err == nil {
			each(seen)
			if seen.Record.Lifecycle == platform.Error {
				w.t.Fatalf("stopped: %+v", seen.Record.Fault)
			}
			if seen.Record.Lifecycle == platform.Running && seen.Record.Good.Revision == want.Revision && w.serving() == want.Instances {
				return
			}
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("never ends: %+v", seen.Record)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestHAARollThatCantGoOnLeavesTheOthersServing(t *testing.T) {
	disk := smallDisk(t)
	w := newWorld(t)
	d := w.open()
	w.settle(d, w.eu(2))
	people := w.use(d, w.eu(2))

	mend := w.misremember("keycloak", "wrong")
	w.stops(d, w.eu(2, changed("r2")), 1, "password authentication failed")
	mend()
	w.again(d, w.eu(2, changed("r2")))

	impatient, err := local.Open(w.dir, local.Options{Log: w.log, Ready: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer impatient.Close()
	w.stops(impatient, w.eu(2, changed("r3")), 1, "isn't ready after 1s")
	w.again(d, w.eu(2, changed("r3")))
	w.unharmed(people)

	free := disk.fill(100 << 20)
	want := w.eu(2, changed("r4"))
	w.stops(d, want, 2, "free some")
	free()
	free = disk.fill(0)
	seen, err := d.Observe(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	resumed, _ := rollout.Resume(seen.Record)
	if err := d.Save(t.Context(), want, seen.Record, resumed); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "record") || w.serving() != 2 {
		t.Errorf("with a full disk: %v, and %d nodes serve", err, w.serving())
	}
	free()
	w.again(d, want)
}

// stops expects a roll to stop for a reason, with so many nodes serving.
func (w *world) stops(d *local.Driver, want schema.Deployment, serve int, why string) {
	w.t.Helper()
	stopped, says := w.drive(d, want, func(next rollout.Decision) bool {
		if serving := w.serving(); serving < 1 {
			w.t.Errorf("%d nodes serve: %s", serving, next.Says)
		}
		return next.Verdict == drift.Errored
	})
	fault := stopped.Record.Fault
	if stopped.Record.Lifecycle != platform.Error || w.serving() != serve || !strings.Contains(fault.Why+fault.Log, why) {
		w.t.Errorf("%s: %s, %d serve, why: %s, log:\n%s", stopped.Record.Lifecycle, says, w.serving(), fault.Why, fault.Log)
	}
}

// again resumes what stopped, and brings it to its end.
func (w *world) again(d *local.Driver, want schema.Deployment) {
	w.t.Helper()
	seen, err := d.Observe(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	resumed, _ := rollout.Resume(seen.Record)
	if err := d.Save(w.t.Context(), want, seen.Record, resumed); err != nil {
		w.t.Fatal(err)
	}
	w.settle(d, want)
}

// small is a disk that can be filled.
type small struct {
	t   testing.TB
	dir string
}

// smallDisk is a disk of 1 GiB, on which what is temporary stands until the test ends. Who isn't root needs sudo without a
// password for it.
func smallDisk(t *testing.T) small {
	t.Helper()
	dir, err := os.MkdirTemp("", "disk-")
	if err != nil {
		t.Fatal(err)
	}
	asRoot := func(args ...string) error {
		if os.Getuid() != 0 {
			args = append([]string{"sudo", "-n"}, args...)
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := asRoot("mount", "-t", "tmpfs", "-o", "size=1g,mode=1777", "tmpfs", dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(asRoot("umount", dir), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", dir)
	return small{t, dir}
}

// fill leaves so many bytes.
func (s small) fill(left int64) (free func()) {
	s.t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &disk); err != nil {
		s.t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(s.dir, "filling"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Fallocate(int(file.Fd()), 0, 0, int64(disk.Bavail)*disk.Bsize-left); err != nil {
		s.t.Fatal(err)
	}
	return func() { os.Remove(file.Name()) }
}

// misremember has the deployment keep another password of a role than the database knows.
func (w *world) misremember(role, password string) (mend func()) {
	w.t.Helper()
	file := filepath.Join(w.dir, "eu", "account.json")
	right, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	kept := map[string]any{}
	if err := json.Unmarshal(right, &kept); err != nil {
		w.t.Fatal(err)
	}
	kept["database"].(map[string]any)[role] = password
	wrong, err := json.Marshal(kept)
	if err == nil {
		err = os.WriteFile(file, wrong, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(file, right, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}
