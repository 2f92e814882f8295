package realm

import (
	"fmt"

	"github.com/cloakwork/cloakwork/schema"
)

// Secretless are the declared secrets of clients that Keycloak would drop without a word: a public client has none.
func Secretless(live Live, want schema.State) []schema.Problem {
	var problems []schema.Problem
	for _, a := range want.Addresses() {
		o := want[a]
		public, declared := o.Fields["publicClient"]
		if have, lives := live.State[a]; lives && !declared {
			public = have.Fields["publicClient"]
		}
		if a.Kind() == "clients" && o.Fields["secret"] != nil && public == true {
			problems = append(problems, schema.Problem{Origin: originOf(o, "secret"), Hint: "declare publicClient: false, or no secret",
				What: fmt.Sprintf("%s is a public client, and so keeps no secret", a)})
		}
	}
	return problems
}
