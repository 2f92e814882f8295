package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/schema"
	"github.com/jackc/pgx/v5"
)

// files is the field that tells whether somebody else wrote into the files of conf, and asWritten what it should say.
const (
	files     = "files"
	asWritten = "as written"
)

// Object is what a server's settings should be, as drift.Compare has it: one field for each setting.
func Object(name string, declared Settings) schema.Object {
	fields := map[string]any{files: asWritten}
	for setting, value := range Wanted(declared) {
		fields[setting] = value
	}
	return schema.Object{Address: schema.Join("", "settings", "postgres", name), Fields: fields}
}

// Have is what the settings are, of those that are declared. It is what is in force, and where the files say something else,
// which would be in force after the next restart, then that: ALTER SYSTEM and a hand in the files both show. What waits for a
// restart only because we wrote it is as it should be; Seen.Restart names it.
func (s Server) Have(ctx context.Context, declared Settings) (schema.Object, error) {
	o := schema.Object{Address: schema.Join("", "settings", "postgres", s.Name)}
	have, state, err := s.written()
	if err != nil {
		return o, fmt.Errorf("settings of database %s: %w", s.Name, err)
	}
	conn, err := s.whereMade(ctx)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		var now Settings
		if now, err = inForce(ctx, conn, slices.Collect(maps.Keys(Wanted(declared)))); err == nil {
			have = now
		} else if conn.IsClosed() && ctx.Err() == nil { // it has gone meanwhile
			err = ErrDown
		}
	}
	if err != nil && !errors.Is(err, ErrDown) {
		return o, s.explain(fmt.Errorf("settings of database %s: %w", s.Name, err))
	}
	o.Fields = map[string]any{files: state}
	for name, value := range have {
		o.Fields[name] = value
	}
	return o, nil
}

// whereMade signs in, where there is data: a server that has none yet is down.
func (s Server) whereMade(ctx context.Context) (*pgx.Conn, error) {
	if !exists(s.Data()) {
		return nil, ErrDown
	}
	return s.connect(ctx, "postgres")
}

func inForce(ctx context.Context, conn *pgx.Conn, names []string) (Settings, error) {
	rows, err := conn.Query(ctx, `SELECT s.name, CASE WHEN f.name IS NULL AND s.source IN ('default', 'configuration file') THEN coalesce(s.boot_val, '') ELSE coalesce(f.setting, s.setting, '') END
		FROM pg_settings s LEFT JOIN LATERAL (SELECT name, setting FROM pg_file_settings WHERE name = s.name ORDER BY seqno DESC LIMIT 1) f ON true WHERE s.name = ANY($1)`, names)
	if err != nil {
		return nil, err
	}
	have := Settings{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		have[name] = value
		return nil
	})
	return have, err
}

// written reads the files: our settings as they stand there, and whether all is as we wrote it.
func (s Server) written() (have Settings, state string, err error) {
	b, err := os.ReadFile(s.path("conf", "settings.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	have = Settings{}
	for _, line := range strings.Split(string(b), "\n") {
		if name, value, ok := strings.Cut(line, " = "); ok {
			have[name] = unquote(value)
		}
	}
	var changed []string
	for name, want := range map[string]string{"settings.conf": conf(have), "pg_hba.conf": hba, "pg_ident.conf": ident, "postgresql.conf": mainConf} {
		if name == "postgresql.conf" && s.Fenced() {
			name = fencedConf
		}
		if b, err := os.ReadFile(s.path("conf", name)); err != nil || string(b) != want {
			changed = append(changed, name)
		}
	}
	if len(changed) == 0 {
		return have, asWritten, nil
	}
	slices.Sort(changed)
	return have, "changed by hand: " + strings.Join(changed, ", "), nil
}

// Configure has the settings be these, and the files as we write them. Where the server is up they are in force when it
// returns, but for those that need a restart, which it returns; where it is down, when it starts. Settings that PostgreSQL
// wouldn't start with are refused.
func (s Server) Configure(ctx context.Context, declared Settings) (restart []string, err error) {
	if err = s.folders(); err == nil {
		restart, err = s.change(ctx, Wanted(declared))
	}
	if err != nil {
		return nil, s.explain(fmt.Errorf("configure database %s: %w", s.Name, err))
	}
	return restart, nil
}

func (s Server) change(ctx context.Context, all Settings) (restart []string, err error) {
	if err := s.sound(ctx, conf(all)); err != nil {
		return nil, err
	}
	if _, err := s.configure("settings.conf", conf(all)); err != nil {
		return nil, err
	}
	if err := s.configureAll(); err != nil {
		return nil, err
	}
	conn, err := s.whereMade(ctx)
	if errors.Is(err, ErrDown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := s.reload(ctx, all); err != nil {
		return nil, err
	}
	rows, _ := conn.Query(ctx, "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name") // its error is the rows' too
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// sound has PostgreSQL itself read a file before it counts.
func (s Server) sound(ctx context.Context, content string) error {
	const candidate = "candidate.conf"
	if !exists(s.Data()) {
		return nil
	}
	if _, err := s.configure(candidate, content); err != nil {
		return err
	}
	defer os.Remove(s.path("conf", candidate))
	_, err := s.run(ctx, nil, "postgres", "-D", s.Data(), "-c", "config_file="+s.path("conf", candidate), "-C", "port")
	return err
}

// reload has a server that is up take what the files say, and what ALTER SYSTEM says of the same settings forgotten. It returns
// when these values are in force, or wait for a restart.
func (s Server) reload(ctx context.Context, values Settings) error {
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	wanted := slices.Collect(maps.Keys(values))
	rows, err := conn.Query(ctx, "SELECT DISTINCT name FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name = ANY($1)", wanted)
	if err != nil {
		return s.explain(err)
	}
	altered, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return s.explain(err)
	}
	for _, name := range altered {
		if _, err := conn.Exec(ctx, "ALTER SYSTEM RESET "+pgx.Identifier{name}.Sanitize()); err != nil {
			return s.explain(err)
		}
	}
	if _, err := conn.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return s.explain(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := conn.Query(ctx, "SELECT name, setting FROM pg_settings WHERE NOT pending_restart AND name = ANY($1)", wanted)
		if err != nil {
			return s.explain(err)
		}
		var waiting []string
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
			if values[name] != value {
				waiting = append(waiting, name)
			}
			return nil
		})
		if err != nil {
			return s.explain(err)
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			slices.Sort(waiting)
			return fmt.Errorf("%s: the server doesn't take it, its log in %s says why: %w", strings.Join(waiting, ", "), s.Log(), ctx.Err())
		}
	}
}
