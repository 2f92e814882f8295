package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// outputs collects the secrets that Keycloak made for declared clients, to be written once all realms are as declared.
type outputs struct {
	path  string // a file that a shell reads; a folder with a file for each where it ends in a slash
	found []realmSecret
}

type realmSecret struct {
	realm string
	schema.Withheld
}

func (o *outputs) take(c *cli, realm string) func([]schema.Withheld) error {
	return func(secrets []schema.Withheld) error {
		for _, s := range secrets {
			c.secrets.add(s.Value)
			o.found = append(o.found, realmSecret{realm, s})
		}
		return nil
	}
}

// write replaces what the file or the files hold. Somebody reading them finds what was there before, or what is new.
func (o *outputs) write() error {
	if !strings.HasSuffix(o.path, "/") {
		var all []schema.Withheld
		for _, s := range o.found {
			all = append(all, s.Withheld)
		}
		return overwrite(o.path, []byte(assignments(all)))
	}
	for _, s := range o.found {
		file := filepath.Join(o.path, fileName(s.realm), "clients", url.PathEscape(s.At.Name()))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return fmt.Errorf("--outputs: %w", err)
		}
		if err := overwrite(file, []byte(s.Value)); err != nil {
			return err
		}
	}
	return nil
}

// overwrite writes a file that is the owner's alone, in one step.
func overwrite(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".cloakwork-*") // 0600
	if err != nil {
		return fmt.Errorf("--outputs: %w", err)
	}
	_, err = f.Write(text)
	if err = cmp.Or(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what matters is said
		return fmt.Errorf("--outputs: %w", err)
	}
	return nil
}

// create writes a new file; one that is there already is somebody's work.
func create(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return cmp.Or(err, f.Close())
}

// harmless are values that a shell reads as they are.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=-]+$`)

// assignments are the secrets whose values are known, as a shell reads them.
func assignments(secrets []schema.Withheld) string {
	var b strings.Builder
	for _, s := range secrets {
		if v := s.Value; v != "" {
			if !harmless.MatchString(v) {
				v = "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
			}
			b.WriteString(s.Name + "=" + v + "\n")
		}
	}
	return b.String()
}

// writeSecrets writes them into a new file.
func writeSecrets(path string, secrets []schema.Withheld) error {
	if err := create(path, []byte(assignments(secrets)), 0o600); os.IsExist(err) {
		return advise("give the name of a new file", "--secrets-file: %s is there already", path)
	} else if err != nil {
		return fmt.Errorf("--secrets-file: %w", err)
	}
	return nil
}
