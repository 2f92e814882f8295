package reconcile

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// A realm is looked at again when what was left for later is due, however far off its schedule is.
func TestWhatIsLeftForLaterIsLookedAtWhenItIsDue(t *testing.T) {
	hourly, err := cron.ParseStandard("@every 1h")
	if err != nil {
		t.Fatal(err)
	}
	soon, late := time.Now().Add(10*time.Minute), time.Now().Add(2*time.Hour)
	for _, c := range []struct {
		after time.Time
		want  func(next time.Time) bool
	}{
		{soon, func(next time.Time) bool { return next.Equal(soon) }},
		{late, func(next time.Time) bool { return next.Before(late) }},
	} {
		k := &keep{want: &schema.Realm{}, schedule: hourly}
		new(Poll).plan(k, []drift.Later{{After: c.after}}, nil)
		if !c.want(k.next) {
			t.Errorf("due at %s, it is looked at again at %s", c.after, k.next)
		}
	}
}
