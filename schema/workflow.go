package schema

import (
	"slices"
	"strconv"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// workflows reads the components that an export of kc.sh has in place of workflows. One without its configuration, as the
// console exports them, is left alone; so are all where the definitions are of a version that holds them otherwise.
func (w *walker) workflows(o *Object, f *field, e entry, label string) {
	list, ok := e.value.(*ast.ListLit)
	if !ok {
		w.mistyped(e.value, label, e.origin, "a list", "", "")
		return
	}
	known := w.definitions.forms["#RealmRepresentation"].fields[f.instead]
	var declared []ast.Expr
	for _, elem := range list.Elts {
		component, _ := elem.(*ast.StructLit)
		if component == nil || w.structIn(component, "config") == nil || known.elem.fields["schedule"] == nil {
			w.unmanaged(&field{name: e.name, instead: "use " + f.instead}, e, label)
			continue
		}
		declared = append(declared, w.workflow(component))
	}
	w.list(o, known, entry{e.name, e.origin, &ast.ListLit{Lbrack: list.Lbrack, Elts: declared}}, label)
}

// configured is where a workflow declares what its component configures by another name, or not as a string.
var configured = map[string]struct {
	in, name string
	kind     token.Token
}{
	"conditions":          {"", "if", token.STRING},
	"enabled":             {"", "enabled", token.TRUE},
	"schedule.after":      {"schedule", "after", token.STRING},
	"schedule.batch-size": {"schedule", "batch-size", token.INT},
	"cancel-in-progress":  {"concurrency", "cancel-in-progress", token.STRING},
	"restart-in-progress": {"concurrency", "restart-in-progress", token.STRING},
}

// workflow is what declares the workflow that a component holds. What it supports follows from the rest.
func (w *walker) workflow(component *ast.StructLit) *ast.StructLit {
	workflow, parts := &ast.StructLit{Lbrace: component.Lbrace}, map[string]*ast.StructLit{}
	for _, e := range w.entries(w.structIn(component, "config"), "", Origin{}) {
		s, known := configured[e.name]
		if e.name == "supports" {
			continue
		}
		if !known {
			s.name = e.name
		}
		in := workflow
		if s.in != "" {
			if in = parts[s.in]; in == nil {
				in = &ast.StructLit{Lbrace: component.Lbrace}
				parts[s.in] = in
				put(workflow, s.in, in)
			}
		}
		put(in, s.name, w.single(e.value, s.kind))
	}
	put(workflow, "steps", w.workflowSteps(component))
	return workflow
}

// workflowSteps are the steps of the workflow that a component holds, which stand below it in no order.
func (w *walker) workflowSteps(component *ast.StructLit) *ast.ListLit {
	steps, places := &ast.ListLit{Lbrack: component.Lbrace}, map[ast.Expr]int{}
	if below := w.structIn(component, "subComponents"); below != nil {
		for _, of := range w.listed(below, "org.keycloak.models.workflow.WorkflowStepProvider") {
			step, with := &ast.StructLit{Lbrace: of.Lbrace}, &ast.StructLit{Lbrace: of.Lbrace}
			put(step, "uses", ast.NewString(w.textOf(of, "providerId")))
			if config := w.structIn(of, "config"); config != nil {
				for _, e := range w.entries(config, "", Origin{}) {
					switch value := w.single(e.value, token.STRING); e.name {
					case "priority":
						place, _, _ := w.scalarText(value)
						places[step], _ = strconv.Atoi(place)
					case "after":
						put(step, e.name, value)
					default:
						put(with, e.name, value)
					}
				}
			}
			if len(with.Elts) > 0 {
				put(step, "with", with)
			}
			steps.Elts = append(steps.Elts, step)
		}
	}
	slices.SortStableFunc(steps.Elts, func(a, b ast.Expr) int { return places[a] - places[b] })
	return steps
}

func put(s *ast.StructLit, name string, value ast.Expr) {
	s.Elts = append(s.Elts, &ast.Field{Label: ast.NewString(name), Value: value})
}

// single is the one value of a list, a string as exports write it, as what it means; or else the list.
func (w *walker) single(n ast.Expr, kind token.Token) ast.Expr {
	list, ok := n.(*ast.ListLit)
	if !ok || len(list.Elts) != 1 {
		return n
	}
	text, _, ok := w.scalarText(list.Elts[0])
	switch {
	case ok && kind == token.TRUE && (text == "true" || text == "false"):
		return &ast.BasicLit{ValuePos: list.Elts[0].Pos(), Kind: map[string]token.Token{"true": token.TRUE, "false": token.FALSE}[text], Value: text}
	case ok && kind == token.INT:
		return &ast.BasicLit{ValuePos: list.Elts[0].Pos(), Kind: token.INT, Value: text}
	}
	return list.Elts[0]
}
