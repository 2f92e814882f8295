package reconcile_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

// side is a driver in one region. While the network between the regions is cut, it reaches nothing of the other one, which
// takes writes all the same as far as it did; only the Record is kept where both get.
type side struct {
	*platformtest.Process
	region string
	cut    *time.Time // since when; zero where it isn't
}

func (s *side) Observe(ctx context.Context, d schema.Deployment) (platform.Seen, error) {
	seen, err := s.Process.Observe(ctx, d)
	if s.cut.IsZero() {
		return seen, err
	}
	for i := range seen.Regions {
		if r := &seen.Regions[i]; r.Name != s.region {
			r.Lost = *s.cut
		}
		seen.Regions[i].Streaming = false
	}
	for i := range seen.Nodes {
		if n := &seen.Nodes[i]; n.Region != s.region {
			n.Ready, n.View = false, 0
		}
	}
	return seen, err
}

func TestWhereTheNetworkBetweenRegionsIsCutTheActiveOneGoesOnAndNobodyIsPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		var cut time.Time
		r.Fails = func(s drift.Step) string { // a fence goes by the network, as all else
			if !cut.IsZero() && s.Verb == drift.Fence {
				return s.Region + " isn't reached"
			}
			return ""
		}
		d := twoRegions()
		during(t.Context(), []func(context.Context){
			watcher(&side{r.Process(), "paris", &cut}, "paris", always(d)).Run, watcher(&side{r.Process(), "milan", &cut}, "milan", always(d)).Run,
		}, func() {
			time.Sleep(time.Minute)
			cut = time.Now().UTC()
			before := r.Now().Record.Epoch
			time.Sleep(10 * time.Minute)
			now := r.Now()
			paris, _ := now.Region("paris")
			if paris.Role != platform.Primary || now.Record.Active != "paris" {
				t.Errorf("paris is %+v, %s is active", paris, now.Record.Active)
			}
			r.mu.Lock()
			if i := slices.IndexFunc(r.steps, func(s drift.Step) bool { return s.Verb != drift.Fence || s.Region != "paris" }); i >= 0 {
				t.Errorf("step %s is begun", r.steps[i])
			}
			if saves := now.Record.Epoch - before; len(r.steps) > 21 || saves > 100 {
				t.Errorf("in 10 minutes %d fences are tried, and the record is saved %d times: both sides undo what the other one does", len(r.steps), saves)
			}
			r.mu.Unlock()
			cut = time.Time{}
			r.until("all is as before", func(s platform.Seen) bool {
				milan, _ := s.Region("milan")
				return s.Record.Active == "paris" && s.Record.Toward == "" && s.Record.Synced == "milan" && milan.Streaming
			})
		})
		r.check()
	})
}
