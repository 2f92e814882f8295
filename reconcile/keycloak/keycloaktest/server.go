// Package keycloaktest runs a real Keycloak for tests: one server per test run, one realm per test. It counts what the
// server was asked (its access log), looks at realms without the product's own client, and cuts connections (Proxy).
package keycloaktest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
)

// Server is a running Keycloak. User and Password belong to an administrator of everything, in the realm master.
type Server struct {
	URL      string
	User     string
	Password string
	Log      string // path of the server's log, which holds a line for each request

	dir     string                // removed by Stop
	process *distribution.Scratch // nil where another process started the server
	launch  func(context.Context) (*distribution.Scratch, error)
}

// Options of Start; the zero value is good.
type Options struct {
	Version string            // default distribution.Newest
	Dir     string            // an empty or missing folder for configuration, database and log; default a temporary one
	Build   map[string]string // further build options, {"features": "scripts"}; each set is built once and kept
	Start   map[string]string // further options of the server: {"db-url": "jdbc:…"}
	Log     io.Writer         // told when something takes long (fetch, unpack, build); default nobody
}

// Start starts a Keycloak on free ports of 127.0.0.1, with an empty H2 database, and returns when it is ready: after
// about 11 s, the first time of a version some 30 s more. The server also ends when this process does, however that
// ends. On failure the error holds the last lines of the server's log.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start a Keycloak for tests: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (*Server, error) {
	if o.Version == "" {
		o.Version = distribution.Newest
	}
	spec := distribution.Spec{Version: o.Version, Build: map[string]string{"db": "dev-file", "health-enabled": "true"}, Env: []string{"JAVA_OPTS=" + java}}
	maps.Copy(spec.Build, o.Build)
	build, err := distribution.Store{Log: o.Log}.Build(ctx, spec)
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "keycloak"); err != nil {
			return nil, err
		}
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	port, err := distribution.FreePort()
	if err != nil {
		return nil, err
	}
	management, err := distribution.FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:      "http://127.0.0.1:" + strconv.Itoa(port),
		User:     "admin",
		Password: random(),
		Log:      filepath.Join(o.Dir, "server.log"),
		dir:      o.Dir,
	}
	node := distribution.Node{
		Options: map[string]string{"http-enabled": "true", "hostname-strict": "false", "cache": "local",
			"http-host": "127.0.0.1", "http-port": strconv.Itoa(port), "http-management-port": strconv.Itoa(management),
			"http-access-log-enabled": "true", "http-access-log-pattern": accessPattern},
		Secrets: map[string]string{"bootstrap-admin-username": s.User, "bootstrap-admin-password": s.Password},
	}
	maps.Copy(node.Secrets, o.Start)
	home := filepath.Join(o.Dir, "home")
	if err := build.Home(home, spec, node, nil, nil); err != nil {
		return nil, err
	}
	argv, env := build.Command(home, spec, node)
	s.launch = func(ctx context.Context) (*distribution.Scratch, error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env, cmd.Dir = env, home
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // what is slow isn't wrong
		defer cancel()
		return distribution.StartScratch(ctx, cmd, s.Log, fmt.Sprintf("http://127.0.0.1:%d/health/ready", management), []string{s.Password})
	}
	if s.process, err = s.launch(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(o.Dir))
	}
	return s, nil
}

// java has the JVM start fast rather than run fast.
const java = "-Xms64m -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=256m -Dfile.encoding=UTF-8 -Djava.security.egd=file:/dev/urandom"

// Restart ends the server and starts it again, with all that it holds and nothing in its caches.
func (s *Server) Restart(ctx context.Context) error {
	if s.process == nil {
		return errors.New("restart a Keycloak for tests: another process started it")
	}
	if err := s.process.Stop(); err != nil {
		return err
	}
	var err error
	if s.process, err = s.launch(ctx); err != nil {
		return fmt.Errorf("start a Keycloak for tests again: %w", err)
	}
	return nil
}

// Stop ends the server, waits for that and removes its folder. A server that another process started is left alone.
func (s *Server) Stop() error {
	if s.process != nil {
		if err := s.process.Stop(); err != nil {
			return err
		}
		s.process = nil
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func random() string {
	b := make([]byte, 12)
	rand.Read(b)
	return hex.EncodeToString(b)
}
