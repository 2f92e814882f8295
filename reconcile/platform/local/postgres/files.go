package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The folder:
//
//	data/      PostgreSQL's own, 0700 of the account; data.new is one on its way
//	conf/      what it is configured with, ours to write and the account's to read
//	run/       the socket, 0700 of the account
//	secrets/   passwords, 0700 of ours
//	log/       what it says
//
// Configuration stands outside of data, so that neither a base backup nor pg_rewind brings that of another region along.

// folders makes what isn't there of the folder, and gives the account what it needs.
func (s Server) folders() error {
	if err := s.fits(); err != nil {
		return err
	}
	a, err := s.account()
	if err != nil {
		return err
	}
	own := ours()
	through := fs.FileMode(0o711) // the account gets through, and sees nothing but what it knows the name of
	if a.UID == own.UID {
		through = 0o700
	}
	if err := os.MkdirAll(filepath.Dir(s.Dir), 0o711); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		mode fs.FileMode
		of   Account
	}{{"", through, own}, {"conf", through, own}, {"run", 0o700, a}, {"secrets", 0o700, own}, {"log", 0o700, own}} {
		if err := directory(s.path(f.name), f.mode, f.of); err != nil {
			return err
		}
	}
	return s.reachable(a)
}

func directory(path string, mode fs.FileMode, of Account) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return give(path, of)
}

// ours is the account that we are.
func ours() Account { return Account{uint32(os.Getuid()), uint32(os.Getgid())} }

func give(path string, of Account) error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.Lchown(path, int(of.UID), int(of.GID))
}

// reachable tells whether the account gets to the folder at all.
func (s Server) reachable(a Account) error {
	for dir := filepath.Dir(s.Dir); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("nobody can tell whose %s is", dir)
		}
		enter := info.Mode()&0o001 != 0
		switch {
		case stat.Uid == a.UID:
			enter = info.Mode()&0o100 != 0
		case stat.Gid == a.GID:
			enter = info.Mode()&0o010 != 0
		}
		if !enter {
			return fmt.Errorf("the database's account %d can't get through %s (%s): chmod o+x it, or choose another folder", a.UID, dir, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// configure writes a file into conf as a whole, for the account alone; it says whether that was another one.
func (s Server) configure(name, content string) (changed bool, err error) {
	a, err := s.account()
	if err != nil {
		return false, err
	}
	old, err := os.ReadFile(s.path("conf", name))
	if err == nil && string(old) == content {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, replace(s.path("conf", name), content, a)
}

// replace writes a file of mode 0600: after any crash it is either the old one or the new one.
func replace(path, content string, of Account) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = give(f.Name(), of)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return settle(filepath.Dir(path))
}

// settle makes what was renamed and removed in a folder outlive a crash of the machine.
func settle(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
