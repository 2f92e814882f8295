package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// Dump is a consistent copy of the database, as of one moment. It stands beside its file, in FILE.json.
type Dump struct {
	File    string    `json:"-"`
	At      time.Time `json:"at"`
	Version string    `json:"version"` // of PostgreSQL
	System  string    `json:"system"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Counts  Counts    `json:"counts"` // what is in it
}

// Counts are the rows of each table.
type Counts = platform.Counts

// Dump writes the database into a file, while it serves. The file is there when it is complete and on the disk, and not before;
// one that is there already is what is returned. A standby can be dumped as well.
func (s Server) Dump(ctx context.Context, file string) (d Dump, err error) {
	err = s.alone(ctx, dumpLock, func(s Server) error {
		if d, err = ReadDump(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d, err = s.dump(ctx, file)
		return err
	})
	if err != nil {
		return d, s.explain(fmt.Errorf("dump database %s to %s: %w", s.Name, file, err))
	}
	return d, nil
}

// ReadDump is what is known of a dump: fs.ErrNotExist where there is none that is complete.
func ReadDump(file string) (d Dump, err error) {
	if _, err := os.Stat(file); err != nil {
		return d, err
	}
	b, err := os.ReadFile(file + ".json")
	if err != nil {
		return d, fmt.Errorf("nothing says what is in %s: %w", file, errors.Join(err))
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("read %s.json: %w", file, err)
	}
	d.File = file
	return d, nil
}

func (s Server) dump(ctx context.Context, file string) (d Dump, err error) {
	partial := file + ".partial"
	defer os.Remove(partial)
	if err := touch(partial); err != nil {
		return d, err
	}
	if d, err = s.snapshot(ctx, func(args []string, env string) error {
		_, err := s.runAs(ctx, ours(), []string{env}, "pg_dump", append(args, "--file="+partial)...)
		return err
	}); err != nil {
		return d, err
	}
	d.File = file
	if d.Bytes, d.SHA256, err = sum(partial); err != nil {
		return d, err
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return d, err
	}
	if err := replace(file+".json", string(b)+"\n", ours()); err != nil {
		return d, err
	}
	if err := os.Rename(partial, file); err != nil {
		return d, err
	}
	return d, settle(filepath.Dir(file))
}

// DumpTo is Dump to wherever: nothing of it is on a disk of ours, and nothing is held meanwhile that another act waits for.
// Who stops reading ends it.
func (s Server) DumpTo(ctx context.Context, to io.Writer) (Dump, error) {
	d, err := s.snapshot(ctx, func(args []string, env string) error {
		return s.pipe(ctx, ours(), []string{env}, nil, to, "pg_dump", args...)
	})
	if err != nil {
		return d, s.explain(fmt.Errorf("dump database %s: %w", s.Name, err))
	}
	return d, nil
}

// snapshot has pg_dump dump a moment, and counts what is there at that same moment.
func (s Server) snapshot(ctx context.Context, dump func(args []string, env string) error) (d Dump, err error) {
	conn, err := s.connect(ctx, Database)
	if err != nil {
		return d, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return d, err
	}
	var name string
	err = tx.QueryRow(ctx, "SELECT pg_export_snapshot(), (SELECT system_identifier::text FROM pg_control_system()), now()").Scan(&name, &d.System, &d.At)
	if err != nil {
		return d, err
	}
	if d.Counts, err = count(ctx, tx); err != nil {
		return d, err
	}
	passfile, err := s.passfile()
	if err != nil {
		return d, err
	}
	d.At, d.Version = d.At.UTC().Truncate(time.Second), s.Programs.Version
	return d, dump([]string{"--format=custom", "--snapshot=" + name, "--host=" + s.path("run"), "--port=5432", "--username=" + string(Own),
		"--no-password", "--lock-wait-timeout=60s", "--dbname=" + Database}, "PGPASSFILE="+passfile)
}

// touch makes an empty file that only we may read.
func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sum is the length of a file and its digest, once all of it is on the disk.
func sum(file string) (int64, string, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return 0, "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// asker is a connection or a transaction.
type asker interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func count(ctx context.Context, in asker) (Counts, error) {
	rows, err := in.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	var tables []pgx.Identifier
	var schema, table string
	if _, err = pgx.ForEachRow(rows, []any{&schema, &table}, func() error {
		tables = append(tables, pgx.Identifier{schema, table})
		return nil
	}); err != nil {
		return nil, err
	}
	counts := Counts{}
	for _, t := range tables {
		var n int64
		if err := in.QueryRow(ctx, "SELECT count(*) FROM "+t.Sanitize()).Scan(&n); err != nil {
			return nil, err
		}
		counts[strings.Join(t, ".")] = n
	}
	return counts, nil
}

var databaseName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Restore brings a dump into a database of a primary: one that is empty, or isn't there and is made. It is restored as a whole
// or not at all, and what it holds then is counted. Only a dump whose file is as it was written is taken. Nobody but our own role
// gets into a database that isn't Keycloak's.
func (s Server) Restore(ctx context.Context, file, database string) (Counts, error) {
	var counts Counts
	err := s.alone(ctx, dumpLock, func(s Server) (err error) {
		counts, err = s.restore(ctx, file, database)
		return err
	})
	if err != nil {
		return nil, s.explain(fmt.Errorf("restore %s into database %s of %s: %w", file, database, s.Name, err))
	}
	return counts, nil
}

func (s Server) restore(ctx context.Context, file, database string) (Counts, error) {
	if !databaseName.MatchString(database) {
		return nil, fmt.Errorf("%q is no name for a database", database)
	}
	d, err := ReadDump(file)
	if err != nil {
		return nil, err
	}
	if n, digest, err := sum(file); err != nil {
		return nil, err
	} else if n != d.Bytes || digest != d.SHA256 {
		return nil, fmt.Errorf("it isn't what was dumped: %d bytes of digest %.12s, where there were %d of %.12s", n, digest, d.Bytes, d.SHA256)
	}
	return s.into(ctx, database, func(args []string, env string) error {
		_, err := s.runAs(ctx, ours(), []string{env}, "pg_restore", append(args, file)...)
		return err
	})
}

// RestoreFrom is Restore of a dump that comes from wherever. Whether it is the right one, the caller has to know. Where it
// fails, the database may be left, empty.
func (s Server) RestoreFrom(ctx context.Context, from io.Reader, database string) (counts Counts, err error) {
	err = s.alone(ctx, dumpLock, func(s Server) error {
		counts, err = s.into(ctx, database, func(args []string, env string) error {
			read := &remembering{Reader: from}
			err := s.pipe(ctx, ours(), []string{env}, read, nil, "pg_restore", args...)
			return cmp.Or(read.err, err) // what it was fed by knows better
		})
		return err
	})
	if err != nil {
		return nil, s.explain(fmt.Errorf("restore into database %s of %s: %w", database, s.Name, err))
	}
	return counts, nil
}

// remembering is a reader that knows why it ended early: a program that is fed by it only sees an end.
type remembering struct {
	io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// into has pg_restore fill a database that is empty or isn't there, and counts what is in it then.
func (s Server) into(ctx context.Context, database string, restore func(args []string, env string) error) (Counts, error) {
	if !databaseName.MatchString(database) {
		return nil, fmt.Errorf("%q is no name for a database", database)
	}
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := ensureDatabase(ctx, conn, database); err != nil {
		return nil, err
	}
	into, err := s.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer into.Close(context.WithoutCancel(ctx))
	if before, err := count(ctx, into); err != nil {
		return nil, err
	} else if len(before) > 0 {
		return nil, fmt.Errorf("it isn't empty: it has %d tables", len(before))
	}
	passfile, err := s.passfile()
	if err != nil {
		return nil, err
	}
	if err := restore([]string{"--dbname=" + database, "--single-transaction", "--exit-on-error", "--no-owner", "--role=" + string(Keycloak),
		"--host=" + s.path("run"), "--port=5432", "--username=" + string(Own), "--no-password"}, "PGPASSFILE="+passfile); err != nil {
		return nil, err
	}
	return count(ctx, into)
}

// Drop removes a scratch database of a primary, and whoever is in it. Keycloak's own it doesn't.
func (s Server) Drop(ctx context.Context, database string) error {
	if database == Database || !databaseName.MatchString(database) {
		return fmt.Errorf("drop database %q of %s: it is no scratch database", database, s.Name)
	}
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)"); err != nil {
		return s.explain(fmt.Errorf("drop database %s of %s: %w", database, s.Name, err))
	}
	return nil
}
