package keycloak_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

func TestErrorsSayWhatKeycloakSays(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	ok(connect(t).Post(t.Context(), keycloak.Path("realms", r, "clients"), nil, object{"clientId": "portal"}, nil))(t)
	c := connect(t)
	ctx := t.Context()
	post := func(kind string, body any) func() error {
		return func() error {
			_, err := c.Post(ctx, keycloak.Path("realms", r, kind), nil, body, nil)
			return err
		}
	}
	for _, try := range []struct {
		do   func() error
		want string
	}{
		{func() error { return c.Get(ctx, "/realms/nowhere", nil, nil) }, "GET /admin/realms/nowhere: 404: Realm not found."},
		{func() error { return c.Get(ctx, keycloak.Path("realms", r, "clients", "x"), nil, nil) }, "GET /admin/realms/REALM/clients/x: 404: Could not find client"},
		{func() error { return c.Get(ctx, "/nowhere", nil, nil) }, "GET /admin/nowhere: 405: Method Not Allowed"},
		{post("clients", object{"clientId": "portal"}), "POST /admin/realms/REALM/clients: 409: Client portal already exists"},
		{post("clients", object{"clientId": "a", "nope": 1}),
			`POST /admin/realms/REALM/clients: 400: Invalid json representation for ClientRepresentation. Unrecognized field "nope" at line 1 column 25.`},
		{post("clients", object{"clientId": "a", "enabled": "yes"}), "POST /admin/realms/REALM/clients: 400: Cannot parse the JSON (unknown_error)"},
		{post("users", object{"username": "x", "email": "nonsense"}),
			"POST /admin/realms/REALM/users: 400: username: error-invalid-length; email: error-invalid-email"},
		{func() error {
			return c.Put(ctx, keycloak.Path("realms", r, "clients", managed(t, r)), object{"description": "x"})
		}, "PUT /admin/realms/REALM/clients/ID: 403: Forbidden"},
	} {
		got := strings.ReplaceAll(fmt.Sprint(try.do()), r, "REALM")
		if got = strings.ReplaceAll(got, managed(t, r), "ID"); got != try.want {
			t.Errorf("%s\nwant\n%s", got, try.want)
		}
	}
}

// managed is the ID of the client realm-management, which nobody may change.
func managed(t *testing.T, realm string) string {
	t.Helper()
	var found []struct{ ID string }
	noError(t, connect(t).Get(t.Context(), keycloak.Path("realms", realm, "clients"), url.Values{"clientId": {"realm-management"}}, &found))
	return found[0].ID
}

func TestAPageOfHTMLIsNoReply(t *testing.T) {
	t.Parallel()
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, "<html><title>Welcome</title>")
	}))
	c := connect(t, through(f.URL))
	var raw json.RawMessage
	var list []string
	const want = "GET /admin/realms: 200: the reply is not JSON, but text/html: is this the address of a Keycloak?"
	for _, out := range []any{&raw, &list} {
		if got := fmt.Sprint(c.Get(t.Context(), "/realms", nil, out)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, try := range []struct {
		err  error
		want string
	}{
		{c.Put(t.Context(), "/realms/a", nil), "PUT /admin/realms/a: 200: the reply is not JSON, but text/html: is this the address of a Keycloak?"},
		{c.Delete(t.Context(), "/realms/a", nil), "DELETE /admin/realms/a: 400: bad request (a reply of text/html)"},
	} {
		if got := fmt.Sprint(try.err); got != try.want {
			t.Errorf("%s, want %s", got, try.want)
		}
	}
}

func TestLongAndWildMessagesAreTamed(t *testing.T) {
	t.Parallel()
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(object{"errorMessage": "first\nsecond \x1b[31mred " + strings.Repeat("ä", 5000)})
	}))
	got := fmt.Sprint(connect(t, through(f.URL)).Get(t.Context(), "/realms", nil, nil))
	if !strings.Contains(got, "400: first second [31mred ää") || strings.ContainsAny(got, "\n\x1b") || len([]rune(got)) > 450 {
		t.Errorf("%d characters: %q", len([]rune(got)), got)
	}
}

func TestNoSecretShowsInErrorsOrLogs(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	secrets := []string{"Sup3r+Secret/Person", "Sup3r+Secret/Client", "Sup3r+Secret/Sent", "Sup3r+Secret/Query"}
	person(t, r, "ann", secrets[0])
	ok(connect(t).Post(t.Context(), keycloak.Path("realms", r, "clients"), nil, object{
		"clientId": "tool", "secret": secrets[1], "directAccessGrantsEnabled": true}, nil))(t)

	var output lockedBuffer
	// A server that repeats whatever it is told, also the token.
	parrot := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if n%3 == 0 {
			lose(r, pass)
		}
		said := strings.Join(secrets[:2], ", ") + ", " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if r.Method == http.MethodPost {
			said += ", " + secrets[2]
		}
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(object{"error": said, "error_description": said, "errorMessage": said})
	}))
	c := connect(t, through(parrot.URL), asPerson(r, "ann", secrets[0]), impatient, func(c *keycloak.Config) {
		c.ClientID, c.ClientSecret = "tool", secrets[1]
		c.Log = slog.New(slog.NewTextHandler(&output, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	body := object{"clientId": "x", "secret": secrets[2], "attributes": object{"a": "b"}}
	for range 3 {
		_, err := c.Post(t.Context(), keycloak.Path("realms", r, "clients"), url.Values{"q": {secrets[3]}}, body, nil)
		fmt.Fprintln(&output, err)
		fmt.Fprintln(&output, c.Get(t.Context(), keycloak.Path("realms", r, "clients"), url.Values{"q": {secrets[3]}}, nil))
		fmt.Fprintln(&output, c.Put(t.Context(), keycloak.Path("realms", r), object{"smtpServer": object{"password": secrets[2]}}))
	}
	wrong := connect(t, through(parrot.URL), asPerson(r, "ann", secrets[2]), func(c *keycloak.Config) {
		c.ClientID, c.ClientSecret = "tool", secrets[1]
	})
	fmt.Fprintln(&output, wrong.Get(t.Context(), "/realms", nil, nil))

	got := output.String()
	if !strings.Contains(got, "method=POST path=/admin/realms/"+r+"/clients") || !strings.Contains(got, "400: …, …, …, …") || !strings.Contains(got, "invalid_grant") {
		t.Errorf("the output is not what it should be:\n%s", got)
	}
	for _, secret := range append(secrets, "eyJhbGciOi") {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte("tool:" + secret)), strings.ReplaceAll(secret, "/", `\/`)} {
			if strings.Contains(got, form) {
				t.Errorf("%s shows in\n%s", form, got)
			}
		}
	}
}
