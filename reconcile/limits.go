package reconcile

import (
	"fmt"
	"maps"
	"math"
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

// unlimited is no limit.
var unlimited = schema.Limit{Count: math.MaxInt}

// checkLimits is what the declared limits say to the changes: nil, or *Blocked. Mine are the live objects that are ours, of
// is how many those are.
func checkLimits(limits schema.Limits, changes []drift.Change, mine schema.State, of int) error {
	deleted := going(changes, mine)
	changed := maps.Clone(deleted)
	risks := map[drift.Risk]int{}
	for _, c := range changes {
		for _, r := range c.Risk {
			risks[r]++
		}
		if c.Op != drift.Create && !(c.Op == drift.Delete && realm.IsRetired(c.Address)) { // that was counted when it was retired
			changed[subject(c.Address)] = true
		}
	}
	where := "in the manifest"
	if limits.Origin.File != "" {
		where = "in " + limits.Origin.String()
	}
	if most := bound(limits.Deletes, of); len(deleted) > most {
		return &Blocked{fmt.Sprintf("would delete %d of %d objects, the limit is %s", len(deleted), max(of, len(deleted)), says(limits.Deletes, most)),
			"raise limits.deletes " + where + ", or apply in smaller commits"}
	}
	if most := bound(limits.Changes, of); len(changed) > most {
		return &Blocked{fmt.Sprintf("would change %d of %d objects, the limit is %s", len(changed), max(of, len(changed)), says(limits.Changes, most)),
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

// going are the objects that the changes delete, with all of ours that stands in them, under the names that they will have.
func going(changes []drift.Change, mine schema.State) map[schema.Address]bool {
	gone := map[schema.Address]bool{}
	var renames []drift.Change
	for _, c := range changes {
		switch {
		case c.Op == drift.Delete && !realm.IsLinks(c.Address) && !realm.IsRetired(c.Address):
			gone[c.Address] = true
		case c.Op == drift.Rename && slices.Contains(c.Risk, drift.Deletes): // a flow that goes in a later pass
			gone[c.From] = true
		case c.Op == drift.Rename:
			renames = append(renames, c)
		}
	}
	if len(gone) == 0 {
		return gone
	}
	all := maps.Clone(gone)
	for a := range mine {
		a = realm.Moved(a, renames)
		for in := a; in != ""; in = in.Parent() {
			if gone[in] && !realm.IsLinks(a) {
				all[a] = true
			}
		}
	}
	return all
}

// bound is the most that a limit allows. All of what is ours is no limit: strangers may have to change too.
func bound(l schema.Limit, of int) int {
	switch {
	case !l.Percent:
		return l.Count
	case l.Count >= 100:
		return math.MaxInt
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
