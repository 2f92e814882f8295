package realm

import (
	"context"
	"maps"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// ObserveAll reads everything that can be declared of the realm, but for people where those aren't asked for: then only the
// service accounts are read, which go with their clients. What is found is asked for in turn, with all that it may hold,
// until nothing new comes.
func (r *Realm) ObserveAll(ctx context.Context, people bool) (Live, error) {
	want := &schema.Realm{State: schema.State{schema.RealmAddress: {Address: schema.RealmAddress, Fields: map[string]any{texts: nil}}}, Complete: map[schema.Address]bool{}}
	r.ask(want, schema.RealmAddress)
	for {
		whole := *r
		whole.Complete, whole.whole = want.Complete, true
		live, err := whole.Observe(ctx, want, "")
		if err != nil || !live.Exists {
			return live, err
		}
		before := len(want.State)
		for a, o := range live.State {
			if _, asked := want.State[a]; !asked {
				want.State[a] = schema.Object{Address: a, Fields: asking(a)}
				r.ask(want, a)
			}
			if account := serviceAccount + strings.ToLower(a.Name()); a.Kind() == "clients" && o.Fields["serviceAccountsEnabled"] == true {
				user := schema.Join(schema.RealmAddress, "users", account)
				if _, asked := want.State[user]; !asked {
					want.State[user] = schema.Object{Address: user}
					r.ask(want, user)
				}
			}
		}
		if len(want.State) == before && people && !want.Complete["users"] { // they come last: what they have costs requests for each
			want.Complete["users"] = true
			all := schema.Join(schema.RealmAddress, "users", anything)
			want.State[all] = schema.Object{Address: all}
		} else if len(want.State) == before {
			for a := range maps.Clone(live.State) {
				if live.Ambiguous[a] || !people && (a.Kind() == "members" || a.Kind() == "users" && !serves(live.State[a])) {
					remove(live.State, a)
				}
			}
			return live, nil
		}
	}
}

// serves tells whether a user is the service account of a client.
func serves(o schema.Object) bool { return o.Fields["serviceAccountClientId"] != nil }

// remove takes an object out of a state, with all below it.
func remove(s schema.State, a schema.Address) {
	for below := range maps.Clone(s) {
		if below.Within(a) {
			delete(s, below)
		}
	}
}

// ask asks for all lists and links that an object may hold, but for people.
func (r *Realm) ask(want *schema.Realm, a schema.Address) {
	holder := a.Kind()
	for name, k := range r.Kinds {
		for _, in := range k.In {
			if in == "authorizationSettings" {
				in = "clients" // which lends its address to what stands in its settings
			}
			if in != holder || name == "users" {
				continue
			}
			list := schema.Join(a, name)
			if len(k.Key) > 0 {
				list = schema.Join(a, name, anything)
			}
			want.State[list] = schema.Object{Address: list}
		}
	}
}

// anything is a key that is asked for to have the list read.
const anything = "*"

// asking are the fields that are read only where they are declared.
func asking(a schema.Address) map[string]any {
	if a.Kind() == "organizations" {
		return map[string]any{linked: nil}
	}
	return nil
}
