package platform

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// After is what a step makes of a deployment where nothing goes wrong: what each verb means, in code. Plans are foretold by
// it, and drivers are held to it.
func After(d schema.Deployment, seen Seen, s drift.Step) Seen {
	after := seen
	after.Nodes, after.Regions = slices.Clone(seen.Nodes), slices.Clone(seen.Regions)
	after.Move = Move{Step: s, State: Done, At: seen.Record.At}
	for _, r := range d.Regions {
		if _, ok := after.Region(r.Name); !ok {
			after.Regions = append(after.Regions, Region{Name: r.Name, View: d.Regions[0].Name})
		}
	}
	slices.SortFunc(after.Regions, func(a, b Region) int { return cmp.Compare(a.Name, b.Name) })
	switch s.Verb {
	case drift.Prepare:
		after.Fit = foretell(d, seen, s)
	case drift.Dump:
		after.Dumped = s.Epoch
	case drift.Remove:
		after.Nodes = slices.DeleteFunc(after.Nodes, func(n Node) bool { return n.Name == s.Node })
	case drift.Add:
		if _, ok := after.Node(s.Node); !ok {
			after.Nodes = append(after.Nodes, Node{Name: s.Node, Region: s.Region})
			slices.SortFunc(after.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
		}
	case drift.Fence:
		was, _ := seen.Region(s.Region)
		after.standbys(s, func(r *Region) {
			if was.Role == Primary && was.Lost.IsZero() && r.Streaming {
				r.LSN, r.Lag = max(r.LSN, was.LSN), 0
			}
			r.Streaming = r.Streaming && was.Role != Primary
		})
		after.region(s, func(r *Region) { r.Role, r.Streaming, r.Synchronous, r.Lag = Fenced, false, false, 0 })
	case drift.Promote:
		after.standbys(s, func(r *Region) { r.Streaming, r.Synchronous = false, false })
		after.region(s, func(r *Region) { r.Role, r.Streaming, r.Synchronous, r.Lag = Primary, false, false, 0 })
	case drift.Follow:
		waits := d.DB.Replication == "synchronous" // for one, which is the first
		after.standbys(s, func(r *Region) { waits = waits && !r.Synchronous })
		after.region(s, func(r *Region) { r.Role, r.Streaming, r.Synchronous, r.Lag = Standby, true, waits, 0 })
		for _, r := range seen.Regions {
			if r.Role == Primary {
				after.region(s, func(own *Region) { own.LSN = r.LSN })
			}
		}
	case drift.Degrade:
		after.region(s, func(r *Region) { r.Synchronous = false })
	case drift.Gate:
		after.region(s, func(r *Region) { r.Gated = true })
	case drift.Open:
		after.region(s, func(r *Region) { r.Gated = false })
	}
	for i := range after.Nodes {
		n := &after.Nodes[i]
		switch {
		case s.Verb == drift.Stop && n.Region == s.Region:
			n.Stopped, n.Ready, n.In, n.Draining, n.Why = true, false, false, false, ""
		case n.Name != s.Node:
		case s.Verb == drift.Drain:
			n.In, n.Draining = false, false
		case s.Verb == drift.Admit:
			n.In, n.Draining = true, false
		case s.Verb == drift.Start:
			n.Stopped, n.Ready, n.In, n.Draining, n.Why = false, true, false, false, ""
		case s.Verb == drift.Replace, s.Verb == drift.Add:
			n.Revision, n.Version = s.Revision, seen.version(d, s.Revision)
			n.Ready, n.In, n.Draining, n.Why = !n.Stopped, false, false, ""
		}
	}
	starts := s.Verb == drift.Add || s.Verb == drift.Replace || s.Verb == drift.Start
	if n, _ := after.Node(s.Node); starts && n.Ready && n.Region == cmp.Or(seen.Record.Active, d.Active) && d.DB.Managed() && !after.based() {
		after.region(s, func(r *Region) { r.Role, r.Epoch = Primary, s.Epoch }) // a node needs one
	}
	for i := range after.Nodes {
		n := &after.Nodes[i]
		if n.View = 0; n.Ready {
			n.View = after.Cluster(n.Region)
		}
	}
	return after
}

func (s Seen) region(step drift.Step, change func(*Region)) {
	for i := range s.Regions {
		if r := &s.Regions[i]; r.Name == step.Region {
			if change(r); step.Verb == drift.Fence || step.Verb == drift.Promote || step.Verb == drift.Follow {
				r.Epoch = step.Epoch
			}
		}
	}
}

// standbys changes the other regions' databases that are standbys.
func (s Seen) standbys(step drift.Step, change func(*Region)) {
	for i := range s.Regions {
		if r := &s.Regions[i]; r.Role == Standby && r.Name != step.Region {
			change(r)
		}
	}
}

// based tells whether any region has a database of ours.
func (s Seen) based() bool {
	return slices.ContainsFunc(s.Regions, func(r Region) bool { return r.Role != "" })
}

// version is that of a revision which d declares, the Record names or a node runs.
func (s Seen) version(d schema.Deployment, revision string) string {
	for _, r := range []Release{ReleaseOf(d), s.Record.To, s.Record.Good} {
		if r.Revision == revision {
			return r.Version
		}
	}
	for _, n := range s.Nodes {
		if n.Revision == revision {
			return n.Version
		}
	}
	return ""
}

// foretell says what Prepare is likely to find: patches of one minor version may serve side by side, but not backwards.
func foretell(d schema.Deployment, seen Seen, s drift.Step) Fit {
	fit := Fit{Revision: s.Revision, Epoch: s.Epoch, Verdict: Compatible}
	to := seen.version(d, s.Revision)
	for _, n := range seen.Nodes {
		if !slices.Contains(fit.From, n.Revision) {
			fit.From = append(fit.From, n.Revision)
		}
		if n.Revision != s.Revision && (Minor(n.Version) != Minor(to) || Patch(n.Version) > Patch(to)) {
			fit.Verdict, fit.Says = Incompatible, n.Version+" and "+to+" can't serve side by side"
		}
	}
	return fit
}

// Minor is the minor version of Keycloak that a version belongs to: 26.7 for 26.7.3.
func Minor(version string) string { return version[:max(0, strings.LastIndexByte(version, '.'))] }

// Patch is the last number of a version: 3 for 26.7.3.
func Patch(version string) int {
	n, err := strconv.Atoi(version[strings.LastIndexByte(version, '.')+1:])
	if err != nil {
		return 0 // of an image whose version nobody knows
	}
	return n
}
