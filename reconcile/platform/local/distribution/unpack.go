package distribution

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// unpack writes the files of a distribution into a folder, without the folder keycloak-VERSION that archives hold them in.
func (a archive) unpack(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if info, err := os.Stat(a.path); err != nil {
		return err
	} else if info.IsDir() {
		return unpackFS(root, os.DirFS(a.path))
	}
	file, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<20)
	switch magic, _ := in.Peek(4); {
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")):
		reader, err := zip.OpenReader(a.path)
		if err != nil {
			return fmt.Errorf("%s: %w", a.from, err)
		}
		defer reader.Close()
		return unpackZip(root, &reader.Reader)
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		if err := unpackTar(root, in); err != nil {
			return fmt.Errorf("%s: %w", a.from, err)
		}
		return nil
	default:
		return &Refused{Why: a.from + " is neither a tar.gz nor a zip"}
	}
}

func unpackTar(root *os.Root, in io.Reader) error {
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	files := tar.NewReader(unzipped)
	for {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case header.Typeflag == tar.TypeDir:
			err = makeDir(root, within(header.Name))
		case header.Typeflag == tar.TypeReg:
			err = writeFile(root, within(header.Name), header.FileInfo().Mode(), files)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", header.Name)
		}
		if err != nil {
			return err
		}
	}
}

func unpackZip(root *os.Root, files *zip.Reader) error {
	for _, f := range files.File {
		name := within(f.Name)
		if f.FileInfo().IsDir() {
			if err := makeDir(root, name); err != nil {
				return err
			}
			continue
		}
		if !f.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", f.Name)
		}
		in, err := f.Open()
		if err != nil {
			return err
		}
		err = writeFile(root, name, f.Mode(), in)
		in.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func unpackFS(root *os.Root, files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return makeDir(root, name)
		}
		info, err := fs.Stat(files, name)
		if err != nil {
			return err
		}
		in, err := files.Open(name)
		if err != nil {
			return err
		}
		defer in.Close()
		return writeFile(root, name, info.Mode(), in)
	})
}

// within is a name in an archive without its first folder.
func within(name string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(name, "./"), "/")
	return path.Clean(rest)
}

func makeDir(root *os.Root, name string) error { return root.MkdirAll(name, 0o755) }

// writeFile writes one file, which the root keeps inside.
func writeFile(root *os.Root, name string, mode fs.FileMode, in io.Reader) error {
	if err := makeDir(root, path.Dir(name)); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644|mode.Perm()&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
