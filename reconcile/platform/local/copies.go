package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

// Dump implements platform.Dumps.
func (d *Driver) Dump(ctx context.Context, want schema.Deployment, standby bool, to io.Writer) (platform.Dump, error) {
	s := d.site(want.Name)
	db, role, err := s.source(ctx, want, standby)
	if err != nil {
		return platform.Dump{}, err
	}
	made, err := db.DumpTo(ctx, to)
	if role == platform.Standby && err != nil && ctx.Err() == nil {
		// A standby may also have gone, or have become the primary: the primary can be asked in any case.
		err = fmt.Errorf("%w: %w", platform.ErrCutShort, err)
	}
	return platform.Dump{At: made.At, Region: db.Name, Role: role, Version: made.Version, System: made.System, Counts: made.Counts}, err
}

// source is the database that is dumped: a standby that streams, where one is wanted, or the active region's.
func (s site) source(ctx context.Context, want schema.Deployment, standby bool) (postgres.Server, platform.Role, error) {
	record, err := s.record()
	if err != nil {
		return postgres.Server{}, "", err
	}
	active := cmp.Or(record.Active, want.Active)
	for _, r := range want.Regions {
		if !standby || r.Name == active || !s.based(r.Name) {
			continue
		}
		db, err := s.server(r.Name)
		if err != nil {
			return db, "", err
		}
		if seen, err := db.Look(ctx); err == nil && seen.Up && seen.Role == platform.Standby && seen.Streaming {
			return db, platform.Standby, nil
		}
	}
	if !s.based(active) {
		return postgres.Server{}, "", fmt.Errorf("deployment %s has no database in region %s yet", want.Name, active)
	}
	db, err := s.server(active)
	return db, platform.Primary, err
}

// based tells whether a region has a database of ours.
func (s site) based(region string) bool {
	_, err := postgres.Major(s.path("regions", region, "db"))
	return !errors.Is(err, fs.ErrNotExist)
}

// Try implements platform.Dumps: a server of its own, that ends with us, in a folder that goes.
func (d *Driver) Try(ctx context.Context, want schema.Deployment, from io.Reader) (counts platform.Counts, err error) {
	s := d.site(want.Name)
	if err := passable(s.dir); err != nil {
		return nil, err
	}
	programs, account, err := s.programs(want)
	if err != nil {
		return nil, err
	}
	err = postgres.Scratch(ctx, s.path("scratch"), programs, account, func(db postgres.Server) error {
		counts, err = db.RestoreFrom(ctx, from, "restored")
		return err
	})
	return counts, err
}

// programs are those that the deployment's databases are run with, and as whom.
func (s site) programs(want schema.Deployment) (postgres.Programs, postgres.Account, error) {
	record, err := s.record()
	if err != nil {
		return postgres.Programs{}, postgres.Account{}, err
	}
	db, err := s.server(cmp.Or(record.Active, want.Active))
	return db.Programs, db.Account, err
}

// Fill implements platform.Dumps.
func (d *Driver) Fill(ctx context.Context, want schema.Deployment, database string, from io.Reader) (platform.Counts, error) {
	db, _, err := d.site(want.Name).source(ctx, want, false)
	if err != nil {
		return nil, err
	}
	counts, err := db.RestoreFrom(ctx, from, database)
	if err != nil {
		return nil, errors.Join(err, db.Drop(context.WithoutCancel(ctx), database))
	}
	return counts, nil
}

// Discard implements platform.Dumps.
func (d *Driver) Discard(ctx context.Context, want schema.Deployment, database string) error {
	db, _, err := d.site(want.Name).source(ctx, want, false)
	if err != nil {
		return err
	}
	return db.Drop(ctx, database)
}

// exchange makes a database that was filled the one that nodes use. They are stopped.
func (w *work) exchange(ctx context.Context) error {
	db, err := w.server(w.step.Region)
	if err != nil {
		return err
	}
	a, err := w.credentials()
	if err != nil {
		return err
	}
	aside, err := db.Swap(ctx, w.step.Database, func() error {
		// It may be of another deployment of this name, whose account of ours had another secret.
		ours, err := db.SetClientSecret(ctx, w.step.Database, controllerClient, a.Secret)
		if err == nil && !ours {
			err = fmt.Errorf("database %s holds no account of ours: it isn't of a deployment", w.step.Database)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.Log.Info("a backup is in the place of the database", "deployment", w.name, "was", aside)
	return nil
}
