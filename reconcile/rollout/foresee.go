package rollout

import (
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Plan is what Next would do from here on, in steps and in words.
func Plan(want schema.Deployment, have platform.Seen, now time.Time) ([]drift.Step, Decision) {
	d := Next(want, have, now)
	steps := Foresee(want, have, now)
	if len(steps) == 0 || d.Verdict != drift.Progressing {
		return steps, d
	}
	u := &upgrade{want: want, seen: have, record: d.Record, now: now}
	counts := map[drift.Verb]int{}
	for _, s := range steps {
		counts[s.Verb]++
	}
	says := "would make " + count(len(steps), "step")
	switch {
	case d.Record.Toward != "":
		says = "would move from " + have.Record.Active + " to " + d.Record.Toward
	case counts[drift.Gate] > 0:
		says = "would " + u.plan(platform.Recreate)
	case counts[drift.Replace] > 0:
		says = "would " + u.plan(platform.Roll)
	case counts[drift.Add] > 0:
		says = "would add " + count(counts[drift.Add], "node")
	case counts[drift.Remove] > 0:
		says = "would remove " + count(counts[drift.Remove], "node")
	}
	if counts[drift.Dump] > 0 {
		says += "; no way back after this but a dump"
	}
	hint := ""
	if d.Record.Toward != "" && counts[drift.Gate] > 0 {
		hint = "requests are held from the gate until the front opens, and what was acknowledged is kept"
	}
	d = u.decision(nil, drift.Pending, says)
	d.Hint = hint
	if counts[drift.Prepare] > 0 && len(have.Nodes) > 0 {
		d.Hint = "whether both can serve side by side is taken from their versions here; it is found out before any node is touched"
	}
	return steps, d
}

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
		d := Next(want, have, now)
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
