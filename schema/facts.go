package schema

import (
	"regexp"
	"slices"
	"strings"
)

// Kind is what a definition's @kind attribute says: how objects of one kind are named, and where they stand.
type Kind struct {
	Name     string
	In       []string // kinds of the objects that hold it, "realm" among them
	Key      []string // fields that make its key; none for what its parent holds once
	Optional []string // of Key, those that an object may lack
	Fold     bool     // the server keeps names in small letters, and so does the key
	Links    bool     // not an object: references that its parent holds, as one set
	Complete []string // of In, those in which a declared list of them holds no others
}

// Fact says how the values of one field behave. It is written beside the field in the CUE schema, as an attribute.
type Fact struct {
	Set       bool   // @set(): a list whose order doesn't count
	Ordered   bool   // @ordered(): a list whose order counts
	Map       bool   // @map(open): a map compared and owned key by key
	Key       string // @key(name): a list of objects, matched by this field; what one of them leaves out stays as it is
	As        string // @as(bool|int|csv|##|json|profile|steps|duration): a typed value in a string, or in each element of a list
	Empty     bool   // @empty(equal): null, "", [], {} and absent are one
	Blank     bool   // @blank(): a list in which the server keeps no ""
	Fold      bool   // @fold(): the case of letters doesn't count; beside @key, of the key's
	Secret    bool   // @secret(): never shown
	WriteOnly bool   // @writeonly(): the server shows asterisks in its place; implies Secret
	Masked    bool   // @masked(): the server may show asterisks in its place, where a provider calls it a secret
	Create    bool   // @create(): sent when the object is made, and never compared
	Once      bool   // @once(): a list whose elements are each written once, since the server uses them up; others stay
	Fixed     bool   // @fixed(): can't be changed in place
	Server    string // @server(value): the server puts this in by itself; no drift
	HasServer bool
	Ref       string // @ref(kind, by=name|id): names an object of that kind
	RefBy     string
	Type      string // what CUE says the field holds: string, bool, int, number, list, struct, _
}

// Facts are all facts, by kind and field path. A path names the keys of a map after a dot: attributes.post.logout.redirect.uris.
// The path of what holds for every key ends in *: attributes.*
type Facts map[string]map[string]Fact

// Of is the fact of one field of a kind. A path into an open map, of which nothing special is said, takes that of the map's values.
func (f Facts) Of(kind, path string) Fact {
	paths := f[kind]
	if fact, ok := paths[path]; ok {
		return fact
	}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] != '.' {
			continue
		}
		if fact, ok := paths[path[:i]+".*"]; ok {
			return fact
		}
	}
	return Fact{}
}

// Mask is what Keycloak shows in place of a secret, also where it alone knows that a value is one.
const Mask = "**********"

// asterisks are a mask of any length.
var asterisks = regexp.MustCompile(`^\*{4,}$`)

// Asterisks tells whether a value, or each value of a list, is what Keycloak shows in place of a secret.
func Asterisks(v any) bool {
	switch v := v.(type) {
	case string:
		return asterisks.MatchString(v)
	case []any:
		return len(v) > 0 && !slices.ContainsFunc(v, func(e any) bool { return !Asterisks(e) })
	}
	return false
}

// MayHide tells whether asterisks in the field stand in place of a secret. Elsewhere they are text.
func (f Fact) MayHide() bool { return f.Secret || f.WriteOnly || f.Masked }

// Hides tells whether what the server shows of the field is asterisks in place of a secret.
func (f Fact) Hides(v any) bool { return f.MayHide() && Asterisks(v) }

// Secret tells whether the value at a path of an object must not be shown.
func (f Facts) Secret(o Object, path string) bool {
	if fact := f.Of(o.Address.Kind(), path); fact.Secret || fact.WriteOnly {
		return true
	}
	for input := range o.Inputs {
		if input == path || strings.HasPrefix(input, path+".") || strings.HasPrefix(path, input+".") {
			return true
		}
	}
	return false
}
