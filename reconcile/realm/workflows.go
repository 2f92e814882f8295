package realm

import (
	"context"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

func (o *observation) workflows(ctx context.Context) error {
	all, err := o.all(ctx, nil, "workflows")
	if keycloak.IsForbidden(err) {
		return unseen("realm-admin", "the workflows")
	} else if keycloak.IsNotFound(err) { // the server has them not enabled
		return nil
	} else if err != nil {
		return err
	}
	for _, workflow := range all {
		o.put(schema.Join(schema.RealmAddress, "workflows", text(workflow["name"])), text(workflow["id"]), bare("workflows", workflow))
	}
	return nil
}
