// Package platformtest holds a driver to what reconcile/platform says of drivers. Test runs the whole suite; Memory is a
// platform in memory, with faults, that passes it and serves as the world for tests of what stands above drivers.
package platformtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// Subject is a platform under test, on which nothing of the deployment is yet.
type Subject struct {
	Open func() Opened // starts a process that drives the platform

	Want   schema.Deployment // to begin with: two nodes or more, in one region or two
	Next   schema.Deployment // the same, at a revision that may be rolled
	Broken schema.Deployment // the same, at a revision whose nodes never get ready
	Edited schema.Deployment // Want, but that Desired says something else: some object more, less or changed

	Kill func(node string) error // ends the node's process, as a crash would

	Pause time.Duration // between two looks
	Looks int           // how many looks anything may take
}

// Opened is a driver in a process of its own.
type Opened struct {
	platform.Driver
	Crash func() // ends the process at once, in the midst of whatever it does
}

// Test runs every case of the suite but those of regions, each on a subject of its own.
func Test(t *testing.T, start func(t *testing.T) Subject) { run(t, Cases, start) }

// TestRegions runs the cases of regions, for a driver that moves databases between two of them.
func TestRegions(t *testing.T, start func(t *testing.T) Subject) { run(t, RegionCases, start) }

func run(t *testing.T, cases []Case, start func(t *testing.T) Subject) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(t.Context(), start(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Case is one thing that a driver is held to.
type Case struct {
	Name string
	Run  func(context.Context, Subject) error
}

// Cases are those of every driver; those that need no node come first.
var Cases = []Case{
	{"what was never seen is empty", neverSeen},
	{"a record is saved where it still is the old one", saves},
	{"of two that save at once one wins", oneWinner},
	{"a record says the same after it was kept", keepsTheRecord},
	{"a step of another epoch is refused", refusesEpochs},
	{"what is desired is applied, once, and seen", desired},
	{"every verb does what it means, and nothing else, however often it is begun", verbs},
	{"no step is begun while another is under way", busy},
	{"a revision that was never prepared is refused", unknownRevision},
	{"a node runs again the revision that it ran before", back},
	{"a step that can't come to its end fails, and says why", broken},
	{"a dead node comes back by itself", dead},
	{"a crash in the midst of each step", crashes},
	{"a crash before each step", crashesBefore},
	{"answers that get lost, calls that are throttled, looks that are old", flaky},
	{"two controllers at once", two},
}

// RegionCases are those of a driver whose subject declares two regions, with a database of the platform's own.
var RegionCases = []Case{
	{"every verb of a region does what it means", regions},
	{"the active region moves, and back, with a crash in the midst of each step", switchover},
}

// session is a process and what it is to bring about.
type session struct {
	Subject
	Opened
	ctx    context.Context
	want   schema.Deployment
	beside func() error // what is looked at beside each look of a controller; nil: nothing
}

func (s Subject) session(ctx context.Context) *session {
	return &session{Subject: s, Opened: s.Open(), ctx: ctx, want: s.Want}
}

// wait looks until the condition holds.
func (s *session) wait(what string, until func(platform.Seen) bool) (platform.Seen, error) {
	var seen platform.Seen
	var err error
	for range s.Looks {
		if seen, err = s.Observe(s.ctx, s.want); err == nil && until(seen) {
			return seen, nil
		}
		if s.ctx.Err() != nil {
			break
		}
		time.Sleep(s.Pause)
	}
	return seen, errors.Join(fmt.Errorf("waited in vain for %s: move %+v, nodes %+v", what, seen.Move, seen.Nodes), err, s.ctx.Err())
}

// step saves an epoch for a step, begins it, and waits for its end.
func (s *session) step(step drift.Step) (platform.Seen, error) {
	began, err := s.begin(step)
	if err != nil {
		return platform.Seen{}, err
	}
	seen, err := s.end(began)
	if err == nil && seen.Move.State != platform.Done {
		err = fmt.Errorf("%s: %s: %s", step, seen.Move.State, seen.Move.Why)
	}
	return seen, err
}

func (s *session) begin(step drift.Step) (drift.Step, error) {
	seen, err := s.Observe(s.ctx, s.want)
	if err != nil {
		return step, err
	}
	record := seen.Record
	record.Epoch++
	step.Epoch = record.Epoch
	record.Step = step
	if step.Verb == drift.Promote {
		record.Active = step.Region
	}
	if record.To.Revision != s.want.Revision {
		record.Good, record.To = record.To, platform.ReleaseOf(s.want)
	}
	if err := s.Save(s.ctx, s.want, seen.Record, record); err != nil {
		return step, fmt.Errorf("save before %s: %w", step, err)
	}
	if err := s.Do(s.ctx, s.want, step); err != nil {
		return step, fmt.Errorf("begin %s: %w", step, err)
	}
	return step, nil
}

func (s *session) end(step drift.Step) (platform.Seen, error) {
	return s.wait("the end of "+step.String(), func(seen platform.Seen) bool {
		return seen.Move.Step == step && seen.Move.State != platform.Doing
	})
}

// settle does as a controller does until the deployment is as wanted, and calls before and after each step that it begins.
func (s *session) settle(before, after func(drift.Step)) error {
	says := ""
	for range s.Looks {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		d, settled, err := s.look(before, after)
		if err != nil {
			says = err.Error()
		} else if says = d.Says; settled {
			return nil
		} else if d.Verdict == drift.Errored {
			return errors.New(says)
		}
		time.Sleep(s.Pause)
	}
	return fmt.Errorf("never settled; at last: %s", says)
}

// look is one look of a controller, and what it does then.
func (s *session) look(before, after func(drift.Step)) (rollout.Decision, bool, error) {
	if s.beside != nil {
		if err := s.beside(); err != nil {
			return rollout.Decision{Verdict: drift.Errored, Says: err.Error()}, false, nil
		}
	}
	driver := s.Driver // as of now: a crash may replace it
	seen, err := driver.Observe(s.ctx, s.want)
	if err != nil {
		return rollout.Decision{}, false, err
	}
	d := rollout.Next(s.want, seen, time.Now())
	if d.Record != seen.Record {
		if err := driver.Save(s.ctx, s.want, seen.Record, d.Record); err != nil {
			return d, false, err
		}
	}
	if d.Step == nil {
		return d, d.Verdict == drift.InSync && d.Record == seen.Record, nil
	}
	if before != nil {
		before(*d.Step)
		driver = s.Driver
	}
	err = driver.Do(s.ctx, s.want, *d.Step)
	if after != nil {
		after(*d.Step)
	}
	return d, false, err
}

// installed is a session with the deployment at work.
func (s Subject) installed(ctx context.Context) (*session, error) {
	n := s.session(ctx)
	return n, n.settle(nil, nil)
}

// short tells whether fewer nodes serve in the active region than may be: that of one a roll may take away.
func (s *session) short(seen platform.Seen) error {
	serving := 0
	for _, n := range seen.Nodes {
		if n.Region == s.want.Active && n.Serves() {
			serving++
		}
	}
	if least := s.want.Instances - s.want.Limits.NodesDown; serving < least {
		return fmt.Errorf("%d nodes serve, at least %d must: %+v", serving, least, seen.Nodes)
	}
	return nil
}

// as tells whether every node serves with a revision.
func (s *session) as(seen platform.Seen, revision string) error {
	for _, r := range s.want.Regions {
		for _, slot := range s.want.Slots(r.Name) {
			n, ok := seen.Node(slot)
			if !ok || n.Revision != revision || !n.Serves() || n.View != seen.Cluster(r.Name) {
				return fmt.Errorf("%s is %+v, and should serve with %s", slot, n, revision)
			}
		}
	}
	if want := s.want.Instances * len(s.want.Regions); len(seen.Nodes) != want {
		return fmt.Errorf("%d nodes, want %d", len(seen.Nodes), want)
	}
	if slices.ContainsFunc(seen.Regions, func(r platform.Region) bool { return r.Gated }) {
		return fmt.Errorf("a region holds requests: %+v", seen.Regions)
	}
	return nil
}
