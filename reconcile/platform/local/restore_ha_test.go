package local_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile/backup"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
)

// What people changed and deleted after a backup comes back with it, by the export of the realm and by a login.
func TestHAARestoredRealmEqualsTheOneThatWasBackedUp(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.eu(1)
	w.settle(d, want)
	ctx := t.Context()
	admin := w.admin(d, want)
	post := func(path string, body any) {
		t.Helper()
		if _, err := admin.Post(ctx, path, nil, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	realm := keycloak.Path("realms", "acme")
	post(keycloak.Path("realms"), map[string]any{"realm": "acme", "enabled": true, "displayName": "Acme", "roles": map[string]any{"realm": []any{map[string]any{"name": "auditor"}}},
		"clients": []any{map[string]any{"clientId": "portal", "publicClient": true, "directAccessGrantsEnabled": true, "redirectUris": []string{"https://portal.acme.example/*"}}}})
	post(realm+"/users", map[string]any{"username": "ada", "enabled": true, "email": "ada@acme.example", "firstName": "Ada", "lastName": "Acme", "emailVerified": true,
		"credentials": []any{map[string]any{"type": "password", "value": "correct horse"}}})
	original := exported(t, admin)
	if got := w.login("ada", "correct horse"); got != http.StatusOK {
		t.Fatalf("ada signs in: %d", got)
	}

	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := func() (backup.Identities, error) { return backup.Identities{key}, nil }
	vault := backup.Folder(t.TempDir())
	p, err := backup.Taking{Dumps: d, Want: want, To: "vault", At: vault, Class: "cold", Keep: time.Hour,
		Recipients: []age.Recipient{key.Recipient()}, Names: []string{key.Recipient().String()}}.Take(ctx, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := backup.Proof(ctx, vault, p, keys, d, want); err != nil {
		t.Errorf("it isn't proven: %v", err)
	}

	// Somebody has a bad day.
	var users, clients []struct{ ID, Username, ClientID string }
	get(t, admin, realm+"/users", &users)
	get(t, admin, realm+"/clients", &clients)
	for _, u := range users {
		if err := admin.Delete(ctx, realm+"/users/"+u.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		if c.ClientID == "portal" {
			if err := admin.Delete(ctx, realm+"/clients/"+c.ID, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := admin.Put(ctx, realm, map[string]any{"displayName": "Not Acme"}); err != nil {
		t.Fatal(err)
	}
	if cmp.Equal(original, exported(t, admin)) {
		t.Fatal("nothing has changed")
	}

	if err := backup.Restored(ctx, vault, p, keys, func(r io.Reader) (platform.Counts, error) { return d.Fill(ctx, want, "restored_1", r) }); err != nil {
		t.Fatal(err)
	}
	seen, err := d.Observe(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	record, err := rollout.Restore(want, seen, "restored_1", "vault/cold/"+p.ID)
	if err == nil {
		err = d.Save(ctx, want, seen.Record, record)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen = w.settle(d, want)
	if seen.Record.Restore != (platform.Restoring{}) || len(seen.Nodes) != 1 || !seen.Nodes[0].Serves() {
		t.Errorf("it ends as %+v", seen)
	}
	if diff := cmp.Diff(original, exported(t, w.admin(d, want))); diff != "" {
		t.Errorf("the restored realm differs (-original +restored):\n%s", diff)
	}
	if got := w.login("ada", "correct horse"); got != http.StatusOK {
		t.Errorf("ada signs in: %d", got)
	}
}

func get(t *testing.T, c *keycloak.Client, path string, out any) {
	t.Helper()
	if err := c.Get(t.Context(), path, nil, out); err != nil {
		t.Fatal(err)
	}
}

// exported is the export of the realm with its users, in one order.
func exported(t *testing.T, c *keycloak.Client) any {
	t.Helper()
	var realm map[string]any
	if err := c.Export(t.Context(), "acme", true, true, 5*time.Minute, &realm); err != nil {
		t.Fatal(err)
	}
	var users []any
	get(t, c, keycloak.Path("realms", "acme", "users"), &users)
	realm["users"] = users
	return ordered(realm)
}

// ordered has all lists in one order: a database gives them in any.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = ordered(value)
		}
	case []any:
		for i := range v {
			v[i] = ordered(v[i])
		}
		text := func(v any) string { b, _ := json.Marshal(v); return string(b) }
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	}
	return v
}

// login is how the front answers somebody who signs in to the realm with a password.
func (w *world) login(user, password string) int {
	w.t.Helper()
	answer, err := http.PostForm(w.url()+"/realms/acme/protocol/openid-connect/token",
		url.Values{"grant_type": {"password"}, "client_id": {"portal"}, "username": {user}, "password": {password}})
	if err != nil {
		w.t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}
