package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// NotesRef is where our notes stand, at the remote and in the mirror; `git log --notes=cloakwork` shows them once it
// is fetched.
const NotesRef = "refs/notes/cloakwork"

// How often a note is written anew because another writer was first, how many notes stand in one folder, and how large
// a note may be.
const (
	noteAttempts = 10
	flatNotes    = 256
	maxNote      = 1 << 20
)

// Note reads the remote's note of a commit, "" where it has none. The commit itself needn't be known.
func (m *Mirror) Note(ctx context.Context, commit string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !plumbing.IsHash(commit) {
		return "", fmt.Errorf("read note: %q is no commit's hash", commit)
	}
	store := openStore(m.dir)
	at, err := m.fetchNotes(ctx, store)
	if err != nil {
		return "", m.wrap("read notes of", err)
	}
	text, err := readNote(store, at, commit)
	return text, m.wrap("read notes of", err)
}

// PutNote replaces the note of a commit at the remote, whatever it was. It may be repeated; the same text again changes
// nothing.
func (m *Mirror) PutNote(ctx context.Context, commit, text string) error {
	return m.EditNote(ctx, commit, func(string) string { return text })
}

// EditNote makes a commit's note at the remote what edit makes of it; a commit without a note has an empty one. Where
// another writer is first, edit is asked again about what that one wrote, so that nobody's words are lost.
func (m *Mirror) EditNote(ctx context.Context, commit string, edit func(text string) string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !plumbing.IsHash(commit) {
		return fmt.Errorf("write note: %q is no commit's hash", commit)
	}
	err := errMoved
	for try := 0; try < noteAttempts && errors.Is(err, errMoved); try++ {
		if try > 0 {
			select {
			case <-ctx.Done():
				return m.wrap("write notes of", ctx.Err())
			case <-time.After(time.Duration(rand.Int64N(int64(try) * int64(50*time.Millisecond)))):
			}
		}
		err = m.editNote(ctx, commit, edit)
	}
	if err == nil {
		m.tidy()
	}
	return m.wrap("write notes of", err)
}

func (m *Mirror) editNote(ctx context.Context, commit string, edit func(string) string) error {
	store := openStore(m.dir)
	old, err := m.fetchNotes(ctx, store)
	if err != nil {
		return err
	}
	was, err := readNote(store, old, commit)
	if err != nil {
		return err
	}
	text := edit(was)
	switch {
	case text == was:
		return nil
	case text == "" || len(text) > maxNote:
		return fmt.Errorf("a note has 1 to %d bytes, not %d", maxNote, len(text))
	}
	draft := &draft{store: store}
	var top plumbing.Hash
	var parents []plumbing.Hash
	if !old.IsZero() {
		c, err := object.GetCommit(store, old)
		if err != nil {
			return fmt.Errorf("read notes: %w", err)
		}
		top, parents = c.TreeHash, []plumbing.Hash{old}
	}
	note, err := draft.blob(text)
	if err != nil {
		return err
	}
	root, err := draft.place(top, commit, note)
	if err != nil {
		return err
	}
	us := object.Signature{Name: "cloakwork", Email: "cloakwork@localhost", When: time.Now()}
	new, err := draft.add(&object.Commit{
		Author: us, Committer: us, Message: "Notes added by cloakwork\n", TreeHash: root, ParentHashes: parents,
	})
	if err != nil {
		return err
	}
	if err := m.origin.move(ctx, store, NotesRef, old, new, draft.objects); err != nil {
		return err
	}
	return moveRef(m.dir, store, NotesRef, nil, new)
}

// fetchNotes brings the remote's notes; zero where it has none.
func (m *Mirror) fetchNotes(ctx context.Context, store *filesystem.Storage) (plumbing.Hash, error) {
	offered, err := m.origin.refs(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	at, ok := offered.at[NotesRef]
	if !ok {
		return plumbing.ZeroHash, nil
	}
	if err := m.bring(ctx, store, at, nil); err != nil {
		return plumbing.ZeroHash, err
	}
	return at, moveRef(m.dir, store, NotesRef, nil, at)
}

// readNote finds a commit's note by its name: the whole hash, or parts of it that are folders of two digits each.
func readNote(store *filesystem.Storage, at plumbing.Hash, commit string) (string, error) {
	if at.IsZero() {
		return "", nil
	}
	c, err := object.GetCommit(store, at)
	if err != nil {
		return "", fmt.Errorf("read notes: %w", err)
	}
	folder, rest := c.TreeHash, commit
	for {
		tree, err := object.GetTree(store, folder)
		if err != nil {
			return "", fmt.Errorf("read notes: %w", err)
		}
		if i := named(tree.Entries, rest); i >= 0 && tree.Entries[i].Mode.IsFile() {
			return readText(store, tree.Entries[i].Hash)
		}
		if len(rest) <= 2 {
			return "", nil
		}
		i := named(tree.Entries, rest[:2])
		if i < 0 || tree.Entries[i].Mode != filemode.Dir {
			return "", nil
		}
		folder, rest = tree.Entries[i].Hash, rest[2:]
	}
}

func readText(store *filesystem.Storage, blob plumbing.Hash) (string, error) {
	o, err := store.EncodedObject(plumbing.BlobObject, blob)
	if err != nil {
		return "", fmt.Errorf("read note: %w", err)
	}
	r, err := o.Reader()
	if err != nil {
		return "", fmt.Errorf("read note: %w", err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxNote+1))
	if err == nil && len(text) > maxNote {
		err = fmt.Errorf("over %d bytes", maxNote)
	}
	if err != nil {
		return "", fmt.Errorf("read note: %w", err)
	}
	return string(text), nil
}

func named(entries []object.TreeEntry, name string) int {
	return slices.IndexFunc(entries, func(e object.TreeEntry) bool { return e.Name == name })
}

// draft is a change that is being written: its objects are in the mirror, and no reference leads to them yet.
type draft struct {
	store   *filesystem.Storage
	objects []plumbing.Hash
}

type encodable interface {
	Encode(plumbing.EncodedObject) error
}

func (d *draft) add(o encodable) (plumbing.Hash, error) {
	encoded := d.store.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		return plumbing.ZeroHash, err
	}
	return d.keep(encoded)
}

func (d *draft) blob(text string) (plumbing.Hash, error) {
	o := d.store.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := io.Copy(w, strings.NewReader(text)); err != nil {
		return plumbing.ZeroHash, err
	}
	if err := w.Close(); err != nil {
		return plumbing.ZeroHash, err
	}
	return d.keep(o)
}

func (d *draft) keep(o plumbing.EncodedObject) (plumbing.Hash, error) {
	hash, err := d.store.SetEncodedObject(o)
	if err != nil {
		return hash, err
	}
	d.objects = append(d.objects, hash)
	return hash, nil
}

// place puts a note into a folder of notes: where its name stands already, below the folder of its first two digits
// where notes are spread so, or beside the others.
func (d *draft) place(folder plumbing.Hash, name string, note plumbing.Hash) (plumbing.Hash, error) {
	var tree object.Tree
	if !folder.IsZero() {
		read, err := object.GetTree(d.store, folder)
		if err != nil {
			return plumbing.ZeroHash, fmt.Errorf("read notes: %w", err)
		}
		tree.Entries = slices.Clone(read.Entries)
	}
	spread := len(tree.Entries) >= flatNotes
	for _, e := range tree.Entries {
		spread = spread || e.Mode == filemode.Dir && len(e.Name) == 2
	}
	set := func(e object.TreeEntry) {
		if i := named(tree.Entries, e.Name); i >= 0 {
			tree.Entries[i] = e
		} else {
			tree.Entries = append(tree.Entries, e)
		}
	}
	if i := named(tree.Entries, name); i >= 0 || !spread || len(name) <= 2 {
		set(object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: note})
	} else {
		var below plumbing.Hash
		if i := named(tree.Entries, name[:2]); i >= 0 && tree.Entries[i].Mode == filemode.Dir {
			below = tree.Entries[i].Hash
		}
		below, err := d.place(below, name[2:], note)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		set(object.TreeEntry{Name: name[:2], Mode: filemode.Dir, Hash: below})
	}
	sort.Sort(object.TreeEntrySorter(tree.Entries))
	return d.add(&tree)
}
