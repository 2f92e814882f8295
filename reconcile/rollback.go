package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// Rollback is what a pass goes back to. From then on the ledger holds the realm at that commit, for every pass of the
// source, until a newer commit comes or somebody resumes.
type Rollback struct {
	Commit string
	Keys   RestoreKeys
	// Unlimited lets the pass change and delete more than the limits of the commit say.
	Unlimited bool
}

// hold puts in force the commit that somebody has gone back to, unless a newer one has come than was known then.
func (w *work) hold() error {
	if w.Mode == Drift { // which looks at what was last applied anyway
		return nil
	}
	if w.Rollback != nil {
		past, err := w.newest()
		if err != nil {
			return err
		}
		w.ledger.Pinned, w.ledger.Past = w.Rollback.Commit, past
	}
	commit := w.ledger.Pinned
	if commit == "" || w.held != "" {
		return nil
	}
	newer, err := w.newer()
	switch {
	case err != nil:
		return err
	case newer:
		w.Log.Info("a newer commit ends a rollback", "realm", w.Want.Ref, "held", short(commit), "commit", short(w.Commit))
		w.ledger.Pinned, w.ledger.Past = "", ""
		return nil
	}
	want, err := w.Base(commit)
	if err != nil {
		return &Blocked{fmt.Sprintf("held at %s by a rollback, and that can't be read: %v", short(commit), err), "cloakwork resume --realm " + w.Want.Ref.Realm + " ends it"}
	}
	w.Want, w.Commit, w.held = want, commit, commit
	return nil
}

// newest is the newest commit that is known when a rollback begins: our own, or what another process applied.
func (w *work) newest() (string, error) {
	head := w.head()
	applied := w.ledger.Commit
	if w.ledger.Past != "" {
		applied = w.ledger.Past // it was newer, for an earlier rollback went away from it
	}
	if applied == "" || applied == head {
		return head, nil
	}
	newer, err := w.Descends(head, applied)
	if err != nil {
		return "", &Blocked{fmt.Sprintf("commit %s was applied here, and isn't known: %v", short(applied), err), "git fetch, and try again"}
	}
	if newer {
		return applied, nil
	}
	return head, nil
}

// head is the newest commit of the source, which isn't the one in force while a rollback holds another.
func (w *work) head() string { return w.report.Commit }

// newer tells whether our commit is newer than those known at the rollback.
func (w *work) newer() (bool, error) {
	if w.Rollback != nil || w.head() == w.ledger.Past {
		return false, nil
	}
	if w.head() == "" || w.Descends == nil || w.Base == nil {
		return false, &Blocked{"held at " + short(w.ledger.Pinned) + " by a rollback, and this stands in no commit", "cloakwork resume --realm " + w.Want.Ref.Realm + " ends it"}
	}
	older, err := w.Descends(w.head(), w.ledger.Past)
	return err != nil || !older, nil
}

// sayHeld says in the report that it isn't about the newest commit.
func (w *work) sayHeld() {
	if w.held == "" {
		return
	}
	if w.report.Verdict == drift.InSync {
		w.report.Verdict = drift.Suspended
	}
	w.report.Says = drift.Sentence("held at " + short(w.held) + " by a rollback: " + w.report.Says)
}

// lost are the objects, by address, as they were when the commit of the rollback was last in force: the oldest of what
// passes kept that went away from it.
func (w *work) lost() (map[schema.Address]savedObject, error) {
	if w.RestorePoints == nil {
		return nil, nil
	}
	points, sealed, err := w.RestorePoints.read(w.Want.Ref, w.Source, w.Rollback.Keys)
	if err != nil {
		return nil, fmt.Errorf("read the restore points: %w", err)
	}
	if sealed > 0 {
		w.remark(fmt.Sprintf("%s can't be opened by the keys that are given", count(sealed, "restore point")))
	}
	lost, left := map[schema.Address]savedObject{}, false
	for _, p := range points { // newest first
		if left && p.From != w.held {
			break // before that another commit was in force, or this one was come back to
		}
		left = left || p.From == w.held && p.Commit != w.held
		if p.Commit == w.held {
			continue
		}
		after, err := w.Descends(w.held, p.Commit)
		if p.From != w.held && (err != nil || p.Commit == "" || !after) {
			continue
		}
		for _, o := range p.Objects {
			lost[o.Address] = o
		}
	}
	return lost, nil
}

// identified are the kinds of which Keycloak takes the id of an object that is made.
var identified = []string{"clients", "clientScopes", "components"}

// bringBack adds to what is wanted what git doesn't have: the secret that Keycloak once generated, and the ids of what must be
// made anew. It says what doesn't come back.
func (w *work) bringBack(want schema.State) schema.State {
	if len(w.back) == 0 {
		return want
	}
	want = maps.Clone(want)
	for _, a := range slices.Sorted(maps.Keys(w.back)) {
		saved := w.back[a]
		o, wanted := want[a]
		_, live := w.live.State[a]
		if !wanted {
			continue
		}
		fields := map[string]any{}
		if !live && saved.ID != "" && slices.Contains(identified, a.Kind()) {
			fields["id"] = saved.ID
		}
		secret, _ := saved.Fields["secret"].(string)
		_, declared := o.Fields["secret"]
		changed := saved.Op == drift.Delete || slices.Contains(saved.Changed, "secret")
		if a.Kind() == "clients" && !declared && changed && secret != "" && !schema.Asterisks(secret) && o.Fields["publicClient"] != true {
			fields["secret"] = secret
		}
		if len(fields) > 0 {
			maps.Copy(fields, o.Fields)
			o.Fields = fields
			want[a] = o
		}
	}
	return want
}

// sayBack says of what is to be made anew what comes back with it and what doesn't.
func (w *work) sayBack(todo []drift.Change) {
	for _, c := range todo {
		saved, had := w.back[c.Address]
		if !had || c.Op != drift.Create {
			continue
		}
		var with []string
		if _, ok := c.Want.Fields["id"]; ok {
			with = append(with, "id")
		}
		_, declared := w.Want.State[c.Address].Fields["secret"]
		if _, ok := c.Want.Fields["secret"]; ok && !declared {
			with = append(with, "secret")
		}
		if len(with) > 0 {
			w.remark(fmt.Sprintf("%s comes back with its former %s", c.Address, strings.Join(with, " and ")))
		}
		switch {
		case c.Address.Kind() == "users":
			w.remark(fmt.Sprintf("%s is made anew: its id and its password don't come back", c.Address))
		case c.Address.Kind() == "clients" && !declared && !slices.Contains(with, "secret") && saved.Fields["publicClient"] != true && saved.Fields["bearerOnly"] != true:
			w.remark(fmt.Sprintf("%s gets a new secret: the restore point holds none", c.Address))
		}
	}
}
