package reconcile

import (
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// left is the realm as the renames and deletes will leave it, which is what the manifests may refer to.
func (w *work) left(changes []drift.Change) realm.Live {
	left := w.live
	left.State = maps.Clone(w.live.State)
	for _, c := range changes {
		from := c.From
		if c.Op == drift.Delete {
			from = c.Address
		}
		if from == "" || from == schema.RealmAddress {
			continue
		}
		for a, o := range maps.Clone(left.State) {
			if !a.Within(from) {
				continue
			}
			if delete(left.State, a); c.Op == drift.Rename {
				left.State[a.Moved(from, c.Address)] = o
			}
		}
	}
	return left
}

// sides are what is compared, in the form in which it is.
type sides struct {
	base, want, have schema.State
	ours             map[schema.Address]bool // under the names that it will have
	renames          []drift.Change          // of this pass, and those made before
}

func (w *work) sides() sides {
	want := schema.State{}
	for a, o := range w.completed() {
		if !realm.ReadOnly(w.Want.Ref.Realm, a) {
			want[a] = o
		}
	}
	base, have := w.base, w.live.State
	before, now := drift.Renames(want, base), drift.Renames(want, have)
	if base != nil {
		base = realm.Renamed(base, before)
	}
	have = realm.Renamed(have, now)
	made, ours := append(renamed(want, have), now...), map[schema.Address]bool{} // ours under the names that they will have
	for key := range w.ledger.Owned {
		ours[realm.Moved(key, made)] = true
	}
	return sides{realm.Aligned(want, base, before), realm.Aligned(want, want, nil), realm.Aligned(want, have, append(w.live.Rebinding(want), now...)), ours, made}
}

// compare is what differs now, but for what Keycloak lets nobody write.
func (w *work) compare() []drift.Change {
	s := w.sides()
	owned := func(a schema.Address) bool { return w.owned(a) || strings.Contains(string(a), "#") && s.ours[a] }
	changes := drift.Compare(w.Facts, s.base, w.memory(owned, s.renames), s.want, s.have)
	w.report.Unseen = drift.FindUnseen(w.Facts, s.want, s.have, changes, w.remembered(s.renames))
	for i, c := range changes {
		if c.Op == drift.Delete && realm.IsLinks(c.Address) {
			changes[i].Have = w.granted(c.Have, func(key schema.Address) bool { return s.ours[realm.Moved(key, s.renames)] })
		}
		if c.Op == drift.Delete && (w.ledger.Owned[c.Address] || s.ours[c.Address]) {
			changes[i].Cause = drift.FromCommit // it is ours, and no longer declared, whatever can be read of the past
		} else if c.Op == drift.Delete {
			changes[i].Cause = drift.FromDrift // a stranger in a complete list
		}
	}
	changes = slices.DeleteFunc(changes, func(c drift.Change) bool {
		others := c.Op == drift.Delete && realm.IsLinks(c.Address) && len(realm.Targets(c.Have)) == 0
		return others || realm.ReadOnly(w.Want.Ref.Realm, c.Address)
	})
	return w.retirements(s.want, changes)
}

// renamed are the renames that the manifests declare and that were made before: a process that another overtook may have
// written, and left in the ledger, what bears the former names.
func renamed(want, have schema.State) []drift.Change {
	var renames []drift.Change
	for _, a := range want.Addresses() {
		for _, was := range want[a].Was {
			from := drift.Former(a, was)
			_, wanted := want[from]
			if _, live := have[from]; !wanted && !live {
				renames = append(renames, drift.Change{Op: drift.Rename, From: from, Address: a})
			}
		}
	}
	return renames
}

// apart takes drift that is only reported out of what a commit changes in the same object.
func (w *work) apart(changes []drift.Change) []drift.Change {
	if w.Want.Drift != "report" || w.Mode == Drift {
		return changes
	}
	var apart []drift.Change
	for _, c := range changes {
		if asked, moved, ok := c.Apart(); ok {
			apart, c = append(apart, asked), moved
		}
		if w.reported(c) {
			c.Says = strings.TrimPrefix(c.Says+"; reported only", "; ")
		}
		apart = append(apart, c)
	}
	return apart
}

// reported tells whether a change stands in the report and is not made.
func (w *work) reported(c drift.Change) bool {
	return w.Want.Drift == "report" && c.Cause == drift.FromDrift
}

// todo is what this pass may change: where drift is only reported, what a commit asked for.
func (w *work) todo(changes []drift.Change) []drift.Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c drift.Change) bool { return c.Outcome != "" || w.reported(c) })
}
