package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"filippo.io/age"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Taking is what a backup is taken with.
type Taking struct {
	Dumps      platform.Dumps
	Want       schema.Deployment
	Commit     string // that is in force
	To         string // the destination's name
	At         Destination
	Class      string
	Keep       time.Duration // it is locked for, where the destination can; zero: for ever kept, and not locked
	Recipients []age.Recipient
	Names      []string // of the recipients; none: it isn't encrypted
}

// Take takes a backup: a dump of one moment, encrypted on its way, is put at the destination, and nothing of it is on a disk here.
// What earlier ones left that were cut short is removed first; none may be under way. A standby that can't give it leaves it
// to the primary.
func (t Taking) Take(ctx context.Context, now time.Time) (p Point, err error) {
	at := folder(t.Want.Name, t.Class)
	if err := t.clean(ctx, at); err != nil {
		return p, fmt.Errorf("remove what earlier backups left at %s: %w", t.To, err)
	}
	id := now.UTC().Format(stamp)
	p, err = t.put(ctx, at, id, true)
	if errors.Is(err, platform.ErrCutShort) && ctx.Err() == nil {
		p, err = t.put(ctx, at, id, false)
	}
	return p, err
}

func (t Taking) clean(ctx context.Context, at string) error {
	if err := t.At.Clean(ctx, at); err != nil {
		return err
	}
	l, err := list(ctx, t.At, at)
	if err != nil {
		return err
	}
	for _, name := range l.half {
		if err := t.At.Delete(ctx, name); err != nil && !errors.Is(err, ErrLocked) {
			return err
		}
	}
	return nil
}

// put puts one backup: first the file, then the manifest.
func (t Taking) put(ctx context.Context, at, id string, standby bool) (p Point, err error) {
	p = Point{Cloakwork: header, Version: version, Deployment: t.Want.Name, Class: t.Class, Commit: t.Commit, Keycloak: t.Want.Version,
		Recipients: t.Names, File: id + plainSuffix, To: t.To, ID: id}
	if len(t.Recipients) > 0 {
		p.File = id + sealedSuffix
	}
	var until time.Time
	if t.Keep > 0 {
		until = time.Now().Add(t.Keep)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to := io.Pipe()
	type dumped struct {
		platform.Dump
		err error
	}
	ended := make(chan dumped, 1)
	sum := &summing{Hash: sha256.New()}
	go func() {
		d, err := t.dump(ctx, standby, io.MultiWriter(to, sum))
		to.CloseWithError(err) // nil is the end
		ended <- dumped{d, err}
	}()
	stored := t.At.Put(ctx, at+p.File, from, until)
	from.CloseWithError(stored) // a dump that nobody takes ends
	if stored != nil {
		cancel()
	}
	d := <-ended
	switch {
	case d.err != nil && (stored == nil || errors.Is(stored, d.err)):
		return p, fmt.Errorf("dump: %w", d.err)
	case stored != nil:
		return p, fmt.Errorf("put it at %s: %w", t.To, stored)
	}
	p.At, p.Region, p.Role, p.Postgres, p.System, p.Counts = d.At, d.Region, d.Role, d.Version, d.System, d.Counts
	p.Bytes, p.SHA256 = sum.n, hex.EncodeToString(sum.Sum(nil))
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return p, err
	}
	if err := t.At.Put(ctx, at+id+manifestSuffix, bytes.NewReader(append(text, '\n')), until); err != nil {
		return p, fmt.Errorf("put the manifest at %s: %w", t.To, err)
	}
	return p, nil
}

// dump writes a dump, encrypted where there is anybody to encrypt it to.
func (t Taking) dump(ctx context.Context, standby bool, to io.Writer) (platform.Dump, error) {
	if len(t.Recipients) == 0 {
		return t.Dumps.Dump(ctx, t.Want, standby, to)
	}
	sealed, err := age.Encrypt(to, t.Recipients...)
	if err != nil {
		return platform.Dump{}, err
	}
	d, err := t.Dumps.Dump(ctx, t.Want, standby, sealed)
	if err == nil {
		err = sealed.Close()
	}
	return d, err
}

// summing sums up what is written.
type summing struct {
	hash.Hash
	n int64
}

func (s *summing) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.Hash.Write(p)
}
