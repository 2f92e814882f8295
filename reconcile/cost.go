package reconcile

import (
	"fmt"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// noteCost says what applying the changes will ask of a server that may be asked only so much.
func (w *work) noteCost(changes []drift.Change) {
	limit := w.Client.PerSecond()
	if w.Mode != Plan || limit == 0 {
		return
	}
	reads, _ := w.Client.Counts()
	n := cost(int(reads-w.reads), w.todo(changes))
	took := time.Duration(float64(n) / limit * float64(time.Second)).Round(time.Second)
	w.report.Notes = append(w.report.Notes, fmt.Sprintf("apply would send about %d requests: %s at %v a second", n, max(took, time.Second), limit))
}

// cost is about how many requests it takes to make changes, where a look at the realm takes some reads: a second look, each
// change, and the ledger, which is written at the beginning and the end and read between.
func cost(reads int, todo []drift.Change) int {
	if len(todo) == 0 {
		return reads
	}
	made := map[schema.Address]bool{}
	for _, c := range todo {
		if c.Op == drift.Create {
			made[c.Address] = true
		}
	}
	n, deletes := 2*reads+4, 0
	for _, c := range todo {
		switch {
		case c.Op == drift.Delete: // reads the ledger
			deletes++
			n += 2
		case c.Op == drift.Create && made[c.Address.Parent()] && realm.ComesAlong(c.Address):
		case c.Op == drift.Create, realm.IsLinks(c.Address):
			n++
		default: // reads what it writes
			n += 2
		}
	}
	return n + min(realm.Looks, len(todo)-deletes)
}
