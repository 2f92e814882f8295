package keycloaktest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
)

// Export is what kc.sh export writes of a realm, users and secrets included. It takes about 8 s.
func (s *Server) Export(t testing.TB, realm string) []byte {
	t.Helper()
	home := filepath.Join(filepath.Dir(s.Log), "home")
	build, err := distribution.BuildOf(home)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other, spec, node := filepath.Join(dir, "home"), distribution.Spec{Env: []string{"JAVA_OPTS=" + java}}, distribution.Node{}
	if err := build.Home(other, spec, node, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(other, "data", "h2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, database), s.database(t, filepath.Join(home, database)), 0o644); err != nil {
		t.Fatal(err)
	}
	port, err := distribution.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "realm.json")
	// An export opens the port for management too, on every address unless it is told otherwise.
	argv, env := build.Run(other, spec, node, "export", "--optimized", "--realm", realm, "--file", file)
	export := exec.Command(argv[0], argv[1:]...)
	export.Dir, export.Env = other, append(env, "KC_HTTP_MANAGEMENT_PORT="+strconv.Itoa(port), "KC_HTTP_HOST=127.0.0.1", "QUARKUS_MANAGEMENT_HOST=127.0.0.1")
	if out, err := export.CombinedOutput(); err != nil {
		t.Fatalf("export realm %s: %v\n%s", realm, err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var database = filepath.Join("data", "h2", "keycloakdb.mv.db")

// database is the running server's database as a file, with all that was written until now. The file is a log: what is in it
// isn't overwritten for 45 s, and changes come to it in their order, but up to a second late. So somebody signs in, and their session,
// which no export holds, is waited for.
func (s *Server) database(t testing.TB, file string) []byte {
	t.Helper()
	admin := s.Admin(t)
	admin.signIn()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(admin.session)) {
			return content
		}
	}
	t.Fatalf("the server doesn't write to %s", file)
	return nil
}
