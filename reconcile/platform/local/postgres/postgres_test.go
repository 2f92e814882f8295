package postgres

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/jackc/pgx/v5"
)

// newServer is a server in a folder of its own, not made yet.
func newServer(t *testing.T, name string) Server {
	t.Helper()
	programs, err := Find("", 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pg") // short, and not within a folder that only root may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s := Server{Name: name, Dir: filepath.Join(dir, name), Programs: programs}
	if os.Getuid() == 0 {
		if s.Account, err = AccountOf("postgres"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// started runs a server as the data plane would, until the test ends or stop is called.
func started(t *testing.T, s Server) (stop func()) {
	t.Helper()
	c, err := s.Command()
	must(t, err)
	return startedBy(t, s, c)
}

func startedBy(t *testing.T, s Server, c dataplane.Command) (stop func()) {
	t.Helper()
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.UID != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: *c.UID, Gid: *c.GID}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.AwaitUp(ctx); err != nil {
		text, _ := os.ReadFile(c.Log)
		t.Fatalf("%v\n%s", err, text)
	}
	return stop
}

// primary is a server that runs and holds all it should.
func primary(t *testing.T, name string) (s Server, stop func()) {
	t.Helper()
	s = newServer(t, name)
	must(t, s.Init(t.Context(), NewPasswords()))
	stop = started(t, s)
	must(t, s.Ensure(t.Context()))
	return s, stop
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// postmaster is the server's first process.
func postmaster(t *testing.T, s Server) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Data(), "postmaster.pid"))
	must(t, err)
	pid, err := strconv.Atoi(strings.Fields(string(b))[0])
	must(t, err)
	return pid
}

func do(t *testing.T, s Server, database string, statements ...string) {
	t.Helper()
	conn, err := s.connect(t.Context(), database)
	must(t, err)
	defer conn.Close(context.Background())
	for _, statement := range statements {
		_, err := conn.Exec(t.Context(), statement)
		must(t, err)
	}
}

func query[T any](t *testing.T, s Server, database, sql string, args ...any) (v T) {
	t.Helper()
	conn, err := s.connect(t.Context(), database)
	must(t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), sql, args...)
	must(t, err)
	v, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	must(t, err)
	return v
}

func TestANewServerHoldsRolesAndDatabaseAndMoreOfTheSameChangesNothing(t *testing.T) {
	t.Parallel() // it mostly waits for the disk
	s := newServer(t, "paris")
	ctx := t.Context()
	if seen, err := s.Look(ctx); err != nil || seen.Made {
		t.Errorf("before it is made: %+v, %v", seen, err)
	}
	p := NewPasswords()
	// An initdb that was cut short has left something.
	must(t, s.folders())
	must(t, directory(s.path("data.new"), 0o700, s.Account))
	must(t, os.WriteFile(s.path("data.new", "PG_VERSION"), nil, 0o600))
	must(t, s.Init(ctx, p))
	must(t, s.Init(ctx, p))
	if err := s.Init(ctx, NewPasswords()); err == nil {
		t.Error("it takes other passwords than those it was made with")
	}
	seen, err := s.Look(ctx)
	if err != nil || !seen.Made || seen.Up || seen.Runs || seen.Role != platform.Primary || seen.System == "" {
		t.Errorf("made, not started: %+v, %v", seen, err)
	}
	stop := started(t, s)
	must(t, s.Ensure(ctx))
	const written = `SELECT concat((SELECT string_agg(xmin::text, ',' ORDER BY oid) FROM pg_authid), ' ', (SELECT string_agg(xmin::text, ',' ORDER BY oid) FROM pg_database))`
	before := query[string](t, s, "postgres", written)
	must(t, s.Ensure(ctx))
	if after := query[string](t, s, "postgres", written); after != before {
		t.Errorf("once more it writes: %s, then %s", before, after)
	}
	for _, r := range roles {
		if err := s.TrySignIn(ctx, r); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
	for _, c := range []struct {
		role     Role
		database string
	}{{Keycloak, "postgres"}, {Standby, Database}, {Keycloak, "template1"}} {
		if conn, err := s.signIn(ctx, c.role, p[c.role], c.database); err == nil {
			t.Errorf("%s gets into %s", c.role, c.database)
			conn.Close(ctx)
		}
	}
	if seen, err = s.Look(ctx); err != nil || !seen.Up || !seen.Runs || seen.Role != platform.Primary || seen.Timeline != 1 || seen.LSN == 0 || len(seen.Restart) != 0 {
		t.Errorf("it runs: %+v, %v", seen, err)
	}
	stop()
	if seen, err = s.Look(ctx); err != nil || seen.Up || seen.Runs {
		t.Errorf("stopped: %+v, %v", seen, err)
	}
	if err := s.TrySignIn(ctx, Keycloak); !errors.Is(err, ErrDown) {
		t.Errorf("stopped, signing in says %v", err)
	}
}
