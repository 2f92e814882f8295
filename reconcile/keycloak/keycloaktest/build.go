package keycloaktest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cloakwork/cloakwork/schema/generate/distribution"
)

// build is the folder of a distribution with the work of kc.sh build done, made once for each version and set of options.
func build(ctx context.Context, o Options) (string, error) {
	source, err := distribution.Dir(ctx, o.Version, o.Log)
	if err != nil {
		return "", err
	}
	options := append([]string{"--db=dev-file", "--health-enabled=true"}, o.Build...)
	digest := sha256.Sum256([]byte(strings.Join(options, "\n")))
	built := fmt.Sprintf("%s-build-%x", source, digest[:4])
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	fmt.Fprintf(o.Log, "building Keycloak %s %s\n", o.Version, strings.Join(options, " "))
	err = distribution.Make(built, func(dir string) error {
		if err := link(source, dir, filepath.Join("lib", "quarkus")); err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "bin", "kc.sh"), append([]string{"build"}, options...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("kc.sh build: %w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("build Keycloak %s: %w", o.Version, err)
	}
	return built, nil
}

// link fills dir with hard links to the files of source, and with copies of those below the folder that a build rewrites.
func link(source, dir, rewritten string) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, name)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case filepath.Dir(name) == rewritten:
			return copyFile(path, target)
		default:
			return os.Link(path, target)
		}
	})
}

// makeHome makes what one server has for itself: configuration and data. The rest is the build's.
func makeHome(home, built string) error {
	if err := os.MkdirAll(filepath.Join(home, "data"), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(home, "conf"), os.DirFS(filepath.Join(built, "conf"))); err != nil {
		return err
	}
	for _, name := range []string{"lib", "providers", "themes", "bin", "version.txt"} {
		if err := os.Symlink(filepath.Join(built, name), filepath.Join(home, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
