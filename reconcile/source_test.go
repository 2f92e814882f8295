package reconcile_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// source is a git repository that people push to, and the world that it declares.
type source struct {
	*world
	other      string // a second realm, OTHER in manifests
	work, bare string
	mirror     string // the folder of the product's copy
}

func newSource(t *testing.T) *source {
	t.Helper()
	s := &source{world: newWorld(t)}
	s.other = keycloaktest.Realm(t)
	s.repository()
	return s
}

func (s *source) repository() {
	s.t.Helper()
	dir := s.t.TempDir()
	s.work, s.bare, s.mirror = filepath.Join(dir, "work"), filepath.Join(dir, "acme.git"), filepath.Join(dir, "mirror")
	runGit(s.t, ".", "init", "-q", "--bare", "-b", "main", s.bare)
	runGit(s.t, ".", "init", "-q", "-b", "main", s.work)
	for _, dir := range []string{s.bare, s.work} { // since 2.47 git may be at it still while the test's folders are removed
		runGit(s.t, dir, "config", "maintenance.auto", "false")
	}
	runGit(s.t, s.work, "remote", "add", "origin", s.bare)
}

// runGit runs the real git, which sees no configuration of the machine, and gives what it prints.
func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.test", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.test")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// push commits one file, or its removal where it has no text, pushes by force, and gives the commit's hash.
func (s *source) push(file, text string) string {
	s.t.Helper()
	return s.pushAll(map[string]string{file: text})
}

func (s *source) pushAll(files map[string]string) string {
	s.t.Helper()
	for file, text := range files {
		path := filepath.Join(s.work, file)
		text = strings.NewReplacer("REALM", s.name, "OTHER", s.other).Replace(text)
		err := error(nil)
		if text == "" {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o666)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	runGit(s.t, s.work, "add", "-A")
	runGit(s.t, s.work, "commit", "-q", "-m", "change "+strings.Join(slices.Sorted(maps.Keys(files)), ", "))
	runGit(s.t, s.work, "push", "-q", "--force", "origin", "main")
	return runGit(s.t, s.work, "rev-parse", "HEAD")
}

// orphan lets the next commit begin a new history.
func (s *source) orphan() {
	s.t.Helper()
	runGit(s.t, s.work, "checkout", "-q", "--orphan", "new")
	runGit(s.t, s.work, "branch", "-q", "-D", "main")
	runGit(s.t, s.work, "branch", "-q", "-m", "main")
}

// process is one controller, from its start to its end.
type process struct {
	*reconcile.Poll
	s     *source
	forge *notary
	log   *journal
}

// start starts a controller, which looks at every realm whenever it looks at all.
func (s *source) start() *process {
	s.t.Helper()
	log := &journal{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	mirror, err := git.Open(s.mirror, git.Remote{URL: s.bare, Branch: "main"}, logger)
	if err != nil {
		s.t.Fatal(err)
	}
	forge := &notary{Forge: status.Notes{Notes: mirror}}
	poster := &status.Poster{Forge: forge}
	return &process{s: s, forge: forge, log: log, Poll: &reconcile.Poll{
		Mirror: mirror,
		Load:   func(tree fs.FS) schema.Declared { return schema.Load(tree, schema.Options{Server: "eu"}) },
		Connect: func(string) (*keycloak.Client, reconcile.Account, error) {
			return s.client, reconcile.Account{Realm: "master", ClientID: "admin-cli", User: s.server.User}, nil
		},
		Source: s.bare, Prefix: "cloakwork", Interval: 20 * time.Millisecond, Schedule: every(0),
		Post: poster.Post, Read: forge.Read, Log: logger,
	}}
}

// once looks once, and expects that git can be reached.
func (p *process) once() []drift.Report {
	p.s.t.Helper()
	reports, err := p.Once(p.s.t.Context())
	if err != nil {
		p.s.t.Fatalf("look: %v\n%s", err, p.log)
	}
	return reports
}

// quiet looks once, and expects that nothing is found, written or posted.
func (p *process) quiet() {
	p.s.t.Helper()
	mark, posts := p.s.server.Mark(p.s.t), len(p.forge.posts())
	for _, r := range p.once() {
		if r.Verdict != drift.InSync || len(r.Changes) > 0 {
			p.s.t.Errorf("a second look finds\n%s", text(r))
		}
	}
	for _, name := range []string{p.s.name, p.s.other} {
		for _, r := range keycloaktest.Writes(p.s.server.RequestsSince(p.s.t, mark, name)) {
			p.s.t.Errorf("a second look sent %s", r)
		}
	}
	if more := p.forge.posts()[posts:]; len(more) > 0 {
		p.s.t.Errorf("a second look posted %q", more)
	}
}

// shows expects the commit's note, as git prints it, to hold these lines and no others: the state and sentence of the
// realm REALM or OTHER, or of validate.
func (s *source) shows(commit string, lines ...string) {
	s.t.Helper()
	var want []string
	for _, line := range lines {
		want = append(want, "cloakwork/"+strings.NewReplacer("REALM", "eu/realm/"+s.name, "OTHER", "eu/realm/"+s.other).Replace(line))
	}
	slices.Sort(want)
	if got := s.note(commit); got != strings.Join(want, "\n") {
		s.t.Errorf("the note of %.7s is\n%s\nwant\n%s", commit, got, strings.Join(want, "\n"))
	}
}

func (s *source) note(commit string) string {
	s.t.Helper()
	if !strings.Contains(runGit(s.t, s.bare, "for-each-ref", "refs/notes/"), "refs/notes/cloakwork") {
		return ""
	}
	if !strings.Contains(runGit(s.t, s.bare, "notes", "--ref=cloakwork", "list"), commit) {
		return ""
	}
	return runGit(s.t, s.bare, "notes", "--ref=cloakwork", "show", commit)
}

// displayName is what the realm is called by people.
func (s *source) displayName(realm string) string {
	s.t.Helper()
	name, _ := s.admin.Get("/admin/realms/" + realm).(map[string]any)["displayName"].(string)
	return name
}

// rename changes what the realm is called by people, by hand.
func (s *source) rename(realm, name string) {
	s.t.Helper()
	s.admin.Edit("/admin/realms/"+realm, func(r map[string]any) { r["displayName"] = name })
}

// notary is the forge that the statuses go to; it remembers what it took, in order.
type notary struct {
	status.Forge
	mu    sync.Mutex
	down  bool
	taken []status.Status
}

func (n *notary) Read(ctx context.Context, commit, context string) (status.Status, bool, error) {
	if n.away() {
		return status.Status{}, false, errors.New("the forge is away")
	}
	return n.Forge.Read(ctx, commit, context)
}

func (n *notary) Write(ctx context.Context, s status.Status) error {
	if n.away() {
		return errors.New("the forge is away")
	}
	if err := n.Forge.Write(ctx, s); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = append(n.taken, s)
	return nil
}

func (n *notary) away() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down
}

func (n *notary) goAway(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

func (n *notary) statuses() []status.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]status.Status{}, n.taken...)
}

// posts are the realms' statuses so far, in short.
func (n *notary) posts() []string {
	posts := []string{}
	for _, s := range n.statuses() {
		if !strings.HasSuffix(s.Context, "/validate") {
			posts = append(posts, string(s.State)+": "+s.Says)
		}
	}
	return posts
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// every is a schedule that is due so long after each pass.
type every time.Duration

func (e every) Next(t time.Time) time.Time { return t.Add(time.Duration(e)) }

var _ cron.Schedule = every(0)

// eventually waits until something holds.
func eventually(t testing.TB, says string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("five minutes have passed, and not: %s", says)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
