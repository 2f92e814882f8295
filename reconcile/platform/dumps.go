package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/schema"
)

// Dumps is what a platform offers beside its Driver that can copy the databases it manages. Nothing of it is a step: it
// holds up no move, and a move or a failover may cut it short.
type Dumps interface {
	// Dump writes a dump of one moment, while the database serves: a standby's where one streams and standby is true, else
	// the primary's. ErrCutShort where a standby had to choose between the dump and following. What was written then is of no use.
	Dump(ctx context.Context, d schema.Deployment, standby bool, to io.Writer) (Dump, error)
	// Try restores a dump into a database that nobody else can reach, counts what is in it, and removes it.
	Try(ctx context.Context, d schema.Deployment, from io.Reader) (Counts, error)
	// Fill restores a dump into a new database beside the one that serves, which nobody but us gets into, and counts what is
	// in it. It is there as a whole or not at all.
	Fill(ctx context.Context, d schema.Deployment, database string, from io.Reader) (Counts, error)
	// Discard removes a database that Fill made, if it is there.
	Discard(ctx context.Context, d schema.Deployment, database string) error
}

// ErrCutShort is why a dump ended early that may succeed elsewhere, or later.
var ErrCutShort = errors.New("the standby's dump was cut short, since it stood in the way of following the primary")

// Dump is what is known of a dump.
type Dump struct {
	At      time.Time // the moment that it is of, UTC
	Region  string    // whose database it was
	Role    Role
	Version string // of PostgreSQL
	System  string // names the data
	Counts  Counts
}

// Counts are the rows of each table, public.realm.
type Counts map[string]int64

// Differ says how what was restored differs from what was dumped; "" is not at all.
func (c Counts) Differ(restored Counts) string {
	var all []string
	tables := maps.Clone(c)
	maps.Copy(tables, restored)
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		want, dumped := c[table]
		have, there := restored[table]
		switch {
		case !there:
			all = append(all, table+" is missing")
		case !dumped:
			all = append(all, table+" was not dumped")
		case want != have:
			all = append(all, fmt.Sprintf("%s has %d rows of %d", table, have, want))
		}
	}
	return strings.Join(all, ", ")
}

// Rows is how many there are in all.
func (c Counts) Rows() (n int64) {
	for _, rows := range c {
		n += rows
	}
	return n
}
