package git

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tests run against repositories that the real git made and, over HTTP, against its own server program.

// repository is a checkout that the real git works in, and a bare repository that it pushes to.
type repository struct {
	t    *testing.T
	work string
	bare string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, work: filepath.Join(t.TempDir(), "work"), bare: filepath.Join(t.TempDir(), "acme.git")}
	git(t, ".", "init", "-q", "--bare", "-b", "main", r.bare)
	git(t, ".", "init", "-q", "-b", "main", r.work)
	for _, dir := range []string{r.bare, r.work} { // since 2.47 git may be at it still while the test's folders are removed
		git(t, dir, "config", "maintenance.auto", "false")
	}
	git(t, r.bare, "config", "http.receivepack", "true")
	git(t, r.work, "remote", "add", "origin", r.bare)
	return r
}

// git runs the real git, which sees no configuration of the machine, and gives what it prints.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := gitCommand(dir, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func gitCommand(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.test", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.test")
	return cmd
}

// commit writes files into the checkout, commits them and gives the hash.
func (r *repository) commit(subject string, files map[string]string) string {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			r.t.Fatal(err)
		}
	}
	git(r.t, r.work, "add", "-A")
	git(r.t, r.work, "commit", "-q", "--allow-empty", "-m", subject)
	return git(r.t, r.work, "rev-parse", "HEAD")
}

// push commits and pushes.
func (r *repository) push(subject string, files map[string]string) string {
	r.t.Helper()
	hash := r.commit(subject, files)
	git(r.t, r.work, "push", "-q", "--force", "origin", "main")
	return hash
}

const goodToken = "correct-horse-battery"

// serve puts the bare repository behind git's own HTTP server, which asks for the token.
func (r *repository) serve() string {
	r.t.Helper()
	backend := &cgi.Handler{
		Path: filepath.Join(git(r.t, ".", "--exec-path"), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.bare), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ci",
			"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1"},
		Stderr: os.Stderr,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, password, _ := req.BasicAuth(); password != goodToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no: "+req.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, req)
	}))
	r.t.Cleanup(s.Close)
	return s.URL + "/acme.git"
}

// each runs a test against the repository as a local path and over HTTP.
func each(t *testing.T, test func(t *testing.T, r *repository, remote Remote)) {
	t.Run("path", func(t *testing.T) {
		r := newRepository(t)
		test(t, r, Remote{URL: r.bare})
	})
	t.Run("http", func(t *testing.T) {
		r := newRepository(t)
		test(t, r, Remote{URL: r.serve(), Token: goodToken})
	})
}

func openMirror(t *testing.T, remote Remote) *Mirror {
	t.Helper()
	m, err := Open(filepath.Join(t.TempDir(), "mirror"), remote, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func fetch(t *testing.T, m *Mirror) Fetched {
	t.Helper()
	f, err := m.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fill makes files whose contents differ from each other.
func fill(folder string, n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("%s/%03d.yaml", folder, i)] = fmt.Sprintf("%s: %d\n", folder, i)
	}
	return files
}
