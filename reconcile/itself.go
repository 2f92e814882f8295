package reconcile

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// realmItself makes, renames or removes the realm as a whole. A new realm brings objects of its own, so what else is to do
// is seen by a new look at it. Done says that there is nothing else to do.
func (w *work) realmItself(ctx context.Context) (done bool, err error) {
	if w.Want.Absent {
		return true, w.removeRealm(ctx)
	}
	if w.live.Exists {
		return false, nil
	}
	if w.live, err = w.renamedRealm(ctx); err != nil || w.live.Exists {
		return false, err
	}
	if w.Mode != Apply {
		return false, nil
	}
	if problems := realm.Dangling(w.realm, w.live, w.Want.State); len(problems) > 0 {
		w.report.Problems = problems
		return true, &Blocked{Why: problems[0].String()}
	}
	first := w.compare()
	if err := w.agreedTo(first); err != nil {
		return true, err
	}
	w.begin(first...)
	if err := w.realm.Create(ctx, w.Want.State[schema.RealmAddress]); err != nil {
		return true, err
	}
	created := drift.Change{Op: drift.Create, Cause: drift.FromCommit, Address: schema.RealmAddress,
		Want: w.Want.State[schema.RealmAddress], Outcome: drift.Done}
	w.report.Changes = append(w.report.Changes, created)
	err = w.observe(ctx)
	w.wrote(created)
	return false, err
}

// renamedRealm finds the realm under a former name, and renames it.
func (w *work) renamedRealm(ctx context.Context) (realm.Live, error) {
	for _, was := range w.Want.State[schema.RealmAddress].Was {
		former := &realm.Realm{Client: w.Client, Name: was, Kinds: w.Kinds}
		live, err := former.Observe(ctx, w.Want, w.Source)
		if err != nil || !live.Exists {
			if err != nil {
				return live, err
			}
			continue
		}
		change := drift.Change{Op: drift.Rename, Cause: drift.FromCommit, Address: schema.RealmAddress, From: schema.RealmAddress,
			Want: w.Want.State[schema.RealmAddress], Have: live.State[schema.RealmAddress], Says: "the realm was " + was,
			Diffs: []drift.Diff{{Path: "realm", At: []string{"realm"}, Want: w.Want.Ref.Realm, Have: was, Cause: drift.FromCommit}},
			Risk:  []drift.Risk{drift.EndsSessions, drift.BreaksLogins}}
		if w.Account.Realm == was {
			change.Risk = append(change.Risk, drift.CutsOwnAccess)
		}
		w.report.Changes = append(w.report.Changes, change)
		if w.Mode != Apply {
			w.live = live
			return live, w.openLedger()
		}
		if err := checkLimits(w.Want.Limits, w.report.Changes, nil, 1); err != nil {
			return live, err
		}
		if w.Agreed != nil { // what is agreed to is all that the rename is the first of
			w.live = live
			if err := w.openLedger(); err != nil {
				return live, err
			}
			all, err := w.decide()
			if err = cmp.Or(err, w.Agreed(all)); err != nil {
				return live, err
			}
		}
		w.begin(change)
		if err := former.Rename(ctx, w.Want.Ref.Realm); err != nil {
			return live, err
		}
		w.report.Changes[len(w.report.Changes)-1].Outcome = drift.Done
		err = w.observe(ctx)
		return w.live, err
	}
	return w.live, nil
}

// removeRealm deletes a realm that is declared absent, where that is allowed and the realm is ours.
func (w *work) removeRealm(ctx context.Context) error {
	if !w.live.Exists {
		return nil
	}
	change := drift.Change{Op: drift.Delete, Cause: drift.FromCommit, Address: schema.RealmAddress,
		Have: w.live.State[schema.RealmAddress], Risk: []drift.Risk{drift.Deletes}}
	if w.Account.Realm == w.Want.Ref.Realm {
		change.Risk = append(change.Risk, drift.CutsOwnAccess)
	}
	w.report.Changes = []drift.Change{change}
	switch {
	case !w.ledger.Owned[schema.RealmAddress]:
		return &Blocked{"would delete realm " + w.Want.Ref.Realm + ", which this source never declared", "delete it by hand"}
	case !w.AllowRealmDeletion:
		return &Blocked{"would delete realm " + w.Want.Ref.Realm + " and everything in it", "allow it by --allow-realm-deletion"}
	}
	for _, source := range slices.Sorted(maps.Keys(w.others())) {
		return &Blocked{"would delete realm " + w.Want.Ref.Realm + ", of which " + source + " declares a part", "let that source give up its part first"}
	}
	if err := checkLimits(w.Want.Limits, w.report.Changes, nil, len(w.ledger.Owned)); err != nil || w.Mode != Apply {
		return err
	}
	if err := w.agreedTo(w.report.Changes); err != nil {
		return err
	}
	w.begin(change)
	if err := w.unmoved(ctx); err != nil {
		return err
	}
	if err := w.restorePoint(w.report.Changes); err != nil {
		return err
	}
	if err := w.realm.Remove(ctx); err != nil {
		return err
	}
	w.report.Changes[0].Outcome = drift.Done
	return nil
}
