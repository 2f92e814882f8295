package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// Blocked says why nothing is done until a person has agreed or mended something.
type Blocked struct {
	Why  string // would delete 41 of 203 objects, the limit is 10
	Hint string // raise limits.deletes in realms/acme.yaml, or apply in smaller commits
}

func (b *Blocked) Error() string { return b.Why }

// least is how many objects a share may always touch: a third of four objects would forbid everything.
const least = 5

// checkLimits is what the declared limits say to the changes: nil, or *Blocked. Of is how many objects are ours.
func checkLimits(limits schema.Limits, changes []drift.Change, of int) error {
	deleted, changed := map[schema.Address]bool{}, map[schema.Address]bool{}
	risks := map[drift.Risk]int{}
	for _, c := range changes {
		for _, r := range c.Risk {
			risks[r]++
		}
		object := subject(c.Address)
		if c.Op != drift.Create {
			changed[object] = true
		}
		if c.Op == drift.Delete && object == c.Address {
			deleted[object] = true
		}
	}
	where := "in the manifest"
	if limits.Origin.File != "" {
		where = "in " + limits.Origin.String()
	}
	if most := bound(limits.Deletes, of); len(deleted) > most {
		return &Blocked{fmt.Sprintf("would delete %d of %d objects, the limit is %s", len(deleted), of, says(limits.Deletes, most)),
			"raise limits.deletes " + where + ", or apply in smaller commits"}
	}
	if most := bound(limits.Changes, of); len(changed) > most {
		return &Blocked{fmt.Sprintf("would change %d of %d objects, the limit is %s", len(changed), of, says(limits.Changes, most)),
			"raise limits.changes " + where + ", or apply in smaller commits"}
	}
	for _, r := range slices.Sorted(maps.Keys(risks)) {
		most, limited := limits.Risks[strings.ReplaceAll(string(r), " ", "-")]
		if r == drift.CutsOwnAccess && !limited {
			limited = true // whoever locks the controller out can't mend it by a commit
		}
		if limited && risks[r] > most {
			name := strings.ReplaceAll(string(r), " ", "-")
			return &Blocked{fmt.Sprintf("%d changes with the risk %q, the limit is %d", risks[r], r, most),
				fmt.Sprintf("look at the plan; to go on, set limits.risks.%s %s", name, where)}
		}
	}
	return nil
}

func bound(l schema.Limit, of int) int {
	if !l.Percent {
		return l.Count
	}
	return max(least, of*l.Count/100)
}

func says(l schema.Limit, most int) string {
	if !l.Percent {
		return fmt.Sprint(most)
	}
	return fmt.Sprintf("%d (%d%%)", most, l.Count)
}

// subject is the object that a change is about for people: links belong to their owner.
func subject(a schema.Address) schema.Address {
	if realm.IsLinks(a) {
		return a.Parent()
	}
	return a
}
