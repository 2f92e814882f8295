package platformtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	difference "github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// other is the subject's second region.
func (s Subject) other() (string, error) {
	i := slices.IndexFunc(s.Want.Regions, func(r schema.Region) bool { return r.Name != s.Want.Active })
	if i < 0 || !s.Want.DB.Managed() {
		return "", errors.New("the subject doesn't declare two regions with a database of the platform's own")
	}
	return s.Want.Regions[i].Name, nil
}

// regions takes a deployment through every verb of regions. Each step is begun again after its end.
func regions(ctx context.Context, s Subject) error {
	to, err := s.other()
	if err != nil {
		return err
	}
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	from := s.Want.Active
	for _, step := range []drift.Step{
		{Verb: drift.Follow, Region: to}, {Verb: drift.Degrade, Region: to}, {Verb: drift.Follow, Region: to},
		{Verb: drift.Gate, Region: to}, {Verb: drift.Gate, Region: from},
		{Verb: drift.Fence, Region: from}, {Verb: drift.Promote, Region: from}, // given up
		{Verb: drift.Follow, Region: to},
		{Verb: drift.Fence, Region: from}, {Verb: drift.Promote, Region: to}, {Verb: drift.Follow, Region: from},
		{Verb: drift.Open, Region: to}, {Verb: drift.Open, Region: from},
	} {
		if err := n.moves(step); err != nil {
			return err
		}
	}
	return nil
}

// moves makes a step of a region, twice, and compares what the regions are then with what it means.
func (s *session) moves(step drift.Step) error {
	before, err := s.Observe(s.ctx, s.want)
	if err != nil {
		return err
	}
	began, seen, err := s.again(step, func(platform.Seen) error { return nil })
	if err != nil {
		return err
	}
	want := platform.After(s.want, before, began)
	if diff := difference.Diff(roles(want), roles(seen)); diff != "" {
		return fmt.Errorf("after %s (-want +got):\n%s", step, diff)
	}
	own, _ := seen.Region(step.Region)
	if given := step.Verb == drift.Fence || step.Verb == drift.Promote || step.Verb == drift.Follow; given && own.Epoch != began.Epoch {
		return fmt.Errorf("after %s of epoch %d the role is of epoch %d", step, began.Epoch, own.Epoch)
	}
	if step.Verb == drift.Fence { // all that it had written arrives
		_, err = s.wait("standbys to have all that "+step.Region+" has written", func(seen platform.Seen) bool {
			own, _ := seen.Region(step.Region)
			return !slices.ContainsFunc(seen.Regions, func(r platform.Region) bool { return r.Role == platform.Standby && r.LSN < own.LSN })
		})
	}
	return err
}

// roles is what of the regions a verb's meaning determines. Whether a standby streams while there is no primary doesn't count.
func roles(seen platform.Seen) (plain []platform.Region) {
	led := slices.ContainsFunc(seen.Regions, func(r platform.Region) bool { return r.Role == platform.Primary })
	for _, r := range seen.Regions {
		follows := led && r.Role == platform.Standby && r.Epoch >= primaryEpoch(seen)
		plain = append(plain, platform.Region{Name: r.Name, Gated: r.Gated, Role: r.Role, Streaming: r.Streaming && follows, Synchronous: r.Synchronous && follows})
	}
	return plain
}

func primaryEpoch(seen platform.Seen) (epoch int64) {
	for _, r := range seen.Regions {
		if r.Role == platform.Primary {
			epoch = r.Epoch
		}
	}
	return epoch
}

// switchover has the other region be the active one, and back; whoever begins a step dies right after.
func switchover(ctx context.Context, s Subject) error {
	to, err := s.other()
	if err != nil {
		return err
	}
	n, err := s.installed(ctx)
	if err != nil {
		return err
	}
	watcher := s.session(ctx)
	n.beside = func() error {
		seen, err := watcher.Observe(ctx, watcher.want)
		if err != nil {
			return err
		}
		if all := primaries(seen); len(all) > 1 {
			return fmt.Errorf("%d primaries: %v", len(all), all)
		}
		return nil
	}
	for _, active := range []string{to, s.Want.Active} {
		n.want.Active = active
		crashed := map[drift.Step]bool{}
		if err := n.settle(nil, func(step drift.Step) {
			if !crashed[step] {
				crashed[step] = true
				n.Crash()
				n.Opened = s.Open()
			}
		}); err != nil {
			return err
		}
		seen, err := n.Observe(ctx, n.want)
		if err != nil {
			return err
		}
		if all := primaries(seen); seen.Record.Active != active || len(all) != 1 || all[0] != active {
			return fmt.Errorf("%s is active by the record, and the primaries are %v, want %s", seen.Record.Active, all, active)
		}
		if err := n.as(seen, s.Want.Revision); err != nil {
			return err
		}
	}
	return nil
}

func primaries(seen platform.Seen) (names []string) {
	for _, r := range seen.Regions {
		if r.Role == platform.Primary {
			names = append(names, r.Name)
		}
	}
	return names
}
