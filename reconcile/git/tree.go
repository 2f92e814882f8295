package git

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// A path with more symbolic links than this is a circle; a link's text longer than this is none.
const (
	maxLinks    = 40
	maxLinkText = 4096
)

// tree is a commit's tree as a file system.
type tree struct {
	root plumbing.Hash
	time time.Time
	open func() *filesystem.Storage

	mu      sync.Mutex // guards what follows: go-git's storage belongs to one goroutine at a time
	store   *filesystem.Storage
	folders map[plumbing.Hash][]object.TreeEntry // sorted by name
}

var _ interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	fs.ReadLinkFS
} = (*tree)(nil)

func openTree(open func() *filesystem.Storage, hash string) (fs.FS, error) {
	store := open()
	c, err := object.GetCommit(store, plumbing.NewHash(hash))
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, fmt.Errorf("open tree of commit %s: %w", hash, ErrUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("open tree of commit %s: %w", hash, err)
	}
	return &tree{root: c.TreeHash, time: c.Committer.When, open: open, store: store, folders: map[plumbing.Hash][]object.TreeEntry{}}, nil
}

func (t *tree) Open(name string) (fs.File, error) {
	e, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if e.IsDir() {
		return &openFolder{entry: e, path: name}, nil
	}
	r, err := t.reader(e)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{entry: e, path: name, r: r}, nil
}

func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	list, err := e.list()
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return list, nil
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func (t *tree) Stat(name string) (fs.FileInfo, error) {
	return t.find("stat", name, true)
}

func (t *tree) Lstat(name string) (fs.FileInfo, error) {
	return t.find("lstat", name, false)
}

func (t *tree) ReadLink(name string) (string, error) {
	e, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if e.mode != filemode.Symlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := t.target(e)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// find walks down to a name. Symbolic links on the way are followed, and the last one where asked to.
func (t *tree) find(op, name string, follow bool) (*entry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	e, err := t.walk(name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if err := e.measure(); err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return e, nil
}

func (t *tree) walk(name string, follow bool) (*entry, error) {
	root := &entry{tree: t, name: ".", mode: filemode.Dir, hash: t.root}
	way := []*entry{root} // from the root to where we are
	left := strings.Split(name, "/")
	for links := 0; len(left) > 0; {
		step := left[0]
		left = left[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if len(way) == 1 {
				return nil, ErrEscapes
			}
			way = way[:len(way)-1]
			continue
		}
		here := way[len(way)-1]
		if !here.IsDir() {
			return nil, fs.ErrNotExist
		}
		e, err := here.child(step)
		if err != nil {
			return nil, err
		}
		if e.mode != filemode.Symlink || len(left) == 0 && !follow {
			way = append(way, e)
			continue
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("symbolic link %q: more than %d links in a row", step, maxLinks)
		}
		target, err := t.target(e)
		if err != nil {
			return nil, err
		}
		if path.IsAbs(target) {
			return nil, fmt.Errorf("%w: to %q", ErrEscapes, target)
		}
		left = append(strings.Split(target, "/"), left...)
	}
	found := *way[len(way)-1]
	found.name = path.Base(name)
	return &found, nil
}

// target reads where a symbolic link points.
func (t *tree) target(e *entry) (string, error) {
	r, err := t.reader(e)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxLinkText+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxLinkText || len(text) == 0 {
		return "", fmt.Errorf("symbolic link of %d bytes", len(text))
	}
	return string(text), nil
}

// with runs f on the storage. Where an object is missing the packs were merged meanwhile: it opens them anew, once.
func (t *tree) with(f func(*filesystem.Storage) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := f(t.store)
	if errors.Is(err, plumbing.ErrObjectNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, dotgit.ErrPackfileNotFound) {
		t.store = t.open()
		err = f(t.store)
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return fmt.Errorf("the repository lacks this object: %w", err)
	}
	return err
}

func (t *tree) entries(folder plumbing.Hash) (list []object.TreeEntry, err error) {
	err = t.with(func(store *filesystem.Storage) error {
		if known, ok := t.folders[folder]; ok {
			list = known
			return nil
		}
		read, err := object.GetTree(store, folder)
		if err != nil {
			return err
		}
		list = slices.Clone(read.Entries)
		for _, e := range list {
			if !fs.ValidPath(e.Name) || e.Name == "." || strings.ContainsAny(e.Name, "/\x00") {
				return fmt.Errorf("folder %s is malformed: it has an entry named %q", folder, e.Name)
			}
		}
		slices.SortFunc(list, func(a, b object.TreeEntry) int { return strings.Compare(a.Name, b.Name) })
		t.folders[folder] = list
		return nil
	})
	return list, err
}

// reader streams a file's bytes. Large ones are read piece by piece from the pack, unless they are stored as a delta.
func (t *tree) reader(e *entry) (r io.ReadCloser, err error) {
	err = t.with(func(store *filesystem.Storage) error {
		o, err := store.EncodedObject(plumbing.BlobObject, e.hash)
		if err != nil {
			return err
		}
		r, err = o.Reader()
		return err
	})
	return r, err
}

// entry is one file, folder, link or submodule; it is its own fs.FileInfo and fs.DirEntry.
type entry struct {
	tree *tree
	name string
	mode filemode.FileMode
	hash plumbing.Hash
	size int64
}

func (e *entry) Name() string       { return e.name }
func (e *entry) IsDir() bool        { return e.mode == filemode.Dir || e.mode == filemode.Submodule }
func (e *entry) Type() fs.FileMode  { return e.Mode().Type() }
func (e *entry) Size() int64        { return e.size }
func (e *entry) ModTime() time.Time { return e.tree.time }
func (e *entry) Sys() any           { return nil }

func (e *entry) String() string { return fs.FormatDirEntry(e) }

func (e *entry) Mode() fs.FileMode {
	switch e.mode {
	case filemode.Dir, filemode.Submodule:
		return fs.ModeDir | 0o555
	case filemode.Symlink:
		return fs.ModeSymlink | 0o777
	case filemode.Executable:
		return 0o555
	default:
		return 0o444
	}
}

func (e *entry) Info() (fs.FileInfo, error) {
	measured := *e
	return &measured, measured.measure()
}

// measure looks up the size, which trees don't hold.
func (e *entry) measure() error {
	if e.IsDir() {
		return nil
	}
	return e.tree.with(func(store *filesystem.Storage) (err error) {
		e.size, err = sizeOf(store, e.hash)
		return err
	})
}

func (e *entry) child(name string) (*entry, error) {
	if e.mode == filemode.Submodule {
		return nil, fs.ErrNotExist
	}
	list, err := e.tree.entries(e.hash)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(list, name, func(c object.TreeEntry, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &entry{tree: e.tree, name: name, mode: list[i].Mode, hash: list[i].Hash}, nil
}

func (e *entry) list() ([]fs.DirEntry, error) {
	if !e.IsDir() {
		return nil, errors.New("not a folder")
	}
	if e.mode == filemode.Submodule {
		return nil, nil
	}
	children, err := e.tree.entries(e.hash)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, len(children))
	for i, c := range children {
		list[i] = &entry{tree: e.tree, name: c.Name, mode: c.Mode, hash: c.Hash}
	}
	return list, nil
}

type openFile struct {
	*entry
	path string
	r    io.ReadCloser
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.entry, nil }

func (f *openFile) Read(b []byte) (int, error) {
	if f.r == nil {
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrClosed}
	}
	n, err := f.r.Read(b)
	if err != nil && err != io.EOF {
		err = &fs.PathError{Op: "read", Path: f.path, Err: err}
	}
	return n, err
}

func (f *openFile) Close() error {
	if f.r == nil {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	r := f.r
	f.r = nil
	return r.Close()
}

type openFolder struct {
	*entry
	path string
	left []fs.DirEntry
	read bool
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *openFolder) Close() error               { return nil }

func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.path, Err: errors.New("is a folder")}
}

func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if !f.read {
		list, err := f.list()
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: f.path, Err: err}
		}
		f.left, f.read = list, true
	}
	if n <= 0 {
		n = len(f.left)
	} else if len(f.left) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.left))
	list := f.left[:n:n]
	f.left = f.left[n:]
	return list, nil
}
