package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

// deployment is one that a manifest declares.
func deployment(revision, version string) *schema.Deployment {
	return &schema.Deployment{Name: "eu", Revision: revision, Version: version, Instances: 2, Regions: []schema.Region{{Name: "paris"}}, Active: "paris",
		Standby: "warm", Update: schema.Update{Strategy: "Auto", OnFailure: "hold"}, Limits: schema.NodeLimits{NodesDown: 1}, Drift: "correct",
		TLS: schema.TLS{Certificate: "tls/tls.crt", Key: "hidden one"}, Network: schema.Network{Login: []schema.Rule{{Allow: "0.0.0.0/0"}}}}
}

// site is a platform in memory, with what was called on it.
type site struct {
	*platformtest.Process
	memory  *platformtest.Memory
	calls   []string
	refuses map[string]error
}

func newSite() *site {
	m := &platformtest.Memory{}
	return &site{Process: m.Process(), memory: m, refuses: map[string]error{}}
}

func (s *site) call(name string) error { s.calls = append(s.calls, name); return s.refuses[name] }

func (s *site) Observe(ctx context.Context, d schema.Deployment) (platform.Seen, error) {
	if err := s.call("Observe"); err != nil {
		return platform.Seen{}, err
	}
	return s.Process.Observe(ctx, d)
}

func (s *site) Apply(ctx context.Context, d schema.Deployment, changes []drift.Change, epoch int64) error {
	if err := s.call("Apply"); err != nil {
		return err
	}
	return s.Process.Apply(ctx, d, changes, epoch)
}

func (s *site) Do(ctx context.Context, d schema.Deployment, step drift.Step) error {
	if err := s.call("Do"); err != nil {
		return err
	}
	return s.Process.Do(ctx, d, step)
}

func (s *site) Save(ctx context.Context, d schema.Deployment, old, new platform.Record) error {
	if err := s.call("Save"); err != nil {
		return err
	}
	return s.Process.Save(ctx, d, old, new)
}

// settle makes passes until nothing is left to do, and gives what each of them said.
func (s *site) settle(t *testing.T, d *schema.Deployment) (told []string) {
	t.Helper()
	for range 200 {
		done, err := reconcile.Deploy{Mode: reconcile.Apply, Driver: s, Want: d}.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, string(done.Verdict)+": "+done.Says)
		if done.Verdict != drift.Progressing {
			return told
		}
	}
	t.Fatal("never settles:\n" + strings.Join(told, "\n"))
	return nil
}

func TestADeploymentBecomesWhatIsDeclaredOneStepAPass(t *testing.T) {
	s := newSite()
	told := s.settle(t, deployment("r1", "26.7.2"))
	want := []string{
		"progressing: eu: 0 of 2 nodes run 26.7.2; preparing (to be tried before any node is touched)",
		"progressing: eu: 0 of 2 nodes run 26.7.2; adding paris-0 (2 nodes declared)",
		"progressing: eu: 1 of 2 nodes run 26.7.2; logging in through paris-0 (ready, in a cluster of 1 node)",
		"progressing: eu: 1 of 2 nodes run 26.7.2; admitting paris-0 (people can log in through it)",
		"progressing: eu: 1 of 2 nodes run 26.7.2; adding paris-1 (2 nodes declared)",
		"progressing: eu: 1 of 2 nodes serve; logging in through paris-1 (ready, in a cluster of 2 nodes)",
		"progressing: eu: 1 of 2 nodes serve; admitting paris-1 (people can log in through it)",
		"in sync: eu: 2 of 2 nodes serve",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.calls = nil
	if told := s.settle(t, deployment("r1", "26.7.2")); len(told) != 1 || strings.Join(s.calls, " ") != "Observe" {
		t.Errorf("a second time: %s, by %s", told, s.calls)
	}
}

func TestAPlanOfADeploymentShowsItsStepsAndTouchesNothing(t *testing.T) {
	s := newSite()
	s.settle(t, deployment("r1", "26.7.2"))
	s.calls = nil
	d := deployment("r2", "26.8.0")
	d.Network.Admin = []schema.Rule{{Allow: "10.0.0.0/8"}}
	done, err := reconcile.Deploy{Driver: s, Want: d}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if calls := strings.Join(s.calls, " "); calls != "Observe" {
		t.Errorf("calls %s", calls)
	}
	var b bytes.Buffer
	if err := drift.Text(&b, done.Report, nil); err != nil {
		t.Fatal(err)
	}
	want := `deployment eu pending: eu: would stop all of 2 nodes and start them with 26.8.0; no way back after this but a dump
  + networks/admin  (commit)
      rules: [{"allow":"10.0.0.0/8","deny":""}]
   1. prepare r2  (to be tried before any node is touched)
   2. dump r2  (no way back from 26.8.0 but this dump)
   3. gate paris  (all nodes stop before any starts with 26.8.0)
   4. stop paris  (26.7.2 → 26.8.0 needs all nodes to stop)
   5. replace paris-0  (runs 26.7.2, shall run 26.8.0)
   6. replace paris-1  (runs 26.7.2, shall run 26.8.0)
   7. start paris-0  (stopped, and shall serve)
   8. probe paris-0  (ready, in a cluster of 1 node)
   9. admit paris-0  (people can log in through it)
  10. open paris  (1 of 2 nodes serve)
  11. start paris-1  (stopped, and shall serve)
  12. probe paris-1  (ready, in a cluster of 2 nodes)
  13. admit paris-1  (people can log in through it)
hint: whether both can serve side by side is taken from their versions here; it is found out before any node is touched
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSettingsOfADeploymentAreKeptAsDeclared(t *testing.T) {
	s := newSite()
	d := deployment("r1", "26.7.2")
	s.settle(t, d)
	have := func() schema.State { return s.memory.Now().Have }
	if len(have()) != 2 {
		t.Fatalf("holds %v", have())
	}
	edit := func() { // by hand
		seen := s.memory.Now()
		o := seen.Have["balancers/front"]
		o.Fields = map[string]any{"certificate": "other.crt", "key": "hidden two"}
		seen.Have["balancers/front"] = o
		delete(seen.Have, "networks/login")
		s.memory.Put(seen)
	}
	run := func(d *schema.Deployment, mode reconcile.Mode) (reconcile.Deployed, error) {
		return reconcile.Deploy{Mode: mode, Driver: s, Want: d}.Run(t.Context())
	}

	edit()
	says := "2 drifted: balancers/front (certificate, key), networks/login (gone)"
	if done, err := run(d, reconcile.Plan); err != nil || done.Verdict != drift.Drifted || done.Says != says {
		t.Errorf("plan: %s: %s, %v", done.Verdict, done.Says, err)
	}
	reporting := *d
	reporting.Drift = "report"
	if done, err := run(&reporting, reconcile.Apply); err != nil || done.Verdict != drift.Drifted || done.Says != says || len(have()) != 1 {
		t.Errorf("reports: %s: %s, %v", done.Verdict, done.Says, err)
	}
	held := *d
	held.Suspend = &schema.Suspend{Reason: "migration"}
	if done, err := run(&held, reconcile.Apply); err != nil || done.Verdict != drift.Suspended || len(have()) != 1 {
		t.Errorf("suspended: %s: %s, %v", done.Verdict, done.Says, err)
	}
	done, err := run(d, reconcile.Apply)
	if err != nil || done.Verdict != drift.InSync || len(have()) != 2 {
		t.Errorf("corrects: %s: %s, %v, holds %v", done.Verdict, done.Says, err, have())
	}
	var b bytes.Buffer
	for _, write := range []error{drift.Text(&b, done.Report, nil), drift.Markdown(&b, []drift.Report{done.Report}), drift.JSON(&b, []drift.Report{done.Report})} {
		if write != nil {
			t.Fatal(write)
		}
	}
	if strings.Contains(b.String(), "hidden") {
		t.Errorf("shows a secret:\n%s", b.String())
	}

	edit()
	s.refuses["Apply"] = errors.New("the firewall is away")
	next := *deployment("r2", "26.7.3")
	done, err = run(&next, reconcile.Apply)
	if err == nil || done.Verdict != drift.Errored || !strings.Contains(done.Says, "the firewall is away") {
		t.Errorf("refused: %s: %s, %v", done.Verdict, done.Says, err)
	}
	if move := s.memory.Now().Move; move.Step.Verb != drift.Prepare {
		t.Errorf("nodes wait for the settings: %+v", move)
	}
}

func TestAPassOverADeploymentSaysWhatIsInItsWay(t *testing.T) {
	d := deployment("r1", "26.7.2")
	for _, c := range []struct {
		name string
		pass func(s *site, p *reconcile.Deploy)
		says string
	}{
		{"a problem", func(s *site, p *reconcile.Deploy) {
			p.Problems = []schema.Problem{{What: "spec.version: no", Deployment: "eu"}, {What: "other", Deployment: "us"}}
		}, "blocked: spec.version: no"},
		{"a problem of nobody's", func(s *site, p *reconcile.Deploy) { p.Problems = []schema.Problem{{What: "no YAML"}} }, "blocked: no YAML"},
		{"a problem of another's", func(s *site, p *reconcile.Deploy) { p.Problems = []schema.Problem{{What: "other", Deployment: "us"}} },
			"progressing: eu: 0 of 2 nodes run 26.7.2; preparing (to be tried before any node is touched)"},
		{"no look", func(s *site, p *reconcile.Deploy) { s.refuses["Observe"] = errors.New("no route to host") }, "failed: look at deployment eu: no route to host"},
		{"another controller", func(s *site, p *reconcile.Deploy) { s.refuses["Save"] = platform.ErrMoved }, "progressing: eu: another controller has been faster, looks again"},
		{"another controller, later", func(s *site, p *reconcile.Deploy) { s.refuses["Do"] = platform.ErrOldEpoch }, "progressing: eu: another controller has been faster, looks again"},
		{"no step", func(s *site, p *reconcile.Deploy) { s.refuses["Do"] = errors.New("throttled") }, "failed: prepare r1 of deployment eu: throttled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite()
			p := reconcile.Deploy{Mode: reconcile.Apply, Driver: s, Want: d}
			c.pass(s, &p)
			done, _ := p.Run(t.Context())
			if got := string(done.Verdict) + ": " + done.Says; got != c.says {
				t.Errorf("says %q, want %q", got, c.says)
			}
			if done.Deployment != "eu" || done.Ended.IsZero() {
				t.Errorf("reports %+v", done.Report)
			}
		})
	}
}

// board shows the statuses of commits, by context.
type board struct {
	mu    sync.Mutex
	shown map[string][]string
}

func (b *board) post(_ context.Context, s status.Status) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.shown[s.Context]
	if said := string(s.State) + ": " + s.Says; len(all) == 0 || all[len(all)-1] != said {
		b.shown[s.Context] = append(all, said)
	}
	return nil
}

func (b *board) last(context string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.shown[context]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func TestACommitIsToldEveryVerdictOfItsDeployment(t *testing.T) {
	repository := &source{world: &world{t: t, name: "acme"}}
	repository.repository()
	declare := func(spec string) string {
		return repository.push("eu.yaml", "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: local, instances: 2, "+spec+"}\n")
	}
	first := declare("version: 26.7.2")
	mirror, err := git.Open(repository.mirror, git.Remote{URL: repository.bare, Branch: "main"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, shown := newSite(), &board{shown: map[string][]string{}}
		poll := &reconcile.Poll{Mirror: mirror, Source: "s", Prefix: "staging", Interval: time.Second, Schedule: every(time.Second), Log: slog.New(slog.DiscardHandler),
			Load:  func(tree fs.FS) schema.Declared { return schema.Load(tree, schema.Options{}) },
			Drive: func(*schema.Deployment) (platform.Driver, error) { return s, nil },
			Post: func(ctx context.Context, s status.Status) error {
				s.Context += "@" + s.Commit
				return shown.post(ctx, s)
			}}
		says := func(commit, want string) {
			t.Helper()
			for range 60 {
				if _, err := poll.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				if shown.last("staging/deployment/eu@"+commit) == want {
					return
				}
				time.Sleep(time.Second)
			}
			t.Fatalf("never says %q, but %q", want, shown.shown["staging/deployment/eu@"+commit])
		}
		says(first, "pending: eu: 1 of 2 nodes run 26.7.2; logging in through eu-0 (ready, in a cluster of 1 node)")
		says(first, "success: eu: 2 of 2 nodes serve")

		s.memory.Restart = 10
		s.memory.Kill("eu-1")
		says(first, "failure: eu: 1 of 2 nodes serve, eu-1 is down; it restarts by itself: killed")
		s.memory.Restart = 1
		says(first, "success: eu: 2 of 2 nodes serve")

		window := declare("version: 26.7.3, update: {windows: [{schedule: \"0 2 1 1 *\", duration: 1h}]}")
		says(window, "pending: eu: would roll 2 nodes to 26.7.3, waits for its window on 1 Jan 02:00 UTC")
		limit := declare("version: 26.7.3, limits: {nodes-down: 0}")
		says(limit, "failure: eu: limits.nodes-down is 0, and 26.7.2 → 26.7.3 takes a node down")
		if got, want := shown.last("staging/deployment/eu@"+window), "success: superseded by "+limit[:7]; got != want {
			t.Errorf("the commit before says %q, want %q", got, want)
		}
		suspended := declare("version: 26.7.3, suspend: {until: 2100-12-01T08:00:00Z, reason: migration}")
		says(suspended, "success: eu: suspended until 1 Dec: migration")
		problem := declare("version: 26.7")
		says(problem, `failure: eu.yaml:4:48: spec.version: "26.7" is not a version such as 26.7.3`)

		s.memory.Fails = func(s drift.Step) string {
			return map[drift.Verb]string{drift.Probe: "the login page answers 500"}[s.Verb]
		}
		broken := declare("version: 26.7.3")
		says(broken, "error: eu: 1 of 2 nodes serve; probe eu-0 failed: the login page answers 500")
		s.refuses["Observe"] = errors.New("no route to host")
		says(broken, "error: look at deployment eu: no route to host")
	})
}

func TestRealmsWaitForTheDeploymentThatServesThem(t *testing.T) {
	repository := &source{world: &world{t: t, name: "acme"}}
	repository.repository()
	manifest := func(spec string) string {
		return "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: local, " + spec + "}\n"
	}
	repository.pushAll(map[string]string{"eu.yaml": manifest("version: 26.7.2, instances: 2"),
		"acme.yaml": "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {deployment: eu, realm: {}}\n"})
	mirror, err := git.Open(repository.mirror, git.Remote{URL: repository.bare, Branch: "main"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, shown, reached := newSite(), &board{shown: map[string][]string{}}, 0
		poll := &reconcile.Poll{Mirror: mirror, Source: "s", Prefix: "cloakwork", Interval: time.Second, Schedule: every(time.Minute), Log: slog.New(slog.DiscardHandler), Post: shown.post,
			Load:  func(tree fs.FS) schema.Declared { return schema.Load(tree, schema.Options{}) },
			Drive: func(*schema.Deployment) (platform.Driver, error) { return s, nil },
			Connect: func(string) (*keycloak.Client, reconcile.Account, error) {
				if r := s.memory.Now().Record; r.Lifecycle == platform.Starting {
					t.Errorf("the realm is reached while its deployment is %s", r.Lifecycle)
				}
				reached++
				return nil, reconcile.Account{}, errors.New("the realm is reached")
			}}
		look := func(until func() bool) {
			t.Helper()
			for range 120 {
				if _, err := poll.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				if until() {
					return
				}
				time.Sleep(time.Second)
			}
			t.Fatalf("in vain: %v", shown.shown)
		}
		deployed, realm := "cloakwork/deployment/eu", "cloakwork/eu/realm/acme"

		look(func() bool { return reached > 0 })
		if got, want := shown.last(deployed), "success: eu: 2 of 2 nodes serve"; got != want {
			t.Errorf("the deployment says %q, want %q", got, want)
		}
		if got, want := shown.shown[realm], []string{"pending: waits for deployment eu, of which no node serves", "error: the realm is reached"}; !cmp.Equal(got, want) {
			t.Errorf("the realm says %q, want %q", got, want)
		}

		repository.push("eu.yaml", manifest("version: 26.7.3, instances: 2"))
		look(func() bool { return strings.HasPrefix(shown.last(deployed), "pending: eu: 1 of 2 nodes run 26.7.3") })
		before := reached
		repository.push("eu.yaml", manifest("version: nonsense, instances: 2")) // what was good stays in force
		look(func() bool { return s.memory.Now().Record.Good.Version == "26.7.3" })
		if said := shown.shown[deployed]; !cmp.Equal(said[len(said)-1], "success: eu: 2 of 2 nodes serve") || !strings.Contains(strings.Join(said, "\n"), `failure: eu.yaml:4:34: spec.version: "nonsense" is not a version`) {
			t.Errorf("the deployment says %q", said)
		}
		look(func() bool { return reached > before }) // and the realm goes on

		repository.push("eu.yaml", "")
		look(func() bool { return shown.last("cloakwork/validate") == "success: 1 realm declared" })
		if nodes := s.memory.Now().Nodes; len(nodes) != 2 {
			t.Errorf("what is no longer declared is %v, not left alone", nodes)
		}
	})
}
