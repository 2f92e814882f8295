package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

func TestCommandsExitCodeIsHandedOn(t *testing.T) {
	t.Setenv(keycloaktest.Variable, `{"URL": "http://127.0.0.1:1"}`)
	code, err := with(context.Background(), "", []string{"sh", "-c", "exit 3"})
	if code != 3 || err != nil {
		t.Errorf("exit code %d, error %v, want 3 and none", code, err)
	}
	if _, err := with(context.Background(), "", []string{filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no error for a command that isn't there")
	}
}

func TestServerEndsWithTheProcessThatStartedIt(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "with")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// The command prints the server, and then waits for the end of its input.
	process := exec.Command(binary, "--", "sh", "-c", `echo "$`+keycloaktest.Variable+`"; cat`)
	dir := t.TempDir()
	process.Env = append(os.Environ(), keycloaktest.Variable+"=", "TMPDIR="+dir)
	process.Stderr = os.Stderr
	input, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var server keycloaktest.Server
	if err := json.Unmarshal(line, &server); err != nil {
		t.Fatal(err)
	}
	up := func() bool {
		response, err := http.Get(server.URL + "/realms/master")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	}
	if !up() {
		t.Error("the server doesn't answer while the command runs")
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	process.Wait()
	for deadline := time.Now().Add(2 * time.Minute); up() || worked(dir); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server is still there after two minutes")
		}
	}
}

// worked tells whether a process works in a folder, or below it: one that listens no more may write still.
func worked(dir string) bool {
	processes, _ := filepath.Glob("/proc/[0-9]*/cwd")
	return slices.ContainsFunc(processes, func(cwd string) bool {
		at, err := os.Readlink(cwd)
		return err == nil && strings.HasPrefix(at, dir)
	})
}
