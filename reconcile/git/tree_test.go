package git

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func symlink(t *testing.T, r *repository, target, name string) {
	t.Helper()
	path := filepath.Join(r.work, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

func TestTreeIsAFileSystem(t *testing.T) {
	r := newRepository(t)
	symlink(t, r, "realms", "link-to-folder")
	symlink(t, r, "../base/one.yaml", "realms/link-to-file")
	symlink(t, r, "deeper/../../base", "realms/there-and-back")
	if err := os.MkdirAll(filepath.Join(r.work, "bin"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.work, "bin/run"), []byte("#!/bin/sh\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	hash := r.push("first", map[string]string{
		"realms/acme.yaml": "a: 1\n", "realms/deeper/x": "x", "base/one.yaml": "one", "empty": "", "realms.yaml": "sorts before realms/ in git",
	})
	m := openMirror(t, Remote{URL: r.bare})
	fetch(t, m)
	tree, err := m.Tree(hash)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "realms/acme.yaml", "realms/deeper/x", "base/one.yaml", "empty", "bin/run", "realms.yaml",
		"link-to-folder", "realms/link-to-file", "realms/there-and-back"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"link-to-folder/acme.yaml": "a: 1\n", "realms/link-to-file": "one", "link-to-folder/link-to-file": "one", "realms/there-and-back/one.yaml": "one",
	} {
		if got, err := fs.ReadFile(tree, name); err != nil || string(got) != want {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if info, err := fs.Stat(tree, "bin/run"); err != nil || info.Mode() != 0o555 {
		t.Errorf("an executable is %v, %v", info, err)
	}
	for _, name := range []string{"nothing", "realms/nothing", "empty/below", "realms/acme.yaml/below"} {
		if _, err := fs.Stat(tree, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASymlinkOutOfTheTreeIsAnErrorThatSaysSo(t *testing.T) {
	r := newRepository(t)
	outside := map[string]string{
		"up": "../secret", "absolute": "/etc/passwd", "sly": "realms/../../secret", "by-folder": "realms/out/x", "chain": "up",
	}
	for name, target := range outside {
		symlink(t, r, target, name)
	}
	symlink(t, r, "../..", "realms/out")
	symlink(t, r, "circle-b", "circle-a")
	symlink(t, r, "circle-a", "circle-b")
	symlink(t, r, "nowhere", "dangling")
	hash := r.push("first", map[string]string{"realms/a": "1"})
	m := openMirror(t, Remote{URL: r.bare})
	fetch(t, m)
	tree, err := m.Tree(hash)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range outside {
		if _, err := fs.ReadFile(tree, name); !errors.Is(err, ErrEscapes) {
			t.Errorf("%s → %s: %v", name, target, err)
		}
		if got, err := fs.ReadLink(tree, name); err != nil || got != target {
			t.Errorf("link %s reads %q, %v", name, got, err)
		}
	}
	if _, err := fs.Stat(tree, "circle-a"); err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrEscapes) {
		t.Errorf("a circle of links: %v", err)
	}
	if _, err := fs.Stat(tree, "dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link to nothing: %v", err)
	}
	var names []string
	if err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	}); err != nil {
		t.Error(err)
	}
	want := []string{".", "absolute", "by-folder", "chain", "circle-a", "circle-b", "dangling", "realms", "realms/a", "realms/out", "sly", "up"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("a walk follows no links: %s", diff)
	}
}

func TestASubmoduleIsAnEmptyFolder(t *testing.T) {
	r := newRepository(t)
	r.commit("first", map[string]string{"a": "1"})
	git(t, r.work, "update-index", "--add", "--cacheinfo", "160000,"+git(t, r.work, "rev-parse", "HEAD")+",vendor/sub")
	git(t, r.work, "commit", "-q", "-m", "submodule")
	git(t, r.work, "push", "-q", "origin", "main")
	m := openMirror(t, Remote{URL: r.bare})
	f := fetch(t, m)
	tree, err := m.Tree(f.Head.Hash)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "a", "vendor/sub"); err != nil {
		t.Error(err)
	}
	if list, err := fs.ReadDir(tree, "vendor/sub"); err != nil || len(list) != 0 {
		t.Errorf("it holds %v, %v", list, err)
	}
}

func TestALargeFileIsStreamed(t *testing.T) {
	r := newRepository(t)
	random := rand.NewChaCha8([32]byte{1})
	big := make([]byte, 16<<20)
	_, _ = random.Read(big)
	want := sha256.Sum256(big)
	if err := os.WriteFile(filepath.Join(r.work, "big"), big, 0o666); err != nil {
		t.Fatal(err)
	}
	big = nil
	hash := r.push("first", nil)
	m := openMirror(t, Remote{URL: r.serve(), Token: goodToken})
	fetch(t, m)
	tree, err := m.Tree(hash)
	if err != nil {
		t.Fatal(err)
	}
	info, err := fs.Stat(tree, "big")
	if err != nil || info.Size() != 16<<20 {
		t.Fatalf("the file is %v, %v", info, err)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := tree.Open("big")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("the file reads differently")
	}
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 4<<20 {
		t.Errorf("reading it took %d MB of memory", taken>>20)
	}
}

func TestATreeStaysGoodWhileTheMirrorFetchesAndMergesPacks(t *testing.T) {
	r := newRepository(t)
	hash := r.push("first", fill("realms", 10))
	m := openMirror(t, Remote{URL: r.bare})
	fetch(t, m)
	tree, err := m.Tree(hash)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				for i := range 10 {
					name := fmt.Sprintf("realms/%03d.yaml", i)
					if got, err := fs.ReadFile(tree, name); err != nil || string(got) != fmt.Sprintf("realms: %d\n", i) {
						t.Errorf("%s reads %q, %v", name, got, err)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range manyPacks + 3 {
		r.push("next", map[string]string{"counter": fmt.Sprint(i)})
		fetch(t, m)
	}
	close(done)
	readers.Wait()
}
