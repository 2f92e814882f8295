package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// attribute says of what the server moved by itself who wrote it last, where the realm records that. It asks only where
// there is something to explain, and nothing that it meets ends a pass.
func (w *work) attribute(ctx context.Context, changes []drift.Change) {
	var about []schema.Address
	for _, c := range changes {
		if unexplained(c) {
			about = append(about, c.Address)
		}
	}
	if len(about) == 0 || !w.live.RecordsEvents() {
		return
	}
	h, err := w.history(ctx, about)
	if err != nil {
		w.Log.Info("read who changed what", "realm", w.Want.Ref, "error", err)
		w.report.Notes = append(w.report.Notes, "who changed what isn't told: "+why(err))
		return
	}
	for i, c := range changes {
		if unexplained(c) {
			changes[i].By = h.writer(ctx, c)
		}
	}
}

// rememberNames notes what the ids of declared objects stand for. Those of what is gone are kept while it isn't made again.
func (w *work) rememberNames() {
	if w.Names == nil || !w.live.Exists {
		return
	}
	now, off := w.live.Names(), map[schema.Address]bool{}
	for _, c := range w.report.Changes {
		off[c.Address] = off[c.Address] || c.Outcome != drift.Done
	}
	maps.DeleteFunc(w.Names, func(_ string, all []schema.Address) bool {
		return !slices.ContainsFunc(all, func(a schema.Address) bool { return off[a] })
	})
	for id, all := range now {
		if _, kept := w.Names[id]; !kept && slices.ContainsFunc(all, w.declared) {
			w.Names[id] = all
		}
	}
}

func (w *work) declared(a schema.Address) bool { _, declared := w.Want.State[a]; return declared }

// why is why nobody can say who it was.
func why(err error) string {
	var missing *realm.MissingRole
	if errors.As(err, &missing) {
		return "give the account the role " + missing.Role
	}
	return err.Error()
}

// unexplained tells whether somebody may have changed the server: it isn't that a commit asks for something else.
func unexplained(c drift.Change) bool {
	if c.Cause == drift.FromCommit {
		return false
	}
	recorded := func(d drift.Diff) bool { return realm.Recorded(c.Address.Kind(), d.Path) }
	if c.Op != drift.Update {
		return realm.Recorded(c.Address.Kind(), "")
	}
	return slices.ContainsFunc(c.Diffs, recorded)
}

// history is what the realm recorded of the writes to it.
type history struct {
	*work
	events []realm.Event // newest first
	us     keycloak.Identity
	names  map[string]string // of users and clients, by realm and id, as far as they were asked for
}

func (w *work) history(ctx context.Context, about []schema.Address) (*history, error) {
	us, err := w.Client.WhoAmI(ctx)
	if err != nil {
		return nil, err
	}
	events, err := w.realm.Events(ctx, w.live, w.Names, about)
	if err != nil {
		return nil, err
	}
	renames := drift.Renames(w.Want.State, w.live.State)
	for _, e := range events {
		for i, a := range e.Touches {
			e.Touches[i] = realm.Moved(a, renames)
		}
	}
	return &history{w, events, us, map[string]string{}}, nil
}

// writer is who wrote what a change is about last; nobody where that was this account, for then somebody wrote without a
// record since.
func (h *history) writer(ctx context.Context, c drift.Change) drift.Writer {
	var along drift.Writer // who wrote what it stands in, and may have written it too
	for _, e := range h.events {
		switch h.tells(e, c) {
		case nothing:
		case theEnd:
			return along
		case maybe:
			if along.ID == "" && !h.ours(ctx, e) {
				along = h.by(ctx, e)
			}
		case thatItWasWritten:
			if !h.ours(ctx, e) {
				return h.by(ctx, e)
			}
			if h.Want.Drift != "report" { // else our own write left it as it was
				return along
			}
		}
	}
	return along
}

func (h *history) by(ctx context.Context, e realm.Event) drift.Writer {
	return drift.Writer{Name: h.name(ctx, e.Realm, "users", e.User), ID: e.User, Realm: e.Realm, IP: e.IP, At: e.At, Did: strings.ToLower(e.Op)}
}

// evidence is what an event tells of how something came to differ.
type evidence int

const (
	nothing evidence = iota
	maybe            // the list was written that it stands in
	thatItWasWritten
	theEnd // it was made, and is gone: nothing was recorded of its end
)

func (h *history) tells(e realm.Event, c drift.Change) evidence {
	if list := c.Address.List(); list != c.Address && slices.Contains(e.Touches, list) {
		return maybe
	}
	wentAlong := func(a schema.Address) bool {
		return e.Op == "DELETE" && a != schema.RealmAddress && !strings.Contains(string(a), "#") && c.Address.Within(a)
	}
	gone := c.Op == drift.Create && !realm.IsLinks(c.Address)
	switch touches := func(a schema.Address) bool { return covers(a, c) || wentAlong(a) }; {
	case !slices.ContainsFunc(e.Touches, touches):
		return nothing
	case gone && e.Op == "CREATE":
		return theEnd
	case gone && e.Op != "DELETE" && !e.Renames:
		return nothing
	}
	return thatItWasWritten
}

// covers tells whether an address, or field of one, is what a change is about.
func covers(a schema.Address, c drift.Change) bool {
	address, path, isField := strings.Cut(string(a), "#")
	if schema.Address(address) != c.Address && (c.From == "" || schema.Address(address) != c.From) {
		return false
	}
	return !isField || slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool {
		return d.Path == path || strings.HasPrefix(d.Path, path+".")
	})
}

// ours tells whether this account made an event. A person may sign in as the same user, but through another client.
func (h *history) ours(ctx context.Context, e realm.Event) bool {
	if e.User != h.us.UserID || e.Realm != h.us.Realm {
		return false
	}
	client := h.name(ctx, e.Realm, "clients", e.Client)
	return client == "" || client == h.us.ClientID
}

// name is what a user or client is called; "" where the account can't see it, or nobody bears that id any longer.
func (h *history) name(ctx context.Context, in, list, id string) string {
	key := in + "/" + list + "/" + id
	if name, known := h.names[key]; known {
		return name
	}
	if in == h.Want.Ref.Realm {
		for a, o := range h.live.State {
			if o.ID == id && a.Kind() == list {
				h.names[key] = a.Name()
				return a.Name()
			}
		}
	}
	var fields struct{ Username, ClientID string }
	if err := h.Client.Get(ctx, keycloak.Path("realms", in, list, id), nil, &fields); err != nil {
		h.Log.Debug("who is it", "realm", in, list, id, "error", err)
	}
	name := fields.ClientID
	if list == "users" {
		name = strings.TrimPrefix(fields.Username, "service-account-")
	}
	h.names[key] = name
	return name
}
