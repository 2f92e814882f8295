package status

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/google/go-cmp/cmp"
)

// board is a forge in memory, which keeps every status it is sent, as a real one does.
type board struct {
	mu      sync.Mutex
	written []Status
	reads   int
	refuse  error
	lose    bool // it takes a status, and its answer is lost
}

func (b *board) Read(_ context.Context, commit, context string) (Status, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if b.refuse != nil {
		return Status{}, false, b.refuse
	}
	for i := len(b.written) - 1; i >= 0; i-- {
		if s := b.written[i]; s.Commit == commit && s.Context == context {
			return s, true, nil
		}
	}
	return Status{}, false, nil
}

func (b *board) Write(_ context.Context, s Status) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return b.refuse
	}
	b.written = append(b.written, s)
	if b.lose {
		return errors.New("connection reset")
	}
	return nil
}

func (b *board) says() []string {
	var all []string
	for _, s := range b.written {
		all = append(all, string(s.State)+": "+s.Says)
	}
	return all
}

const commit = "1111111111111111111111111111111111111111"

func status(state State, says string) Status {
	return Status{Commit: commit, Context: "cloakwork/eu/realm/acme", State: state, Says: says}
}

func TestEveryVerdictHasItsState(t *testing.T) {
	want := map[drift.Verdict]State{
		drift.InSync: Success, drift.Pending: Pending, drift.Progressing: Pending, drift.Drifted: Failure, drift.Blocked: Failure,
		drift.Errored: Error, drift.Superseded: Success, drift.Suspended: Success, "something new": Error,
	}
	for verdict, state := range want {
		if got := StateOf(verdict); got != state {
			t.Errorf("%s is %s, want %s", verdict, got, state)
		}
	}
}

func TestAStatusIsCutToWhatForgesTake(t *testing.T) {
	for says, want := range map[string]string{
		"":                                  "",
		"412 objects as declared":           "412 objects as declared",
		strings.Repeat("x", 140):            strings.Repeat("x", 140),
		strings.Repeat("x", 141):            strings.Repeat("x", 139) + "…",
		strings.Repeat("ü", 200):            strings.Repeat("ü", 139) + "…",
		strings.Repeat("x", 138) + " and y": strings.Repeat("x", 138) + "…",
	} {
		if got := Fit(status(Success, says)).Says; got != want {
			t.Errorf("%q is cut to %q, want %q", says, got, want)
		}
	}
	s := Fit(Status{Context: strings.Repeat("ä", 300)})
	if n := utf8.RuneCountInString(s.Context); n != MaxContext {
		t.Errorf("a context of 300 runes is cut to %d", n)
	}
}

func TestNamesCantBreakTheLineOrSteerATerminal(t *testing.T) {
	got := Fit(status(Failure, "roles/a\nsuccess: all fine\x1b[2J\u202egnp.exe\xff\u2028")).Says
	if want := "roles/a success: all fine\uFFFD[2J\uFFFDgnp.exe\uFFFD\uFFFD"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestAPostThatChangesNothingWritesNothing(t *testing.T) {
	forge := &board{}
	p := &Poster{Forge: forge}
	for range 3 {
		if err := p.Post(t.Context(), status(Success, "fine")); err != nil {
			t.Fatal(err)
		}
	}
	if len(forge.written) != 1 || forge.reads != 1 {
		t.Errorf("three posts of one status: %d reads, wrote %q", forge.reads, forge.says())
	}
	other := &Poster{Forge: forge}
	if err := other.Post(t.Context(), status(Success, "fine")); err != nil {
		t.Fatal(err)
	}
	if len(forge.written) != 1 {
		t.Errorf("after a restart it wrote %q", forge.says())
	}
	if err := other.Post(t.Context(), status(Success, "better")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"success: fine", "success: better"}, forge.says()); diff != "" {
		t.Error(diff)
	}
}

func TestARefusedPostIsTriedAgainAndALostAnswerIsLookedUp(t *testing.T) {
	forge := &board{refuse: errors.New("503")}
	p := &Poster{Forge: forge}
	if err := p.Post(t.Context(), status(Success, "fine")); err == nil || !strings.Contains(err.Error(), "cloakwork/eu/realm/acme of 1111111") {
		t.Errorf("the error is %v", err)
	}
	forge.refuse, forge.lose = nil, true
	if err := p.Post(t.Context(), status(Success, "fine")); err == nil {
		t.Error("the lost answer is no error")
	}
	forge.lose = false
	if err := p.Post(t.Context(), status(Success, "fine")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"success: fine"}, forge.says()); diff != "" {
		t.Error(diff)
	}
}

func TestARealmThatDriftsRepeatedlyIsPostedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock starts on 1 January 2000, 00:00 UTC
		forge := &board{}
		p := &Poster{Forge: forge, Now: func() time.Time { return time.Now().UTC() }}
		post := func(state State, says string) {
			t.Helper()
			if err := p.Post(t.Context(), status(state, says)); err != nil {
				t.Fatal(err)
			}
		}
		post(Success, "412 objects as declared")
		for range 20 { // for two hours it drifts every six minutes
			time.Sleep(3 * time.Minute)
			post(Failure, "1 drifted: clients/portal")
			time.Sleep(3 * time.Minute)
			post(Success, "412 objects as declared")
		}
		storm := []string{
			"success: 412 objects as declared",
			"failure: 1 drifted: clients/portal",
			"success: 412 objects as declared",
			"success: drifts repeatedly, 11 times since 00:03; 412 objects as declared",
		}
		if diff := cmp.Diff(storm, forge.says()); diff != "" {
			t.Error(diff)
		}
		for range 12 { // then it stays calm
			time.Sleep(10 * time.Minute)
			post(Success, "412 objects as declared")
		}
		calm := append(storm,
			"success: drifts repeatedly, 20 times since 00:03; 412 objects as declared",
			"success: 412 objects as declared")
		if diff := cmp.Diff(calm, forge.says()); diff != "" {
			t.Error(diff)
		}
		post(Failure, "1 drifted: clients/portal")
		if got, want := forge.says()[len(calm)], "failure: 1 drifted: clients/portal"; got != want {
			t.Errorf("after the calm it says %q, want %q", got, want)
		}
	})
}

func TestContextsAreCountedApart(t *testing.T) {
	forge := &board{}
	p := &Poster{Forge: forge}
	for i := range 4 {
		for _, realm := range []string{"a", "b", "c"} {
			s := status([]State{Success, Failure}[i%2], "x")
			s.Context, s.Commit = realm, strings.Repeat(fmt.Sprint(i/2), 40)
			if err := p.Post(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := len(forge.written), 12; got != want {
		t.Errorf("%d statuses were written, want %d", got, want)
	}
}

func TestAPosterForgetsWhatIsOldAndReadsItAgain(t *testing.T) {
	forge := &board{}
	p := &Poster{Forge: forge}
	for i := range remembered + 10 {
		s := status(Success, "x")
		s.Context = fmt.Sprint(i)
		if err := p.Post(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.seen) > remembered {
		t.Errorf("it remembers %d", len(p.seen))
	}
	s := status(Success, "x")
	s.Context = "0"
	if err := p.Post(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got, want := len(forge.written), remembered+10; got != want {
		t.Errorf("%d statuses were written, want %d", got, want)
	}
}

func TestPostsFromSeveralRealmsAtOnce(t *testing.T) {
	forge := &board{}
	p := &Poster{Forge: forge}
	var realms sync.WaitGroup
	for i := range 8 {
		realms.Go(func() {
			s := status(Success, "x")
			s.Context = fmt.Sprint(i % 4)
			if err := p.Post(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	realms.Wait()
	if got, want := len(forge.written), 4; got != want {
		t.Errorf("%d statuses were written, want %d", got, want)
	}
}
