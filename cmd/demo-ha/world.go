package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/schema"
)

// patience is how long anything may take on a slow machine, where a distribution may have to be fetched first.
const patience = 20 * time.Minute

// world is a folder with the program, a repository, and all that runs.
type world struct {
	dir    string
	is     schema.Deployment // as much of it as a look needs
	port   int
	driver *local.Driver // only to look
	began  time.Time

	controller *exec.Cmd
	ended      chan struct{}
	epoch      int64  // as last seen before a commit
	revision   string // what all nodes ran then
}

// newWorld is one of an example's deployment.
func newWorld(ctx context.Context, example string, is schema.Deployment) (w *world, err error) {
	dir, err := os.MkdirTemp("", "demo-ha-")
	if err != nil {
		return nil, err
	}
	w = &world{dir: dir, is: is, began: time.Now()}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o711); err != nil { // nodes run as another user, further down
		return nil, err
	}
	if w.port, err = freePort(); err != nil {
		return nil, err
	}
	w.say("builds cloakwork")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", w.path("cloakwork"), "./cmd/cloakwork")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build cloakwork: %w\n%s", err, out)
	}
	if err := os.CopyFS(w.path("repository"), os.DirFS("examples/"+example)); err != nil {
		return nil, fmt.Errorf("run the demo from the repository's root: %w", err)
	}
	if err := w.edit(func(s string) string { return strings.ReplaceAll(s, "8080", strconv.Itoa(w.port)) }); err != nil {
		return nil, err
	}
	if err := w.git(ctx, "init", "-q", "-b", "main"); err != nil {
		return nil, err
	}
	w.driver, err = local.Open(w.path("state", "local"), local.Options{})
	return w, err
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) say(what string) {
	fmt.Printf("%4.0f s  %s\n", time.Since(w.began).Seconds(), what)
}

// front is where a region serves.
func (w *world) front(region schema.Region) string {
	return "http://" + cmp.Or(region.Address, "127.0.0.1") + ":" + strconv.Itoa(w.port)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (w *world) git(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = w.path("repository")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@acme.example", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@acme.example"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return nil
}

func (w *world) edit(change func(string) string) error {
	file := w.path("repository", "deployment.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(change(string(text))), 0o644)
}

// write adds a file to the repository, and returns its digest.
func (w *world) write(name string, content []byte) (string, error) {
	file := w.path("repository", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), os.WriteFile(file, content, 0o644)
}

// commit changes the deployment's manifest, where change isn't nil.
func (w *world) commit(ctx context.Context, says string, change func(string) string) error {
	if seen, err := w.driver.Observe(ctx, w.is); err == nil {
		w.epoch, w.revision = seen.Record.Epoch, seen.Record.To.Revision
	}
	if change != nil {
		if err := w.edit(change); err != nil {
			return err
		}
	}
	if err := w.git(ctx, "add", "-A"); err != nil {
		return err
	}
	return w.git(ctx, "commit", "-q", "-m", says)
}

// moved tells whether the nodes run something else than when the last commit was made.
func (w *world) moved(s platform.Seen) bool {
	for _, n := range s.Nodes {
		if n.Revision == w.revision || n.Revision != s.Record.To.Revision {
			return false
		}
	}
	return len(s.Nodes) > 0
}

// start starts the controller.
func (w *world) start() error {
	log, err := os.OpenFile(w.path("controller.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	w.controller = exec.Command(w.path("cloakwork"), "run", "--repository", w.path("repository"), "--state-dir", w.path("state"), "--interval", "1s")
	for _, v := range os.Environ() {
		if prefix, _, _ := strings.Cut(v, "_"); prefix != "CLOAKWORK" && prefix != "KEYCLOAK" && prefix != "GIT" {
			w.controller.Env = append(w.controller.Env, v)
		}
	}
	w.controller.Stdout, w.controller.Stderr = log, log
	w.controller.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.controller.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	w.ended = ended
	go func() {
		_ = w.controller.Wait() // its log says how
		close(ended)
	}()
	return nil
}

// stop ends the controller.
func (w *world) stop() error {
	if w.controller == nil {
		return nil
	}
	if err := w.controller.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-w.ended
	w.controller = nil
	return nil
}

// await looks until something is so.
func (w *world) await(ctx context.Context, what string, so func(platform.Seen) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := ""
	for {
		seen, err := w.driver.Observe(ctx, w.is)
		if err == nil && so(seen) {
			return nil
		}
		if now := seen.Move.Step.String(); err == nil && seen.Move.State == platform.Doing && now != said {
			said = now
			w.say("  " + said)
		}
		if seen.Record.Lifecycle == platform.Error && !strings.Contains(what, "refusal") && seen.Record.To.Revision != w.revision {
			if w.controller != nil && what != "RUNNING again" {
				return fmt.Errorf("waited for %s: %s", what, seen.Record.Fault.Why)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

// admin is a client of a front with the deployment's account. What fails isn't tried again.
func (w *world) admin(ctx context.Context, front string) (*keycloak.Client, error) {
	config, err := w.driver.Connection(ctx, w.is)
	if err != nil {
		return nil, err
	}
	config.URL, config.Patience, config.Timeout = front, -1, 5*time.Minute
	return keycloak.New(config)
}

// realm returns when the declared realm is there.
func (w *world) realm(ctx context.Context, admin *keycloak.Client) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var r struct{ DisplayName string }
		err := admin.Get(ctx, keycloak.Path("realms", "acme"), nil, &r)
		if err == nil && r.DisplayName == "Acme" {
			w.say("  realm acme is as declared")
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return errors.Join(errors.New("the declared realm never came"), err)
		}
	}
}

func (w *world) plane(region string) *dataplane.Client {
	return dataplane.NewClient(w.path("state", "local", w.is.Name, "regions", region, "plane"))
}

func (w *world) killNode(ctx context.Context, node string) error {
	seen, err := w.plane(w.is.Active).Look(ctx)
	if err != nil {
		return err
	}
	for _, n := range seen.Nodes {
		if n.Name == node && n.PID > 0 {
			return syscall.Kill(n.PID, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("nothing runs for %s", node)
}

// destroy ends all that runs, and removes it.
func (w *world) destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := []error{w.stop()}
	for _, database := range []bool{false, true} { // nodes first
		for _, r := range w.is.Regions {
			plane := w.plane(r.Name)
			seen, err := plane.Look(ctx)
			if err != nil {
				continue
			}
			for _, n := range seen.Nodes {
				if n.Name == "postgres" && database {
					errs = append(errs, plane.Stop(ctx, seen.Told.Epoch, n.Name, 5*time.Second))
				} else if n.Name != "postgres" && !database {
					errs = append(errs, plane.Stop(ctx, seen.Told.Epoch, n.Name, time.Millisecond))
				}
			}
			if database {
				errs = append(errs, plane.End(ctx, seen.Told.Epoch))
			}
		}
	}
	errs = append(errs, w.driver.Close())
	if os.Getenv("KEEP") != "" {
		fmt.Println("all that was written stands in " + w.dir)
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (w *world) lastLines() string {
	text, _ := os.ReadFile(w.path("controller.log"))
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
}
