package postgres

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// used is a primary in whose database somebody has written.
func used(t *testing.T, name string) (Server, func()) {
	t.Helper()
	s, stop := primary(t, name)
	do(t, s, Database, "SET ROLE keycloak", "CREATE TABLE realm (id int PRIMARY KEY, name text)",
		"INSERT INTO realm SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n", `CREATE TABLE "User Entity" (id int)`, "RESET ROLE", "CREATE SCHEMA audit", "CREATE TABLE audit.line AS SELECT 1 AS id")
	return s, stop
}

func TestAServerInUse(t *testing.T) {
	t.Parallel() // it mostly waits for the disk
	s, _ := used(t, "paris")
	for name, test := range map[string]func(*testing.T, Server){
		"a dump is complete or not there, and restores to the same counts": dumpAndRestore,
		"a stream restores as a whole, and databases change places":        streamAndSwap,
		"a disk that is full is said so":                                   fullDisk,
		"passwords are replaced, and a wrong one is said so":               passwords,
		"only the pings that are named are removed":                        pings,
		"one that runs and doesn't answer is down":                         hung,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

func dumpAndRestore(t *testing.T, s Server) {
	ctx, file := t.Context(), filepath.Join(t.TempDir(), "7.dump")
	late, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Dump(late, file); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := ReadDump(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cut off, there is one: %v", err)
	}
	d, err := s.Dump(ctx, file)
	must(t, err)
	want := Counts{"public.realm": 2000, "public.User Entity": 0, "audit.line": 1}
	if diff := cmp.Diff(want, d.Counts); diff != "" {
		t.Errorf("counts (-want +have):\n%s", diff)
	}
	for _, f := range []string{file, file + ".json"} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info, err)
		}
	}
	do(t, s, Database, "DELETE FROM realm WHERE id > 5")
	defer do(t, s, Database, "INSERT INTO realm SELECT n, repeat('x', 500) FROM generate_series(6, 2000) n")
	if again, err := s.Dump(ctx, file); err != nil || again.SHA256 != d.SHA256 || again.Counts["public.realm"] != 2000 {
		t.Errorf("dumped again to the same file: %+v, %v", again, err)
	}
	counts, err := s.Restore(ctx, file, "scratch")
	must(t, err)
	if differ := d.Counts.Differ(counts); differ != "" {
		t.Error(differ)
	}
	if got := query[int64](t, s, "scratch", "SELECT sum(id) FROM realm"); got != 2000*2001/2 {
		t.Errorf("restored, ids add up to %d", got)
	}
	if got := query[string](t, s, "scratch", "SELECT tableowner FROM pg_tables WHERE tablename = 'realm'"); got != "keycloak" {
		t.Errorf("restored, it is %s's", got)
	}
	if _, err := s.Restore(ctx, file, "scratch"); err == nil || !strings.Contains(err.Error(), "isn't empty") {
		t.Errorf("restored over another: %v", err)
	}
	must(t, s.Drop(ctx, "scratch"))
	must(t, s.Drop(ctx, "scratch"))
	if err := s.Drop(ctx, Database); err == nil {
		t.Error("Keycloak's own database is dropped")
	}
	b, err := os.ReadFile(file)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(file, b, 0o600))
	if _, err := s.Restore(ctx, file, "scratch"); err == nil || !strings.Contains(err.Error(), "isn't what was dumped") {
		t.Errorf("one bit is another, and it says %v", err)
	}
	if got := (Counts{"a": 1, "b": 2, "c": 3}).Differ(Counts{"a": 1, "b": 1, "d": 0}); got != "b has 1 rows of 2, c is missing, d was not dumped" {
		t.Errorf("says %q", got)
	}
}

func fullDisk(t *testing.T, s Server) {
	file := filepath.Join(t.TempDir(), "7.dump")
	must(t, os.Symlink("/dev/full", file+".partial")) // a disk that is
	_, err := s.Dump(t.Context(), file)
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "MB are left") {
		t.Errorf("says %v", err)
	}
	if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
	_, err = s.Dump(t.Context(), file)
	must(t, err)
}

func hung(t *testing.T, s Server) {
	must(t, syscall.Kill(postmaster(t, s), syscall.SIGSTOP))
	seen, err := s.Look(t.Context())
	must(t, syscall.Kill(postmaster(t, s), syscall.SIGCONT))
	if err != nil || seen.Up || !seen.Runs || seen.Why == "" {
		t.Errorf("it sees %+v, %v", seen, err)
	}
	if seen, err := s.Look(t.Context()); err != nil || !seen.Up {
		t.Errorf("going on, it sees %+v, %v", seen, err)
	}
}

func passwords(t *testing.T, s Server) {
	before, err := s.Passwords()
	must(t, err)
	ctx := t.Context()
	must(t, s.SetPassword(ctx, Keycloak, `o'ne: \more`))
	must(t, s.TrySignIn(ctx, Keycloak))
	must(t, s.writePassword(Keycloak, "wrong"))
	if err := s.TrySignIn(ctx, Keycloak); err == nil || !strings.Contains(err.Error(), s.path("secrets")) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("says %v", err)
	}
	must(t, s.Ensure(ctx))
	must(t, s.TrySignIn(ctx, Keycloak))
	if got := query[string](t, s, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'keycloak'"); !verifies(got, "wrong") || verifies(got, "other") {
		t.Error("the verifier isn't of the password")
	}
	must(t, s.writePassword(Own, "wrong"))
	defer func() { must(t, s.writePassword(Own, before[Own])) }()
	if err := s.Ensure(ctx); err == nil || !strings.Contains(err.Error(), s.path("secrets")) {
		t.Errorf("our own is wrong, and it says %v", err)
	}
}

func pings(t *testing.T, s Server) {
	ctx := t.Context()
	defer do(t, s, Database, "DROP TABLE jgroups_ping")
	if removed, err := s.RemovePings(ctx, []string{"127.0.0.1:7800"}); err != nil || len(removed) != 0 {
		t.Errorf("before any node has started: %v, %v", removed, err)
	}
	// As Keycloak 26.7 makes it.
	do(t, s, Database, "SET ROLE keycloak", `CREATE TABLE jgroups_ping (address varchar(200) PRIMARY KEY, name varchar(200), cluster_name varchar(200) NOT NULL,
		ip varchar(200) NOT NULL, coord boolean, last_update bigint, coordinated_by varchar(200))`,
		"INSERT INTO jgroups_ping SELECT 'uuid://' || p, 'node', 'ISPN', '127.0.0.1:' || p, p = 7800 FROM generate_series(7800, 7803) p",
		"INSERT INTO jgroups_ping VALUES ('uuid://1', '(starting)', 'ISPN', '127.0.0.1:0', false)")
	removed, err := s.RemovePings(ctx, []string{"127.0.0.1:0", "127.0.0.1:7800", "127.0.0.1:7802", "127.0.0.1:780"})
	must(t, err)
	if diff := cmp.Diff([]string{"127.0.0.1:7800", "127.0.0.1:7802"}, removed); diff != "" {
		t.Error(diff)
	}
	if got := query[int64](t, s, Database, "SELECT count(*) FROM jgroups_ping WHERE name = '(starting)'"); got != 1 {
		t.Error("a node that starts has lost its turn")
	}
	left, err := s.Pings(ctx)
	must(t, err)
	if diff := cmp.Diff([]string{"127.0.0.1:7801", "127.0.0.1:7803"}, left); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"127.0.0.1:7803", ""} {
		named, err := s.Lead(ctx, []string{"127.0.0.1:7800", "127.0.0.1:7803", "127.0.0.1:7801"})
		must(t, err)
		if got := strings.Join(named, " "); got != want {
			t.Errorf("names %q, want %q", got, want)
		}
	}
	if got := query[string](t, s, Database, "SELECT string_agg(ip, ' ') FROM jgroups_ping WHERE coord"); got != "127.0.0.1:7803" {
		t.Errorf("%s leads", got)
	}
}
