package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// openLedger takes up what this source owns here.
func (w *work) openLedger() error {
	w.ledger = realm.Ledger{Server: w.Want.Ref.Server, RealmID: w.live.ID, Source: w.Source}
	w.seen = nil
	found, ok := w.live.Ledgers[w.Source]
	if ok {
		w.seen = &found
	}
	switch {
	case !ok:
		w.base = schema.State{}
		return w.hold()
	case found.Server != w.ledger.Server || found.RealmID != w.ledger.RealmID:
		w.Log.Warn("the ledger came with a copy of another realm and owns nothing here", "realm", w.Want.Ref, "from", found.Server)
		w.base = schema.State{}
		return w.hold()
	}
	w.ledger = found
	if err := w.hold(); err != nil {
		return err
	}
	if w.past != nil {
		w.base = w.past.State
		return nil
	}
	if w.held == "" && w.Commit != "" && found.Commit != "" && found.Commit != w.Commit && w.Descends != nil && w.Mode == Apply {
		if newer, err := w.Descends(w.Commit, found.Commit); err == nil && newer {
			return &superseded{found.Commit}
		}
	}
	same := found.Digest == w.digest(w.Want)
	if same && (found.Commit == w.Commit || found.Commit == "" || w.Base == nil || !w.unseen(w.Want.State)) {
		w.base = w.Want.State
		return nil
	}
	if found.Commit == "" || w.Base == nil {
		return nil
	}
	base, err := w.Base(found.Commit)
	if err != nil {
		w.Log.Info("what was last applied can't be read", "realm", w.Want.Ref, "commit", found.Commit, "error", err)
		if w.blind = true; same { // but for what the digest leaves out, it is what is declared now
			w.base = w.seeable(w.Want.State)
		}
		return nil
	}
	w.base = base.State
	if w.Mode == Drift {
		w.Want, w.past = base, base
	}
	return nil
}

// superseded says that a newer commit was applied meanwhile.
type superseded struct{ by string }

func (s *superseded) Error() string { return "superseded by " + short(s.by) }

func short(commit string) string { return commit[:min(7, len(commit))] }

// owned tells what may be removed: what the ledger holds, and strangers in lists that are complete as declared.
func (w *work) owned(a schema.Address) bool {
	if strings.Contains(string(a), "#") {
		return w.ledger.Owned[a]
	}
	o := w.live.State[a]
	o.Address = a
	if realm.Builtin(w.Want.Ref.Realm, o) || w.live.Ambiguous[a] || realm.Released(w.Want.Ref.Realm, a) || realm.IsLinks(a) && len(realm.Targets(o)) == 0 {
		return false // there is nothing to remove, or nothing that may be
	}
	if w.Account.Realm == w.Want.Ref.Realm && (a == schema.Join(schema.RealmAddress, "clients", w.Account.ClientID) || a == w.Account.user()) {
		return false
	}
	if w.ownedByAnother(a) != "" {
		return false
	}
	complete := w.Want.Complete[a.List()] || strings.HasPrefix(string(a), "groups/") && a.Kind() == "groups" && w.Want.Complete["groups"] // subgroups are groups
	return w.ledger.Owned[a] || complete && !realm.IsLinks(a) && !realm.Registered(w.live.State, a)
}

// granted are an object's links without those that stand under keys of open maps which aren't ours.
func (w *work) granted(links schema.Object, owned func(key schema.Address) bool) schema.Object {
	var ours func(at []string, fields map[string]any) map[string]any
	ours = func(at []string, fields map[string]any) map[string]any {
		open, kept := w.Facts.Of(links.Address.Kind(), strings.Join(at, ".")).Map, map[string]any{}
		for name, v := range fields {
			at := append(slices.Clip(at), name)
			if nested, ok := v.(map[string]any); ok {
				kept[name] = ours(at, nested)
			} else if !open || owned(drift.Key(links.Address, strings.Join(at, "."))) {
				kept[name] = v
			}
		}
		return kept
	}
	links.Fields = ours(nil, links.Fields)
	return links
}

// others are the other sources that own something here.
func (w *work) others() map[string]realm.Ledger {
	others := map[string]realm.Ledger{}
	for source, l := range w.live.Ledgers {
		if source != w.Source && l.Server == w.Want.Ref.Server && l.RealmID == w.live.ID && len(l.Owned) > 0 {
			others[source] = l
		}
	}
	return others
}

// ownedByAnother is the other source that owns an object or map key, "" where none does.
func (w *work) ownedByAnother(a schema.Address) string {
	for source, l := range w.others() {
		if l.Owned[a] {
			return source
		}
	}
	return ""
}

// withhold keeps an object with which somebody else's would go: a stranger's group, or whatever another source owns. What
// else goes with an object, it says.
func (w *work) withhold(c *drift.Change) {
	if c.Op != drift.Delete {
		return
	}
	if c.Address.List() == "components" && c.Address.Key()[0] == "org.keycloak.storage.UserStorageProvider" && c.Says == "" {
		c.Says = "the users that it imported go with it"
	}
	var holds []string
	for source, l := range w.others() {
		for a := range l.Owned {
			if a != c.Address && a.Within(c.Address) && !strings.Contains(string(a), "#") {
				holds = append(holds, string(a)+" of "+source)
			}
		}
	}
	for a := range w.live.State {
		if a != c.Address && a.Within(c.Address) && a.Kind() == "groups" && !w.owned(a) && w.ownedByAnother(a) == "" {
			holds = append(holds, string(a)+", which is nobody's")
		}
	}
	if len(holds) > 0 {
		c.Outcome, c.Says = drift.Withheld, "it holds "+slices.Min(holds)
	}
}

// withheld is what a pass could not do without harm to others, once it has done all else.
func withheld(changes []drift.Change) error {
	for _, c := range changes {
		if c.Outcome == drift.Withheld {
			return &Blocked{fmt.Sprintf("would delete %s, but %s", c.Address, c.Says), "move or delete by hand what it holds, or declare it again"}
		}
	}
	return nil
}

// foreign are the declared objects and map keys that another source owns. The realm itself may be shared, field by field.
func (w *work) foreign() []schema.Problem {
	var problems []schema.Problem
	wanted := w.wanted()
	for source, l := range w.others() {
		for a := range l.Owned {
			if a == schema.RealmAddress || !wanted[a] {
				continue
			}
			address, path, _ := strings.Cut(string(a), "#")
			o := w.Want.State[schema.Address(address)]
			origin, ok := o.Origins[path]
			if !ok {
				origin = o.Origin
			}
			problems = append(problems, schema.Problem{Origin: origin, Realm: &w.Want.Ref,
				What: fmt.Sprintf("%s is declared by two sources: this one, %s, and %s", a, w.Source, source),
				Hint: "declare it in one of them"})
		}
	}
	return schema.SortProblems(problems)
}

// unmoved makes sure that the ledger is still as this pass read it: another process may have applied a newer commit.
func (w *work) unmoved(ctx context.Context) error {
	now, ok, err := w.realm.ReadLedger(ctx, w.Source)
	if err != nil {
		return err
	}
	if ok == (w.seen != nil) && (!ok || now.Equal(*w.seen)) {
		return nil
	}
	if ok && w.Descends != nil && now.Commit != w.Commit && now.Commit != "" && w.Commit != "" {
		if newer, err := w.Descends(w.Commit, now.Commit); err == nil && newer {
			return &superseded{now.Commit}
		}
	}
	return errMoved
}

// errMoved ends a pass that another process has crossed.
var errMoved = errors.New("another process changed the ledger; the next pass looks again")

// Crossed tells whether a pass ended because another process was writing: the next one looks again.
func Crossed(err error) bool { return errors.Is(err, errMoved) }
