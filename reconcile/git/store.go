package git

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// How much of a repository is held in memory while it is read, and how many packs, or objects outside of packs (notes
// of ours), may stand before they become one.
const (
	cacheSize   = 4 * cache.MiByte
	largeObject = 1 << 20 // read as a stream from here on
	manyPacks   = 16
	manyLoose   = 2048
	deltaWindow = 10
)

// openStore opens a bare repository for one purpose: go-git's storage belongs to one goroutine, and lists the packs once.
func openStore(dir string) *filesystem.Storage {
	return open(osfs.New(dir))
}

// openShared opens the repository of a checkout, whose own part (HEAD, index) may stand apart from what it shares with
// other worktrees.
func openShared(own, shared string) *filesystem.Storage {
	if own == shared {
		return openStore(own)
	}
	return open(dotgit.NewRepositoryFilesystem(osfs.New(own), osfs.New(shared)))
}

func open(folder billy.Filesystem) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(folder, cache.NewObjectLRU(cacheSize), filesystem.Options{
		LargeObjectThreshold: largeObject,
		AlternatesFS:         osfs.New("/"), // a clone made with --shared or --reference names other repositories
	})
}

// marker is a file that only a mirror has: a folder without it, which somebody named by mistake, is never emptied.
const marker = "cloakwork-mirror"

// begin makes an empty mirror in the place of the one that is there.
func (m *Mirror) begin() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(m.dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == marker }) {
		return fmt.Errorf("folder %s holds something else than a mirror of ours", m.dir)
	}
	for _, e := range entries {
		if e.Name() == marker {
			continue
		}
		if err := os.RemoveAll(filepath.Join(m.dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(m.dir, marker), []byte("This folder may be emptied at any time: it is a copy of a git repository.\n"), 0o600); err != nil {
		return err
	}
	for _, folder := range []string{"objects/pack", "objects/info", "refs/heads", "refs/notes"} {
		if err := os.MkdirAll(filepath.Join(m.dir, folder), 0o700); err != nil {
			return err
		}
	}
	config := fmt.Sprintf("[core]\n\trepositoryformatversion = 0\n\tbare = true\n[cloakwork]\n\tmirrors = %q\n", Canonical(m.remote.URL))
	if err := writeFile(filepath.Join(m.dir, "config"), config); err != nil {
		return err
	}
	return writeFile(filepath.Join(m.dir, "HEAD"), "ref: refs/heads/main\n")
}

// damage says what is wrong with the mirror's folder; fs.ErrNotExist where there is none. It reads each pack once, and
// the head's tree without its files.
func (m *Mirror) damage() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fs.ErrNotExist
	}
	store := openStore(m.dir)
	config, err := store.Config()
	if err != nil {
		return fmt.Errorf("read its config: %w", err)
	}
	if was := config.Raw.Section("cloakwork").Option("mirrors"); was != Canonical(m.remote.URL) {
		return fmt.Errorf("it mirrors %q", was)
	}
	if _, err := store.Reference(plumbing.HEAD); err != nil {
		return fmt.Errorf("read its HEAD: %w", err)
	}
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack"))
	if err != nil {
		return err
	}
	for _, pack := range packs {
		if err := checkPack(pack); err != nil {
			return err
		}
	}
	references, err := store.IterReferences()
	if err != nil {
		return fmt.Errorf("read its references: %w", err)
	}
	return references.ForEach(func(r *plumbing.Reference) error {
		if r.Type() != plumbing.HashReference {
			return nil
		}
		if err := checkCommit(store, r.Hash()); err != nil {
			return fmt.Errorf("%s: %w", r.Name(), err)
		}
		return nil
	})
}

// checkPack compares a pack with the checksum that it ends with, and its name.
func checkPack(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	if info.Size() < 2*sha1.Size {
		return fmt.Errorf("%s is cut off", name)
	}
	sum, want := sha1.New(), make([]byte, sha1.Size)
	if _, err := io.CopyN(sum, f, info.Size()-sha1.Size); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := io.ReadFull(f, want); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != hex.EncodeToString(want) {
		return fmt.Errorf("%s has a wrong checksum", name)
	}
	return nil
}

// checkCommit sees that a commit, its folders and the headers of its files can be read.
func checkCommit(store *filesystem.Storage, hash plumbing.Hash) error {
	c, err := object.GetCommit(store, hash)
	if err != nil {
		return fmt.Errorf("read commit %s: %w", hash, err)
	}
	seen := map[plumbing.Hash]bool{}
	for next := []plumbing.Hash{c.TreeHash}; len(next) > 0; next = next[1:] {
		tree, err := object.GetTree(store, next[0])
		if err != nil {
			return fmt.Errorf("read tree %s: %w", next[0], err)
		}
		for _, e := range tree.Entries {
			switch {
			case seen[e.Hash] || e.Mode == filemode.Submodule:
			case e.Mode == filemode.Dir:
				next = append(next, e.Hash)
			default:
				if _, err := sizeOf(store, e.Hash); err != nil {
					return fmt.Errorf("read %s: %w", e.Name, err)
				}
			}
			seen[e.Hash] = true
		}
	}
	return nil
}

// sweep removes what a process left in a mirror that was killed while it wrote.
func (m *Mirror) sweep() {
	if _, err := os.Stat(filepath.Join(m.dir, marker)); err != nil {
		return
	}
	for _, pattern := range []string{"objects/pack/tmp_*", "*.lock", "refs/*/*.lock", "refs/*/*/*.lock"} {
		left, _ := filepath.Glob(filepath.Join(m.dir, pattern))
		for _, path := range left {
			_ = os.Remove(path) // it is in nobody's way
		}
	}
}

// consolidate makes one pack of many, so that a thousand fetches don't leave a thousand packs to look through. All
// but the largest pack are merged, with the loose objects: most of the repository is not rewritten each time. Nothing
// is dropped, also not what no reference reaches any more, since a commit that was rewritten away may be the applied one.
func (m *Mirror) consolidate() error {
	store := openStore(m.dir)
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "pack-*.pack"))
	if err != nil {
		return err
	}
	sample, err := filepath.Glob(filepath.Join(m.dir, "objects", "17", "*")) // one of 256 folders, as likely as the others
	if err != nil || len(packs) <= manyPacks && len(sample) <= manyLoose/256 {
		return err
	}
	sizes := map[string]int64{}
	for _, p := range packs {
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		sizes[p] = info.Size()
	}
	slices.SortFunc(packs, func(a, b string) int { return int(sizes[a] - sizes[b]) })
	packs = packs[:max(0, len(packs)-1)]

	var loose, objects []plumbing.Hash
	if err := store.ForEachObjectHash(func(h plumbing.Hash) error { loose = append(loose, h); return nil }); err != nil {
		return err
	}
	seen := map[plumbing.Hash]bool{}
	for _, h := range loose {
		seen[h] = true
	}
	objects = append(objects, loose...)
	for _, p := range packs {
		if err := packed(p, func(h plumbing.Hash) {
			if !seen[h] {
				seen[h] = true
				objects = append(objects, h)
			}
		}); err != nil {
			return err
		}
	}
	merged, err := writePack(store, store, objects)
	if err != nil {
		return fmt.Errorf("merge packs: %w", err)
	}
	for _, p := range packs {
		if p == filepath.Join(m.dir, "objects", "pack", "pack-"+merged.String()+".pack") {
			continue
		}
		if err := errors.Join(os.Remove(strings.TrimSuffix(p, ".pack")+".idx"), os.Remove(p)); err != nil {
			return err
		}
	}
	for _, h := range loose {
		if err := store.DeleteLooseObject(h); err != nil {
			return err
		}
	}
	return nil
}

// packed lists the objects of a pack by its index.
func packed(pack string, each func(plumbing.Hash)) error {
	f, err := os.Open(strings.TrimSuffix(pack, ".pack") + ".idx")
	if err != nil {
		return err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(index); err != nil {
		return fmt.Errorf("read index of %s: %w", filepath.Base(pack), err)
	}
	entries, err := index.Entries()
	if err != nil {
		return err
	}
	for {
		e, err := entries.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		each(e.Hash)
	}
}

// writePack writes objects of one repository into another, as one pack.
func writePack(into, from *filesystem.Storage, objects []plumbing.Hash) (sum plumbing.Hash, err error) {
	w, err := into.PackfileWriter()
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return packfile.NewEncoder(w, everywhere{from}, false).Encode(objects, deltaWindow)
}

// everywhere finds objects also in the repositories that a shared clone borrows from, where go-git looks for whole
// objects only.
type everywhere struct {
	*filesystem.Storage
}

func (s everywhere) DeltaObject(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	o, err := s.Storage.DeltaObject(t, h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return s.EncodedObject(t, h)
	}
	return o, err
}

// sizeOf is an object's size, without its contents where they needn't be read for that.
func sizeOf(store *filesystem.Storage, h plumbing.Hash) (int64, error) {
	size, err := store.EncodedObjectSize(h)
	if !errors.Is(err, plumbing.ErrObjectNotFound) {
		return size, err
	}
	o, err := everywhere{store}.EncodedObject(plumbing.AnyObject, h)
	if err != nil {
		return 0, err
	}
	return o.Size(), nil
}

// tips is what the mirror's references stand at. A commit that an index knows and its pack can't show is an error: what is
// fetched on top of it would hide the damage.
func tips(store *filesystem.Storage) ([]plumbing.Hash, error) {
	references, err := store.IterReferences()
	if err != nil {
		return nil, fmt.Errorf("read references: %w", err)
	}
	var hashes []plumbing.Hash
	err = references.ForEach(func(r *plumbing.Reference) error {
		if r.Type() != plumbing.HashReference || store.HasEncodedObject(r.Hash()) != nil {
			return nil
		}
		if _, err := object.GetCommit(store, r.Hash()); err != nil {
			return fmt.Errorf("%s: read commit %s: %w", r.Name(), r.Hash(), err)
		}
		hashes = append(hashes, r.Hash())
		return nil
	})
	return hashes, err
}

// moveRef sets a reference as git itself does: it writes NAME.lock, which must not exist, and renames it. With old
// given it is errMoved where the reference isn't there.
func moveRef(dir string, store *filesystem.Storage, name plumbing.ReferenceName, old *plumbing.Hash, new plumbing.Hash) (err error) {
	if err := name.Validate(); err != nil { // a server may call its branches what it likes
		return fmt.Errorf("reference %q: %w", name, err)
	}
	path := filepath.Join(dir, filepath.FromSlash(string(name)))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	lock, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s.lock is there", errMoved, path)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(lock.Name())
		}
	}()
	if old != nil {
		var now plumbing.Hash
		if ref, err := store.Reference(name); err == nil {
			now = ref.Hash()
		}
		if now != *old {
			return errors.Join(errMoved, lock.Close())
		}
	}
	if _, err := lock.WriteString(new.String() + "\n"); err != nil {
		return errors.Join(err, lock.Close())
	}
	if err := errors.Join(lock.Sync(), lock.Close()); err != nil {
		return err
	}
	return os.Rename(lock.Name(), path)
}

// writeFile replaces a file of the mirror at once or not at all.
func writeFile(path, text string) error {
	temporary := path + ".lock"
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
