package telemetry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Position is how far a log was sent. A file is known again by how it begins, whatever it is called by now: logs are cut by
// copying and emptying them, or by renaming.
type Position struct {
	Offset int64  `json:"offset"`
	Head   int    `json:"head"` // how many bytes of its beginning tell the file
	Sum    string `json:"sum"`  // of these
}

// How much of a log is read at once, by how much of its beginning a file is known, and how many older ones may be there.
const (
	chunk   = 256 << 10
	headMax = 512
	older   = 9
)

// portion is what was read of one file at once.
type portion struct {
	records []record
	head    []byte // how the file begins
}

// after is the position behind the first n records.
func (p portion) after(n int) Position {
	end := p.records[n-1].end
	return positionAt(end, p.head[:min(int64(len(p.head)), end)])
}

func positionAt(offset int64, head []byte) Position {
	sum := sha256.Sum256(head)
	return Position{offset, len(head), hex.EncodeToString(sum[:16])}
}

// read reads the next records of a log, none where there are none yet. Lost tells that the position's file was removed before
// all of it was read. The last record is taken for a whole one when nobody has written for a while.
func read(log string, from Position, quiet time.Duration) (p portion, lost bool, err error) {
	first := 0
	if from.Head > 0 {
		if first, lost, err = locate(log, from); err != nil || first < 0 {
			return p, lost, err
		}
	}
	at := from
	if lost {
		at = Position{}
	}
	for i := first; i >= 0; i-- {
		p, err = readFile(name(log, i), at, i > 0, quiet)
		if err == nil && i < first { // the next file is only that as long as the one before it is where it was
			if now, _, failed := locate(log, from); failed != nil || now != first {
				err = errCut
			}
		}
		if errors.Is(err, errCut) {
			return portion{}, false, nil // another look finds where it is
		}
		if err != nil || len(p.records) > 0 {
			return p, lost, err
		}
		at = Position{}
	}
	return p, lost, nil
}

// name is the i-th older file of a log; 0 is the one that is written.
func name(log string, i int) string {
	if i == 0 {
		return log
	}
	return fmt.Sprintf("%s.%d", log, i)
}

// locate finds the file of a position. Where it is gone, that is the oldest there is; -1 where there is none.
func locate(log string, at Position) (i int, lost bool, err error) {
	oldest := -1
	for i := range older + 1 {
		f, err := os.Open(name(log, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		is := at.of(f)
		f.Close()
		if is {
			return i, false, nil
		}
		oldest = i
	}
	return oldest, oldest >= 0, nil
}

// of tells whether a file is the position's.
func (at Position) of(f *os.File) bool {
	head := make([]byte, at.Head)
	n, _ := f.ReadAt(head, 0)
	return n == at.Head && positionAt(at.Offset, head) == at
}

// errCut tells that a file was emptied while it was read.
var errCut = errors.New("the log was cut meanwhile")

// readFile reads on in one file. Of one that is written no longer, the end is the end of a record.
func readFile(name string, from Position, closed bool, quiet time.Duration) (p portion, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return p, err
	}
	text := make([]byte, chunk)
	n, err := f.ReadAt(text, from.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return p, err
	}
	p.head = make([]byte, headMax)
	heads, err := f.ReadAt(p.head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return p, err
	}
	p.head = p.head[:heads]
	if int64(heads) < min(headMax, from.Offset+int64(n)) || from.Head > 0 && !from.of(f) { // not before it was read: it may be emptied at any time
		return p, errCut
	}
	whole := n < chunk && (closed || time.Since(info.ModTime()) > quiet)
	p.records = split(text[:n], from.Offset, whole)
	return p, nil
}
