package keycloak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// timed runs f and says how long that took.
func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// onAdmin is a hand for before: do gets what goes to the admin API, with its number from 1, and the rest passes.
func onAdmin(do func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/admin/") {
			do(n.Add(1), w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}
}

// lose lets the server carry the request out, and cuts the connection instead of bringing the reply.
func lose(r *http.Request, pass http.Handler) {
	pass.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func TestABusyServerIsAskedAgainWhenItSays(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	for _, status := range []int{429, 503} {
		f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if n == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(status)
				return
			}
			pass.ServeHTTP(w, r)
		}))
		c := connect(t, through(f.URL))
		took, err := timed(func() error {
			_, err := c.Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": fmt.Sprint(status)}, nil)
			return err
		})
		if err != nil || took < time.Second || len(f.admin()) != 2 {
			t.Errorf("%d: %v after %s and %d requests", status, err, took, len(f.admin()))
		}
	}
}

func TestAPauseBeyondPatienceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(429)
	}))
	err := connect(t, through(f.URL)).Get(t.Context(), "/realms/master", nil, nil)
	if keycloak.Status(err) != 429 || len(f.admin()) != 1 {
		t.Errorf("%v after %d requests", err, len(f.admin()))
	}
}

// What happens to a request whose first attempt fails in one way or another, and how often it reaches the front.
func TestOnlyWhatIsSafeIsRepeated(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	answer := func(status int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(status) }
	}
	for _, first := range []struct {
		name                   string
		hand                   func(http.ResponseWriter, *http.Request, http.Handler)
		get, post, put, delete int
	}{
		{"cut before the server gets it", func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }, 2, 1, 2, 2},
		{"reply lost", func(_ http.ResponseWriter, r *http.Request, pass http.Handler) { lose(r, pass) }, 2, 1, 2, 2},
		{"429", answer(429), 2, 2, 2, 2},
		{"502", answer(502), 2, 1, 2, 2},
		{"503", answer(503), 2, 1, 2, 2},
		{"504", answer(504), 2, 1, 2, 2},
		{"500", answer(500), 1, 1, 2, 2},
		{"409", answer(409), 1, 1, 2, 1},
		{"400", answer(400), 1, 1, 1, 1},
	} {
		t.Run(first.name, func(t *testing.T) {
			name := strings.ReplaceAll(first.name, " ", "-")
			role := keycloak.Path("realms", r, "roles", name)
			for _, do := range []struct {
				method string
				want   int
				send   func(*keycloak.Client) error
			}{
				{"POST", first.post, func(c *keycloak.Client) error {
					_, err := c.Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": name}, nil)
					return err
				}},
				{"GET", first.get, func(c *keycloak.Client) error { return c.Get(t.Context(), role, nil, nil) }},
				{"PUT", first.put, func(c *keycloak.Client) error {
					return c.Put(t.Context(), role, object{"name": name, "description": "x"})
				}},
				{"DELETE", first.delete, func(c *keycloak.Client) error { return c.Delete(t.Context(), role, nil) }},
			} {
				f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
					if n == 1 {
						first.hand(w, r, pass)
						return
					}
					pass.ServeHTTP(w, r)
				}))
				err := do.send(connect(t, through(f.URL)))
				if got := len(f.admin()); got != do.want || (err == nil) != (do.want == 2) {
					t.Errorf("%s was sent %d times, want %d; %v", do.method, got, do.want, err)
				}
				if do.method == "POST" && err != nil { // make up for it
					ok(connect(t).Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": name}, nil)) // there already, where only the reply was lost
				}
			}
		})
	}
}

func TestALostReplyToAPostIsToldFromARefusal(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) { lose(r, pass) }))
	post := func(c *keycloak.Client) error {
		_, err := c.Post(t.Context(), keycloak.Path("realms", r, "clients"), nil, object{"clientId": "portal"}, nil)
		return err
	}
	err := post(connect(t, through(f.URL)))
	if !keycloak.MayHaveHappened(err) || !keycloak.IsUnreachable(err) {
		t.Errorf("%v", err)
	}
	if got, want := fmt.Sprint(err), "POST /admin/realms/"+r+"/clients: no reply: EOF"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	err = post(connect(t))
	if !keycloak.IsConflict(err) || keycloak.MayHaveHappened(err) {
		t.Errorf("the second POST: %v", err)
	}
	if got, want := fmt.Sprint(err), "POST /admin/realms/"+r+"/clients: 409: Client portal already exists"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestARenameWhoseReplyWasLostTellsThatItMayHaveHappened(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	ok(connect(t).Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": "old"}, nil))(t)
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if n == 1 {
			lose(r, pass)
		}
		pass.ServeHTTP(w, r)
	}))
	err := connect(t, through(f.URL)).Put(t.Context(), keycloak.Path("realms", r, "roles", "old"), object{"name": "new"})
	if !keycloak.IsNotFound(err) || !keycloak.MayHaveHappened(err) {
		t.Errorf("%v", err)
	}
	noError(t, connect(t).Get(t.Context(), keycloak.Path("realms", r, "roles", "new"), nil, nil))
}

func TestAPutThatCollidesTwiceIsAConflict(t *testing.T) {
	t.Parallel()
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) { w.WriteHeader(409) }))
	err := connect(t, through(f.URL)).Put(t.Context(), "/realms/master", object{})
	if !keycloak.IsConflict(err) || len(f.admin()) != 2 {
		t.Errorf("%v after %d requests", err, len(f.admin()))
	}
}

func TestAServerThatStartsLateIsWaitedForEvenByAPost(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	l := ok(net.Listen("tcp", "127.0.0.1:0"))(t)
	address := l.Addr().String()
	l.Close()
	var logged lockedBuffer
	c := connect(t, through("http://"+address), func(c *keycloak.Config) {
		c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": "viewer"}, nil)
		done <- err
	}()
	eventually(t, "a connection is refused", func() bool { return strings.Contains(logged.String(), "connection refused") })
	f := unstarted(t, nil)
	f.Listener.Close()
	f.Listener = ok(net.Listen("tcp", address))(t)
	f.Start()
	noError(t, <-done)
	if got := len(f.admin()); got != 1 {
		t.Errorf("sent %d times", got)
	}
}

func TestADialThatFailsAfterTheSignInIsRepeatedEvenForAPost(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		w.Header().Set("Connection", "close") // so that the POST has to dial
		pass.ServeHTTP(w, r)
	})
	address := f.Listener.Addr().String()
	var logged lockedBuffer
	c := connect(t, through(f.URL), func(c *keycloak.Config) {
		c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	noError(t, c.Get(t.Context(), keycloak.Path("realms", r), nil, nil))
	f.Close()
	done := make(chan error, 1)
	go func() {
		_, err := c.Post(t.Context(), keycloak.Path("realms", r, "roles"), nil, object{"name": "viewer"}, nil)
		done <- err
	}()
	eventually(t, "a connection is refused", func() bool { return strings.Contains(logged.String(), "connection refused") })
	again := unstarted(t, nil)
	again.Listener.Close()
	again.Listener = ok(net.Listen("tcp", address))(t)
	again.Start()
	noError(t, <-done)
}

func TestADeadServerCostsPatienceOnlyOnce(t *testing.T) {
	t.Parallel()
	l := ok(net.Listen("tcp", "127.0.0.1:0"))(t)
	l.Close()
	c := connect(t, through("http://"+l.Addr().String()), func(c *keycloak.Config) { c.Patience = 2 * time.Second })
	took, err := timed(func() (err error) {
		for range 30 {
			err = c.Get(t.Context(), "/realms/master", nil, nil)
			if !keycloak.IsUnreachable(err) || !errors.Is(err, syscall.ECONNREFUSED) || keycloak.MayHaveHappened(err) {
				t.Errorf("%v", err)
			}
		}
		return err
	})
	if took > 10*time.Second {
		t.Errorf("30 requests took %s", took)
	}
	want := "GET /admin/realms/master: not sent: POST /realms/master/protocol/openid-connect/token: server unreachable: dial tcp " +
		l.Addr().String() + ": connect: connection refused"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAnEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	f := before(t, nil)
	c := connect(t, through(f.URL))
	noError(t, c.Get(t.Context(), "/realms/master", nil, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, posted := c.Post(ctx, "/realms", nil, object{}, nil)
	for _, err := range []error{c.Get(ctx, "/realms", nil, nil), posted, c.Put(ctx, "/realms/master", object{}), c.Delete(ctx, "/realms/x", nil)} {
		if !errors.Is(err, context.Canceled) || keycloak.IsUnreachable(err) || keycloak.MayHaveHappened(err) {
			t.Errorf("%v", err)
		}
	}
	if got := len(f.admin()); got != 1 {
		t.Errorf("%d requests were sent", got)
	}
}

func TestAWriteUnderWayOutlivesItsContext(t *testing.T) {
	t.Parallel()
	r := realm(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		cancel()
		pass.ServeHTTP(w, r)
	}))
	id, err := connect(t, through(f.URL)).Post(ctx, keycloak.Path("realms", r, "clients"), nil, object{"clientId": "portal"}, nil)
	if err != nil || id == "" {
		t.Errorf("id %q, %v", id, err)
	}
}

func TestAWriteUnderWayIsGivenUpTenSecondsAfterItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	}))
	took, err := timed(func() error { return connect(t, through(f.URL)).Put(ctx, "/realms/master", object{}) })
	if !errors.Is(err, context.Canceled) || !keycloak.MayHaveHappened(err) || took < 9*time.Second || took > 25*time.Second || len(f.admin()) > 1 {
		t.Errorf("after %s and %d requests: %v", took, len(f.admin()), err)
	}
}

func TestAReadUnderWayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := before(t, onAdmin(func(n int64, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		cancel()
		<-r.Context().Done()
	}))
	err := connect(t, through(f.URL)).Get(ctx, "/realms/master", nil, nil)
	if got := fmt.Sprint(err); got != "GET /admin/realms/master: context canceled" || !errors.Is(err, context.Canceled) {
		t.Error(got)
	}
}

func TestAReplyThatTakesTooLongIsGivenUp(t *testing.T) {
	t.Parallel()
	f := before(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/token") { // a busy server may take its time for this one, too
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"access_token": "x", "expires_in": 60}`)
			return
		}
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	c := connect(t, through(f.URL), impatient, func(c *keycloak.Config) { c.Timeout = 2 * time.Second })
	err := c.Put(t.Context(), "/realms/master", object{})
	if got := fmt.Sprint(err); got != "PUT /admin/realms/master: no reply: none within 2s: context deadline exceeded" || !keycloak.MayHaveHappened(err) {
		t.Error(got)
	}
}

// lockedBuffer takes what is logged from many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
