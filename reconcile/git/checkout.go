package git

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Worktree is the checkout that a path lies in. Nothing of it is ever written.
type Worktree struct {
	Root   string // of the checkout
	Path   string // within it, slash-separated; "." for the root
	Origin string // the URL of its remote "origin", Canonical; empty without one
	Commit string // HEAD's full hash; empty before the first commit

	own, shared string
}

// Here finds the git checkout around a file or folder; false where there is none, or no readable one.
func Here(path string) (Worktree, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Worktree{}, false
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return Worktree{}, false
	}
	for root := path; ; root = filepath.Dir(root) {
		if _, err := os.Lstat(filepath.Join(root, ".git")); err == nil {
			return here(root, path)
		}
		if root == filepath.Dir(root) {
			return Worktree{}, false
		}
	}
}

func here(root, path string) (Worktree, bool) {
	own, shared, err := gitFolders(root)
	if err != nil {
		return Worktree{}, false
	}
	within, err := filepath.Rel(root, path)
	if err != nil {
		return Worktree{}, false
	}
	w := Worktree{Root: root, Path: filepath.ToSlash(within), own: own, shared: shared}
	store := w.store()
	head, err := store.Reference(plumbing.HEAD)
	if err != nil {
		return Worktree{}, false
	}
	if head.Type() == plumbing.SymbolicReference {
		head, err = store.Reference(head.Target())
	}
	if err == nil {
		w.Commit = head.Hash().String()
	}
	if config, err := store.Config(); err == nil {
		if origin := config.Remotes["origin"]; origin != nil && len(origin.URLs) > 0 {
			w.Origin = Canonical(origin.URLs[0])
		}
	}
	return w, true
}

func (w Worktree) store() *filesystem.Storage { return openShared(w.own, w.shared) }

// Tree opens the tree of a commit of this repository, as Mirror.Tree does.
func (w Worktree) Tree(hash string) (fs.FS, error) { return openTree(w.store, hash) }

// Descends tells whether b descends from a, as Mirror.Descends does. In a shallow clone it may be ErrUnknown.
func (w Worktree) Descends(a, b string) (bool, error) {
	return descends(w.store(), plumbing.NewHash(a), plumbing.NewHash(b))
}

// Resolve finds a commit in the history of HEAD: by its hash, or the beginning of it, or a tag.
func (w Worktree) Resolve(name string) (hash string, err error) {
	store := w.store()
	tagged := plumbing.ZeroHash
	if ref, err := store.Reference(plumbing.NewTagReferenceName(name)); err == nil {
		tagged = ref.Hash()
		if tag, err := object.GetTag(store, tagged); err == nil { // an annotated one names its commit
			tagged = tag.Target
		}
	}
	const fewest = 4 // letters that may stand for a commit
	seen := map[plumbing.Hash]bool{}
	for next := []plumbing.Hash{plumbing.NewHash(w.Commit)}; len(next) > 0; next = next[1:] {
		at := next[0]
		if seen[at] {
			continue
		}
		seen[at] = true
		c, err := object.GetCommit(store, at)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue // a shallow history ends here
		} else if err != nil {
			return "", fmt.Errorf("read commit %s: %w", at, err)
		}
		if at == tagged {
			return at.String(), nil
		}
		if len(name) >= fewest && strings.HasPrefix(at.String(), strings.ToLower(name)) {
			if hash != "" {
				return "", fmt.Errorf("several commits begin with %s", name)
			}
			hash = at.String()
		}
		next = append(next, c.ParentHashes...)
	}
	if hash == "" {
		return "", fmt.Errorf("commit %s: it isn't in the history of this checkout: %w", name, ErrUnknown)
	}
	return hash, nil
}

// Dirty tells whether what lies on disk below Path differs from HEAD's commit: changed, missing, or untracked and not
// ignored. A file that is as the index remembers it isn't read.
func (w Worktree) Dirty() (bool, error) {
	if w.Commit == "" {
		return true, nil
	}
	dirty, err := w.dirty()
	if err != nil {
		return false, fmt.Errorf("compare %s with commit %s: %w", w.Root, w.Commit, err)
	}
	return dirty, nil
}

// errDirty ends a walk at the first difference.
var errDirty = errors.New("differs")

func (w Worktree) dirty() (bool, error) {
	store := w.store()
	fsys, err := openTree(func() *filesystem.Storage { return store }, w.Commit)
	if err != nil {
		return false, err
	}
	want := fsys.(*tree)
	tracked := map[string]*entry{}
	if err := want.tracked(w.Path, tracked); err != nil {
		return false, err
	}
	known := map[string]*index.Entry{}
	if list, err := store.Index(); err == nil { // of a form that go-git can't read it only costs time
		for _, e := range list.Entries {
			known[e.Name] = e
		}
	}
	for name, e := range tracked {
		same, err := w.same(name, e, known[name])
		if err != nil || !same {
			return !same, err
		}
	}
	err = w.untracked(tracked)
	if errors.Is(err, errDirty) {
		return true, nil
	}
	return false, err
}

// tracked lists the files of a commit at and below a path; a path that it doesn't have has none.
func (t *tree) tracked(name string, into map[string]*entry) error {
	e, err := t.walk(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if e.mode != filemode.Dir {
		into[name] = e
		return nil
	}
	children, err := t.entries(e.hash)
	if err != nil {
		return err
	}
	for _, c := range children {
		below := c.Name
		if name != "." {
			below = name + "/" + c.Name
		}
		if c.Mode == filemode.Dir {
			if err := t.tracked(below, into); err != nil {
				return err
			}
			continue
		}
		into[below] = &entry{tree: t, name: c.Name, mode: c.Mode, hash: c.Hash}
	}
	return nil
}

// same compares a file on disk with what the commit has.
func (w Worktree) same(name string, want *entry, known *index.Entry) (bool, error) {
	path := filepath.Join(w.Root, filepath.FromSlash(name))
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return want.mode == filemode.Submodule, nil // one that isn't checked out
	}
	if err != nil {
		return false, err
	}
	switch {
	case want.mode == filemode.Submodule:
		return info.IsDir(), nil // what it holds is another repository's
	case want.mode == filemode.Symlink:
		if info.Mode().Type() != fs.ModeSymlink {
			return false, nil
		}
		target, err := os.Readlink(path)
		return err == nil && blobHash(strings.NewReader(filepath.ToSlash(target)), int64(len(target))) == want.hash, err
	case !info.Mode().IsRegular():
		return false, nil
	case (info.Mode()&0o100 != 0) != (want.mode == filemode.Executable):
		return false, nil
	}
	if known != nil && known.Hash == want.hash && known.ModifiedAt.Equal(info.ModTime()) && int64(known.Size) == info.Size() {
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if blobHash(f, info.Size()) == want.hash {
		return true, nil
	}
	// git may have been told to write line ends as \r\n.
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	plain := bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return len(plain) != len(text) && blobHash(bytes.NewReader(plain), int64(len(plain))) == want.hash, nil
}

func blobHash(r io.Reader, size int64) plumbing.Hash {
	sum := sha1.New()
	fmt.Fprintf(sum, "blob %d\x00", size)
	_, _ = io.Copy(sum, r) // of a file that can't be read to its end the hash is another one
	return plumbing.Hash(sum.Sum(nil))
}

// untracked looks for a file that the commit doesn't have and git isn't told to ignore; errDirty where there is one.
func (w Worktree) untracked(tracked map[string]*entry) error {
	patterns := ignoring(filepath.Join(w.shared, "info", "exclude"), nil)
	patterns = append(patterns, ignoring(filepath.Join(w.Root, ".gitignore"), nil)...)
	if w.Path != "." {
		parts := strings.Split(w.Path, "/")
		for i := 1; i < len(parts); i++ { // of the folder itself the walk reads it
			above := filepath.Join(append([]string{w.Root}, parts[:i]...)...)
			patterns = append(patterns, ignoring(filepath.Join(above, ".gitignore"), parts[:i])...)
		}
	}
	ignored := gitignore.NewMatcher(patterns)
	start := filepath.Join(w.Root, filepath.FromSlash(w.Path))
	return filepath.WalkDir(start, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		within, err := filepath.Rel(w.Root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(within)
		parts := strings.Split(name, "/")
		switch e := tracked[name]; {
		case name == ".":
			return nil
		case e != nil && d.IsDir(), d.Name() == ".git" && d.IsDir():
			return fs.SkipDir // a submodule, or git's own
		case e != nil, d.Name() == ".git":
			return nil
		case ignored.Match(parts, d.IsDir()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			patterns = append(patterns, ignoring(filepath.Join(path, ".gitignore"), parts)...)
			ignored = gitignore.NewMatcher(patterns)
			return nil
		}
		return errDirty
	})
}

// ignoring reads the patterns of one file, which hold below the folder it stands in; none where it can't be read.
func ignoring(file string, folder []string) []gitignore.Pattern {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var patterns []gitignore.Pattern
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, gitignore.ParsePattern(line, folder))
		}
	}
	return patterns
}

// Canonical spells a repository's URL so that two spellings of one compare equal, and so that it may be shown: without
// user, password, query, trailing slash and .git; user@host:path becomes ssh://host/path. A path stays a path.
func Canonical(remote string) string {
	if scpLike(remote) {
		host, path, _ := strings.Cut(remote, ":")
		remote = "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
	}
	if !strings.Contains(remote, "://") {
		return trimGit(filepath.ToSlash(remote))
	}
	u, err := url.Parse(remote)
	if err != nil {
		return "(a URL that can't be read)" // it may hold a password
	}
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"http": ":80", "https": ":443", "ssh": ":22"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	if u.Scheme == "file" {
		return trimGit(u.Path)
	}
	return (&url.URL{Scheme: u.Scheme, Host: host, Path: trimGit(u.Path)}).String()
}

func trimGit(path string) string {
	for {
		short := strings.TrimSuffix(strings.TrimRight(path, "/"), ".git")
		if strings.HasSuffix(short, "/") { // the folder .git of a checkout
			return strings.TrimRight(short, "/")
		}
		if short == path || short == "" {
			return path
		}
		path = short
	}
}

// scpLike tells user@host:path from a local path.
func scpLike(remote string) bool {
	host, _, ok := strings.Cut(remote, ":")
	return ok && len(host) > 1 && !strings.ContainsAny(host, `/\`) && !strings.Contains(remote, "://")
}
