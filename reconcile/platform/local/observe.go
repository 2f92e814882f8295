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
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
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
	if _, err = s.read(&seen.Past, "past.json"); err != nil {
		return platform.Seen{}, err
	}
	regions, err := s.seeRegions(ctx, want, &seen)
	if err != nil {
		return platform.Seen{}, err
	}
	if seen.Nodes, err = s.nodes(ctx, regions); err != nil {
		return platform.Seen{}, err
	}
	return seen, nil
}

// seeRegions looks at every region there is, with its front and its database.
func (s site) seeRegions(ctx context.Context, want schema.Deployment, seen *platform.Seen) (map[string]seenRegion, error) {
	looked, err := s.look(ctx, want)
	if err != nil {
		return nil, err
	}
	if seen.Regions, err = s.regionsOf(want, looked); err != nil {
		return nil, err
	}
	if seen.Base, err = s.base(); err != nil {
		return nil, err
	}
	regions := map[string]seenRegion{}
	for i, r := range looked {
		regions[r.name] = r
		if seen.Have == nil {
			seen.Have = schema.State{}
		}
		if err := s.haveWatcher(r, seen.Have); err != nil {
			return nil, err
		}
		if err := s.haveTelemetry(r, seen); err != nil {
			return nil, err
		}
		if left(want, seen.Record, seen.Regions[i]) {
			for _, a := range []schema.Address{frontAddress(r.name), postgres.Object(r.name, nil).Address} {
				if o, applied := seen.Base[a]; applied {
					seen.Have[a] = o
				}
			}
			continue
		}
		if err := s.have(ctx, want, r, astray(r, looked, *seen), seen); err != nil {
			return nil, err
		}
	}
	return regions, nil
}

// have adds what a region holds of what needs no order.
func (s site) have(ctx context.Context, want schema.Deployment, seen seenRegion, astray bool, into *platform.Seen) error {
	region := seen.name
	f, ok, err := s.haveFront(want, seen)
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
		if f.Way = open; astray {
			f.Way = "closed"
		}
		a := frontAddress(region)
		fields, err := f.fields()
		if err != nil {
			return err
		}
		into.Have[a] = schema.Object{Address: a, Fields: fields}
	}
	return s.haveDatabase(ctx, want, region, into.Have)
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
func (s site) nodes(ctx context.Context, planes map[string]seenRegion) ([]platform.Node, error) {
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
				n.Why, n.Since = say(seen), seen.Since
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
