package reconcile

import (
	"reflect"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// What Keycloak never gives back is left out of the ledger's digest as all secrets are, and can't be compared either. So
// it takes the commit before to tell that a commit changed such a value.

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
				} else if !w.Facts.Of(a.Kind(), prefix+name).WriteOnly {
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
			if c.Outcome == drift.Done && w.Facts.Of(c.Address.Kind(), d.Path).WriteOnly {
				return true
			}
		}
	}
	return false
}
