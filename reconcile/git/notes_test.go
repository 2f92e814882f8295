package git

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestANoteIsShownByGitLog(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		first := r.push("first", map[string]string{"a": "1"})
		second := r.push("second", map[string]string{"a": "2"})
		m := openMirror(t, remote)
		if text, err := m.Note(t.Context(), first); text != "" || err != nil {
			t.Errorf("before any note it reads %q, %v", text, err)
		}
		for commit, text := range map[string]string{first: "cloakwork/eu: success: fine\n", second: "cloakwork/eu: failure: drifted\n"} {
			if err := m.PutNote(t.Context(), commit, text); err != nil {
				t.Fatal(err)
			}
		}
		fetch(t, m)
		if text, err := m.Note(t.Context(), first); text != "cloakwork/eu: success: fine\n" || err != nil {
			t.Errorf("it reads %q, %v", text, err)
		}
		log := git(t, r.bare, "log", "--notes=cloakwork", "main")
		for _, want := range []string{"Notes (cloakwork):", "cloakwork/eu: success: fine", "cloakwork/eu: failure: drifted"} {
			if !strings.Contains(log, want) {
				t.Errorf("git log lacks %q:\n%s", want, log)
			}
		}
		git(t, r.bare, "fsck", "--strict")

		before := git(t, r.bare, "rev-parse", NotesRef)
		if err := m.PutNote(t.Context(), first, "cloakwork/eu: success: fine\n"); err != nil {
			t.Fatal(err)
		}
		if after := git(t, r.bare, "rev-parse", NotesRef); after != before {
			t.Error("the same note again made a commit")
		}
	})
}

func TestNotesThatGitSpreadOverFoldersAreReadAndReplaced(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		fresh := r.push("first", nil)
		var stream strings.Builder
		for i := range 300 { // git spreads notes from 256 on
			fmt.Fprintf(&stream, "commit refs/heads/many\nmark :%d\ncommitter Ada <ada@example.test> %d +0000\ndata 1\nx\n", i+1, 1700000000+i)
		}
		fmt.Fprint(&stream, "commit refs/notes/cloakwork\ncommitter Ada <ada@example.test> 1700000000 +0000\ndata 1\nx\n")
		for i := range 300 {
			text := fmt.Sprintf("note %d\n", i)
			fmt.Fprintf(&stream, "N inline :%d\ndata %d\n%s\n", i+1, len(text), text)
		}
		r.fastImport(stream.String())
		commits := strings.Fields(git(t, r.bare, "rev-list", "--reverse", "many"))
		if list := git(t, r.bare, "ls-tree", "refs/notes/cloakwork"); !strings.Contains(list, "040000 tree") {
			t.Fatalf("git didn't spread its notes:\n%s", list)
		}
		m := openMirror(t, remote)
		if text, err := m.Note(t.Context(), commits[7]); text != "note 7\n" || err != nil {
			t.Errorf("it reads %q, %v", text, err)
		}
		for _, c := range []string{commits[7], fresh} {
			if err := m.PutNote(t.Context(), c, "ours\n"); err != nil {
				t.Fatal(err)
			}
			if got := git(t, r.bare, "notes", "--ref=cloakwork", "show", c); got != "ours" {
				t.Errorf("git reads %q", got)
			}
		}
		if got := git(t, r.bare, "notes", "--ref=cloakwork", "list"); strings.Count(got, "\n")+1 != 301 {
			t.Errorf("git lists %d notes, want 301", strings.Count(got, "\n")+1)
		}
	})
}

func (r *repository) fastImport(stream string) {
	r.t.Helper()
	cmd := gitCommand(r.bare, "fast-import", "--quiet")
	cmd.Stdin = strings.NewReader(stream)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git fast-import: %v\n%s", err, out)
	}
}

func TestManyNotesOfOursAreReadByGit(t *testing.T) {
	r := newRepository(t)
	r.push("first", nil)
	m := openMirror(t, Remote{URL: r.bare})
	n := flatNotes + 40
	for i := range n {
		if err := m.PutNote(t.Context(), fmt.Sprintf("%040x", 1<<40*i+7), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := git(t, r.bare, "notes", "--ref=cloakwork", "list"); strings.Count(got, "\n")+1 != n {
		t.Errorf("git lists %d notes, want %d", strings.Count(got, "\n")+1, n)
	}
	git(t, r.bare, "fsck", "--strict", "--no-dangling")
}

func TestTwoWritersOfOneNoteLoseNothing(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		commit := r.push("first", nil)
		mirrors := []*Mirror{openMirror(t, remote), openMirror(t, remote)}
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := range 3 {
					line := fmt.Sprintf("writer %d, line %d\n", w, i)
					if err := mirrors[w%2].EditNote(t.Context(), commit, func(text string) string { return text + line }); err != nil {
						t.Errorf("writer %d: %v", w, err)
					}
				}
			})
		}
		writers.Wait()
		if got := git(t, r.bare, "notes", "--ref=cloakwork", "show", commit); strings.Count(got, "\n")+1 != 12 {
			t.Errorf("the note is\n%s", got)
		}
	})
}

func TestTwoWritersOfNotesLoseNothing(t *testing.T) {
	each(t, func(t *testing.T, r *repository, remote Remote) {
		r.push("first", nil)
		var writers sync.WaitGroup
		for w := range 3 {
			m := openMirror(t, remote)
			writers.Go(func() {
				for i := range 5 {
					commit := fmt.Sprintf("%038x%d%d", 0, w, i)
					if err := m.PutNote(t.Context(), commit, fmt.Sprint(w, i)); err != nil {
						t.Errorf("writer %d: %v", w, err)
					}
				}
			})
		}
		writers.Wait()
		if got := git(t, r.bare, "notes", "--ref=cloakwork", "list"); strings.Count(got, "\n")+1 != 15 {
			t.Errorf("git lists:\n%s", got)
		}
		git(t, r.bare, "fsck", "--strict")
	})
}

func TestANoteTakesNoPartInTheUsersCheckout(t *testing.T) {
	r := newRepository(t)
	hash := r.push("first", map[string]string{"a": "1"})
	linked := filepath.Join(t.TempDir(), "linked")
	git(t, r.work, "worktree", "add", "-q", "-b", "feature", linked)
	m := openMirror(t, Remote{URL: linked})
	if err := m.PutNote(t.Context(), hash, "seen\n"); err != nil {
		t.Fatal(err)
	}
	if got := git(t, r.work, "notes", "--ref=cloakwork", "show", hash); got != "seen" {
		t.Errorf("git reads %q", got)
	}
	if status := git(t, linked, "status", "--porcelain"); status != "" {
		t.Errorf("git status says %q", status)
	}
}

func TestANoteNeedsAHashAndAText(t *testing.T) {
	r := newRepository(t)
	m := openMirror(t, Remote{URL: r.bare})
	for _, c := range [][2]string{{"main", "x"}, {"../../x", "x"}, {strings.Repeat("a", 40), ""}, {strings.Repeat("a", 40), strings.Repeat("x", maxNote+1)}} {
		if err := m.PutNote(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("a note of %d bytes for %q was taken", len(c[1]), c[0])
		}
	}
}

func TestAPushThatAHookDeclinesIsRefusedAndNotRepeated(t *testing.T) {
	r := newRepository(t)
	hash := r.push("first", nil)
	if err := os.WriteFile(filepath.Join(r.bare, "hooks", "update"), []byte("#!/bin/sh\necho x >> asked\nexit 1\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	m := openMirror(t, Remote{URL: r.serve(), Token: goodToken})
	if err := m.PutNote(t.Context(), hash, "x"); !errors.Is(err, ErrRefused) {
		t.Errorf("the error is %v", err)
	}
	asked, err := os.ReadFile(filepath.Join(r.bare, "asked"))
	if err != nil || string(asked) != "x\n" {
		t.Errorf("the hook was asked %q, %v", asked, err)
	}
}

func TestALockThatSomebodyLeftIsNamed(t *testing.T) {
	r := newRepository(t)
	hash := r.push("first", nil)
	lock := filepath.Join(r.bare, "refs/notes/cloakwork.lock")
	if err := errors.Join(os.MkdirAll(filepath.Dir(lock), 0o777), os.WriteFile(lock, nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	m := openMirror(t, Remote{URL: r.bare})
	if err := m.PutNote(t.Context(), hash, "x"); err == nil || !strings.Contains(err.Error(), lock) {
		t.Errorf("the error is %v", err)
	}
}
