package forgetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"code.gitea.io/sdk/gitea"
	"github.com/cloakwork/cloakwork/drift/status"
	mirror "github.com/cloakwork/cloakwork/reconcile/git"
	gocmp "github.com/google/go-cmp/cmp"
)

// forge is the one server of this package's tests; each has a repository of its own.
var forge *Gitea

func TestMain(m *testing.M) {
	os.Exit(withForge(m))
}

func withForge(m *testing.M) int {
	dir, err := os.MkdirTemp("", "forgetest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if forge, err = Start(context.Background(), dir, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer forge.Stop()
	return m.Run()
}

// repository is one on the server, and the checkout that the real git pushes from.
type repository struct {
	t         *testing.T
	name, url string
	work      string
	sdk       *gitea.Client
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, name: strings.ToLower(t.Name()), work: t.TempDir()}
	var err error
	if r.url, err = forge.CreateRepository(t.Context(), r.name); err != nil {
		t.Fatal(err)
	}
	if r.sdk, err = gitea.NewClient(forge.URL, gitea.SetToken(forge.Token)); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q", "-b", "main")
	r.git("remote", "add", "origin", strings.Replace(r.url, "http://", "http://"+forge.User+":"+forge.Token+"@", 1))
	return r
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.work
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.test", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.test")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repository) push(subject string) string {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.work, "acme.yaml"), []byte(subject+"\n"), 0o666); err != nil {
		r.t.Fatal(err)
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", subject)
	r.git("push", "-q", "--force", "origin", "main")
	return r.git("rev-parse", "HEAD")
}

func (r *repository) forge(token string) status.Forge {
	r.t.Helper()
	f, err := status.Open(status.Repository{Remote: r.url, Kind: "gitea", Token: token})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// statuses is every status that the server has of a commit, also replaced ones, newest first.
func (r *repository) statuses(commit string) []status.Status {
	r.t.Helper()
	list, _, err := r.sdk.ListStatuses(forge.User, r.name, commit, gitea.ListStatusesOption{ListOptions: gitea.ListOptions{PageSize: 50}})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b *gitea.Status) int { return cmp.Compare(b.ID, a.ID) })
	all := []status.Status{}
	for _, s := range list {
		all = append(all, status.Status{Commit: commit, Context: s.Context, State: status.State(s.State), Says: s.Description, URL: s.TargetURL})
	}
	return all
}

func TestGiteaShowsEveryState(t *testing.T) {
	r := newRepository(t)
	commit := r.push("first")
	f := r.forge(forge.Token)
	var want []status.Status
	for i, state := range []status.State{status.Success, status.Failure, status.Error, status.Pending} {
		s := status.Status{
			Commit: commit, Context: fmt.Sprintf("cloakwork/eu/realm/acme %d", i), State: state,
			Says: fmt.Sprintf("%d drifted: clients/portal (redirectUris), roles/Prüfer; \"by\" <admin>", i), URL: "https://cloakwork.example.test/report/1",
		}
		if _, ok, err := f.Read(t.Context(), commit, s.Context); ok || err != nil {
			t.Errorf("before it is written: %v, %v", ok, err)
		}
		if err := f.Write(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		got, ok, err := f.Read(t.Context(), commit, s.Context)
		if diff := gocmp.Diff(s, got); !ok || err != nil || diff != "" {
			t.Errorf("it reads back as %v, %v, %s", ok, err, diff)
		}
		want = append([]status.Status{s}, want...)
	}
	if diff := gocmp.Diff(want, r.statuses(commit)); diff != "" {
		t.Error(diff)
	}
	combined := func() gitea.StatusState {
		t.Helper()
		c, _, err := r.sdk.GetCombinedStatus(forge.User, r.name, commit)
		if err != nil {
			t.Fatal(err)
		}
		return c.State
	}
	if got := combined(); got != gitea.StatusFailure && got != gitea.StatusError {
		t.Errorf("with a failure among them the commit is %s", got)
	}
	for _, s := range want {
		s.State = status.Success
		if err := f.Write(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := f.Read(t.Context(), commit, s.Context); !ok || err != nil || got != s {
			t.Errorf("the newer status reads %v, %v", got, err)
		}
	}
	if got := combined(); got != gitea.StatusSuccess {
		t.Errorf("with every status a success the commit is %s", got)
	}
}

func TestAStatusIsWrittenOnlyWhereItDiffers(t *testing.T) {
	r := newRepository(t)
	commit := r.push("first")
	s := status.Status{Commit: commit, Context: "cloakwork/eu/realm/acme", State: status.Success, Says: "412 objects as declared " + strings.Repeat("ü", 200)}
	for range 2 { // the second one as after a restart
		p := &status.Poster{Forge: r.forge(forge.Token)}
		for range 3 {
			if err := p.Post(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := r.statuses(commit)
	if len(got) != 1 {
		t.Fatalf("six posts of one status made %d", len(got))
	}
	if want := "412 objects as declared " + strings.Repeat("ü", 115) + "…"; got[0].Says != want {
		t.Errorf("a long text is %q, want %q", got[0].Says, want)
	}
	s.State = status.Failure
	if err := (&status.Poster{Forge: r.forge(forge.Token)}).Post(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := r.statuses(commit); len(got) != 2 || got[0].State != status.Failure {
		t.Errorf("after a change there is %v", got)
	}
}

func TestAStatusIsFoundBehindManyOthers(t *testing.T) {
	r := newRepository(t)
	commit := r.push("first")
	f := r.forge(forge.Token)
	first := status.Status{Commit: commit, Context: "cloakwork/first", State: status.Success, Says: "long ago"}
	if err := f.Write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for i := range 60 { // more than a page holds
		if err := f.Write(t.Context(), status.Status{Commit: commit, Context: fmt.Sprint("other/", i), State: status.Pending, Says: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok, err := f.Read(t.Context(), commit, first.Context); !ok || err != nil || got != first {
		t.Errorf("it reads %v, %v, %v", got, ok, err)
	}
	if _, ok, err := f.Read(t.Context(), commit, "nothing"); ok || err != nil {
		t.Errorf("a context without a status: %v, %v", ok, err)
	}
}

func TestAWrongTokenIsRefusedAndNeverShown(t *testing.T) {
	r := newRepository(t)
	commit := r.push("first")
	const wrong = "0123456789abcdef0123456789abcdef01234567"
	p := &status.Poster{Forge: r.forge(wrong)}
	err := p.Post(t.Context(), status.Status{Commit: commit, Context: "cloakwork/x", State: status.Success, Says: "x"})
	if err == nil || strings.Contains(err.Error(), wrong) || !strings.Contains(err.Error(), "401: the token is wrong") {
		t.Errorf("the error is %v", err)
	}
	m := r.mirror(wrong)
	if _, err := m.Fetch(t.Context()); !errors.Is(err, mirror.ErrRefused) || strings.Contains(err.Error(), wrong) {
		t.Errorf("the mirror's error is %v", err)
	}
	unknown := strings.Repeat("1", 40)
	err = r.forge(forge.Token).Write(t.Context(), status.Status{Commit: unknown, Context: "cloakwork/x", State: status.Success, Says: "x"})
	if err == nil || strings.Contains(err.Error(), forge.Token) {
		t.Errorf("for an unknown commit the error is %v", err)
	}
}

func (r *repository) mirror(token string) *mirror.Mirror {
	r.t.Helper()
	m, err := mirror.Open(filepath.Join(r.t.TempDir(), "mirror"), mirror.Remote{URL: r.url, Token: token}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func TestAMirrorOfGiteaFetchesAndWritesNotes(t *testing.T) {
	r := newRepository(t)
	m := r.mirror(forge.Token)
	if _, err := m.Fetch(t.Context()); !errors.Is(err, mirror.ErrEmpty) {
		t.Errorf("before the first push the error is %v", err)
	}
	first := r.push("first")
	if f, err := m.Fetch(t.Context()); err != nil || f.Head.Hash != first || f.Branch != "main" {
		t.Errorf("the first fetch says %+v, %v", f, err)
	}
	second := r.push("second")
	if f, err := m.Fetch(t.Context()); err != nil || f.Head.Hash != second || f.Before != first || f.Rewritten {
		t.Errorf("the second fetch says %+v, %v", f, err)
	}
	r.git("reset", "-q", "--hard", first)
	third := r.push("another second")
	if f, err := m.Fetch(t.Context()); err != nil || f.Head.Hash != third || !f.Rewritten {
		t.Errorf("after a force push it says %+v, %v", f, err)
	}

	notes := status.Notes{Notes: m}
	s := status.Status{Commit: third, Context: "cloakwork/eu/realm/acme", State: status.Success, Says: "412 objects as declared"}
	for range 2 {
		if err := (&status.Poster{Forge: notes}).Post(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	other := status.Notes{Notes: r.mirror(forge.Token)}
	us := s
	us.Context = "cloakwork/us/realm/acme"
	if err := other.Write(t.Context(), us); err != nil {
		t.Fatal(err)
	}
	r.git("fetch", "-q", "origin", mirror.NotesRef+":"+mirror.NotesRef)
	want := "cloakwork/eu/realm/acme: success: 412 objects as declared\ncloakwork/us/realm/acme: success: 412 objects as declared"
	if got := r.git("notes", "--ref=cloakwork", "show", third); got != want {
		t.Errorf("the note is %q, want %q", got, want)
	}
	if count := r.git("rev-list", "--count", mirror.NotesRef); count != "2" {
		t.Errorf("%s commits of notes, want 2", count)
	}
}

// It stops the server that the other tests use, so it is the last one here and not parallel to any.
func TestAForgeThatIsDownIsAnErrorAndTheNextPostHeals(t *testing.T) {
	r := newRepository(t)
	commit := r.push("first")
	p := &status.Poster{Forge: r.forge(forge.Token)}
	m := r.mirror(forge.Token)
	if _, err := m.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	forge.Stop()
	s := status.Status{Commit: commit, Context: "cloakwork/eu/realm/acme", State: status.Success, Says: "fine"}
	if err := p.Post(t.Context(), s); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the error is %v", err)
	}
	if _, err := m.Fetch(t.Context()); !errors.Is(err, mirror.ErrUnreachable) {
		t.Errorf("the mirror's error is %v", err)
	}
	if c, ok := m.Head(); !ok || c.Hash != commit {
		t.Errorf("the last known commit is %v", c)
	}
	if err := forge.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := p.Post(t.Context(), s); err != nil {
		t.Error(err)
	}
	if got := r.statuses(commit); len(got) != 1 {
		t.Errorf("there is %v", got)
	}
}
