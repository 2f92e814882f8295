package git

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func TestADamagedMirrorIsClonedAgain(t *testing.T) {
	packs := func(t *testing.T, dir, ext string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "objects/pack/*."+ext))
		if err != nil || len(found) != 1 {
			t.Fatalf("packs are %v, %v", found, err)
		}
		return found[0]
	}
	for name, harm := range map[string]func(t *testing.T, dir string){
		"pack cut off": func(t *testing.T, dir string) { truncate(t, packs(t, dir, "pack"), 30) },
		"pack empty":   func(t *testing.T, dir string) { truncate(t, packs(t, dir, "pack"), 0) },
		"bit flipped": func(t *testing.T, dir string) {
			path := packs(t, dir, "pack")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 4
			overwrite(t, path, b)
		},
		"index gone":       func(t *testing.T, dir string) { remove(t, packs(t, dir, "idx")) },
		"index cut off":    func(t *testing.T, dir string) { truncate(t, packs(t, dir, "idx"), 100) },
		"pack gone":        func(t *testing.T, dir string) { remove(t, packs(t, dir, "pack")) },
		"objects gone":     func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "objects")) },
		"HEAD empty":       func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "HEAD"), 0) },
		"config gone":      func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "config")) },
		"reference broken": func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "refs/heads/main"), []byte("x\n")) },
		"reference empty":  func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "refs/heads/main"), 0) },
	} {
		for _, when := range []string{"before open", "while open"} {
			if when == "while open" && (name == "bit flipped" || name == "config gone") {
				continue // nothing that a fetch reads
			}
			t.Run(name+" "+when, func(t *testing.T) {
				r := newRepository(t)
				r.push("first", fill("realms", 20))
				remote := Remote{URL: r.bare}
				if when == "while open" {
					remote = Remote{URL: r.serve(), Token: goodToken}
				}
				m := openMirror(t, remote)
				fetch(t, m)
				harm(t, m.dir)
				hash := r.push("second", map[string]string{"a": "2"})
				if when == "before open" {
					var err error
					if m, err = Open(m.dir, remote, nil); err != nil {
						t.Fatal(err)
					}
				}
				if f := fetch(t, m); f.Head.Hash != hash {
					t.Errorf("the fetch says %+v", f)
				}
				if got := read(t, m, hash, "realms/000.yaml"); got != "realms: 0\n" {
					t.Errorf("an old file reads %q", got)
				}
				git(t, m.dir, "fsck", "--strict")
			})
		}
	}
}

func TestAMirrorOutlivesAKilledProcess(t *testing.T) {
	r := newRepository(t)
	hash := r.push("first", fill("realms", 5))
	m := openMirror(t, Remote{URL: r.bare})
	fetch(t, m)
	left := []string{"refs/heads/main.lock", "HEAD.lock", "objects/pack/tmp_pack_123", "objects/pack/tmp_idx_123"}
	for _, name := range left {
		overwrite(t, filepath.Join(m.dir, name), nil)
	}
	var log bytes.Buffer
	m, err := Open(m.dir, m.remote, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := m.Head(); !ok || c.Hash != hash || log.Len() > 0 {
		t.Errorf("the head is %v; log: %s", c, log.String())
	}
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(m.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", name)
		}
	}
	second := r.push("second", nil)
	if f := fetch(t, m); f.Head.Hash != second {
		t.Errorf("the fetch says %+v", f)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, text []byte) {
	t.Helper()
	remove(t, path)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
