package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/git"
)

// tree is the configuration that a command line names.
type tree struct {
	fsys   fs.FS
	paths  []string // those named, within fsys; none: all of it
	prefix string   // makes the names in fsys those that a person in the working folder would type
	folder string   // the root, absolute; "" for standard input
	named  []string // the files and folders that were named, absolute
}

// standardInput is how the command line spells it, and the name of what came from there.
const standardInput = "-"

// openTree opens what the arguments name: a folder, files with the folder around them, or standard input. Nothing outside
// of the root can be read through it, symbolic links included.
func (c *cli) openTree(args []string) (tree, error) {
	if len(args) == 0 {
		args = []string{"."}
	}
	if slices.Contains(args, standardInput) {
		if len(args) > 1 {
			return tree{}, advise("give it alone", "standard input (-) can't stand beside other paths")
		}
		text, err := io.ReadAll(c.in)
		if err != nil {
			return tree{}, fmt.Errorf("read standard input: %w", err)
		}
		return tree{fsys: input{text}, paths: []string{standardInput}}, nil
	}
	var t tree
	for _, arg := range args {
		path, err := filepath.Abs(arg)
		if err != nil {
			return tree{}, err
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return tree{}, advise("name a file, a folder, or - for standard input", "%s: there is no such file or folder", arg)
		case err != nil:
			return tree{}, err
		}
		t.named = append(t.named, path)
		folder := path
		if !info.IsDir() {
			folder = filepath.Dir(path)
		}
		if t.folder == "" {
			t.folder = folder
		}
		t.folder = common(t.folder, folder)
	}
	for _, path := range t.named {
		within, err := filepath.Rel(t.folder, path)
		if err != nil {
			return tree{}, err
		}
		if within != "." {
			t.paths = append(t.paths, filepath.ToSlash(within))
		}
	}
	if len(t.paths) < len(t.named) { // the root itself is among them
		t.paths = nil
	}
	root, err := os.OpenRoot(t.folder)
	if err != nil {
		return tree{}, err
	}
	t.fsys, t.prefix = root.FS(), typed(t.folder, filepath.IsAbs(args[0]))
	return t, nil
}

// common is the nearest folder that holds both.
func common(a, b string) string {
	for ; ; a = filepath.Dir(a) {
		if within, err := filepath.Rel(a, b); err == nil && within != ".." && !strings.HasPrefix(within, ".."+string(filepath.Separator)) {
			return a
		}
	}
}

// typed is how a person in the working folder would begin the path of a file in folder.
func typed(folder string, absolute bool) string {
	working, err := os.Getwd()
	if err != nil {
		return folder + "/"
	}
	within, err := filepath.Rel(working, folder)
	switch {
	case err != nil, absolute && strings.HasPrefix(within, ".."):
		return strings.TrimSuffix(filepath.ToSlash(folder), "/") + "/"
	case within == ".":
		return ""
	}
	return filepath.ToSlash(within) + "/"
}

// identity is where a configuration comes from: what ledgers know it by, and the commits behind it.
type identity struct {
	source, path string
	commit       string        // "" where what lies on disk isn't what a commit holds
	worktree     *git.Worktree // of the root; nil outside of git
	within       string        // the root, within the worktree
}

// identify finds out what ledgers shall know the tree by.
func (c *cli) identify(t tree) (identity, error) {
	id := identity{source: c.flags.source}
	if t.folder == "" {
		if id.source == "" {
			return id, advise("give --source NAME: what it owns is known by that", "manifests from standard input come from nowhere")
		}
		return id, nil
	}
	work, ok := git.Here(t.folder)
	if !ok {
		if id.source == "" {
			id.source = "file://" + list(t.named)
		}
		return id, nil
	}
	id.worktree, id.within = &work, work.Path
	dirty := false
	var paths []string
	for _, name := range t.named {
		w, ok := git.Here(name)
		if !ok || w.Root != work.Root {
			return id, fmt.Errorf("%s isn't in the git checkout %s as the other paths are", name, work.Root)
		}
		d, err := w.Dirty()
		if err != nil {
			c.log.Warn("taken for changed, so that no commit is claimed", "error", err)
		}
		dirty = dirty || d || err != nil
		paths = append(paths, w.Path)
	}
	id.path = list(paths)
	if !dirty {
		id.commit = work.Commit
	}
	if id.source == "" {
		id.source = sourceName(work.Origin, work.Root, id.path)
	}
	return id, nil
}

// sourceName is the name of a path in a repository: the same whether a person applies it from a checkout that came by SSH
// or a controller that fetches by HTTPS.
func sourceName(origin, root, path string) string {
	if origin == "" {
		origin = filepath.ToSlash(root)
	}
	if strings.HasPrefix(origin, "/") {
		origin = "file://" + origin
	}
	for _, way := range []string{"https://", "http://", "ssh://"} {
		origin = strings.TrimPrefix(origin, way)
	}
	if path == "." || path == "" {
		return origin
	}
	return origin + "//" + path
}

// list is several paths in one, in order.
func list(paths []string) string {
	paths = slices.Clone(paths)
	slices.Sort(paths)
	return filepath.ToSlash(strings.Join(slices.Compact(paths), ","))
}

// at is the tree as an earlier commit holds it.
func (id identity) at(commit string) (fs.FS, error) {
	fsys, err := id.worktree.Tree(commit)
	if err != nil || id.within == "." {
		return fsys, err
	}
	return fs.Sub(fsys, id.within)
}

// input is a file system with one file: what came on standard input.
type input struct{ text []byte }

func (i input) Open(name string) (fs.File, error) {
	if name != standardInput {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return inputFile{bytes.NewReader(i.text), inputInfo{int64(len(i.text))}}, nil
}

type inputFile struct {
	*bytes.Reader
	info inputInfo
}

func (f inputFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f inputFile) Close() error               { return nil }

type inputInfo struct{ size int64 }

func (i inputInfo) Name() string       { return standardInput }
func (i inputInfo) Size() int64        { return i.size }
func (i inputInfo) Mode() fs.FileMode  { return 0o400 }
func (i inputInfo) ModTime() time.Time { return time.Time{} }
func (i inputInfo) IsDir() bool        { return false }
func (i inputInfo) Sys() any           { return nil }
