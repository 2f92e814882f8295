package realm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Apply makes the changes, creates and updates in the table's order and deletes against it, and notes each one's outcome
// in place. Independent changes go on when one fails; what depends on it is skipped, and deletes are withheld. Unmoved is
// asked before each change, from several goroutines; its error ends the pass. Apply returns an error only where it stopped
// as a whole: the changes not tried are skipped then.
func (r *Realm) Apply(ctx context.Context, live Live, changes []drift.Change, unmoved func(context.Context) error) error {
	a := &application{Realm: r, live: live, ids: map[schema.Address]string{}, failed: map[schema.Address]bool{}, unmoved: unmoved}
	for address, o := range live.State {
		a.ids[address] = o.ID
	}
	for i := range changes {
		if c := &changes[i]; c.Op == drift.Rename {
			a.renamed(c.From, c.Address)
		}
	}
	a.changes = changes
	steps := []func(context.Context, []drift.Change) error{a.objects, a.links, a.deletes}
	for _, step := range steps {
		if err := step(ctx, changes); err != nil {
			for i := range changes {
				if changes[i].Outcome == "" {
					changes[i].Outcome, changes[i].Says = drift.Skipped, "the pass stopped"
				}
			}
			return err
		}
	}
	return nil
}

// Create makes the realm with its settings; Keycloak fills it with its own clients, scopes, roles and flows.
func (r *Realm) Create(ctx context.Context, settings schema.Object) error {
	body := without(withoutNulls(settings.Fields), bindings["realm"]...) // the flows are made afterwards
	body["realm"] = r.Name
	if _, err := r.Client.Post(ctx, keycloak.Path("realms"), nil, body, nil); err != nil {
		return unwritten("create-realm", fmt.Errorf("create realm %s: %w", r.Name, err))
	}
	return nil
}

// Rename gives the realm another name, which changes the issuer of its tokens.
func (r *Realm) Rename(ctx context.Context, name string) error {
	if err := r.Client.Put(ctx, r.path(), map[string]any{"realm": name}); err != nil {
		return unwritten("manage-realm", fmt.Errorf("rename realm %s: %w", r.Name, err))
	}
	return nil
}

// Remove deletes the realm and everything in it.
func (r *Realm) Remove(ctx context.Context) error {
	if err := r.discard(ctx); err != nil {
		return unwritten("manage-realm", fmt.Errorf("delete realm %s: %w", r.Name, err))
	}
	return nil
}

type application struct {
	*Realm
	live    Live
	unmoved func(context.Context) error // nil while no other process has changed the ledger

	mu     sync.Mutex
	ids    map[schema.Address]string // "" where it must be asked for
	failed map[schema.Address]bool

	changes  []drift.Change // all of the pass
	policies sync.Mutex     // of two PUTs of one document at a time one is lost
}

// renamed lets the ids of a subtree be found under its new address.
func (a *application) renamed(from, to schema.Address) {
	for address, id := range maps.Clone(a.ids) {
		if from != schema.RealmAddress && address.Within(from) {
			delete(a.ids, address)
			a.ids[address.Moved(from, to)] = id
		}
	}
}

// objects creates, updates and renames, row by row, parents before children, equals side by side.
func (a *application) objects(ctx context.Context, changes []drift.Change) error {
	for i, k := range kinds {
		if k.Shape != Document && k.Shape != Collection && k.Shape != Apart {
			continue
		}
		if k.Name == "authenticationFlows" {
			if err := a.flows(ctx, changes); err != nil {
				return err
			}
			continue
		}
		levels := map[int][]*drift.Change{}
		for j := range changes {
			if c := &changes[j]; c.Op != drift.Delete && row(c.Address.Kind()) == i {
				depth := strings.Count(string(c.Address), "/")
				levels[depth] = append(levels[depth], c)
			}
		}
		for _, depth := range slices.Sorted(maps.Keys(levels)) {
			if err := a.each(ctx, levels[depth], func(ctx context.Context, c *drift.Change) error { return a.object(ctx, k, c) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// sideBySide is how many changes are under way at a time: what goes on when another process takes over.
const sideBySide = 4

// each runs do for independent changes and notes their outcomes. It stops where going on is of no use.
func (a *application) each(ctx context.Context, changes []*drift.Change, do func(context.Context, *drift.Change) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for _, c := range changes {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if because := a.blocked(c); because != "" {
				a.outcome(c, drift.Skipped, "because of "+string(because))
				return nil
			}
			if err := a.unmoved(ctx); err != nil {
				return err
			}
			err := unwritten(writer(c.Address), do(ctx, c))
			if err == nil {
				a.outcome(c, drift.Done, "")
				return nil
			}
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return context.Cause(ctx)
			}
			a.fail(c, err)
			if keycloak.IsUnreachable(err) || keycloak.IsSignIn(err) {
				return fmt.Errorf("%s %s: %w", c.Op, c.Address, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (a *application) outcome(c *drift.Change, o drift.Outcome, says string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.Outcome = o
	if says != "" || o == drift.Done {
		c.Says = says
	}
	if o != drift.Done {
		a.failed[c.Address] = true
	}
}

func (a *application) fail(c *drift.Change, err error) {
	a.outcome(c, drift.Failed, err.Error())
	var missing *MissingRole
	if errors.As(err, &missing) {
		c.Lacks = missing.Role
	}
}

// blocked is the failed change that this one depends on: of a parent, or of what its links refer to.
func (a *application) blocked(c *drift.Change) schema.Address {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := c.Address.Parent(); p != "" && c.Op != drift.Delete; p = p.Parent() {
		if a.failed[p] && p != schema.RealmAddress {
			return p
		}
	}
	if c.Op != drift.Delete {
		for _, t := range Targets(c.Want) {
			if a.failed[t] {
				return t
			}
		}
	}
	return ""
}

// object creates, updates or renames one object.
func (a *application) object(ctx context.Context, k Kind, c *drift.Change) error {
	if k.Shape == Apart {
		return a.apart(ctx, c)
	}
	if c.Op == drift.Create {
		return a.create(ctx, k, c.Want)
	}
	if k.Shape == Document {
		return a.updateRealm(ctx, c)
	}
	if c.Op == drift.Rename && c.From.Parent() != c.Address.Parent() {
		if err := a.moveGroup(ctx, c); err != nil || len(c.Diffs) == 0 {
			return err
		}
	}
	body := map[string]any{}
	if k.Merge {
		for _, key := range append([]string{"id"}, a.Kinds[k.Name].Key...) {
			body[key] = c.Have.Fields[key]
		}
		merge(body, c.Diffs, true)
	} else {
		var err error
		if body, err = a.current(ctx, c.Address); err != nil {
			return err
		}
		merge(body, c.Diffs, false)
	}
	body, err := a.withFlowIDs(ctx, body)
	if err != nil {
		return err
	}
	return a.put(ctx, c.Address, body)
}

// current is an object as it is at this moment. Most PUTs remove what they leave out, and what others added since we looked
// is theirs.
func (a *application) current(ctx context.Context, address schema.Address) (map[string]any, error) {
	if address.Kind() == "protocolMappers" {
		return a.currentMapper(ctx, address)
	}
	path, err := a.item(ctx, address)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := a.Client.Get(ctx, a.path(path...), nil, &fields); err != nil {
		return nil, err
	}
	return bare(address.Kind(), fields), nil
}

// currentMapper finds a protocol mapper where Observe does, in the body of its owner.
func (a *application) currentMapper(ctx context.Context, address schema.Address) (map[string]any, error) {
	id, err := a.id(ctx, address)
	if err != nil {
		return nil, err
	}
	owner, err := a.ownerPath(ctx, address)
	if err != nil {
		return nil, err
	}
	var holds struct{ ProtocolMappers []map[string]any }
	if err := a.Client.Get(ctx, a.path(owner...), nil, &holds); err != nil {
		return nil, err
	}
	for _, mapper := range holds.ProtocolMappers {
		if mapper["id"] == id {
			return mapper, nil
		}
	}
	return nil, fmt.Errorf("%s isn't there", address)
}

func (a *application) put(ctx context.Context, address schema.Address, body map[string]any) error {
	path, err := a.item(ctx, address)
	if err != nil {
		return err
	}
	return a.Client.Put(ctx, a.path(path...), body)
}

// apart makes a change to an object of a kind that none of the shapes fits.
func (a *application) apart(ctx context.Context, c *drift.Change) error {
	switch kind := c.Address.Kind(); kind {
	case "authenticationFlows":
		return a.flow(ctx, c)
	case "authenticatorConfig":
		return a.authenticatorConfig(ctx, c)
	case "components":
		return a.component(ctx, c)
	case "requiredActions":
		return a.requiredAction(ctx, c)
	case "clientProfiles", "clientPolicies":
		return a.clientPolicy(ctx, c)
	case "organizations":
		return a.organization(ctx, c)
	case "users":
		return a.user(ctx, c)
	case "federatedIdentities":
		return a.federatedIdentity(ctx, c)
	default:
		return fmt.Errorf("nobody writes %s", kind)
	}
}

func (a *application) create(ctx context.Context, k Kind, o schema.Object) error {
	parent := o.Address.Parent()
	below := k.Path
	if k.Nested != "" && parent != schema.RealmAddress {
		below = k.Nested
	}
	path, err := a.ownerPath(ctx, o.Address)
	if err != nil {
		return err
	}
	body, err := a.withFlowIDs(ctx, withoutNulls(o.Fields))
	if err != nil {
		return err
	}
	id, err := a.Client.Post(ctx, a.path(append(path, strings.Split(below, "/")...)...), nil, body, nil)
	if err != nil {
		return err
	}
	if k.Name == "roles" {
		id = "" // the Location of a role bears its name
	}
	a.made(o.Address, id)
	return nil
}

// updateRealm writes the settings over those as they are at this moment: a PUT replaces the attributes as a whole, and
// what others changed since we looked is theirs.
func (a *application) updateRealm(ctx context.Context, c *drift.Change) error {
	texts, settings := localized(c.Diffs)
	if len(settings) > 0 {
		var body map[string]any
		if err := a.Client.Get(ctx, a.path(), nil, &body); err != nil {
			return err
		}
		merge(body, settings, false)
		// A policy with a profile that is gone would fail the whole of it (26.7.3 answers 500).
		if err := a.Client.Put(ctx, a.path(), without(body, "clientProfiles", "clientPolicies")); err != nil {
			return err
		}
	}
	return a.localize(ctx, texts)
}

// moveGroup takes a group with all below it to another parent, by making it a child there again with its id.
func (a *application) moveGroup(ctx context.Context, c *drift.Change) error {
	path := []string{"groups"}
	if parent := c.Address.Parent(); parent != schema.RealmAddress {
		id, err := a.id(ctx, parent)
		if err != nil {
			return err
		}
		path = append(path, id, "children")
	}
	_, err := a.Client.Post(ctx, a.path(path...), nil, map[string]any{"id": c.Have.ID, "name": c.Have.Fields["name"]}, nil)
	return err
}

// merge sets the fields that differ. Where a PUT keeps what it leaves out, a map key goes by null; elsewhere by being absent.
func merge(body map[string]any, diffs []drift.Diff, nulls bool) {
	for _, d := range diffs {
		at := body
		for _, key := range d.At[:len(d.At)-1] {
			nested, ok := at[key].(map[string]any)
			if !ok {
				nested = map[string]any{}
				at[key] = nested
			}
			at = nested
		}
		last := d.At[len(d.At)-1]
		if d.Want == nil && !nulls {
			delete(at, last)
		} else {
			at[last] = d.Want
		}
	}
}

// withoutNulls is a copy of fields without the keys of maps that shall not be there.
func withoutNulls(fields map[string]any) map[string]any {
	kept := map[string]any{}
	for name, v := range fields {
		if nested, ok := v.(map[string]any); ok {
			v = withoutNulls(nested)
		}
		if v != nil {
			kept[name] = v
		}
	}
	return kept
}

func deepCopy(fields map[string]any) map[string]any {
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err) // JSON values always encode
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		panic(err)
	}
	return c
}

// item is where one object stands below the realm.
func (a *application) item(ctx context.Context, address schema.Address) ([]string, error) {
	k := kinds[row(address.Kind())]
	id, err := a.id(ctx, address)
	if err != nil {
		return nil, err
	}
	if k.Item != "" {
		return []string{k.Item, id}, nil
	}
	parent, err := a.ownerPath(ctx, address)
	if err != nil {
		return nil, err
	}
	return append(append(parent, strings.Split(k.Path, "/")...), id), nil
}

// id is the server's identifier of an object.
func (a *application) id(ctx context.Context, address schema.Address) (string, error) {
	a.mu.Lock()
	id := a.ids[address]
	a.mu.Unlock()
	if id != "" {
		return id, nil
	}
	if address.Kind() != "roles" { // roles are read where they are needed, and the answer to their creation tells no id
		return "", fmt.Errorf("%s isn't there", address)
	}
	path := []string{"roles", address.Name()}
	if client := address.Parent(); client != schema.RealmAddress {
		owner, err := a.id(ctx, client)
		if err != nil {
			return "", err
		}
		path = []string{"clients", owner, "roles", address.Name()}
	}
	var role struct{ ID string }
	if err := a.Client.Get(ctx, a.path(path...), nil, &role); err != nil {
		return "", err
	}
	a.made(address, role.ID)
	return role.ID, nil
}

// made lets what is made later find an object.
func (a *application) made(address schema.Address, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[address] = id
}

// links removes what shall go from all sets of links, and then adds: a scope that moves from a client's default to its
// optional ones would be lost by a removal that came second.
func (a *application) links(ctx context.Context, changes []drift.Change) error {
	var todo []*drift.Change
	for i := range changes {
		if c := &changes[i]; IsLinks(c.Address) && c.Outcome == "" && (c.Op != drift.Delete || !a.anyFailed()) {
			todo = append(todo, c)
		}
	}
	var mu sync.Mutex
	plans := map[*drift.Change]linking{}
	err := a.each(ctx, todo, func(ctx context.Context, c *drift.Change) error {
		l, err := a.link(ctx, c)
		if err != nil {
			return err
		}
		mu.Lock()
		plans[c] = l
		mu.Unlock()
		return a.changeLinks(ctx, l, l.remove, false)
	})
	todo = slices.DeleteFunc(todo, func(c *drift.Change) bool { return c.Outcome != drift.Done || len(plans[c].add) == 0 })
	for _, c := range todo {
		c.Outcome = "" // half of it is done
	}
	if err != nil {
		return err
	}
	return a.each(ctx, todo, func(ctx context.Context, c *drift.Change) error {
		return a.changeLinks(ctx, plans[c], plans[c].add, true)
	})
}

// IsLinks tells whether the address names a set of links rather than an object.
func IsLinks(a schema.Address) bool {
	i := row(a.Kind())
	return i >= 0 && (kinds[i].Shape == BodyLinks || kinds[i].Shape == PathLinks)
}

func (a *application) anyFailed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.failed) > 0
}

// deletes removes objects, from the bottom of the table to the top, one after the other. In a pass with a failure they
// are withheld: what failed may be what should have taken their place.
func (a *application) deletes(ctx context.Context, changes []drift.Change) error {
	var todo []*drift.Change
	for i := range changes {
		if c := &changes[i]; c.Op == drift.Delete && c.Outcome == "" {
			todo = append(todo, c)
		}
	}
	slices.SortStableFunc(todo, func(x, y *drift.Change) int {
		if d := row(y.Address.Kind()) - row(x.Address.Kind()); d != 0 {
			return d
		}
		return strings.Compare(string(y.Address), string(x.Address))
	})
	for _, c := range todo {
		if a.anyFailed() {
			a.outcome(c, drift.Skipped, "deletes are withheld in a pass with a failure")
			continue
		}
		if err := a.each(ctx, []*drift.Change{c}, a.delete); err != nil {
			return err
		}
	}
	return nil
}

func (a *application) delete(ctx context.Context, c *drift.Change) error {
	if kinds[row(c.Address.Kind())].Shape == Apart {
		return a.apart(ctx, c)
	}
	return a.remove(ctx, c.Address)
}

// remove deletes what stands at an address.
func (a *application) remove(ctx context.Context, address schema.Address) error {
	path, err := a.item(ctx, address)
	if err != nil {
		return err
	}
	return a.discard(ctx, path...)
}

// discard deletes what stands at a path below the realm, unless somebody else was faster or it went with another.
func (r *Realm) discard(ctx context.Context, path ...string) error {
	if err := r.Client.Delete(ctx, r.path(path...), nil); !keycloak.IsNotFound(err) {
		return err
	}
	return nil
}
