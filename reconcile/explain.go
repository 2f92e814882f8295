package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// NotThere says that an address, or the field of an object, is neither declared nor live.
type NotThere struct {
	What string
	Near string // what is there and spelled much like it, "" for nothing
}

func (n *NotThere) Error() string { return n.What + " is neither declared nor live" }

// Explain says of one object, or of one of its fields unless path is "", where it is declared, which rule decides about it,
// what is live, who wrote it last and what apply would do. It writes nothing. The error is a *NotThere, or what kept it from looking.
func (p Pass) Explain(ctx context.Context, a schema.Address, path string) (drift.Explanation, error) {
	p.Mode = Plan
	w := &work{Pass: p, report: &drift.Report{}, sought: a}
	e := drift.Explanation{Commit: p.Commit, Server: p.Want.Ref.Server, Realm: p.Want.Ref.Realm, Address: a}
	if problems := append(schema.Blocking(p.Problems, p.Want.Ref), schema.UnknownTo(p.Account.Version, p.Want)...); len(problems) > 0 {
		return e, &Blocked{Why: problems[0].String()}
	}
	if err := w.observe(ctx); err != nil {
		return e, err
	}
	changes, err := w.judged(ctx)
	var blocked *Blocked
	if errors.As(err, &blocked) {
		e.Blocked = blocked.Why
	} else if err != nil {
		return e, err
	}
	s := w.sides()
	x := explaining{work: w, want: s.want[a], have: s.have[a], input: w.input(s.renames), unseen: map[string]drift.Unseen{}}
	for _, u := range w.report.Unseen {
		if u.Address == a {
			x.unseen[u.Path] = u
		}
	}
	_, x.declared = w.Want.State[a]
	_, x.made = w.live.State[a]
	if x.declared && len(x.want.Fields) == 0 { // what Keycloak lets nobody write isn't compared
		x.want = w.Want.State[a]
	}
	for _, c := range changes {
		own := c.Address == a || c.From == a
		if own || c.Op == drift.Delete && a.Within(c.Address) {
			x.changes = append(x.changes, c)
		}
		if own && c.Op != drift.Delete { // in the form in which they were compared
			x.want, x.have, x.made = c.Want, c.Have, c.Op != drift.Create
		}
	}
	if !x.declared && !x.made && !w.ledger.Owned[a] && len(x.changes) == 0 {
		return e, &NotThere{string(a), schema.Suggest(string(a), w.addresses())}
	}
	e.Changes, e.Rule, e.Fields = x.changes, x.rule(), x.fields()
	e.Declared, e.Over = placesOf(x.want, "")
	if path != "" {
		if e.Fields, err = x.field(e.Fields, path); err != nil {
			return e, err
		}
	}
	e.Standing = x.standing(e.Fields, path)
	e.Last, e.Us, e.Unknown = w.lastWrite(ctx, a, x.have)
	return e, nil
}

// judged are all changes that apply would make, with their risks, and what would keep it from making any.
func (w *work) judged(ctx context.Context) ([]drift.Change, error) {
	done, err := w.realmItself(ctx)
	if done || err != nil {
		return w.report.Changes, err
	}
	changes, err := w.decide()
	if len(w.report.Problems) == 0 {
		return changes, err
	}
	return w.apart(w.compare()), err // it went no further than the problem
}

// asking is what is declared, with what is sought, so that this is read too.
func (w *work) asking() *schema.Realm {
	if _, declared := w.Want.State[w.sought]; declared || w.sought == "" {
		return w.Want
	}
	asking := *w.Want
	asking.State = maps.Clone(w.Want.State)
	if asking.State == nil {
		asking.State = schema.State{}
	}
	asking.State[w.sought] = schema.Object{Address: w.sought}
	return &asking
}

// addresses are all that there is something to say about.
func (w *work) addresses() []string {
	var all []string
	for _, s := range []schema.State{w.Want.State, w.live.State} {
		for a := range s {
			all = append(all, string(a))
		}
	}
	return all
}

// explaining is one object under explanation.
type explaining struct {
	*work
	want, have     schema.Object // as they are compared
	declared, made bool          // made: it is live
	changes        []drift.Change
	input          func(key schema.Address) bool // what came from $(…) when it was last written
	unseen         map[string]drift.Unseen       // what Keycloak hides, by path
}

// rule is which rule decides about the object.
func (x explaining) rule() string {
	a := x.sought
	other := x.ownedByAnother(a)
	switch {
	case x.Want.Absent:
		return "spec.realm is null: the realm shall not be"
	case realm.ReadOnly(x.Want.Ref.Realm, a):
		return "Keycloak lets nobody write it"
	case x.live.Ambiguous[a]:
		return "Keycloak has more than one of that name: none is touched"
	case x.declared && other != "" && a != schema.RealmAddress:
		return "declared here, and owned by " + other + ": that blocks apply"
	case x.declared && x.ledger.Owned[a]:
		return "declared, and " + x.ownedByUs() + x.links()
	case slices.ContainsFunc(x.changes, func(c drift.Change) bool { return c.Op == drift.Rename && c.Address == a }):
		return "declared, and live under a former name: it is renamed"
	case x.declared && x.made:
		return "declared, and owned by nobody yet: apply takes it up" + x.links()
	case x.declared:
		return "declared: apply makes it"
	case other != "":
		return "not declared here, and owned by " + other + ": left alone"
	}
	return x.undeclared()
}

func (x explaining) ownedByUs() string {
	s := "owned by this source, " + x.Source
	if x.ledger.Commit != "" {
		s += ", which last applied " + short(x.ledger.Commit)
	}
	return s
}

func (x explaining) links() string {
	if realm.IsLinks(x.sought) {
		return "; the list is complete: what it doesn't name is removed"
	}
	return ""
}

// undeclared is the rule for what these manifests don't declare, and no other source owns.
func (x explaining) undeclared() string {
	a := x.sought
	o := schema.Object{Address: a, ID: x.have.ID, Fields: x.have.Fields}
	gone := slices.IndexFunc(x.changes, func(c drift.Change) bool { return c.Op == drift.Delete && c.Address != a })
	switch {
	case gone >= 0:
		return "not declared: it goes with " + string(x.changes[gone].Address)
	case slices.ContainsFunc(x.changes, func(c drift.Change) bool { return c.From == a }):
		return "declared under another name, with $was: it is renamed"
	case realm.Builtin(x.Want.Ref.Realm, o):
		return "not declared, and Keycloak's own: it is never removed, and never a stranger"
	case realm.Released(x.Want.Ref.Realm, a):
		return "not declared: the list stays as it is"
	case x.ledger.Owned[a] && x.owned(a):
		return "no longer declared, and " + x.ownedByUs() + ": it is removed"
	case x.ledger.Owned[a]:
		return "no longer declared, and " + x.ownedByUs()
	case x.owned(a):
		return "not declared, in " + string(a.List()) + ", which is complete as declared: it is removed"
	case x.Want.Complete[a.List()]:
		return "not declared, in " + string(a.List()) + ", which is complete as declared, and the account that signs in: it is never removed"
	case realm.IsLinks(a):
		return "not declared: left alone"
	}
	return "not declared, and owned by nobody, in " + string(a.List()) + ", which is an open list: left alone"
}

// standing is how the object, or the one field that was asked for, is off.
func (x explaining) standing(fields []drift.Field, path string) drift.Standing {
	if path != "" && len(fields) == 1 {
		return fields[0].Standing
	}
	for _, c := range x.changes {
		switch {
		case c.Op == drift.Create:
			return drift.Missing
		case c.Op == drift.Delete:
			return drift.Surplus
		case path == "":
			return drift.Off
		}
	}
	switch {
	case slices.ContainsFunc(fields, func(f drift.Field) bool { return f.Standing == drift.Off || f.Standing == drift.Surplus }):
		return drift.Off
	case x.declared && !x.made:
		return drift.Missing
	case x.declared && !realm.ReadOnly(x.Want.Ref.Realm, x.sought):
		return drift.AsDeclared
	}
	return drift.LeftAlone
}

// fields are all fields that are declared or live, by path.
func (x explaining) fields() []drift.Field {
	differ := map[string]drift.Diff{}
	for _, c := range x.changes {
		for _, d := range c.Diffs {
			differ[d.Path] = d
		}
	}
	want, have := leaves(x.want.Fields), leaves(x.have.Fields)
	all := map[string]bool{}
	for _, paths := range []map[string]any{want, have} {
		for path := range paths {
			all[path] = true
		}
	}
	for path := range differ {
		all[path] = true
	}
	var fields []drift.Field
	for _, path := range slices.Sorted(maps.Keys(all)) {
		d, off := differ[path]
		f := drift.Field{Path: path, Want: want[path], Have: have[path], Cause: d.Cause}
		f.Secret = x.hidden(path, d)
		if _, declared := want[path]; declared {
			f.Declared, f.Over = placesOf(x.want, path)
			f.Standing, f.Rule = x.declaredField(path, off)
		} else {
			f.Standing, f.Rule = x.undeclaredField(path, off && d.Unset)
		}
		if f.Secret {
			f.Want, f.Have = nil, nil
		}
		fields = append(fields, f)
	}
	return fields
}

func (x explaining) declaredField(path string, off bool) (drift.Standing, string) {
	fact := x.Facts.Of(x.sought.Kind(), path)
	var rules []string
	if x.want.Nulls[path] {
		rules = append(rules, "the server's default, by null")
	}
	if other := x.ownedByAnother(drift.Key(x.sought, path)); other != "" {
		rules = append(rules, "also owned by "+other+": that blocks apply")
	}
	standing := drift.AsDeclared
	switch {
	case off && !x.made:
		standing = drift.Missing
	case off:
		standing = drift.Off
	case realm.ReadOnly(x.Want.Ref.Realm, x.sought):
		standing = drift.LeftAlone
	case fact.Create:
		standing, rules = drift.NotCompared, append(rules, "sent when the object is made")
	case x.unseen[path].Written:
		standing, rules = drift.CantBeSeen, append(rules, "it is as last written, unless it was changed by hand")
	case x.unseen[path].Path != "" || fact.WriteOnly:
		standing, rules = drift.CantBeSeen, append(rules, "Keycloak never gives it back: only a commit writes it again")
	}
	if fact.Once {
		rules = append(rules, "each element is written once")
	}
	return standing, strings.Join(rules, "; ")
}

func (x explaining) undeclaredField(path string, unset bool) (drift.Standing, string) {
	switch other := x.ownedByAnother(drift.Key(x.sought, path)); {
	case slices.ContainsFunc(x.changes, func(c drift.Change) bool { return c.Op == drift.Delete }):
		return drift.Surplus, ""
	case unset:
		return drift.Surplus, "no longer declared, and " + x.ownedByUs()
	case other != "":
		return drift.LeftAlone, "owned by " + other
	case x.Facts.Of(x.sought.Kind(), path).HasServer:
		return drift.LeftAlone, "the server puts it in by itself"
	}
	return drift.LeftAlone, ""
}

// hidden tells whether a field's values must not be shown. What nobody declares may hold anything where it is a key of an open
// map that the definitions don't name, or where nobody wrote down what came from $(…).
func (x explaining) hidden(path string, d drift.Diff) bool {
	kind := x.sought.Kind()
	switch {
	case d.Secret, x.Facts.Of(kind, path).MayHide(), x.Facts.Secret(schema.Object{Address: x.sought, Inputs: x.want.Inputs}, path),
		x.Facts.Secret(x.base[x.sought], path), x.input != nil && x.input(drift.Key(x.sought, path)):
		return true
	}
	if _, declared := drift.Value(x.want.Fields, path); declared || realm.IsLinks(x.sought) {
		return false
	}
	_, named := x.Facts[kind][path]
	return x.input == nil || !named && strings.Contains(path, ".")
}

// field is what there is to say about one field, and what stands in it.
func (x explaining) field(fields []drift.Field, path string) ([]drift.Field, error) {
	var found []drift.Field
	names := slices.Collect(maps.Keys(x.Facts[x.sought.Kind()]))
	for _, f := range fields {
		if f.Path == path || strings.HasPrefix(f.Path, path+".") {
			found = append(found, f)
		}
		names = append(names, f.Path)
	}
	if len(found) > 0 {
		return found, nil
	}
	if _, known := x.Facts[x.sought.Kind()][path]; known {
		return []drift.Field{{Path: path, Standing: drift.LeftAlone, Rule: "neither declared nor set"}}, nil
	}
	near := schema.Suggest(path, names)
	if near != "" {
		near = string(drift.Key(x.sought, near))
	}
	return nil, &NotThere{string(drift.Key(x.sought, path)), near}
}

// leaves are the values in fields by their paths; what is empty stands for itself.
func leaves(fields map[string]any) map[string]any {
	found := map[string]any{}
	var walk func(prefix string, fields map[string]any)
	walk = func(prefix string, fields map[string]any) {
		for name, v := range fields {
			if nested, ok := v.(map[string]any); ok {
				walk(prefix+name+".", nested)
			} else {
				found[prefix+name] = v
			}
		}
	}
	walk("", fields)
	return found
}

// placesOf are where a field, or what it stands in, is declared, and what that lies over, the nearest first; "" is the object.
func placesOf(o schema.Object, path string) (declared, over []schema.Origin) {
	at := o.Origin
	for ; path != ""; path = path[:max(strings.LastIndexByte(path, '.'), 0)] {
		if origin, ok := o.Origins[path]; ok {
			at = origin
			break
		}
	}
	if at.File == "" {
		return nil, nil
	}
	over = slices.Clone(o.Below[path])
	slices.Reverse(over)
	return append([]schema.Origin{at}, o.Again[path]...), over
}

// lastWrite is who wrote an object last, and whether that was the account that asks; or why nobody can say.
func (w *work) lastWrite(ctx context.Context, a schema.Address, have schema.Object) (last drift.Writer, us bool, unknown string) {
	switch {
	case !realm.Recorded(a.Kind(), ""):
		return last, false, "Keycloak records no writes of " + a.Kind()
	case !w.live.RecordsEvents():
		return last, false, "the realm records no admin events"
	}
	h, err := w.history(ctx, []schema.Address{a})
	if err != nil {
		return last, false, why(err)
	}
	about := drift.Change{Op: drift.Update, Address: a, Have: have}
	for _, e := range h.events {
		if h.tells(e, about) == thatItWasWritten {
			return h.by(ctx, e), h.ours(ctx, e), ""
		}
	}
	if len(h.events) == 0 {
		return last, false, "the realm recorded none"
	}
	return last, false, fmt.Sprintf("it isn't among the newest events, of which %d were read", len(h.events))
}
