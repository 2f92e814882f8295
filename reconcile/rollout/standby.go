package rollout

import (
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// ungate opens fronts that a move which was given up has left closed.
func (f *failover) ungate() (Decision, bool) {
	if !f.idle() || f.serving(f.record.Active) == 0 || f.based() && !slices.Equal(f.primaries(), []string{f.record.Active}) {
		return Decision{}, false
	}
	for _, r := range f.seen.Regions {
		recreates := r.Name == f.record.Active && f.record.How == platform.Recreate
		if r.Gated && r.Lost.IsZero() && !recreates {
			return f.insist(drift.Open, r.Name, "%s serves", f.record.Active), true
		}
	}
	return Decision{}, false
}

// follow has every other region be a standby, and one of them synchronous where that is declared.
func (f *failover) follow() (Decision, bool) {
	active := f.region(f.record.Active)
	if !f.idle() || active.Role != platform.Primary || !active.Lost.IsZero() {
		return Decision{}, false
	}
	awaited := slices.ContainsFunc(f.seen.Regions, func(r platform.Region) bool { return r.Role == platform.Standby && r.Synchronous })
	for _, declared := range f.want.Regions {
		r := f.region(declared.Name)
		why := ""
		switch {
		case r.Name == active.Name, !r.Lost.IsZero(), f.followed(r.Name):
		case r.Role == platform.Fenced:
			why = "fenced, and back"
		case r.Role == "":
			why = "without a database"
		case !r.Streaming && r.Epoch < active.Epoch:
			why = active.Name + " is the primary by now"
		case !r.Streaming && !f.record.Apart.IsZero() && f.now.Sub(f.record.Apart) > 2*pause:
			why = "doesn't stream" + f.since()
		case r.Streaming && f.synchronous() && f.record.Synced == "" && (r.Synchronous || !awaited):
			why = "is to have all that is acknowledged"
		}
		if why != "" {
			if f.record.Synced == r.Name {
				f.record.Synced = ""
			}
			return f.do(drift.Follow, "", r.Name, "%s", why), true
		}
	}
	return Decision{}, false
}

// followed tells whether a region was told to follow a moment ago.
func (f *failover) followed(name string) bool {
	s := f.seen.Move.Step
	return s.Verb == drift.Follow && s.Region == name && f.now.Sub(f.record.At) < pause
}

// degrade has the primary wait no longer for a standby that is away, where that is declared, or that it needn't wait for.
func (f *failover) degrade() (Decision, bool) {
	active := f.region(f.record.Active)
	if !f.idle() || active.Role != platform.Primary || !active.Lost.IsZero() {
		return Decision{}, false
	}
	for _, r := range f.seen.Regions {
		away := f.want.DB.WhenStandbyLost == "degrade" && !f.record.Apart.IsZero() && f.now.Sub(f.record.Apart) >= time.Duration(f.want.Failover.After)
		if r.Role == platform.Standby && r.Synchronous && (away || !f.synchronous() || !f.declared(r.Name)) {
			f.record.Synced = ""
			return f.insist(drift.Degrade, r.Name, "%s", f.excuse(r)), true
		}
	}
	return Decision{}, false
}

func (f *failover) excuse(r platform.Region) string {
	if streams(r) {
		return "nobody is to wait for it"
	}
	return "doesn't stream" + f.since()
}

// well says how the regions are, when nothing is to be done.
func (f *failover) well() Decision {
	r := f.record
	if f.held != nil {
		return f.held()
	}
	for _, name := range f.everywhere() {
		if x := f.region(name); !x.Lost.IsZero() && f.declared(name) {
			return f.say(drift.Drifted, "%s serves; %s%s", r.Active, silent(x), f.waiting())
		}
		if why := f.failed(drift.Follow, name); why != "" {
			return f.say(drift.Drifted, "%s serves; %s can't follow: %s%s", r.Active, name, why, f.waiting())
		}
	}
	switch standbys := f.based() && len(f.want.Regions) > 1; {
	case standbys && !r.Apart.IsZero():
		return f.say(drift.Drifted, "%s serves; no standby streams%s%s", r.Active, f.since(), f.waiting())
	case standbys && f.synchronous() && r.Synced == "":
		return f.say(drift.Drifted, "%s serves; no standby has all that is acknowledged yet", r.Active)
	case r.Override != "":
		since := ""
		if !r.Since.IsZero() {
			since = " since " + r.Since.UTC().Format("2 Jan 15:04")
		}
		d := f.say(drift.Drifted, "git still names %s; %s serves%s", f.want.Active, r.Active, since)
		d.Hint = "commit active: " + r.Active + ", or go back by `cloakwork failover " + f.want.Name + " --to " + f.want.Active + "`"
		return d
	}
	return f.decision(nil, drift.InSync, "")
}

// waiting is what it means for writes that no standby streams.
func (f *failover) waiting() string {
	switch {
	case slices.ContainsFunc(f.seen.Regions, func(r platform.Region) bool { return r.Role == platform.Standby && r.Synchronous && !streams(r) }):
		return "; writes wait for it"
	case f.based() && f.synchronous() && f.record.Synced == "":
		return "; writes don't wait for it"
	}
	return ""
}
