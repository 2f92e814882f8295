// Package git keeps a copy of a repository's branch on disk and reads its commits.
//
// A Mirror fetches; it opens any commit's tree as an fs.FS, tells whether one commit descends from another, and reads
// and writes git notes. What was fetched once stays readable: through force pushes, a vanished branch, and a remote that
// is away. No git binary is needed.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// What a person can act on; errors.Is tells them, and their text says which branch, commit or server.
var (
	ErrNoBranch    = errors.New("no such branch")                            // vanished, or misspelt
	ErrEmpty       = errors.New("the repository is empty")                   // push a first commit
	ErrRefused     = errors.New("the server refuses")                        // the credentials, or what they may not do; the text says which
	ErrNotFound    = errors.New("no such repository")                        // or not visible to this user
	ErrUnreachable = errors.New("the git server can't be reached")           // down, cut off, or answers nonsense
	ErrUnknown     = errors.New("the commit isn't known")                    // never fetched, or cut off by a shallow history
	ErrNoKey       = errors.New("an SSH key is needed")                      // to sign in with
	ErrHostUnknown = errors.New("the server's host key isn't known")         // to known_hosts
	ErrHostChanged = errors.New("the server's host key isn't the known one") // somebody may stand in between
	ErrEscapes     = errors.New("the symbolic link leads out of the tree")   // of a Tree
)

// Remote is where commits come from.
type Remote struct {
	URL         string   // a local path, file://, http://, https://, ssh:// or user@host:path
	Branch      string   // empty: the remote's default branch
	User, Token string   // for HTTP; a token alone is enough for every forge. For SSH, User goes before the URL's
	CA          []byte   // PEM, trusted besides the system's
	SSHKey      []byte   // a private key without a passphrase
	KnownHosts  []string // files; none: those of SSH_KNOWN_HOSTS, or ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
}

// Commit is what one commit says of itself.
type Commit struct {
	Hash, Subject, Author string
	Time                  time.Time // of the commit, not of its authoring
}

// Fetched is what a Fetch brought.
type Fetched struct {
	Head      Commit
	Branch    string // the one that was fetched; empty where the remote's HEAD is detached
	Before    string // the hash of the head before; empty the first time
	Moved     bool   // Head isn't Before
	Rewritten bool   // Head doesn't descend from Before: somebody force-pushed, or another branch became the default one
}

// Mirror is a bare repository of our own that holds one branch of a remote in full, and the notes. Its folder belongs
// to one Mirror at a time. All methods may be called by several goroutines; reading doesn't wait for a fetch.
type Mirror struct {
	dir    string
	remote Remote
	origin origin
	log    *slog.Logger
	mu     sync.Mutex // held by what writes to dir
}

// origin is the other side of a mirror.
type origin interface {
	// refs asks what there is.
	refs(ctx context.Context) (refs, error)
	// copy brings a commit and all that it reaches into the mirror, as one pack or not at all. The mirror has what is
	// reached from has; errMoved where the origin doesn't show the commit any more.
	copy(ctx context.Context, into *filesystem.Storage, want plumbing.Hash, has []plumbing.Hash) error
	// move sets a reference, for which the origin gets these objects of the mirror; errMoved where it isn't at old.
	move(ctx context.Context, from *filesystem.Storage, name plumbing.ReferenceName, old, new plumbing.Hash, objects []plumbing.Hash) error
}

var errMoved = errors.New("another writer was first")

// refs is what an origin has to offer.
type refs struct {
	at      map[plumbing.ReferenceName]plumbing.Hash
	head    plumbing.ReferenceName // the default branch; empty where HEAD is detached or missing
	shallow []plumbing.Hash        // commits whose parents the origin itself doesn't have
}

// fetchAttempts is how often a fetch looks anew at a branch that moves while it is copied.
const fetchAttempts = 5

// detached is where the mirror keeps the head of a remote that is on no branch.
const detached = plumbing.ReferenceName("refs/cloakwork/detached")

// Open opens a mirror in a folder of its own, which it makes, private to this user. A mirror that is damaged, or of
// another URL, is emptied: the next Fetch clones. A folder that holds anything but a mirror is an error, and stays as it
// is. Open asks nothing of the remote.
func Open(dir string, r Remote, log *slog.Logger) (*Mirror, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Mirror{dir: dir, remote: r, log: log}
	o, err := originOf(r)
	if err != nil {
		return nil, err
	}
	m.origin = o
	m.sweep()
	switch why := m.damage(); {
	case errors.Is(why, fs.ErrNotExist):
		err = m.begin()
	case why != nil:
		log.Warn("git mirror is thrown away and cloned again", "url", Canonical(r.URL), "why", why.Error())
		err = m.begin()
	default:
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open git mirror: %w", err)
	}
	return m, nil
}

func originOf(r Remote) (origin, error) {
	scheme, rest, ok := strings.Cut(r.URL, "://")
	switch {
	case ok && (scheme == "http" || scheme == "https"):
		return newServer(r)
	case ok && scheme == "file":
		if plain, err := url.PathUnescape(rest); err == nil {
			rest = plain
		}
		return &neighbour{path: filepath.FromSlash(rest), branch: r.Branch}, nil
	case ok && scheme == "ssh", scpLike(r.URL):
		return newSSH(r)
	case ok:
		return nil, fmt.Errorf("git repository %s: only https, http, ssh, file and local paths are supported", Canonical(r.URL))
	case r.URL == "":
		return nil, errors.New("a git repository has a URL")
	}
	path, err := filepath.Abs(r.URL)
	if err != nil {
		return nil, err
	}
	return &neighbour{path: path, branch: r.Branch}, nil
}

// Fetch brings the branch's newest commit and its whole history. After an error the last known commit stays readable.
// It may take long on a first clone; ctx bounds it. It may be repeated at any time.
func (m *Mirror) Fetch(ctx context.Context) (Fetched, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.fetch(ctx)
	for try := 1; errors.Is(err, errMoved) && try < fetchAttempts; try++ {
		f, err = m.fetch(ctx)
	}
	if err == nil || ctx.Err() != nil || actionable(err) {
		return f, m.wrap("fetch", err)
	}
	why := m.damage()
	if why == nil {
		return f, m.wrap("fetch", err)
	}
	m.log.Warn("git mirror is thrown away and cloned again", "url", Canonical(m.remote.URL), "why", why.Error())
	if err := m.begin(); err != nil {
		return Fetched{}, m.wrap("fetch", err)
	}
	f, err = m.fetch(ctx)
	return f, m.wrap("fetch", err)
}

func (m *Mirror) fetch(ctx context.Context) (Fetched, error) {
	offered, err := m.origin.refs(ctx)
	if err != nil {
		return Fetched{}, err
	}
	name, hash, err := choose(m.remote.Branch, offered)
	if err != nil {
		return Fetched{}, err
	}
	store := openStore(m.dir)
	before, had := m.head(store)
	if err := m.bring(ctx, store, hash, offered.shallow); err != nil {
		return Fetched{}, err
	}
	f := Fetched{Moved: hash != before}
	if f.Moved {
		if err := checkCommit(openStore(m.dir), hash); err != nil {
			return Fetched{}, err
		}
	}
	if name.IsBranch() {
		f.Branch = name.Short()
	}
	if f.Head, err = readCommit(store, hash); err != nil {
		return Fetched{}, err
	}
	if had {
		f.Before = before.String()
		descends, err := descends(store, before, hash)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return Fetched{}, err
		}
		f.Rewritten = !descends
	}
	if err := moveRef(m.dir, store, name, nil, hash); err != nil {
		return Fetched{}, err
	}
	if err := writeFile(filepath.Join(m.dir, "HEAD"), "ref: "+string(name)+"\n"); err != nil {
		return Fetched{}, err
	}
	m.tidy()
	return f, nil
}

// tidy merges packs. That it couldn't is no reason to keep a commit back.
func (m *Mirror) tidy() {
	if err := m.consolidate(); err != nil {
		m.log.Warn("git mirror stays in many packs", "url", Canonical(m.remote.URL), "why", err.Error())
	}
}

// choose finds the branch among what is offered.
func choose(branch string, offered refs) (plumbing.ReferenceName, plumbing.Hash, error) {
	if branch != "" {
		name := plumbing.NewBranchReferenceName(branch)
		if hash, ok := offered.at[name]; ok {
			return name, hash, nil
		}
		return "", plumbing.ZeroHash, fmt.Errorf("branch %q: %w", branch, ErrNoBranch)
	}
	if hash, ok := offered.at[offered.head]; ok {
		return offered.head, hash, nil
	}
	if offered.head != "" {
		return "", plumbing.ZeroHash, fmt.Errorf("default branch %q: %w", offered.head.Short(), ErrNoBranch)
	}
	if hash, ok := offered.at[plumbing.HEAD]; ok {
		return detached, hash, nil
	}
	return "", plumbing.ZeroHash, fmt.Errorf("the repository names no default branch: %w", ErrNoBranch)
}

// bring makes a commit and what it reaches part of the mirror. A commit that is there is there with all it reaches,
// since packs come whole.
func (m *Mirror) bring(ctx context.Context, store *filesystem.Storage, want plumbing.Hash, shallow []plumbing.Hash) error {
	if store.HasEncodedObject(want) == nil {
		return nil
	}
	if len(shallow) > 0 {
		known, err := store.Shallow()
		if err != nil {
			return err
		}
		all := append(known, shallow...)
		slices.SortFunc(all, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) })
		if err := store.SetShallow(slices.Compact(all)); err != nil {
			return err
		}
	}
	has, err := tips(store)
	if err != nil {
		return err
	}
	return m.origin.copy(ctx, store, want, has)
}

// Head is the last commit that was fetched of the branch; false before the first Fetch.
func (m *Mirror) Head() (Commit, bool) {
	store := openStore(m.dir)
	hash, ok := m.head(store)
	if !ok {
		return Commit{}, false
	}
	c, err := readCommit(store, hash)
	return c, err == nil
}

func (m *Mirror) head(store *filesystem.Storage) (plumbing.Hash, bool) {
	head, err := store.Reference(plumbing.HEAD)
	if err != nil || head.Type() != plumbing.SymbolicReference {
		return plumbing.ZeroHash, false
	}
	if m.remote.Branch != "" && head.Target() != plumbing.NewBranchReferenceName(m.remote.Branch) {
		return plumbing.ZeroHash, false
	}
	ref, err := store.Reference(head.Target())
	if err != nil {
		return plumbing.ZeroHash, false
	}
	return ref.Hash(), true
}

// Tree opens a commit's tree; errors.Is ErrUnknown where the mirror doesn't have that commit.
//
// What it returns has ReadDir, ReadFile, Stat, Lstat and ReadLink, and stays good while the mirror goes on fetching.
// Symbolic links are followed within the tree; one that leads out of it is an ErrEscapes. Submodules are empty folders.
// File times are the commit's.
func (m *Mirror) Tree(hash string) (fs.FS, error) {
	return openTree(func() *filesystem.Storage { return openStore(m.dir) }, hash)
}

// Commit reads one commit by its full hash; errors.Is ErrUnknown where it isn't known.
func (m *Mirror) Commit(hash string) (Commit, error) {
	return readCommit(openStore(m.dir), plumbing.NewHash(hash))
}

// Descends tells whether b descends from a: a is an ancestor of b, or both are one. An error that is ErrUnknown says
// that this can't be told: one of them isn't known, or the history between them is cut off.
func (m *Mirror) Descends(a, b string) (bool, error) {
	return descends(openStore(m.dir), plumbing.NewHash(a), plumbing.NewHash(b))
}

func (m *Mirror) wrap(act string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", act, Canonical(m.remote.URL), err)
}

func actionable(err error) bool {
	for _, known := range []error{ErrNoBranch, ErrEmpty, ErrRefused, ErrNotFound, ErrUnreachable, ErrHostUnknown, ErrHostChanged} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func readCommit(store *filesystem.Storage, hash plumbing.Hash) (Commit, error) {
	c, err := object.GetCommit(store, hash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return Commit{}, fmt.Errorf("commit %s: %w", hash, ErrUnknown)
	}
	if err != nil {
		return Commit{}, fmt.Errorf("read commit %s: %w", hash, err)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return Commit{Hash: hash.String(), Subject: strings.TrimSpace(subject), Author: c.Author.Name, Time: c.Committer.When}, nil
}

// descends looks for a among b and its ancestors.
func descends(store *filesystem.Storage, a, b plumbing.Hash) (bool, error) {
	for _, h := range []plumbing.Hash{a, b} {
		if _, err := readCommit(store, h); err != nil {
			return false, err
		}
	}
	grafts, err := store.Shallow()
	if err != nil {
		return false, err
	}
	shallow := map[plumbing.Hash]bool{}
	for _, h := range grafts {
		shallow[h] = true
	}
	cutOff := false
	seen := map[plumbing.Hash]bool{b: true}
	for next := []plumbing.Hash{b}; len(next) > 0; next = next[1:] {
		if next[0] == a {
			return true, nil
		}
		c, err := object.GetCommit(store, next[0])
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			cutOff = true
			continue
		}
		if err != nil {
			return false, fmt.Errorf("read commit %s: %w", next[0], err)
		}
		if shallow[c.Hash] {
			cutOff = cutOff || len(c.ParentHashes) > 0
			continue
		}
		for _, p := range c.ParentHashes {
			if !seen[p] {
				seen[p] = true
				next = append(next, p)
			}
		}
	}
	if cutOff {
		return false, fmt.Errorf("whether %s descends from %s: the history is cut off (a shallow clone): %w", b, a, ErrUnknown)
	}
	return false, nil
}
