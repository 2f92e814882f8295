package keycloak_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// asPerson lets a client sign in to realm as a user, asBot with its own credentials.
func asPerson(realm, name, password string) func(*keycloak.Config) {
	return func(c *keycloak.Config) { c.Realm, c.User, c.Password = realm, name, password }
}

func asBot(realm, clientID, secret string) func(*keycloak.Config) {
	return func(c *keycloak.Config) {
		c.Realm, c.User, c.Password, c.ClientID, c.ClientSecret = realm, "", "", clientID, secret
	}
}

func TestTokensOfFiveSecondsAreRenewedBeforeTheyExpire(t *testing.T) {
	t.Parallel()
	r := realm(t, object{"accessTokenLifespan": 5})
	person(t, r, "ann", "ann-password")
	bot(t, r, "robot", "robot-secret")
	for _, c := range []struct {
		name   string
		as     func(*keycloak.Config)
		grants string
	}{
		{"person", asPerson(r, "ann", "ann-password"), "password refresh_token refresh_token"},
		{"bot", asBot(r, "robot", "robot-secret"), "client_credentials client_credentials client_credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := before(t, nil)
			client := connect(t, through(f.URL), c.as)
			eventually(t, "the token is renewed twice", func() bool {
				if err := client.Get(t.Context(), keycloak.Path("realms", r), nil, nil); err != nil {
					t.Fatal(err)
				}
				return len(f.tokens()) == 3
			})
			var grants []string
			for _, r := range f.tokens() {
				grants = append(grants, r.Grant)
			}
			if got := strings.Join(grants, " "); got != c.grants {
				t.Errorf("grants: %s, want %s", got, c.grants)
			}
			for _, r := range f.admin() {
				if r.Status != http.StatusOK {
					t.Errorf("%s %s: %d", r.Method, r.Path, r.Status)
				}
			}
		})
	}
}

func TestASessionEndedByOthersIsBegunAgain(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	id := person(t, r, "ann", "ann-password")
	f := before(t, nil)
	c := connect(t, through(f.URL), asPerson(r, "ann", "ann-password"))
	noError(t, c.Get(t.Context(), keycloak.Path("realms", r), nil, nil))
	ok(connect(t).Post(t.Context(), keycloak.Path("realms", r, "users", id, "logout"), nil, nil, nil))(t)

	ok(c.Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": "viewer"}, nil))(t)
	var statuses []int
	for _, r := range f.admin() {
		statuses = append(statuses, r.Status)
	}
	if got := fmt.Sprint(statuses); got != "[200 401 201]" {
		t.Errorf("answers: %s", got)
	}
	if got := len(f.tokens()); got != 2 {
		t.Errorf("signed in %d times", got)
	}
}

func TestA401IsRepeatedOnlyOnce(t *testing.T) {
	t.Parallel()
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		r.Header.Del("Authorization")
		pass.ServeHTTP(w, r)
	})
	err := connect(t, through(f.URL)).Get(t.Context(), "/realms/master", nil, nil)
	if got := fmt.Sprint(err); got != "GET /admin/realms/master: 401: Unauthorized" {
		t.Error(got)
	}
	if got := len(f.admin()); got != 2 {
		t.Errorf("sent %d times", got)
	}
}

func TestSecretsWithSpecialCharactersSignIn(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	bot(t, r, "bot+ä/x", "a+b%41c:d&e=ü")
	c := connect(t, asBot(r, "bot+ä/x", "a+b%41c:d&e=ü"))
	noError(t, c.Get(t.Context(), keycloak.Path("realms", r), nil, nil))
	person(t, r, "zoë", "p+%41&ß=\"\\")
	c = connect(t, asPerson(r, "zoë", "p+%41&ß=\"\\"))
	noError(t, c.Get(t.Context(), keycloak.Path("realms", r), nil, nil))
}

func TestARefusedSignInSaysWhatToDo(t *testing.T) {
	t.Parallel()
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<html>hello")
	}))
	defer html.Close()
	r := realm(t, nil)
	bot(t, r, "robot", "robot-secret")
	for _, c := range []struct {
		change func(*keycloak.Config)
		want   string
	}{
		{func(c *keycloak.Config) { c.Password = "wr0ng-s3cret" },
			"sign in to realm master as admin through client admin-cli: 400: Invalid user credentials (invalid_grant); check the user and the password"},
		{func(c *keycloak.Config) { c.ClientID = "nobody"; c.ClientSecret = "wr0ng-s3cret" },
			"sign in to realm master as admin through client nobody: 401: Invalid client or Invalid client credentials (invalid_client); check the client ID and its secret, and that the client may sign in this way"},
		{asBot(r, "robot", "wr0ng-s3cret"),
			"sign in to realm " + r + " as client robot: 401: Invalid client or Invalid client credentials (unauthorized_client); check the client ID and its secret, and that the client may sign in this way"},
		{func(c *keycloak.Config) { c.Realm = "nowhere" },
			"sign in to realm nowhere as admin through client admin-cli: 404: Realm does not exist; check the realm to sign in to"},
		{func(c *keycloak.Config) { c.URL += "/auth" },
			"sign in to realm master as admin through client admin-cli: 404: Unable to find matching target resource method; is this the address of a Keycloak, and does it have a base path such as /auth?"},
		{through(html.URL),
			"sign in to realm master as admin through client admin-cli: 200: no token in the reply; is this the address of a Keycloak?"},
	} {
		err := connect(t, c.change).Get(t.Context(), "/realms", nil, nil)
		if got, want := fmt.Sprint(err), "GET /admin/realms: not sent: "+c.want; got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		if !keycloak.IsSignIn(err) || keycloak.IsUnreachable(err) || keycloak.MayHaveHappened(err) {
			t.Errorf("%v is taken for something else", err)
		}
	}
}

func TestASignInThatBreaksDownOnTheServerIsTriedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/token") && asked.Add(1) == 1 { // what Keycloak says while its database is away
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"unauthorized_client","error_description":"Unexpected error when authenticating client"}`)
			return
		}
		pass.ServeHTTP(w, r)
	})
	noError(t, connect(t, through(f.URL)).Get(t.Context(), "/realms/master", nil, nil))
	if got := len(f.tokens()); got != 2 {
		t.Errorf("signed in %d times", got)
	}
}

func TestARefusedPasswordIsNotTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	f := before(t, nil)
	c := connect(t, through(f.URL), func(c *keycloak.Config) { c.Password = "wrong" })
	var people sync.WaitGroup
	for range 20 {
		people.Go(func() {
			if err := c.Get(t.Context(), "/realms", nil, nil); !keycloak.IsSignIn(err) {
				t.Error(err)
			}
		})
	}
	people.Wait()
	if got := len(f.tokens()); got != 1 {
		t.Errorf("signed in %d times", got)
	}
}

func TestARedirectGetsNeitherPasswordNorToken(t *testing.T) {
	t.Parallel()
	var visits atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		fmt.Fprint(w, `{"access_token":"x","expires_in":60}`)
	}))
	defer elsewhere.Close()
	for _, what := range []string{"/realms/", "/admin/"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if strings.HasPrefix(r.URL.Path, what) {
					http.Redirect(w, r, elsewhere.URL+"/some/path?with=query", status)
					return
				}
				pass.ServeHTTP(w, r)
			})
			c := connect(t, through(f.URL))
			for _, call := range []func() error{
				func() error { return c.Get(t.Context(), "/realms/master", nil, nil) },
				func() error { return c.Put(t.Context(), "/realms/master", object{}) },
			} {
				err := call()
				if keycloak.Status(err) != status || !strings.Contains(err.Error(), ": redirects to "+elsewhere.URL+", which is not followed") {
					t.Errorf("%s %d: %v", what, status, err)
				}
			}
		}
	}
	if got := visits.Load(); got != 0 {
		t.Errorf("%d requests were sent elsewhere", got)
	}
}

func TestAnEndedContextEndsTheSignIn(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		close(began)
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	took, err := timed(func() error { return connect(t, through(f.URL)).Put(ctx, "/realms/master", object{}) })
	if !errors.Is(err, ctx.Err()) || keycloak.IsUnreachable(err) || took > 20*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
}

func TestCloseEndsTheSession(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	id := person(t, r, "ann", "ann-password")
	sessions := func() (n int) {
		var list []object
		noError(t, connect(t).Get(t.Context(), keycloak.Path("realms", r, "users", id, "sessions"), nil, &list))
		return len(list)
	}
	c := connect(t, asPerson(r, "ann", "ann-password"))
	noError(t, c.Get(t.Context(), keycloak.Path("realms", r), nil, nil))
	if got := sessions(); got != 1 {
		t.Fatalf("%d sessions", got)
	}
	c.Close() // which doesn't wait long
	eventually(t, "no session is left", func() bool { return sessions() == 0 })
}

func TestWhoAmITellsTheAccount(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	id := person(t, r, "ann", "ann-password")
	got := ok(connect(t, asPerson(r, "ann", "ann-password")).WhoAmI(t.Context()))(t)
	if want := (keycloak.Identity{Realm: r, ClientID: "admin-cli", UserID: id, User: "ann"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	bot(t, r, "robot", "robot-secret")
	got = ok(connect(t, asBot(r, "robot", "robot-secret")).WhoAmI(t.Context()))(t)
	if got.UserID == "" || got.UserID == id || got.User != "service-account-robot" || got.ClientID != "robot" {
		t.Errorf("%+v", got)
	}
}

func TestTheVersionIsReadWhereItShows(t *testing.T) {
	t.Parallel()
	if got := ok(connect(t).Version(t.Context()))(t); !strings.HasPrefix(got, "26.") {
		t.Errorf("version %q for the administrator", got)
	}
	r := realm(t, nil)
	ok(connect(t).Post(t.Context(), keycloak.Path("realms", r, "users"), nil, object{
		"username": "bob", "enabled": true, "email": "bob@example.com", "firstName": "A", "lastName": "B",
		"credentials": []object{{"type": "password", "value": "bob-password"}},
	}, nil))(t)
	if got := ok(connect(t, asPerson(r, "bob", "bob-password")).Version(t.Context()))(t); got != "" {
		t.Errorf("version %q for somebody without rights", got)
	}
}
