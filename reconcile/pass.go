// Package reconcile makes the difference between declared and live go away, and says what it found and did.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// Mode is how far a pass goes.
type Mode int

// The modes.
const (
	Plan  Mode = iota // says what Apply would do; writes nothing
	Apply             // makes the realm as declared
	Drift             // says how the realm differs from what was last applied; writes nothing
)

// Pass is one look at one realm, from the beginning to the report. Its zero Mode plans.
type Pass struct {
	Mode     Mode
	Client   *keycloak.Client
	Account  Account       // whom the client signs in as
	Want     *schema.Realm // what is in force for the realm
	Facts    schema.Facts
	Kinds    map[string]schema.Kind
	Problems []schema.Problem // of the tree; those that block the realm end the pass

	Source, Path, Environment string
	Commit                    string // "" for what stands in no commit
	// Base is what an earlier commit of the source declared for the realm; an error where it can't be read.
	Base func(commit string) (*schema.Realm, error)
	// Descends tells whether commit b comes after a; nil where the source knows no commits.
	Descends func(a, b string) (bool, error)

	FingerprintKey FingerprintKey // tells of secrets that can't be read back whether they changed
	// Names are what the ids of declared objects stood for when earlier passes looked, by which who deleted one is known. A
	// pass adds what it sees; nil forgets it.
	Names map[string][]schema.Address

	// Agreed holds the changes that a pass is about to make against those that somebody has agreed to; nil where nobody was asked.
	Agreed func([]drift.Change) error

	// Outputs takes the secrets that Keycloak made for declared clients, once the realm is as declared; nil leaves them there.
	Outputs func([]schema.Withheld) error

	// Rollback is the commit to go back to; nil for going on with Commit.
	Rollback *Rollback
	// RestorePoints keeps what the pass changes and deletes; nil keeps nothing.
	RestorePoints *RestorePoints

	AllowRealmDeletion bool
	Report             func(drift.Report) // told of drift and of other changes before they are made, and of the end; may be nil
	Now                func() time.Time   // nil: time.Now
	Log                *slog.Logger
}

// Account is whom a client signs in as, which a pass must not lock out, and the server's version as far as it may see that.
type Account struct{ Realm, ClientID, User, Version string }

// Run makes the pass. Its report says all that happened; the error is what ended it early, for the exit code.
func (p Pass) Run(ctx context.Context) (report drift.Report, err error) {
	report = drift.Report{Commit: p.Commit, Server: p.Want.Ref.Server, Realm: p.Want.Ref.Realm, Began: p.now()}
	w := &work{Pass: p, report: &report}
	defer func() {
		conclude(&report, p.Mode, err)
		w.sayHeld()
		report.Later, report.Ended = w.later(), p.now()
		w.rememberNames()
		w.tell()
	}()
	held := p.Want.Suspend != nil && (p.Want.Suspend.Until.IsZero() || p.now().Before(p.Want.Suspend.Until))
	if held && p.Mode == Apply {
		report.Verdict, report.Says = drift.Suspended, suspended(*p.Want.Suspend, "")
		return report, nil
	}
	report.Problems = append(schema.Blocking(p.Problems, p.Want.Ref), schema.UnknownTo(p.Account.Version, p.Want)...)
	if len(report.Problems) > 0 {
		return report, &Blocked{Why: report.Problems[0].String()}
	}
	if err = w.run(ctx); err == nil && held && p.Mode == Plan {
		report.Verdict, report.Says = drift.Suspended, suspended(*p.Want.Suspend, "; apply would do nothing")
	}
	return report, err
}

func (p Pass) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// refuse is the report of a pass that couldn't even begin.
func (p Pass) refuse(err error) (drift.Report, error) {
	now := p.now()
	report := drift.Report{Commit: p.Commit, Server: p.Want.Ref.Server, Realm: p.Want.Ref.Realm, Began: now, Ended: now}
	conclude(&report, p.Mode, err)
	if p.Report != nil {
		p.Report(report)
	}
	return report, err
}

// work is a pass under way.
type work struct {
	Pass
	report *drift.Report
	realm  *realm.Realm
	live   realm.Live
	ledger realm.Ledger
	seen   *realm.Ledger  // as the realm held it when we looked; nil where there was none
	past   *schema.Realm  // what was last applied, where that is what drift is looked for in
	blind  bool           // what was last applied can't be read
	sought schema.Address // what is to be explained, and so is read, whoever declares it
	base   schema.State   // what was declared when the ledger was last written; nil where that can't be read
	blamed []drift.Change // those that no flow could take in place
	reads  int64          // that the client had sent before

	held string                         // the commit of a rollback that is in force in place of a newer one
	back map[schema.Address]savedObject // what a rollback brings back, as far as git doesn't have it
}

// run is the pass: observe, decide, act, look again, remember.
func (w *work) run(ctx context.Context) error {
	w.reads, _ = w.Client.Counts()
	if err := w.observe(ctx); err != nil {
		return err
	}
	if done, err := w.realmItself(ctx); done || err != nil {
		return err
	}
	changes, err := w.decide()
	w.attribute(ctx, changes)
	w.report.Changes = changes
	if err == nil {
		w.noteCost(changes)
	}
	if err != nil || w.Mode != Apply {
		return err
	}
	if err := w.agreedTo(changes); err != nil {
		return err
	}
	if todo := w.todo(changes); len(todo) > 0 {
		if drift.Drifts(changes) {
			conclude(w.report, w.Mode, nil)
			w.tell()
		} else {
			w.begin(todo...)
		}
		if err := w.settle(ctx, todo); err != nil {
			return w.handOver(ctx, err)
		}
	}
	if err := unfinished(w.report.Changes); err != nil {
		return err
	}
	if err := w.handOver(ctx, w.remember(ctx)); err != nil {
		return err
	}
	if w.Outputs != nil {
		if err := w.Outputs(w.outputs()); err != nil {
			return err
		}
	}
	return withheld(w.report.Changes)
}

// begin says what is about to be changed.
func (w *work) begin(changes ...drift.Change) {
	w.report.Verdict, w.report.Says = drift.Progressing, drift.Sentence("applying: "+drift.SayChanges(changes))
	w.tell()
}

func (w *work) tell() {
	if w.Report != nil {
		w.Report(*w.report)
	}
}

// observe reads the realm, the ledger, and what was declared when that was written.
func (w *work) observe(ctx context.Context) (err error) {
	for looked := (*schema.Realm)(nil); looked != w.Want; { // what was last applied may need other reads than the manifests
		looked = w.Want
		w.realm = &realm.Realm{Client: w.Client, Name: w.Want.Ref.Realm, Kinds: w.Kinds, Complete: w.Want.Complete, Partly: w.Mode == Drift}
		if w.live, err = w.realm.Observe(ctx, w.asking(), w.Source); err != nil {
			return err
		}
		if !w.live.Exists {
			if w.realm.Fresh, err = schema.Fresh(schema.Nearest(w.Account.Version), w.Want.Ref.Realm); err != nil {
				return err
			}
		}
		if err = w.openLedger(); err != nil {
			return err
		}
	}
	if w.Rollback != nil && w.held != "" && w.back == nil {
		if w.back, err = w.lost(); err != nil {
			return err
		}
	}
	w.leaveUnseen()
	w.live = w.live.FindRetired(w.ledger.Owned, w.Want.State)
	for _, name := range w.live.Unread {
		w.Log.Warn("another source's ledger can't be read; what that source owns isn't known", "realm", w.Want.Ref, "attribute", name)
	}
	return nil
}

// leaveUnseen takes out of what is declared the kinds that the account can't see, and says so: they may be as declared or not.
func (w *work) leaveUnseen() {
	if len(w.live.Blind) == 0 {
		return
	}
	seen := *w.Want
	seen.State = maps.Clone(w.Want.State)
	maps.DeleteFunc(seen.State, func(a schema.Address, _ schema.Object) bool { return !w.live.Sees(a) })
	w.Want = &seen
	for _, kind := range slices.Sorted(maps.Keys(w.live.Blind)) {
		w.report.Blind = append(w.report.Blind, kind)
		w.report.Notes = append(w.report.Notes, w.live.Blind[kind].Error()+"; they weren't compared")
	}
}

// decide lists the changes, or says what forbids them.
func (w *work) decide() ([]drift.Change, error) {
	w.report.Objects = w.objects()
	changes := w.compare()
	var obstacles []schema.Problem
	if w.Mode != Drift {
		changes, obstacles = w.beside(changes)
	}
	left := w.left(changes)
	problems := slices.Concat(w.foreign(), realm.Dangling(w.realm, left, w.completed()), realm.Dropped(changes), obstacles)
	if len(problems) > 0 {
		w.report.Problems = problems
		return w.report.Changes, &Blocked{Why: problems[0].String()}
	}
	changes = w.apart(changes)
	for i := range changes {
		if _, retired := w.live.Retired[changes[i].Address]; retired {
			changes[i].Risk = w.risksOfRetiring(changes[i])
		} else {
			changes[i].Risk = risks(w.Want.Ref.Realm, w.Account, changes[i])
		}
		w.withhold(&changes[i])
	}
	all := slices.Concat(w.report.Changes, changes)
	if w.Mode == Drift {
		return all, nil
	}
	mine := w.mine()
	limits := w.Want.Limits
	if w.made() || w.Rollback != nil && w.Rollback.Unlimited {
		limits.Deletes, limits.Changes = unlimited, unlimited // what this pass has just made has nothing to lose
	}
	return all, checkLimits(limits, slices.Concat(w.report.Changes, w.todo(changes)), mine, countObjects(maps.Keys(mine)))
}

// settle makes the changes and looks again: what still differs failed to converge, unless one of our own writes moved it
// after it was written, and it can be put right.
func (w *work) settle(ctx context.Context, todo []drift.Change) error {
	err := w.apply(ctx, todo)
	w.note(todo)
	if err != nil {
		return err
	}
	left, err := w.again(ctx)
	if moved := stirred(left, todo); err == nil && len(moved) > 0 {
		err = w.apply(ctx, moved)
		w.report.Changes = append(w.report.Changes, moved...)
		if err == nil {
			left, err = w.again(ctx)
		}
	}
	if err != nil || len(left) == 0 {
		return err
	}
	return cmp.Or(w.unmoved(ctx), fmt.Errorf("failed to converge: %s", drift.SayChanges(left)))
}

// stirred are the changes of flows that are left after components were written, which comes after the flows: a federation
// with Kerberos switches auth-spnego on in all of them.
func stirred(left, made []drift.Change) []drift.Change {
	if !slices.ContainsFunc(made, func(c drift.Change) bool { return c.Address.Kind() == "components" }) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(left), func(c drift.Change) bool {
		return c.Op != drift.Update || c.Address.Kind() != "authenticationFlows"
	})
}

// apply makes the changes. What it is about to create it owns first, so that a crash leaves nothing behind that is nobody's.
func (w *work) apply(ctx context.Context, todo []drift.Change) error {
	if err := w.unmoved(ctx); err != nil {
		return err
	}
	w.sayBack(todo)
	if err := w.restorePoint(todo); err != nil {
		return err
	}
	if intent := w.intent(todo); !intent.Equal(w.ledger) {
		if err := w.write(ctx, intent); err != nil {
			return err
		}
	}
	err := w.realm.Apply(ctx, w.live, w.completed(), todo, w.now(), w.unmoved)
	for _, c := range todo {
		w.wrote(c)
	}
	return err
}

// note brings the outcomes into the report.
func (w *work) note(done []drift.Change) {
	for i, c := range w.report.Changes {
		for _, d := range done {
			if c.Address == d.Address && c.Op == d.Op && w.reported(c) == w.reported(d) {
				w.report.Changes[i] = d
			}
		}
	}
}

// again looks once more, and lists what still differs.
func (w *work) again(ctx context.Context) ([]drift.Change, error) {
	ledger := w.ledger
	live, err := w.realm.Observe(ctx, w.Want, w.Source)
	if err != nil {
		return nil, err
	}
	w.live, w.ledger = live.FindRetired(ledger.Owned, w.Want.State), ledger
	base := schema.State{}
	maps.Copy(base, w.base)
	for _, c := range w.report.Changes { // what nobody can read is taken to be as it was just written
		if o, wanted := w.Want.State[c.Address]; wanted && c.Outcome == drift.Done {
			base[c.Address] = o
		}
	}
	w.base = base
	changes := w.apart(w.compare())
	if err := unfinished(w.report.Changes); err != nil {
		return nil, errors.Join(err, w.keepFingerprints(ctx))
	}
	for i := range changes {
		w.withhold(&changes[i])
	}
	return slices.DeleteFunc(w.todo(changes), func(c drift.Change) bool { // a retired flow goes in a later pass
		_, retired := w.live.Retired[c.Address]
		return retired && c.Op == drift.Delete
	}), nil
}
