package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// managedMember tells whether somebody came through the identity provider of the organization: Keycloak deletes the user
// together with the membership.
func managedMember(_ string, o schema.Object) bool { return o.Fields["membershipType"] == "MANAGED" }

// members reads who belongs to an organization. They are users, and bear their ids.
func (o *observation) members(ctx context.Context, organization schema.Address, id string) error {
	raw, err := o.Client.All(ctx, o.path("organizations", id, "members"), nil, page)
	if keycloak.IsForbidden(err) {
		return unseen("view-users", "the members of organizations")
	} else if err != nil {
		return err
	}
	for _, b := range raw {
		var member struct{ ID, Username, MembershipType string }
		if err := json.Unmarshal(b, &member); err != nil {
			return fmt.Errorf("read the members of an organization: %w", err)
		}
		name := strings.ToLower(member.Username)
		o.put(schema.Join(organization, "members", name), member.ID, map[string]any{"username": name, "membershipType": member.MembershipType})
	}
	return nil
}

// member takes a user into an organization, or lets one go.
func (a *application) member(ctx context.Context, c *drift.Change) error {
	if c.Op == drift.Delete {
		return a.remove(ctx, c.Address)
	}
	organization, err := a.item(ctx, c.Address.Parent())
	if err != nil {
		return err
	}
	user, err := a.id(ctx, schema.Join(schema.RealmAddress, "users", c.Address.Name()))
	if err != nil {
		return err
	}
	_, err = a.Client.Post(ctx, a.path(append(organization, "members")...), nil, user, nil)
	if err != nil && keycloak.Status(err) != http.StatusConflict { // somebody was faster
		return err
	}
	a.made(c.Address, user)
	return nil
}
