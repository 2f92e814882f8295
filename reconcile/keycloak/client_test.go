package keycloak_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

func TestNewRefusesWhatCanNotWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config keycloak.Config
		want   string
	}{
		{keycloak.Config{User: "a", Password: "b"}, "no server URL"},
		{keycloak.Config{URL: "id.example", User: "a", Password: "b"}, `the server URL begins with neither http:// nor https://, but with ""`},
		{keycloak.Config{URL: "ftp://id.example", User: "a", Password: "b"}, `the server URL begins with neither http:// nor https://, but with "ftp"`},
		{keycloak.Config{URL: "https://a:hidden@id.example", User: "a", Password: "b"}, "the server URL holds credentials; give them apart"},
		{keycloak.Config{URL: "https://a:hidden@id.example:port", User: "a", Password: "b"}, "the server URL can't be read as one"},
		{keycloak.Config{URL: "https://id.example?x=hidden", User: "a", Password: "b"}, "the server URL has a query or a fragment"},
		{keycloak.Config{URL: "https:///auth", User: "a", Password: "b"}, "the server URL names no host"},
		{keycloak.Config{URL: "https://id.example"}, "no credentials: give a user and a password, or a client ID and its secret"},
		{keycloak.Config{URL: "https://id.example", User: "a"}, "a user without a password"},
		{keycloak.Config{URL: "https://id.example", Password: "b"}, "a password without a user"},
		{keycloak.Config{URL: "https://id.example", User: "a", Password: "b", Realm: ".."}, `sign-in realm ".." can't stand in a URL`},
		{keycloak.Config{URL: "https://id.example", User: "a", Password: "b", CA: []byte("x")}, "the CA holds no PEM certificate"},
	} {
		_, err := keycloak.New(c.config)
		if got := fmt.Sprint(err); got != c.want {
			t.Errorf("New(%q): %s, want %s", c.config.URL, got, c.want)
		}
	}
}

func TestPathKeepsANameInOneSegment(t *testing.T) {
	t.Parallel()
	got := keycloak.Path("realms", "acme", "roles", "a/b c?d#e%2F;f")
	if want := "/realms/acme/roles/a%2Fb%20c%3Fd%23e%252F%3Bf"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNamesThatAURLCanNotHoldAreNotSent(t *testing.T) {
	t.Parallel()
	f := before(t, nil)
	c := connect(t, through(f.URL))
	for _, path := range []string{
		keycloak.Path("realms", "master", "roles", ""),
		keycloak.Path("realms", "master", "roles", "."),
		keycloak.Path("realms", "master", "clients", ".."),
		"/realms/master/clients/%2e%2e",
	} {
		if err := c.Delete(t.Context(), path, nil); !errors.Is(err, keycloak.ErrUnnameable) {
			t.Errorf("DELETE %s: %v", path, err)
		}
	}
	if err := c.Delete(t.Context(), "/realms/master?x=y", nil); err == nil {
		t.Error("a path with a query was sent")
	}
	if got := f.those(func(request) bool { return true }); len(got) > 0 {
		t.Errorf("sent: %v", got)
	}
}

func TestObjectsAreMadeReadChangedAndRemoved(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	f := before(t, nil)
	c := connect(t, through(f.URL+"/"))
	ctx := t.Context()

	id := ok(c.Post(ctx, keycloak.Path("realms", r, "clients"), nil, object{"clientId": "portal"}, nil))(t)
	client := keycloak.Path("realms", r, "clients", id)
	noError(t, c.Put(ctx, client, json.RawMessage(`{"description":"shop"}`)))
	var read struct{ ClientID, Description string }
	noError(t, c.Get(ctx, client, nil, &read))
	if read.ClientID != "portal" || read.Description != "shop" {
		t.Errorf("read %+v", read)
	}
	name := "a/b c?d#e%2F"
	if got := ok(c.Post(ctx, keycloak.Path("realms", r, "roles"), nil, object{"name": name}, nil))(t); got != name {
		t.Errorf("the id of role %q is %q", name, got)
	}
	var role json.RawMessage
	noError(t, c.Get(ctx, keycloak.Path("realms", r, "roles", name), nil, &role))
	ok(c.Post(ctx, keycloak.Path("realms", r, "clients", id, "scope-mappings", "realm"), nil, []any{role}, nil))(t)
	noError(t, c.Delete(ctx, keycloak.Path("realms", r, "clients", id, "scope-mappings", "realm"), []any{role}))
	var mapped []json.RawMessage
	noError(t, c.Get(ctx, keycloak.Path("realms", r, "clients", id, "scope-mappings", "realm"), nil, &mapped))
	if len(mapped) != 0 {
		t.Errorf("a DELETE with a body left %s", mapped)
	}
	noError(t, c.Delete(ctx, client, nil))
	if err := c.Get(ctx, client, nil, &read); !keycloak.IsNotFound(err) {
		t.Errorf("after the DELETE: %v", err)
	}
	var found []object
	noError(t, c.Get(ctx, keycloak.Path("realms", r, "clients"), url.Values{"clientId": {"account"}}, &found))
	if len(found) != 1 {
		t.Errorf("the query found %d clients", len(found))
	}
	if reads, writes := c.Counts(); reads != 5 || writes != 6 {
		t.Errorf("counted %d reads, %d writes", reads, writes)
	}
	if got := len(f.admin()); got != 11 {
		t.Errorf("%d requests passed", got)
	}
}

func TestRawRepliesComeByteForByte(t *testing.T) {
	t.Parallel()
	const sent = `{"n":12345678901234567890,"f":1.0, "s":"<\u00e9>"}`
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if !strings.HasPrefix(r.URL.Path, "/admin") {
			pass.ServeHTTP(w, r)
			return
		}
		fmt.Fprint(w, sent)
	})
	var got json.RawMessage
	noError(t, connect(t, through(f.URL)).Get(t.Context(), "/realms", nil, &got))
	if string(got) != sent {
		t.Errorf("%s", got)
	}
}

func TestExportReadsARealm(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	c := connect(t)
	var got struct{ Clients, Groups []object }
	noError(t, c.Export(t.Context(), r, true, true, time.Minute, &got))
	if len(got.Clients) == 0 || got.Groups == nil {
		t.Errorf("clients %v, groups %v", got.Clients, got.Groups)
	}
	if reads, writes := c.Counts(); reads != 1 || writes != 0 {
		t.Errorf("counted %d reads, %d writes", reads, writes)
	}
}

func TestABasePathAndACertificateAreHonoured(t *testing.T) {
	t.Parallel()
	f := unstarted(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		http.StripPrefix("/auth", pass).ServeHTTP(w, r)
	})
	f.StartTLS()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	trusting := connect(t, through(f.URL+"/auth/"), func(c *keycloak.Config) { c.CA = ca })
	noError(t, trusting.Get(t.Context(), "/realms/master", nil, nil))

	err := connect(t, through(f.URL+"/auth")).Get(t.Context(), "/realms/master", nil, nil)
	if !keycloak.IsUnreachable(err) || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("without the CA: %v", err)
	}
}

func TestAtMostInFlightRequestsAreUnderWay(t *testing.T) {
	t.Parallel()
	const inFlight, all = 3, 30
	var now, most atomic.Int64
	full := make(chan struct{})
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if strings.HasPrefix(r.URL.Path, "/admin") {
			if n == inFlight {
				select {
				case <-full:
				default:
					close(full)
				}
			}
			<-full // so that the first requests meet here
		}
		pass.ServeHTTP(w, r)
	})
	c := connect(t, through(f.URL), func(c *keycloak.Config) { c.InFlight = inFlight })
	var people sync.WaitGroup
	for range all {
		people.Go(func() {
			if err := c.Get(t.Context(), "/realms/master", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	people.Wait()
	if got := most.Load(); got != inFlight {
		t.Errorf("%d requests were under way at a time", got)
	}
	if got := len(f.tokens()); got != 1 {
		t.Errorf("signed in %d times", got)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	const inFlight, rounds = 4, 10
	var opened, came atomic.Int64
	f := unstarted(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/admin") {
			n := came.Add(1)
			last := (n + inFlight - 1) / inFlight * inFlight
			eventually(t, "all requests of a round are there", func() bool { return came.Load() >= last })
		}
		pass.ServeHTTP(w, r)
	})
	f.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	f.Start()
	c := connect(t, through(f.URL), func(c *keycloak.Config) { c.InFlight = inFlight })
	for range rounds {
		inParallel(t, inFlight, func(int) error { return c.Get(t.Context(), "/realms/master", nil, nil) })
	}
	// One more is possible: the transport dials where it sees no idle connection, though one may come back first.
	if got := opened.Load(); got > inFlight+1 {
		t.Errorf("%d connections for %d rounds of %d requests", got, rounds, inFlight)
	}
}

func TestTheRateIsKept(t *testing.T) {
	t.Parallel()
	c := connect(t, func(c *keycloak.Config) { c.PerSecond = 20 })
	took, err := timed(func() error {
		for range 14 {
			if err := c.Get(t.Context(), "/realms/master", nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || took < 500*time.Millisecond { // the first four go at once
		t.Errorf("14 requests took %s: %v", took, err)
	}
}

func TestListsAreReadInPages(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	c := connect(t)
	var want []string // besides these there are default-roles and other built-ins
	for i := range 23 {
		name := fmt.Sprintf("r%02d", i)
		want = append(want, name)
		ok(c.Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": name}, nil))(t)
	}
	even := len(ok(c.All(t.Context(), keycloak.Path("realms", r, "roles"), nil, 1000))(t))
	var paging struct{ first, max bool }
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		q := r.URL.Query()
		if paging.first && q.Has("first") {
			q.Set("first", "0")
		}
		if paging.max { // roles are paged only where both are there
			q.Del("max")
		}
		r.URL.RawQuery = q.Encode()
		pass.ServeHTTP(w, r)
	})
	for _, try := range []struct {
		says                  string
		ignoreFirst, ignoreMx bool
		size, requests        int
	}{
		{"pages that don't come out even", false, false, 10, 3},
		{"pages that come out even, the last one empty", false, false, even, 2},
		{"all in one page", false, false, 100, 1},
		{"a server that knows no paging", true, true, 10, 1},
		{"a server that knows no paging, and a list as long as a page", true, true, even, 3},
		{"a server that ignores first", true, false, 10, 3},
	} {
		paging.first, paging.max = try.ignoreFirst, try.ignoreMx
		c := connect(t, through(f.URL))
		all, err := c.All(t.Context(), keycloak.Path("realms", r, "roles"), url.Values{"briefRepresentation": {"true"}}, try.size)
		if err != nil {
			t.Errorf("%s: %v", try.says, err)
			continue
		}
		var got []string
		for _, e := range all {
			var role struct{ Name string }
			noError(t, json.Unmarshal(e, &role))
			if len(role.Name) == 3 {
				got = append(got, role.Name)
			}
		}
		slices.Sort(got) // without paging Keycloak gives them in no order
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", try.says, diff)
		}
		if reads, _ := c.Counts(); int(reads) != try.requests {
			t.Errorf("%s: %d requests, want %d", try.says, reads, try.requests)
		}
	}
}
