package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// What can't be changed in a flow while people sign in by it is changed by building another flow in its place: the old one
// is retired, and goes in a later pass, when nobody can be signing in by it any more.

// beside retires the flows that are in the way of the changes, and lists the changes anew. The problems are those that
// remain.
func (w *work) beside(changes []drift.Change) ([]drift.Change, []schema.Problem) {
	for {
		want := w.completed()
		problems, roots := realm.Obstacles(w.live, realm.Aligned(want, want, nil), w.todo(w.apart(changes)), w.ledger.Owned)
		if len(roots) == 0 {
			return changes, problems
		}
		for root, why := range roots {
			if problem, ok := w.shared(root); ok {
				return changes, append(problems, problem)
			}
			w.blamed = append(w.blamed, blamed(w.live, root, changes)...)
			w.live = w.live.Retire(root, why...)
		}
		changes = w.compare()
	}
}

// shared is the problem of a flow in which something stands that another source owns.
func (w *work) shared(root schema.Address) (schema.Problem, bool) {
	for _, part := range w.live.Parts(root).Addresses() {
		if source := w.ownedByAnother(part); source != "" {
			return schema.Problem{Origin: w.Want.State[root].Origin, Realm: &w.Want.Ref,
				What: fmt.Sprintf("%s would have to be built anew, and %s in it is declared by another source, %s", root, part, source),
				Hint: "declare both in one of them, or a flow with another alias"}, true
		}
	}
	return schema.Problem{}, false
}

// blamed are the changes of a flow and of what stands in it, as far as they are to be made.
func blamed(live realm.Live, root schema.Address, changes []drift.Change) []drift.Change {
	parts := live.Parts(root)
	return slices.DeleteFunc(slices.Clone(changes), func(c drift.Change) bool {
		at := c.Address
		if c.Op == drift.Rename {
			at = c.From
		}
		_, part := parts[at]
		return !part
	})
}

// completed is what the manifests ask for, with what they leave to the server in flows that are built anew, and what comes
// back by a rollback.
func (w *work) completed() schema.State { return w.bringBack(w.live.Completed(w.Want.State)) }

// retirements puts what is to be done about retired flows among the changes: to retire them, to go on where a pass was cut
// off, and to remove them in the end. To compare they are surplus, and what takes their place is new.
func (w *work) retirements(want schema.State, changes []drift.Change) []drift.Change {
	changes = slices.DeleteFunc(changes, func(c drift.Change) bool { _, retired := w.live.Retired[c.Address]; return retired })
	if w.Mode == Drift {
		return changes // we made them what they are
	}
	causes, first := map[schema.Address]drift.Cause{}, []drift.Change{}
	for _, a := range slices.Sorted(maps.Keys(w.live.Retired)) {
		c, ok := w.retirement(want, a)
		if ok {
			causes[a] = c.Cause
			first = append(first, c)
		}
	}
	changes = append(first, changes...)
	for a, retired := range w.live.Rebuilt(want) {
		for i := range changes {
			if c := &changes[i]; c.Address == a && c.Op != drift.Delete {
				_, declared := w.Want.State[a]
				w.rebuilt(c, causes[retired], declared)
			}
		}
	}
	return changes
}

// rebuilt makes a change say that it takes part in building a flow anew.
func (w *work) rebuilt(c *drift.Change, cause drift.Cause, declared bool) {
	c.Cause, c.Diffs = cause, slices.Clone(c.Diffs)
	for i := range c.Diffs {
		c.Diffs[i].Cause = cause
	}
	if !declared { // and what it holds nobody has called a secret or not
		c.Diffs, c.Says = nil, "as it was"
	}
}

// retirement is what is to be done about one; false where nothing is, yet.
func (w *work) retirement(want schema.State, a schema.Address) (drift.Change, bool) {
	r := w.live.Retired[a]
	to := r.Successor(want)
	c := drift.Change{Op: drift.Update, Cause: drift.FromCommit, Address: a, Have: w.live.State[a]}
	c.Want.Origin = want[to].Origin
	goes := "it goes when nobody can be signing in by it any more"
	switch due := w.due(r); {
	case r.From != "":
		c.Op, c.From, c.Says = drift.Rename, r.From, fmt.Sprintf("%s: %s", strings.Join(r.Why, ", "), goes)
		if to != "" {
			c.Says = fmt.Sprintf("%s: %s is built beside it, whoever is bound to it is bound to that, and %s", strings.Join(r.Why, ", "), to.Name(), goes)
		}
		for i, blamed := range w.blamedFor(r) {
			if c.Cause = blamed.Cause; i > 0 && c.Cause != blamed.Cause {
				c.Cause = drift.FromBoth
			}
		}
	case r.Since.IsZero() || len(w.live.Binders(a)) > 0:
		if c.Says = goes; to != "" {
			c.Says = fmt.Sprintf("whoever is bound to it is bound to %s, and %s", to.Name(), goes)
		}
	case w.now().Before(due):
		return c, false
	default:
		c.Op, c.Says = drift.Delete, "nobody can be signing in by it any more"
	}
	return c, true
}

func (w *work) blamedFor(r realm.Retired) []drift.Change {
	return slices.DeleteFunc(slices.Clone(w.blamed), func(c drift.Change) bool {
		_, part := r.Parts[c.Address]
		_, was := r.Parts[c.From]
		return !part && !was
	})
}

// due is when nobody can be signing in any more by a flow that nobody is bound to.
func (w *work) due(r realm.Retired) time.Time { return r.Since.Add(w.live.LoginLifespan()) }

// later is what will be removed in another pass.
func (w *work) later() []drift.Later {
	var later []drift.Later
	for _, a := range slices.Sorted(maps.Keys(w.live.Retired)) {
		if r := w.live.Retired[a]; !r.Since.IsZero() && len(w.live.Binders(a)) == 0 {
			if due := w.due(r); w.now().Before(due) {
				later = append(later, drift.Later{Address: a, After: due})
			}
		}
	}
	return later
}

// risksOfRetiring are the classes of harm that a flow can do which makes room for another. Its removal was announced then.
func (w *work) risksOfRetiring(c drift.Change) []drift.Risk {
	if c.Op == drift.Delete {
		return nil
	}
	var found []drift.Risk
	r := w.live.Retired[c.Address]
	if c.Op == drift.Rename && r.Successor(w.Want.State) == "" {
		found = append(found, drift.Deletes)
	}
	found = append(found, drift.BreaksLogins, drift.AsksAgain)
	if slices.ContainsFunc(w.blamedFor(r), weakens) {
		found = append(found, drift.WeakensSafety)
	}
	if w.Account.Realm == w.Want.Ref.Realm {
		found = append(found, drift.CutsOwnAccess)
	}
	return found
}
