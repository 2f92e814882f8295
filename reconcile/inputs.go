package reconcile

import (
	"maps"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// What came from $(…) isn't shown, and neither is what stands on the server where it once went. So the ledger keeps the
// paths of such values, from before they are written until something else is declared there.

// input tells what may have come to the server from $(…), by any source: that isn't shown, whatever takes its place; nil
// where nobody wrote it down.
func (w *work) input(renames []drift.Change) func(schema.Address) bool {
	inputs := map[schema.Address][]string{}
	for source, l := range w.live.Ledgers {
		if source == w.Source && l.Inputs == nil && w.base == nil {
			return nil
		}
		for key := range l.Inputs {
			a, path, _ := strings.Cut(string(realm.Moved(key, renames)), "#")
			inputs[schema.Address(a)] = append(inputs[schema.Address(a)], path)
		}
	}
	return func(key schema.Address) bool {
		a, path, _ := strings.Cut(string(key), "#")
		for _, input := range inputs[schema.Address(a)] {
			if path == input || strings.HasPrefix(input, path+".") || strings.HasPrefix(path, input+".") {
				return true
			}
		}
		return false
	}
}

// inputs are the values that come from $(…), as keys.
func (w *work) inputs() map[schema.Address]bool {
	inputs := map[schema.Address]bool{}
	for a, o := range w.Want.State {
		for path := range o.Inputs {
			inputs[drift.Key(a, path)] = true
		}
	}
	return inputs
}

// leftInputs are the values that came from $(…) once and may still be there: nobody declares them any longer.
func (w *work) leftInputs() map[schema.Address]bool {
	left := maps.Clone(w.ledger.Inputs)
	maps.DeleteFunc(left, func(key schema.Address, _ bool) bool {
		a, path, _ := strings.Cut(string(key), "#")
		_, live := w.live.State[schema.Address(a)]
		_, declared := drift.Value(w.Want.State[schema.Address(a)].Fields, path)
		return !live || declared
	})
	return left
}
