package git

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFetchBringsTheNewestCommit(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		first := r.push("first\n\nwith a body", map[string]string{"realms/acme.yaml": "a: 1\n"})
		m := openMirror(t, remote)
		if c, ok := m.Head(); ok {
			t.Errorf("before the first fetch the head is %v", c)
		}
		f := fetch(t, m)
		if want := (Commit{Hash: first, Subject: "first", Author: "Ada", Time: f.Head.Time}); f.Head != want {
			t.Errorf("head is %v, want %v", f.Head, want)
		}
		if f.Head.Time.IsZero() || f.Branch != "main" || f.Before != "" || !f.Moved || f.Rewritten {
			t.Errorf("the first fetch says %+v", f)
		}
		second := r.push("second", map[string]string{"realms/acme.yaml": "a: 2\n"})
		if f := fetch(t, m); f.Head.Hash != second || f.Before != first || !f.Moved || f.Rewritten {
			t.Errorf("the second fetch says %+v", f)
		}
		if f := fetch(t, m); f.Head.Hash != second || f.Before != second || f.Moved || f.Rewritten {
			t.Errorf("the third fetch says %+v", f)
		}
		again, err := Open(m.dir, remote, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := again.Head(); !ok || c.Hash != second {
			t.Errorf("a new process knows %v as the head", c)
		}
		for commit, want := range map[string]string{first: "a: 1\n", second: "a: 2\n"} {
			if got := read(t, again, commit, "realms/acme.yaml"); got != want {
				t.Errorf("commit %s has %q, want %q", commit, got, want)
			}
		}
	})
}

func read(t *testing.T, m *Mirror, commit, name string) string {
	t.Helper()
	tree, err := m.Tree(commit)
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMirrorSaysWhenHistoryWasRewritten(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		r.push("first", map[string]string{"a": "1"})
		old := r.push("second", map[string]string{"a": "2"})
		m := openMirror(t, remote)
		fetch(t, m)
		git(t, r.work, "reset", "-q", "--hard", "HEAD~1")
		new := r.push("another second", map[string]string{"a": "3"})
		git(t, r.bare, "reflog", "expire", "--expire=now", "--all")
		git(t, r.bare, "gc", "-q", "--prune=now")
		if f := fetch(t, m); !f.Rewritten || f.Before != old || f.Head.Hash != new {
			t.Errorf("the fetch says %+v", f)
		}
		if got := read(t, m, old, "a"); got != "2" {
			t.Errorf("the commit that was rewritten away reads %q", got)
		}
		if yes, err := m.Descends(old, new); yes || err != nil {
			t.Errorf("the new head descends from the old one: %v, %v", yes, err)
		}
	})
}

func TestMirrorKeepsWhatItKnowsWhenTheBranchVanishes(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		remote.Branch = "release"
		hash := r.push("first", map[string]string{"a": "1"})
		git(t, r.work, "push", "-q", "origin", "main:release")
		m := openMirror(t, remote)
		fetch(t, m)
		git(t, r.work, "push", "-q", "origin", ":release")
		_, err := m.Fetch(t.Context())
		if !errors.Is(err, ErrNoBranch) || !strings.Contains(err.Error(), `"release"`) {
			t.Errorf("the error is %v", err)
		}
		if c, ok := m.Head(); !ok || c.Hash != hash || read(t, m, hash, "a") != "1" {
			t.Errorf("the last known commit is %v", c)
		}
	})
}

func TestFetchSaysThatARepositoryIsEmpty(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		m := openMirror(t, remote)
		if _, err := m.Fetch(t.Context()); !errors.Is(err, ErrEmpty) {
			t.Errorf("the error is %v", err)
		}
		hash := r.push("first", map[string]string{"a": "1"})
		if f := fetch(t, m); f.Head.Hash != hash {
			t.Errorf("after the first push the head is %v", f.Head)
		}
	})
}

func TestDefaultBranchIsTheRemotesOwn(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		r.push("on main", map[string]string{"a": "1"})
		git(t, r.work, "checkout", "-q", "-b", "trunk")
		hash := r.commit("on trunk", map[string]string{"a": "2"})
		git(t, r.work, "push", "-q", "origin", "trunk")
		git(t, r.bare, "symbolic-ref", "HEAD", "refs/heads/trunk")
		m := openMirror(t, remote)
		if f := fetch(t, m); f.Head.Hash != hash || f.Branch != "trunk" {
			t.Errorf("the fetch says %+v", f)
		}
		git(t, r.bare, "symbolic-ref", "HEAD", "refs/heads/gone")
		if _, err := m.Fetch(t.Context()); !errors.Is(err, ErrNoBranch) {
			t.Errorf("with a default branch that isn't there the error is %v", err)
		}
		git(t, r.bare, "update-ref", "--no-deref", "HEAD", hash)
		if f := fetch(t, m); f.Head.Hash != hash {
			t.Errorf("with a detached HEAD the fetch says %+v", f)
		}
	})
}

func TestWrongTokenIsRefusedAndNeverShown(t *testing.T) {
	r := newRepository(t)
	r.push("first", map[string]string{"a": "1"})
	url := r.serve()
	var log bytes.Buffer
	for name, remote := range map[string]Remote{
		"token":     {URL: url, Token: "wrong-secret"},
		"in URL":    {URL: strings.Replace(url, "http://", "http://ci:wrong-secret@", 1)},
		"user only": {URL: strings.Replace(url, "http://", "http://wrong-secret@", 1)},
		"none":      {URL: url},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Open(t.TempDir(), remote, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Fetch(t.Context())
			if want := "fetch " + strings.TrimSuffix(url, ".git") + ": the server refuses the credentials: 401"; !errors.Is(err, ErrRefused) || name != "none" && err.Error() != want {
				t.Errorf("the error is %v, want %s", err, want)
			}
			noteErr := m.PutNote(t.Context(), strings.Repeat("a", 40), "x")
			if !errors.Is(noteErr, ErrRefused) {
				t.Errorf("the error of a note is %v", noteErr)
			}
			config, _ := os.ReadFile(filepath.Join(m.dir, "config"))
			for _, text := range []string{err.Error(), noteErr.Error(), log.String(), string(config)} {
				if strings.Contains(text, "wrong-secret") {
					t.Errorf("the token stands in %q", text)
				}
			}
		})
	}
}

func TestAnErrorSaysWhatAPersonCanDo(t *testing.T) {
	r := newRepository(t)
	url := r.serve()
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer sick.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<html>please sign in</html>"))
	}))
	defer page.Close()
	for name, c := range map[string]struct {
		remote Remote
		want   error
		says   string
	}{
		"no such path":      {Remote{URL: filepath.Join(t.TempDir(), "nothing")}, ErrNotFound, "nothing"},
		"no repository":     {Remote{URL: t.TempDir()}, ErrNotFound, ""},
		"no such on server": {Remote{URL: strings.Replace(url, "acme.git", "other.git", 1), Token: goodToken}, ErrNotFound, "/other"},
		"server down":       {Remote{URL: down.URL + "/acme.git"}, ErrUnreachable, "connection refused"},
		"server sick":       {Remote{URL: sick.URL + "/acme.git"}, ErrUnreachable, "503"},
		"no git server":     {Remote{URL: page.URL + "/acme.git"}, ErrUnreachable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openMirror(t, c.remote).Fetch(t.Context())
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want %v", err, c.want)
			}
		})
	}
	for _, url := range []string{"", "ssh://git@example.test/acme.git", "git@example.test:acme.git", "http://"} {
		if _, err := Open(t.TempDir(), Remote{URL: url}, nil); err == nil {
			t.Errorf("URL %q is taken", url)
		}
	}
}

func TestCancelEndsAFetch(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-release
	}))
	defer s.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := openMirror(t, Remote{URL: s.URL}).Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestAMirrorOfAnotherURLIsClonedAgain(t *testing.T) {
	a, b := newRepository(t), newRepository(t)
	a.push("in a", map[string]string{"a": "1"})
	want := b.push("in b", map[string]string{"b": "1"})
	m := openMirror(t, Remote{URL: a.bare})
	fetch(t, m)
	m, err := Open(m.dir, Remote{URL: b.bare}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := m.Head(); ok {
		t.Errorf("the head of the other repository is still there: %v", c)
	}
	if f := fetch(t, m); f.Head.Hash != want || f.Before != "" {
		t.Errorf("the fetch says %+v", f)
	}
}

func TestAFolderOfSomethingElseIsNeverEmptied(t *testing.T) {
	r := newRepository(t)
	dir := t.TempDir()
	precious := filepath.Join(dir, "thesis.txt")
	overwrite(t, precious, []byte("x"))
	if _, err := Open(dir, Remote{URL: r.bare}, nil); err == nil {
		t.Error("a mirror was opened there")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	hash := r.push("first", map[string]string{"a": "1"})
	if _, err := Open(r.bare, Remote{URL: r.work}, nil); err == nil {
		t.Error("a mirror was opened in somebody's bare repository")
	}
	if got := git(t, r.bare, "rev-parse", "main"); got != hash {
		t.Errorf("its main is %s", got)
	}
}

func TestAMirrorIsPrivate(t *testing.T) {
	r := newRepository(t)
	m := openMirror(t, Remote{URL: r.bare})
	info, err := os.Stat(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().Perm(), fs.FileMode(0o700); got != want {
		t.Errorf("mode is %v, want %v", got, want)
	}
}

func TestDescendsFollowsEveryParent(t *testing.T) {
	r := newRepository(t)
	base := r.commit("base", map[string]string{"a": "1"})
	git(t, r.work, "checkout", "-q", "-b", "side")
	side := r.commit("side", map[string]string{"b": "1"})
	git(t, r.work, "checkout", "-q", "main")
	left := r.commit("main", map[string]string{"c": "1"})
	git(t, r.work, "merge", "-q", "--no-ff", "-m", "merge", "side")
	head := r.push("head", nil)
	m := openMirror(t, Remote{URL: r.bare})
	fetch(t, m)
	got := map[string]bool{}
	for name, pair := range map[string][2]string{
		"base→head": {base, head}, "side→head": {side, head}, "left→head": {left, head}, "head→head": {head, head},
		"head→base": {head, base}, "side→left": {side, left},
	} {
		yes, err := m.Descends(pair[0], pair[1])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got[name] = yes
	}
	want := map[string]bool{"base→head": true, "side→head": true, "left→head": true, "head→head": true, "head→base": false, "side→left": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, pair := range [][2]string{{strings.Repeat("1", 40), head}, {head, strings.Repeat("1", 40)}, {"", head}} {
		if _, err := m.Descends(pair[0], pair[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("with an unknown commit the error is %v", err)
		}
	}
	before, err := m.Before(head, 2)
	if err != nil || len(before) != 2 || before[0].Subject != "merge" || before[1].Hash != left {
		t.Errorf("before the head the branch was at %v, %v", before, err)
	}
	if _, err := m.Tree(strings.Repeat("1", 40)); !errors.Is(err, ErrUnknown) {
		t.Errorf("of an unknown commit's tree the error is %v", err)
	}
}

func TestAShallowRemoteLeavesAncestryUndecided(t *testing.T) {
	r := newRepository(t)
	first := r.push("first", map[string]string{"a": "1"})
	second := r.push("second", map[string]string{"a": "2"})
	head := r.push("third", map[string]string{"a": "3"})
	shallow := filepath.Join(t.TempDir(), "shallow")
	git(t, ".", "clone", "-q", "--depth=2", "file://"+r.bare, shallow)
	m := openMirror(t, Remote{URL: shallow})
	fetch(t, m)
	if yes, err := m.Descends(second, head); !yes || err != nil {
		t.Errorf("within the known history: %v, %v", yes, err)
	}
	if _, err := m.Descends(first, head); !errors.Is(err, ErrUnknown) {
		t.Errorf("beyond it the error is %v", err)
	}
	if _, err := m.Descends(head, second); !errors.Is(err, ErrUnknown) {
		t.Errorf("against the history the error is %v", err)
	}
}

func TestALocalRemoteMayBeACheckoutOrAWorktree(t *testing.T) {
	r := newRepository(t)
	main := r.push("first", map[string]string{"a": "1"})
	linked := filepath.Join(t.TempDir(), "linked")
	git(t, r.work, "worktree", "add", "-q", "-b", "feature", linked)
	git(t, linked, "commit", "-q", "--allow-empty", "-m", "on feature")
	feature := git(t, linked, "rev-parse", "HEAD")
	detached := filepath.Join(t.TempDir(), "detached")
	git(t, r.work, "worktree", "add", "-q", "--detach", detached)
	git(t, r.work, "pack-refs", "--all")
	shared := filepath.Join(t.TempDir(), "a shared clone")
	git(t, ".", "clone", "-q", "--shared", r.work, shared)
	git(t, r.work, "gc", "-q")
	git(t, r.work, "config", "extensions.worktreeConfig", "true")
	for url, want := range map[string]string{
		r.work: main, linked: feature, detached: main, "file://" + r.work: main, filepath.Join(r.work, ".git"): main,
		strings.TrimSuffix(r.bare, ".git"): main, shared: main, "file://" + strings.ReplaceAll(shared, " ", "%20"): main,
	} {
		m := openMirror(t, Remote{URL: url})
		f := fetch(t, m)
		if f.Head.Hash != want {
			t.Errorf("of %s the head is %v, want %s", url, f.Head, want)
		}
		if got := read(t, m, want, "a"); got != "1" {
			t.Errorf("of %s a file reads %q", url, got)
		}
		if w, ok := Here(url); ok { // and as a checkout
			tree, err := w.Tree(want)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := fs.ReadFile(tree, "a"); string(text) != "1" || err != nil {
				t.Errorf("in checkout %s a file reads %q, %v", url, text, err)
			}
		}
	}
}

func TestARedirectToAnotherHostIsNotFollowed(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere.URL+req.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	defer s.Close()
	m, err := Open(filepath.Join(t.TempDir(), "mirror"), Remote{URL: s.URL + "/acme.git", Token: "a-secret-token"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Fetch(t.Context()); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "it redirects to "+elsewhere.URL+", which is not followed") {
		t.Errorf("the error is %v", err)
	}
	if asked {
		t.Error("the other host was asked")
	}
}
