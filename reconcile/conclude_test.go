package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
)

func TestWhatOnlyAPersonCanMendWaitsForTheSchedule(t *testing.T) {
	refused := drift.Change{Op: drift.Update, Address: "clients/a", Outcome: drift.Failed, Says: "missing role manage-clients", Lacks: "manage-clients"}
	failed := drift.Change{Op: drift.Update, Address: "clients/b", Outcome: drift.Failed, Says: "500"}
	kept := drift.Change{Op: drift.Delete, Address: "groups/a", Outcome: drift.Withheld, Says: "it holds groups/a/groups/b, which is nobody's"}
	ended := func(changes ...drift.Change) error { return cmp.Or(unfinished(changes), withheld(changes)) } // as a pass does
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"a refused change", ended(refused), true},
		{"a refused change and one that failed", ended(refused, failed), false},
		{"a withheld delete", ended(kept), true},
		{"a withheld delete and a change that failed", ended(kept, failed), false},
		{"a refused ledger", fmt.Errorf("apply: %w", &realm.MissingRole{Role: "manage-clients", Why: "403"}), true},
		{"limits", &Blocked{Why: "would delete 41 of 203 objects, the limit is 10"}, true},
		{"another process", errMoved, false},
		{"the network", errors.New("no connection"), false},
	} {
		if got := waits(c.err); got != c.want {
			t.Errorf("%s: %v waits: %v", c.name, c.err, got)
		}
	}
	var report drift.Report
	conclude(&report, Apply, ended(refused))
	if report.Verdict != drift.Errored || report.Says != "update clients/a: failed: missing role manage-clients" || report.Hint == "" {
		t.Errorf("%s: %q, hint %q", report.Verdict, report.Says, report.Hint)
	}
	conclude(&report, Apply, ended(kept))
	if report.Verdict != drift.Blocked || report.Says != "would delete groups/a, but it holds groups/a/groups/b, which is nobody's" || report.Hint == "" {
		t.Errorf("%s: %q, hint %q", report.Verdict, report.Says, report.Hint)
	}
}
