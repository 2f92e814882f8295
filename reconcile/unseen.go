package reconcile

import (
	"reflect"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// What Keycloak never gives back is left out of the ledger's digest as all secrets are, and can't be compared either. So
// it takes a fingerprint, or the commit before, to tell that such a value was changed.

// memory is what a comparison knows of the past, under the names that the renames give.
func (w *work) memory(owned func(schema.Address) bool, renames []drift.Change) drift.Memory {
	m := drift.Memory{Owned: owned, Input: w.input(renames), Given: w.given}
	if remembered := w.remembered(renames); w.Mode == Drift {
		m.Written = func(at schema.Address, v any) bool { // what can't be told is no drift
			same, known := remembered(at, v)
			return same || !known
		}
	} else if w.FingerprintKey != "" {
		m.Written = func(at schema.Address, v any) bool { same, _ := remembered(at, v); return same }
	}
	return m
}

// given are the actions that Keycloak requires of everybody new, where the user may have been made by a pass that ended
// before it took them out again.
func (w *work) given(key schema.Address) []any {
	if !w.ledger.Owned[key] {
		return nil
	}
	return realm.OfEverybody(w.live.State)
}

// hides tells whether the value at a path is one that nobody can read back.
func (w *work) hides(a schema.Address, path string) bool {
	fact := w.Facts.Of(a.Kind(), path)
	live, _ := drift.Value(w.live.State[a].Fields, path)
	return fact.WriteOnly || fact.Hides(live)
}

// unseen tells whether objects hold values that nobody can read back.
func (w *work) unseen(state schema.State) bool {
	for a, o := range w.seeable(state) {
		if !reflect.DeepEqual(o.Fields, state[a].Fields) {
			return true
		}
	}
	return false
}

// seeable is a state without the values that nobody can read back.
func (w *work) seeable(state schema.State) schema.State {
	seeable := schema.State{}
	for a, o := range state {
		var without func(prefix string, fields map[string]any) map[string]any
		without = func(prefix string, fields map[string]any) map[string]any {
			kept := map[string]any{}
			for name, v := range fields {
				if nested, ok := v.(map[string]any); ok {
					kept[name] = without(prefix+name+".", nested)
				} else if !w.hides(a, prefix+name) {
					kept[name] = v
				}
			}
			return kept
		}
		o.Fields = without("", o.Fields)
		seeable[a] = o
	}
	return seeable
}

// wroteUnseen tells whether such a value was changed: what was last applied is this commit's then.
func (w *work) wroteUnseen() bool {
	for _, c := range w.report.Changes {
		for _, d := range c.Diffs {
			if c.Outcome == drift.Done && (d.Unseen || w.hides(c.Address, d.Path)) {
				return true
			}
		}
	}
	return false
}
