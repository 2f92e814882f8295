package reconcile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// remember writes the ledger of a converged pass, where what is declared has changed.
func (w *work) remember(ctx context.Context) error {
	l := w.ledger
	l.Server, l.RealmID, l.Source, l.Path, l.Environment = w.Want.Ref.Server, w.live.ID, w.Source, w.Path, w.Environment
	l.Owned, l.Digest = w.wanted(), w.digest(w.Want)
	maps.Copy(l.Owned, w.written())
	maps.Copy(l.Owned, w.kept())
	l.Inputs = w.inputs()
	maps.Copy(l.Inputs, w.leftInputs())
	l.Written = w.fingerprints()
	before := realm.Ledger{}
	if w.seen != nil {
		before = *w.seen
	}
	pinned := l.Pinned == before.Pinned && l.Past == before.Past
	named := w.ledger.Commit != "" || w.Commit == "" // what a changed tree applied has a commit now
	if named && pinned && !w.blind && l.Digest == w.ledger.Digest && maps.Equal(l.Owned, w.ledger.Owned) && !w.wroteUnseen() && l.Written.Equal(w.seenFingerprints()) {
		return nil
	}
	if err := w.unmoved(ctx); err != nil {
		return err
	}
	l.Commit = w.Commit
	return w.write(ctx, l)
}

// kept is what is ours, no longer declared and still there: withheld, or let be because drift is only reported.
func (w *work) kept() map[schema.Address]bool {
	kept, wanted := map[schema.Address]bool{}, w.wanted()
	for key := range w.ledger.Owned {
		a, path, isKey := strings.Cut(string(key), "#")
		o, live := w.live.State[schema.Address(a)]
		if !live || wanted[key] {
			continue
		}
		_, declared := w.Want.State[o.Address]
		others := realm.IsLinks(o.Address) && len(realm.Targets(w.granted(o, func(key schema.Address) bool { return w.ledger.Owned[key] }))) == 0
		if !isKey && w.owned(o.Address) && !others {
			kept[key] = true
		}
		v, there := drift.Value(o.Fields, path)
		if isKey && (declared || w.owned(o.Address)) && there && !drift.Nothing(w.Facts.Of(o.Address.Kind(), path), v) && w.removable(o.Address.Kind(), path) {
			kept[key] = true
		}
	}
	return kept
}

// removable tells whether a path leads to a key of an open map that the server doesn't put in by itself.
func (w *work) removable(kind, path string) bool {
	for i := range path {
		if path[i] == '.' && w.Facts.Of(kind, path[:i]).Map {
			return !w.Facts.Of(kind, path).HasServer
		}
	}
	return false
}

// write keeps the ledger in the realm.
func (w *work) write(ctx context.Context, l realm.Ledger) error {
	if err := w.realm.WriteLedger(ctx, &w.live, l); keycloak.IsConflict(err) { // another process was there first
		return cmp.Or(w.unmoved(ctx), err)
	} else if err != nil {
		return err
	}
	w.ledger, w.seen = l, &l
	return nil
}

// handOver makes sure that what this pass made is owned, where another process has written the ledger meanwhile: a write
// that was on its way can't be taken back, and that process didn't see what came of it. Its next pass will. The error is
// the one that ended the pass.
func (w *work) handOver(ctx context.Context, ended error) error {
	var newer *superseded
	if !errors.Is(ended, errMoved) && !errors.As(ended, &newer) {
		return ended
	}
	now, ok, err := w.realm.ReadLedger(ctx, w.Source)
	if err != nil || !ok {
		return ended
	}
	wanted, orphaned := w.wanted(), false
	for _, c := range w.report.Changes {
		if c.Op == drift.Delete || c.Outcome != drift.Done && c.Outcome != drift.Failed {
			continue
		}
		for key := range wanted {
			if (key == c.Address || strings.HasPrefix(string(key), string(c.Address)+"#")) && !now.Owned[key] {
				now.Owned[key], orphaned = true, true
			}
		}
		for key := range now.Written.Of {
			if w.crossed(c, key, now.Written) {
				delete(now.Written.Of, key)
				orphaned = true
			}
		}
	}
	retired, err := w.realm.Retiring(ctx, w.live)
	if err != nil {
		return errors.Join(ended, err)
	}
	for _, a := range retired {
		if !now.Owned[a] {
			now.Owned[a], orphaned = true, true
		}
	}
	if orphaned {
		if err := w.realm.WriteLedger(ctx, &w.live, now); err != nil {
			return errors.Join(ended, err)
		}
	}
	return ended
}

// wanted is what the source owns once the realm is as declared: the addresses, the declared keys of open maps, and of the
// realm itself, which sources may share, every field.
func (w *work) wanted() map[schema.Address]bool {
	owned := map[schema.Address]bool{}
	for a, o := range w.Want.State {
		owned[a] = true
		var walk func(at []string, fields map[string]any)
		walk = func(at []string, fields map[string]any) {
			key := a == schema.RealmAddress || w.Facts.Of(a.Kind(), strings.Join(at, ".")).Map
			for name, v := range fields {
				at := append(slices.Clip(at), name)
				if nested, ok := v.(map[string]any); ok {
					walk(at, nested)
				} else if key {
					owned[drift.Key(a, strings.Join(at, "."))] = true
				}
			}
		}
		walk(nil, o.Fields)
	}
	return owned
}

// written are the elements of lists that the server uses up, as keys. Only a converged pass has surely written them.
func (w *work) written() map[schema.Address]bool {
	owned := map[schema.Address]bool{}
	for a, o := range w.Want.State {
		for path, fact := range w.Facts[a.Kind()] {
			v, _ := drift.Value(o.Fields, path)
			if list, ok := v.([]any); ok && fact.Once {
				for _, element := range list {
					owned[drift.Key(a, drift.Element(path, element))] = true
				}
			}
		}
	}
	return owned
}

// intent is the ledger from before the first write on. It owns what it owned, what is wanted, and what the renames will take
// along, knows of what will come from $(…), and no longer of what stood where another value is about to go.
func (w *work) intent(todo []drift.Change) realm.Ledger {
	l := w.ledger
	l.Owned, l.Written = w.wanted(), w.forgets(todo)
	if l.Inputs != nil || len(w.ledger.Owned) == 0 { // else nobody wrote down what came from $(…), and that is to be known
		l.Inputs = w.inputs()
	}
	renames := slices.DeleteFunc(slices.Clone(todo), func(c drift.Change) bool { return c.Op != drift.Rename })
	for key := range w.ledger.Owned {
		l.Owned[key], l.Owned[realm.Moved(key, renames)] = true, true
	}
	for _, c := range todo { // Keycloak fills such a list of what is new, and a crash may come before that is taken out again
		for path, fact := range w.Facts[c.Address.Kind()] {
			if _, declared := drift.Value(c.Want.Fields, path); c.Op == drift.Create && fact.Once && declared {
				l.Owned[drift.Key(c.Address, path)] = true
			}
		}
	}
	for key := range w.ledger.Inputs {
		l.Inputs[key], l.Inputs[realm.Moved(key, renames)] = true, true
	}
	return l
}

// objects is how many objects are declared; links belong to their owners.
func (w *work) objects() int { return countObjects(maps.Keys(w.Want.State)) }

// mine are the live objects that are this source's, or become so by this pass.
func (w *work) mine() schema.State {
	mine := schema.State{}
	for a, o := range w.live.State {
		if _, wanted := w.Want.State[a]; wanted || w.ledger.Owned[a] {
			mine[a] = o
		}
	}
	return mine
}

func countObjects(addresses func(func(schema.Address) bool)) int {
	n := 0
	for a := range addresses {
		if !realm.IsLinks(a) {
			n++
		}
	}
	return n
}

// digest names what is declared, so that a commit which changes nothing for the realm writes nothing there. Secrets are
// left out: whoever may read the ledger could guess a short one by its hash.
func (w *work) digest(want *schema.Realm) string {
	hash := sha256.New()
	encode := json.NewEncoder(hash)
	for _, a := range want.State.Addresses() {
		o := want.State[a]
		encode.Encode([]any{a, w.public(o, "", o.Fields)})
	}
	encode.Encode(slices.Sorted(maps.Keys(want.Complete)))
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

func (w *work) public(o schema.Object, prefix string, fields map[string]any) map[string]any {
	shown := map[string]any{}
	for name, v := range fields {
		path := prefix + name
		if nested, ok := v.(map[string]any); ok {
			shown[name] = w.public(o, path+".", nested)
		} else if w.Facts.Secret(o, path) {
			shown[name] = "secret"
		} else {
			shown[name] = v
		}
	}
	return shown
}
