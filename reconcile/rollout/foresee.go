package rollout

import (
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Foresee lists the steps that lie ahead where nothing goes wrong, the one under way first. Whether revisions can serve
// side by side is guessed by their versions, as long as Prepare hasn't told.
func Foresee(want schema.Deployment, have platform.Seen, now time.Time) []drift.Step {
	var steps []drift.Step
	if have.Move.State == platform.Doing {
		steps = append(steps, have.Move.Step)
		have = platform.After(want, have, have.Move.Step)
	}
	const most = 1000 // steps; a safeguard, since no deployment has so many nodes
	for len(steps) < most {
		d := Upgrade(want, have, now)
		switch {
		case d.Step != nil:
			have.Record = d.Record
			have = platform.After(want, have, *d.Step)
			s := *d.Step
			s.Epoch = 0
			steps = append(steps, s)
		case d.Verdict == drift.Pending && !d.Until.IsZero():
			now = d.Until
			have.Record = d.Record
		case d.Record != have.Record && d.Verdict == drift.Progressing:
			have.Record = d.Record
		default:
			return steps
		}
	}
	return steps
}
