// Package schema says what may be declared: it reads the manifests of one commit and checks them against the CUE
// definitions in this folder. What comes out is a State for each realm, and every Problem that was found on the way.
package schema

import (
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Address names one object within its realm, in kind/key pairs, each part path-escaped:
//
//	clients/portal/roles/viewer
//
// A key is made of the kind's key fields. An object that its parent can hold only once has no key, and its address ends
// with the kind: realm, defaultGroups, roles/viewer/composites. Sorting addresses puts every parent before its children,
// but for the realm itself, which is the parent of all.
type Address string

// RealmAddress is where the settings of the realm itself stand.
const RealmAddress Address = "realm"

// Settings stands for what surrounds a realm in its manifest, where a difference is named: spec#limits.deletes.
const Settings Address = "spec"

// LedgerClient is the clientId of the client in which we remember, within a realm, what is ours there. Nobody declares it.
const LedgerClient = "cloakwork"

// Join is the address of the object of one kind below parent, or of the list of them where no key is given. Below the
// realm, addresses begin with the kind. Empty parts at the end of a key are left out: an object may lack them.
func Join(parent Address, kind string, key ...string) Address {
	a := kind
	if parent != RealmAddress && parent != "" {
		a = string(parent) + "/" + kind
	}
	for len(key) > 1 && key[len(key)-1] == "" {
		key = key[:len(key)-1]
	}
	if len(key) == 0 {
		return Address(a)
	}
	parts := make([]string, len(key))
	for i, k := range key {
		parts[i] = strings.ReplaceAll(url.PathEscape(k), ":", "%3A")
	}
	return Address(a + "/" + strings.Join(parts, ":"))
}

// Kind is the kind of the object named: roles for clients/portal/roles/viewer.
func (a Address) Kind() string {
	parts := strings.Split(string(a), "/")
	return parts[(len(parts)-1)/2*2]
}

// Key is the object's own key, unescaped: viewer for clients/portal/roles/viewer, nothing for an object without one.
func (a Address) Key() []string {
	parts := strings.Split(string(a), "/")
	if len(parts)%2 == 1 {
		return nil
	}
	keys := strings.Split(parts[len(parts)-1], ":")
	for i, k := range keys {
		if u, err := url.PathUnescape(k); err == nil {
			keys[i] = u
		}
	}
	return keys
}

// Name is the object's key for people: the single key field, or all of them with colons.
func (a Address) Name() string { return strings.Join(a.Key(), ":") }

// List is the list that the object stands in: clients/portal/roles for clients/portal/roles/viewer.
func (a Address) List() Address {
	s := string(a)
	if strings.Count(s, "/")%2 == 0 {
		return a
	}
	return Address(s[:strings.LastIndexByte(s, '/')])
}

// Parent is the object that this one stands in, RealmAddress for those at the top and "" for the realm itself.
func (a Address) Parent() Address {
	if a == RealmAddress {
		return ""
	}
	l := string(a.List())
	if i := strings.LastIndexByte(l, '/'); i >= 0 {
		return Address(l[:i])
	}
	return RealmAddress
}

// Within tells whether the object is parent or stands anywhere below it.
func (a Address) Within(parent Address) bool {
	return parent == RealmAddress || a == parent || strings.HasPrefix(string(a), string(parent)+"/")
}

// Moved is the address after the object from, in which this one stands, became to.
func (a Address) Moved(from, to Address) Address {
	return to + Address(strings.TrimPrefix(string(a), string(from)))
}

// Origin is a place in a manifest; its zero value means that nobody declared the thing.
type Origin struct {
	File         string
	Line, Column int // from 1; 0 where unknown
}

func (o Origin) String() string {
	switch {
	case o.File == "":
		return ""
	case o.Line == 0:
		return o.File
	case o.Column == 0:
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	}
	return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
}

// Object is one thing that a realm holds, declared or observed.
type Object struct {
	Address Address
	Fields  map[string]any      // JSON values as encoding/json decodes them; nil asks for the server's default
	Origin  Origin              // where it is declared, zero where observed
	Origins map[string]Origin   // where each field is declared, by path: redirectUris, attributes.pkce.code.challenge.method
	Again   map[string][]Origin // where else in the same layer the same is declared, by path; the object's own places under ""
	Below   map[string][]Origin // the places in lower layers that each field's value replaces, the nearest last; the object's own under ""
	Inputs  map[string]bool     // the paths whose value came from $(…): secret in all output
	Nulls   map[string]bool     // the paths where null asks for the server's default, which Fields hold
	Was     []string            // former keys ($was), newest first; a group's may be a path, /old/parent/name
	ID      string              // the server's identifier where observed
}

// State is what a realm holds, or should hold. The realm's own settings stand at RealmAddress.
type State map[Address]Object

// Addresses are the state's addresses, every parent before its children.
func (s State) Addresses() []Address {
	addresses := make([]Address, 0, len(s))
	for a := range s {
		addresses = append(addresses, a)
	}
	SortAddresses(addresses)
	return addresses
}

// SortAddresses puts the realm first and every parent before its children.
func SortAddresses(addresses []Address) {
	sort.Slice(addresses, func(i, j int) bool {
		a, b := addresses[i], addresses[j]
		if (a == RealmAddress) != (b == RealmAddress) {
			return a == RealmAddress
		}
		return a < b
	})
}

// RealmRef names a realm on a server, as the controller's configuration names servers.
type RealmRef struct{ Server, Realm string }

func (r RealmRef) String() string { return r.Server + "/" + r.Realm }

// Realm is all that the manifests of one commit declare for one realm.
type Realm struct {
	Ref      RealmRef
	Origin   Origin           // the first document's metadata.name
	Absent   bool             // spec.realm is null: the realm shall not be
	State    State            // empty where Absent
	Complete map[Address]bool // lists that are complete as declared: a stranger in them is drift
	Drift    string           // correct or report
	Schedule string           // cron, when to look for drift besides new commits; "" takes the controller's
	Limits   Limits
	Suspend  *Suspend
	Settled  map[string]Origin // where the settings are declared: drift, schedule, exclusive, limits.deletes, …
}

// Settings are what surrounds the realm in its manifest, by the names that it has there. The server isn't among them.
func (r *Realm) Settings() map[string]any {
	bound := func(l Limit) string {
		if l.Percent {
			return strconv.Itoa(l.Count) + "%"
		}
		return strconv.Itoa(l.Count)
	}
	risks := map[string]any{}
	for name, n := range r.Limits.Risks {
		risks[name] = float64(n)
	}
	lists := []any{}
	for _, a := range sortedKeys(r.Complete) {
		if a.Parent() == RealmAddress {
			lists = append(lists, string(a))
		}
	}
	fields := map[string]any{"drift": r.Drift, "exclusive": lists,
		"limits": map[string]any{"deletes": bound(r.Limits.Deletes), "changes": bound(r.Limits.Changes), "risks": risks}}
	if r.Schedule != "" {
		fields["schedule"] = r.Schedule
	}
	if r.Suspend != nil {
		fields["suspend"] = map[string]any{"until": r.Suspend.Until.Format(time.RFC3339), "reason": r.Suspend.Reason}
	}
	if r.Absent {
		fields["realm"] = "shall not be"
	}
	return fields
}

// Limit bounds a count of changes: an absolute number, or a share of the objects that are ours.
type Limit struct {
	Count   int
	Percent bool // Count is in hundredths of the owned objects, and never less than 5 objects
}

// Limits say how much one pass may change before a person must agree.
type Limits struct {
	Deletes Limit          // default 10
	Changes Limit          // updates and deletes together, default 30%
	Risks   map[string]int // by the risk's name, spelled with dashes: weakens-security; a risk not named has no limit
	Origin  Origin         // of spec.limits, or of the document where it is not declared
}

// Suspend holds a realm or deployment as it is.
type Suspend struct {
	Until  time.Time // zero: until the manifest says otherwise
	Reason string
}

// Declared is what the manifests of one commit ask for.
type Declared struct {
	Realms      map[RealmRef]*Realm
	Deployments map[string]*Deployment // by name
	Problems    []Problem
	Facts       Facts           // how the fields of the definitions that were used behave
	Kinds       map[string]Kind // by name

	Environment *Environment // whose layers were read; nil where the whole tree is one
}
