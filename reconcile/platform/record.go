package platform

import (
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Lifecycle is how a deployment is doing, as a whole. The zero value is that of a deployment that was never seen.
type Lifecycle string

// The lifecycles.
const (
	Running  Lifecycle = "RUNNING"
	Starting Lifecycle = "STARTING" // moves are in progress, and what nodes are brought to is frozen
	Error    Lifecycle = "ERROR"    // a move stopped; what serves goes on serving
)

// Record is what must outlive every process. It is comparable, and the same after a way through JSON.
type Record struct {
	Lifecycle Lifecycle `json:"lifecycle,omitempty"`
	Epoch     int64     `json:"epoch"`              // rises with every Save
	Active    string    `json:"active,omitempty"`   // the region that serves
	Override  string    `json:"override,omitempty"` // the region that a person or a failover made the active one, against what is declared
	Declared  string    `json:"declared,omitempty"` // the active region that was declared when Override was set

	Toward  string    `json:"toward,omitempty"` // the region that is about to become the active one, or to be it again
	Moved   int64     `json:"moved,omitempty"`  // the epoch of the last step of a region
	Since   time.Time `json:"since,omitzero"`   // when Active became the active one, UTC
	Synced  string    `json:"synced,omitempty"` // the standby that has all that was acknowledged, and will have as long as its name stands here
	Apart   time.Time `json:"apart,omitzero"`   // since when no standby streams, though the primary answers, UTC
	GaveUp  GaveUp    `json:"gaveUp"`           // the last switchover, where it was given up
	Decided Decided   `json:"decided"`          // who set out for Toward, or last for Active

	Restore Restoring `json:"restore"` // a backup that takes the place of the database; zero where none does

	To    Release    `json:"to"`              // what the nodes are brought to
	Good  Release    `json:"good"`            // what all of them last ran and were admitted with
	Began int64      `json:"began,omitempty"` // the epoch at which the move to To began or was resumed
	How   How        `json:"how,omitempty"`   // "" until it is decided
	Back  bool       `json:"back,omitempty"`  // the move failed, and Fault's node is brought back to Good
	Step  drift.Step `json:"step"`            // the last step of the move; zero where there is none
	Tries int        `json:"tries,omitempty"` // how often it was given another epoch, because the platform never took it up
	At    time.Time  `json:"at,omitzero"`     // when it was begun, UTC
	Fault Fault      `json:"fault"`           // why the move stopped
}

// Restoring is a backup on its way into the place of the database. While there is one, neither regions nor revisions move.
type Restoring struct {
	Database string `json:"database,omitempty"` // it was restored into
	Point    string `json:"point,omitempty"`    // what people know the backup by
	Done     bool   `json:"done,omitempty"`     // it is there, and nodes are on their way back
	Why      string `json:"why,omitempty"`      // it couldn't be put there, and nodes are on their way back to what was
}

// Release is one revision of what nodes run.
type Release struct {
	Revision string `json:"revision,omitempty"`
	Version  string `json:"version,omitempty"` // 26.7.3; "" where only an image is known
	Image    string `json:"image,omitempty"`
	Explicit string `json:"explicit,omitempty"` // update.revision
}

// ReleaseOf is what the nodes of a deployment shall run.
func ReleaseOf(d schema.Deployment) Release {
	return Release{Revision: d.Revision, Version: d.Version, Image: d.Image, Explicit: d.Update.Revision}
}

// How nodes are brought to another release.
type How string

// The ways.
const (
	Roll     How = "roll"     // one after the other
	Recreate How = "recreate" // all stop before any starts anew
)

// GaveUp is a switchover that was given up.
type GaveUp struct {
	At    time.Time `json:"at,omitzero"` // UTC
	Why   string    `json:"why,omitempty"`
	Times int       `json:"times,omitempty"` // in a row
}

// Decided is who decided that another region be the active one.
type Decided struct {
	By    string    `json:"by,omitempty"` // the controller, or the watcher of a region
	Why   string    `json:"why,omitempty"`
	At    time.Time `json:"at,omitzero"`     // UTC
	Epoch int64     `json:"epoch,omitempty"` // of the record that said so first: its steps have this one or a greater
}

// Fault is why a move stopped.
type Fault struct {
	Step drift.Step `json:"step"`          // that failed; without a verb where none did
	Why  string     `json:"why,omitempty"` // without secrets
	Log  string     `json:"log,omitempty"` // the last lines of the node's log, without secrets
}
