package reconcile_test

import (
	"context"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile"
)

func TestASecretThatAPublicClientWouldDropIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: site, publicClient: true}, {clientId: api, publicClient: false, secret: one}]\n"))
	for _, c := range []struct{ client, problem string }{
		{"{clientId: new, publicClient: true, secret: s}", "acme.yaml:8:51: clients/new is a public client, and so keeps no secret; declare publicClient: false, or no secret"},
		{"{clientId: new, protocol: openid-connect, secret: s}", ""},
		{"{clientId: site, secret: s}", "clients/site is a public client"},
		{"{clientId: api, publicClient: true, secret: s}", "clients/api is a public client"},
		{"{clientId: new, secret: s}", ""},
		{"{clientId: api, secret: s}", ""},
		{"{clientId: site, publicClient: false, secret: s}", ""},
	} {
		report, err := w.pass(reconcile.Plan, realm("    clients: ["+c.client+"]\n")).Run(context.Background())
		var got string
		if len(report.Problems) > 0 {
			got = report.Problems[0].String()
		}
		if (err != nil) != (c.problem != "") || !strings.Contains(got, c.problem) || c.problem == "" && got != "" {
			t.Errorf("%s: problem %q, want %q", c.client, got, c.problem)
		}
	}
}
