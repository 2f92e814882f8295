package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// Exported is a realm as manifests declare it.
type Exported struct {
	schema.Export
	Missing []schema.Address // what every new realm holds and this one doesn't: no manifest can say that
	Twice   []schema.Address // names that the server has more than once, which are left out
}

// Export reads a realm and says what must be declared to have it again: what a new realm has by itself is left out, and so are
// our own client, and people unless they are asked for. It writes nothing.
func Export(ctx context.Context, client *keycloak.Client, ref schema.RealmRef, version string, people bool) (Exported, error) {
	facts, kinds, err := schema.Definitions(schema.Nearest(version))
	if err != nil {
		return Exported{}, err
	}
	r := &realm.Realm{Client: client, Name: ref.Realm, Kinds: kinds}
	live, err := r.ObserveAll(ctx, people)
	if err != nil {
		return Exported{}, err
	}
	if !live.Exists {
		return Exported{}, fmt.Errorf("there is no realm %s", ref.Realm)
	}
	have, err := schema.Declarable(version, live.State)
	if err != nil {
		return Exported{}, err
	}
	fresh, err := schema.Fresh(version, ref.Realm)
	if err != nil {
		return Exported{}, fmt.Errorf("read what a new realm of %s holds: %w", version, err)
	}
	x := exporting{kinds: kinds, realm: ref.Realm, have: have, fresh: fresh, picked: schema.State{}, made: map[schema.Address]bool{}}
	x.pick(facts)
	for x.complete() {
	}
	e := Exported{Export: schema.Export{Ref: ref, Version: version, State: x.picked, New: x.made}}
	for _, a := range fresh.Addresses() {
		if _, lives := have[a]; !lives && !kinds[a.Kind()].Links && (len(e.Missing) == 0 || !a.Within(e.Missing[len(e.Missing)-1])) && !x.listed(a) {
			e.Missing = append(e.Missing, a)
		}
	}
	for a := range live.Ambiguous {
		e.Twice = append(e.Twice, a)
	}
	slices.Sort(e.Twice)
	return e, nil
}

type exporting struct {
	kinds       map[string]schema.Kind
	realm       string
	have, fresh schema.State
	picked      schema.State
	made        map[schema.Address]bool // what a new realm doesn't hold
}

// pick takes what must change for a new realm to become this one. What Keycloak doesn't show is taken along: nobody knows
// whether it is what a new realm has.
func (x *exporting) pick(facts schema.Facts) {
	memory := drift.Memory{Owned: func(schema.Address) bool { return false }, Written: func(schema.Address, any) bool { return true }}
	for _, c := range drift.Compare(facts, nil, memory, realm.Aligned(x.have, x.have, nil), realm.Aligned(x.have, x.fresh, nil)) {
		o := x.have[c.Address]
		switch {
		case realm.ReadOnly(x.realm, c.Address), x.goesWithout(o):
		case c.Op == drift.Create:
			x.picked[c.Address], x.made[c.Address] = o, true
		default:
			fields := map[string]any{}
			for _, d := range c.Diffs {
				if !generated(facts, c.Address, d) {
					take(fields, o.Fields, d.At)
				}
			}
			if len(fields) == 0 {
				continue
			}
			o.Fields = fields
			x.picked[c.Address] = o
		}
	}
	x.spnego()
}

// spnego takes along the flows that log in by Kerberos, where people come from a directory: Keycloak switches that on by
// itself when a federation with Kerberos is made.
func (x *exporting) spnego() {
	federated := slices.ContainsFunc(x.picked.Addresses(), func(a schema.Address) bool {
		return strings.HasPrefix(string(a), "components/org.keycloak.storage.UserStorageProvider:")
	})
	for a, o := range x.have {
		executions, _ := o.Fields["authenticationExecutions"].([]any)
		if federated && a.Kind() == "authenticationFlows" && slices.ContainsFunc(executions, func(e any) bool {
			fields, _ := e.(map[string]any)
			return fields["authenticator"] == "auth-spnego"
		}) {
			if _, has := x.picked[a]; !has {
				x.picked[a] = schema.Object{Address: a, Fields: map[string]any{}}
			}
			x.picked[a].Fields["authenticationExecutions"] = executions
		}
	}
}

// generated tells whether Keycloak makes a value by itself: the secret of a client of its own, and an attribute of the realm
// that repeats a field.
func generated(facts schema.Facts, a schema.Address, d drift.Diff) bool {
	_, repeats := facts["realm"][d.At[len(d.At)-1]]
	return a.Kind() == "clients" && d.Path == "secret" || a == schema.RealmAddress && len(d.At) == 2 && d.At[0] == "attributes" && repeats
}

// goesWithout tells whether an object need not be declared: links to nothing.
func (x *exporting) goesWithout(o schema.Object) bool {
	scopes := o.Address.Kind() == "defaultClientScopes" || o.Address.Kind() == "optionalClientScopes"
	if _, old := x.fresh[o.Address]; realm.IsLinks(o.Address) && !old && !scopes {
		return vain(o.Fields)
	}
	return false
}

// vain tells whether a value says nothing.
func vain(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !vain(e) {
				return false
			}
		}
		return true
	}
	return false
}

// take copies the value at a path. What was compared in another shape than it has is taken as a whole.
func take(into, from map[string]any, at []string) {
	below, ok := from[at[0]].(map[string]any)
	if len(at) == 1 || !ok {
		into[at[0]] = from[at[0]]
		return
	}
	if _, has := into[at[0]].(map[string]any); !has {
		into[at[0]] = map[string]any{}
	}
	take(into[at[0]].(map[string]any), below, at[1:])
}

// complete takes along what an object stands in, and the rest of lists that hold no others than declared.
func (x *exporting) complete() (more bool) {
	add := func(a schema.Address, o schema.Object, made bool) {
		if _, has := x.picked[a]; !has {
			o.Address = a
			x.picked[a], more = o, true
			x.made[a] = x.made[a] || made
		}
	}
	for _, a := range x.picked.Addresses() {
		for p := a.Parent(); p != "" && p != schema.RealmAddress; p = p.Parent() {
			add(p, schema.Object{Fields: identity(x.have[p])}, false)
		}
		if slices.Contains(x.kinds[a.Kind()].In, "authorizationSettings") {
			add(schema.Join(a.Parent(), "authorizationSettings"), schema.Object{}, false)
		}
	}
	for list := range x.lists() {
		for a, o := range x.have {
			if a.List() == list && len(a.Key()) > 0 {
				add(a, o, true)
			}
		}
	}
	return more
}

// identity are the fields of an object that say what the others mean.
func identity(o schema.Object) map[string]any {
	fields := map[string]any{}
	if id, ok := o.Fields["providerId"]; ok && o.Address.Kind() == "components" {
		fields["providerId"] = id
	}
	return fields
}

// lists are those in picked objects that will be declared, and hold no others then.
func (x *exporting) lists() map[schema.Address]bool {
	lists := map[schema.Address]bool{}
	for a := range x.picked {
		if k := x.kinds[a.Kind()]; len(k.Key) > 0 && slices.Contains(k.Complete, a.Parent().Kind()) {
			lists[a.List()] = true
		}
	}
	for a := range x.fresh { // what is gone from such a list is said by the others in it
		k := x.kinds[a.Kind()]
		if _, lives := x.have[a]; lives || len(k.Key) == 0 || !slices.Contains(k.Complete, a.Parent().Kind()) {
			continue
		}
		if _, lives := x.have[a.Parent()]; lives && x.siblings(a) {
			lists[a.List()] = true
		}
	}
	return lists
}

// siblings tells whether the list of an object holds others.
func (x *exporting) siblings(of schema.Address) bool {
	for a := range x.have {
		if a.List() == of.List() && len(a.Key()) > 0 {
			return true
		}
	}
	return false
}

// listed tells whether the list of what is gone is declared, so that it will be gone elsewhere too.
func (x *exporting) listed(a schema.Address) bool { return x.lists()[a.List()] }
