package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// process is a pass of a commit with a client of its own, which sends one request at a time where alone is set.
func (c *crashing) process(commit, url string, alone bool) reconcile.Pass {
	c.t.Helper()
	config := keycloak.Config{URL: url, User: c.server.User, Password: c.server.Password, Patience: -1}
	if alone {
		config.InFlight = 1
	}
	client, err := keycloak.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	pass := c.passOf(commit)
	pass.Client = client
	return pass
}

// firstWrites is how many writes the first commit takes, the two of the ledger included.
const firstWrites = 22

func writes(r *http.Request) bool {
	return keycloaktest.Request{Method: r.Method, Path: r.URL.Path}.Write()
}

// await waits for a write to arrive.
func await(t *testing.T, arrived <-chan struct{}) {
	t.Helper()
	select {
	case <-arrived:
	case <-time.After(2 * time.Minute):
		t.Fatal("the write never came")
	}
}

// settlesAsSecond makes one more pass of the newer commit, which has to be enough, and looks at what it left.
func (c *crashing) settlesAsSecond() {
	c.t.Helper()
	for i := range 2 {
		before := c.proxy.Writes()
		report, err := c.process(second, c.proxy.URL, false).Run(context.Background())
		if err != nil {
			c.t.Fatalf("pass %d after it: %v\n%s", i+1, err, text(report))
		}
		if sent := c.proxy.Writes() - before; i > 0 && (len(report.Changes) > 0 || sent > 0) {
			c.t.Errorf("one pass was not enough: the next sent %d writes\n%s", sent, text(report))
		}
	}
	c.expect(map[string]string{"/groups": "by-hand guests people"})
	if got, want := strings.Join(c.clients(), " "), "by-hand gate shop"; got != want {
		c.t.Errorf("clients %q, want %q", got, want)
	}
}

func TestTwoCommitsAppliedAtOnceEndAsTheNewer(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			t.Parallel()
			c := newCrashing(t)
			c.found()
			passes := []reconcile.Pass{c.process(first, c.proxy.URL, false), c.process(second, c.proxy.URL, false)}
			reports, errs := make([]drift.Report, 2), make([]error, 2)
			var both sync.WaitGroup
			for i, pass := range passes {
				both.Go(func() { reports[i], errs[i] = pass.Run(context.Background()) })
			}
			both.Wait()
			for i := range passes {
				t.Logf("%s: %s: %s", reports[i].Commit, reports[i].Verdict, reports[i].Says)
				if errs[i] == nil && reports[i].Verdict != drift.InSync {
					t.Errorf("%s without an error", reports[i].Verdict)
				}
			}
			c.settlesAsSecond()
		})
	}
}

// The older process stands still with one write on its way, while another applies the newer commit. Then that write
// arrives.
func TestAProcessThatIsOvertakenStopsAfterWhatIsOnItsWay(t *testing.T) {
	for _, c := range []struct {
		name  string
		write int
	}{
		{"before it made the ledger", 1},
		{"at its first change", 2},
		{"at a client scope", 4},
		{"at clients", 5},
		{"at roles", 8},
		{"at groups", 12},
		{"at links", 15},
		{"at its last change", firstWrites - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newCrashing(t)
			w.found()
			older := keycloaktest.NewProxy(t, w.server.URL)
			arrived, proceed := make(chan struct{}), make(chan struct{})
			var n atomic.Int64
			older.Intercept(func(r *http.Request) *http.Response {
				if !writes(r) {
					return nil
				}
				if n.Add(1) == int64(c.write) { // one request at a time comes
					close(arrived)
					<-proceed
				}
				return nil
			})
			pass := w.process(first, older.URL, true)
			var report drift.Report
			var err error
			var ended sync.WaitGroup
			ended.Go(func() { report, err = pass.Run(context.Background()) })
			await(t, arrived)
			newer, newerErr := w.process(second, w.proxy.URL, false).Run(context.Background())
			close(proceed)
			ended.Wait()
			if newerErr != nil || newer.Verdict != drift.InSync {
				t.Errorf("the newer: %s (%v)\n%s", newer.Verdict, newerErr, text(newer))
			}
			if want := "superseded by " + second; err == nil || report.Verdict != drift.Superseded || report.Says != want {
				t.Errorf("the older: %s: %q, want %q (%v)\n%s", report.Verdict, report.Says, want, err, text(report))
			}
			// Four changes are made side by side: three more may have been begun. Then one write hands over what came of them.
			if sent := older.Writes(); sent > c.write+3+1 {
				t.Errorf("the older sent %d writes after the one on its way", sent-c.write)
			}
			w.settlesAsSecond()
		})
	}
}

// The older stands still at a write of the ledger itself, at its first or its last, which then overwrites what the newer
// remembers. It doesn't know, and goes on; what it makes is owned by that ledger, so one pass of the newer mends all.
func TestALateLedgerOfTheOlderIsMended(t *testing.T) {
	for _, write := range []int{1, firstWrites} {
		t.Run(fmt.Sprint("write ", write), func(t *testing.T) {
			t.Parallel()
			w := newCrashing(t)
			w.found()
			if write == 1 { // there is a ledger already, so that it isn't a POST that meets another
				pass := w.process(first, w.proxy.URL, false)
				pass.Commit = "0000000"
				pass.Want.State = nil
				if report, err := pass.Run(context.Background()); err != nil {
					t.Fatalf("%v\n%s", err, text(report))
				}
			}
			older := keycloaktest.NewProxy(t, w.server.URL)
			arrived, proceed := make(chan struct{}), make(chan struct{})
			var n atomic.Int64
			older.Intercept(func(r *http.Request) *http.Response {
				if writes(r) {
					if n.Add(1) == int64(write) {
						close(arrived)
						<-proceed
					}
				}
				return nil
			})
			pass := w.process(first, older.URL, true)
			var ended sync.WaitGroup
			ended.Go(func() {
				report, err := pass.Run(context.Background())
				t.Logf("the older: %s: %s (%v)", report.Verdict, report.Says, err)
			})
			await(t, arrived)
			if report, err := w.process(second, w.proxy.URL, false).Run(context.Background()); err != nil {
				t.Errorf("the newer: %v\n%s", err, text(report))
			}
			close(proceed)
			ended.Wait()
			w.settlesAsSecond()
		})
	}
}

func TestAPassThatIsCancelledEndsBetweenTwoWrites(t *testing.T) {
	for _, write := range []int{1, 2, 9, 17, firstWrites} {
		t.Run(fmt.Sprint("write ", write), func(t *testing.T) {
			t.Parallel()
			w := newCrashing(t)
			w.found()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			proxy := keycloaktest.NewProxy(t, w.server.URL)
			var n atomic.Int64
			proxy.Intercept(func(r *http.Request) *http.Response {
				if writes(r) {
					if n.Add(1) == int64(write) {
						cancel()
					}
				}
				return nil
			})
			report, err := w.process(first, proxy.URL, true).Run(ctx)
			if write == firstWrites { // it was the last: nothing is left to stop
				if err != nil {
					t.Errorf("%s: %v", report.Says, err)
				}
			} else if !errors.Is(err, context.Canceled) || report.Says != "stopped before the end; another pass goes on from there" {
				t.Errorf("%s: %q (%v)", report.Verdict, report.Says, err)
			}
			if got := proxy.Writes(); got != write {
				t.Errorf("%d writes were sent, want %d", got, write)
			}
			done := 0
			for _, c := range report.Changes {
				if c.Outcome == drift.Failed || c.Outcome == "" {
					t.Errorf("%s %s: %q %s", c.Op, c.Address, c.Outcome, c.Says)
				}
				if c.Outcome == drift.Done {
					done++
				}
			}
			if write == 9 && done == 0 {
				t.Error("nothing is reported as done")
			}
			w.settlesAsSecond()
		})
	}
}
