package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
)

// streamTime is how long a standby whose data fits may take to stream, before it is copied anew.
const streamTime = time.Minute

// leader is the primary's region, where its database answers.
func (w *work) leader(ctx context.Context) (postgres.Server, error) {
	name, err := w.primary(ctx, w.want)
	if err == nil && name == "" {
		err = errors.New("no region has a database")
	}
	if err != nil {
		return postgres.Server{}, err
	}
	if _, _, err := w.answering(ctx, name); err != nil {
		return postgres.Server{}, err
	}
	return w.server(name)
}

// follow has a region's database be a standby, and the primary wait for it where that is declared.
func (w *work) follow(ctx context.Context) error {
	region := w.step.Region
	primary, err := w.leader(ctx)
	if err != nil {
		return err
	}
	if primary.Name == region {
		return fmt.Errorf("%s is the primary itself", region)
	}
	plane, _, err := w.answering(ctx, region)
	if err != nil {
		return err
	}
	for _, r := range []string{primary.Name, region} {
		if err := w.lead(ctx, r, primary.Name, w.step.Epoch); err != nil {
			return err
		}
	}
	before, err := primary.Look(ctx)
	if err != nil {
		return err
	}
	db, err := w.server(region)
	if err != nil {
		return err
	}
	c, _, err := w.config(region)
	if err != nil {
		return err
	}
	a, err := w.credentials()
	if err != nil {
		return err
	}
	if err := passable(w.path("regions", region)); err != nil {
		return err
	}
	if _, err := db.Configure(ctx, settings(w.want)); err != nil { // it must have room for as many as its primary
		return err
	}
	seen, err := db.Look(ctx)
	if err != nil {
		return err
	}
	standby := seen.Up && seen.Role == platform.Standby
	if !standby {
		if err := w.rest(ctx, plane, db); err != nil {
			return err
		}
	}
	how, err := db.Follow(ctx, c.Listen.Writer, a.Database)
	if errors.Is(err, postgres.ErrRuns) && standby {
		if err = w.rest(ctx, plane, db); err == nil {
			how, err = db.Follow(ctx, c.Listen.Writer, a.Database)
		}
	}
	if err != nil {
		return err
	}
	if err := w.runDatabase(ctx, plane, db); err != nil {
		return err
	}
	if how == postgres.Follows && w.streams(ctx, db, before.LSN, streamTime) != nil { // it fits, and yet it doesn't
		if err := w.rest(ctx, plane, db); err != nil {
			return err
		}
		if err := db.Copy(ctx, c.Listen.Writer, a.Database); err != nil {
			return err
		}
		if err := w.runDatabase(ctx, plane, db); err != nil {
			return err
		}
	}
	if err := w.streams(ctx, db, before.LSN, w.Ready); err != nil {
		return err
	}
	if err := w.awaited(ctx, primary, db); err != nil {
		return err
	}
	w.Log.Info("follows", "deployment", w.name, "region", region, "primary", primary.Name, "how", string(how))
	return w.give(region)
}

// rest stops a region's database, if its data plane knows of one, so that its data can be changed.
func (w *work) rest(ctx context.Context, plane *dataplane.Client, db postgres.Server) error {
	known, err := knows(ctx, plane, databaseSlot)
	if err == nil && known {
		err = plane.Stop(ctx, w.step.Epoch, databaseSlot, haltTime)
	}
	if err != nil {
		return err
	}
	return db.Halt(ctx, haltTime)
}

// streams returns when a standby streams and has all up to somewhere.
func (w *work) streams(ctx context.Context, db postgres.Server, upTo uint64, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	why := ""
	err := until(ctx, 100*time.Millisecond, func() (bool, error) {
		seen, err := db.Look(ctx)
		why = seen.Why
		return err == nil && seen.Streaming && seen.LSN >= upTo, nil
	})
	if err != nil {
		return fmt.Errorf("%s doesn't stream: %s: %w", db.Name, why, err)
	}
	return nil
}

// awaited has the primary wait for a standby that streams, where that is declared. What it has acknowledged by then the standby has too.
func (w *work) awaited(ctx context.Context, primary, db postgres.Server) error {
	waits := w.want.DB.Replication == "synchronous"
	if err := primary.Standbys(ctx, w.others(primary.Name), waits); err != nil || !waits {
		return err
	}
	var written uint64
	err := until(ctx, 100*time.Millisecond, func() (bool, error) {
		seen, err := primary.Look(ctx)
		if err != nil {
			return false, err
		}
		written = seen.LSN
		return slices.ContainsFunc(seen.Standbys, func(r postgres.Replica) bool { return r.Name == db.Name && r.Streaming && r.Synchronous }), nil
	})
	if err != nil {
		return fmt.Errorf("%s waits for %s: %w", primary.Name, db.Name, err)
	}
	return w.streams(ctx, db, written, w.Ready)
}

// degrade has the primary wait for no standby.
func (w *work) degrade(ctx context.Context) error {
	primary, err := w.leader(ctx)
	if err != nil {
		return err
	}
	return primary.Standbys(ctx, w.others(primary.Name), false)
}
