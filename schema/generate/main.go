// Generate writes the CUE definitions of what Keycloak's admin API reads, from the classes of Keycloak itself:
//
//	go run ./schema/generate [-version 26.7.3] [-out schema/keycloak/26.7]
//
// It needs java, and mvn where the distribution isn't on this machine yet.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
)

//go:embed Representations.java
var representations []byte

func main() {
	version := flag.String("version", distribution.Newest, "version of Keycloak")
	out := flag.String("out", "", "folder to write to (default schema/keycloak/MAJOR.MINOR)")
	flag.Parse()
	if *out == "" {
		*out = filepath.Join("schema", "keycloak", minor(*version))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := generate(ctx, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, version, out string) error {
	dir, err := distribution.Store{Log: os.Stderr}.Distribution(ctx, version)
	if err != nil {
		return err
	}
	classes, err := read(ctx, dir)
	if err != nil {
		return fmt.Errorf("read the classes of Keycloak %s: %w", version, err)
	}
	text, err := definitions(version, classes)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "representations.cue"), text, 0o644)
}

// read asks Jackson, in a JVM with the libraries of the distribution, which fields the classes have.
func read(ctx context.Context, distribution string) (map[string]class, error) {
	work, err := os.MkdirTemp("", "representations")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	source := filepath.Join(work, "Representations.java")
	if err := os.WriteFile(source, representations, 0o600); err != nil {
		return nil, err
	}
	lib := filepath.Join(distribution, "lib", "lib")
	java := exec.CommandContext(ctx, "java", "-cp", filepath.Join(lib, "boot", "*")+":"+filepath.Join(lib, "main", "*"), source)
	java.Stderr = os.Stderr
	out, err := java.Output()
	if err != nil {
		return nil, fmt.Errorf("java: %w", err)
	}
	var classes map[string]class
	if err := json.Unmarshal(out, &classes); err != nil {
		return nil, err
	}
	return classes, nil
}

// minor is the folder's name for a version: 26.7 for 26.7.3.
func minor(version string) string {
	parts := strings.Split(version, ".")
	return strings.Join(parts[:min(2, len(parts))], ".")
}
