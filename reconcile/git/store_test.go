package git

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

func TestAHundredFetchesLeaveFewPacksAndLoseNothing(t *testing.T) {
	r := newRepository(t)
	symlink(t, r, "realms", "link") // go-git's own repacking stumbles over links and submodules
	hashes := []string{r.push("first", fill("realms", 50))}
	m := openMirror(t, Remote{URL: r.serve(), Token: goodToken})
	fetch(t, m)
	var heap [101]uint64
	for i := 1; i <= 100; i++ {
		if i == 50 { // a force push: what it left behind stays readable
			git(t, r.work, "reset", "-q", "--soft", hashes[10])
		}
		hashes = append(hashes, r.push(fmt.Sprint("commit ", i), map[string]string{"counter": fmt.Sprint(i)}))
		if f := fetch(t, m); f.Rewritten != (i == 50) {
			t.Fatalf("fetch %d says %+v", i, f)
		}
		if i%10 == 0 {
			if err := m.PutNote(t.Context(), hashes[i], fmt.Sprint("note ", i)); err != nil {
				t.Fatal(err)
			}
		}
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		heap[i] = stats.HeapAlloc
	}
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects/pack/*.pack"))
	if err != nil || len(packs) > manyPacks+1 {
		t.Errorf("there are %d packs, %v", len(packs), err)
	}
	for i, hash := range hashes {
		want := fmt.Sprint(i)
		if i == 0 {
			continue
		}
		if got := read(t, m, hash, "counter"); got != want {
			t.Errorf("commit %d reads %q", i, got)
		}
		if i%10 == 0 {
			if got, err := m.Note(t.Context(), hash); err != nil || got != fmt.Sprint("note ", i) {
				t.Errorf("note %d reads %q, %v", i, got, err)
			}
		}
	}
	git(t, m.dir, "fsck", "--strict")
	if count := git(t, m.dir, "rev-list", "--count", "refs/notes/cloakwork"); count != "10" {
		t.Errorf("%s notes commits, want 10", count)
	}
	if after, early := heap[100], heap[20]; float64(after) > 1.2*float64(early)+1<<20 {
		t.Errorf("the heap grew from %d kB after 20 fetches to %d kB after 100", early>>10, after>>10)
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir, "objects/pack/tmp_*")); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, " "))
	}
}

func TestAServerCantWriteOutsideTheMirrorByTheNameOfABranch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []plumbing.ReferenceName{"refs/heads/../../../sly", "/sly", "../sly", "refs/heads/.lock", ""} {
		if err := moveRef(filepath.Join(dir, "mirror"), openStore(dir), name, nil, plumbing.NewHash(strings.Repeat("1", 40))); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}
