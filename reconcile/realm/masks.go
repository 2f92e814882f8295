package realm

import (
	"fmt"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// A PUT goes over the object as Keycloak shows it, with asterisks in place of secrets. They must not become the secrets.

// kept are the fields whose asterisks a PUT takes for "as it is", by kind; a path that ends in * stands for all keys of a
// map. The database says so on 26.7.3.
var kept = map[string][]string{
	"realm":               {"smtpServer.password", "smtpServer.authTokenClientSecret"},
	"identityProviders":   {"config.clientSecret"},
	"authenticatorConfig": {"config.*"},
}

// unmask takes the asterisks out of a body where Keycloak would store them: a component keeps what a PUT leaves out, and
// elsewhere it takes what is declared. What nobody declares can't be sent back, and so nothing can.
func (a *application) unmask(address schema.Address, body map[string]any) error {
	var want map[string]any
	for i := range a.changes {
		c := &a.changes[i] // whose outcome others may be writing
		if c.Address == address && c.Op != drift.Delete {
			want = c.Want.Fields
		}
	}
	var walk func(prefix string, fields map[string]any) error
	walk = func(prefix string, fields map[string]any) error {
		for name, v := range fields {
			path := prefix + name
			if nested, ok := v.(map[string]any); ok {
				if err := walk(path+".", nested); err != nil {
					return err
				}
				continue
			}
			if list, ok := v.([]any); ok && len(list) == 1 {
				v = list[0]
			}
			if v != schema.Mask || keeps(address.Kind(), path) {
				continue
			}
			declared, ok := drift.Value(want, path)
			switch {
			case address.Kind() == "components":
				delete(fields, name)
			case ok && declared != nil:
				fields[name] = declared
			default:
				return fmt.Errorf("keycloak shows asterisks in place of %s, and would store them: declare it", path)
			}
		}
		return nil
	}
	return walk("", body)
}

func keeps(kind, path string) bool {
	for _, k := range kept[kind] {
		if all, ok := strings.CutSuffix(k, "*"); path == k || ok && strings.HasPrefix(path, all) {
			return true
		}
	}
	return false
}
