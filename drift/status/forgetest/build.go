// Package forgetest builds and starts a real forge, and proves drift/status and reconcile/git on it. Its tests take
// minutes the first time (a Gitea is compiled from source) and seconds after that; `make test-forge` runs them.
package forgetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version is the Gitea that is built.
const Version = "v1.26.4"

// Build makes the Gitea program and what it needs beside it, and gives the folder where they stand: gitea and static/.
// The folder is gitea-VERSION in CLOAKWORK_CACHE (by default the user's cache folder) and is built once. It needs go,
// gcc, 1.5 GB of disk for a while and up to ten minutes; progress gets a line for each step.
func Build(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	done := filepath.Join(cache, "gitea-"+Version)
	if _, err := os.Stat(filepath.Join(done, "gitea")); err == nil {
		return done, nil
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return "", errors.New("build gitea: gcc is missing: its SQLite is written in C")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(cache, "building-gitea-") // beside the goal, so that a rename does
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)

	fmt.Fprintf(progress, "fetching the source of Gitea %s\n", Version)
	source, err := download(ctx, temp)
	if err != nil {
		return "", fmt.Errorf("build gitea: %w", err)
	}
	work := filepath.Join(temp, "source")
	if err := os.CopyFS(work, os.DirFS(source)); err != nil { // as a main module, whose replacements count
		return "", fmt.Errorf("build gitea: %w", err)
	}
	fmt.Fprintf(progress, "compiling Gitea %s, once: 3 to 10 minutes\n", Version)
	out := filepath.Join(temp, "out")
	if _, err := run(ctx, work, "nice", "go", "build", "-trimpath", "-tags", "sqlite sqlite_unlock_notify",
		"-ldflags", "-s -w -X main.Version="+strings.TrimPrefix(Version, "v"), "-o", filepath.Join(out, "gitea"), "."); err != nil {
		return "", fmt.Errorf("build gitea: %w", err)
	}
	for from, to := range map[string]string{"templates": "static/templates", "options": "static/options", "public/assets": "static/public/assets"} {
		if err := os.CopyFS(filepath.Join(out, to), os.DirFS(filepath.Join(work, from))); err != nil {
			return "", fmt.Errorf("build gitea: %w", err)
		}
	}
	if err := os.Rename(out, done); err != nil {
		if _, there := os.Stat(filepath.Join(done, "gitea")); there != nil {
			return "", fmt.Errorf("build gitea: %w", err)
		} // else another process was first
	}
	return done, nil
}

func cacheFolder() (string, error) {
	if dir := os.Getenv("CLOAKWORK_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "cloakwork"), nil
}

// download fetches the module and gives its folder in go's module cache.
func download(ctx context.Context, temp string) (string, error) {
	if err := os.WriteFile(filepath.Join(temp, "go.mod"), []byte("module download\n"), 0o644); err != nil {
		return "", err
	}
	answer, err := run(ctx, temp, "go", "mod", "download", "-json", "code.gitea.io/gitea@"+Version)
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(answer, &module); err != nil {
		return "", fmt.Errorf("go mod download: %w", err)
	}
	return module.Dir, nil
}

// run runs one command, and gives what it prints; of one that fails the end of what it said is in the error.
func run(ctx context.Context, dir string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOWORK=off", "GOFLAGS=")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, text[max(0, len(text)-2000):])
	}
	return out.Bytes(), nil
}
