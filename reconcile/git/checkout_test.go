package git

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestHereFindsTheCheckoutAroundAPath(t *testing.T) {
	r := newRepository(t)
	first := r.commit("first", map[string]string{"realms/acme.yaml": "a: 1\n"})
	head := r.commit("second", map[string]string{"realms/acme.yaml": "a: 2\n"})
	git(t, r.work, "remote", "set-url", "origin", "https://ada:hunter2@Git.Example.test:443/team/acme.git/")
	root, err := filepath.EvalSymlinks(r.work)
	if err != nil {
		t.Fatal(err)
	}
	for path, within := range map[string]string{
		".": ".", "realms": "realms", "realms/acme.yaml": "realms/acme.yaml",
	} {
		got, ok := Here(filepath.Join(r.work, path))
		want := Worktree{Root: root, Path: within, Origin: "https://git.example.test/team/acme", Commit: head}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Worktree{})); !ok || diff != "" {
			t.Errorf("%s: %v %s", path, ok, diff)
		}
		if yes, err := got.Descends(first, head); !yes || err != nil {
			t.Errorf("descends: %v, %v", yes, err)
		}
		tree, err := got.Tree(first)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := fs.ReadFile(tree, "realms/acme.yaml"); string(text) != "a: 1\n" || err != nil {
			t.Errorf("the first commit reads %q, %v", text, err)
		}
	}
	for _, path := range []string{t.TempDir(), filepath.Join(r.work, "nothing")} {
		if w, ok := Here(path); ok {
			t.Errorf("%s is in %v", path, w)
		}
	}
}

func TestHereKnowsLinkedWorktreesAndFreshRepositories(t *testing.T) {
	r := newRepository(t)
	if w, ok := Here(r.work); !ok || w.Commit != "" {
		t.Errorf("a repository without a commit is %v, %v", w, ok)
	}
	r.commit("first", map[string]string{"a": "1"})
	linked := filepath.Join(t.TempDir(), "linked")
	git(t, r.work, "worktree", "add", "-q", "-b", "feature", linked)
	git(t, linked, "commit", "-q", "--allow-empty", "-m", "on feature")
	w, ok := Here(linked)
	if want := git(t, linked, "rev-parse", "HEAD"); !ok || w.Commit != want || w.Origin != Canonical(r.bare) {
		t.Errorf("a linked worktree is %v, %v", w, ok)
	}
	if dirty, err := w.Dirty(); dirty || err != nil {
		t.Errorf("it is dirty: %v, %v", dirty, err)
	}
}

func TestHereWorksInAShallowClone(t *testing.T) {
	r := newRepository(t)
	first := r.push("first", map[string]string{"a": "1"})
	head := r.push("second", map[string]string{"a": "2"})
	shallow := filepath.Join(t.TempDir(), "shallow")
	git(t, ".", "clone", "-q", "--depth=1", "file://"+r.bare, shallow)
	w, ok := Here(shallow)
	if !ok || w.Commit != head {
		t.Fatalf("it is %v, %v", w, ok)
	}
	if _, err := w.Descends(first, head); !errors.Is(err, ErrUnknown) {
		t.Errorf("whether it descends: %v", err)
	}
	if _, err := w.Tree(first); !errors.Is(err, ErrUnknown) {
		t.Errorf("the tree of a commit that isn't there: %v", err)
	}
	if dirty, err := w.Dirty(); dirty || err != nil {
		t.Errorf("it is dirty: %v, %v", dirty, err)
	}
}

func TestDirtyIsWhatGitStatusSaysBelowThePath(t *testing.T) {
	start := map[string]string{
		"realms/acme.yaml": "a: 1\n", "realms/deep/x.yaml": "x: 1\n", "other/y.yaml": "y: 1\n", ".gitignore": "*.log\n/build/\n", "realms/.gitignore": "local.yaml\n",
	}
	write := func(name, text string) func(t *testing.T, r *repository) {
		return func(t *testing.T, r *repository) {
			path := filepath.Join(r.work, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o666)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		do           func(t *testing.T, r *repository)
		root, realms bool
	}{
		"nothing":           {func(*testing.T, *repository) {}, false, false},
		"changed":           {write("realms/acme.yaml", "a: 2\n"), true, true},
		"changed elsewhere": {write("other/y.yaml", "y: 2\n"), true, false},
		"untracked":         {write("realms/new.yaml", "n: 1\n"), true, true},
		"in a new folder":   {write("realms/new/new.yaml", "n: 1\n"), true, true},
		"ignored":           {write("realms/x.log", "x"), false, false},
		"ignored folder":    {write("build/x.yaml", "x"), false, false},
		"ignored there":     {write("realms/local.yaml", "x"), false, false},
		"deleted":           {func(t *testing.T, r *repository) { remove(t, filepath.Join(r.work, "realms/deep")) }, true, true},
		"staged": {func(t *testing.T, r *repository) {
			write("realms/acme.yaml", "a: 2\n")(t, r)
			git(t, r.work, "add", "-A")
		}, true, true},
		"touched": {func(t *testing.T, r *repository) {
			if err := os.Chtimes(filepath.Join(r.work, "realms/acme.yaml"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, false, false},
		"executable": {func(t *testing.T, r *repository) {
			if err := os.Chmod(filepath.Join(r.work, "realms/acme.yaml"), 0o777); err != nil {
				t.Fatal(err)
			}
		}, true, true},
		"line ends": {func(t *testing.T, r *repository) {
			git(t, r.work, "config", "core.autocrlf", "true")
			remove(t, filepath.Join(r.work, "realms/acme.yaml"))
			git(t, r.work, "checkout", "-q", "--", ".")
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			r.commit("first", start)
			c.do(t, r)
			for path, want := range map[string]bool{".": c.root, "realms": c.realms} {
				w, ok := Here(filepath.Join(r.work, path))
				if !ok {
					t.Fatal("no checkout found")
				}
				if got, err := w.Dirty(); got != want || err != nil {
					t.Errorf("%s is dirty: %v, %v; want %v", path, got, err, want)
				}
				if status := git(t, r.work, "status", "--porcelain", "--", path); (status != "") != want {
					t.Errorf("of %s git status says %q", path, status)
				}
			}
		})
	}
}

func TestCanonicalURLsCompareEqualAndHoldNoSecret(t *testing.T) {
	for url, want := range map[string]string{
		"https://git.example.test/team/acme.git":              "https://git.example.test/team/acme",
		"https://ada:hunter2@git.example.test/team/acme/":     "https://git.example.test/team/acme",
		"https://GIT.example.test:443/team/acme.git/":         "https://git.example.test/team/acme",
		"http://git.example.test:3000/team/acme?token=secret": "http://git.example.test:3000/team/acme",
		"git@git.example.test:team/acme.git":                  "ssh://git.example.test/team/acme",
		"ssh://git@git.example.test:22/team/acme.git":         "ssh://git.example.test/team/acme",
		"/srv/git/acme.git":                                   "/srv/git/acme",
		"/srv/git/acme/.git":                                  "/srv/git/acme",
		"file:///srv/git/acme.git/":                           "/srv/git/acme",
		"../acme":                                             "../acme",
		"/":                                                   "/",
		"":                                                    "",
		"https://ada:hun%ter2@git.example.test/x":             "(a URL that can't be read)",
	} {
		if got := Canonical(url); got != want {
			t.Errorf("%q is %q, want %q", url, got, want)
		}
	}
}

func TestACommitOfTheHistoryIsFoundByWhatPeopleCallIt(t *testing.T) {
	r := newRepository(t)
	first := r.push("first", map[string]string{"a": "1"})
	git(t, r.work, "tag", "light")
	git(t, r.work, "tag", "-a", "-m", "noted", "v1")
	git(t, r.work, "checkout", "-q", "-b", "side")
	side := r.commit("side", map[string]string{"b": "1"})
	git(t, r.work, "checkout", "-q", "main")
	second := r.push("second", map[string]string{"a": "2"})
	w, ok := Here(r.work)
	if !ok {
		t.Fatal("there is no checkout")
	}
	for name, want := range map[string]string{"light": first, "v1": first, first: first, first[:8]: first, strings.ToUpper(first[:8]): first, second[:7]: second,
		side: "", first[:3]: "", "": "", "side": "", "v2": ""} {
		got, err := w.Resolve(name)
		if got != want || (err == nil) == (want == "") || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("%q is %q (%v), want %q", name, got, err, want)
		}
	}
}
