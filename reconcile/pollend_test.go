package reconcile_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// unserved is a source whose server is never reached, so that a controller of it can live in a bubble of its own time.
func unserved(t *testing.T, interval time.Duration, why error) (*source, func() []time.Time) {
	t.Helper()
	s := &source{world: &world{t: t, name: "acme"}, other: "other"}
	s.repository()
	p := s.start()
	p.Interval, p.Schedule, p.Post, p.Read = interval, every(24*time.Hour), nil, nil
	var mu sync.Mutex
	var tries []time.Time
	p.Connect = func(string) (*keycloak.Client, reconcile.Account, error) {
		mu.Lock()
		defer mu.Unlock()
		tries = append(tries, time.Now())
		return nil, reconcile.Account{}, why
	}
	s.push("acme.yaml", realm(named))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ends with %v", err)
		}
	})
	return s, func() []time.Time {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(tries)
	}
}

func TestFailuresInARowWaitLongerUntilANewCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tries := unserved(t, time.Minute, errors.New("no connection"))
		time.Sleep(2 * time.Hour)
		times := tries()
		if len(times) < 20 {
			t.Fatalf("in two hours there are %d tries", len(times))
		}
		jitter := map[time.Duration]bool{}
		for i := range times[1:] {
			wait, mean := times[i+1].Sub(times[i]), min(5*time.Minute, 2*time.Second<<min(i, 10))
			if wait < mean/2 || wait > mean*3/2 {
				t.Errorf("after failure %d it waits %s, about %s is right", i+1, wait, mean)
			}
			jitter[wait] = true
		}
		if len(jitter) < len(times)/2 {
			t.Errorf("all controllers of a server would come back together: %v", jitter)
		}
		pushed := time.Now()
		s.push("README.md", "Our realms\n")
		time.Sleep(time.Minute + 10*time.Second)
		times = tries()[len(times):]
		for len(times) > 0 && times[0].Before(pushed) {
			times = times[1:]
		}
		if len(times) < 3 {
			t.Errorf("in the %s since the new commit there are %d tries", time.Since(pushed), len(times))
		}
	})
}

func TestWhatIsBlockedIsNotTriedBeforeItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tries := unserved(t, 10*time.Minute, &reconcile.Blocked{Why: "not before somebody agrees"})
		time.Sleep(24*time.Hour - time.Second)
		if n := len(tries()); n != 1 {
			t.Errorf("in a day there are %d tries", n)
		}
		time.Sleep(2 * time.Second)
		if n := len(tries()); n != 2 {
			t.Errorf("when the schedule is due there have been %d tries", n)
		}
	})
}

func TestScheduleThatNeverComesIsWaitedForQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tries := unserved(t, 10*time.Minute, &reconcile.Blocked{Why: "not before somebody agrees"})
		s.push("acme.yaml", spec("  schedule: \"0 0 30 2 *\"\n", named))
		time.Sleep(24 * time.Hour)
		if n := len(tries()); n < 1 || n > 2 {
			t.Errorf("there are %d tries", n)
		}
	})
}

func TestForgeThatHangsHoldsUpALookOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{world: &world{t: t, name: "acme"}, other: "other"}
		s.repository()
		p := s.start()
		p.Read = nil
		p.Connect = func(string) (*keycloak.Client, reconcile.Account, error) {
			return nil, reconcile.Account{}, errors.New("no connection")
		}
		var posts atomic.Int32
		hangs := true
		p.Post = func(ctx context.Context, _ status.Status) error {
			posts.Add(1)
			if hangs {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		realms := files{}
		for _, name := range strings.Fields("a b c d e f g h i j k l") {
			realms[name+".yaml"] = strings.ReplaceAll(realm(named), "REALM", name)
		}
		s.pushAll(realms)
		for range 2 {
			began := time.Now()
			p.once()
			if took := time.Since(began); took > 31*time.Second {
				t.Errorf("a look takes %s", took)
			}
		}
		hangs = false
		posts.Store(0)
		p.once()
		if n := posts.Load(); n != 1+12+12 {
			t.Errorf("when the forge is back it gets %d statuses, want those of before, of validate and the realms, and of now", n)
		}
	})
}

// six is a manifest of seven objects.
const six = `
    clients: [{clientId: c1}, {clientId: c2}, {clientId: c3}, {clientId: c4}, {clientId: c5}, {clientId: c6}]
`

func TestEndedContextEndsAPassBetweenTwoWrites(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	proxy := keycloaktest.NewProxy(t, s.server.URL)
	s.url = proxy.URL
	s.connect()
	p := s.start()
	commit := s.push("acme.yaml", realm(six))
	ctx, cancel := context.WithCancel(t.Context())
	var writes atomic.Int32
	proxy.Intercept(func(r *http.Request) *http.Response {
		if r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, "/admin/") && writes.Add(1) == 3 {
			cancel()
		}
		return nil
	})
	if err := p.Run(ctx); err != nil {
		t.Errorf("it ends with %v", err)
	}
	proxy.Intercept(nil)
	done := keycloaktest.Writes(s.server.Requests(t, s.name))
	if len(done) != proxy.Writes() || len(done) > 6 {
		t.Errorf("of %d writes %d were carried out: %v", proxy.Writes(), len(done), done)
	}
	for _, r := range done {
		if r.Status/100 != 2 {
			t.Errorf("it left %s", r)
		}
	}
	s.shows(commit, "REALM: error: stopped before the end; another pass goes on from there", "validate: success: 1 realm declared")

	s.connect()
	p = s.start()
	p.once()
	p.once()
	s.shows(commit, "REALM: success: 7 objects as declared", "validate: success: 1 realm declared")
}

func TestPassThatIsStoppedWhileItLooksLeavesTheStatusAsItIs(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	commit := s.push("acme.yaml", realm(named))
	p.once()
	posts := p.forge.posts()
	ctx, cancel := context.WithCancel(t.Context())
	connect := p.Connect
	p.Connect = func(server string) (*keycloak.Client, reconcile.Account, error) {
		cancel()
		return connect(server)
	}
	if reports, err := p.Once(ctx); len(reports) != 1 || reports[0].Verdict != drift.Errored {
		t.Errorf("the reports are %v (%v)", reports, err)
	}
	if diff := cmp.Diff(posts, p.forge.posts()); diff != "" {
		t.Errorf("it posted:\n%s", diff)
	}
	s.shows(commit, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
}

func TestWhatAKilledProcessLeftPendingIsSuperseded(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	proxy := keycloaktest.NewProxy(t, s.server.URL)
	s.url = proxy.URL
	s.connect()
	p := s.start()
	post := p.Post
	p.Post = func(ctx context.Context, st status.Status) error {
		if proxy.Cut() {
			return nil // the dead say nothing
		}
		return post(ctx, st)
	}
	killed := s.push("acme.yaml", realm(six))
	proxy.CutAfter(4)
	p.once()
	s.shows(killed, "REALM: pending: applying: create 7: realm, clients/c1, clients/c2, clients/c3, clients/c4, clients/c5, clients/c6",
		"validate: success: 1 realm declared")

	proxy.Heal()
	s.connect()
	s.push("README.md", "Our realms\n")
	head := s.push("acme.yaml", realm("    clients: [{clientId: c1}, {clientId: c9}]\n"))
	p = s.start()
	p.once()
	p.once()
	s.shows(killed, "REALM: success: superseded by "+head[:7], "validate: success: 1 realm declared")
	s.shows(head, "REALM: success: 3 objects as declared", "validate: success: 1 realm declared")
	if first := p.forge.statuses()[1]; first.Commit != killed {
		t.Errorf("the older commit has its last word after %v", first)
	}
	if got := strings.Join(s.clients(), " "); got != "c1 c9" {
		t.Errorf("the clients are %s", got)
	}
}

func TestPendingStatusIsEndedHoweverManyCommitsCameMeanwhile(t *testing.T) {
	t.Parallel()
	s := &source{world: &world{t: t, name: "acme"}, other: "other"}
	s.repository()
	p := s.start()
	p.Connect = func(string) (*keycloak.Client, reconcile.Account, error) {
		return nil, reconcile.Account{}, errors.New("no connection")
	}
	killed := s.push("acme.yaml", realm(named))
	if _, err := p.Mirror.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Post(t.Context(), status.Status{Commit: killed, Context: "cloakwork/eu/realm/acme", State: status.Pending, Says: "applying"}); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		runGit(t, s.work, "commit", "-q", "--allow-empty", "-m", "nothing")
	}
	head := s.push("acme.yaml", realm("    displayName: Other\n"))
	p.once()
	s.shows(killed, "REALM: success: superseded by "+head[:7])
}
