package realm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Targets are the objects that an object refers to, links for the most part.
func Targets(o schema.Object) []schema.Address {
	var targets []schema.Address
	for at, list := range sets(o) {
		targets = append(targets, targetsAt(o.Address, strings.Split(at, "\x00"), list)...)
	}
	targets = slices.AppendSeq(targets, maps.Values(flowsOf(o)))
	for _, r := range references(o) {
		targets = append(targets, r.may...)
	}
	slices.Sort(targets)
	return targets
}

// sets are the lists of names in an object of links, by the keys that lead to them, joined by NUL.
func sets(o schema.Object) map[string][]any {
	found := map[string][]any{}
	switch o.Address.Kind() {
	case "federatedIdentities":
		found["identityProvider"] = []any{o.Address.Name()}
	case "members":
		found["username"] = []any{o.Address.Name()}
	case "users":
		if client := o.Fields["serviceAccountClientId"]; client != nil {
			found["serviceAccountClientId"] = []any{client}
		}
		found["requiredActions"], _ = o.Fields["requiredActions"].([]any)
	case "organizations":
		found[linked], _ = o.Fields[linked].([]any)
	case "clientPolicies":
		found["profiles"], _ = o.Fields["profiles"].([]any)
	}
	if i := row(o.Address.Kind()); i < 0 || kinds[i].Shape != BodyLinks && kinds[i].Shape != PathLinks {
		return found
	}
	var walk func(at []string, v any)
	walk = func(at []string, v any) {
		switch v := v.(type) {
		case []any:
			found[strings.Join(at, "\x00")] = v
		case map[string]any:
			for key, nested := range v {
				walk(append(slices.Clip(at), key), nested)
			}
		}
	}
	walk(nil, o.Fields)
	return found
}

// targetsAt are the objects that the names in one set of links of an object mean.
func targetsAt(a schema.Address, at []string, names []any) []schema.Address {
	var targets []schema.Address
	for _, v := range names {
		name := text(v)
		switch kind := a.Kind(); {
		case byPath(kind) && a.Parent().Kind() == "members":
			targets = append(targets, drift.GroupAt(a.Parent().Parent(), name))
		case byPath(kind):
			targets = append(targets, drift.GroupAt(schema.RealmAddress, name))
		case kind == "federatedIdentities", kind == "organizations":
			targets = append(targets, schema.Join(schema.RealmAddress, "identityProviders", name))
		case kind == "members":
			targets = append(targets, schema.Join(schema.RealmAddress, "users", name))
		case kind == "clientPolicies":
			targets = append(targets, schema.Join(schema.RealmAddress, "clientProfiles", name))
		case at[0] == "requiredActions":
			targets = append(targets, schema.Join(schema.RealmAddress, "requiredActions", name))
		case kind == "users":
			targets = append(targets, schema.Join(schema.RealmAddress, "clients", name))
		case strings.HasSuffix(kind, "ClientScopes"):
			targets = append(targets, scopeAt(name))
		case kind == "clientRoles" || len(at) == 3: // clientRoles.CLIENT, composites.client.CLIENT, scopeMappings.client.CLIENT
			client := schema.Join(schema.RealmAddress, "clients", at[len(at)-1])
			targets = append(targets, schema.Join(client, "roles", name))
		default:
			targets = append(targets, schema.Join(schema.RealmAddress, "roles", name))
		}
	}
	return targets
}

func scopeAt(name string) schema.Address {
	return schema.Join(schema.RealmAddress, "clientScopes", name)
}

// byPath tells whether links name groups, by their paths.
func byPath(kind string) bool { return kind == "defaultGroups" || kind == "memberships" }

// Renamed is a state whose links call what they lead to by its name after the renames: Keycloak holds links by id, so that
// they follow what is renamed or moved by themselves.
func Renamed(s schema.State, renames []drift.Change) schema.State {
	now := func(target schema.Address) schema.Address { return moved(target, renames) }
	all := schema.State{}
	for a, o := range s {
		if IsLinks(a) {
			o.Fields = renamedLinks(a, nil, o.Fields, now).(map[string]any)
		} else if len(renames) > 0 {
			o = renamed(o, func(r reference) string { return r.after(now) })
		}
		if to := movedMember(a, renames); to != a {
			if o.Address = to; to.Kind() == "members" {
				o.Fields = maps.Clone(o.Fields)
				o.Fields["username"] = to.Name()
			}
			a = to
		}
		all[a] = o
	}
	return all
}

// Moved is an address, or the key of an open map as drift.Key makes it, after the renames.
func Moved(key schema.Address, renames []drift.Change) schema.Address {
	address, path, isKey := strings.Cut(string(key), "#")
	a := moved(schema.Address(address), renames)
	if !isKey {
		return a
	}
	for _, clients := range []string{"clientRoles.", "composites.client.", "scopeMappings.client."} {
		if name, ok := strings.CutPrefix(path, clients); ok && IsLinks(a) {
			path = clients + moved(schema.Join(schema.RealmAddress, "clients", name), renames).Name()
		}
	}
	return drift.Key(a, path)
}

func moved(a schema.Address, renames []drift.Change) schema.Address {
	for _, r := range renames {
		if r.From != schema.RealmAddress && a.Within(r.From) {
			a = a.Moved(r.From, r.Address)
		}
	}
	return movedMember(a, renames)
}

// movedMember is the address of a member of an organization, or of what it has, after renames of users, whose names it bears.
func movedMember(a schema.Address, renames []drift.Change) schema.Address {
	parts := strings.Split(string(a), "/")
	if len(parts) < 4 || parts[0] != "organizations" || parts[2] != "members" {
		return a
	}
	for _, r := range renames {
		if r.From == schema.Address("users/"+parts[3]) {
			parts[3] = strings.TrimPrefix(string(r.Address), "users/")
		}
	}
	return schema.Address(strings.Join(parts, "/"))
}

func renamedLinks(a schema.Address, at []string, v any, now func(schema.Address) schema.Address) any {
	switch v := v.(type) {
	case []any:
		names := make([]any, len(v))
		for i, target := range targetsAt(a, at, v) {
			if names[i] = now(target).Name(); byPath(a.Kind()) {
				names[i] = drift.GroupPath(now(target))
			}
		}
		return names
	case map[string]any:
		renamed := map[string]any{}
		for key, nested := range v {
			name := key
			if a.Kind() == "clientRoles" && len(at) == 1 || len(at) == 2 { // clientRoles.CLIENT, composites.client.CLIENT
				name = now(schema.Join(schema.RealmAddress, "clients", key)).Name()
			}
			renamed[name] = renamedLinks(a, append(slices.Clip(at), key), nested, now)
		}
		return renamed
	}
	return v
}

// Dangling are the references that lead nowhere: to what neither the manifests declare nor the server has. Keycloak
// itself would drop them without a word. A realm that isn't there yet will bring what Keycloak makes by itself.
func Dangling(r *Realm, live Live, want schema.State) []schema.Problem {
	leadsNowhere := func(target schema.Address) bool {
		builtin := !live.Exists && (Builtin(r.Name, schema.Object{Address: target}) || target.Kind() == "clientProfiles")
		return !known(want, live.State, target) && !builtin && !known(nil, r.Fresh, target) && !permissionsToCome(live, target)
	}
	var problems []schema.Problem
	for _, a := range want.Addresses() {
		o := want[a]
		if live.Ambiguous[a] {
			problems = append(problems, schema.Problem{Origin: o.Origin, What: fmt.Sprintf("Keycloak has more than one %s", a),
				Hint: "rename or delete all but one by hand"})
		}
		if parent := a.Parent(); parent != "" && leadsNowhere(parent) {
			problems = append(problems, dangling(o.Origin, want, live.State, a, parent))
		}
		for at, names := range sets(o) {
			for _, target := range targetsAt(a, strings.Split(at, "\x00"), names) {
				if !leadsNowhere(target) {
					continue
				}
				origin, ok := o.Origins[strings.ReplaceAll(at, "\x00", ".")]
				if !ok {
					origin = o.Origin
				}
				problems = append(problems, dangling(origin, want, live.State, a, target))
			}
		}
		for _, r := range references(o) {
			if !slices.ContainsFunc(r.may, func(target schema.Address) bool { return !leadsNowhere(target) }) {
				problems = append(problems, dangling(originOf(o, r.path), want, live.State, a, r.may[len(r.may)-1]))
			}
		}
		for path, flow := range flowsOf(o) {
			if leadsNowhere(flow) {
				problems = append(problems, dangling(originOf(o, path), want, live.State, a, flow))
			}
		}
	}
	return schema.SortProblems(append(problems, unprotected(live, want)...))
}

// originOf is where a path of an object is declared, or what it stands in.
func originOf(o schema.Object, path string) schema.Origin {
	for ; path != ""; path = path[:max(strings.LastIndexByte(path, '.'), 0)] {
		if origin, ok := o.Origins[path]; ok {
			return origin
		}
	}
	return o.Origin
}

func known(want, have schema.State, a schema.Address) bool {
	_, declared := want[a]
	_, live := have[a]
	return declared || live || a == schema.RealmAddress
}

func dangling(origin schema.Origin, want, have schema.State, from, target schema.Address) schema.Problem {
	p := schema.Problem{Origin: origin, What: fmt.Sprintf("%s names %s, which neither the manifests nor Keycloak have", from, target)}
	var names []string
	for _, s := range []schema.State{want, have} {
		for a := range s {
			if a.List() == target.List() {
				names = append(names, a.Name())
			}
		}
	}
	if guess := schema.Suggest(target.Name(), names); guess != "" {
		p.Hint = "did you mean " + guess + "?"
	} else {
		p.Hint = "declare it, or correct the name"
	}
	return p
}

// linking is what one change of links comes to.
type linking struct {
	change      *drift.Change
	kind        Kind
	add, remove []schema.Address
}

// link works out which links a change adds and removes.
func (a *application) link(ctx context.Context, c *drift.Change) (linking, error) {
	l := linking{change: c, kind: kinds[row(c.Address.Kind())]}
	if c.Op == drift.Delete {
		l.remove = Targets(c.Have)
		return l, nil
	}
	if c.Op == drift.Create {
		l.add = Targets(c.Want)
		if l.kind.Shape != PathLinks {
			return l, nil
		}
		// The server gave the new owner links by itself.
		have, err := a.currentLinks(ctx, c.Address, l.kind)
		if err != nil {
			return l, err
		}
		l.add, l.remove = difference(l.add, have), difference(have, append(l.add, scopeAt(serviceAccountScope)))
		return l, nil
	}
	for _, d := range c.Diffs {
		want, _ := d.Want.([]any)
		have, _ := d.Have.([]any)
		w, h := targetsAt(c.Address, d.At, want), targetsAt(c.Address, d.At, have)
		l.add, l.remove = append(l.add, difference(w, h)...), append(l.remove, difference(h, w)...)
	}
	return l, nil
}

// difference is what stands in a and not in b.
func difference[T comparable](a, b []T) []T {
	return slices.DeleteFunc(slices.Clone(a), func(x T) bool { return slices.Contains(b, x) })
}

// currentLinks are the links that an owner has now.
func (a *application) currentLinks(ctx context.Context, links schema.Address, kind Kind) ([]schema.Address, error) {
	path, err := a.ownerPath(ctx, links)
	if err != nil {
		return nil, err
	}
	if kind.Name == "memberships" {
		groups, err := a.groupsOf(ctx, path...)
		return a.groupsWith(groups), err
	}
	names, err := a.names(ctx, append(path, kind.Path)...)
	if err != nil {
		return nil, err
	}
	return targetsAt(links, []string{kind.Name}, names), nil
}

// ownerPath leads to the object that holds links.
func (a *application) ownerPath(ctx context.Context, links schema.Address) ([]string, error) {
	owner := links.Parent()
	if owner == schema.RealmAddress {
		return nil, nil
	}
	return a.item(ctx, owner)
}

// change adds or removes links by as few requests as the shape takes.
func (a *application) changeLinks(ctx context.Context, l linking, targets []schema.Address, add bool) error {
	if len(targets) == 0 {
		return nil
	}
	owner, err := a.ownerPath(ctx, l.change.Address)
	if err != nil {
		return err
	}
	path := append(slices.Clip(owner), strings.Split(l.kind.Path, "/")...)
	if l.kind.Shape == PathLinks {
		for _, t := range targets {
			id, err := a.id(ctx, t)
			if err != nil {
				return err
			}
			at := append(slices.Clip(path), id)
			if l.change.Address.Parent().Kind() == "members" { // organizations/O/members/U, but organizations/O/groups/G/members/U
				at = append(slices.Clip(owner[:2]), "groups", id, "members", owner[3])
			}
			if err := a.changePathLink(ctx, at, add); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
		}
		return nil
	}
	for sub, group := range a.byClient(l.kind, targets) {
		var roles []map[string]any
		for _, t := range group {
			id, err := a.id(ctx, t)
			if !add && errors.Is(err, errAbsent) {
				continue // the role is gone, and the link with it
			}
			if err != nil {
				return err
			}
			roles = append(roles, map[string]any{"id": id, "name": t.Name()})
		}
		p := slices.Clip(path)
		switch sub {
		case "":
		case schema.RealmAddress:
			p = append(p, "realm")
		default:
			id, err := a.id(ctx, sub)
			if err != nil {
				return err
			}
			if l.kind.Split {
				p = append(p, "clients")
			}
			p = append(p, id)
		}
		if add {
			_, err = a.Client.Post(ctx, a.path(p...), nil, roles, nil)
		} else {
			err = a.Client.Delete(ctx, a.path(p...), roles)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *application) changePathLink(ctx context.Context, path []string, add bool) error {
	if add {
		return a.Client.Put(ctx, a.path(path...), map[string]any{})
	}
	return a.discard(ctx, path...)
}

// byClient groups role mappings by what holds the roles, where the path names it.
func (a *application) byClient(kind Kind, targets []schema.Address) map[schema.Address][]schema.Address {
	groups := map[schema.Address][]schema.Address{}
	for _, t := range targets {
		client := schema.Address("")
		if kind.Name == "clientRoles" || kind.Split {
			client = t.Parent()
		}
		groups[client] = append(groups[client], t)
	}
	return groups
}
