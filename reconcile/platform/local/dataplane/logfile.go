package dataplane

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// How large a log may get before it is cut, and how many older ones are kept as NAME.1 (the newest) and so on.
const logSize, logsKept = 64 << 20, 5

// older moves the older logs up by one.
func older(path string) error {
	for i := logsKept - 1; i > 0; i-- {
		if err := os.Rename(fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// cutLog moves what a node has written aside. The node holds the file itself, so that it can write while nobody else lives:
// the file is copied and emptied, and what is written just in between is lost.
func cutLog(path string) error { return cutLogAt(path, logSize) }

func cutLogAt(path string, size int64) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() < size {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := older(path); err != nil {
		return err
	}
	from, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err // a full disk, say: better a long log than none
	}
	return from.Truncate(0)
}

// logFile is a log of our own. Two processes write to it while one takes over from the other.
type logFile struct {
	path string
	size int64 // before it is cut

	mu   sync.Mutex
	file *os.File
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.turn(); err != nil {
		return 0, err
	}
	return l.file.Write(b)
}

// turn sees to it that the file is the one of its path, and not too large.
func (l *logFile) turn() error {
	if l.file != nil {
		held, err := l.file.Stat()
		if err != nil {
			return err
		}
		if held.Size() < l.size {
			return nil
		}
		if now, err := os.Stat(l.path); err == nil && os.SameFile(held, now) {
			if err := older(l.path); err != nil {
				return err
			}
			if err := os.Rename(l.path, l.path+".1"); err != nil {
				return err
			}
		}
		l.file.Close()
	}
	var err error
	l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}
