package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

// databasesAlone is the deployment in two regions with data planes, watchers and databases, of which paris has the primary, and
// no node: what is tested of regions by it costs seconds.
func (w *world) databasesAlone(changes ...func(*schema.Deployment)) schema.Deployment {
	w.t.Helper()
	w.watched = true
	d, want := w.open(), w.two(0, changes...)
	passwords := postgres.NewPasswords()
	account, err := json.Marshal(map[string]any{"secret": "unused", "probe": "unused", "database": passwords})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := d.Save(w.t.Context(), want, platform.Record{}, platform.Record{Epoch: 1, Lifecycle: platform.Running, Active: "paris"}); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "eu", "account.json"), account, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.dir, "eu", "regions", "paris"), 0o711); err != nil {
		w.t.Fatal(err)
	}
	for _, dir := range []string{w.dir, filepath.Join(w.dir, "eu"), filepath.Join(w.dir, "eu", "regions"), filepath.Join(w.dir, "eu", "regions", "paris")} {
		if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's account has to get through
			w.t.Fatal(err)
		}
	}
	unwatched := want // as long as steps are begun from here
	unwatched.Failover.Mode = "manual"
	w.applied(d, unwatched)
	w.begun(w.databaseOf("paris"), passwords)
	step := drift.Step{Verb: drift.Promote, Region: "paris", Epoch: 1}
	if err := d.Do(w.t.Context(), unwatched, step); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("paris has a primary", func() bool {
		seen, err := d.Observe(w.t.Context(), unwatched)
		if err == nil && seen.Move.State == platform.Failed {
			w.t.Fatal(seen.Move.Why)
		}
		return err == nil && seen.Move.Step == step && seen.Move.State == platform.Done
	})
	w.applied(d, want)
	w.recorded("milan has all that paris acknowledges", func(r platform.Record) bool { return r.Synced == "milan" })
	return want
}

// begun makes a region's database and has it run, as the first node would have.
func (w *world) begun(db postgres.Server, passwords postgres.Passwords) {
	w.t.Helper()
	ctx := w.t.Context()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	must(db.Init(ctx, passwords))
	command, err := db.Command()
	must(err)
	text, err := json.Marshal(command)
	must(err)
	revision := strconv.Itoa(db.Programs.Major)
	file := filepath.Join(w.dir, "eu", "regions", db.Name, "plane", "nodes", "postgres", revision+".json")
	must(os.MkdirAll(filepath.Dir(file), 0o700))
	must(os.WriteFile(file, text, 0o600))
	must(w.planeOf(db.Name).Run(ctx, 1, "postgres", revision))
	must(db.AwaitUp(ctx))
	must(db.Ensure(ctx))
}

// applied applies what needs no order.
func (w *world) applied(d *local.Driver, want schema.Deployment) {
	w.t.Helper()
	changes := w.changes(d, want)
	for _, r := range want.Regions {
		own := slices.DeleteFunc(slices.Clone(changes), func(c drift.Change) bool { return !strings.HasSuffix(string(c.Address), r.Name) })
		w.eventually("nobody saves a newer epoch meanwhile", func() bool { // a watcher may
			seen, err := d.Observe(w.t.Context(), want)
			if err == nil {
				err = w.in(r.Name, func() error { return d.Apply(w.t.Context(), want, own, seen.Record.Epoch) })
			}
			if err != nil && !errors.Is(err, platform.ErrOldEpoch) {
				w.t.Fatal(err)
			}
			return err == nil
		})
	}
}

// in does something in a region's network.
func (w *world) in(region string, do func() error) error {
	if w.within == nil {
		return do()
	}
	return w.within(region, do)
}

func (w *world) record() (r platform.Record) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "eu", "record.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// recorded waits until the record says something.
func (w *world) recorded(what string, so func(platform.Record) bool) platform.Record {
	w.t.Helper()
	w.eventually(what, func() bool { return so(w.record()) })
	return w.record()
}

// connect reaches the primary as the nodes of a region do.
func (w *world) connect(ctx context.Context, region string) (*pgx.Conn, error) {
	var plane dataplane.Config
	text, err := os.ReadFile(filepath.Join(w.dir, "eu", "regions", region, "plane", "plane.json"))
	if err == nil {
		err = json.Unmarshal(text, &plane)
	}
	if err != nil {
		return nil, err
	}
	passwords, err := w.databaseOf(region).Passwords()
	if err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(plane.Listen.Writer, ":")
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=keycloak dbname=%s sslmode=disable connect_timeout=60", host, port, postgres.Database))
	if err != nil {
		return nil, err
	}
	config.Password = passwords[postgres.Keycloak]
	config.DialFunc = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = w.in(region, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return pgx.ConnectConfig(ctx, config)
}

// writing inserts rows by the way of a region, one after the other, until the connection breaks, and returns when some are
// acknowledged. Acknowledged waits for the end, and returns all that were.
func (w *world) writing(region string) (acknowledged func() []int) {
	w.t.Helper()
	conn, err := w.connect(w.t.Context(), region)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := conn.Exec(w.t.Context(), "CREATE TABLE written (n int)"); err != nil {
		w.t.Fatal(err)
	}
	var rows []int
	flows, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer conn.Close(context.Background())
		for n := 1; ; n++ {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			_, err := conn.Exec(ctx, "INSERT INTO written VALUES ($1)", n)
			cancel()
			if err != nil {
				return
			}
			if rows = append(rows, n); n == 10 {
				close(flows)
			}
		}
	}()
	select {
	case <-flows:
	case <-done:
		w.t.Fatal("nothing can be written")
	}
	return func() []int { <-done; return rows }
}

// has are the rows that are found by the way of a region.
func (w *world) has(region string) (rows []int) {
	w.t.Helper()
	conn, err := w.connect(w.t.Context(), region)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	found, err := conn.Query(w.t.Context(), "SELECT n FROM written ORDER BY n")
	if err == nil {
		rows, err = pgx.CollectRows(found, pgx.RowTo[int])
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

func TestAKilledRegionIsTakenOverByTheWatcherWithNobodyElseThere(t *testing.T) {
	w := newWorld(t)
	want := w.databasesAlone()
	acknowledged := w.writing("paris")
	lost := time.Now() // at the earliest
	w.killRegion("paris")
	record := w.recorded("milan takes over", func(r platform.Record) bool { return r.Active == "milan" && r.Toward == "" })
	t.Logf("milan took over after %s: fenced %s after paris was lost, as declared is %s", time.Since(lost).Round(time.Millisecond), record.Decided.At.Sub(lost).Round(time.Millisecond), want.Failover.After)
	if record.Decided.By != "the watcher of milan" || record.Decided.At.Sub(lost) < time.Duration(want.Failover.After) {
		t.Errorf("decided by %+v, paris was lost at %s", record.Decided, lost)
	}
	w.onlyPrimary("milan")
	wrote := acknowledged()
	kept := w.has("milan")
	if lacks := slices.DeleteFunc(slices.Clone(wrote), func(n int) bool { return slices.Contains(kept, n) }); len(wrote) == 0 || len(lacks) > 0 {
		t.Errorf("of %d acknowledged writes %d are lost: %v", len(wrote), len(lacks), lacks)
	}

	// Somebody has the region run again, and nothing else: it comes back as a standby.
	if err := w.planeOf("paris").Start(t.Context(), os.Args[0]); err != nil {
		t.Fatal(err)
	}
	record = w.recorded("paris follows", func(r platform.Record) bool { return r.Synced == "paris" })
	w.onlyPrimary("milan")
	if record.Active != "milan" || record.Override != "milan" || record.Declared != "paris" {
		t.Errorf("record %+v", record)
	}
}
