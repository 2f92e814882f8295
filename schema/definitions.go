package schema

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
)

//go:embed *.cue keycloak/*/*.cue keycloak/*/*.json
var definitionFiles embed.FS

// Versions are the minor versions of Keycloak that there are definitions for, oldest first.
func Versions() []string {
	folders, err := definitionFiles.ReadDir("keycloak")
	if err != nil {
		panic(err) // embedded
	}
	var versions []string
	for _, f := range folders {
		versions = append(versions, f.Name())
	}
	slices.SortFunc(versions, compareVersions)
	return versions
}

func compareVersions(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return m - n
	})
}

// Definitions are the facts and kinds that the definitions of one version of Keycloak state: 26.7 or 26.7.3; "" is the
// newest that there is.
func Definitions(version string) (Facts, map[string]Kind, error) {
	d, err := define(version)
	if err != nil {
		return nil, nil, err
	}
	return d.facts, d.kinds, nil
}

// compiled holds the definitions of every version that was asked for: making them costs a hundred times a small load.
var compiled sync.Map // version → func() (*definitions, error)

func define(version string) (*definitions, error) {
	known := Versions()
	wanted := known[len(known)-1]
	if version != "" && !Newer(version) {
		wanted = minor(version)
	}
	if !slices.Contains(known, wanted) {
		return nil, fmt.Errorf("there are no definitions for Keycloak %s, only for %s", version, strings.Join(known, ", "))
	}
	once, _ := compiled.LoadOrStore(wanted, sync.OnceValues(func() (*definitions, error) { return compile(definitionFiles, wanted) }))
	return once.(func() (*definitions, error))()
}

// definitions is what CUE says, read once into Go values, so that the walk over a manifest asks no evaluator.
type definitions struct {
	version   string
	forms     map[string]*form           // by the definition's name: #ClientRepresentation
	generated map[string]map[string]bool // the fields that this version's classes have, by the definition's name
	root      cue.Value
	foreign   [][2]string // definition and field that only other versions have
	defaults  defaults
	facts     Facts
	kinds     map[string]Kind

	mu      sync.Mutex // CUE evaluates for one caller at a time
	context *cue.Context
}

// form is the shape of one value.
type form struct {
	types  cue.Kind
	value  cue.Value
	kind   *Kind // where the value is an object of its own
	was    bool  // where such an object may be renamed
	fields map[string]*field
	rest   *field // any other key
	elem   *field // of a list
	holds  bool   // somewhere below stand objects of their own
}

// field is one field of a form, and what its attributes say: those of Fact, and how the walk goes on below it.
type field struct {
	*form
	name      string
	fact      Fact
	links     bool   // @links(): references, which become an object of their own
	linked    string // @links(memberships): the kind of that object, where it isn't called as the field
	complete  bool   // @complete(): a list of objects that is complete where it is declared
	computed  bool   // @computed(): the server makes it, and takes it from nobody
	made      string // @computed("-generated"): only where the object's providerId ends so
	unmanaged bool   // @unmanaged(), @unmanaged("use …"): left alone
	instead   string // what to write in place of what isn't managed
	owner     string // @owner(clients): a map of lists of objects, whose keys name those that hold them
	under     string // @under(identityProviders, by=identityProviderAlias): a list of objects, each of which names the one that holds it
	by        string // the field that does
	grouped   string // @grouped(providerType): a map of lists of objects, whose keys are this key field of theirs
	but       string // @grouped(…, but=TYPE, use=workflows): lists of this key hold what another field declares
	added     bool   // @added(): a field of ours, which Keycloak's class lacks
	names     string // @names(alias): a list of what names objects elsewhere, of which only this field is read
	mappings  string // @mappings(realm), @mappings(client): roles, in entries that each name the client or scope whose links they are
	json      bool   // @json(DEFINITION), @json(): a list, of such objects or of strings, that stands as JSON in a string
	unless    string // @unless(owner): objects that bear this field are somebody else's, and left alone
	nameless  string // @nameless("default-roles-{realm}"): one object, and its name where it bears none
	says      string // @says("a duration such as 5m"): what the value must be, where CUE's own words are hard to read
}

// compile reads the definitions of this folder, and beside them those of one version.
func compile(files fs.ReadDirFS, version string) (*definitions, error) {
	instance := build.NewContext().NewInstance("schema", nil)
	generated := map[string]map[string]bool{}
	for _, folder := range []string{".", path.Join("keycloak", version)} {
		entries, err := files.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if path.Ext(e.Name()) != ".cue" {
				continue
			}
			name := path.Join(folder, e.Name())
			source, err := fs.ReadFile(files, name)
			if err != nil {
				return nil, err
			}
			syntax, err := parser.ParseFile(name, source)
			if err != nil {
				return nil, fmt.Errorf("parse %s: %w", name, err)
			}
			if err := instance.AddSyntax(syntax); err != nil {
				return nil, fmt.Errorf("take %s: %w", name, err)
			}
			if folder != "." {
				maps.Copy(generated, labels(syntax))
			}
		}
	}
	d := &definitions{version: version, forms: map[string]*form{}, generated: generated, facts: Facts{}, kinds: map[string]Kind{}, context: cuecontext.New()}
	var err error
	if d.defaults, err = readDefaults(files, version); err != nil {
		return nil, fmt.Errorf("read the defaults of Keycloak %s: %w", version, err)
	}
	root := d.context.BuildInstance(instance)
	if err := root.Err(); err != nil {
		return nil, fmt.Errorf("compile the definitions of Keycloak %s: %w", version, err)
	}
	d.root = root
	for _, name := range []string{"RealmManifest", "DeploymentManifest", "EnvironmentManifest", "Controller", "RealmRepresentation", "ScopeMappings"} {
		d.read(root.LookupPath(cue.MakePath(cue.Def(name))))
	}
	for _, f := range d.forms {
		f.holds = f.kind == nil && holds(f, map[*form]bool{})
	}
	for _, f := range d.forms {
		if f.kind != nil {
			d.state(f.kind.Name, f, "")
		}
	}
	d.keepDefaults()
	return d, nil
}

// read makes a form of a value. Definitions refer to each other in circles, so each is read once.
func (d *definitions) read(v cue.Value) *form {
	v = definition(v)
	name := v.Path().String()
	if f, ok := d.forms[name]; ok {
		return f
	}
	f := &form{types: v.IncompleteKind(), value: v, fields: map[string]*field{}}
	if strings.HasPrefix(name, "#") {
		d.forms[name] = f
	}
	for _, a := range v.Attributes(cue.DeclAttr) {
		if a.Name() == "kind" {
			f.kind, f.was = d.kind(a)
		}
	}
	if f.types == cue.TopKind || f.types&(cue.StructKind|cue.ListKind) == 0 {
		return f
	}
	if f.types&cue.ListKind != 0 {
		if elem := v.LookupPath(cue.MakePath(cue.AnyIndex)); elem.Exists() {
			f.elem = d.field("", elem)
		}
	}
	if f.types&cue.StructKind != 0 {
		if rest := v.LookupPath(cue.MakePath(cue.AnyString)); rest.Exists() {
			f.rest = d.field("*", rest)
		}
		fields, err := v.Fields(cue.Optional(true))
		for err == nil && fields.Next() {
			field := fields.Selector().Unquoted()
			added := fields.Value().Attribute("added")
			if known, ok := d.generated[name]; ok && !known[field] && added.Err() != nil {
				d.foreign = append(d.foreign, [2]string{name, field})
				continue // what is written by hand knows fields of every version
			}
			f.fields[field] = d.field(field, fields.Value())
		}
	}
	return f
}

// definition is what a value refers to, alone or beside what this folder adds to it.
func definition(v cue.Value) cue.Value {
	v = cue.Dereference(v)
	if len(v.Path().Selectors()) == 1 {
		return v
	}
	if op, args := v.Expr(); op == cue.AndOp {
		for _, a := range args {
			if d := cue.Dereference(a); len(d.Path().Selectors()) == 1 {
				return d
			}
		}
	}
	return v
}

// kind is what @kind(clients, in=[realm], key=[clientId], was) says.
func (d *definitions) kind(a cue.Attribute) (*Kind, bool) {
	list := func(name string) []string {
		v, found, err := a.Lookup(0, name)
		if err != nil || !found {
			return nil
		}
		return strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune("[], ", r) })
	}
	k := Kind{In: list("in")}
	for _, name := range list("key") {
		if required, optional := strings.CutSuffix(name, "?"); optional {
			k.Optional = append(k.Optional, required)
		}
		k.Key = append(k.Key, strings.TrimSuffix(name, "?"))
	}
	k.Name, _ = a.String(0)
	was, _ := a.Flag(1, "was")
	k.Links, _ = a.Flag(1, "links")
	k.Fold, _ = a.Flag(1, "fold")
	d.kinds[k.Name] = k
	return &k, was
}

func (d *definitions) field(name string, v cue.Value) *field {
	f := &field{form: d.read(v), name: name}
	f.fact.Type = typeName(f.types)
	for _, a := range v.Attributes(cue.FieldAttr) {
		arg, _ := a.String(0)
		switch a.Name() {
		case "set":
			f.fact.Set = true
		case "ordered":
			f.fact.Ordered = true
		case "map":
			f.fact.Map = true
		case "key":
			f.fact.Key = arg
		case "as":
			f.fact.As = arg
		case "empty":
			f.fact.Empty = true
		case "fold":
			f.fact.Fold = true
		case "secret":
			f.fact.Secret = true
		case "blank":
			f.fact.Blank = true
		case "writeonly":
			f.fact.WriteOnly, f.fact.Secret = true, true
		case "masked":
			f.fact.Masked = true
		case "create":
			f.fact.Create = true
		case "once":
			f.fact.Once = true
		case "fixed":
			f.fact.Fixed = true
		case "server":
			f.fact.Server, f.fact.HasServer = arg, true
		case "ref":
			f.fact.Ref = arg
			f.fact.RefBy, _, _ = a.Lookup(0, "by")
		case "links":
			f.links, f.linked = true, arg
		case "complete":
			f.complete = true
		case "computed":
			f.computed, f.made = true, arg
		case "unmanaged":
			f.unmanaged, f.instead = true, arg
		case "says":
			f.says = arg
		case "owner":
			f.owner = arg
		case "under":
			f.under = arg
			f.by, _, _ = a.Lookup(0, "by")
		case "grouped":
			f.grouped = arg
			f.but, _, _ = a.Lookup(0, "but")
			f.instead, _, _ = a.Lookup(0, "use")
		case "added":
			f.added = true
		case "names":
			f.names = arg
		case "mappings":
			f.mappings = arg
		case "json":
			f.json, f.form, f.fact.Type = true, d.inString(v, arg), "list"
		case "unless":
			f.unless = arg
		case "nameless":
			f.nameless = arg
		}
	}
	return f
}

// inString is the form of a list of what a definition says, or of strings, for which Keycloak has a string.
func (d *definitions) inString(v cue.Value, definition string) *form {
	elem := &form{types: cue.StringKind, value: v}
	if definition != "" {
		elem = d.read(d.root.LookupPath(cue.MakePath(cue.Def(definition))))
	}
	return &form{types: cue.StringKind | cue.ListKind, value: v, elem: &field{form: elem}}
}

// objects is the form of the objects in a list, or in the lists of a map; nil where there are none.
func (f *field) objects() *form {
	list := f
	if f.grouped != "" && f.rest != nil {
		list = f.rest
	}
	if list.names != "" || list.elem == nil || list.elem.kind == nil {
		return nil
	}
	return list.elem.form
}

func typeName(k cue.Kind) string {
	switch k {
	case cue.TopKind:
		return "_"
	case cue.StringKind:
		return "string"
	case cue.BoolKind:
		return "bool"
	case cue.IntKind:
		return "int"
	case cue.NumberKind, cue.FloatKind:
		return "number"
	case cue.ListKind:
		return "list"
	case cue.StructKind:
		return "struct"
	}
	return "_"
}

// holds tells whether objects of their own stand below a form.
func holds(f *form, seen map[*form]bool) bool {
	if seen[f] {
		return false
	}
	seen[f] = true
	if f.kind != nil {
		return true
	}
	for _, below := range slices.Concat(slices.Collect(maps.Values(f.fields)), []*field{f.rest, f.elem}) {
		if below != nil && !below.unmanaged && below.names == "" && holds(below.form, seen) {
			return true
		}
	}
	return false
}

// state writes down the facts of a kind, from its definition on, and the kinds of the links that its objects hold.
func (d *definitions) state(kind string, f *form, prefix string) {
	note := func(kind, path string, f *field) {
		if d.facts[kind] == nil {
			d.facts[kind] = map[string]Fact{}
		}
		d.facts[kind][path] = f.fact
	}
	for name, below := range f.fields {
		switch {
		case below.names != "":
			note(kind, prefix+name, below)
		case below.complete && below.objects() != nil:
			k := d.kinds[below.objects().kind.Name]
			k.Complete = append(k.Complete, cmp.Or(below.under, kind))
			slices.Sort(k.Complete)
			d.kinds[k.Name] = k
		case below.mappings != "" || below.computed && below.made == "" || below.unmanaged || holds(below.form, map[*form]bool{}):
		case below.links:
			links := cmp.Or(below.linked, name)
			k := d.kinds[links]
			k.Name, k.Links = links, true
			if !slices.Contains(k.In, kind) {
				k.In = append(k.In, kind)
				slices.Sort(k.In)
			}
			d.kinds[links] = k
			note(links, name, below)
			d.state(links, below.form, name+".")
		default:
			note(kind, prefix+name, below)
			d.state(kind, below.form, prefix+name+".")
		}
	}
	if f.rest != nil {
		note(kind, prefix+"*", f.rest)
		d.state(kind, f.rest.form, prefix+"*.")
	}
}
