package schema

import "cuelang.org/go/cue/ast"

// flowNames puts the aliases of flows in the place of their ids, which exports have in the overrides of clients: a file
// resolves the ids of its own.
func (w *walker) flowNames(root *ast.StructLit) {
	flows := w.document.members(root)["authenticationFlows"]
	if flows == nil {
		return
	}
	list, _ := flows.Value.(*ast.ListLit)
	if list == nil {
		return
	}
	aliases := map[string]string{}
	for _, elem := range list.Elts {
		if s, ok := elem.(*ast.StructLit); ok {
			members := w.document.members(s)
			if id, alias := members["id"], members["alias"]; id != nil && alias != nil {
				from, _, _ := w.scalarText(id.Value)
				aliases[from], _, _ = w.scalarText(alias.Value)
			}
		}
	}
	for a, o := range w.into.State {
		bound, _ := o.Fields["authenticationFlowBindingOverrides"].(map[string]any)
		if a.Kind() != "clients" {
			continue
		}
		for name, id := range bound {
			if s, ok := id.(string); ok && aliases[s] != "" {
				bound[name] = aliases[s]
			}
		}
	}
}
