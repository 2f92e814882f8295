package distribution

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// A password may hold whatever a file of properties, or Keycloak's own substitution, gives a meaning.
const password = " a b${log.level}$${x}\\c#=!\"'ä €\t|\\${y}$"

// One start shows it all: a server in these tests takes 15 s.
func TestANodeRunsFromItsHomeAndTellsItsSecretsToNobody(t *testing.T) {
	s := Store{Log: t.Output()}
	jar := audit(t)
	spec, _, err := s.Read(t.Context(), schema.Deployment{Version: Newest, Files: fstest.MapFS{"extensions/audit.jar": {Data: jar.Content}},
		Extensions:        []schema.Extension{{Name: "audit", Path: "extensions/audit.jar", SHA256: jar.SHA256}},
		AdditionalOptions: []schema.Variable{{Name: "log-level", Value: "info"}, {Name: "health-enabled", Value: "true"}},
		Env:               []schema.Variable{{Name: "KC_HTTP_ACCESS_LOG_ENABLED", Value: "true"}, {Name: "JAVA_OPTS_APPEND", Value: "-Dsaid='a b' -XX:TieredStopAtLevel=1"}},
		Resources:         schema.Resources{Limits: map[string]string{"memory": "768Mi"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	spec.Build["db"] = "dev-mem"
	build, err := s.Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	port, management := freePort(t), freePort(t)
	node := Node{
		Options: map[string]string{"http-enabled": "true", "http-host": "127.0.0.1", "http-port": port, "http-management-port": management, "hostname-strict": "false", "cache": "local"},
		Secrets: map[string]string{"bootstrap-admin-username": "admin", "bootstrap-admin-password": password},
	}
	home := filepath.Join(t.TempDir(), "home")
	for range 2 { // as often as you like
		if err := build.Home(home, spec, node, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	argv, env := build.Command(home, spec, node)
	for _, want := range []string{"-Xmx512m", "-Dsaid=a b", "--log-level=info"} {
		if !strings.Contains(strings.Join(argv, "\n")+"\n", want+"\n") {
			t.Errorf("%q is not among the arguments: %q", want, argv)
		}
	}
	if all := strings.Join(append(argv, env...), "\n"); strings.Contains(all, "log.level}") {
		t.Error("the password stands in arguments or environment")
	}
	err = filepath.WalkDir(home, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && entry.Type()&os.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	ctx, cancel := context.WithTimeout(t.Context(), trialTime)
	defer cancel()
	server, err := StartScratch(ctx, cmd, filepath.Join(t.TempDir(), "log"), "http://127.0.0.1:"+management+"/health/ready", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.PostForm("http://127.0.0.1:"+port+"/realms/master/protocol/openid-connect/token",
		url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {password}})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("signed in with the password of the file: %v, %v", response.Status, err)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(server.Log)
	if err != nil || !strings.Contains(string(log), "the audit begins") {
		t.Errorf("the extension didn't start (%v): %s", err, log)
	}
	if !strings.Contains(string(log), "/realms/master/protocol/openid-connect/token") {
		t.Errorf("the log holds no request, although env asks for that: %s", log)
	}

	verdict, says, err := s.Compatible(t.Context(), Running{build, spec, node}, Running{build, spec, node})
	if verdict != platform.Compatible || says != "" || err != nil {
		t.Errorf("with itself it is %q: %s, %v", verdict, says, err)
	}
	clustered := node
	clustered.Options = map[string]string{"cache": "ispn"}
	verdict, says, err = s.Compatible(t.Context(), Running{build, spec, node}, Running{build, spec, clustered})
	if verdict != platform.Incompatible || !strings.HasPrefix(says, "'cacheEmbedded.configFile' is incompatible") || err != nil {
		t.Errorf("with another cache it is %q: %s, %v", verdict, says, err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(port)
}
