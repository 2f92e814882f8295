package reconcile_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// A pass whose changes nobody has agreed to writes nothing, and makes, renames or deletes no realm. One that would make what
// a plan showed goes through; what somebody has moved since makes it another, also of what is to be deleted.
func TestOnlyWhatWasAgreedToIsBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	portal, reader := "    clients: [{clientId: portal, description: In}]\n", "    roles: {realm: [{name: reader, description: Reads}]}\n"
	moved := errors.New("moved")
	apply := func(manifest, what string, move func()) error {
		t.Helper()
		pass := func(mode reconcile.Mode) reconcile.Pass {
			p := w.pass(mode, manifest)
			p.AllowRealmDeletion = true
			return p
		}
		plan, err := pass(reconcile.Plan).Run(context.Background())
		if err != nil {
			t.Fatalf("plan to %s: %v", what, err)
		}
		p := pass(reconcile.Apply)
		p.Agreed = func([]drift.Change) error { return moved }
		mark := w.server.Mark(t)
		if _, err := p.Run(context.Background()); !errors.Is(err, moved) {
			t.Errorf("to %s, agreed to by nobody: %v", what, err)
		}
		for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
			t.Errorf("to %s, agreed to by nobody, it sent %s", what, r)
		}
		agreed, err := drift.Agree(p.Facts, plan.Changes)
		if err != nil {
			t.Fatal(err)
		}
		p = pass(reconcile.Apply)
		p.Agreed = func(changes []drift.Change) error {
			if different, err := drift.Disagreements(p.Facts, agreed, changes); err != nil || len(different) > 0 {
				return errors.Join(err, moved)
			}
			return nil
		}
		if move != nil {
			move()
		}
		_, err = p.Run(context.Background())
		return err
	}
	goes := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, moved) || w.role("/roles/reader") == nil {
			t.Errorf("not refused: %v", err)
		}
	}

	goes(apply(realm(portal+reader), "make the realm", nil))
	refused(apply(realm(portal), "delete a role that is then changed", func() {
		w.admin.Edit(w.at("/roles/reader"), func(o map[string]any) { o["description"] = "Reads all" })
	}))
	refused(apply(realm(portal), "delete a role that is then made anew", func() {
		w.must(http.MethodDelete, w.at("/roles/reader"), nil)
		w.must(http.MethodPost, w.at("/roles"), map[string]any{"name": "reader", "description": "Reads all"})
	}))
	goes(apply(realm(portal), "delete a role", nil))
	was := w.name
	w.name = keycloaktest.Realm(t)
	former := "    $was: [" + was + "]\n" + strings.Replace(portal, "In", "Out", 1)
	if err := apply(realm(former), "rename the realm that is then changed", func() {
		w.admin.Edit("/admin/realms/"+was+"/clients/"+idOf(w, was, "portal"), func(o map[string]any) { o["description"] = "By hand" })
	}); !errors.Is(err, moved) || w.admin.Do(http.MethodGet, w.at(""), nil) != http.StatusNotFound {
		t.Errorf("not refused: %v", err)
	}
	goes(apply(realm(former), "rename the realm", nil))
	gone := strings.Split(realm(""), "  realm:\n")[0] + "  realm: null\n"
	if err := apply(gone, "delete the realm that is then changed", func() {
		w.admin.Edit(w.at(""), func(o map[string]any) { o["displayName"] = "By hand" })
	}); !errors.Is(err, moved) || w.admin.Do(http.MethodGet, w.at(""), nil) != http.StatusOK {
		t.Errorf("not refused: %v", err)
	}
	goes(apply(gone, "delete the realm", nil))
}

// idOf is the id of a client in any realm.
func idOf(w *world, realm, client string) string {
	w.t.Helper()
	return w.admin.Get("/admin/realms/" + realm + "/clients?clientId=" + client).([]any)[0].(map[string]any)["id"].(string)
}
