package schema

import (
	"strings"

	"cuelang.org/go/cue/ast"
)

// identify notes by what names those objects of the file are called whose ids it gives: exports refer to some of them by
// id. A group's path is called by it too where a name in it holds a slash, which exports don't tell from one between two.
func (w *walker) identify(root *ast.StructLit) {
	w.named = map[string]map[string]string{"authenticationFlows": {}, "groups": {}, "roles": {}}
	for _, flow := range w.listed(root, "authenticationFlows") {
		if id, alias := w.textOf(flow, "id"), w.textOf(flow, "alias"); id != "" {
			w.named["authenticationFlows"][id] = alias
		}
	}
	for list, field := range map[string]string{"users": "username", "clients": "clientId", "organizations": "alias"} {
		w.named[list] = map[string]string{}
		w.identifyBy(list, w.listed(root, list), field, "")
	}
	if roles := w.structIn(root, "roles"); roles != nil {
		w.identifyBy("roles", w.listed(roles, "realm"), "name", "")
		if clients := w.structIn(roles, "client"); clients != nil {
			for client := range w.document.members(clients) {
				w.identifyBy("roles", w.listed(clients, client), "name", client+"/")
			}
		}
	}
	w.identifyGroups(w.listed(root, "groups"), "")
	for _, organization := range w.listed(root, "organizations") {
		w.identifyGroups(w.listed(organization, "groups"), "")
	}
}

// identifyBy notes the names of objects of a kind, with what stands before each where policies call it so.
func (w *walker) identifyBy(kind string, objects []*ast.StructLit, field, before string) {
	for _, o := range objects {
		if id, name := w.textOf(o, "id"), w.textOf(o, field); id != "" && name != "" {
			w.named[kind][id] = before + name
		}
	}
}

func (w *walker) structIn(s *ast.StructLit, name string) *ast.StructLit {
	if f := w.document.members(s)[name]; f != nil {
		object, _ := f.Value.(*ast.StructLit)
		return object
	}
	return nil
}

func (w *walker) identifyGroups(groups []*ast.StructLit, parent string) {
	for _, group := range groups {
		path := parent + "/" + strings.ReplaceAll(w.textOf(group, "name"), "/", "~/")
		if id := w.textOf(group, "id"); id != "" {
			w.named["groups"][id] = path
		}
		if exported := w.textOf(group, "path"); strings.ReplaceAll(path, "~/", "/") == exported && w.named["groups"][exported] != exported {
			w.named["groups"][exported] = path
		}
		w.identifyGroups(w.listed(group, "subGroups"), path)
	}
}

// listed are the objects in a list of an object.
func (w *walker) listed(s *ast.StructLit, name string) []*ast.StructLit {
	f := w.document.members(s)[name]
	if f == nil {
		return nil
	}
	list, _ := f.Value.(*ast.ListLit)
	if list == nil {
		return nil
	}
	var objects []*ast.StructLit
	for _, elem := range list.Elts {
		if s, ok := elem.(*ast.StructLit); ok {
			objects = append(objects, s)
		}
	}
	return objects
}

func (w *walker) textOf(s *ast.StructLit, name string) string {
	f := w.document.members(s)[name]
	if f == nil {
		return ""
	}
	text, _, _ := w.scalarText(f.Value)
	return text
}
