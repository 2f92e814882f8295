package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
	"github.com/cloakwork/cloakwork/schema"
)

// release is all that the nodes of a revision have in common, kept from Prepare on in releases/REVISION.
type release struct {
	Version  string            `json:"version"`
	Base     string            `json:"base,omitempty"` // the path that Keycloak serves under
	External bool              `json:"external,omitempty"`
	Spec     distribution.Spec `json:"spec"`
}

func (s site) release(revision string) (r release, err error) {
	ok, err := s.read(&r, "releases", revision, "release.json")
	if err == nil && !ok {
		err = fmt.Errorf("revision %s was never prepared", revision)
	}
	return r, err
}

// store is where distributions and builds are.
func (d *Driver) store() distribution.Store {
	return distribution.Store{Dir: d.Cache, Source: d.Source, UID: d.uid, GID: d.gid}
}

// prepare makes the revision ready, tries it aside, and compares it with what runs.
func (w *work) prepare(ctx context.Context) error {
	if err := Fits(w.want); err != nil {
		return err
	}
	for _, dir := range []string{w.dir, w.Cache} {
		if err := room(dir, enough); err != nil {
			return err
		}
	}
	spec, told, err := w.store().Read(ctx, w.want)
	if err != nil {
		return err
	}
	for _, note := range told {
		w.Log.Warn("extension", "deployment", w.name, "note", note)
	}
	declare(&spec, w.want)
	if !managed(w.want) {
		external(&spec, w.want.DB)
	}
	r := release{Version: w.want.Version, Base: strings.TrimSuffix(option(w.want, "http-relative-path"), "/"), External: !managed(w.want), Spec: spec}
	if _, err := w.store().Build(ctx, spec); err != nil {
		return err
	}
	if err := w.store().Try(ctx, spec); err != nil {
		return err
	}
	if err := w.firstDatabase(ctx); err != nil {
		return err
	}
	for _, r := range w.want.Regions {
		plane, err := w.front(ctx, r.Name)
		if err != nil {
			return err
		}
		if err := w.database(ctx, plane, r.Name); err != nil {
			return err
		}
	}
	fit, err := w.fit(ctx, r)
	if err != nil {
		return err
	}
	if err := w.write(r, "releases", w.want.Revision, "release.json"); err != nil {
		return err
	}
	if err := w.write(fit, "fit.json"); err != nil {
		return err
	}
	if err := w.store().Reclaim(ctx, unused); err != nil {
		w.Log.Warn("remove what nobody needs", "error", err)
	}
	return nil
}

// enough is what a disk must have left before a node is touched: for its home, its log, and what the database writes meanwhile.
const enough = 256 << 20

// room tells why the disk of a folder has too little left; a folder that isn't there yet may have it all.
func room(dir string, least uint64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	if left := disk.Bavail * uint64(disk.Bsize); left < least {
		return fmt.Errorf("the disk of %s has %d MiB left, and %d are needed before a node is touched: free some, or move what else is there", dir, left>>20, least>>20)
	}
	return nil
}

// unused is how long a build is kept that no node runs from: who takes a change back finds it there.
const unused = 14 * 24 * time.Hour

// declare adds what a deployment says of the surroundings of its nodes, which is the same for all of them.
func declare(spec *distribution.Spec, want schema.Deployment) {
	usual := func(of map[string]string, name, value string) {
		if _, given := of[name]; !given && value != "" {
			of[name] = value
		}
	}
	usual(spec.Build, "db", "postgres")
	if want.DB.Vendor != "" {
		spec.Build["db"] = want.DB.Vendor
	}
	spec.Build["health-enabled"], spec.Build["metrics-enabled"] = "true", "true" // by which we see how nodes are
	o := spec.Options
	usual(o, "hostname", want.Hostname.Hostname)
	usual(o, "hostname-admin", want.Hostname.Admin)
	if want.Hostname.Strict != nil {
		usual(o, "hostname-strict", strconv.FormatBool(*want.Hostname.Strict))
	} else if want.Hostname.Hostname == "" {
		usual(o, "hostname-strict", "false")
	}
	if want.Hostname.BackchannelDynamic {
		usual(o, "hostname-backchannel-dynamic", "true")
	}
	o["proxy-headers"] = "xforwarded" // as the front sets them, whatever stands before it
	delete(o, "proxy-trusted-addresses")
	for name, size := range map[string]int{"db-pool-initial-size": want.DB.PoolInitialSize, "db-pool-min-size": want.DB.PoolMinSize, "db-pool-max-size": want.DB.PoolMaxSize} {
		if size > 0 {
			o[name] = strconv.Itoa(size)
		}
	}
	usual(o, "db-pool-max-size", strconv.Itoa(usualPool))
}

// fit finds out whether the revision may serve beside those that run.
func (w *work) fit(ctx context.Context, r release) (platform.Fit, error) {
	fit := platform.Fit{Revision: w.want.Revision, Epoch: w.step.Epoch, Verdict: platform.Compatible}
	slots, err := w.slots()
	if err != nil {
		return fit, err
	}
	for _, l := range slots {
		if slices.Contains(fit.From, l.Revision) {
			continue
		}
		fit.From = append(fit.From, l.Revision)
		if l.Revision == w.want.Revision || fit.Verdict != platform.Compatible {
			continue
		}
		old, err := w.release(l.Revision)
		if err != nil {
			return fit, err
		}
		was, err := w.running(ctx, l, old)
		if err != nil {
			return fit, err
		}
		is, err := w.running(ctx, l, r)
		if err != nil {
			return fit, err
		}
		if fit.Verdict, fit.Says, err = w.store().Compatible(ctx, was, is); err != nil {
			return fit, err
		}
	}
	slices.Sort(fit.From)
	return fit, nil
}

// running is a release as a node runs it.
func (w *work) running(ctx context.Context, l slot, r release) (distribution.Running, error) {
	build, err := w.store().Build(ctx, r.Spec)
	if err != nil {
		return distribution.Running{}, err
	}
	node, err := w.node(l, r)
	return distribution.Running{Build: build, Spec: r.Spec, Node: node}, err
}
