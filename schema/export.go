package schema

import (
	"cmp"
	"net/url"
	"strings"
)

// Export is a realm that is to be written as manifests.
type Export struct {
	Ref     RealmRef // without a server, the manifests go where --server says
	Version string   // of Keycloak
	// State are the objects and fields to write. What isn't a field that can be declared is left out.
	State State
	// New are the objects that a new realm doesn't hold by itself: defaults are left out of them.
	New map[Address]bool
	// Declare makes values that Keycloak doesn't show take part: $(env:…) stands in their place. Else that is a comment.
	Declare bool
}

// Withheld is a value that stands in no manifest: $(env:Name) stands in its place.
type Withheld struct {
	Name  string
	At    Address
	Path  string
	Value string // "" where Keycloak doesn't show it
}

// Pieces are the realm's representation, cut up: the fields of the realm itself under "", and each of its lists by name.
// What a list of clients says about one client alone stands under clients/KEY where byClient asks for that.
func (e Export) Pieces(byClient bool) (pieces map[string]*Tree, secrets []Withheld, err error) {
	d, err := define(Nearest(e.Version))
	if err != nil {
		return nil, nil, err
	}
	w := &exporter{Export: e, definitions: d, children: map[Address][]Address{}, names: Variables{Realm: e.Ref.Realm}}
	for _, a := range e.State.Addresses() {
		if a != RealmAddress {
			w.children[a.List()] = append(w.children[a.List()], a)
		}
	}
	root := w.object(d.forms["#RealmRepresentation"], RealmAddress)
	pieces = map[string]*Tree{}
	piece := func(name string) *Tree {
		if pieces[name] == nil {
			pieces[name] = &Tree{}
		}
		return pieces[name]
	}
	for _, f := range root.fields {
		known := d.forms["#RealmRepresentation"].fields[f.name]
		name := f.name
		if known == nil || !known.holds && known.elem == nil && known.mappings == "" && known.grouped == "" || known.links || known.json || known.elem != nil && known.elem.kind == nil {
			name = ""
		}
		switch {
		case name == "":
		case strings.HasPrefix(name, "identityProvider"):
			name = "identityProviders"
		case name == "authenticatorConfig":
			name = "authenticationFlows"
		case name == "scopeMappings", name == "clientScopeMappings":
			name = "scopeMappings"
		}
		if clients, ok := f.value.([]any); ok && byClient && f.name == "clients" {
			for _, c := range clients {
				id := c.(*Tree).text("clientId")
				piece("clients/"+id).add("clients", []any{c})
			}
			continue
		}
		piece(name).add(f.name, f.value)
	}
	return pieces, w.secrets, nil
}

// Manifests are the pieces as files: none makes one of them all, kind one for each kind of object, client one for each
// client besides. They are named by what stands in them.
func (e Export) Manifests(split string) (files map[string][]byte, secrets []Withheld, err error) {
	pieces, secrets, err := e.Pieces(split == "client")
	if err != nil {
		return nil, nil, err
	}
	files = map[string][]byte{}
	if split == "none" {
		all := &Tree{}
		for _, name := range sortedKeys(pieces) {
			all.fields = append(all.fields, pieces[name].fields...)
		}
		pieces = map[string]*Tree{"": all}
	}
	for name, t := range pieces {
		file := cmp.Or(name, "realm")
		if client, ok := strings.CutPrefix(name, "clients/"); ok {
			file = "clients/" + url.PathEscape(client)
		}
		files[file+".yaml"] = e.manifest(t)
	}
	if pieces[""] == nil {
		files["realm.yaml"] = e.manifest(&Tree{})
	}
	return files, secrets, nil
}

func (e Export) manifest(t *Tree) []byte {
	metadata, spec, top := &Tree{}, &Tree{}, &Tree{}
	metadata.add("name", e.Ref.Realm)
	if e.Ref.Server != "" {
		spec.add("server", e.Ref.Server)
	}
	spec.add("realm", t)
	top.add("apiVersion", apiVersion)
	top.add("kind", "Realm")
	top.add("metadata", metadata)
	top.add("spec", spec)
	return top.yaml()
}
