package rollout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// do takes a step of a region, or of a node on the way to one.
func (f *failover) do(verb drift.Verb, node, region, why string, args ...any) Decision {
	s := drift.Step{Verb: verb, Node: node, Region: region, Epoch: f.seen.Record.Epoch + 1, Why: fmt.Sprintf(why, args...)}
	r := &f.record
	r.Epoch, r.Moved, r.Step, r.At, r.Tries = s.Epoch, s.Epoch, s, f.now, 0
	return f.decision(&s, drift.Progressing, f.way()+doing(s))
}

// insist takes a step again and again, but with a pause where it failed.
func (f *failover) insist(verb drift.Verb, region, why string, args ...any) Decision {
	if failed := f.failed(verb, region); failed != "" && f.now.Sub(f.record.At) < pause {
		return f.stuck(verb, region, failed)
	}
	return f.do(verb, "", region, why, args...)
}

// failed is why a step, the last one, failed; "" where it didn't.
func (f *failover) failed(verb drift.Verb, region string) string {
	move := f.seen.Move
	if move.State != platform.Failed || move.Step.Verb != verb || move.Step.Region != region {
		return ""
	}
	if move.Why == "" {
		return "nobody knows why"
	}
	return move.Why
}

// stuck says what can't be done, and is tried again.
func (f *failover) stuck(verb drift.Verb, region, why string) Decision {
	d := f.say(drift.Blocked, "%s%s failed: %s", f.way(), drift.Step{Verb: verb, Region: region}, why)
	d.Until = f.record.At.Add(pause)
	if verb == drift.Fence {
		d.Hint = "it is tried again and again. Nothing is promoted before it is certain that " + region + " can't write"
	}
	return d
}

func (f *failover) say(v drift.Verdict, format string, args ...any) Decision {
	return f.decision(nil, v, fmt.Sprintf(format, args...))
}

// going is another look, while something goes on.
func (f *failover) going(format string, args ...any) Decision {
	return f.decision(nil, drift.Progressing, f.way()+fmt.Sprintf(format, args...))
}

// way is where the deployment moves.
func (f *failover) way() string {
	switch r := f.record; {
	case r.Toward == "":
		return ""
	case r.Toward == f.seen.Record.Active && f.region(r.Toward).Role == platform.Fenced:
		return "back to " + r.Toward + "; "
	case r.Toward == f.seen.Record.Active:
		return "to " + r.Toward + "; "
	default:
		return f.seen.Record.Active + " → " + r.Toward + "; "
	}
}

func silent(r platform.Region) string {
	return r.Name + " hasn't answered since " + r.Lost.UTC().Format("15:04:05")
}

// since is for how long no standby has streamed.
func (f *failover) since() string {
	if f.record.Apart.IsZero() {
		return ""
	}
	return " since " + f.record.Apart.UTC().Format("15:04:05")
}

// size is a number of bytes in words.
func size(bytes int64) string {
	switch {
	case bytes < 10_000:
		return fmt.Sprintf("%d bytes", bytes)
	case bytes < 10_000_000:
		return fmt.Sprintf("%d kB", bytes/1000)
	default:
		return fmt.Sprintf("%d MB", bytes/1_000_000)
	}
}

// roles says what each database is.
func (f *failover) roles() string {
	var parts []string
	for _, r := range f.seen.Regions {
		role := string(r.Role)
		if role == "" {
			role = "nothing"
		}
		parts = append(parts, r.Name+" "+role)
	}
	return strings.Join(parts, ", ")
}

func (f *failover) region(name string) platform.Region {
	r, _ := f.seen.Region(name)
	r.Name = name
	return r
}

// everywhere are the regions that are declared, and those that are there.
func (f *failover) everywhere() []string {
	var names []string
	for _, r := range f.want.Regions {
		names = append(names, r.Name)
	}
	for _, r := range f.seen.Regions {
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	return names
}

// primaries are the regions that are primaries, or were when they were last seen.
func (f *failover) primaries() (names []string) {
	for _, r := range f.seen.Regions {
		if r.Role == platform.Primary {
			names = append(names, r.Name)
		}
	}
	return names
}

// based tells whether the regions have databases of ours.
func (f *failover) based() bool {
	return f.want.DB.Managed() && slices.ContainsFunc(f.seen.Regions, func(r platform.Region) bool { return r.Role != "" })
}

func (f *failover) synchronous() bool { return f.want.DB.Replication == "synchronous" }

// idle tells whether the last step has come to its end, and nobody has to deal with that: what has been probed is admitted next.
func (f *failover) idle() bool {
	step, move := f.record.Step, f.seen.Move
	return step.Verb == "" || move.Step == step && move.State == platform.Done && step.Verb != drift.Probe
}

// streams tells whether a standby gets what the primary writes.
func streams(r platform.Region) bool {
	return r.Role == platform.Standby && r.Streaming && r.Lost.IsZero()
}
