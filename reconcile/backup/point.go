package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// Point is a backup that is complete, as its manifest says. Its objects are DEPLOYMENT/CLASS/TIME.dump.age, or .dump where
// nobody is encrypted to, and TIME.json, the manifest, which is written last: without it there is no backup.
type Point struct {
	Cloakwork  string          `json:"cloakwork"` // the header
	Version    int             `json:"version"`
	Deployment string          `json:"deployment"`
	Class      string          `json:"class"`
	At         time.Time       `json:"at"`               // the moment that it is of
	Commit     string          `json:"commit,omitempty"` // that was in force
	Keycloak   string          `json:"keycloak,omitempty"`
	Region     string          `json:"region"`
	Role       platform.Role   `json:"role"` // of the database that was dumped
	Postgres   string          `json:"postgres"`
	System     string          `json:"system"`
	File       string          `json:"file"`  // beside the manifest
	Bytes      int64           `json:"bytes"` // of the file, encrypted as it is
	SHA256     string          `json:"sha256"`
	Recipients []string        `json:"recipients,omitempty"` // age's; none: it isn't encrypted
	Counts     platform.Counts `json:"counts"`

	To string `json:"-"` // the destination's name
	ID string `json:"-"` // by which a person names it: 20261123T030000Z
}

const header, version = "backup", 1

// stamp is a time in an object's name: names are in its order.
const stamp = "20060102T150405Z"

// folder is where the backups of a class are.
func folder(deployment, class string) string { return deployment + "/" + class + "/" }

// dir is the point's folder.
func (p Point) dir() string { return folder(p.Deployment, p.Class) }

const (
	manifestSuffix = ".json"
	plainSuffix    = ".dump"
	sealedSuffix   = ".dump.age"
)

// Listed is what is in a folder of backups, by the names alone.
type listed struct {
	whole []string // IDs with a manifest and a file, oldest first
	half  []string // names of objects that lack the other
}

func list(ctx context.Context, d Destination, folder string) (l listed, err error) {
	names, err := d.List(ctx, folder)
	if err != nil {
		return l, err
	}
	files, manifests := map[string][]string{}, map[string]string{}
	for _, name := range names {
		base := strings.TrimPrefix(name, folder)
		id, suffix, _ := strings.Cut(base, ".")
		if _, err := time.Parse(stamp, id); err != nil {
			continue // somebody else's
		}
		switch "." + suffix {
		case manifestSuffix:
			manifests[id] = name
		case plainSuffix, sealedSuffix:
			files[id] = append(files[id], name)
		}
	}
	for id, of := range files {
		if _, ok := manifests[id]; ok {
			l.whole = append(l.whole, id)
		} else {
			l.half = append(l.half, of...)
		}
	}
	for id, name := range manifests {
		if len(files[id]) == 0 {
			l.half = append(l.half, name)
		}
	}
	slices.Sort(l.whole)
	slices.Sort(l.half)
	return l, nil
}

// read is the point of an ID.
func read(ctx context.Context, d Destination, folder, id string) (p Point, err error) {
	name := folder + id + manifestSuffix
	r, err := d.Get(ctx, name)
	if err != nil {
		return p, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err == nil && (p.Cloakwork != header || p.Version != version || p.File != path.Base(p.File) || folder != p.dir()) {
		err = errors.New("it is no manifest of this version, or of another backup")
	}
	if err != nil {
		return p, fmt.Errorf("read the manifest %s: %w", name, err)
	}
	p.ID = id
	return p, nil
}

// Points are the complete backups of a deployment at a destination, oldest first. A manifest that can't be read hides no other.
func Points(ctx context.Context, d Destination, to, deployment string) (points []Point, err error) {
	names, err := d.List(ctx, deployment+"/")
	if err != nil {
		return nil, err
	}
	var classes []string
	for _, name := range names {
		if class, _, ok := strings.Cut(strings.TrimPrefix(name, deployment+"/"), "/"); ok && !slices.Contains(classes, class) {
			classes = append(classes, class)
		}
	}
	var broken []error
	for _, class := range classes {
		l, err := list(ctx, d, folder(deployment, class))
		if err != nil {
			return nil, err
		}
		for _, id := range l.whole {
			p, err := read(ctx, d, folder(deployment, class), id)
			if err != nil {
				broken = append(broken, err)
				continue
			}
			p.To = to
			points = append(points, p)
		}
	}
	slices.SortStableFunc(points, func(a, b Point) int { return a.At.Compare(b.At) })
	return points, errors.Join(broken...)
}

// Expire removes the backups of a folder that are older than keep, but never the newest, nor the one that is named: the newest of
// which it is known that it can be restored. What is locked stays, and is no error.
func Expire(ctx context.Context, d Destination, deployment, class string, keep time.Duration, spare string, now time.Time) (removed []string, err error) {
	if keep <= 0 {
		return nil, nil
	}
	at := folder(deployment, class)
	l, err := list(ctx, d, at)
	if err != nil || len(l.whole) == 0 {
		return nil, err
	}
	var failed []error
	for _, id := range l.whole[:len(l.whole)-1] {
		if taken, _ := time.Parse(stamp, id); id == spare || now.Sub(taken) <= keep {
			continue
		}
		// The manifest goes first: what is cut short is a half one, which the next backup removes.
		err := d.Delete(ctx, at+id+manifestSuffix)
		for _, suffix := range []string{plainSuffix, sealedSuffix} {
			if err == nil {
				err = d.Delete(ctx, at+id+suffix)
			}
		}
		switch {
		case errors.Is(err, ErrLocked):
		case err != nil:
			failed = append(failed, fmt.Errorf("remove the backup %s%s: %w", at, id, err))
		default:
			removed = append(removed, id)
		}
	}
	return removed, errors.Join(failed...)
}

// notThere tells whether an error is that there is no such object.
func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
