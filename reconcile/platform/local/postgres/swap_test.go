package postgres

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5"
)

func streamAndSwap(t *testing.T, s Server) {
	ctx := t.Context()
	var dump bytes.Buffer
	d, err := s.DumpTo(ctx, &dump)
	must(t, err)
	if d.Counts["public.realm"] != 2000 || d.System == "" || d.Version == "" {
		t.Errorf("it says of the dump %+v", d)
	}
	torn := errors.New("the network is gone")
	for what, r := range map[string]io.Reader{"cut": bytes.NewReader(dump.Bytes()[:dump.Len()/2]), "torn": io.MultiReader(bytes.NewReader(dump.Bytes()[:dump.Len()/2]), iotest.ErrReader(torn))} {
		if _, err := s.RestoreFrom(ctx, r, "restored"); err == nil || what == "torn" && !errors.Is(err, torn) {
			t.Errorf("%s, it says %v", what, err)
		}
	}
	counts, err := s.RestoreFrom(ctx, &dump, "restored") // of those that were cut short nothing is left
	must(t, err)
	if differs := d.Counts.Differ(counts); differs != "" {
		t.Error(differs)
	}

	// Somebody is in either, and something is refused at the last moment.
	do(t, s, Database, "UPDATE realm SET name = 'since' WHERE id = 1")
	in, err := s.connect(ctx, Database)
	must(t, err)
	defer in.Close(ctx)
	if _, err := s.Swap(ctx, "restored", func() error { return torn }); !errors.Is(err, torn) {
		t.Errorf("refused, it says %v", err)
	}
	if _, err := s.Swap(ctx, "nowhere", func() error { return nil }); err == nil || !strings.Contains(err.Error(), "there is no database nowhere") {
		t.Errorf("of what isn't there it says %v", err)
	}
	if got := query[string](t, s, Database, "SELECT name FROM realm WHERE id = 1"); got != "since" {
		t.Errorf("refused, there is %.10s", got)
	}
	asked := 0
	for range 2 {
		aside, err := s.Swap(ctx, "restored", func() error { asked++; return nil })
		if err != nil || aside != "before_restored" {
			t.Errorf("swapped, it is aside as %s: %v", aside, err)
		}
	}
	if asked != 1 {
		t.Errorf("it was made ready %d times", asked)
	}
	name := "SELECT name FROM realm WHERE id = 1"
	if now, was := query[string](t, s, Database, name), query[string](t, s, "before_restored", name); now == "since" || was != "since" {
		t.Errorf("swapped, there is %.10s, and aside %.10s", now, was)
	}
	must(t, s.TrySignIn(ctx, Keycloak))
	p, err := s.Passwords()
	must(t, err)
	var other *pgx.Conn
	if other, err = s.signIn(ctx, Keycloak, p[Keycloak], "before_restored"); err == nil {
		t.Error("nodes get into what was set aside")
		other.Close(ctx)
	}

	// The account of ours gets the secret that is ours now.
	do(t, s, Database, "ALTER TABLE realm ADD realm_name text", "CREATE TABLE client (client_id text, secret text, realm_id int)",
		"INSERT INTO client VALUES ('ours', 'old', 1), ('ours', 'another realm''s', 2)", "UPDATE realm SET name = 'master' WHERE id = 1")
	if ours, err := s.SetClientSecret(ctx, Database, "ours", "new"); err != nil || !ours {
		t.Errorf("our account: %v %v", ours, err)
	}
	if got := query[string](t, s, Database, "SELECT string_agg(secret, ',' ORDER BY realm_id) FROM client"); got != "new,another realm's" {
		t.Errorf("secrets are %s", got)
	}
	if ours, err := s.SetClientSecret(ctx, Database, "nobody's", "new"); err != nil || ours {
		t.Errorf("nobody's account: %v %v", ours, err)
	}
	_, err = s.Swap(ctx, "before_restored", func() error { return nil }) // and back
	must(t, err)
	must(t, s.Drop(ctx, "before_before_restored"))

	dir := filepath.Join(filepath.Dir(s.Dir), "scratch")
	if err := Scratch(ctx, dir, s.Programs, s.Account, func(aside Server) error {
		if err := Scratch(ctx, dir, s.Programs, s.Account, func(Server) error { return nil }); err == nil || !strings.Contains(err.Error(), "somebody else uses") {
			t.Errorf("a second one in the same place: %v", err)
		}
		if n := query[int64](t, aside, Database, "SELECT count(*) FROM pg_class WHERE relname = 'realm'"); n != 0 {
			t.Error("it isn't empty")
		}
		return torn
	}); !errors.Is(err, torn) {
		t.Errorf("it says %v", err)
	}
	if exists(dir) {
		t.Error("it leaves something")
	}
}
