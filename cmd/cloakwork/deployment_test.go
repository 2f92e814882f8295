package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

// person sits at a machine with a platform in memory, a repository, and a controller's state.
type person struct {
	t      *testing.T
	memory *platformtest.Memory
	dir    string
}

func newPerson(t *testing.T) *person {
	p := &person{t: t, memory: &platformtest.Memory{}, dir: t.TempDir()}
	p.git("init", "-q", "-b", "main", p.path("work"))
	p.git("-C", p.path("work"), "config", "maintenance.auto", "false") // since 2.47 git may be at it still while the test's folder is removed
	return p
}

func (p *person) path(name string) string { return filepath.Join(p.dir, name) }

func (p *person) git(args ...string) {
	p.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@acme.example",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@acme.example")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// declares commits a deployment whose spec goes on with text.
func (p *person) declares(text string) {
	p.t.Helper()
	manifest := "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: local, " + text + "}\n"
	if err := os.WriteFile(p.path("work/eu.yaml"), []byte(manifest), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.git("-C", p.path("work"), "add", ".")
	p.git("-C", p.path("work"), "commit", "-q", "-m", "declare", "--allow-empty")
}

// types runs a command line, and returns what it prints and its exit code.
func (p *person) types(args ...string) (out, errs string, code int) {
	p.t.Helper()
	var o, e bytes.Buffer
	code = p.cli(&o, &e).execute(p.t.Context(), args)
	return o.String(), e.String(), code
}

func (p *person) cli(out, errs io.Writer) *cli {
	c := newCLI(strings.NewReader(""), out, errs)
	c.drivers = map[string]opener{"local": func(*platforms) (host, error) {
		return host{Driver: p.memory.Process(), Admin: func(context.Context, schema.Deployment) (keycloak.Config, error) {
			return keycloak.Config{}, errors.New("nobody answers there")
		}}, nil
	}}
	return c
}

// looks has a controller look until the deployment says something.
func (p *person) looks(until string) string {
	p.t.Helper()
	said := ""
	for range 60 {
		out, errs, _ := p.types("run", "--once", "--repository", p.path("work"), "--state-dir", p.path("state"), "--log-level", "error")
		if said = out + errs; strings.Contains(said, until) {
			return said
		}
	}
	p.t.Fatalf("never says %q, but:\n%s", until, said)
	return ""
}

var ages = regexp.MustCompile(`[0-9]+ (s|days) ago|at [0-9a-f]{7}|work-[0-9a-f]{8}|/.*/work`)

func (p *person) sees(want string, code int) {
	p.t.Helper()
	out, errs, got := p.types("status", "--state-dir", p.path("state"))
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), ages.ReplaceAllString(out, "…")); diff != "" || got != code || errs != "" {
		p.t.Errorf("status ends with %d, want %d (-want +got):\n%s%s", got, code, diff, errs)
	}
}

func TestStatusShowsADeploymentAsItIsNow(t *testing.T) {
	p := newPerson(t)
	p.declares("version: 26.7.2, instances: 2")
	p.looks("in sync: eu: 2 of 2 nodes serve")
	p.sees(`
deployment eu RUNNING, epoch 8 …; seen …
  in sync: eu: 2 of 2 nodes serve …
  region  eu         active, primary
  node    eu-0       26.7.2, serves, in a cluster of 2 nodes
  node    eu-1       26.7.2, serves, in a cluster of 2 nodes
source … …, …; looked …
`, 0)

	p.memory.Restart = 50
	p.memory.Kill("eu-1")
	p.sees(`
deployment eu RUNNING, epoch 8 …; seen …
  in sync: eu: 2 of 2 nodes serve …
  region  eu         active, primary
  node    eu-0       26.7.2, serves, in a cluster of 1 node
  node    eu-1       26.7.2, not ready (killed)
source … …, …; looked …
`, 1)
	p.memory.Restart = 1
	p.looks("in sync: eu: 2 of 2 nodes serve")

	p.memory.Fails = func(s drift.Step) string {
		if s.Verb == drift.Probe {
			return "the login page answers 500"
		}
		return ""
	}
	p.declares("version: 26.7.3, instances: 2")
	p.looks("failed: the login page answers 500")
	p.sees(`
deployment eu ERROR, epoch 13 …; seen …
  failed: eu: 1 of 2 nodes serve; probe eu-0 failed: the login page answers 500 …
  hint: mend it in a new commit, or try again by `+"`cloakwork resume eu`"+`
  move    probe eu-0, failed … (the login page answers 500)
  region  eu         active, primary
  node    eu-0       26.7.3, ready, out of service, in a cluster of 2 nodes
  node    eu-1       26.7.2, serves, in a cluster of 2 nodes
  | ERROR: the login page answers 500
source … …, …; looked …
`, 1)
}

// ending ends something at the n-th time that a text is written to it.
type ending struct {
	written bytes.Buffer
	text    string
	n       int
	end     func()
}

func (e *ending) Write(b []byte) (int, error) {
	n, err := e.written.Write(b)
	if strings.Count(e.written.String(), e.text) >= e.n {
		e.end()
	}
	return n, err
}

func TestStatusIsWatchedUntilItIsToldToStop(t *testing.T) {
	p := newPerson(t)
	p.declares("version: 26.7.2")
	p.looks("in sync: eu: 1 of 1 node serve")
	ctx, end := context.WithCancel(t.Context())
	out := &ending{text: "deployment eu RUNNING", n: 2, end: end}
	var errs bytes.Buffer
	if code := p.cli(out, &errs).execute(ctx, []string{"status", "--watch", "--state-dir", p.path("state")}); code != 0 || errs.Len() > 0 {
		t.Errorf("ends with %d: %s", code, &errs)
	}
	if n := strings.Count(out.written.String(), "deployment eu RUNNING"); n != 2 {
		t.Errorf("shows it %d times:\n%s", n, &out.written)
	}
}

func TestResumeTriesAgainWhatStopped(t *testing.T) {
	p := newPerson(t)
	refused := func(want string, args ...string) {
		t.Helper()
		out, errs, code := p.types(append([]string{"resume", "--state-dir", p.path("state")}, args...)...)
		if code != 1 || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("resume %s ends with %d: %s%s", args, code, out, errs)
		}
	}
	refused("error: no controller has kept anything in ")
	p.declares("version: 26.7.2, instances: 2")
	p.looks("in sync: eu: 2 of 2 nodes serve")
	refused("error: nothing has stopped: no deployment is in ERROR\n")
	refused("error: nothing has stopped: deployment eu is RUNNING\n", "eu")
	refused("error: no deployment \"us\" is known\nhint: the controller knows eu\n", "us")

	broken := true
	p.memory.Fails = func(s drift.Step) string {
		if s.Verb == drift.Probe && broken {
			return "the login page answers 500"
		}
		return ""
	}
	p.declares("version: 26.7.3, instances: 2")
	p.looks("failed: the login page answers 500")
	p.looks("failed: the login page answers 500") // and stays so
	broken = false
	out, errs, code := p.types("resume", "--state-dir", p.path("state"))
	if want := "deployment eu goes on, at epoch 14: probe eu-0 is tried again at the controller's next look\n"; code != 0 || out != want || errs != "" {
		t.Errorf("ends with %d: %s%s", code, out, errs)
	}
	p.looks("in sync: eu: 2 of 2 nodes serve")
	if r := p.memory.Now().Record; r.Good.Version != "26.7.3" {
		t.Errorf("the record is %+v", r)
	}
}

func TestAPersonMovesADeploymentToAnotherRegion(t *testing.T) {
	p := newPerson(t)
	regions := "version: 26.7.3, regions: [{name: paris}, {name: milan}]"
	p.declares(regions)
	p.looks("in sync: eu: 2 of 2 nodes serve")
	p.declares(regions) // nothing is left to do
	p.looks("in sync: eu: 2 of 2 nodes serve")
	failover := func(code int, want string, args ...string) {
		t.Helper()
		out, errs, got := p.types(append([]string{"failover", "--state-dir", p.path("state")}, args...)...)
		if got != code || !strings.HasPrefix(out+errs, want) {
			t.Errorf("failover %s ends with %d: %s%s", args, got, out, errs)
		}
	}
	failover(1, "error: deployment eu has no region \"rome\"\n", "eu", "--to", "rome")
	failover(1, "error: paris is the active region of deployment eu, or about to be\n", "eu", "--to", "paris")
	p.memory.Lose("milan", true, time.Now())
	failover(1, "error: move deployment eu from paris to milan: milan hasn't answered since ", "eu", "--to", "milan")
	p.memory.Mend("milan")
	p.looks("in sync: eu: 2 of 2 nodes serve")
	synced := func(name string) { p.memory.Edit(func(s *platform.Seen) { s.Record.Synced = name }) }
	synced("") // and what was acknowledged may not be in milan
	failover(1, "error: move deployment eu from paris to milan: milan isn't synchronous, it is 0 bytes behind\n", "eu", "--to", "milan")
	synced("milan")
	failover(0, "deployment eu moves from paris to milan, from the controller's next look on\n", "eu", "--to", "milan")
	p.looks("drifted: eu: git still names paris; milan serves since ")
	out, _, _ := p.types("status", "--state-dir", p.path("state"))
	want := regexp.MustCompile(`\n  moved   to milan by the controller \(cloakwork failover --to milan\): gate milan done at epoch \d+, gate paris done at epoch \d+, fence paris done at epoch \d+, promote milan done at epoch \d+, follow paris done at epoch \d+, open milan done at epoch \d+, open paris done at epoch \d+ \d+ s ago\n`)
	if !want.MatchString(out) {
		t.Errorf("status shows\n%s", out)
	}
	if r, _ := p.memory.Now().Region("milan"); r.Role != platform.Primary {
		t.Errorf("milan is %+v", r)
	}
	p.declares(regions + ", active: milan")
	p.looks("in sync: eu: 2 of 2 nodes serve")
	if r := p.memory.Now().Record; r.Active != "milan" || r.Override != "" {
		t.Errorf("the record is %+v", r)
	}
}

func TestADeploymentIsPlannedAppliedAndLookedAtWithoutAController(t *testing.T) {
	p := newPerson(t)
	p.declares("version: 26.7.2, instances: 2")
	realm := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {deployment: eu, realm: {}}\n"
	if err := os.WriteFile(p.path("work/realm.yaml"), []byte(realm), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		verb string
		args []string
		code int
		want string
	}{
		{"plan", []string{"--detailed-exitcode"}, 2, `deployment eu pending: eu: would add 2 nodes
  + balancers/front  (unknown; work/eu.yaml:3:18)
      certificate: ""
      key: (secret)
   1. prepare R  (to be tried before any node is touched)
   2. add eu-0  (2 nodes declared)
   3. probe eu-0  (ready, in a cluster of 1 node)
   4. admit eu-0  (people can log in through it)
   5. add eu-1  (2 nodes declared)
   6. probe eu-1  (ready, in a cluster of 2 nodes)
   7. admit eu-1  (people can log in through it)
eu/acme pending: waits for deployment eu, of which no node serves
`},
		{"apply", nil, 1, `deployment eu in sync: eu: 2 of 2 nodes serve, after create 1
  + balancers/front  (unknown; done; work/eu.yaml:3:18)
      certificate: ""
      key: (secret)
eu/acme failed
error: nobody answers there
`},
		{"apply", nil, 1, "deployment eu in sync: eu: 2 of 2 nodes serve\neu/acme failed\nerror: nobody answers there\n"},
		{"drift", nil, 1, "deployment eu in sync: eu: 2 of 2 nodes serve\neu/acme failed\nerror: nobody answers there\n"},
		{"apply", []string{"--realm", "acme"}, 1, "eu/acme failed\nerror: nobody answers there\n"},
	} {
		out, errs, code := p.types(append([]string{c.verb, p.path("work"), "--state-dir", p.path("state")}, c.args...)...)
		out = regexp.MustCompile(`prepare [0-9a-f]{12}`).ReplaceAllString(strings.ReplaceAll(out, p.dir+"/", ""), "prepare R")
		if diff := cmp.Diff(c.want, out); diff != "" || code != c.code {
			t.Errorf("%s %s ends with %d, want %d (-want +got):\n%s%s", c.verb, c.args, code, c.code, diff, errs)
		}
	}
	for _, s := range []string{"aws", "kubernetes"} {
		manifest := strings.ReplaceAll("apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: PLATFORM, version: 26.7.2}\n", "PLATFORM", s)
		if err := os.WriteFile(p.path("work/eu.yaml"), []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		_, errs, code := p.types("plan", p.path("work"), "--state-dir", p.path("state"))
		if want := "eu.yaml:3:18: deployment eu: platform " + s + " isn't served by this build, which serves local; declare it on one of these, or take a build that serves " + s + "\n"; code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: ends with %d: %s", s, code, errs)
		}
	}
}

func TestASavedPlanOfADeploymentIsRefusedWhenItMoved(t *testing.T) {
	p := newPerson(t)
	p.declares("version: 26.7.2, instances: 2")
	apply := func(args ...string) (string, int) {
		out, errs, code := p.types(append([]string{"apply", "--state-dir", p.path("state")}, args...)...)
		return out + errs, code
	}
	plan := func(name string) {
		t.Helper()
		if out, errs, code := p.types("plan", p.path("work"), "--state-dir", p.path("state"), "--out", p.path(name)); code != 0 {
			t.Fatalf("plan ends with %d: %s%s", code, out, errs)
		}
	}
	plan("both")
	plan("late")
	if said, code := apply(p.path("both")); code != 0 || !strings.Contains(said, "in sync: eu: 2 of 2 nodes serve") {
		t.Errorf("as planned: %d, %s", code, said)
	}
	if said, code := apply(p.path("late")); code != 1 || !strings.Contains(said, "deployment eu has moved since the plan was made") {
		t.Errorf("planned before that: %d, %s", code, said)
	}
	p.declares("version: 26.7.2, instances: 3")
	plan("three")
	p.declares("version: 26.7.2, instances: 3")
	if said, code := apply(p.path("three")); code != 1 || !strings.Contains(said, "the commit has moved") || len(p.memory.Now().Nodes) != 2 {
		t.Errorf("planned at another commit: %d, %s", code, said)
	}
	plan("now")
	if said, code := apply(p.path("now")); code != 0 || len(p.memory.Now().Nodes) != 3 {
		t.Errorf("as planned: %d, %s", code, said)
	}
}

func TestWhatApplyLeftInErrorIsShownAndResumed(t *testing.T) {
	p := newPerson(t)
	broken := true
	p.memory.Fails = func(s drift.Step) string {
		if s.Verb == drift.Probe && broken {
			return "the login page answers 500"
		}
		return ""
	}
	p.declares("version: 26.7.2")
	apply := func(want string, code int) {
		t.Helper()
		if out, errs, got := p.types("apply", p.path("work"), "--state-dir", p.path("state")); got != code || !strings.Contains(out, want) {
			t.Errorf("apply ends with %d: %s%s", got, out, errs)
		}
	}
	apply("probe eu-0 failed: the login page answers 500", 1)
	apply("probe eu-0 failed: the login page answers 500", 1)
	if out, errs, code := p.types("status", "--state-dir", p.path("state")); code != 1 || strings.Count(out, "deployment eu ERROR") != 1 || strings.Contains(out, "source") {
		t.Errorf("status ends with %d: %s%s", code, out, errs)
	}
	broken = false
	if out, errs, code := p.types("resume", "--state-dir", p.path("state")); code != 0 || !strings.HasPrefix(out, "deployment eu goes on") {
		t.Errorf("resume ends with %d: %s%s", code, out, errs)
	}
	apply("in sync: eu: 1 of 1 node serve", 0)
	if out, errs, code := p.types("status", "--state-dir", p.path("state")); code != 0 || strings.Count(out, "deployment eu RUNNING") != 1 {
		t.Errorf("status ends with %d: %s%s", code, out, errs)
	}
}
