package schema

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is something in a manifest that a person must mend.
type Problem struct {
	Origin  Origin
	What    string    // what is wrong: clients[portal].publicClient: "yes" is not a bool
	Hint    string    // what to do: write true or false; "" where the first part says it all
	Realm   *RealmRef // the realm that it blocks; nil blocks every new declaration of the tree
	Warning bool      // said, and blocks nothing

	Deployment string // the deployment that it blocks, and the realms that it serves; "" where it is none's
}

// String is the problem in one line: file:line:col: what; what to do.
func (p Problem) String() string {
	var b strings.Builder
	if o := p.Origin.String(); o != "" {
		b.WriteString(o + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

func (p Problem) Error() string { return p.String() }

// SortProblems orders problems by place and drops those said twice.
func SortProblems(problems []Problem) []Problem {
	sort.SliceStable(problems, func(i, j int) bool {
		a, b := problems[i], problems[j]
		if a.Origin.File != b.Origin.File {
			return a.Origin.File < b.Origin.File
		}
		if a.Origin.Line != b.Origin.Line {
			return a.Origin.Line < b.Origin.Line
		}
		if a.Origin.Column != b.Origin.Column {
			return a.Origin.Column < b.Origin.Column
		}
		return a.What < b.What
	})
	seen := map[string]bool{}
	kept := problems[:0]
	for _, p := range problems {
		if !seen[p.String()] {
			seen[p.String()] = true
			kept = append(kept, p)
		}
	}
	return kept
}

// Blocks tells whether the problem holds back what is declared for the realm.
func (p Problem) Blocks(r RealmRef) bool {
	switch {
	case p.Warning:
		return false
	case p.Deployment != "":
		return p.Deployment == r.Server
	}
	return p.Realm == nil || *p.Realm == r
}

// BlockingDeployment is the problems that hold back what is declared for the deployment of that name.
func BlockingDeployment(problems []Problem, name string) []Problem {
	var blocking []Problem
	for _, p := range problems {
		if !p.Warning && (p.Deployment == name || p.Deployment == "" && p.Realm == nil) {
			blocking = append(blocking, p)
		}
	}
	return blocking
}

// Blocking is the problems that hold back what is declared for the realm.
func Blocking(problems []Problem, r RealmRef) []Problem {
	var blocking []Problem
	for _, p := range problems {
		if p.Blocks(r) {
			blocking = append(blocking, p)
		}
	}
	return blocking
}

// problemf is a problem at a place.
func problemf(o Origin, hint, format string, args ...any) Problem {
	return Problem{Origin: o, What: fmt.Sprintf(format, args...), Hint: hint}
}
