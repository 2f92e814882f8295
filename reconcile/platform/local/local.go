// Package local is the driver of platform local: real nodes, PostgreSQL and a front on one machine, without containers.
// docs/local.md says what stands where and what is guaranteed.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/schema"
)

// Driver runs deployments on this machine. It keeps nothing in memory but the steps that it works on.
type Driver struct {
	Options
	dir      string
	uid, gid *uint32                // who nodes run as, where it isn't we
	program  func() (string, error) // the digest of Binary, as it was when it was asked for first

	life    context.Context // of the steps
	end     context.CancelFunc
	working sync.WaitGroup
}

// Options of Open; the zero value is good.
type Options struct {
	Log    *slog.Logger
	User   string        // who nodes run as; default us, or for root keycloak, or nobody where there is no such user
	Binary string        // the program whose verb dataplane is the data plane; default the one that runs
	Cache  string        // where distributions and builds are; default /var/cache/cloakwork for root, distribution.CacheDir for others
	Source string        // where distributions come from, as distribution.Store has it
	Ready  time.Duration // how long a node may take to get ready, in its cluster; default 5m

	Collector func(name string) (platform.Collector, error) // those that telemetry may go to; nil where there are none
}

// Open is a driver that keeps deployments in a folder, which is made where it is missing.
func Open(dir string, o Options) (*Driver, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready <= 0 {
		o.Ready = 5 * time.Minute
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if o.Cache == "" && os.Getuid() == 0 {
		o.Cache = "/var/cache/cloakwork" // root's own cache is nobody else's, and nodes run as another user
	}
	if err := passable(dir); err != nil {
		return nil, fmt.Errorf("make the folder of deployments: %w", err)
	}
	d := &Driver{Options: o, dir: dir, program: sync.OnceValues(func() (string, error) { return digest(o.Binary) })}
	if d.uid, d.gid, err = runner(o.User); err != nil {
		return nil, fmt.Errorf("who nodes run as: %w", err)
	}
	d.life, d.end = context.WithCancel(context.Background())
	return d, nil
}

// Fits is why a deployment is none for this platform; nil where it is one.
func Fits(d schema.Deployment) error {
	if n := len(d.Regions); n > 2 {
		return fmt.Errorf("platform local serves two regions, and %d are declared", n)
	}
	if len(d.Regions) == 2 && address(d, d.Regions[0].Name) == address(d, d.Regions[1].Name) {
		return fmt.Errorf("regions %s and %s stand at the same address, %s: give each one of its own", d.Regions[0].Name, d.Regions[1].Name, address(d, d.Regions[0].Name))
	}
	return nil
}

// Close gives up the steps that the driver works on; they are lost then, and may be begun again. Nodes go on.
func (d *Driver) Close() error {
	d.end()
	d.working.Wait()
	return nil
}

// Save implements platform.Driver.
func (d *Driver) Save(ctx context.Context, want schema.Deployment, old, new platform.Record) error {
	s, now, leave, err := d.enter(want.Name)
	if err != nil {
		return err
	}
	defer leave()
	switch {
	case now.Epoch != old.Epoch:
		return platform.ErrMoved
	case new.Epoch <= old.Epoch:
		return fmt.Errorf("epoch %d doesn't follow %d", new.Epoch, old.Epoch)
	}
	if err := s.write(new, "record.json"); err != nil {
		return fmt.Errorf("keep the record: %w", err)
	}
	if err := s.forget(new); err != nil {
		d.Log.Warn("forget old releases", "deployment", want.Name, "error", err)
	}
	return nil
}

// Apply implements platform.Driver.
func (d *Driver) Apply(ctx context.Context, want schema.Deployment, changes []drift.Change, epoch int64) error {
	s, record, leave, err := d.enter(want.Name)
	if err != nil {
		return err
	}
	leave()
	if epoch < record.Epoch {
		return platform.ErrOldEpoch
	}
	var failed []error
	for _, c := range changes {
		if err := s.apply(ctx, want, c, epoch); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.Address, err))
		}
	}
	return errors.Join(failed...)
}

// plane is a region's data plane, which may not run.
func (s site) plane(region string) *dataplane.Client {
	return dataplane.NewClient(s.path("regions", region, "plane"))
}
