package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

// seenRegion is what a look finds of a region. A data plane that doesn't answer is as it was told last; what its database is
// stands in files, which can be read whoever is dead.
type seenRegion struct {
	dataplane.Seen
	name    string
	placed  bool // somebody has said how its data plane is to be
	answers bool
	db      postgres.Seen // its zero value where there is none
	awaited []string      // the standbys that it waits for, or did when it was last up
}

// look looks at every region there is, by name, at all of them at once: one that is dead holds up no other.
func (s site) look(ctx context.Context, want schema.Deployment) ([]seenRegion, error) {
	entries, err := os.ReadDir(s.path("regions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	regions, errs := make([]seenRegion, len(entries)), make([]error, 2*len(entries))
	var both sync.WaitGroup
	for i, e := range entries {
		r := &regions[i]
		r.name = e.Name()
		both.Go(func() { errs[2*i] = s.lookAtPlane(ctx, r, len(want.Regions) > 1) })
		both.Go(func() { errs[2*i+1] = s.lookAtDatabase(ctx, want, r) })
	}
	both.Wait()
	return regions, errors.Join(errs...)
}

func (s site) lookAtPlane(ctx context.Context, r *seenRegion, hasty bool) (err error) {
	if _, r.placed, err = s.config(r.name); err != nil {
		return err
	}
	if r.placed {
		seen, err := s.lookAt(ctx, r.name, hasty)
		if err == nil {
			r.Seen, r.answers = seen, true
			return nil
		}
	}
	_, err = s.read(&r.Told, "regions", r.name, "plane", "state.json")
	return err
}

// How long a data plane may take to answer: it is back within two seconds, whatever happens to it, but where another region
// may have to take over. Where its keeper is dead too nobody listens, and nobody will.
const (
	patience = 3 * time.Second
	haste    = 1500 * time.Millisecond
	deaf     = 2 // how often nobody listens until that is believed
)

// lookAt asks a data plane that should be there, until it answers.
func (s site) lookAt(ctx context.Context, region string, hasty bool) (seen dataplane.Seen, err error) {
	bound := patience
	if hasty {
		bound = haste
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	plane, alone := s.plane(region), 0
	var last error
	err = until(ctx, 100*time.Millisecond, func() (bool, error) {
		if seen, last = plane.Look(ctx); last == nil {
			return true, nil
		}
		if errors.Is(last, fs.ErrNotExist) || errors.Is(last, syscall.ECONNREFUSED) {
			alone++
		}
		if hasty && alone > deaf {
			return false, last
		}
		return false, nil
	})
	return seen, err
}

func (s site) lookAtDatabase(ctx context.Context, want schema.Deployment, r *seenRegion) error {
	if _, err := os.Stat(s.path("regions", r.name, "db")); err != nil || !managed(want) {
		return nil
	}
	db, err := s.server(r.name)
	if err != nil {
		return err
	}
	if r.db, err = db.Look(ctx); err != nil {
		return err
	}
	if r.awaited = r.db.Synchronous; !r.db.Up {
		r.awaited, err = db.Awaited()
	}
	return err
}

// down tells whether a region doesn't do what it is there for: its data plane doesn't answer, or its primary, which should run.
func (r seenRegion) down() bool {
	return r.placed && !r.answers || r.db.Role == platform.Primary && !r.db.Up && r.Told.Nodes[databaseSlot].Run
}

// lost is since when a region is down, as whoever saw it first has written down; zero where it isn't.
func (s site) lost(r seenRegion) (since time.Time, err error) {
	if !r.down() {
		err := os.Remove(s.path("regions", r.name, "lost.json"))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return time.Time{}, err
	}
	known, err := s.read(&since, "regions", r.name, "lost.json")
	if err != nil {
		return since, err
	}
	if told, err := os.Stat(s.path("regions", r.name, "plane", "state.json")); known && (err != nil || told.ModTime().Before(since)) {
		return since, nil // else it has been there meanwhile, while nobody looked
	}
	since = now()
	return since, s.write(since, "regions", r.name, "lost.json")
}

// given is the epoch of the step that gave a region its role.
func (s site) given(region string) (epoch int64, err error) {
	_, err = s.read(&epoch, "regions", region, "role.json")
	return epoch, err
}

func (w *work) give(region string) error {
	return w.write(w.step.Epoch, "regions", region, "role.json")
}

// regionsOf is what a look at regions says of them.
func (s site) regionsOf(want schema.Deployment, looked []seenRegion) (regions []platform.Region, err error) {
	leader := primaryOf(looked)
	for _, l := range looked {
		r := platform.Region{Name: l.name, View: want.Regions[0].Name, Gated: l.Told.Gated,
			Role: l.db.Role, Streaming: l.db.Streaming, Lag: l.db.Lag, LSN: l.db.LSN, Why: l.db.Why}
		if r.Why == "" && len(l.db.Restart) > 0 {
			r.Why = "its next start brings " + strings.Join(l.db.Restart, ", ")
		}
		if len(looked) > 1 {
			if r.Lost, err = s.lost(l); err != nil {
				return nil, err
			}
		}
		if r.Epoch, err = s.given(l.name); err != nil {
			return nil, err
		}
		switch {
		case r.Role == platform.Fenced:
			r.LSN++ // it is where the last record begins
		case r.Role == platform.Standby && leader != nil:
			r.Synchronous = slices.Contains(leader.awaited, r.Name)
			if leader.db.Up {
				r.Lag = max(0, int64(leader.db.LSN)-int64(r.LSN))
			}
		}
		regions = append(regions, r)
	}
	return regions, nil
}

// primaryOf is the one region whose database is a primary; nil where there isn't exactly one.
func primaryOf(looked []seenRegion) (leader *seenRegion) {
	for i := range looked {
		if looked[i].db.Role != platform.Primary {
			continue
		}
		if leader != nil {
			return nil
		}
		leader = &looked[i]
	}
	return leader
}

// primary is the region whose database is the primary, as all that are there are seen now; "" where none has a database yet.
func (s site) primary(ctx context.Context, want schema.Deployment) (string, error) {
	looked, err := s.databases(ctx, want)
	if err != nil {
		return "", err
	}
	if leader := primaryOf(looked); leader != nil {
		return leader.name, nil
	}
	if !slices.ContainsFunc(looked, func(r seenRegion) bool { return r.db.Role != "" }) {
		return "", nil
	}
	return "", fmt.Errorf("no region's database is the one primary: %s", roles(looked))
}

func roles(looked []seenRegion) string {
	var words []string
	for _, r := range looked {
		words = append(words, r.name+" "+cmp.Or(string(r.db.Role), "nothing"))
	}
	return strings.Join(words, ", ")
}

// databases looks at the databases alone.
func (s site) databases(ctx context.Context, want schema.Deployment) (looked []seenRegion, err error) {
	entries, err := os.ReadDir(s.path("regions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		r := seenRegion{name: e.Name()}
		if err := s.lookAtDatabase(ctx, want, &r); err != nil {
			return nil, err
		}
		looked = append(looked, r)
	}
	return looked, nil
}

// lead has the writer endpoint of a region lead to the primary of a region: the one that was seen.
func (s site) lead(ctx context.Context, region, primary string, epoch int64) error {
	plane := s.plane(region)
	seen, err := plane.Look(ctx)
	if err != nil {
		return err
	}
	if way := seen.Told.Writer; way.Mode == dataplane.Routed && way.Primary == primary {
		return nil
	}
	_, err = plane.Route(ctx, epoch, []string{primary})
	return err
}

// astray tells whether the way from a region to the primary leads elsewhere, while there is one and nobody is about to change that.
func astray(r seenRegion, looked []seenRegion, seen platform.Seen) bool {
	leader := primaryOf(looked)
	return leader != nil && seen.Record.Toward == "" && seen.Move.State != platform.Doing && r.answers &&
		(r.Told.Writer.Mode != dataplane.Routed || r.Told.Writer.Primary != leader.name)
}

// left tells whether a region that is lost is left as it is for the moment, so that another one can take over: it comes back
// when that has happened, or nobody could.
func left(want schema.Deployment, record platform.Record, r platform.Region) bool {
	if r.Lost.IsZero() || len(want.Regions) < 2 {
		return false
	}
	takesOver := want.Failover.Mode == "automatic" && time.Since(r.Lost) < time.Duration(want.Failover.After)+time.Minute
	return record.Toward != "" || record.Active == r.Name && takesOver
}
