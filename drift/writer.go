package drift

import (
	"cmp"
	"fmt"
	"slices"
)

// when is how a report spells the time of a write.
const when = "2006-01-02 15:04:05 UTC"

// String says who it was, when, and what they did: by ada of master, 2026-12-01 08:00:00 UTC, update. It is "" for nobody.
func (w Writer) String() string {
	if w.ID == "" {
		return ""
	}
	return fmt.Sprintf("by %s of %s, %s, %s", w.who(), w.Realm, w.At.UTC().Format(when), w.Did)
}

func (w Writer) who() string { return cmp.Or(w.Name, "user "+w.ID) }

// longestName is how much of a name stands in a sentence.
const longestName = 40

// sayWriters ends the sentence about drift: "; by admin" where one did all of it, "; by admin and ada" and "; by admin and 2
// others" with the one who did most first, "; 3 by admin" where of the rest nobody knows, "" where nobody knows of any.
func sayWriters(changes []Change) string {
	counts, known := map[string]int{}, 0
	var people []string
	for _, c := range changes {
		if c.By.ID == "" {
			continue
		}
		known++
		name := Escape(c.By.who())
		if r := []rune(name); len(r) > longestName {
			name = string(r[:longestName-1]) + "…"
		}
		if counts[name]++; counts[name] == 1 {
			people = append(people, name)
		}
	}
	if known == 0 {
		return ""
	}
	slices.SortFunc(people, func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	by := "by " + people[0]
	switch {
	case len(people) == 2:
		by += " and " + people[1]
	case len(people) > 2:
		by += fmt.Sprintf(" and %d others", len(people)-1)
	}
	if known < len(changes) {
		by = fmt.Sprintf("%d %s", known, by)
	}
	return "; " + by
}
