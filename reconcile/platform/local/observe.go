package local

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/schema"
)

// Observe implements platform.Driver. The move is read first, so that it is never newer than what else is seen.
func (d *Driver) Observe(ctx context.Context, want schema.Deployment) (seen platform.Seen, err error) {
	s := d.site(want.Name)
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return seen, nil
	}
	if seen.Move, err = s.move(); err != nil {
		return platform.Seen{}, err
	}
	if seen.Record, err = s.record(); err != nil {
		return platform.Seen{}, err
	}
	if _, err = s.read(&seen.Fit, "fit.json"); err != nil {
		return platform.Seen{}, err
	}
	if seen.Dumped, err = s.dumped(); err != nil {
		return platform.Seen{}, err
	}
	planes, err := s.seeRegions(ctx, want, &seen)
	if err != nil {
		return platform.Seen{}, err
	}
	if seen.Nodes, err = s.nodes(ctx, planes); err != nil {
		return platform.Seen{}, err
	}
	seen.Base, err = s.base()
	return seen, err
}

// seenPlane is what is seen of a region's data plane: one that doesn't answer is as it was told last.
type seenPlane struct {
	dataplane.Seen
	answers bool
}

// seeRegions looks at every region there is, with its front and its database.
func (s site) seeRegions(ctx context.Context, want schema.Deployment, seen *platform.Seen) (map[string]seenPlane, error) {
	entries, err := os.ReadDir(s.path("regions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	planes := map[string]seenPlane{}
	for _, e := range entries {
		region := e.Name()
		var p seenPlane
		p.Seen, err = s.lookAt(ctx, region)
		p.answers = err == nil
		if err != nil {
			if _, err := s.read(&p.Told, "regions", region, "plane", "state.json"); err != nil {
				return nil, err
			}
		}
		planes[region] = p
		var front *dataplane.Seen
		if p.answers {
			front = &p.Seen
		}
		if err := s.have(ctx, want, region, front, seen); err != nil {
			return nil, err
		}
		r := platform.Region{Name: region, View: want.Regions[0].Name, Gated: p.Told.Gated}
		if err := s.seeDatabase(ctx, want, &r); err != nil {
			return nil, err
		}
		seen.Regions = append(seen.Regions, r)
	}
	return planes, nil
}

// have adds what a region holds of what needs no order.
func (s site) have(ctx context.Context, want schema.Deployment, region string, seen *dataplane.Seen, into *platform.Seen) error {
	if into.Have == nil {
		into.Have = schema.State{}
	}
	f, ok, err := s.haveFront(region, seen)
	if err != nil {
		return err
	}
	if _, declared := want.Region(region); !declared {
		slots, err := s.slots()
		if err != nil || slices.ContainsFunc(slots, func(l slot) bool { return l.Region == region }) {
			return err // it goes with its last node
		}
	}
	if ok {
		a := frontAddress(region)
		fields, err := f.fields()
		if err != nil {
			return err
		}
		into.Have[a] = schema.Object{Address: a, Fields: fields}
	}
	return s.haveDatabase(ctx, want, region, into.Have)
}

// patience is how long a data plane may take to answer: it is back within two seconds, whatever happens to it.
const patience = 3 * time.Second

// lookAt asks a data plane that should be there, until it answers.
func (s site) lookAt(ctx context.Context, region string) (seen dataplane.Seen, err error) {
	if _, ok, err := s.config(region); err != nil || !ok {
		return seen, errors.Join(err, fs.ErrNotExist)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = until(ctx, 100*time.Millisecond, func() (bool, error) {
		seen, err = s.plane(region).Look(ctx)
		return err == nil, nil
	})
	return seen, err
}

// until asks again and again. An error ends it.
func until(ctx context.Context, pause time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nodes are the nodes of all regions.
func (s site) nodes(ctx context.Context, planes map[string]seenPlane) ([]platform.Node, error) {
	slots, err := s.slots()
	if err != nil {
		return nil, err
	}
	nodes := make([]platform.Node, len(slots))
	var asked sync.WaitGroup
	for i, l := range slots {
		n := platform.Node{Name: l.Name, Region: l.Region, Zone: l.Zone, Revision: l.Revision, Stopped: l.Stopped}
		if r, err := s.release(l.Revision); err == nil {
			n.Version = r.Version
		}
		p := planes[l.Region]
		told, known := p.Told.Nodes[l.Name]
		n.In = known && told.In
		for _, seen := range p.Nodes {
			if seen.Name == l.Name {
				n.Ready, n.Draining = seen.Ready, !seen.In && seen.InFlight > 0
				n.Why = say(seen)
			}
		}
		nodes[i] = n
		command, ok, err := s.command(l)
		if err != nil {
			return nil, err
		}
		if !ok || l.Stopped {
			continue
		}
		asked.Go(func() {
			if !p.answers {
				nodes[i].Ready = healthy(ctx, command.Health)
			}
			if nodes[i].Ready {
				nodes[i].View, nodes[i].Why = view(ctx, command.Health), ""
			}
		})
	}
	asked.Wait()
	return nodes, nil
}

// say is why a node isn't ready.
func say(n dataplane.NodeSeen) string {
	switch {
	case !n.Run || n.Ready:
		return ""
	case n.Why != "" && n.Restarts > 0:
		return n.Why + ", restarted " + times(n.Restarts)
	case n.Why != "":
		return n.Why
	case n.Alive && n.Restarts > 0:
		return "starts, after it died " + times(n.Restarts)
	case n.Alive:
		return "runs and isn't ready"
	}
	return "doesn't run"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

// command is how a node is run, as was last written.
func (s site) command(l slot) (c dataplane.Command, ok bool, err error) {
	ok, err = s.read(&c, "regions", l.Region, "plane", "nodes", l.Name, l.Revision+".json")
	return c, ok, err
}

// asker asks nodes how they are.
var asker = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 10 * time.Second}}

func healthy(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	answer, err := asker.Do(r)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// view is how many nodes a node's cluster has, as it says itself among its metrics; 0 where it doesn't.
func view(ctx context.Context, health string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(health, healthPath)+"/metrics", nil)
	if err != nil {
		return 0
	}
	answer, err := asker.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "vendor_cluster_size{"); ok {
			size, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			if err != nil {
				return 0
			}
			return int(size)
		}
	}
	return 0
}
