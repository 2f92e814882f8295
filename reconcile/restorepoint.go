package reconcile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// RestorePoints is a folder, its owner's alone, of what passes changed and deleted, as it was before: a file for each pass
// and realm. What git doesn't have comes back from it.
type RestorePoints struct {
	Folder     string
	Recipients []age.Recipient // whom the files are encrypted to; without any, secrets are left out of them
	Keep       time.Duration   // a realm's newest file stays in any case
}

// NewRestorePoints are those in a folder, which need not be there yet.
func NewRestorePoints(folder string, recipients []string, keep time.Duration) (*RestorePoints, error) {
	r := &RestorePoints{Folder: folder, Keep: keep}
	for _, name := range recipients {
		found, err := age.ParseRecipients(strings.NewReader(name))
		if err != nil {
			return nil, fmt.Errorf("%q is no age recipient", name)
		}
		r.Recipients = append(r.Recipients, found...)
	}
	return r, nil
}

// RestoreKeys open restore points.
type RestoreKeys []age.Identity

// NewRestoreKeys reads keys as age-keygen writes them. What is wrong with them is not shown.
func NewRestoreKeys(text string) (RestoreKeys, error) {
	keys, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil, errors.New("these are no age keys")
	}
	return keys, nil
}

// restorePoint is what one pass was about to change and delete.
type restorePoint struct {
	Cloakwork string           `json:"cloakwork"` // the header
	Version   int              `json:"version"`
	Made      time.Time        `json:"made"`
	Server    string           `json:"server"`
	Realm     string           `json:"realm"`
	Source    string           `json:"source"`
	From      string           `json:"from,omitempty"`    // the commit that was in force
	Commit    string           `json:"commit,omitempty"`  // the one that was applied in its place
	LeftOut   []schema.Address `json:"leftOut,omitempty"` // the secrets that aren't there, as clients/portal#secret
	Objects   []savedObject    `json:"objects"`
}

const restoreHeader, restoreVersion = "restore point", 1

// savedObject is an object as it was.
type savedObject struct {
	Op      drift.Op       `json:"op"` // what was about to happen to it, or to what held it
	Address schema.Address `json:"address"`
	ID      string         `json:"id,omitempty"`
	Changed []string       `json:"changed,omitempty"` // the paths that an update was about to change
	Fields  map[string]any `json:"fields"`
}

// restorePoint keeps what the changes are about to take away.
func (w *work) restorePoint(changes []drift.Change) error {
	if w.RestorePoints == nil {
		return nil
	}
	p := restorePoint{Cloakwork: restoreHeader, Version: restoreVersion, Made: w.now().UTC(), Server: w.Want.Ref.Server, Realm: w.Want.Ref.Realm,
		Source: w.Source, From: w.ledger.Commit, Commit: w.Commit}
	seen := map[schema.Address]bool{}
	save := func(c drift.Change, a schema.Address) {
		o, live := w.live.State[a]
		if !live || seen[a] {
			return
		}
		seen[a] = true
		s := savedObject{Op: c.Op, Address: a, ID: o.ID, Fields: o.Fields}
		if len(w.RestorePoints.Recipients) == 0 {
			s.Fields = w.withoutSecrets(a, &p.LeftOut)
		}
		for _, d := range c.Diffs {
			if c.Op == drift.Update {
				s.Changed = append(s.Changed, d.Path)
			}
		}
		p.Objects = append(p.Objects, s)
	}
	for _, c := range changes {
		switch c.Op {
		case drift.Update:
			save(c, c.Address)
		case drift.Rename:
			save(c, c.From)
		case drift.Delete:
			save(c, c.Address)
			for _, a := range w.live.State.Addresses() {
				if a.Within(c.Address) || c.Address == schema.RealmAddress {
					save(c, a)
				}
			}
		}
	}
	if len(p.Objects) == 0 {
		return nil
	}
	if n := len(p.LeftOut); n > 0 {
		w.remark(fmt.Sprintf("%s left out of the restore point, which is encrypted to nobody", count(n, "secret")))
	}
	if err := w.RestorePoints.write(p); err != nil {
		return fmt.Errorf("write a restore point: %w", err)
	}
	return nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// remark puts a note into the report, once.
func (w *work) remark(note string) {
	if !slices.Contains(w.report.Notes, note) {
		w.report.Notes = append(w.report.Notes, note)
	}
}

// withoutSecrets are the fields of a live object that may be shown; what may not is noted.
func (w *work) withoutSecrets(a schema.Address, leftOut *[]schema.Address) map[string]any {
	o, input := w.live.State[a], w.input(nil)
	o.Address, o.Inputs = a, w.Want.State[a].Inputs // of which a pass that was cut off may have written some
	var walk func(prefix string, fields map[string]any) map[string]any
	walk = func(prefix string, fields map[string]any) map[string]any {
		shown := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			path, v := prefix+name, fields[name]
			key := drift.Key(a, path)
			if below, ok := v.(map[string]any); ok {
				shown[name] = walk(path+".", below)
			} else if w.Facts.Secret(o, path) || input == nil || input(key) || w.Facts.Of(a.Kind(), path).Hides(v) {
				*leftOut = append(*leftOut, key)
			} else {
				shown[name] = v
			}
		}
		return shown
	}
	return walk("", o.Fields)
}

// of is the folder of one realm.
func (r *RestorePoints) of(ref schema.RealmRef) string {
	name := func(s string) string { return strings.ReplaceAll(url.PathEscape(s), ".", "%2E") }
	return filepath.Join(r.Folder, name(ref.Server), name(ref.Realm))
}

// stamped begins the names of files, so that their order is that of time.
const stamped = "20060102T150405.000000000Z"

const encryptedSuffix = ".age"

// write keeps a point, in one step, and takes away those that are too old.
func (r *RestorePoints) write(p restorePoint) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	name := p.Made.Format(stamped) + "-" + cmp.Or(short(p.Commit), "uncommitted") + ".json"
	if len(r.Recipients) > 0 {
		name += encryptedSuffix
		if text, err = encrypted(text, r.Recipients); err != nil {
			return err
		}
	}
	folder := r.of(schema.RealmRef{Server: p.Server, Realm: p.Realm})
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(folder, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return r.expire(folder, p.Made)
}

func encrypted(text []byte, recipients []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// files are the names of the points in a folder, oldest first.
func files(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder) // in order
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if _, ok := made(e.Name()); ok {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// made is when a file was, by its name.
func made(name string) (time.Time, bool) {
	stamp, _, _ := strings.Cut(name, "-")
	t, err := time.Parse(stamped, stamp)
	return t, err == nil
}

// expire removes what is too old, but for the newest.
func (r *RestorePoints) expire(folder string, now time.Time) error {
	names, err := files(folder)
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range names[:len(names)-1] {
		if at, _ := made(name); now.Sub(at) > r.Keep {
			if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// read are the points of a source in a realm, newest first. Sealed counts those that none of the keys opens.
func (r *RestorePoints) read(ref schema.RealmRef, source string, keys RestoreKeys) (points []restorePoint, sealed int, err error) {
	folder := r.of(ref)
	names, err := files(folder)
	if err != nil {
		return nil, 0, err
	}
	slices.Reverse(names)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, 0, err
		}
		if strings.HasSuffix(name, encryptedSuffix) {
			var others *age.NoIdentityMatchError
			if text, err = decrypted(text, keys); errors.As(err, &others) {
				sealed++
				continue
			} else if err != nil {
				return nil, 0, fmt.Errorf("%s: %w", filepath.Join(folder, name), err)
			}
		}
		var p restorePoint
		if err := json.Unmarshal(text, &p); err != nil || p.Cloakwork != restoreHeader || p.Version != restoreVersion {
			return nil, 0, fmt.Errorf("%s is no restore point of this version: %v", filepath.Join(folder, name), err)
		}
		if p.Source == source {
			points = append(points, p)
		}
	}
	return points, sealed, nil
}

func decrypted(text []byte, keys RestoreKeys) ([]byte, error) {
	if len(keys) == 0 {
		return nil, &age.NoIdentityMatchError{}
	}
	plain, err := age.Decrypt(bytes.NewReader(text), keys...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}
