package reconcile

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
)

func TestWhatOnlyAPersonCanMendWaitsForTheSchedule(t *testing.T) {
	refused := drift.Change{Op: drift.Update, Address: "clients/a", Outcome: drift.Failed, Says: "missing role manage-clients", Lacks: "manage-clients"}
	failed := drift.Change{Op: drift.Update, Address: "clients/b", Outcome: drift.Failed, Says: "500"}
	withheld := drift.Change{Op: drift.Delete, Address: "groups/a", Outcome: drift.Skipped, Says: "holds groups/a/groups/b, which this source doesn't own"}
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"a refused change", unfinished([]drift.Change{refused}), true},
		{"a refused change and one that failed", unfinished([]drift.Change{refused, failed}), false},
		{"a withheld delete", unfinished([]drift.Change{withheld}), true},
		{"a withheld delete and a change that failed", unfinished([]drift.Change{withheld, failed}), false},
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
	conclude(&report, Apply, unfinished([]drift.Change{refused}))
	if report.Verdict != drift.Errored || report.Says != "update clients/a: failed: missing role manage-clients" || report.Hint == "" {
		t.Errorf("%s: %q, hint %q", report.Verdict, report.Says, report.Hint)
	}
}
