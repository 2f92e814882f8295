// Package distribution keeps Keycloak's distributions on this machine, as Maven publishes them.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Newest is the newest version of Keycloak that cloakwork is tested with.
const Newest = "26.7.3"

// Dir is the folder of one version of Keycloak: bin, conf, lib. Where it isn't there yet, the distribution is fetched
// through mvn (160 MB) and unpacked with tar, once, into CacheDir; a line on progress tells so. Many processes may ask at
// the same time. Nothing may be written into the folder.
func Dir(ctx context.Context, version string, progress io.Writer) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "keycloak-"+version)
	if exists(dir) {
		return dir, nil
	}
	archive, err := fetch(ctx, version, progress)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "unpacking Keycloak %s\n", version)
	if err := Make(dir, func(dir string) error {
		return run(exec.CommandContext(ctx, "tar", "--extract", "--gzip", "--strip-components=1", "--no-same-owner", "--file", archive, "--directory", dir))
	}); err != nil {
		return "", fmt.Errorf("unpack Keycloak %s: %w", version, err)
	}
	return dir, nil
}

// CacheDir is where distributions and builds are kept: CLOAKWORK_CACHE, or cloakwork in the user's cache folder.
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

// Make makes a folder that is either complete or not there: fill works in a temporary one beside it, which is then
// renamed. Where another process was faster, its folder stays and ours is dropped.
func Make(dir string, fill func(dir string) error) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(parent, filepath.Base(dir)+".*.part")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	if err := fill(temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, dir); err != nil && !exists(dir) {
		return err
	}
	return nil
}

// fetch brings the archive into the local Maven repository and says where it lies there.
func fetch(ctx context.Context, version string, progress io.Writer) (string, error) {
	repository, err := localRepository()
	if err != nil {
		return "", err
	}
	archive := filepath.Join(repository, "org/keycloak/keycloak-quarkus-dist", version, "keycloak-quarkus-dist-"+version+".tar.gz")
	if exists(archive) {
		return archive, nil
	}
	fmt.Fprintf(progress, "fetching Keycloak %s (160 MB)\n", version)
	get := exec.CommandContext(ctx, "mvn", "-q", "-B", "dependency:get",
		"-Dmaven.repo.local="+repository, "-Dartifact=org.keycloak:keycloak-quarkus-dist:"+version+":tar.gz", "-Dtransitive=false")
	if err := run(get); err != nil {
		return "", fmt.Errorf("fetch Keycloak %s: %w", version, err)
	}
	if !exists(archive) {
		return "", fmt.Errorf("fetch Keycloak %s: mvn ended well, but %s is not there", version, archive)
	}
	return archive, nil
}

// localRepository is Maven's own default; asking mvn itself would take seconds.
func localRepository() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the local Maven repository: %w", err)
	}
	return filepath.Join(home, ".m2", "repository"), nil
}

// run runs a command whose output matters only when it fails.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed", cmd.Args[0])
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, out)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
