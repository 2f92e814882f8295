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
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Apply makes the changes, creates and updates in the table's order and deletes against it, and notes each one's outcome
// in place. Independent changes go on when one fails; what depends on it is skipped, and deletes are withheld. Unmoved is
// asked before each delete, and some fifty times on the way; its error ends the pass. Apply returns an error only where it
// stopped as a whole: the changes not tried are skipped then. Want is what is declared, now is what flows are marked with
// that nobody is bound to any more.
func (r *Realm) Apply(ctx context.Context, live Live, want schema.State, changes []drift.Change, now time.Time, unmoved func(context.Context) error) error {
	a := &application{Realm: r, live: live, want: want, now: now, ids: map[schema.Address]string{}, failed: map[schema.Address]bool{},
		unmoved: unmoved, below: map[schema.Address][]*drift.Change{}}
	for address, o := range live.State {
		a.ids[address] = o.ID
	}
	for i := range changes {
		c := &changes[i]
		if c.Op == drift.Rename {
			a.renamed(c.From, c.Address)
		}
		a.below[c.Address.Parent()] = append(a.below[c.Address.Parent()], c)
	}
	a.changes = changes
	steps := []func(context.Context, []drift.Change) error{a.objects, a.links, a.part, a.deletes}
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

type application struct {
	*Realm
	live    Live
	want    schema.State
	now     time.Time
	unmoved func(context.Context) error // nil while no other process has changed the ledger

	asking  sync.Mutex
	unasked int // creates and updates that may be made before unmoved is asked again

	reading sync.Mutex // of roles, by whoever needs the identifier of one

	mu     sync.Mutex
	ids    map[schema.Address]string // "" where it must be asked for
	failed map[schema.Address]bool

	changes  []drift.Change                     // all of the pass
	below    map[schema.Address][]*drift.Change // the same, by the parent of what they change
	policies sync.Mutex                         // of two PUTs of one document at a time one is lost

	everybody   sync.Mutex
	ofEverybody []any // the actions that are required of every new user; nil until somebody asks
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
		switch k.Name {
		case "authenticationFlows":
			if err := a.retire(ctx, changes); err != nil {
				return err
			}
			if err := a.flows(ctx, changes); err != nil {
				return err
			}
			continue
		case "realm": // below the flows, and what they are configured with
			if err := a.rebind(ctx, changes); err != nil {
				return err
			}
		}
		if err := a.release(ctx, k.Name, changes); err != nil {
			return err
		}
		levels := map[int][]*drift.Change{}
		for j := range changes {
			if c := &changes[j]; c.Op != drift.Delete && c.Outcome == "" && row(c.Address.Kind()) == i {
				depth := strings.Count(string(c.Address), "/") + a.nesting(c)
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
			if err := a.goOn(ctx, c.Op); err != nil {
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

// Looks is how often the ledger is looked at on the way, besides before each delete: creates and updates that another
// process has made superfluous do no harm, and its own next look takes them back.
const Looks = 50

// goOn asks whether another process has changed the ledger: before each delete, and before some of the other changes.
func (a *application) goOn(ctx context.Context, op drift.Op) error {
	a.asking.Lock()
	defer a.asking.Unlock()
	if op != drift.Delete && a.unasked > 0 {
		a.unasked--
		return nil
	}
	if err := a.unmoved(ctx); err != nil {
		return err
	}
	a.unasked = len(a.changes) / Looks
	return nil
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

// item is where one object stands below the realm.
func (a *application) item(ctx context.Context, address schema.Address) ([]string, error) {
	k := kinds[row(address.Kind())]
	id, err := a.id(ctx, address)
	if err != nil {
		return nil, err
	}
	if k.Item != "" {
		above, err := a.organizationPath(ctx, address)
		return append(above, k.Item, id), err
	}
	parent, err := a.ownerPath(ctx, address)
	if err != nil {
		return nil, err
	}
	return append(append(parent, strings.Split(k.Path, "/")...), id), nil
}

// id is the server's identifier of an object.
func (a *application) id(ctx context.Context, address schema.Address) (string, error) {
	id := a.known(address)
	if id == "" && address == schema.Join(schema.RealmAddress, "clients", adminPermissions) {
		return a.adminPermissions(ctx, address)
	}
	if id == "" && address.Kind() == "roles" { // the answer to the creation of a role tells none
		a.reading.Lock()
		defer a.reading.Unlock()
		if id = a.known(address); id == "" { // nobody else has read the list meanwhile
			if err := a.readRoles(ctx, address.Parent()); err != nil {
				return "", err
			}
			id = a.known(address)
		}
	}
	if id == "" {
		return "", fmt.Errorf("%s %w", address, errAbsent)
	}
	return id, nil
}

// errAbsent is the error of an object that the realm doesn't hold.
var errAbsent = errors.New("isn't there")

func (a *application) known(address schema.Address) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids[address]
}

// readRoles finds the identifiers of all roles of the realm or a client: where one was made in this pass, more were.
func (a *application) readRoles(ctx context.Context, owner schema.Address) error {
	path := []string{"roles"}
	if owner != schema.RealmAddress {
		id, err := a.id(ctx, owner)
		if err != nil {
			return err
		}
		path = []string{"clients", id, "roles"}
	}
	roles, err := a.Client.All(ctx, a.path(path...), nil, page)
	if err != nil {
		return err
	}
	for _, b := range roles {
		var role struct{ ID, Name string }
		if err := json.Unmarshal(b, &role); err != nil {
			return fmt.Errorf("read %s: %w", schema.Join(owner, "roles"), err)
		}
		a.made(schema.Join(owner, "roles", role.Name), role.ID)
	}
	return nil
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
