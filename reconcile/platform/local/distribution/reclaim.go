package distribution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Reclaim removes what nobody needs: builds that no home is made of and that weren't asked for during the time given,
// distributions without a build, and what processes left that were killed.
func (s Store) Reclaim(ctx context.Context, unused time.Duration) error {
	dir, err := s.dir()
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	old := func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && time.Since(info.ModTime()) > unused
	}
	var failed []error
	remove := func(paths ...string) {
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				failed = append(failed, err)
			}
		}
	}
	remove(globbed(filepath.Join(dir, "keycloak-*.part"))...) // nobody works on them, since we hold the lock
	for _, scratch := range slices.Concat(globbed(filepath.Join(dir, "trial.*")), globbed(filepath.Join(dir, "compare.*"))) {
		if old(scratch) {
			remove(scratch)
		}
	}
	for _, build := range globbed(filepath.Join(dir, "keycloak-*-"+strings.Repeat("[0-9a-f]", 2*keySize))) {
		if !old(build) {
			continue
		}
		homes, err := homesOf(build)
		if err != nil {
			return err
		}
		if len(homes) == 0 {
			s.say("removing %s", filepath.Base(build))
			remove(build, build+".homes")
		}
	}
	for _, distribution := range globbed(filepath.Join(dir, "keycloak-*")) {
		version := strings.TrimPrefix(filepath.Base(distribution), "keycloak-")
		if !strings.ContainsAny(version, "-") && !strings.HasSuffix(version, ".sha256") && len(globbed(distribution+"-*")) == 0 && old(distribution) {
			s.say("removing %s", filepath.Base(distribution))
			remove(distribution)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("reclaim %s: %w", dir, err)
	}
	return nil
}

// register writes down that a home is made of a build, before it is.
func (b Build) register(home string) error {
	file, err := os.OpenFile(b.Dir+".homes", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(home + "\n")
	return errors.Join(err, file.Close())
}

// homesOf are the homes that are made of a build still.
func homesOf(build string) (homes []string, err error) {
	text, err := os.ReadFile(build + ".homes")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for home := range strings.Lines(string(text)) {
		home = strings.TrimSuffix(home, "\n")
		if library, err := os.Readlink(filepath.Join(home, "lib")); err == nil && library == filepath.Join(build, "lib") {
			homes = append(homes, home)
		}
	}
	return homes, nil
}
