package realm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Where a client policy rotates secrets, a former secret stays good for a while. A PUT of another secret ends it at once;
// only the request for a generated secret rotates. After a secret's time, and before it has one, Keycloak answers 500 to
// every PUT of the client (26.7.3).

// putClient writes a client, and has its secret rotated where it takes that.
func (a *application) putClient(ctx context.Context, c *drift.Change, body map[string]any) error {
	attributes, _ := c.Have.Fields["attributes"].(map[string]any)
	seconds, timed := strconv.ParseInt(text(attributes["client.secret.expiration.time"]), 10, 64)
	i := slices.IndexFunc(c.Diffs, func(d drift.Diff) bool { return d.Path == "secret" })
	if i >= 0 && timed == nil {
		d := c.Diffs[i]
		ours := (d.Cause == drift.FromCommit || d.Cause == drift.FromInput) && attributes["client.secret.rotated"] != d.Want
		if ours || time.Now().After(time.Unix(seconds, 0)) { // what somebody put there by hand isn't worth keeping
			if err := a.generateSecret(ctx, c.Address); err != nil {
				return err
			}
		}
	}
	err := a.put(ctx, c.Address, body)
	secret := text(c.Want.Fields["secret"])
	switch {
	case keycloak.Status(err) != 500 || !a.rotatesSecrets():
		return err
	case timed == nil || secret == "":
		return fmt.Errorf("%w: has its secret expired? declare another", err)
	}
	if err := a.generateSecret(ctx, c.Address); err != nil { // the policy came after the client: from now on its secret has a time
		return err
	}
	body["secret"] = secret
	return a.put(ctx, c.Address, body)
}

func (a *application) generateSecret(ctx context.Context, client schema.Address) error {
	id, err := a.id(ctx, client)
	if err != nil {
		return err
	}
	_, err = a.Client.Post(ctx, a.path("clients", id, "client-secret"), nil, nil, nil)
	return err
}

// rotatesSecrets tells whether the realm has a profile that does.
func (a *application) rotatesSecrets() bool {
	rotates := func(state schema.State) bool {
		for address, o := range state {
			for _, e := range objectsIn(o.Fields, "executors") {
				if address.Kind() == "clientProfiles" && e["executor"] == "secret-rotation" {
					return true
				}
			}
		}
		return false
	}
	wanted := schema.State{}
	for i := range a.changes { // the outcomes of which others may be writing
		wanted[a.changes[i].Address] = a.changes[i].Want
	}
	return rotates(a.live.State) || rotates(wanted)
}
