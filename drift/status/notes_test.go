package status

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pages is what a git repository's notes are to this package.
type pages struct {
	text map[string]string
	puts int
	err  error
}

func (p *pages) Note(_ context.Context, commit string) (string, error) { return p.text[commit], p.err }

func (p *pages) EditNote(_ context.Context, commit string, edit func(string) string) error {
	if p.err != nil {
		return p.err
	}
	if after := edit(p.text[commit]); after != p.text[commit] {
		p.text[commit] = after
		p.puts++
	}
	return nil
}

func TestANoteHoldsOneLineForEachContext(t *testing.T) {
	notes := &pages{text: map[string]string{commit: "reviewed by Ada\n"}}
	forge := Notes{notes}
	for _, s := range []Status{
		{Commit: commit, Context: "cloakwork/us/realm/acme", State: Failure, Says: "2 drifted: clients/portal (redirectUris)"},
		{Commit: commit, Context: "cloakwork/eu/realm/acme", State: Pending, Says: "waiting"},
		{Commit: commit, Context: "cloakwork/eu/realm/acme", State: Success, Says: "412 objects as declared"},
		{Commit: commit, Context: "cloakwork/eu/realm/acme: success: x", State: Error, Says: "of a realm with a sly name"},
		{Commit: commit, Context: "cloakwork/eu/realm/acme\nb", State: Error, Says: ""},
	} {
		if err := forge.Write(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		got, ok, err := forge.Read(t.Context(), commit, s.Context)
		if s.Context = Fit(s).Context; !ok || err != nil {
			t.Fatalf("%q isn't found: %v", s.Context, err)
		}
		got.Context = Fit(got).Context
		if diff := cmp.Diff(s, got); diff != "" {
			t.Error(diff)
		}
	}
	want := `cloakwork/eu/realm/acme b: error: 
cloakwork/eu/realm/acme: success: 412 objects as declared
cloakwork/eu/realm/acme:%20success:%20x: error: of a realm with a sly name
cloakwork/us/realm/acme: failure: 2 drifted: clients/portal (redirectUris)
reviewed by Ada
`
	if diff := cmp.Diff(want, notes.text[commit]); diff != "" {
		t.Error(diff)
	}
	before := notes.puts
	if err := forge.Write(t.Context(), Status{Commit: commit, Context: "cloakwork/eu/realm/acme", State: Success, Says: "412 objects as declared"}); err != nil {
		t.Fatal(err)
	}
	if notes.puts != before {
		t.Error("the same status again was written")
	}
	if _, ok, err := forge.Read(t.Context(), commit, "cloakwork/eu/realm/other"); ok || err != nil {
		t.Errorf("a status that nobody wrote: %v, %v", ok, err)
	}
}

func TestNotesThatCantBeReadAreNeverOverwritten(t *testing.T) {
	notes := &pages{text: map[string]string{}, err: errors.New("down")}
	if err := (Notes{notes}).Write(t.Context(), status(Success, "x")); err == nil {
		t.Error("no error")
	}
	if notes.puts != 0 {
		t.Error("a note was written")
	}
}
