package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
)

// stopTime is how long a node may take to end by itself.
const stopTime = 40 * time.Second

// front is the data plane of the step's region, at work.
func (w *work) front(ctx context.Context, region string) (*dataplane.Client, error) {
	return w.standing(ctx, w.want, region, w.step.Epoch)
}

func (w *work) drain(ctx context.Context) error {
	plane, err := w.front(ctx, w.step.Region)
	if err != nil {
		return err
	}
	if known, err := knows(ctx, plane, w.step.Node); err != nil || !known {
		return err
	}
	_, err = plane.Drain(ctx, w.step.Epoch, w.step.Node)
	return err
}

// knows tells whether a data plane has heard of a node.
func knows(ctx context.Context, plane *dataplane.Client, node string) (bool, error) {
	seen, err := plane.Look(ctx)
	_, ok := seen.Told.Nodes[node]
	return ok, err
}

func (w *work) admit(ctx context.Context) error {
	plane, err := w.front(ctx, w.step.Region)
	if err != nil {
		return err
	}
	return plane.Admit(ctx, w.step.Epoch, w.step.Node)
}

func (w *work) gate(ctx context.Context) error {
	plane, _, err := w.answering(ctx, w.step.Region)
	if err != nil {
		return err
	}
	_, err = plane.Gate(ctx, w.step.Epoch)
	return err
}

func (w *work) open(ctx context.Context) error {
	plane, _, err := w.answering(ctx, w.step.Region)
	if err != nil {
		return err
	}
	if managed(w.want) {
		primary, err := w.primary(ctx, w.want)
		if err != nil {
			return err
		}
		if primary != "" {
			err = w.lead(ctx, w.step.Region, primary, w.step.Epoch)
		}
		if err != nil {
			return err
		}
	}
	return plane.Open(ctx, w.step.Epoch)
}

// stop stops the nodes of a region, all at once: nobody is served meanwhile.
func (w *work) stop(ctx context.Context) error {
	plane, err := w.front(ctx, w.step.Region)
	if err != nil {
		return err
	}
	slots, err := w.slots()
	if err != nil {
		return err
	}
	var group errgroup.Group
	for _, l := range slots {
		if l.Region == w.step.Region {
			l.Stopped = true
			group.Go(func() error {
				return errors.Join(w.keep(l), halt(ctx, plane, w.step.Epoch, l.Name))
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return w.together(ctx, "")
}

// halt ends a node's process, if there is one.
func halt(ctx context.Context, plane *dataplane.Client, epoch int64, node string) error {
	if known, err := knows(ctx, plane, node); err != nil || !known {
		return err
	}
	return plane.Stop(ctx, epoch, node, stopTime)
}

func (w *work) add(ctx context.Context) error {
	l, there, err := w.slot(w.step.Node)
	if err != nil {
		return err
	}
	if !there {
		l = slot{Name: w.step.Node, Region: w.step.Region, Zone: w.zone(), Revision: w.step.Revision}
		if err := w.keep(l); err != nil {
			return err
		}
	}
	return w.swap(ctx, l, w.step.Revision)
}

// zone is that of the region's zones which the new node is in, one after the other.
func (w *work) zone() string {
	r, _ := w.want.Region(w.step.Region)
	for i, name := range w.want.Slots(w.step.Region) {
		if name == w.step.Node && len(r.Zones) > 0 {
			return r.Zones[i%len(r.Zones)]
		}
	}
	return ""
}

func (w *work) replace(ctx context.Context) error {
	l, there, err := w.slot(w.step.Node)
	if err == nil && !there {
		err = fmt.Errorf("there is no node %s", w.step.Node)
	}
	if err != nil {
		return err
	}
	return w.swap(ctx, l, w.step.Revision)
}

func (w *work) start(ctx context.Context) error {
	l, there, err := w.slot(w.step.Node)
	if err == nil && !there {
		err = fmt.Errorf("there is no node %s", w.step.Node)
	}
	if err != nil {
		return err
	}
	l.Stopped = false
	return w.swap(ctx, l, l.Revision)
}

// swap has a node run a revision, unless it is stopped, and returns when it is ready in its cluster. A process that
// was started for this very step, or runs that revision and is ready, is left alone.
func (w *work) swap(ctx context.Context, l slot, revision string) error {
	plane, err := w.front(ctx, l.Region)
	if err != nil {
		return err
	}
	seen, err := plane.Look(ctx)
	if err != nil {
		return err
	}
	told := seen.Told.Nodes[l.Name]
	runs := told.Run && told.Revision == revision && l.Revision == revision
	if told.In {
		if _, err := plane.Drain(ctx, w.step.Epoch, l.Name); err != nil {
			return err
		}
	}
	if !runs || l.Began != w.step.Epoch && !isReady(seen, l.Name) {
		if err := halt(ctx, plane, w.step.Epoch, l.Name); err != nil {
			return err
		}
		l.Revision = revision
		if !l.Stopped {
			l.Began = w.step.Epoch
		}
		if err := w.keep(l); err != nil || l.Stopped {
			return err
		}
		if err := w.launch(ctx, plane, &l); err != nil {
			return err
		}
	}
	if err := w.await(ctx, plane, l); err != nil {
		return err
	}
	if err := w.account(ctx, l); err != nil {
		return err
	}
	return w.together(ctx, l.Name)
}

func isReady(seen dataplane.Seen, node string) bool {
	for _, n := range seen.Nodes {
		if n.Name == node {
			return n.Ready
		}
	}
	return false
}

// deaths is how often a process may die before it is ready: it may meet another one that is about to end.
const deaths = 2

// unready is a node that doesn't get ready.
type unready struct {
	node, why string
}

func (e *unready) Error() string { return e.node + " " + e.why }

// await returns when a node is ready.
func (w *work) await(ctx context.Context, plane *dataplane.Client, l slot) error {
	ctx, cancel := context.WithTimeout(ctx, w.Ready)
	defer cancel()
	restarts, why := -1, "never ran"
	err := until(ctx, 200*time.Millisecond, func() (bool, error) {
		seen, err := plane.Look(ctx)
		if err != nil {
			return false, nil // it is back in a moment
		}
		for _, n := range seen.Nodes {
			if n.Name != l.Name {
				continue
			}
			if restarts < 0 || n.Restarts < restarts { // another data plane counts anew
				restarts = n.Restarts
			}
			if n.Restarts-restarts >= deaths {
				return false, &unready{l.Name, "dies before it is ready: " + n.Why}
			}
			why = say(n)
			return n.Ready, nil
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return &unready{l.Name, fmt.Sprintf("isn't ready after %s: it %s", w.Ready, why)}
	}
	return err
}

// calm is how long a node of the same region that should serve may be unready without being left out of account: when its
// cluster changes it may be so for a while, and a node that sees only itself is no cluster then.
const calm = time.Minute

// together returns when every node that is ready sees all that are.
func (w *work) together(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, w.Ready)
	defer cancel()
	began, apart := time.Now(), ""
	err := until(ctx, 500*time.Millisecond, func() (bool, error) {
		seen, err := w.Observe(ctx, w.want)
		if err != nil {
			return false, nil
		}
		apart = ""
		for _, n := range seen.Nodes {
			switch size := seen.Cluster(n.Region); {
			case n.Name == node && !n.Ready:
				apart = n.Name + " " + n.Why
			case n.Region == w.step.Region && n.In && !n.Ready && !n.Stopped && time.Since(began) < calm:
				apart = n.Name + " " + n.Why
			case n.Ready && n.View != size:
				apart = fmt.Sprintf("%s sees %d of %d nodes", n.Name, n.View, size)
			}
		}
		return apart == "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) && apart != "" {
		return &unready{node, "doesn't find its cluster: " + apart}
	}
	return err
}

func (w *work) remove(ctx context.Context) error {
	l, there, err := w.slot(w.step.Node)
	if err != nil || !there {
		return err
	}
	plane, err := w.front(ctx, l.Region)
	if err != nil {
		return err
	}
	if err := halt(ctx, plane, w.step.Epoch, l.Name); err != nil {
		return err
	}
	if err := plane.Remove(ctx, w.step.Epoch, l.Name); err != nil {
		return err
	}
	if err := w.callRoll(ctx); err != nil {
		return err
	}
	for _, dir := range []string{w.home(l), w.path("regions", l.Region, "plane", "nodes", l.Name)} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.Remove(w.path("slots", l.Name+".json")); err != nil {
		return err
	}
	return w.together(ctx, "")
}
