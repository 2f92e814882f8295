package reconcile

import (
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// agreedTo holds the changes against those that were agreed to. What a new realm brings was not there to be planned.
func (w *work) agreedTo(changes []drift.Change) error {
	if w.Agreed == nil || w.made() {
		return nil
	}
	return w.Agreed(changes)
}

// made tells whether this pass has made the realm.
func (w *work) made() bool {
	return slices.ContainsFunc(w.report.Changes, func(c drift.Change) bool {
		return c.Op == drift.Create && c.Address == schema.RealmAddress && c.Outcome == drift.Done
	})
}
