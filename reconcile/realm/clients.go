package realm

import (
	"fmt"

	"github.com/cloakwork/cloakwork/schema"
)

// Secretless are the declared secrets of clients that Keycloak would drop without a word: a public client has none, and a
// new one whose protocol is declared as openid-connect is public unless it says otherwise (26.7.3).
func Secretless(live Live, want schema.State) []schema.Problem {
	var problems []schema.Problem
	for _, a := range want.Addresses() {
		o := want[a]
		public, declared := o.Fields["publicClient"]
		if have, lives := live.State[a]; lives && !declared {
			public = have.Fields["publicClient"]
		} else if !lives && !declared {
			public = o.Fields["protocol"] == "openid-connect"
		}
		if a.Kind() == "clients" && o.Fields["secret"] != nil && public == true {
			problems = append(problems, schema.Problem{Origin: originOf(o, "secret"), Hint: "declare publicClient: false, or no secret",
				What: fmt.Sprintf("%s is a public client, and so keeps no secret", a)})
		}
	}
	return problems
}
