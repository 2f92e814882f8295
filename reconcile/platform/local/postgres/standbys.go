package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/jackc/pgx/v5"
)

// Standbys says which regions follow this one, or will when it is promoted, and whether commits wait until one of them has them on
// its disk. Where they don't, what was acknowledged may be lost with this region. For others nothing is kept any longer. Where the
// server is up, it is so when this returns, and commits that waited in vain go on.
func (s Server) Standbys(ctx context.Context, regions []string, wait bool) error {
	if err := s.standbys(ctx, regions, wait); err != nil {
		return s.explain(fmt.Errorf("standbys of database %s: %w", s.Name, err))
	}
	return nil
}

func (s Server) standbys(ctx context.Context, regions []string, wait bool) error {
	names := ""
	if wait && len(regions) > 0 {
		names = `FIRST 1 ("` + strings.Join(slices.Sorted(slices.Values(regions)), `", "`) + `")`
	}
	for _, r := range regions {
		if !regionName.MatchString(r) {
			return fmt.Errorf("%q is no region's name", r)
		}
	}
	if err := s.folders(); err != nil {
		return err
	}
	if _, err := s.configure("standbys.conf", conf(Settings{"synchronous_standby_names": names})); err != nil {
		return err
	}
	err := s.letGo(ctx, regions)
	if err == nil {
		err = s.reload(ctx, Settings{"synchronous_standby_names": names})
	}
	if errors.Is(err, ErrDown) {
		return nil
	}
	return err
}

// Awaited are the regions that commits wait for as the files have it, whether or not the server is up.
func (s Server) Awaited() ([]string, error) {
	b, err := os.ReadFile(s.path("conf", "standbys.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("standbys of database %s: %w", s.Name, err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if name, value, ok := strings.Cut(line, " = "); ok && name == "synchronous_standby_names" {
			return syncNames(unquote(value)), nil
		}
	}
	return nil, nil
}

// letGo has a primary that is up keep what those regions still need, and nothing for others. A standby keeps nothing for anybody:
// what it kept would be kept for ever.
func (s Server) letGo(ctx context.Context, regions []string) error {
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	slots := []string{}
	for _, r := range regions {
		slots = append(slots, slotOf(r))
	}
	var recovering bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering); err != nil {
		return err
	}
	if recovering {
		slots = nil
	}
	rows, _ := conn.Query(ctx, "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary") // its error is the rows' too
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, slot := range have {
		if slices.Contains(slots, slot) {
			continue
		}
		// Who follows still is sent away first: a slot in use can't go.
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL", slot); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slot); err != nil {
			return err
		}
	}
	for _, slot := range slots {
		if slices.Contains(have, slot) {
			continue
		}
		if _, err := conn.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", slot); err != nil {
			return err
		}
	}
	return nil
}

// syncNames are the regions in a value of synchronous_standby_names that we wrote, FIRST 1 ("milan").
func syncNames(value string) (names []string) {
	for i, part := range strings.Split(value, `"`) {
		if i%2 == 1 {
			names = append(names, part)
		}
	}
	if value != "" && len(names) == 0 {
		names = []string{value} // by somebody else's hand
	}
	return names
}

// Promote makes a standby that runs the primary, and returns its timeline when it takes writes; of a primary likewise. Who was
// the primary must have been fenced before: nobody here can know.
func (s Server) Promote(ctx context.Context) (timeline int, err error) {
	before, err := s.Look(ctx)
	if err == nil && !before.Up {
		err = fmt.Errorf("%w: %s", ErrDown, before.Why)
	}
	if err != nil {
		return 0, fmt.Errorf("promote database %s: %w", s.Name, err)
	}
	if before.Role == platform.Primary {
		return before.Timeline, nil
	}
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return 0, fmt.Errorf("promote database %s: %w", s.Name, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var promoted bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, 60)").Scan(&promoted); err != nil {
		return 0, s.explain(fmt.Errorf("promote database %s: %w", s.Name, err))
	}
	after, err := s.Look(ctx)
	if err == nil && (!promoted || after.Role != platform.Primary || after.Timeline <= before.Timeline) {
		err = fmt.Errorf("after a minute it is a %s of timeline %d, where it was a %s of %d; %s says why", after.Role, after.Timeline, before.Role, before.Timeline, s.Log())
	}
	if err != nil {
		return 0, fmt.Errorf("promote database %s: %w", s.Name, err)
	}
	return after.Timeline, nil
}

// Checkpoint writes down what is in memory, so that a stop that follows is short.
func (s Server) Checkpoint(ctx context.Context) error {
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return s.explain(fmt.Errorf("checkpoint of database %s: %w", s.Name, err))
	}
	return nil
}
