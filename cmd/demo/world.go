package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// world is what the story happens in: a folder with a program, a repository and a checkout; a Keycloak; a controller.
type world struct {
	*screen
	dir      string   // all commands run here
	env      []string // of all commands
	secrets  []string // NAME=value, that manifests name
	keycloak *keycloaktest.Server
	admin    *keycloak.Client // what an administrator does by hand
	forge    forge
	flags    []string // of the controller, for the forge
	commit   string   // the newest that was pushed

	controller *exec.Cmd
	ended      chan struct{} // closed when the controller has ended
}

const controllerLog = "controller.log"

// newWorld makes the folder and builds the program. Servers are started when the story needs them.
func newWorld(ctx context.Context, s *screen, forgeName string) (*world, error) {
	if forgeName != "" && forgeName != "gitea" {
		return nil, fmt.Errorf("FORGE=%s is not known; give gitea, or leave it out for git notes", forgeName)
	}
	if _, err := os.Stat("examples/acme"); err != nil {
		return nil, errors.New("examples/acme is not here; run the demo from the repository's root")
	}
	dir, err := os.MkdirTemp("", "cloakwork-demo-")
	if err != nil {
		return nil, err
	}
	w := &world{screen: s, dir: dir, forge: &notes{}}
	if forgeName == "gitea" {
		w.forge = &giteaForge{}
	}
	for _, name := range []string{"SMTP_PASSWORD", "API_SECRET", "NIGHTLY_SECRET"} {
		w.secrets = append(w.secrets, name+"="+rand.Text())
	}
	w.env = append(plainEnvironment(), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@acme.example", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@acme.example")
	w.env = append(w.env, w.secrets...)

	done := s.during("building cloakwork")
	defer done()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, "bin", "cloakwork"), "./cmd/cloakwork")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build cloakwork: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return w, nil
}

// plainEnvironment is ours without what would lead git or cloakwork elsewhere: an own Keycloak must not be touched.
func plainEnvironment() []string {
	var env []string
	for _, variable := range os.Environ() {
		switch prefix, _, _ := strings.Cut(variable, "_"); prefix {
		case "CLOAKWORK", "KEYCLOAK", "GIT":
		default:
			env = append(env, variable)
		}
	}
	return env
}

// startKeycloak starts the server, and lets commands know of it.
func (w *world) startKeycloak(ctx context.Context) (err error) {
	done := w.during("starting Keycloak")
	defer done()
	w.keycloak, err = keycloaktest.Start(ctx, keycloaktest.Options{Dir: filepath.Join(w.dir, "keycloak"), Log: w})
	if err != nil {
		return err
	}
	w.env = append(w.env, "KEYCLOAK_URL="+w.keycloak.URL, "KEYCLOAK_USER="+w.keycloak.User, "KEYCLOAK_PASSWORD="+w.keycloak.Password)
	w.admin, err = keycloak.New(keycloak.Config{URL: w.keycloak.URL, User: w.keycloak.User, Password: w.keycloak.Password})
	return err
}

// startController runs cloakwork run beside the story, with its log in a file.
func (w *world) startController(ctx context.Context, args ...string) error {
	log, err := os.Create(filepath.Join(w.dir, controllerLog))
	if err != nil {
		return err
	}
	defer log.Close()
	w.command("cloakwork run " + quoted(args) + " 2>" + controllerLog + " &")
	w.controller = w.program(context.WithoutCancel(ctx), filepath.Join(w.dir, "bin", "cloakwork"), append([]string{"run"}, args...)...)
	w.controller.Stdout, w.controller.Stderr = log, log
	w.controller.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is ours to answer, by stop
	if err := w.controller.Start(); err != nil {
		w.controller = nil
		return fmt.Errorf("start the controller: %w", err)
	}
	w.ended = make(chan struct{})
	go func() {
		_ = w.controller.Wait() // how it ended stands in its log
		close(w.ended)
	}()
	return nil
}

func (w *world) program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	return cmd
}

// stop ends all that was started and removes the folder.
func (w *world) stop() error {
	var errs []error
	if w.controller != nil {
		_ = w.controller.Process.Signal(syscall.SIGTERM) // it may have ended already
		select {
		case <-w.ended:
		case <-time.After(20 * time.Second):
			errs = append(errs, errors.New("the controller had to be killed"), w.controller.Process.Kill())
			<-w.ended
		}
	}
	w.forge.stop()
	if w.keycloak != nil {
		errs = append(errs, w.keycloak.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// logs are the controller's last lines; "" where it never ran.
func (w *world) logs() string {
	text, _ := os.ReadFile(filepath.Join(w.dir, controllerLog))
	lines := bytes.SplitAfter(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], nil))
}

// addresses are where to look at what is left running, and how to stop it.
func (w *world) addresses() string {
	return fmt.Sprintf(`Keycloak    %s/admin/  (%s, %s)
realm       %s/admin/master/console/#/acme
repository  %s
checkout    %s
log         %s
stop all    kill %d
`, w.keycloak.URL, w.keycloak.User, w.keycloak.Password, w.keycloak.URL, w.forge.address(),
		filepath.Join(w.dir, "config"), filepath.Join(w.dir, controllerLog), os.Getpid())
}
