package keycloak_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

func TestMain(m *testing.M) { keycloaktest.Main(m) }

// connect gives a client of the test's server, after changes to the configuration.
func connect(t testing.TB, changes ...func(*keycloak.Config)) *keycloak.Client {
	t.Helper()
	server := keycloaktest.For(t)
	config := keycloak.Config{URL: server.URL, User: server.User, Password: server.Password}
	for _, change := range changes {
		change(&config)
	}
	c, err := keycloak.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// through leads a client to another address.
func through(url string) func(*keycloak.Config) {
	return func(c *keycloak.Config) { c.URL = url }
}

func impatient(c *keycloak.Config) { c.Patience = -1 }

type object = map[string]any

// ok gives v, and ends the test on an error.
func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realm makes a realm of the test's own.
func realm(t testing.TB, fields object) string {
	t.Helper()
	name := keycloaktest.Realm(t)
	body := object{"realm": name, "enabled": true}
	for k, v := range fields {
		body[k] = v
	}
	if id := ok(connect(t).Post(t.Context(), keycloak.Path("realms"), nil, body, nil))(t); id != name {
		t.Fatalf("the id of realm %s is %q", name, id)
	}
	return name
}

// bot makes a client whose service account may do everything in the realm.
func bot(t testing.TB, realm, clientID, secret string) {
	t.Helper()
	c := connect(t)
	id := ok(c.Post(t.Context(), keycloak.Path("realms", realm, "clients"), nil,
		object{"clientId": clientID, "secret": secret, "serviceAccountsEnabled": true, "standardFlowEnabled": false}, nil))(t)
	var account struct{ ID string }
	noError(t, c.Get(t.Context(), keycloak.Path("realms", realm, "clients", id, "service-account-user"), nil, &account))
	grant(t, realm, account.ID)
}

// person makes a user who may do everything in the realm, and gives its ID.
func person(t testing.TB, realm, name, password string) string {
	t.Helper()
	id := ok(connect(t).Post(t.Context(), keycloak.Path("realms", realm, "users"), nil, object{
		"username": name, "enabled": true, "email": name + "@example.com", "firstName": "A", "lastName": "B",
		"credentials": []object{{"type": "password", "value": password}},
	}, nil))(t)
	grant(t, realm, id)
	return id
}

func grant(t testing.TB, realm, userID string) {
	t.Helper()
	c := connect(t)
	var found []struct{ ID string }
	noError(t, c.Get(t.Context(), keycloak.Path("realms", realm, "clients"), url.Values{"clientId": {"realm-management"}}, &found))
	var role json.RawMessage
	noError(t, c.Get(t.Context(), keycloak.Path("realms", realm, "clients", found[0].ID, "roles", "realm-admin"), nil, &role))
	ok(c.Post(t.Context(), keycloak.Path("realms", realm, "users", userID, "role-mappings", "clients", found[0].ID), nil, []any{role}, nil))(t)
}

// request is what came to a front, and the status that it was answered, 0 where the connection was cut.
type request struct {
	Method, Path string
	Grant        string // of requests for a token
	Status       int
}

func (r request) token() bool { return strings.HasSuffix(r.Path, "/token") }

// front is a proxy before the real server that remembers what passed.
type front struct {
	*httptest.Server
	mu     sync.Mutex
	passed []request
}

// before starts a proxy before the test's server. Where hand is given, it decides for each request: answer yourself, cut
// by panic(http.ErrAbortHandler), or let pass do what the server does.
func before(t testing.TB, hand func(w http.ResponseWriter, r *http.Request, pass http.Handler)) *front {
	t.Helper()
	f := unstarted(t, hand)
	f.Start()
	return f
}

func unstarted(t testing.TB, hand func(w http.ResponseWriter, r *http.Request, pass http.Handler)) *front {
	t.Helper()
	to := ok(url.Parse(keycloaktest.For(t).URL))(t)
	pass := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorLog: log.New(io.Discard, "", 0),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler)
		},
	}
	f := &front{}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := request{Method: r.Method, Path: r.URL.EscapedPath()}
		if seen.token() {
			form, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(form))
			values, _ := url.ParseQuery(string(form))
			seen.Grant = values.Get("grant_type")
		}
		answer := &recorder{ResponseWriter: w}
		defer func() {
			seen.Status = answer.status
			f.mu.Lock()
			f.passed = append(f.passed, seen)
			f.mu.Unlock()
		}()
		if hand == nil {
			pass.ServeHTTP(answer, r)
			return
		}
		hand(answer, r, pass)
	}))
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(f.Close)
	return f
}

// admin are the requests to the admin API that passed, tokens those for tokens.
func (f *front) admin() []request {
	return f.those(func(r request) bool { return strings.HasPrefix(r.Path, "/admin/") })
}
func (f *front) tokens() []request { return f.those(request.token) }

func (f *front) those(fit func(request) bool) (fitting []request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.passed {
		if fit(r) {
			fitting = append(fitting, r)
		}
	}
	return fitting
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// eventually waits until what holds.
func eventually(t testing.TB, says string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", says)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
