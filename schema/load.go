package schema

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Options say how manifests are read.
type Options struct {
	Paths     []string                         // only these files and folders; none: everything
	Server    string                           // where realms go that name no server themselves
	Version   string                           // of Keycloak, 26.7 or 26.7.3; "" is the newest that there are definitions for, as is any newer one
	Env       func(name string) (string, bool) // what $(env:NAME) stands for; nil: no variable is defined
	Allow     []string                         // patterns of the variables that may be substituted; nil: all but the forbidden
	Secrets   fs.FS                            // where $(file:path) is looked for, besides the tree itself; may be nil
	MergeLast bool                             // of two values for one field the later file's holds

	Environment string // whose layers are read; "" where the tree declares none
	AgeKeys     string // the age identities that decrypt files of sops, as age keeps them in a file
	// ServerVersion is asked where no Version is given and a field isn't known: a server newer than all definitions may know it.
	// It says "" where that can't be told; nil asks nobody.
	ServerVersion func() string

	AsWritten bool // nothing is substituted or decrypted: such a value is its reference, and what is encrypted is all one; a Deployment has its Name, Origin and Written alone
}

// Load reads every manifest of a tree. It returns what could be read, and all that is wrong with the rest: a realm may be
// taken from the result only where no problem Blocks it.
func Load(fsys fs.FS, o Options) Declared {
	d, err := define(o.Version)
	if err != nil {
		return Declared{Realms: map[RealmRef]*Realm{}, Problems: []Problem{{What: err.Error()}}}
	}
	return load(fsys, o, d)
}

func load(fsys fs.FS, o Options, d *definitions) Declared {
	l := &loader{fsys: fsys, options: o, definitions: d, below: map[RealmRef]*Realm{}, deployments: map[string]*deploying{}}
	for i, files := range l.layers() {
		l.begin(i)
		for _, doc := range l.readAll(files) {
			l.document(doc)
		}
		l.lay()
	}
	l.realms = l.below
	l.hollow()
	l.lookAlikes()
	deployments := map[string]*Deployment{}
	for name, d := range l.deployments {
		if o.AsWritten { // references stand in the place of numbers
			deployments[name] = d.written()
		} else {
			deployments[name] = d.read()
		}
	}
	return Declared{Realms: l.realms, Deployments: deployments, Problems: SortProblems(l.problems), Facts: d.facts, Kinds: d.kinds, Environment: l.environment}
}

type loader struct {
	fsys        fs.FS
	options     Options
	definitions *definitions
	environment *Environment // nil where the whole tree is one layer
	problems    []Problem

	layer
	below     map[RealmRef]*Realm    // what the layers below this one declare
	exclusive map[RealmRef][]Address // the lists that spec.exclusive names in them

	deployments map[string]*deploying // of the layers so far
}

func (l *loader) problem(p Problem) { l.problems = append(l.problems, p) }

// hollow finds realms of which manifests give settings alone: to take that for "nothing is declared any more" would
// delete all that they held.
func (l *loader) hollow() {
	for ref, r := range l.realms {
		if _, declared := r.State[RealmAddress]; declared || r.Absent || len(Blocking(l.problems, ref)) > 0 {
			continue
		}
		p := problemf(r.Origin, "write realm: {} for a realm of which nothing more is declared, or null for one that shall not be", "spec.realm is missing: it holds realm %s", ref.Realm)
		p.Realm = &ref
		l.problem(p)
	}
}

// file is one to read; a named one must hold a manifest.
type file struct {
	name  string
	named bool
}

// files lists what may hold manifests below some paths, or anywhere in the tree, in order.
func (l *loader) files(paths []string) []file {
	var files []file
	add := func(f file) {
		if !slices.ContainsFunc(files, func(g file) bool { return g.name == f.name }) {
			files = append(files, f)
		}
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	for _, p := range paths {
		p = clean(p)
		target, err := follow(l.fsys, p)
		if err != nil {
			l.problem(problemf(Origin{File: p}, "", "%s", reason(err)))
			continue
		}
		info, err := fs.Stat(l.fsys, target)
		switch {
		case err != nil:
			l.problem(problemf(Origin{File: p}, "", "%s", reason(err)))
		case info.IsDir():
			for _, name := range l.walk(p) {
				add(file{name: name})
			}
		default:
			add(file{name: p, named: true})
		}
	}
	return files
}

// walk lists the files below a folder that look like manifests. Hidden ones, node_modules and cue.mod are left out.
func (l *loader) walk(root string) []string {
	var names []string
	err := fs.WalkDir(l.fsys, root, func(name string, entry fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			l.problem(problemf(Origin{File: name}, "", "%s", reason(err)))
			return nil
		case name == root && entry.IsDir():
			return nil
		case strings.HasPrefix(base, ".") || base == "node_modules" || base == "cue.mod":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			if l.link(name) {
				names = append(names, name)
			}
		case isManifest(name):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		l.problem(problemf(Origin{File: root}, "", "%s", reason(err)))
	}
	return names
}

func isManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json", ".cue":
		return true
	}
	return false
}

// link tells whether a symbolic link is to be read: it is, where it leads to a file that isn't read under its own name.
// Mounted configuration consists of such links, into a hidden folder.
func (l *loader) link(name string) bool {
	if !isManifest(name) && path.Ext(name) != "" {
		return false
	}
	target, err := follow(l.fsys, name)
	if errors.Is(err, errLeadsOut) {
		l.problem(problemf(Origin{File: name}, "put the file itself there", "%s", reason(err)))
		return false
	}
	if err != nil {
		l.problem(problemf(Origin{File: name}, "", "%s", reason(err)))
		return false
	}
	info, err := fs.Stat(l.fsys, target)
	if err != nil {
		l.problem(problemf(Origin{File: name}, "", "%s", reason(err)))
		return false
	}
	hidden := slices.ContainsFunc(strings.Split(target, "/"), func(part string) bool { return strings.HasPrefix(part, ".") && part != "." })
	return isManifest(name) && !info.IsDir() && (hidden || !isManifest(target))
}

var errLeadsOut = errors.New("symlink leads out of the configuration")

// follow resolves the symbolic links in a path, none of which may leave the tree.
func follow(fsys fs.FS, name string) (string, error) {
	if name == ".." || strings.HasPrefix(name, "../") || path.IsAbs(name) {
		return "", errors.New("leads out of the configuration")
	}
	links, ok := fsys.(fs.ReadLinkFS)
	if !ok {
		return name, nil
	}
	done, rest, hops := ".", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		next := path.Join(done, rest[0])
		rest = rest[1:]
		info, err := links.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if hops++; hops > 40 {
			return "", errors.New("symlinks lead in a circle")
		}
		target, err := links.ReadLink(next)
		if err != nil {
			return "", err
		}
		absolute := path.IsAbs(target)
		target = path.Join(done, target)
		if absolute || target == ".." || strings.HasPrefix(target, "../") {
			return "", errLeadsOut
		}
		done, rest = ".", append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// reason is an error without the path, which the problem's place names already.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case strings.Contains(err.Error(), "escapes"): // os.Root's own error isn't exported
		return errLeadsOut.Error()
	}
	return err.Error()
}
