package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/jackc/pgx/v5"
)

// Seen is how a server is.
type Seen struct {
	Made bool   // there is data
	Up   bool   // it answers
	Runs bool   // its process is there; one that runs and isn't up starts, recovers or stops
	Why  string // it isn't up, or a standby that doesn't stream: the last that it said about that

	Role     platform.Role // of one that is down, what it will be when it is started; Fenced where it won't
	System   string        // names the data: regions whose systems differ have nothing in common
	Timeline int           // rises with each promotion
	LSN      uint64        // as platform.Region has it
	Lag      int64         // a standby: bytes that the primary has written, as far as we have heard, and we haven't replayed

	Streaming   bool      // a standby: it receives what the primary writes
	Synchronous []string  // a primary: the regions that commits wait for; none where they don't
	Standbys    []Replica // a primary: who follows, by name

	Restart []string // settings that are in force only after a restart
}

// Replica is a standby as its primary sees it.
type Replica struct {
	Name        string
	Connected   bool
	Streaming   bool
	Synchronous bool   // commits wait for it
	Flushed     uint64 // what it has on its disk
	Replayed    uint64
	Lag         int64 // bytes that it hasn't replayed
	Kept        int64 // bytes that are kept for it
	Lost        bool  // what it needs is gone: it must be copied anew
}

// lookTime is how long a server has for the answers to one look.
const lookTime = 2 * patience

// Look looks. A server that is down, not there, or doesn't answer in time, is no error.
func (s Server) Look(ctx context.Context) (seen Seen, err error) {
	seen.Made = exists(filepath.Join(s.Data(), "PG_VERSION"))
	if !seen.Made {
		return seen, nil
	}
	if seen.Runs, err = s.runs(); err != nil {
		return seen, fmt.Errorf("look at database %s: %w", s.Name, err)
	}
	bound, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := s.connect(bound, "postgres")
	if err != nil && (errors.Is(err, ErrDown) || !seen.Runs) && ctx.Err() == nil {
		return s.lookAside(ctx, seen, err)
	}
	if err != nil {
		return seen, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = seen.ask(bound, conn)
	if err != nil && conn.IsClosed() && ctx.Err() == nil { // it has gone meanwhile
		return s.lookAside(ctx, Seen{Made: true, Runs: seen.Runs}, err)
	}
	if err != nil {
		return seen, s.explain(fmt.Errorf("look at database %s: %w", s.Name, err))
	}
	if seen.Role == platform.Standby && !seen.Streaming {
		seen.Why = s.complaint()
	}
	return seen, nil
}

// complaint is the last thing that went wrong with the server as a whole, as its log has it, since it was last well.
func (s Server) complaint() string {
	f, err := os.Open(s.Log())
	if err != nil {
		return ""
	}
	defer f.Close()
	const enough = 16 << 10
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-enough), io.SeekStart) // where it can't, all is read
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	for _, line := range slices.Backward(strings.Split(string(text), "\n")) {
		if well.MatchString(line) {
			break
		}
		if m := fault.FindStringSubmatch(line); m != nil {
			return s.explain(errors.New(m[1])).Error()
		}
	}
	return ""
}

// What the log says of the server itself; a line that is about a connection has its user and database before FATAL.
var (
	fault = regexp.MustCompile(`^(?:[-\d]+ [:.\d]+ \w+ \[\d+\] (?:FATAL|PANIC):  |postgres: )(.*)`)
	well  = regexp.MustCompile(`LOG:  (?:database system is ready to accept|started streaming)`)
)

// lookAside reads what a server that is down has left.
func (s Server) lookAside(ctx context.Context, seen Seen, down error) (Seen, error) {
	if seen.Why = s.complaint(); seen.Why == "" && down != nil {
		seen.Why = down.Error()
	}
	c, err := s.Control(ctx)
	if err != nil {
		return seen, fmt.Errorf("look at database %s: %w", s.Name, err)
	}
	seen.System, seen.Timeline, seen.LSN = c.System, c.Timeline, c.LSN
	switch {
	case s.Fenced():
		seen.Role, seen.Why = platform.Fenced, ""
	case exists(filepath.Join(s.Data(), "standby.signal")):
		seen.Role = platform.Standby
	default:
		seen.Role = platform.Primary
	}
	return seen, nil
}

// ask asks a server that is up.
func (seen *Seen) ask(ctx context.Context, conn *pgx.Conn) error {
	seen.Up = true
	var recovering bool
	var lsn, end *string
	var names string
	err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system()),
		(SELECT timeline_id FROM pg_control_checkpoint()), current_setting('synchronous_standby_names'),
		CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
		(SELECT array_agg(name ORDER BY name) FROM pg_settings WHERE pending_restart)`).
		Scan(&recovering, &seen.System, &seen.Timeline, &names, &lsn, &seen.Restart)
	if err != nil {
		return err
	}
	if lsn != nil {
		if seen.LSN, err = parseLSN(*lsn); err != nil {
			return err
		}
	}
	if !recovering {
		seen.Role = platform.Primary
		// The control file learns of a promotion at the next checkpoint; the name of the file that is written to knows it already.
		var file string
		if err := conn.QueryRow(ctx, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())").Scan(&file); err != nil {
			return err
		}
		if seen.Timeline, err = timelineOf(file); err != nil {
			return err
		}
		seen.Synchronous = syncNames(names)
		return seen.askStandbys(ctx, conn)
	}
	seen.Role = platform.Standby
	var timeline *int
	err = conn.QueryRow(ctx, `SELECT status = 'streaming', latest_end_lsn::text, received_tli FROM pg_stat_wal_receiver`).Scan(&seen.Streaming, &end, &timeline)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if timeline != nil {
		seen.Timeline = max(seen.Timeline, *timeline)
	}
	if end != nil {
		heard, err := parseLSN(*end)
		if err != nil {
			return err
		}
		seen.Lag = max(0, int64(heard-seen.LSN))
	}
	return nil
}

// askStandbys is who follows, and for whom something is kept.
func (seen *Seen) askStandbys(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT coalesce(r.application_name, s.name), r.pid IS NOT NULL, coalesce(r.state = 'streaming', false), coalesce(r.sync_state IN ('sync', 'quorum'), false),
			coalesce(r.flush_lsn, '0/0')::text, coalesce(r.replay_lsn, '0/0')::text, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn), 0)::bigint,
			greatest(0, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0))::bigint, coalesce(s.wal_status = 'lost', false)
		FROM (SELECT replace(slot_name, '_', '-') AS name, active_pid, restart_lsn, wal_status FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary) s
		FULL JOIN (SELECT * FROM pg_stat_replication WHERE usename = 'standby' AND state <> 'backup') r ON r.pid = s.active_pid ORDER BY 1, 2 DESC`)
	if err != nil {
		return err
	}
	seen.Standbys, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Replica, err error) {
		var flushed, replayed string
		if err := row.Scan(&r.Name, &r.Connected, &r.Streaming, &r.Synchronous, &flushed, &replayed, &r.Lag, &r.Kept, &r.Lost); err != nil {
			return r, err
		}
		if r.Flushed, err = parseLSN(flushed); err != nil {
			return r, err
		}
		r.Replayed, err = parseLSN(replayed)
		return r, err
	})
	return err
}

// AwaitUp returns when a server that somebody has started answers, or ctx ends.
func (s Server) AwaitUp(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := s.connect(ctx, "postgres")
		if err == nil {
			return conn.Close(ctx)
		}
		if !errors.Is(err, ErrDown) && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// runs tells whether a process runs on the data, whoever started it.
func (s Server) runs() (bool, error) {
	b, err := os.ReadFile(filepath.Join(s.Data(), "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	pid, _, _ := strings.Cut(string(b), "\n")
	if _, err := strconv.Atoi(pid); err != nil {
		return false, nil // just being written
	}
	// Numbers are used again, but who stands in the data is PostgreSQL.
	at, err := os.Readlink(filepath.Join("/proc", pid, "cwd"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil // gone, or somebody else's by now
	}
	data, resolved := filepath.EvalSymlinks(s.Data())
	return at == data, errors.Join(err, resolved)
}

// parseLSN reads a place in what was written, 0/3000148.
func parseLSN(text string) (uint64, error) {
	high, low, ok := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is no LSN", text)
	}
	return h<<32 | l, nil
}

// timelineOf is the timeline that a file of WAL is of: its first eight digits.
func timelineOf(file string) (int, error) {
	n, err := strconv.ParseUint(file[:min(8, len(file))], 16, 32)
	return int(n), err
}
