package reconcile_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile"
)

// What isn't refused Keycloak keeps: each of these goes to the server in turn.
func TestAFieldThatKeycloakWouldDropIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: site, publicClient: true}, {clientId: api, publicClient: false, secret: one}]\n"))
	for _, c := range []struct{ fields, problem string }{
		{"clients: [{clientId: new, publicClient: true, secret: s}]", "acme.yaml:8:51: clients/new: secret isn't kept where publicClient is true; leave one of them out, or change it"},
		{"clients: [{clientId: site, secret: s}]", "acme.yaml:8:32: clients/site: secret isn't kept where publicClient is true; leave one of them out, or change it"},
		{"clients: [{clientId: api, publicClient: true, secret: s}]", "acme.yaml:8:51: clients/api: secret isn't kept where publicClient is true; leave one of them out, or change it"},
		{"clients: [{clientId: new, protocol: openid-connect, secret: s}]", ""},
		{"clients: [{clientId: api, secret: s}]", ""},
		{"clients: [{clientId: site, publicClient: false, secret: s}]", ""},

		{mail + "user: id}", "acme.yaml:8:66: realm: smtpServer.user is kept only where smtpServer.auth is true; declare smtpServer.auth: true, or leave it out"},
		{mail + "auth: false, password: p}", "acme.yaml:8:79: realm: smtpServer.password is kept only where smtpServer.auth is true; declare smtpServer.auth: true, or leave it out"},
		{mail + "auth: false, user: \"\", password: null}", ""},
		{mail + "auth: true, authType: token, authTokenUrl: \"https://a.example\", authTokenScope: s, authTokenClientId: c, authTokenClientSecret: p, user: id}", ""},
		{mail + "user: other}", "acme.yaml:8:66: realm: smtpServer.user is kept only where smtpServer.auth is true; declare smtpServer.auth: true, or leave it out"}, // auth would go
		{mail + "auth: true, authType: token, password: p}", "acme.yaml:8:95: realm: smtpServer.password isn't kept where smtpServer.authType is token; leave one of them out, or change it"},
		{mail + "auth: true, authType: basic, user: id, password: p}", ""},
		{mail + "auth: true, authType: basic, authTokenScope: s}", "acme.yaml:8:95: realm: smtpServer.authTokenScope is kept only where smtpServer.authType is token; declare smtpServer.authType: token, or leave it out"},

		{"loginWithEmailAllowed: false, duplicateEmailsAllowed: true, registrationEmailAsUsername: true", "acme.yaml:10:5: realm: registrationEmailAsUsername isn't kept where duplicateEmailsAllowed is true; leave one of them out, or change it"},
		{"loginWithEmailAllowed: false, duplicateEmailsAllowed: true", ""},
		{"loginWithEmailAllowed: true", "acme.yaml:8:5: realm: loginWithEmailAllowed isn't kept where duplicateEmailsAllowed is true; leave one of them out, or change it"},
		{"loginWithEmailAllowed: true, duplicateEmailsAllowed: false", ""},
	} {
		fields := c.fields
		if !strings.Contains(fields, "[") && !strings.Contains(fields, "{") {
			fields = strings.ReplaceAll(fields, ", ", "\n    ")
		}
		manifest := realm("    " + fields + "\n")
		if c.problem == "" {
			w.settled(manifest)
			continue
		}
		report, err := w.pass(reconcile.Plan, manifest).Run(context.Background())
		var got []string
		for _, p := range report.Problems {
			got = append(got, p.String())
		}
		if diff := cmp.Diff([]string{c.problem}, got); err == nil || diff != "" {
			t.Errorf("%s: %v, problems (-want +got):\n%s", c.fields, err, diff)
		}
	}
}

const mail = "smtpServer: {host: mail.acme.example, from: id@acme.example, "
