package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// neighbour is a repository on this machine: bare, or with a checkout, or a linked worktree.
type neighbour struct {
	path   string
	branch string // the one that is asked for; may be empty
}

func (n *neighbour) open() (store *filesystem.Storage, shared string, err error) {
	for _, path := range []string{n.path, n.path + ".git"} {
		own, common, err := gitFolders(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		store := openShared(own, common)
		config, err := store.Config()
		if err != nil {
			return nil, "", fmt.Errorf("%s: read its config: %w", n.path, err)
		}
		if format := config.Raw.Section("extensions").Option("objectformat"); format != "" && format != "sha1" {
			return nil, "", fmt.Errorf("%s: only repositories with SHA-1 hashes can be read, this one has %s", n.path, format)
		}
		return store, common, nil
	}
	return nil, "", fmt.Errorf("%s: %w", n.path, ErrNotFound)
}

// gitFolders finds the folder with a repository's own HEAD and the one with what its worktrees share; both are the same
// in most repositories. fs.ErrNotExist where path isn't the root of a repository.
func gitFolders(path string) (own, shared string, err error) {
	own = filepath.Join(path, ".git")
	info, err := os.Stat(own)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		own = path
		for _, part := range []string{"HEAD", "objects", "refs"} {
			if _, err := os.Stat(filepath.Join(own, part)); err != nil {
				return "", "", fmt.Errorf("%s: %w", path, fs.ErrNotExist)
			}
		}
	case err != nil:
		return "", "", err
	case !info.IsDir():
		text, err := os.ReadFile(own)
		if err != nil {
			return "", "", err
		}
		target, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: ")
		if !ok {
			return "", "", fmt.Errorf("%s doesn't name a repository", own)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(path, target)
		}
		own = target
	}
	shared = own
	if text, err := os.ReadFile(filepath.Join(own, "commondir")); err == nil {
		shared = strings.TrimSpace(string(text))
		if !filepath.IsAbs(shared) {
			shared = filepath.Join(own, shared)
		}
	}
	if _, err := os.Stat(filepath.Join(shared, "objects")); err != nil {
		return "", "", err
	}
	return own, shared, nil
}

func (n *neighbour) refs(ctx context.Context) (refs, error) {
	store, _, err := n.open()
	if err != nil {
		return refs{}, err
	}
	r := refs{at: map[plumbing.ReferenceName]plumbing.Hash{}}
	if r.shallow, err = store.Shallow(); err != nil {
		return refs{}, err
	}
	// One by one: a list of all would stumble over the lock of another one that is just being written.
	head, err := store.Reference(plumbing.HEAD)
	if err != nil {
		return refs{}, fmt.Errorf("%s: read HEAD: %w", n.path, err)
	}
	names := []plumbing.ReferenceName{NotesRef}
	if n.branch != "" {
		names = append(names, plumbing.NewBranchReferenceName(n.branch))
	}
	if head.Type() == plumbing.SymbolicReference {
		r.head = head.Target()
		names = append(names, r.head)
	} else {
		r.at[plumbing.HEAD] = head.Hash()
	}
	for _, name := range names {
		ref, err := store.Reference(name)
		if errors.Is(err, plumbing.ErrReferenceNotFound) {
			continue
		}
		if err != nil {
			return refs{}, fmt.Errorf("%s: read %s: %w", n.path, name, err)
		}
		r.at[name] = ref.Hash()
	}
	if len(r.at) == 0 {
		if all, err := store.IterReferences(); err == nil {
			empty := true
			_ = all.ForEach(func(ref *plumbing.Reference) error {
				empty = empty && ref.Type() == plumbing.SymbolicReference
				return nil
			})
			if empty {
				return refs{}, ErrEmpty
			}
		}
	}
	return r, nil
}

func (n *neighbour) copy(ctx context.Context, into *filesystem.Storage, want plumbing.Hash, has []plumbing.Hash) error {
	from, _, err := n.open()
	if err != nil {
		return err
	}
	objects, err := missing(ctx, from, into, want)
	if err != nil {
		return fmt.Errorf("read %s: %w", n.path, err)
	}
	if len(objects) == 0 {
		return nil
	}
	if _, err := writePack(into, from, objects); err != nil {
		return fmt.Errorf("copy from %s: %w", n.path, err)
	}
	return nil
}

// missing lists what a commit reaches in one repository and another one doesn't have.
func missing(ctx context.Context, from, into *filesystem.Storage, want plumbing.Hash) ([]plumbing.Hash, error) {
	grafts, err := from.Shallow()
	if err != nil {
		return nil, err
	}
	seen := map[plumbing.Hash]bool{}
	for _, h := range grafts {
		c, err := object.GetCommit(from, h)
		if err != nil {
			continue
		}
		for _, parent := range c.ParentHashes {
			seen[parent] = from.HasEncodedObject(parent) != nil
		}
	}
	var objects []plumbing.Hash
	visit := func(h plumbing.Hash) bool {
		if seen[h] || into.HasEncodedObject(h) == nil {
			return false
		}
		seen[h] = true
		objects = append(objects, h)
		return true
	}
	commits, trees := []plumbing.Hash{want}, []plumbing.Hash(nil)
	for len(commits) > 0 {
		h := commits[len(commits)-1]
		commits = commits[:len(commits)-1]
		if !visit(h) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := object.GetCommit(from, h)
		if err != nil {
			return nil, fmt.Errorf("commit %s: %w", h, err)
		}
		commits = append(commits, c.ParentHashes...)
		for trees = append(trees, c.TreeHash); len(trees) > 0; {
			h := trees[len(trees)-1]
			trees = trees[:len(trees)-1]
			if !visit(h) {
				continue
			}
			tree, err := object.GetTree(from, h)
			if err != nil {
				return nil, fmt.Errorf("tree %s: %w", h, err)
			}
			for _, e := range tree.Entries {
				switch e.Mode {
				case filemode.Submodule:
				case filemode.Dir:
					trees = append(trees, e.Hash)
				default:
					visit(e.Hash)
				}
			}
		}
	}
	return objects, nil
}

func (n *neighbour) move(ctx context.Context, from *filesystem.Storage, name plumbing.ReferenceName, old, new plumbing.Hash, objects []plumbing.Hash) error {
	store, shared, err := n.open()
	if err != nil {
		return err
	}
	for _, h := range objects {
		o, err := from.EncodedObject(plumbing.AnyObject, h)
		if err != nil {
			return fmt.Errorf("read object %s: %w", h, err)
		}
		if store.HasEncodedObject(h) == nil {
			continue
		}
		if _, err := store.SetEncodedObject(o); err != nil {
			return fmt.Errorf("write to %s: %w", n.path, err)
		}
	}
	return moveRef(shared, store, name, &old, new)
}
