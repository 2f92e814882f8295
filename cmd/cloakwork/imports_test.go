package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The top level of the tree is the order of dependency: schema, drift, reconcile, cmd. Each imports only what stands
// before it. A folder's tests may look further, since they drive it with real servers.
func TestImportsPointOneWay(t *testing.T) {
	const module = "github.com/cloakwork/cloakwork/"
	layers := []string{"schema", "drift", "reconcile", "cmd"}
	layer := func(path string) int {
		top, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
		for i, l := range layers {
			if l == top {
				return i
			}
		}
		return -1
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := map[int]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := layer(words[0])
		if from < 0 {
			t.Errorf("%s stands in no layer", words[0])
		}
		seen[from] = true
		for _, imported := range words[1:] {
			if !strings.HasPrefix(imported, module) {
				continue
			}
			if strings.HasSuffix(words[0], "/forgetest") || strings.Contains(words[0], "/keycloaktest") {
				continue // servers for tests
			}
			if words[0] == module+"schema/generate" {
				continue // a program for developers, which nothing imports
			}
			if to := layer(imported); to > from {
				t.Errorf("%s imports %s, which stands above it", words[0], imported)
			}
		}
	}
	for i, l := range layers {
		if !seen[i] {
			t.Errorf("no package of %s was looked at", l)
		}
	}
}
