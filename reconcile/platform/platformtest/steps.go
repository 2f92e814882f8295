package platformtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	difference "github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// verbs takes a deployment through every verb that needs no second region. Each step is begun again while it is under way and after its end.
func verbs(ctx context.Context, s Subject) error {
	n := s.session(ctx)
	region := n.want.Active
	slots := n.want.Slots(region)
	node := func(verb drift.Verb, slot, revision string) drift.Step {
		return drift.Step{Verb: verb, Node: slot, Region: region, Revision: revision}
	}
	var steps []drift.Step
	steps = append(steps, drift.Step{Verb: drift.Prepare, Revision: n.want.Revision})
	for _, slot := range slots {
		steps = append(steps, node(drift.Add, slot, n.want.Revision), node(drift.Probe, slot, ""), node(drift.Admit, slot, ""))
	}
	for _, r := range n.want.Regions {
		if r.Name != region { // a node that no later step is about
			steps = append(steps, drift.Step{Verb: drift.Add, Node: n.want.Slots(r.Name)[0], Region: r.Name, Revision: n.want.Revision})
		}
	}
	for _, step := range steps {
		if err := n.exactly(step); err != nil {
			return err
		}
	}
	n.want = s.Next
	last := slots[len(slots)-1]
	for _, step := range []drift.Step{
		{Verb: drift.Prepare, Revision: s.Next.Revision},
		{Verb: drift.Dump, Revision: s.Next.Revision},
		node(drift.Drain, slots[0], ""), node(drift.Replace, slots[0], s.Next.Revision), node(drift.Probe, slots[0], ""), node(drift.Admit, slots[0], ""),
		{Verb: drift.Gate, Region: region}, {Verb: drift.Stop, Region: region},
		node(drift.Replace, slots[1], s.Next.Revision),
		node(drift.Start, slots[0], ""), node(drift.Probe, slots[0], ""), node(drift.Admit, slots[0], ""),
		{Verb: drift.Open, Region: region},
		node(drift.Start, slots[1], ""), node(drift.Drain, slots[1], ""), node(drift.Admit, slots[1], ""),
		node(drift.Drain, last, ""), node(drift.Remove, last, ""),
	} {
		if err := n.exactly(step); err != nil {
			return err
		}
	}
	return nil
}

// exactly makes a step and compares what came of it with what it means.
func (s *session) exactly(step drift.Step) error {
	before, err := s.Observe(s.ctx, s.want)
	if err != nil {
		return err
	}
	began, seen, err := s.again(step, func(seen platform.Seen) error {
		if touched := s.others(before, seen, step); touched != "" {
			return errors.New(touched)
		}
		return nil
	})
	if err != nil {
		return err
	}
	want := platform.After(s.want, before, began)
	if diff := difference.Diff(plainly(want), plainly(seen)); diff != "" {
		return fmt.Errorf("after %s (-want +got):\n%s", step, diff)
	}
	return nil
}

// again makes a step, which is begun again at each look while it is under way, and after its end. Meanwhile is asked what is
// wrong with what is seen until then.
func (s *session) again(step drift.Step, meanwhile func(platform.Seen) error) (began drift.Step, seen platform.Seen, err error) {
	if began, err = s.begin(step); err != nil {
		return began, seen, err
	}
	for looks := 0; ; looks++ {
		if err := s.Do(s.ctx, s.want, began); err != nil {
			return began, seen, fmt.Errorf("begin %s again, while it is under way: %w", step, err)
		}
		if seen, err = s.Observe(s.ctx, s.want); err != nil {
			return began, seen, err
		}
		if err := meanwhile(seen); err != nil {
			return began, seen, fmt.Errorf("during %s: %w", step, err)
		}
		if state := seen.Move.State; seen.Move.Step == began && state != platform.Doing {
			if state != platform.Done {
				return began, seen, fmt.Errorf("%s: %s: %s", step, state, seen.Move.Why)
			}
			break
		}
		if looks > s.Looks {
			return began, seen, fmt.Errorf("%s doesn't end: %+v", step, seen.Move)
		}
		time.Sleep(s.Pause)
	}
	if err := s.Do(s.ctx, s.want, began); err != nil {
		return began, seen, fmt.Errorf("begin %s again, after its end: %w", step, err)
	}
	seen, err = s.wait("the end of "+step.String()+", begun again", func(seen platform.Seen) bool {
		return seen.Move.Step == began && seen.Move.State == platform.Done
	})
	return began, seen, err
}

// others says what became of nodes that a step isn't about; "" where nothing.
func (s *session) others(before, now platform.Seen, step drift.Step) string {
	for _, b := range before.Nodes {
		if b.Name == step.Node || step.Verb == drift.Stop && b.Region == step.Region {
			continue
		}
		n, ok := now.Node(b.Name)
		if !ok || n.Revision != b.Revision || n.Stopped != b.Stopped || n.In != b.In || b.Ready && !n.Ready {
			return fmt.Sprintf("%s became %+v", b.Name, n)
		}
	}
	return ""
}

// plain is what of a deployment a verb's meaning determines.
type plain struct {
	Nodes  []platform.Node
	Gated  []string
	Fit    platform.Fit
	Dumped int64
}

func plainly(seen platform.Seen) plain {
	p := plain{Fit: seen.Fit, Dumped: seen.Dumped}
	p.Fit.Says = ""
	p.Fit.From = slices.Clone(p.Fit.From)
	slices.Sort(p.Fit.From)
	for _, n := range seen.Nodes {
		n.Why, n.Zone, n.Since = "", "", time.Time{}
		p.Nodes = append(p.Nodes, n)
	}
	slices.SortFunc(p.Nodes, func(a, b platform.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range seen.Regions {
		if r.Gated {
			p.Gated = append(p.Gated, r.Name)
		}
	}
	return p
}

func unknownRevision(ctx context.Context, s Subject) error {
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	slot := n.want.Slots(n.want.Active)[0]
	if _, err := n.begin(drift.Step{Verb: drift.Replace, Node: slot, Region: n.want.Active, Revision: "never prepared"}); err == nil {
		return errors.New("a revision that was never prepared is begun with")
	}
	seen, err := n.Observe(ctx, n.want)
	if err != nil {
		return err
	}
	return n.as(seen, s.Want.Revision)
}

// busy begins a step, and another one of the next epoch while it is under way. A platform may be too fast for that.
func busy(ctx context.Context, s Subject) error {
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	slots := n.want.Slots(n.want.Active)
	began, err := n.begin(drift.Step{Verb: drift.Drain, Node: slots[0], Region: n.want.Active})
	if err != nil {
		return err
	}
	_, refused := n.begin(drift.Step{Verb: drift.Drain, Node: slots[1], Region: n.want.Active})
	seen, err := n.Observe(ctx, n.want)
	if err == nil && refused == nil && seen.Move.Step == began {
		err = fmt.Errorf("nobody refuses another step, and the move is %+v", seen.Move)
	}
	if err == nil && refused == nil {
		if first, _ := seen.Node(slots[0]); first.In {
			err = fmt.Errorf("%s was given up for another step", began)
		}
	}
	return err
}

// back rolls one node, and back again, while the declaration is at the newer revision.
func back(ctx context.Context, s Subject) error {
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	n.want = s.Next
	slot := n.want.Slots(n.want.Active)[0]
	for _, step := range []drift.Step{
		{Verb: drift.Prepare, Revision: s.Next.Revision},
		{Verb: drift.Drain, Node: slot, Region: n.want.Active},
		{Verb: drift.Replace, Node: slot, Region: n.want.Active, Revision: s.Next.Revision},
		{Verb: drift.Replace, Node: slot, Region: n.want.Active, Revision: s.Want.Revision},
		{Verb: drift.Probe, Node: slot, Region: n.want.Active},
		{Verb: drift.Admit, Node: slot, Region: n.want.Active},
	} {
		if err := n.exactly(step); err != nil {
			return err
		}
	}
	seen, err := n.Observe(ctx, n.want)
	if err != nil {
		return err
	}
	return n.as(seen, s.Want.Revision)
}

// broken begins with a revision whose nodes never get ready. What is refused by Prepare is as good as what fails at the node.
func broken(ctx context.Context, s Subject) error {
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	n.want = s.Broken
	slot := n.want.Slots(n.want.Active)[0]
	for _, step := range []drift.Step{
		{Verb: drift.Prepare, Revision: s.Broken.Revision},
		{Verb: drift.Drain, Node: slot, Region: n.want.Active},
		{Verb: drift.Replace, Node: slot, Region: n.want.Active, Revision: s.Broken.Revision},
	} {
		began, err := n.begin(step)
		if err != nil {
			return err
		}
		seen, err := n.end(began)
		if err != nil {
			return err
		}
		if err := n.short(seen); err != nil {
			return fmt.Errorf("after %s: %w", step, err)
		}
		if seen.Move.State == platform.Failed {
			if seen.Move.Why == "" {
				return fmt.Errorf("%s failed and doesn't say why", step)
			}
			if step.Verb == drift.Replace && seen.Move.Log == "" {
				return fmt.Errorf("%s failed and shows nothing of the log", step)
			}
			_, err := n.step(drift.Step{Verb: drift.Probe, Node: n.want.Slots(n.want.Active)[1], Region: n.want.Active})
			return err // the next step may be begun
		}
	}
	return errors.New("a node with the broken revision became ready")
}

// dead kills a node that serves: it comes back and serves again, though no step is begun and its process is another.
func dead(ctx context.Context, s Subject) error {
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	slot := n.want.Slots(n.want.Active)[0]
	before, err := n.Observe(ctx, n.want)
	if err != nil {
		return err
	}
	n.Crash()
	if err := s.Kill(slot); err != nil {
		return err
	}
	n.Opened = s.Open()
	if _, err := n.wait(slot+" to be seen dead", func(seen platform.Seen) bool {
		node, _ := seen.Node(slot)
		return !node.Ready
	}); err != nil {
		return err
	}
	seen, err := n.wait(slot+" to be back", func(seen platform.Seen) bool {
		return n.as(seen, s.Want.Revision) == nil
	})
	if err != nil {
		return err
	}
	if seen.Record != before.Record || seen.Move != before.Move {
		return fmt.Errorf("the record or the move changed: %+v %+v", seen.Record, seen.Move)
	}
	return nil
}
