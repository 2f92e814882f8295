package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Keys open backups. They are read each time, since they may be renewed; none given is none at all.
type Keys func() (Identities, error)

// Identities are age's, by which backups are opened.
type Identities []age.Identity

// NewIdentities reads keys as age-keygen writes them. What is wrong with them is not shown.
func NewIdentities(text string) (Identities, error) {
	keys, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil, errors.New("these are no age keys")
	}
	return keys, nil
}

// ErrSealed is why a backup can't be opened: none of the keys that there are is one of those it is encrypted to.
var ErrSealed = errors.New("no key opens it")

// Open hands what a backup holds, the dump itself, to use, and then tells whether that was what was put there. What use makes of it counts
// only where Open returns nil.
func Open(ctx context.Context, d Destination, p Point, keys Keys, use func(io.Reader) error) error {
	r, err := d.Get(ctx, p.dir()+p.File)
	if err != nil {
		return fmt.Errorf("read %s%s: %w", p.dir(), p.File, err)
	}
	defer r.Close()
	sum := &summing{Hash: sha256.New()}
	stored := &failing{Reader: io.TeeReader(r, sum)}
	used := unseal(stored, p, keys, use)
	if errors.Is(used, ErrSealed) {
		return used // it isn't what there is that is wrong
	}
	// Whatever went wrong: the digest tells whether it is the object that is broken.
	if _, err := io.Copy(io.Discard, stored); err != nil {
		return fmt.Errorf("read %s%s: %w", p.dir(), p.File, err)
	}
	if digest := hex.EncodeToString(sum.Sum(nil)); digest != p.SHA256 || sum.n != p.Bytes {
		return fmt.Errorf("%s%s isn't what was put there: it has %d bytes and the SHA-256 %.12s, its manifest says %d and %.12s", p.dir(), p.File, sum.n, digest, p.Bytes, p.SHA256)
	}
	return used
}

func unseal(stored io.Reader, p Point, keys Keys, use func(io.Reader) error) error {
	if len(p.Recipients) == 0 {
		return use(stored)
	}
	identities, err := keys()
	if err != nil {
		return err
	}
	if len(identities) == 0 {
		return fmt.Errorf("%w: none is given, and it is encrypted to %s", ErrSealed, strings.Join(p.Recipients, ", "))
	}
	plain, err := age.Decrypt(stored, identities...)
	if other := (*age.NoIdentityMatchError)(nil); errors.As(err, &other) {
		return fmt.Errorf("%w: it is encrypted to %s", ErrSealed, strings.Join(p.Recipients, ", "))
	}
	if err != nil {
		return err
	}
	return use(plain)
}

// failing remembers an error of what it reads.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.Reader.Read(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// Restored restores a backup by fill, and tells whether all of it is there.
func Restored(ctx context.Context, d Destination, p Point, keys Keys, fill func(io.Reader) (platform.Counts, error)) error {
	return Open(ctx, d, p, keys, func(r io.Reader) error {
		counts, err := fill(r)
		if err != nil {
			return err
		}
		if differs := p.Counts.Differ(counts); differs != "" {
			return fmt.Errorf("restored, it isn't what was dumped: %s", differs)
		}
		return nil
	})
}

// Proof restores a backup into a database that nobody can reach, and tells whether all of it is there. Nothing of it is left.
func Proof(ctx context.Context, d Destination, p Point, keys Keys, dumps platform.Dumps, want schema.Deployment) error {
	return Restored(ctx, d, p, keys, func(r io.Reader) (platform.Counts, error) { return dumps.Try(ctx, want, r) })
}
