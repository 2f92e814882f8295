package keycloaktest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Export is what kc.sh export writes of a realm, users and secrets included. It runs beside the server, on its database,
// and takes about 8 s.
func (s *Server) Export(t testing.TB, realm string) []byte {
	t.Helper()
	home := filepath.Join(filepath.Dir(s.Log), "home")
	library, err := os.Readlink(filepath.Join(home, "lib"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "realm.json")
	// An export opens the port for management too, on every address unless it is told otherwise.
	export := java(home, filepath.Dir(library), Options{}, "export", "--realm", realm, "--file", file)
	export.Env = append(export.Env, "KC_HTTP_MANAGEMENT_PORT="+strconv.Itoa(port), "KC_HTTP_HOST=127.0.0.1", "QUARKUS_MANAGEMENT_HOST=127.0.0.1")
	if out, err := export.CombinedOutput(); err != nil {
		t.Fatalf("export realm %s: %v\n%s", realm, err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
