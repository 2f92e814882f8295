package reconcile

import (
	"github.com/cloakwork/cloakwork/schema"
)

// outputs are the secrets that Keycloak made for declared clients, since the manifests leave them to it.
func (w *work) outputs() []schema.Withheld {
	var made []schema.Withheld
	names := schema.Variables{Realm: w.Want.Ref.Realm}
	for _, a := range w.Want.State.Addresses() {
		_, declared := w.Want.State[a].Fields["secret"]
		live := w.live.State[a].Fields
		secret, _ := live["secret"].(string)
		if a.Kind() == "clients" && !declared && secret != "" && live["publicClient"] != true && live["bearerOnly"] != true {
			made = append(made, schema.Withheld{Name: names.For(a, "secret"), At: a, Path: "secret", Value: secret})
		}
	}
	return made
}
