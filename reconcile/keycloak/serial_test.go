package keycloak_test

import (
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// inParallel runs do for 0 to n-1, all at a time.
func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var people sync.WaitGroup
	for i := range n {
		people.Go(func() {
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	people.Wait()
}

// Each of these loses writes or collides where the requests go out in parallel.
func TestWritesThatWouldCollideGoOneAtATime(t *testing.T) {
	t.Parallel()
	r := realm(t, object{"internationalizationEnabled": true, "supportedLocales": []string{"de"}})
	f := before(t, nil)
	c := connect(t, through(f.URL))
	ctx := t.Context()
	const n = 24

	client := keycloak.Path("realms", r, "clients",
		ok(c.Post(ctx, keycloak.Path("realms", r, "clients"), nil, object{"clientId": "portal"}, nil))(t))
	inParallel(t, n, func(i int) error {
		return c.Put(ctx, client, object{"attributes": object{fmt.Sprintf("a%d", i): "x"}})
	})
	var read struct{ Attributes map[string]string }
	noError(t, c.Get(ctx, client, nil, &read))
	for i := range n {
		if read.Attributes[fmt.Sprintf("a%d", i)] != "x" {
			t.Errorf("attribute %d of the client is lost", i)
		}
	}

	inParallel(t, n, func(i int) error {
		return c.Put(ctx, keycloak.Path("realms", r), object{"attributes": object{fmt.Sprintf("a%d", i): "x"}})
	})

	inParallel(t, n, func(i int) error {
		_, err := c.Post(ctx, keycloak.Path("realms", r, "localization", "de"), nil, object{fmt.Sprintf("key%d", i): "x"}, nil)
		return err
	})
	var texts map[string]string
	noError(t, c.Get(ctx, keycloak.Path("realms", r, "localization", "de"), nil, &texts))
	if len(texts) != n {
		t.Errorf("%d texts of %d are there", len(texts), n)
	}

	flows := keycloak.Path("realms", r, "authentication", "flows")
	ok(c.Post(ctx, flows, nil, object{"alias": "a flow", "providerId": "basic-flow", "topLevel": true, "builtIn": false}, nil))(t)
	inParallel(t, n, func(i int) error {
		_, err := c.Post(ctx, flows+keycloak.Path("a flow", "executions", "execution"), nil, object{"provider": "auth-cookie"}, nil)
		return err
	})
	var executions []struct{ Priority int }
	noError(t, c.Get(ctx, flows+keycloak.Path("a flow", "executions"), url.Values{}, &executions))
	places := map[int]bool{}
	for _, e := range executions {
		places[e.Priority] = true
	}
	if len(places) != n {
		t.Errorf("%d executions stand at %d places", len(executions), len(places))
	}

	for _, r := range f.admin() {
		if r.Status >= 400 {
			t.Errorf("%s %s: %d", r.Method, r.Path, r.Status)
		}
	}
}
