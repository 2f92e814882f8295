// Package backup keeps copies of deployments' databases in other places: it takes them when they are due, proves that they
// can be restored, and lets those go that are too old. docs/backups.md says what is kept where, and what is guaranteed.
package backup

import (
	"context"
	"errors"
	"io"
	"time"
)

// Destination is a place for objects, outside of what they are copies of.
type Destination interface {
	// Put keeps all that r gives under a name, as a whole or not at all: where r fails, or anything else, there is nothing of
	// that name. What has the name already stays: fs.ErrExist. Where the place can promise it, nobody deletes the object
	// before until.
	Put(ctx context.Context, name string, r io.Reader, until time.Time) error
	// Get is an object's content: fs.ErrNotExist where there is none.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List are the names below a folder, which ends with a slash, in order.
	List(ctx context.Context, folder string) ([]string, error)
	// Delete removes an object; one that isn't there is gone already. ErrLocked where the place has promised to keep it.
	Delete(ctx context.Context, name string) error
	// Clean removes what Puts below a folder have left that were cut short. None may be under way there.
	Clean(ctx context.Context, folder string) error
}

// ErrLocked is why something isn't deleted: it was promised to stay.
var ErrLocked = errors.New("the destination has promised to keep it")
