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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
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

// A status is one line, cut where it is too long, of what may have had many.
func TestRedactionKnowsWhatWasCutAndJoined(t *testing.T) {
	c := &secrets{}
	c.add("first-line of\nthe key", "line and other", "long-secret-"+strings.Repeat("x", 200))
	for text, want := range map[string]string{
		drift.Sentence("400: first-line of\nthe key"):                       "400: (secret)",
		drift.Sentence("400: long-secret-" + strings.Repeat("x", 200)):      "400: (secret)…",
		drift.Sentence(strings.Repeat("y ", 60) + "first-line of\nthe key"): strings.Repeat("y ", 60) + "(secret)…",
		"fir…, first-lin… and long-secret-x… and long…":                     "fir…, (secret)… and (secret)… and (secret)…",
	} {
		if got := c.redact(text); got != want {
			t.Errorf("of %q is left %q, want %q", text, got, want)
		}
	}
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
	manifest := func(app, attributes string) {
		t.Helper()
		text := fmt.Sprintf(`{apiVersion: cloakwork.dev/v1alpha1, kind: Realm, metadata: {name: %s}, spec: {server: eu, realm: {
			smtpServer: {host: smtp.acme.example, from: id@acme.example, auth: true, user: id, password: $(env:SMTP_SECRET)},
			clients: [{clientId: app, publicClient: false, secret: $(env:%s), attributes: {%s}}]}}}`, realm, app, attributes)
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
	manifest("APP_SECRET", `note: "see $(env:MAPPED)", kept: "1"`)
	for _, form := range []string{"text", "json", "markdown"} {
		run("validate", "-o", form)
		run("plan", "-o", form)
	}
	run("apply")
	hidden["OTHER_SECRET"] = "other-secret-4"
	t.Setenv("OTHER_SECRET", hidden["OTHER_SECRET"])
	manifest("OTHER_SECRET", "kept: $(env:MAPPED)")
	for _, form := range []string{"text", "json", "markdown"} {
		run("plan", "-o", form)
		run("drift", "-o", form)
	}
	run("apply", "-o", "json")
	manifest("OTHER_SECRET", "") // a secret that is no longer declared is still one
	for _, form := range []string{"text", "json", "markdown"} {
		run("plan", "-o", form)
	}
	run("apply")
	t.Setenv("KEYCLOAK_PASSWORD", hidden["APP_SECRET"])
	run("plan")
}

// A status stands on the commit for all to read: what a variable held is in none, whether it is declared, was, is
// somebody's name or comes back in what Keycloak says against it.
func TestNoStatusHoldsASecret(t *testing.T) {
	server, realm := keycloaktest.For(t), keycloaktest.Realm(t)
	hidden := map[string]string{"PORTAL_APP": `app-s&cret"/1+`, "PORTAL_NOTE": "noted-secret-2", "PORTAL_FLOW": "flow-secret-3",
		"PORTAL_SENDER": "sender-secret-4", "PORTAL_LONG": "longer-secret-5" + strings.Repeat("-and-longer", 12)}
	for name, value := range hidden {
		t.Setenv(name, value)
	}
	t.Setenv("KEYCLOAK_URL", server.URL)
	t.Setenv("KEYCLOAK_USER", server.User)
	t.Setenv("KEYCLOAK_PASSWORD", server.Password)
	dir := t.TempDir()
	origin, checkout := filepath.Join(dir, "origin.git"), filepath.Join(dir, "work")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", checkout, "-c", "user.name=Ada", "-c", "user.email=ada@acme.example"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if err := os.Mkdir(checkout, 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "-q", "--bare", "-b", "main", origin)
	git("init", "-q", "-b", "main", ".")
	for _, repository := range []string{origin, checkout} { // since 2.47 git may be at it still while the test's folder is removed
		git("-C", repository, "config", "maintenance.auto", "false")
	}
	look := func() (statuses string) {
		t.Helper()
		var out bytes.Buffer
		newCLI(strings.NewReader(""), &out, &out).execute(context.Background(), []string{"run", "--once", "--notes", "--repository", origin,
			"--state-dir", filepath.Join(dir, "state"), "--substitute", "PORTAL_*", "--log-level", "debug"})
		git("fetch", "-q", origin, "+refs/notes/cloakwork:refs/notes/cloakwork")
		statuses = git("log", "-p", "refs/notes/cloakwork") // all that ever stood there
		for name, value := range hidden {
			for _, form := range append(spellings(value), value[:10]) {
				if strings.Contains(statuses, form) {
					t.Errorf("the statuses hold %s as %s:\n%s", name, form, statuses)
				}
				if strings.Contains(out.String(), form) {
					t.Errorf("the controller prints %s as %s:\n%s", name, form, &out)
				}
			}
		}
		return git("notes", "--ref", "cloakwork", "show", "main")
	}
	for _, c := range []struct{ name, fields, says string }{
		{"declared", `clients: [{clientId: app, secret: $(env:PORTAL_APP), attributes: {note: "see $(env:PORTAL_NOTE)"}}]`, "success: 2 objects as declared"},
		{"dropped", `clients: [{clientId: app, name: App}]`, "success: 2 objects as declared"},
		{"a name", `browserFlow: $(env:PORTAL_FLOW)`, "failure: realm.yaml:"},
		{"refused by Keycloak", `smtpServer: {host: smtp.acme.example, from: $(env:PORTAL_SENDER)}`, "error: update realm: failed: "},
		{"refused by Keycloak, and long", `smtpServer: {host: smtp.acme.example, from: $(env:PORTAL_LONG)}`, "error: update realm: failed: "},
	} {
		text := fmt.Sprintf("{apiVersion: cloakwork.dev/v1alpha1, kind: Realm, metadata: {name: %s}, spec: {server: eu, realm: {enabled: true, %s}}}", realm, c.fields)
		if err := os.WriteFile(filepath.Join(checkout, "realm.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		git("add", ".")
		git("commit", "-qm", c.name)
		git("push", "-q", origin, "main")
		if says := look(); !strings.Contains(says, c.says) {
			t.Errorf("%s: the commit says %q, want %q", c.name, says, c.says)
		}
	}
}
