package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
)

// site is where one deployment stands: a folder, in which all is that any process needs to know of it.
type site struct {
	*Driver
	name, dir string
}

func (d *Driver) site(deployment string) site {
	return site{d, deployment, filepath.Join(d.dir, deployment)}
}

// enter takes hold of a deployment's site, which is made where there is none, and reads its record. Until leave
// nobody else decides who may do what.
func (d *Driver) enter(deployment string) (s site, record platform.Record, leave func(), err error) {
	s = d.site(deployment)
	if err := passable(s.dir); err != nil {
		return s, record, nil, err
	}
	if leave, err = s.lock(); err != nil {
		return s, record, nil, err
	}
	if record, err = s.record(); err != nil {
		leave()
	}
	return s, record, leave, err
}

func (s site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// passable makes a folder that others can go through, but not list: nodes run as another user, further down.
func passable(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(dir, 0o711)
}

// read reads a file of the site; ok tells whether there is one.
func (s site) read(v any, parts ...string) (ok bool, err error) {
	b, err := os.ReadFile(s.path(parts...))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", filepath.Join(parts...), err)
	}
	return true, nil
}

// write replaces a file of the site; it outlives the loss of power from then on.
func (s site) write(v any, parts ...string) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	path := s.path(parts...)
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	return dataplane.Write(path, append(b, '\n'))
}

func (s site) record() (r platform.Record, err error) {
	_, err = s.read(&r, "record.json")
	return r, err
}

// lock keeps other processes from reading and writing what decides who may do what. It is held for moments.
func (s site) lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock deployment %s: %w", s.name, err)
	}
	return func() { f.Close() }, nil
}

// whole is a lock on a whole file. It belongs to an open file, so that it ends with whoever holds that, however he ends.
func whole() *unix.Flock_t { return &unix.Flock_t{Type: unix.F_WRLCK} }

// seize takes the right to work on a step; nil where somebody has it.
func (s site) seize() (*os.File, error) {
	f, err := os.OpenFile(s.path("worker"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, whole())
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, nil
	}
	return nil, fmt.Errorf("take the right to work on deployment %s: %w", s.name, err)
}

// worked tells whether somebody works on a step.
func (s site) worked() (bool, error) {
	f, err := os.OpenFile(s.path("worker"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := whole()
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lock); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}

// slot is a node as it was told to be.
type slot struct {
	Name     string `json:"name"`
	Region   string `json:"region"`
	Zone     string `json:"zone,omitempty"`
	Revision string `json:"revision"`
	Stopped  bool   `json:"stopped,omitempty"`
	Began    int64  `json:"began,omitempty"` // the epoch of the step that last had its process started
	Host     string `json:"host,omitempty"`  // where it serves the front
	Port     int    `json:"port,omitempty"`  // the first of those that are its own
}

func (s site) slots() ([]slot, error) {
	files, err := filepath.Glob(s.path("slots", "*.json"))
	if err != nil {
		return nil, err
	}
	var slots []slot
	for _, file := range files {
		var l slot
		ok, err := s.read(&l, "slots", filepath.Base(file))
		if err != nil {
			return nil, err
		}
		if ok {
			slots = append(slots, l)
		}
	}
	return slots, nil // by name, as Glob sorts them
}

func (s site) slot(name string) (l slot, ok bool, err error) {
	ok, err = s.read(&l, "slots", name+".json")
	return l, ok, err
}

func (s site) keep(l slot) error { return s.write(l, "slots", l.Name+".json") }

// forget removes the releases that neither the record nor a node names.
func (s site) forget(r platform.Record) error {
	slots, err := s.slots()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.path("releases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		revision := e.Name()
		named := revision == r.To.Revision || revision == r.Good.Revision || revision == r.Step.Revision ||
			slices.ContainsFunc(slots, func(l slot) bool { return l.Revision == revision })
		if !named {
			if err := os.RemoveAll(s.path("releases", revision)); err != nil {
				return err
			}
		}
	}
	return nil
}
