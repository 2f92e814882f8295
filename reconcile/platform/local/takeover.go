package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
)

// How long a database may take to end by itself, supervised or not.
const haltTime = 20 * time.Second

// answering is the data plane of a region, as long as it answers: what is done to a region that is lost must fail soon.
func (w *work) answering(ctx context.Context, region string) (*dataplane.Client, dataplane.Seen, error) {
	seen, err := w.lookAt(ctx, region, true)
	if err != nil {
		return nil, seen, fmt.Errorf("region %s doesn't answer: %w", region, err)
	}
	return w.plane(region), seen, nil
}

// others are the other regions that are declared.
func (w *work) others(region string) (names []string) {
	for _, r := range w.want.Regions {
		if r.Name != region {
			names = append(names, r.Name)
		}
	}
	return names
}

// hold lets new connections wait until there is a primary again, in every region that answers.
func (w *work) hold(ctx context.Context) error {
	for _, r := range w.want.Regions {
		plane, _, err := w.answering(ctx, r.Name)
		if err != nil {
			continue // what it leads to is about to be gone, and it finds no other by itself
		}
		if err := plane.Hold(ctx, w.step.Epoch); errors.Is(err, platform.ErrOldEpoch) {
			return err
		}
	}
	return nil
}

// fence keeps a region's database from being started, and stops it. All that it needs are the region's files and processes: it
// works whoever is dead there.
func (w *work) fence(ctx context.Context) error {
	region := w.step.Region
	db, err := w.server(region)
	if err != nil {
		return err
	}
	if err := w.fed(ctx, db); err != nil {
		return err
	}
	if err := w.hold(ctx); err != nil {
		return err
	}
	seen, err := db.Look(ctx)
	if err != nil {
		return err
	}
	if seen.Up && seen.Role == platform.Primary {
		if err := db.Checkpoint(ctx); err != nil && !errors.Is(err, postgres.ErrDown) {
			return err // it makes the stop short
		}
	}
	if err := db.Fence(); err != nil && !errors.Is(err, postgres.ErrRuns) {
		return err
	}
	plane, told, err := w.answering(ctx, region)
	if _, known := told.Told.Nodes[databaseSlot]; err == nil && known {
		if err := plane.Stop(ctx, w.step.Epoch, databaseSlot, haltTime); errors.Is(err, platform.ErrOldEpoch) {
			return err
		}
	}
	if err := db.Halt(ctx, haltTime); err != nil { // whoever has started it, and whoever is dead that should have stopped it
		return err
	}
	if err := db.Fence(); err != nil {
		return err
	}
	return w.give(region)
}

// feedTime is how long a standby that is there has to come back to its primary before that is stopped: PostgreSQL itself tries
// every 5 s.
const feedTime = 12 * time.Second

// fed returns when a primary that is up hands what it writes to a standby, where there is one that could take it: when it is stopped, it
// gives all to whoever is connected then.
func (w *work) fed(ctx context.Context, db postgres.Server) error {
	bound, cancel := context.WithTimeout(ctx, feedTime)
	defer cancel()
	err := until(bound, 200*time.Millisecond, func() (bool, error) {
		seen, err := db.Look(ctx)
		if err != nil || !seen.Up || seen.Role != platform.Primary || slices.ContainsFunc(seen.Standbys, func(r postgres.Replica) bool { return r.Streaming }) {
			return true, err
		}
		for _, r := range w.others(db.Name) {
			other, err := w.server(r)
			if err != nil {
				return false, err
			}
			if seen, err := other.Look(ctx); err != nil || seen.Up && seen.Role == platform.Standby {
				return false, err
			}
		}
		return true, nil
	})
	if bound.Err() != nil && ctx.Err() == nil {
		return nil // whoever promotes the other one sees what it lacks
	}
	return err
}

// promote has a region's database be the primary, and every way lead there. The record, which names the region and the epoch, was on
// the disk before the step began.
func (w *work) promote(ctx context.Context) error {
	region := w.step.Region
	plane, _, err := w.answering(ctx, region)
	if err != nil {
		return err
	}
	looked, err := w.databases(ctx, w.want)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(looked, func(r seenRegion) bool { return r.name != region && r.db.Role == platform.Primary }); i >= 0 {
		return fmt.Errorf("%s may take writes: fence it first", looked[i].name)
	}
	db, err := w.server(region)
	if err != nil {
		return err
	}
	if db.Fenced() {
		if err := db.Unfence(); err != nil {
			return err
		}
	}
	if err := db.Standbys(ctx, w.others(region), false); err != nil {
		return err
	}
	if err := w.runDatabase(ctx, plane, db); err != nil {
		return err
	}
	if _, err := db.Promote(ctx); err != nil {
		return err
	}
	if err := db.Standbys(ctx, w.others(region), false); err != nil { // from now on something can be kept for them
		return err
	}
	if err := w.give(region); err != nil {
		return err
	}
	if err := w.lead(ctx, region, region, w.step.Epoch); err != nil {
		return err
	}
	for _, r := range w.others(region) {
		bound, cancel := context.WithTimeout(ctx, haste)
		err := w.lead(bound, r, region, w.step.Epoch)
		if cancel(); errors.Is(err, platform.ErrOldEpoch) {
			return err // else it is led there when it is back
		}
	}
	return w.callRoll(ctx) // before any node is started
}

// runDatabase has a region's data plane run its database, and returns when that answers.
func (w *work) runDatabase(ctx context.Context, plane *dataplane.Client, db postgres.Server) error {
	command, err := db.Command()
	if err != nil {
		return err
	}
	revision := strconv.Itoa(db.Programs.Major)
	if err := w.write(command, "regions", db.Name, "plane", "nodes", databaseSlot, revision+".json"); err != nil {
		return err
	}
	if err := plane.Run(ctx, w.step.Epoch, databaseSlot, revision); err != nil {
		return err
	}
	return db.AwaitUp(ctx)
}
