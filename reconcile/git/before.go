package git

import (
	"errors"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Before lists up to n commits that came before one on its branch, newest first, following first parents: the states that
// the branch was in.
func (m *Mirror) Before(hash string, n int) ([]Commit, error) {
	store := openStore(m.dir)
	var commits []Commit
	at := plumbing.NewHash(hash)
	for range n {
		c, err := object.GetCommit(store, at)
		if err != nil {
			return commits, m.wrap("read history", err)
		}
		if c.NumParents() == 0 {
			return commits, nil
		}
		at = c.ParentHashes[0]
		parent, err := readCommit(store, at)
		if errors.Is(err, ErrUnknown) {
			return commits, nil // a shallow history ends here
		}
		if err != nil {
			return commits, m.wrap("read history", err)
		}
		commits = append(commits, parent)
	}
	return commits, nil
}
