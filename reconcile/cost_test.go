package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// What a plan says that applying costs is what the access log then counts, give or take a fifth.
func TestAPlanSaysWhatApplyingCosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	realm := func(clients, changed int, change string) string {
		name := func(i int) string {
			if i < changed {
				return change
			}
			return "as made"
		}
		var b strings.Builder
		b.WriteString("realm: REALM\nclients:\n")
		for i := range clients {
			fmt.Fprintf(&b, "  - {clientId: c%02d, name: %q, protocolMappers: [{name: m, protocol: openid-connect, protocolMapper: oidc-full-name-mapper}]}\n", i, name(i))
		}
		b.WriteString("roles: {realm: [")
		for i := range clients {
			fmt.Fprintf(&b, "{name: r%02d, description: %q}, ", i, name(i))
		}
		b.WriteString("]}\n")
		return b.String()
	}
	limited := func() {
		client, err := keycloak.New(keycloak.Config{URL: w.url, User: w.server.User, Password: w.server.Password, PerSecond: 500})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		w.client = client
	}
	limited()
	for _, state := range []struct{ name, manifest string }{
		{"a new realm", realm(20, 0, "")}, {"updates", realm(20, 8, "changed")}, {"deletes", realm(17, 8, "changed")}, {"nothing", realm(16, 8, "changed")},
	} {
		report, err := w.pass(reconcile.Plan, state.manifest).Run(context.Background())
		if err != nil {
			t.Fatalf("%s: %v\n%s", state.name, err, text(report))
		}
		var says int
		for _, note := range report.Notes {
			if _, err := fmt.Sscanf(note, "apply would send about %d requests", &says); err == nil && !strings.HasSuffix(note, " at 500 a second") {
				t.Errorf("%s: the note is %q", state.name, note)
			}
		}
		mark := w.server.Mark(t)
		w.apply(state.manifest)
		sent := len(w.server.RequestsSince(t, mark, w.name))
		if says < sent*4/5 || says > sent*6/5 {
			t.Errorf("%s: the plan says %d requests, and apply sent %d:\n%s", state.name, says, sent, text(report))
		}
	}
	w.connect()
	if report, err := w.pass(reconcile.Plan, realm(17, 8, "changed")).Run(context.Background()); err != nil || len(report.Notes) > 0 {
		t.Errorf("without a limit there is a note: %v, %v", report.Notes, err)
	}
}
