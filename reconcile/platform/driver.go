// Package platform is the seam to where nodes run. A Driver implements it for one platform; reconcile/rollout decides what
// a driver is to do, and platformtest holds every driver to what stands here.
package platform

import (
	"context"
	"errors"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Driver runs deployments on one platform. Every method may be called again with the same arguments at any time, by
// several processes at once, and after a call whose answer was lost. An error means that the call may have done all, a part
// or nothing: whoever called looks again. A Driver keeps nothing in memory that another process would need.
type Driver interface {
	// Observe looks at the deployment as it is. A look may be old, and its parts of different times, but that what it says
	// of nodes, regions, Fit and Dumped is no older than its Move. Of a deployment that was never seen it is Seen{}.
	Observe(ctx context.Context, d schema.Deployment) (Seen, error)

	// Desired is what the platform should hold that needs no order: network rules, DNS, settings of the balancer and the
	// database, certificates, disruption budgets. It looks at nothing but d. What differs from Seen.Have is drift.
	Desired(d schema.Deployment) (schema.State, schema.Facts, error)

	// Apply makes the changes, of which Seen.Have then tells. Changes are independent; one that fails stops no other.
	// Where epoch is older than the Record's, it does nothing and returns ErrOldEpoch.
	Apply(ctx context.Context, d schema.Deployment, changes []drift.Change, epoch int64) error

	// Do begins a step and returns without waiting for its end. From then on Observe shows the step as the Move, until
	// another one begins; the driver gives up by itself on a step that doesn't come to its end, and shows it as failed. A step
	// whose epoch isn't the Record's isn't begun: ErrOldEpoch. While a step is under way another one isn't begun: an error.
	//
	// Prepare is of d's Revision. What other steps name is that too, or one that was prepared before: the driver knows it
	// until neither the Record nor a node names it.
	Do(ctx context.Context, d schema.Deployment, s drift.Step) error

	// Save replaces the Record if its epoch is still old.Epoch; otherwise it returns ErrMoved, also where the Record is new
	// already. New has a greater epoch. When Save has returned, the Record outlives the loss of every process, and where the
	// regions stand apart, the loss of any one of them: else nobody could fail over.
	Save(ctx context.Context, d schema.Deployment, old, new Record) error
}

// Watchers is the kind of the objects, among those of Desired, by which watchers know what is declared. They are applied also
// where a deployment is suspended, since that is what watchers have to know then.
const Watchers = "watchers"

// Why a call is refused. The caller looks again and decides anew.
var (
	ErrOldEpoch = errors.New("a newer epoch is in force")
	ErrMoved    = errors.New("another process has written the record meanwhile")
)
