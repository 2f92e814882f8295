package realm

import (
	"fmt"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// drop is a rule by which Keycloak takes fields without a word and doesn't keep them.
type drop struct {
	kind   string
	fields []string
	where  string // another field,
	is     bool   // whether it has
	value  any    // this value
}

// drops are those of 26.7.3. A client's authorization services stand elsewhere: it doesn't always drop these.
var drops = []drop{
	{"clients", []string{"secret"}, "publicClient", true, true},
	{"realm", []string{"loginWithEmailAllowed", "registrationEmailAsUsername"}, "duplicateEmailsAllowed", true, true},
	{"realm", []string{"smtpServer.user", "smtpServer.password", "smtpServer.authType"}, "smtpServer.auth", false, true},
	{"realm", []string{"smtpServer.password"}, "smtpServer.authType", true, "token"},
	{"realm", []string{"smtpServer.authTokenUrl", "smtpServer.authTokenScope", "smtpServer.authTokenClientId",
		"smtpServer.authTokenClientSecret"}, "smtpServer.authType", false, "token"},
}

// Dropped are the declared fields that Keycloak wouldn't keep if it were to make the changes.
func Dropped(changes []drift.Change) []schema.Problem {
	var problems []schema.Problem
	for _, c := range changes {
		for _, d := range drops {
			if d.kind != c.Address.Kind() || c.Op == drift.Delete || (fmt.Sprint(at(afterwards(&c), d.where)) == fmt.Sprint(d.value)) != d.is {
				continue
			}
			says, hint := "is kept only where %s is %v", fmt.Sprintf("declare %s: %v, or leave it out", d.where, d.value)
			if d.is {
				says, hint = "isn't kept where %s is %v", "leave one of them out, or change it"
			}
			for _, path := range d.fields {
				touched := slices.ContainsFunc(c.Diffs, func(diff drift.Diff) bool { return diff.Path == path || diff.Path == d.where })
				if v := at(c.Want.Fields, path); touched && v != nil && v != "" && v != false {
					problems = append(problems, schema.Problem{Origin: originOf(c.Want, path), Hint: hint,
						What: fmt.Sprintf("%s: %s "+says, c.Address, path, d.where, d.value)})
				}
			}
		}
	}
	return problems
}
