// Package distribution makes what a deployment declares (a version of Keycloak, its options, extensions and truststores)
// into homes that nodes run from, and refuses what can't run before any node is touched:
//
//	spec, err := store.Read(ctx, d)          // what the declaration says, its files checked
//	build, err := store.Build(ctx, spec)     // fetched, unpacked, built: once, whoever asks
//	err = store.Try(ctx, spec)               // built and started aside, until it is ready
//	err = build.Home(dir, spec, node)        // a folder that one node runs from
//	argv, env := build.Command(dir, spec, node)
//
// What is wrong with the declaration itself is a *Refused; any other error is of this machine or the network, and the
// same call may succeed later.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Newest is the newest version of Keycloak that cloakwork is tested with.
const Newest = "26.7.3"

// Store keeps distributions and builds in one folder. Many processes may use it at the same time; what stands in it is
// complete, whoever was killed. Nothing may be written into the folders that it hands out.
type Store struct {
	Dir string // default CacheDir

	// Source is where distributions come from: "" is Maven, by mvn. Else it is a URL or a path in which {version} stands
	// for the version: of an archive, tar.gz or zip, or of a folder that holds an unpacked distribution.
	Source string
	Sums   map[string]string // SHA-256 or SHA-1 sums of the archives, by version, where they are known beforehand

	// Who runs kc.sh build and trials, where it isn't the user of this process. The folder must be open to them.
	UID, GID *uint32

	Log io.Writer // told when something takes long; default nobody
}

// Refused says why nodes can't run what is declared. It names no node, since none was touched.
type Refused struct {
	Why string // one sentence, or one a line
	Log string // the last lines of what Keycloak printed, without secrets; "" where it wasn't asked
}

func (r *Refused) Error() string {
	if r.Log == "" {
		return r.Why
	}
	return r.Why + "\n" + r.Log
}

// Distribution is the folder of one version of Keycloak: bin, conf, lib. Where it isn't there yet, the distribution is fetched, checked
// and unpacked (160 MB).
func (s Store) Distribution(ctx context.Context, version string) (string, error) {
	cache, err := s.dir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "keycloak-"+version)
	if exists(dir) {
		return dir, used(dir)
	}
	unlock, err := lock(ctx, cache)
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) {
		return dir, nil
	}
	return dir, s.fetch(ctx, version, dir)
}

// CacheDir is where distributions and builds are kept by default: CLOAKWORK_CACHE, or cloakwork in the user's cache folder.
// It may be removed at any time when no server runs from it.
func CacheDir() (string, error) {
	if dir := os.Getenv("CLOAKWORK_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w; set CLOAKWORK_CACHE", err)
	}
	return filepath.Join(dir, "cloakwork"), nil
}

func (s Store) dir() (string, error) {
	if s.Dir != "" {
		return filepath.Abs(s.Dir)
	}
	return CacheDir()
}

func (s Store) say(format string, args ...any) {
	if s.Log != nil {
		fmt.Fprintf(s.Log, format+"\n", args...)
	}
}

// used keeps a folder from being reclaimed for a while.
func used(dir string) error {
	now := time.Now()
	err := os.Chtimes(dir, now, now)
	if errors.Is(err, os.ErrPermission) {
		return nil // it is somebody else's, who looks after it
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
