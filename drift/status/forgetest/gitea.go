package forgetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"code.gitea.io/sdk/gitea"
)

// Gitea is a running server with one user, reachable on the loopback interface only.
type Gitea struct {
	URL            string // http://127.0.0.1:PORT
	User, Password string // an administrator
	Token          string // of that user, for everything
	PID            int

	dir    string
	binary string
	port   int
	log    *os.File
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
}

// How long a step of starting may take, and how long a server that is told to stop may.
const (
	stepPatience  = time.Minute
	readyPatience = time.Minute
	stopPatience  = 10 * time.Second
)

// Start builds a Gitea where that hasn't happened yet (see Build), and starts it with all its data in dir. When ctx ends,
// so does the server. progress gets a line for each long step.
func Start(ctx context.Context, dir string, progress io.Writer) (*Gitea, error) {
	built, err := Build(ctx, progress)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	g := &Gitea{User: "ci", Password: rand.Text(), dir: dir, binary: filepath.Join(built, "gitea")}
	if g.port, err = freePort(); err != nil {
		return nil, err
	}
	g.URL = "http://127.0.0.1:" + strconv.Itoa(g.port)
	if err := g.configure(ctx, filepath.Join(built, "static")); err != nil {
		return nil, fmt.Errorf("start gitea: %w", err)
	}
	for _, step := range [][]string{
		{"migrate"},
		{"admin", "user", "create", "--admin", "--username", g.User, "--password", g.Password, "--email", "ci@example.test", "--must-change-password=false"},
	} {
		if _, err := g.run(ctx, step...); err != nil {
			return nil, fmt.Errorf("start gitea: %w", err)
		}
	}
	said, err := g.run(ctx, "admin", "user", "generate-access-token", "--username", g.User, "--token-name", "cloakwork", "--scopes", "all", "--raw")
	if err != nil {
		return nil, fmt.Errorf("start gitea: %w", err)
	}
	lines := strings.Fields(said) // log lines may come before it
	if len(lines) == 0 {
		return nil, errors.New("start gitea: it printed no token")
	}
	g.Token = lines[len(lines)-1]
	if err := g.Resume(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Resume starts the server again after Stop, with the data and at the address that it had, and waits until it answers.
func (g *Gitea) Resume(ctx context.Context) error {
	var err error
	if g.log, err = os.OpenFile(filepath.Join(g.dir, "web.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	g.cmd = g.command(ctx, "web")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	g.cmd.Cancel = func() error { return g.cmd.Process.Signal(syscall.SIGTERM) }
	g.cmd.WaitDelay = stopPatience
	if err := g.cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start gitea: %w", err), g.log.Close())
	}
	g.PID = g.cmd.Process.Pid
	g.ended = make(chan struct{})
	go func() {
		_ = g.cmd.Wait() // ended by a signal, as a rule
		close(g.ended)
	}()
	if err := g.ready(ctx); err != nil {
		g.Stop()
		return err
	}
	return nil
}

// ready waits until the server answers.
func (g *Gitea) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second}
	for {
		if resp, err := client.Get(g.URL + "/api/healthz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-g.ended:
			text, _ := os.ReadFile(g.log.Name())
			return fmt.Errorf("start gitea: it ended: %s", text[max(0, len(text)-2000):])
		case <-ctx.Done():
			return fmt.Errorf("start gitea: no answer: %w; see %s", ctx.Err(), g.log.Name())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends the server and waits for its end. It may be repeated.
func (g *Gitea) Stop() {
	if g.cmd == nil {
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-g.ended:
	case <-time.After(stopPatience):
		_ = g.cmd.Process.Kill()
		<-g.ended
	}
	_ = g.log.Close()
	g.cmd = nil
}

// CreateRepository makes an empty repository of the user's, with main as its default branch, and gives its URL, which
// holds no credentials.
func (g *Gitea) CreateRepository(ctx context.Context, name string) (string, error) {
	client, err := gitea.NewClient(g.URL, gitea.SetToken(g.Token), gitea.SetContext(ctx), gitea.SetHTTPClient(&http.Client{Timeout: stepPatience}))
	if err != nil {
		return "", fmt.Errorf("create repository %s: %w", name, err)
	}
	if _, _, err := client.CreateRepo(gitea.CreateRepoOption{Name: name, Private: true, DefaultBranch: "main"}); err != nil {
		return "", fmt.Errorf("create repository %s: %w", name, err)
	}
	return g.URL + "/" + g.User + "/" + name + ".git", nil
}

func (g *Gitea) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.binary, append([]string{"--config", filepath.Join(g.dir, "conf", "app.ini")}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "HOME=" + filepath.Join(g.dir, "home"),
		"GITEA_WORK_DIR=" + g.dir, "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT=true", // containers of CI are root
	}
	return cmd
}

func (g *Gitea) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	var out, said strings.Builder
	cmd := g.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := strings.ReplaceAll(out.String()+said.String(), g.Password, "…")
		return "", fmt.Errorf("gitea %s: %w: %s", args[0], err, text[max(0, len(text)-2000):])
	}
	return out.String(), nil
}

// configure writes the settings of a server that sends no mail, asks nobody outside, and needs no browser.
func (g *Gitea) configure(ctx context.Context, static string) error {
	for _, folder := range []string{"conf", "data", "home"} {
		if err := os.MkdirAll(filepath.Join(g.dir, folder), 0o700); err != nil {
			return err
		}
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	secret := map[string]string{}
	for _, kind := range []string{"INTERNAL_TOKEN", "JWT_SECRET", "SECRET_KEY"} {
		said, err := g.run(ctx, "generate", "secret", kind)
		if err != nil {
			return err
		}
		secret[kind] = strings.TrimSpace(said)
	}
	f, err := os.OpenFile(filepath.Join(g.dir, "conf", "app.ini"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(settings.Execute(f, map[string]any{
		"User": me.Username, "Dir": g.dir, "Port": g.port, "URL": g.URL, "Static": static, "Secret": secret,
	}), f.Close())
}

var settings = template.Must(template.New("app.ini").Parse(`APP_NAME = forge
RUN_MODE = prod
RUN_USER = {{.User}}
WORK_PATH = {{.Dir}}
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {{.Port}}
ROOT_URL = {{.URL}}/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = {{.Static}}
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = {{.Dir}}/data/gitea.db
SQLITE_JOURNAL_MODE = WAL
[repository]
ROOT = {{.Dir}}/data/repositories
DEFAULT_BRANCH = main
[git]
HOME_PATH = {{.Dir}}/home
[security]
INSTALL_LOCK = true
SECRET_KEY = {{.Secret.SECRET_KEY}}
INTERNAL_TOKEN = {{.Secret.INTERNAL_TOKEN}}
[oauth2]
JWT_SECRET = {{.Secret.JWT_SECRET}}
[service]
DISABLE_REGISTRATION = true
[webhook]
ALLOWED_HOST_LIST = loopback
[indexer]
ISSUE_INDEXER_TYPE = db
REPO_INDEXER_ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
[cron]
ENABLED = false
[mailer]
ENABLED = false
[session]
PROVIDER = memory
[log]
MODE = console
LEVEL = Warn
`))
