package schema

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
)

// evaluate reads what files of CUE declare. Those of one folder and package are one value, as they are to cue itself; one
// without a package clause stands alone. Nothing is imported but what CUE brings along.
func (l *loader) evaluate(files []file) (documents []document) {
	type unit struct {
		file  // the first
		files []*ast.File
		bad   bool
	}
	var units []*unit
	byPackage := map[string]*unit{}
	for _, f := range files {
		if path.Ext(f.name) != ".cue" {
			continue
		}
		source, problem := l.source(f.name)
		if problem != nil {
			l.problem(*problem)
			continue
		}
		syntax, err := parser.ParseFile(f.name, source)
		u := &unit{file: f}
		if err == nil && syntax.PackageName() != "" {
			key := path.Dir(f.name) + ":" + syntax.PackageName()
			if byPackage[key] == nil {
				byPackage[key] = u
				units = append(units, u)
			}
			u = byPackage[key]
		} else {
			units = append(units, u)
		}
		if err != nil {
			l.cueProblems(f, err)
			u.bad = true
			continue
		}
		u.bad = l.imports(f, syntax) || u.bad
		u.files = append(u.files, syntax)
		u.named = u.named || f.named
	}
	for _, u := range units {
		if !u.bad {
			documents = append(documents, l.instance(u.file, u.files)...)
		}
	}
	return documents
}

// imports tells whether a file imports what isn't CUE's own.
func (l *loader) imports(f file, syntax *ast.File) (foreign bool) {
	for spec := range syntax.ImportSpecs() {
		name, _ := literal.Unquote(spec.Path.Value)
		if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") || first == "tool" {
			l.problem(problemf(document{file: f}.at(spec, Origin{File: f.name}), "write it out here: only what CUE brings along is imported", "imports %s", name))
			foreign = true
		}
	}
	return foreign
}

// instance evaluates files as one, and takes the manifests out of the value: all of it, its elements, or its fields.
func (l *loader) instance(f file, files []*ast.File) (documents []document) {
	defer func() {
		if r := recover(); r != nil { // a mistake of the evaluator's ends one folder's manifests, not the controller
			l.problem(problemf(Origin{File: f.name}, "", "CUE gives up on it: %v", r))
			documents = nil
		}
	}()
	instance := build.NewContext().NewInstance(path.Dir(f.name), nil)
	for _, syntax := range files {
		if err := instance.AddSyntax(syntax); err != nil {
			l.cueProblems(f, err)
			return nil
		}
	}
	root := cuecontext.New().BuildInstance(instance)
	if err := root.Err(); err != nil {
		l.cueProblems(f, err)
		return nil
	}
	found := []cue.Value{root}
	if !isManifestValue(root) {
		found = nil
		for fields, err := root.Fields(); err == nil && fields.Next(); {
			found = append(found, fields.Value())
		}
	}
	for _, v := range found {
		if list, err := v.List(); err == nil {
			for list.Next() {
				documents = append(documents, l.concrete(f, list.Value())...)
			}
			continue
		}
		documents = append(documents, l.concrete(f, v)...)
	}
	if f.named && len(documents) == 0 {
		l.problem(problemf(Origin{File: f.name}, "a manifest has apiVersion: "+apiVersion, "holds no manifest"))
	}
	return documents
}

// isManifestValue tells whether a value is to be read as a manifest; anything else is there for other files' use.
func isManifestValue(v cue.Value) bool {
	return v.IncompleteKind() == cue.StructKind && (v.LookupPath(cue.ParsePath("apiVersion")).Exists() || v.LookupPath(cue.ParsePath("realm")).Exists())
}

func (l *loader) concrete(f file, v cue.Value) []document {
	if !isManifestValue(v) {
		return nil
	}
	if err := v.Validate(cue.Concrete(true), cue.Final()); err != nil {
		l.cueProblems(f, err)
		return nil
	}
	return []document{{file: f, root: syntaxOf(v), evaluated: true}}
}

// syntaxOf is a value as a manifest would spell it, each part with the place that it comes from.
func syntaxOf(v cue.Value) ast.Expr {
	if d, ok := v.Default(); ok {
		v = d
	}
	var n ast.Expr
	switch v.Kind() {
	case cue.StructKind:
		s := &ast.StructLit{}
		for fields, err := v.Fields(); err == nil && fields.Next(); {
			label := ast.NewString(fields.Selector().Unquoted())
			ast.SetPos(label, placeOf(fields.Value()))
			s.Elts = append(s.Elts, &ast.Field{Label: label, Value: syntaxOf(fields.Value())})
		}
		n = s
	case cue.ListKind:
		list := &ast.ListLit{}
		for elements, err := v.List(); err == nil && elements.Next(); {
			list.Elts = append(list.Elts, syntaxOf(elements.Value()))
		}
		n = list
	default:
		n = scalarOf(v)
	}
	ast.SetPos(n, placeOf(v))
	return n
}

// placeOf is where a value is written; of one that several places agree on, where it is said outright and not only bounded.
func placeOf(v cue.Value) token.Pos {
	length := func(v cue.Value) int64 { n, _ := v.Len().Int64(); return n }
	if op, parts := v.Expr(); op == cue.AndOp && v.Kind() != cue.StructKind {
		for _, part := range parts {
			choice, _ := part.Expr()
			if choice != cue.OrOp && part.Kind() == v.Kind() && length(part) == length(v) && part.Pos().IsValid() {
				return part.Pos()
			}
		}
	}
	return v.Pos()
}

func scalarOf(v cue.Value) ast.Expr {
	switch v.Kind() {
	case cue.NullKind:
		return ast.NewNull()
	case cue.BoolKind:
		b, _ := v.Bool()
		return ast.NewBool(b)
	case cue.IntKind, cue.FloatKind, cue.NumberKind:
		kind := token.FLOAT
		if v.Kind() == cue.IntKind {
			kind = token.INT
		}
		text, _ := v.MarshalJSON()
		return ast.NewLit(kind, string(text))
	case cue.BytesKind:
		b, _ := v.Bytes()
		return ast.NewString(string(b))
	}
	s, _ := v.String()
	return ast.NewString(s)
}

// cueProblems are what CUE finds, each at the place that a person has to mend.
func (l *loader) cueProblems(f file, err error) {
	for _, e := range errors.Errors(err) {
		at := Origin{File: f.name}
		for _, p := range slices.Concat([]token.Pos{e.Position()}, e.InputPositions()) {
			if p.IsValid() && p.Filename() != "" && !strings.HasPrefix(p.Filename(), "/") {
				at = document{file: f}.place(p)
				break
			}
		}
		format, args := e.Msg()
		what := fmt.Sprintf(format, args...)
		if path := e.Path(); len(path) > 0 {
			what = strings.Join(path, ".") + ": " + what
		}
		l.problem(problemf(at, "", "%s", what))
	}
}
