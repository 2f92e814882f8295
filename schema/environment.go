package schema

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
)

// Environment is what a manifest of kind Environment says: which parts of the tree are read, and in which order they lie
// upon each other.
type Environment struct {
	Name    string
	Origin  Origin
	Layers  []Layer // from the lowest to the topmost
	Server  string  // where realms go that name no server themselves; "" leaves that to Options
	Differs []Difference

	problems []Problem
}

// Layer is a folder, or a file, of the configuration.
type Layer struct {
	Path   string // from the configuration's root
	Origin Origin
}

// Difference allows an environment to declare something otherwise than the environment that it is held against.
type Difference struct {
	Address Address // clients/portal; a part that is * stands for any; "spec" for the settings around a realm
	Path    string  // what may differ in it, with all below; "" is all of it, and of what stands in it
	Origin  Origin
}

// String is the difference as a manifest lists it.
func (d Difference) String() string {
	if d.Path == "" {
		return string(d.Address)
	}
	return string(d.Address) + "#" + d.Path
}

// deploymentKind is what stands before a deployment's name, where it is held against another.
const deploymentKind = "deployments"

// OfDeployment tells whether it is about deployments, rather than about what realms hold.
func (d Difference) OfDeployment() bool { return d.Address.Kind() == deploymentKind }

// Allows tells whether something may differ: an object, where no path is given, or what stands in it at a path. What an
// object refers to counts as its own: roles/auditor#composites.
func (d Difference) Allows(kinds map[string]Kind, a Address, path string) bool {
	if path != "" && kinds[a.Kind()].Links && d.Allows(nil, a.Parent(), path) {
		return true
	}
	parts, wanted := strings.Split(string(a), "/"), strings.Split(string(d.Address), "/")
	if len(parts) < len(wanted) || len(parts) > len(wanted) && d.Path != "" {
		return false
	}
	for i, w := range wanted {
		if w != "*" && w != parts[i] {
			return false
		}
	}
	return d.Path == "" || path != "" && pathWithin(path, d.Path)
}

// Environments are all environments that the manifests of a tree declare, by name.
func Environments(fsys fs.FS, o Options) ([]Environment, error) {
	d, err := define(o.Version)
	if err != nil {
		return nil, err
	}
	found, _ := (&loader{fsys: fsys, options: o, definitions: d}).environments()
	return found, nil
}

// layers are the files to read, layer by layer. Without an Environment the whole tree is one layer; where there are
// some, one has to be named.
func (l *loader) layers() (layers [][]file) {
	environments, unread := l.environments()
	if l.options.Environment == "" && len(environments) == 0 {
		return [][]file{l.files(l.options.Paths)}
	}
	e := l.choose(environments, unread)
	if e == nil {
		return nil
	}
	l.environment = e
	l.problems = append(l.problems, e.problems...)
	if len(e.problems) > 0 || !l.standing(e.Layers) {
		return nil
	}
	named := map[string]file{}
	if len(l.options.Paths) > 0 {
		for _, f := range l.files(l.options.Paths) {
			named[f.name] = f
		}
	}
	for _, layer := range e.Layers {
		files := l.files([]string{layer.Path})
		if len(l.options.Paths) > 0 {
			files = slices.DeleteFunc(files, func(f file) bool { _, meant := named[f.name]; return !meant })
			for i, f := range files {
				files[i] = named[f.name]
			}
		}
		layers = append(layers, files)
	}
	l.options.Server = cmp.Or(e.Server, l.options.Server)
	return layers
}

// choose is the environment that the options name.
func (l *loader) choose(environments []Environment, unread []Problem) *Environment {
	wanted := l.options.Environment
	var names []string
	var found []*Environment
	for i, e := range environments {
		if e.Name == "" {
			l.problems = append(l.problems, e.problems...)
			continue
		}
		names = append(names, e.Name)
		if e.Name == wanted {
			found = append(found, &environments[i])
		}
	}
	all := strings.Join(slices.Compact(names), ", ")
	switch {
	case wanted == "" && len(names) == 0:
	case wanted == "":
		l.problem(problemf(environments[0].Origin, "name one by --environment", "the configuration has environments, and none is named: %s", all))
	case len(found) == 1:
		return found[0]
	case len(found) > 1:
		l.problem(problemf(found[1].Origin, "keep one", "environment %s stands here twice, first at %s", wanted, found[0].Origin))
	case len(names) == 0:
		l.problems = append(l.problems, unread...)
		l.problem(problemf(Origin{}, "write a manifest of kind Environment, or leave --environment out: then the whole tree is one layer", "no environment is declared, and %q is asked for", wanted))
	default:
		l.problems = append(l.problems, unread...)
		l.problem(problemf(Origin{}, cmp.Or(didYouMean(wanted, names), "there are: "+all), "environment %q is not declared", wanted))
	}
	return nil
}

// environments finds what is declared anywhere in the tree, before anything else is read: neither CUE nor what is
// encrypted is looked into. Unread is what can't be read that may be an Environment.
func (l *loader) environments() (found []Environment, unread []Problem) {
	scan := &loader{fsys: l.fsys, options: l.options, definitions: l.definitions}
	for _, f := range scan.files(l.options.Paths) {
		if path.Ext(f.name) == ".cue" {
			continue
		}
		source, problem := scan.source(f.name)
		if problem != nil || !bytes.Contains(source, []byte("Environment")) {
			continue
		}
		scan.problems = nil
		for _, doc := range scan.parse(f, source) {
			if root, ok := doc.root.(*ast.StructLit); ok && doc.isEnvironment(root) {
				found = append(found, scan.environmentManifest(doc, root))
			}
		}
		unread = append(unread, scan.problems...)
	}
	slices.SortStableFunc(found, func(a, b Environment) int { return strings.Compare(a.Name, b.Name) })
	return found, unread
}

func (d document) isEnvironment(root *ast.StructLit) bool {
	top := d.members(root)
	api, _ := text(top, "apiVersion")
	kind, _ := text(top, "kind")
	return api == apiVersion && kind == "Environment"
}

// environmentManifest reads a document of kind Environment. Its problems stay with it: one that nobody asks for does no harm.
func (l *loader) environmentManifest(doc document, root *ast.StructLit) Environment {
	apart := &loader{fsys: l.fsys, options: l.options, definitions: l.definitions}
	w := apart.walker(doc, RealmRef{}, false)
	w.realm = nil
	top := doc.members(root)
	start := doc.at(root, Origin{File: doc.name, Line: 1, Column: 1})
	e := Environment{Origin: doc.origin(below(doc, top, "metadata"), "name", doc.origin(top, "metadata", start))}
	o := Object{Origins: map[string]Origin{}, Inputs: map[string]bool{}}
	envelope := w.envelope(&o, "EnvironmentManifest", root)
	at := func(path string) Origin { return cmp.Or(w.places[path].Origin, start) }
	for path := range o.Inputs {
		w.problem(at(path), "write it out", "%s can't come from $(…)", path)
	}
	metadata, _ := envelope["metadata"].(map[string]any)
	if e.Name, _ = metadata["name"].(string); e.Name == "" {
		w.problem(e.Origin, "write metadata: {name: prod}", "metadata.name is missing: it names the environment")
	}
	spec, _ := envelope["spec"].(map[string]any)
	e.Server, _ = spec["server"].(string)
	layers, _ := spec["layers"].([]any)
	if len(layers) == 0 && len(apart.problems) == 0 {
		w.problem(at("spec"), "write layers: [base, envs/prod], the later ones upon the earlier", "spec.layers is missing: it names the folders that are read")
	}
	for i, v := range layers {
		name, _ := v.(string)
		e.Layers = append(e.Layers, Layer{clean(name), at(index("spec.layers", i))})
	}
	differs, _ := spec["differs"].([]any)
	for i, v := range differs {
		label := index("spec.differs", i)
		text, _ := v.(string)
		d, what, hint := w.definitions.difference(text)
		if d.Origin = at(label); what != "" {
			w.problem(d.Origin, hint, "%s: %s", label, what)
		}
		e.Differs = append(e.Differs, d)
	}
	e.problems = apart.problems
	return e
}

// difference reads clients/portal#redirectUris; where it can't be, what says why.
func (d *definitions) difference(s string) (difference Difference, what, hint string) {
	address, field, hasField := strings.Cut(s, "#")
	difference = Difference{Address: Address(address), Path: field}
	if address == "" || hasField && field == "" {
		return difference, fmt.Sprintf("%q names nothing", s), "write clients/portal#redirectUris, or clients/portal for all of it"
	}
	if difference.Address == Settings {
		return difference, "", ""
	}
	kinds := sortedKeys(d.kinds)
	if kind, name, ok := strings.Cut(address, "/"); ok && kind == deploymentKind && !strings.Contains(name, "/") {
		return difference, "", ""
	}
	for i, part := range strings.Split(address, "/") {
		if _, known := d.kinds[part]; i%2 == 0 && !known && part != "*" {
			return difference, fmt.Sprintf("%q: %s is not a kind", s, part), cmp.Or(didYouMean(part, kinds), "write clients/portal#redirectUris")
		}
	}
	return difference, "", ""
}

// standing tells whether all layers are there and none lies in another.
func (l *loader) standing(layers []Layer) bool {
	before := len(l.problems)
	targets := make([]string, len(layers))
	for i, layer := range layers {
		label := index("spec.layers", i)
		target, err := follow(l.fsys, layer.Path)
		if err == nil {
			_, err = fs.Stat(l.fsys, target)
		}
		if err != nil {
			l.problem(problemf(layer.Origin, l.near(layer.Path), "%s: %s: %s", label, layer.Path, reason(err)))
			continue
		}
		targets[i] = target
		for j, other := range targets[:i] {
			if other != "" && (within(target, other) || within(other, target)) {
				l.problem(problemf(layer.Origin, "layers lie upon each other, not in each other", "%s: %s overlaps %s, at %s", label, layer.Path, layers[j].Path, layers[j].Origin))
			}
		}
	}
	return len(l.problems) == before
}

// near is a hint at the folder that was meant.
func (l *loader) near(name string) string {
	entries, err := fs.ReadDir(l.fsys, path.Dir(name))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, path.Join(path.Dir(name), e.Name()))
	}
	return didYouMean(name, names)
}

func clean(name string) string { return path.Clean(strings.TrimPrefix(name, "./")) }

// within tells whether a path is a folder or stands in it.
func within(name, folder string) bool {
	return folder == "." || name == folder || strings.HasPrefix(name, folder+"/")
}
