package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// spellings are the forms in which a secret could stand in an output.
func spellings(secret string) []string {
	if secret == "" {
		panic("an empty secret would be found everywhere")
	}
	quoted, err := json.Marshal(secret)
	if err != nil {
		panic(err)
	}
	found := []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret),
		hex.EncodeToString([]byte(secret))}
	for shift := range 3 { // base64 of it within something longer: the letters that depend on the secret alone
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		inner := text[(shift*8+5)/6 : len(text)-1]
		found = append(found, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
	}
	return found
}

func TestRedactionKnowsEverySpelling(t *testing.T) {
	const secret = `p&ss"w/rd+1 ö`
	c, out := &secrets{}, &bytes.Buffer{}
	c.add(secret)
	quoted, _ := json.Marshal(secret)
	for _, form := range []string{secret, string(quoted), url.QueryEscape(secret), url.PathEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))} {
		out.Reset()
		fmt.Fprintf(redacting{out, c}, "before %s after", form)
		if got := strings.ReplaceAll(out.String(), `"`, ""); got != "before (secret) after" {
			t.Errorf("of %q is written %q", form, got)
		}
	}
}

// Reports must leave secrets out by themselves: what the writer replaces is only what they missed.
func TestNoVerbPrintsASecretEvenWithoutRedaction(t *testing.T) {
	server, realm := keycloaktest.For(t), keycloaktest.Realm(t)
	hidden := map[string]string{"APP_SECRET": `app-s&cret"/1+`, "SMTP_SECRET": "smtp-secret-2", "MAPPED": "mapped-secret-3"}
	for name, value := range hidden {
		t.Setenv(name, value)
	}
	t.Setenv("KEYCLOAK_URL", server.URL)
	t.Setenv("KEYCLOAK_USER", server.User)
	t.Setenv("KEYCLOAK_PASSWORD", server.Password)
	dir := t.TempDir()
	manifest := func(app string) {
		t.Helper()
		text := fmt.Sprintf(`{apiVersion: cloakwork.dev/v1alpha1, kind: Realm, metadata: {name: %s}, spec: {server: eu, realm: {
			smtpServer: {host: smtp.acme.example, from: id@acme.example, auth: true, user: id, password: $(env:SMTP_SECRET)},
			clients: [{clientId: app, publicClient: false, secret: $(env:%s), attributes: {note: "see $(env:MAPPED)"}}]}}}`, realm, app)
		if err := os.WriteFile(filepath.Join(dir, "realm.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		var out bytes.Buffer
		c := newCLI(strings.NewReader(""), &out, &out)
		c.out, c.errs = &out, &out
		c.execute(context.Background(), append(args, "--log-level", "debug", dir))
		for name, value := range hidden {
			for _, form := range append(spellings(value), spellings(server.Password)...) {
				if strings.Contains(out.String(), form) {
					t.Errorf("%v prints %s as %s:\n%s", args, name, form, &out)
				}
			}
		}
		if out.Len() == 0 {
			t.Errorf("%v prints nothing", args)
		}
	}
	manifest("APP_SECRET")
	for _, form := range []string{"text", "json", "markdown"} {
		run("validate", "-o", form)
		run("plan", "-o", form)
	}
	run("apply")
	hidden["OTHER_SECRET"] = "other-secret-4"
	t.Setenv("OTHER_SECRET", hidden["OTHER_SECRET"])
	manifest("OTHER_SECRET")
	for _, form := range []string{"text", "json", "markdown"} {
		run("plan", "-o", form)
		run("drift", "-o", form)
	}
	run("apply", "-o", "json")
	t.Setenv("KEYCLOAK_PASSWORD", hidden["APP_SECRET"])
	run("plan")
}
