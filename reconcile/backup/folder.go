package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Folder is a destination on this machine, or on one that is mounted. It must be there: a mount that is missing isn't made up
// for. It keeps no promise about deleting.
type Folder string

// partial begins the names of what is on its way. No object's name does.
const partial = ".partial-"

// Put implements Destination.
func (f Folder) Put(_ context.Context, name string, r io.Reader, _ time.Time) (err error) {
	if _, err := os.Stat(string(f)); err != nil {
		return fmt.Errorf("the folder of the destination: %w", err)
	}
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), partial+"*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = f.explain(errors.Join(err, os.Remove(file.Name()))) }()
	_, err = io.Copy(file, r)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil { // unlike a rename, it replaces nothing
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// explain says what a person can do about a disk that is full.
func (f Folder) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk of %s is full: make room there, and the next backup finds it: %w", string(f), err)
	}
	return err
}

// Get implements Destination.
func (f Folder) Get(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(f.path(name))
}

// List implements Destination.
func (f Folder) List(_ context.Context, folder string) (names []string, err error) {
	if _, err := os.Stat(string(f)); err != nil {
		return nil, fmt.Errorf("the folder of the destination: %w", err)
	}
	err = f.walk(folder, func(name string) error {
		if !strings.HasPrefix(filepath.Base(name), partial) {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// walk visits all files below a folder, which need not be there.
func (f Folder) walk(folder string, visit func(name string) error) error {
	return filepath.WalkDir(f.path(folder), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(string(f), path)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(name))
	})
}

// Delete implements Destination.
func (f Folder) Delete(_ context.Context, name string) error {
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Clean implements Destination.
func (f Folder) Clean(ctx context.Context, folder string) error {
	return f.walk(folder, func(name string) error {
		if !strings.HasPrefix(filepath.Base(name), partial) {
			return nil
		}
		return f.Delete(ctx, name)
	})
}

func (f Folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }
