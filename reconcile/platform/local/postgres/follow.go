package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/jackc/pgx/v5"
)

// How a server came to follow.
type How string

// The ways.
const (
	Follows How = "follows" // its data fitted
	Rewound How = "rewound" // what it had written after the other was promoted was undone
	Copied  How = "copied"  // all of its data is the primary's
)

// Follow makes the server a standby of the primary at an address: its own data plane's writer endpoint, wherever that leads. A
// server that runs must be a standby already, and is told the way; any other must be stopped (ErrRuns), and is started after.
//
// Data that has grown apart from the primary's is rewound, and where that can't be, or was cut short, copied. Data of another
// database is never touched. Until all is ready to follow, the server is fenced, or has no data.
func (s Server) Follow(ctx context.Context, address string, p Passwords) (How, error) {
	return s.begin(ctx, address, p, false)
}

// Copy does the same, but copies the primary's data in any case: for a standby that was away for too long.
func (s Server) Copy(ctx context.Context, address string, p Passwords) error {
	_, err := s.begin(ctx, address, p, true)
	return err
}

func (s Server) begin(ctx context.Context, address string, p Passwords, copied bool) (how How, err error) {
	if err = s.folders(); err == nil {
		err = s.alone(ctx, dataLock, func(s Server) (err error) {
			how, err = s.follow(ctx, address, p, copied)
			return err
		})
	}
	if err != nil {
		return "", s.explain(fmt.Errorf("database %s follows the primary by way of %s: %w", s.Name, address, err))
	}
	return how, nil
}

func (s Server) follow(ctx context.Context, address string, p Passwords, copied bool) (How, error) {
	if err := s.keepPasswords(p); err != nil {
		return "", err
	}
	if err := s.configureAll(); err != nil {
		return "", err
	}
	up, err := s.upstream(address, p)
	if err != nil {
		return "", err
	}
	primary, err := up.look(ctx)
	if err != nil {
		return "", err
	}
	how, err := s.howToFollow(ctx, primary)
	if err != nil {
		return "", err
	}
	if copied {
		how = Copied
	}
	running, err := s.runs()
	if err != nil {
		return "", err
	}
	if running && how != Follows {
		return "", ErrRuns
	}
	switch how {
	case Follows:
		if err := up.ensureSlot(ctx); err != nil {
			return "", err
		}
	case Rewound:
		undone, err := s.rewind(ctx, up)
		if err == nil && !undone {
			how = Follows
		}
		if err != nil {
			// It may be half done: then only a copy helps.
			if copying := s.copy(ctx, up); copying != nil {
				return "", errors.Join(err, copying)
			}
			how = Copied
		}
	case Copied:
		if err := s.copy(ctx, up); err != nil {
			return "", err
		}
	}
	if _, err := s.configure("upstream.conf", up.conf()); err != nil {
		return "", err
	}
	if running {
		if err := s.letGo(ctx, nil); err != nil {
			return "", err
		}
		return how, s.reload(ctx, Settings{"primary_conninfo": up.conninfo("replication"), "primary_slot_name": up.slot})
	}
	return how, s.Unfence()
}

// howToFollow looks at what is there.
func (s Server) howToFollow(ctx context.Context, primary seenUpstream) (How, error) {
	seen, err := s.Look(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case !seen.Made:
		return Copied, nil
	case seen.System != primary.system:
		return "", fmt.Errorf("%s holds another database (%s) than the primary's (%s): move it away, if nobody needs it", s.Data(), seen.System, primary.system)
	case seen.Runs && !seen.Up:
		return "", fmt.Errorf("%w or wait until it is up: %s", ErrRuns, seen.Why)
	case seen.Runs && seen.Role != platform.Standby:
		return "", ErrRuns
	case exists(s.path("data.old")), exists(s.path(spoilt)), primary.lost:
		return Copied, nil
	case seen.Runs:
		return Follows, nil
	}
	control, err := s.Control(ctx)
	if err != nil {
		return "", err
	}
	standby := exists(filepath.Join(s.Data(), "standby.signal"))
	switch {
	case control.Timeline == primary.timeline && standby:
		return Follows, nil
	case control.Timeline == primary.timeline, standby && !control.Clean():
		return Copied, nil // two primaries of one timeline can't be told apart; and recovery of a standby ends nowhere in particular
	}
	return Rewound, nil
}

// spoilt is there as long as nothing but a copy of the primary's data helps: from before pg_rewind works, which leaves neither
// when it is cut short, and from before what the primary keeps for us is given up.
const spoilt = "spoilt"

// rewind undoes what the primary doesn't know, if there is anything. Meanwhile the server is fenced, so that nobody starts half of one.
func (s Server) rewind(ctx context.Context, up upstream) (undone bool, err error) {
	a, err := s.account()
	if err != nil {
		return false, err
	}
	if err := s.Fence(); err != nil {
		return false, err
	}
	if err := up.checkpoint(ctx); err != nil {
		return false, err
	}
	if err := up.ensureSlot(ctx); err != nil {
		return false, err
	}
	if err := replace(s.path(spoilt), "", ours()); err != nil {
		return false, err
	}
	if err := os.RemoveAll(filepath.Join(s.Data(), "standby.signal")); err != nil {
		return false, err // with it, what a crash has left can't be recovered
	}
	said, err := s.run(ctx, nil, "pg_rewind", "--target-pgdata="+s.Data(), "--source-server="+up.conninfo("postgres"), "--config-file="+s.path("conf", fencedConf))
	if err != nil {
		return false, err
	}
	if err := becomeStandby(s.Data(), a); err != nil {
		return false, err
	}
	if err := os.Remove(s.path(spoilt)); err != nil {
		return false, err
	}
	return !strings.Contains(said, "no rewind required"), settle(s.Dir)
}

// copy takes all of the primary's data in place of what is here, which stays until then.
func (s Server) copy(ctx context.Context, up upstream) error {
	a, err := s.account()
	if err != nil {
		return err
	}
	if exists(s.Data()) {
		if err := s.Fence(); err != nil {
			return err
		}
	}
	if err := replace(s.path(spoilt), "", ours()); err != nil {
		return err
	}
	if err := up.newSlot(ctx); err != nil {
		return err
	}
	fresh, err := s.fresh()
	if err != nil {
		return err
	}
	// What is written meanwhile comes at the end, the slot keeps it: for streaming it pg_basebackup has a second process, which
	// goes on for ever when the first one is killed.
	if _, err := s.run(ctx, nil, "pg_basebackup", "--pgdata="+fresh, "--dbname="+up.conninfo("replication"),
		"--wal-method=fetch", "--checkpoint=fast", "--no-password"); err != nil {
		return err
	}
	if err := becomeStandby(fresh, a); err != nil {
		return err
	}
	if err := os.RemoveAll(s.path("data.old")); err != nil {
		return err
	}
	if err := os.Rename(s.Data(), s.path("data.old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.arrive(fresh); err != nil {
		return err
	}
	for _, left := range []string{"data.old", spoilt} {
		if err := os.RemoveAll(s.path(left)); err != nil {
			return err
		}
	}
	return settle(s.Dir)
}

// becomeStandby has data follow when a server is started on it, with nothing kept for others.
func becomeStandby(data string, a Account) error {
	if err := replace(filepath.Join(data, "standby.signal"), "", a); err != nil {
		return err
	}
	slots, err := filepath.Glob(filepath.Join(data, "pg_replslot", "*"))
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if err := os.RemoveAll(slot); err != nil {
			return err
		}
	}
	return nil
}

// upstream is the way from a standby to the primary.
type upstream struct {
	host, port, name, slot string
	password, passfile     string
}

type seenUpstream struct {
	system   string
	timeline int
	lost     bool // it hasn't kept what we needed
}

func (s Server) upstream(address string, p Passwords) (up upstream, err error) {
	up = upstream{name: s.Name, slot: slotOf(s.Name), password: p[Standby], passfile: s.path("conf", "standby.passfile")}
	if up.host, up.port, err = net.SplitHostPort(address); err != nil {
		return up, err
	}
	_, err = s.configure("standby.passfile", passline(Standby, p[Standby]))
	return up, err
}

// slotOf is the name of the slot in which a primary keeps what a region still needs.
func slotOf(region string) string { return strings.ReplaceAll(region, "-", "_") }

// conninfo is how PostgreSQL's own programs get there. It holds no secret.
func (up upstream) conninfo(database string) string {
	value := func(v string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(v) + "'" }
	return fmt.Sprintf("host=%s port=%s dbname=%s user=%s passfile=%s application_name=%s connect_timeout=5 sslmode=disable gssencmode=disable",
		value(up.host), up.port, database, Standby, value(up.passfile), up.name)
}

func (up upstream) conf() string {
	return "# Written by cloakwork. Changes by hand are undone.\n" +
		"primary_conninfo = " + quote(up.conninfo("replication")) + "\nprimary_slot_name = " + quote(up.slot) + "\n"
}

func (up upstream) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host='%s' port=%s user=%s dbname=postgres sslmode=disable", up.host, up.port, Standby))
	if err != nil {
		return nil, err
	}
	config.Password, config.ConnectTimeout, config.Fallbacks = up.password, 2*patience, nil
	config.RuntimeParams = map[string]string{"application_name": up.name}
	return pgx.ConnectConfig(ctx, config)
}

// look sees whether there is a primary.
func (up upstream) look(ctx context.Context) (seen seenUpstream, err error) {
	conn, err := up.connect(ctx)
	if err != nil {
		return seen, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var recovering bool
	var file string
	err = conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system()),
		CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END,
		EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND wal_status = 'lost')`, up.slot).Scan(&recovering, &seen.system, &file, &seen.lost)
	if err != nil {
		return seen, err
	}
	if recovering {
		return seen, errors.New("what is there is a standby itself")
	}
	seen.timeline, err = timelineOf(file)
	return seen, err
}

// ensureSlot has the primary keep what we need, from now on where it didn't yet.
func (up upstream) ensureSlot(ctx context.Context) error {
	return up.do(ctx, "SELECT pg_create_physical_replication_slot($1, true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", up.slot)
}

// newSlot has it keep what is written from now on, and nothing of before.
func (up upstream) newSlot(ctx context.Context) error {
	if err := up.do(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", up.slot); err != nil {
		return err
	}
	return up.ensureSlot(ctx)
}

// checkpoint has the primary write down that it was promoted, which pg_rewind wouldn't see else.
func (up upstream) checkpoint(ctx context.Context) error { return up.do(ctx, "CHECKPOINT") }

func (up upstream) do(ctx context.Context, sql string, args ...any) error {
	conn, err := up.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql, args...)
	return err
}
