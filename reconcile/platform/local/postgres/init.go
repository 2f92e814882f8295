package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Init makes a new, empty server; it isn't started. Where one is, it stays as it is, whatever its age. The passwords are kept.
func (s Server) Init(ctx context.Context, p Passwords) error {
	err := s.folders()
	if err == nil {
		err = s.alone(ctx, dataLock, func(s Server) error { return s.init(ctx, p) })
	}
	if err != nil {
		return s.explain(fmt.Errorf("init database %s: %w", s.Name, err))
	}
	return nil
}

func (s Server) init(ctx context.Context, p Passwords) error {
	if err := s.keepPasswords(p); err != nil {
		return err
	}
	if err := s.configureAll(); err != nil {
		return err
	}
	if exists(s.Data()) {
		return s.sameMajor()
	}
	if exists(s.path("data.old")) || exists(s.path(spoilt)) {
		return errors.New("the primary's data was being copied here: let it follow")
	}
	return s.initdb(ctx, p[Own])
}

// initdb makes the data aside, so that data is never half of one.
func (s Server) initdb(ctx context.Context, password string) error {
	fresh, err := s.fresh()
	if err != nil {
		return err
	}
	a, err := s.account()
	if err != nil {
		return err
	}
	file := s.path("conf", "initdb.password")
	if err := replace(file, password, a); err != nil {
		return err
	}
	defer os.Remove(file)
	// C.UTF-8 sorts alike on every machine and in every year; other locales change with the C library, and spoil indexes.
	_, err = s.run(ctx, nil, "initdb", "--pgdata="+fresh, "--username="+string(Own), "--pwfile="+file, "--auth-local=scram-sha-256",
		"--auth-host=reject", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions")
	if err != nil {
		return err
	}
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} { // with these in it, data could be started without ours
		if err := os.Remove(filepath.Join(fresh, name)); err != nil {
			return err
		}
	}
	return s.arrive(fresh)
}

// fresh is an empty folder for data that is on its way. What is left there of an earlier attempt goes.
func (s Server) fresh() (string, error) {
	a, err := s.account()
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(s.path("data.new")); err != nil {
		return "", err
	}
	return s.path("data.new"), directory(s.path("data.new"), 0o700, a)
}

// arrive makes complete data the server's, where it has none.
func (s Server) arrive(fresh string) error {
	if err := os.Rename(fresh, s.Data()); err != nil {
		return err
	}
	return settle(s.Dir)
}

// sameMajor tells whether the programs can read the data.
func (s Server) sameMajor() error {
	major, err := Major(s.Dir)
	if err == nil && major != s.Programs.Major {
		err = fmt.Errorf("the data in %s is PostgreSQL %d's, the programs in %s are of %s: use those of %d, or dump and restore",
			s.Data(), major, s.Programs.Dir, s.Programs.Version, major)
	}
	return err
}

// Major is the version that the data in a server's folder is of: fs.ErrNotExist where there is none.
func Major(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "data", "PG_VERSION"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
