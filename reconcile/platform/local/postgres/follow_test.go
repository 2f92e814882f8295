package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// One story of two databases that meet through nothing but their data planes.
func TestARegionFollowsTakesOverAndComesBackThroughTheDataPlanes(t *testing.T) {
	t.Parallel() // it mostly waits for the disk
	paris, milan := twoRegions(t)
	ctx := t.Context()
	p := NewPasswords()
	must(t, paris.Init(ctx, p))
	paris.run()
	must(t, paris.Ensure(ctx))
	do(t, paris.Server, Database, "SET ROLE keycloak", "CREATE TABLE written (n int)")
	paris.route("paris")
	milan.route("paris")

	how, err := milan.Follow(ctx, milan.writer, p)
	if err != nil || how != Copied {
		t.Fatalf("at first it %s: %v", how, err)
	}
	milan.run()
	milan.sees("it streams", func(s Seen) bool { return s.Role == platform.Standby && s.Streaming && s.Timeline == 1 })
	must(t, paris.Standbys(ctx, []string{"milan"}, true))
	seen := paris.sees("it waits for milan", func(s Seen) bool { return len(s.Standbys) == 1 && s.Standbys[0].Synchronous })
	if r := seen.Standbys[0]; r.Name != "milan" || !r.Connected || !r.Streaming || !slices.Equal(seen.Synchronous, []string{"milan"}) {
		t.Errorf("paris sees %+v", seen)
	}
	must(t, milan.insert(1))
	must(t, paris.insert(2))
	if how, err := milan.Follow(ctx, milan.writer, p); err != nil || how != Follows {
		t.Errorf("one that streams already %s: %v", how, err)
	}
	if d, err := milan.Dump(ctx, filepath.Join(t.TempDir(), "standby.dump")); err != nil || d.Counts["public.written"] != 2 {
		t.Errorf("a standby is dumped: %+v, %v", d, err)
	}

	// While milan is cut off nothing is acknowledged; degraded, paris acknowledges what nobody else has, and dies.
	_, err = milan.Client.Fence(ctx, milan.next())
	must(t, err)
	milan.sees("it is cut off", func(s Seen) bool { return !s.Streaming && s.Why != "" })
	acknowledged := make(chan error)
	go func() { acknowledged <- paris.insert(3) }()
	paris.sees("a commit waits", func(Seen) bool { return waitingCommits(t, paris) == 1 })
	select {
	case err := <-acknowledged:
		t.Errorf("what milan hasn't got is acknowledged: %v", err)
	default:
	}
	must(t, paris.Standbys(ctx, []string{"milan"}, false))
	must(t, <-acknowledged)
	paris.kill()
	command, err := paris.Command()
	must(t, err)
	for _, args := range [][]string{command.Argv[1:], {"-D", paris.Data()}} {
		short, cancel := context.WithTimeout(ctx, 20*time.Second)
		if _, err := paris.Server.run(short, nil, "postgres", args...); err == nil || !strings.Contains(err.Error(), "configuration file") {
			t.Errorf("fenced, and started by %v: %v", args, err)
		}
		cancel()
	}
	if s, err := paris.Server.Look(ctx); err != nil || s.Role != platform.Fenced || s.Up {
		t.Errorf("fenced: %+v, %v", s, err)
	}
	for range 2 {
		if timeline, err := milan.Promote(ctx); err != nil || timeline != 2 {
			t.Errorf("promoted to timeline %d: %v", timeline, err)
		}
	}
	milan.route("milan")
	paris.route("milan")
	must(t, milan.insert(4))

	// Brought back by hand it believes to be a primary, and nobody gets there.
	byHand, err := paris.Command()
	must(t, err)
	byHand.Argv = append(byHand.Argv, "-c", "config_file="+paris.path("conf", fencedConf))
	stop := startedBy(t, paris.Server, byHand)
	if s, err := paris.Server.Look(ctx); err != nil || s.Role != platform.Primary || s.Timeline != 1 {
		t.Errorf("started by hand: %+v, %v", s, err)
	}
	must(t, paris.insert(5))
	must(t, milan.insert(6))
	if got := paris.rows(); got != "1 2 3" {
		t.Errorf("on the wrong side is %s", got)
	}
	must(t, paris.Halt(ctx, 20*time.Second))
	if s, err := paris.Server.Look(ctx); err != nil || s.Role != platform.Fenced || s.Runs {
		t.Errorf("halted: %+v, %v", s, err)
	}
	if names, err := paris.Awaited(); err != nil || len(names) > 0 {
		t.Errorf("degraded, it waits for %v: %v", names, err)
	}
	stop()

	// It comes back without what only it had.
	if how, err = paris.Follow(ctx, paris.writer, p); err != nil || how != Rewound {
		t.Fatalf("back, it %s: %v", how, err)
	}
	paris.run()
	paris.sees("it streams", func(s Seen) bool { return s.Role == platform.Standby && s.Streaming && s.Timeline == 2 })
	must(t, milan.Standbys(ctx, []string{"paris"}, true))
	milan.sees("it waits for paris", func(s Seen) bool { return len(s.Standbys) == 1 && s.Standbys[0].Synchronous })
	must(t, paris.insert(7))
	for _, r := range []*region{paris, milan} { // a standby has what is acknowledged on its disk, and shows it a moment later
		waitFor(t, r.Name+" has what was written", func() bool { return r.rows() == "1 2 4 5 6 7" })
	}

	// A switchover back: what the one wrote last the other has.
	must(t, milan.Checkpoint(ctx))
	milan.stop()
	must(t, milan.Server.Fence())
	last, err := milan.Control(ctx)
	must(t, err)
	if !last.Clean() {
		t.Errorf("stopped, it is %q", last.State)
	}
	paris.sees("it has all", func(s Seen) bool { return s.LSN > last.LSN })
	must(t, paris.Standbys(ctx, []string{"milan"}, true))
	if names, err := paris.Awaited(); err != nil || !slices.Equal(names, []string{"milan"}) {
		t.Errorf("it waits for %v: %v", names, err)
	}
	if timeline, err := paris.Promote(ctx); err != nil || timeline != 3 {
		t.Errorf("promoted to timeline %d: %v", timeline, err)
	}
	paris.route("paris")
	milan.route("paris")
	go func() { acknowledged <- paris.insert(8) }()
	paris.sees("its first commit waits already", func(Seen) bool { return waitingCommits(t, paris) == 1 })
	if how, err = milan.Follow(ctx, milan.writer, p); err != nil || how != Follows {
		t.Fatalf("stopped in order, it %s: %v", how, err)
	}
	milan.run()
	milan.sees("it streams", func(s Seen) bool { return s.Streaming && s.Timeline == 3 })
	must(t, <-acknowledged)
	if got := paris.rows(); got != "1 2 4 5 6 7 8" {
		t.Errorf("paris has %s", got)
	}
	if got := query[int64](t, milan.Server, "postgres", "SELECT count(*) FROM pg_replication_slots"); got != 0 {
		t.Errorf("a standby keeps WAL in %d slots", got)
	}
	nowhere(t, p, "/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ", paris.Server.Dir+"/log/*", milan.Server.Dir+"/log/*", paris.Client.Dir+"/log/*", paris.Server.Dir+"/data/*.conf",
		paris.Server.Dir+"/conf/*.conf", milan.Client.Dir+"/*.json", milan.Client.Dir+"/nodes/*/*")
}

func TestWhatIsSpoiltIsCopiedAndWhatIsForeignStays(t *testing.T) {
	t.Parallel() // it mostly waits for the disk
	paris, milan := twoRegions(t)
	ctx := t.Context()
	p := NewPasswords()
	must(t, paris.Init(ctx, p))
	paris.run()
	must(t, paris.Ensure(ctx))
	paris.route("paris")
	milan.route("paris")
	if _, err := paris.Follow(ctx, paris.writer, p); !errors.Is(err, ErrRuns) {
		t.Errorf("a primary that runs follows itself: %v", err)
	}

	// All that watches over it dies, and finds it again.
	before := postmaster(t, paris.Server)
	paris.dead()
	paris.start()
	waitFor(t, "paris is found again", func() bool {
		seen, err := paris.Client.Look(ctx)
		return err == nil && len(seen.Nodes) == 1 && seen.Nodes[0].Alive
	})
	if seen, err := paris.Client.Look(ctx); err != nil || seen.Nodes[0].PID != before || seen.Nodes[0].Restarts != 0 {
		t.Errorf("found again: %+v, %v, want process %d", seen.Nodes, err, before)
	}
	paris.route("paris") // where there are other regions, only somebody who has looked can say so

	// A copy that was cut short, before and after what was there was moved away.
	must(t, milan.folders())
	must(t, directory(milan.path("data.new"), 0o700, milan.Account))
	must(t, os.WriteFile(milan.path("data.new", "PG_VERSION"), []byte("15\n"), 0o600))
	must(t, directory(milan.path("data.old"), 0o700, milan.Account))
	if err := milan.Init(ctx, p); err == nil || !strings.Contains(err.Error(), "follow") {
		t.Errorf("an empty database is made where a copy was cut short: %v", err)
	}
	// Nor does it matter how often and where it is cut short again.
	cut := 0
	for patience := 20 * time.Millisecond; ; patience *= 2 {
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, patience)
		how, err := milan.Follow(short, milan.writer, p)
		cancel()
		if err == nil && how == Copied {
			break
		}
		if time.Since(began) < patience/2 {
			t.Fatalf("cut short after %s, it %s: %v", patience, how, err)
		}
		cut++
	}
	if cut == 0 {
		t.Error("it was never cut short")
	}
	milan.run()
	milan.sees("it streams", func(s Seen) bool { return s.Streaming })
	if left, _ := filepath.Glob(milan.path("data.[no]*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}

	// A rewind that was cut short.
	must(t, replace(milan.path(spoilt), "", ours()))
	if _, err := milan.Follow(ctx, milan.writer, p); !errors.Is(err, ErrRuns) {
		t.Errorf("spoilt data that a server runs on: %v", err)
	}
	milan.stop()
	if how, err := milan.Follow(ctx, milan.writer, p); err != nil || how != Copied {
		t.Errorf("it %s: %v", how, err)
	}
	if exists(milan.path(spoilt)) {
		t.Error("copied, it is spoilt still")
	}

	// A standby that was away for longer than anything is kept for it.
	do(t, paris.Server, "postgres", "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", "SELECT pg_reload_conf()")
	for range 4 {
		do(t, paris.Server, "postgres", "SELECT pg_logical_emit_message(false, 'w', 'w')", "SELECT pg_switch_wal()", "CHECKPOINT")
	}
	if seen := paris.sees("milan's WAL is gone", func(s Seen) bool { return len(s.Standbys) == 1 && s.Standbys[0].Lost }); seen.Standbys[0].Name != "milan" || seen.Standbys[0].Connected {
		t.Errorf("paris sees %+v", seen.Standbys)
	}
	_, err := paris.Configure(ctx, nil)
	must(t, err)
	if how, err := milan.Follow(ctx, milan.writer, p); err != nil || how != Copied {
		t.Errorf("it %s: %v", how, err)
	}

	// Data of another database.
	must(t, os.RemoveAll(milan.Data()))
	must(t, milan.Init(ctx, p))
	if _, err := milan.Follow(ctx, milan.writer, p); err == nil || !strings.Contains(err.Error(), "another database") {
		t.Errorf("it follows with data of another: %v", err)
	}
	if !exists(filepath.Join(milan.Data(), "PG_VERSION")) {
		t.Error("the other's data is gone")
	}
}

// waitingCommits are those that no standby has yet.
func waitingCommits(t *testing.T, r *region) int64 {
	return query[int64](t, r.Server, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
}

// nowhere fails where one of the files holds a password.
func nowhere(t *testing.T, p Passwords, patterns ...string) {
	t.Helper()
	read := 0
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		must(t, err)
		for _, file := range found {
			b, err := os.ReadFile(file)
			if err != nil {
				continue // a process that has ended, or isn't ours
			}
			read++
			for role, password := range p {
				if strings.Contains(string(b), password) {
					t.Errorf("the password of %s is in %s", role, file)
				}
			}
		}
	}
	if read < 20 {
		t.Errorf("%d files were read", read)
	}
}
