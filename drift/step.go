package drift

import "strings"

// Verb is what a step does.
type Verb string

// The verbs. Each brings about a state, so that a step may be begun again at any time: what is so already stays so.
const (
	// Of the deployment.
	Prepare Verb = "prepare" // make ready what Revision needs and try it aside, compare it with what runs; no node is touched
	Dump    Verb = "dump"    // write a consistent dump of the database, while it serves

	// Of a node.
	Drain   Verb = "drain"   // it gets no more requests, and those that it had are answered
	Replace Verb = "replace" // it runs Revision, is ready and in its cluster's view, and gets no requests; one that is stopped stays so
	Start   Verb = "start"   // one that is stopped runs, is ready and in its cluster's view, and gets no requests
	Probe   Verb = "probe"   // people can log in through it, as is tried straight at it, until it is warm
	Admit   Verb = "admit"   // it gets requests, now and whenever it is ready again
	Add     Verb = "add"     // there is such a node, as after Replace
	Remove  Verb = "remove"  // there is none, nor what belonged to it alone

	// Of a region.
	Gate    Verb = "gate"    // no request reaches its nodes: its front holds them, up to a bound, or turns them away where it can't
	Open    Verb = "open"    // its front sends them on, and those that it held first
	Stop    Verb = "stop"    // its nodes are stopped, and nobody restarts them
	Fence   Verb = "fence"   // its database takes no write, whoever starts it; where it was stopped for that, standbys have got all first
	Promote Verb = "promote" // its database, a standby or a fenced one, is the primary, and waits for no standby
	Follow  Verb = "follow"  // its database is a standby that streams; where that is declared, the primary waits for it from then on
	Restore Verb = "restore" // its nodes' database is Database, which a backup was restored into, and the one that was is set aside; no node runs
	Degrade Verb = "degrade" // the primary waits for its database, a standby, no longer
)

// Step is one move of a deployment. Steps are data, so that a plan can be printed, reported and tested before anything moves.
type Step struct {
	Verb     Verb   `json:"verb"`
	Node     string `json:"node,omitempty"`
	Region   string `json:"region,omitempty"`   // that the node stands in, or that is meant
	Revision string `json:"revision,omitempty"` // prepare, add, replace
	Database string `json:"database,omitempty"` // restore
	Epoch    int64  `json:"epoch,omitempty"`    // 0 in a plan
	Why      string `json:"why,omitempty"`
}

// String is what the step does to what: replace paris-0, gate paris, prepare 4f2a91c05b77.
func (s Step) String() string {
	what := s.Node
	if what == "" {
		what = s.Region
	}
	if what == "" {
		what = s.Revision
	}
	return strings.TrimRight(string(s.Verb)+" "+what, " ")
}
