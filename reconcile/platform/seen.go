package platform

import (
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Seen is a deployment as it is.
type Seen struct {
	Record  Record
	Move    Move     // the last step that the platform has taken up
	Nodes   []Node   // every slot that exists, by name
	Regions []Region // every region that exists, by name
	Fit     Fit      // what the last Prepare found out
	Dumped  int64    // the epoch of the newest Dump that is complete
	Past    []Move   // steps of regions that have ended, oldest first, as far back as the platform knows them; nothing is decided by it

	Telemetry []Telemetry // what is sent to collectors, by region, collector and kind; nothing is decided by it

	Have schema.State // what Desired is compared with: of what is ours, all
	Base schema.State // what was last applied of it; nil where that isn't known
}

// Move is a step on its way.
type Move struct {
	Step  drift.Step
	State MoveState
	At    time.Time // when it came into this state
	Why   string    // where it failed
	Log   string    // where it failed: the last lines of the node's log
}

// MoveState is how far a step is.
type MoveState string

// The states of a move.
const (
	Doing  MoveState = "doing"
	Done   MoveState = "done"
	Failed MoveState = "failed"
	Lost   MoveState = "lost" // whoever worked on it is gone: it is half done until it is begun again
)

// kept is how many steps of regions are remembered.
const kept = 50

// Passed is what is known of steps that have ended, after another one has: if it was a region's.
func Passed(past []Move, m Move) []Move {
	if m.Step.Region == "" || m.Step.Node != "" {
		return past
	}
	if n := len(past); n > 0 && past[n-1].Step == m.Step { // it was begun again
		past = past[:n-1]
	}
	past = append(slices.Clip(past), m)
	return past[max(0, len(past)-kept):]
}

// Node is one slot.
type Node struct {
	Name, Region, Zone string
	Revision, Version  string // what it runs, or will run when it is started
	Stopped            bool   // on purpose; one that isn't, the platform restarts by itself whenever it dies
	Ready              bool
	In                 bool   // it gets requests whenever it is ready
	Draining           bool   // it gets none any more, and still answers some that it had
	View               int    // how many nodes its cluster has, as it sees it itself; 0 where it isn't ready
	Why                string // it isn't stopped and isn't ready: exited with 1, restarted 3 times

	Since time.Time // when its process started, where that is known: the oldest of a cluster leads it
}

// Serves tells whether requests reach the node.
func (n Node) Serves() bool { return n.In && n.Ready }

// Drained tells whether the node can go without anybody noticing.
func (n Node) Drained() bool { return !n.Ready || !n.In && !n.Draining }

// Region is a place that nodes and a database stand in.
type Region struct {
	Name  string
	View  string    // regions of the same one form one cluster
	Gated bool      // its front holds new requests
	Lost  time.Time // since when it hasn't answered, and nothing else is known of it; zero where it answers

	Role        Role   // as it was, where it doesn't answer
	Epoch       int64  // of the step that gave it its role
	Streaming   bool   // a standby: it receives what the primary writes
	Synchronous bool   // a standby: the primary waits for it, also while it is away; as it was, where the primary can't be asked
	Lag         int64  // bytes that it hasn't replayed
	LSN         uint64 // how far it has written (primary, fenced) or replayed (standby): a standby that has replayed as much has all
	Why         string // what is wrong with its database, or waits for its next start
}

// Role is what a region's database does.
type Role string

// The roles; "" is that of a database that isn't the platform's.
const (
	Primary Role = "primary"
	Standby Role = "standby"
	Fenced  Role = "fenced"
)

// Fit is what Prepare found out about a revision and those that ran then.
type Fit struct {
	Revision string
	Epoch    int64    // of the Prepare
	From     []string // the revisions that ran
	Verdict  Verdict
	Says     string // why, where it isn't Compatible
}

// Verdict is whether nodes of two revisions may serve side by side. The zero value is that nobody knows.
type Verdict string

// The verdicts.
const (
	Compatible   Verdict = "compatible"
	Incompatible Verdict = "incompatible"
)

// Node is the node of a name, and whether there is one.
func (s Seen) Node(name string) (Node, bool) {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return s.Nodes[i], true
}

// Region is the region of a name, and whether there is one.
func (s Seen) Region(name string) (Region, bool) {
	i := slices.IndexFunc(s.Regions, func(r Region) bool { return r.Name == name })
	if i < 0 {
		return Region{}, false
	}
	return s.Regions[i], true
}

// Cluster is how many nodes a node of the region should see: those that are ready in the regions of its view.
func (s Seen) Cluster(region string) int {
	own, _ := s.Region(region)
	count := 0
	for _, n := range s.Nodes {
		if r, _ := s.Region(n.Region); n.Ready && r.View == own.View {
			count++
		}
	}
	return count
}
