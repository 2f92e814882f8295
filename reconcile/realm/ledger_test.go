package realm

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

func TestLedgerThatCanNotBeReadStopsItsOwnSourceAlone(t *testing.T) {
	ours := Ledger{Source: "ours", Commit: "c1", Owned: map[schema.Address]bool{"clients/portal": true}}
	value, err := ours.encode()
	if err != nil {
		t.Fatal(err)
	}
	broken, newer, stray := ledgerAttribute("broken"), ledgerAttribute("newer"), ledgerAttribute("stray")
	attributes := map[string]any{ledgerAttribute("ours"): value, "client.secret.creation.time": "1", broken: "garbage",
		newer: `{"source": "newer", "owned": {"version": 2}}`, stray: value}

	found, unread, err := ledgers(attributes, "ours")
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Collect(maps.Keys(found)); !cmp.Equal(names, []string{"ours"}) || !found["ours"].Equal(ours) {
		t.Errorf("found %v", found)
	}
	want := slices.Sorted(slices.Values([]string{broken, newer, stray}))
	if diff := cmp.Diff(want, unread); diff != "" {
		t.Errorf("unread (-want +got):\n%s", diff)
	}
	for _, source := range []string{"broken", "newer", "stray"} {
		if _, _, err := ledgers(attributes, source); err == nil {
			t.Errorf("the ledger of %s is taken for good", source)
		}
	}
}
