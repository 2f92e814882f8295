// Package keycloaktest runs a real Keycloak for tests: one server per test run, one realm per test. It counts what the
// server was asked (its access log), looks at realms without the product's own client, and cuts connections (Proxy).
package keycloaktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/schema/generate/distribution"
)

// Server is a running Keycloak. User and Password belong to an administrator of everything, in the realm master.
type Server struct {
	URL      string
	User     string
	Password string
	Log      string // path of the server's log, which holds a line for each request

	dir      string        // removed by Stop
	process  *exec.Cmd     // nil where another process started the server
	ended    chan struct{} // closed when the process has ended
	lifeline io.WriteCloser
}

// Options of Start; the zero value is good.
type Options struct {
	Version string    // default distribution.Newest
	Dir     string    // an empty or missing folder for configuration, database and log; default a temporary one
	Build   []string  // further build options, "--features=scripts"; each set is built once and kept
	Args    []string  // further options of start
	Env     []string  // further environment, NAME=value
	JVM     []string  // further options of java
	Log     io.Writer // told when something takes long (fetch, unpack, build); default nobody
}

// Start starts a Keycloak on free ports of 127.0.0.1, with an empty H2 database, and returns when it is ready: after
// about 11 s, the first time of a version some 30 s more. The server also ends when this process does, however that
// ends. On failure the error holds the last lines of the server's log.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Version == "" {
		o.Version = distribution.Newest
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	built, err := build(ctx, o)
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
	home := filepath.Join(o.Dir, "home")
	if err := makeHome(home, built); err != nil {
		return nil, fmt.Errorf("make a home for Keycloak: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	management, err := freePort()
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
	start := java(home, built, o, "start", "--http-enabled=true", "--hostname-strict=false", "--cache=local",
		"--http-host=127.0.0.1", "--http-port="+strconv.Itoa(port), "--http-management-port="+strconv.Itoa(management),
		"--http-access-log-enabled=true", "--http-access-log-pattern="+accessPattern)
	if err := s.launch(start); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start Keycloak %s: %w", o.Version, err)
	}
	if err := s.awaitReady(ctx, management); err != nil {
		log := s.lastLines(25)
		s.Stop()
		return nil, fmt.Errorf("start Keycloak %s: %w\n%s", o.Version, err, log)
	}
	return s, nil
}

// Stop ends the server, waits for that and removes its folder. A server that another process started is left alone.
func (s *Server) Stop() error {
	if s.process != nil {
		if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop Keycloak: %w", err)
		}
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			s.process.Process.Kill()
			<-s.ended
		}
		io.WriteString(s.lifeline, "done\n")
		s.lifeline.Close()
		s.process = nil
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// java is the command of kc.sh VERB --optimized, without kc.sh: that resolves symbolic links, and so takes the build for
// the home, and stands between us and the server's pid.
func java(home, built string, o Options, verb string, more ...string) *exec.Cmd {
	args := []string{
		"-Xms64m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxMetaspaceSize=256m",
		"-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US", "-Djava.security.egd=file:/dev/urandom",
		"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
		"--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
		"--enable-native-access=ALL-UNNAMED",
		"-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
		"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
		"-Dpicocli.disable.closures=true",
		"-Dkc.home.dir=" + home,
	}
	args = append(args, o.JVM...)
	args = append(args, "-cp", filepath.Join(built, "lib", "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
		verb, "--optimized")
	cmd := exec.Command("java", slices.Concat(args, more, o.Args)...)
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Dir = home
	return cmd
}

// launch starts the server and, beside it, a shell that ends it when this process is gone: then the shell reads the end
// of its input instead of a line.
func (s *Server) launch(cmd *exec.Cmd) error {
	log, err := os.Create(s.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cmd.Env, "KC_BOOTSTRAP_ADMIN_USERNAME="+s.User, "KC_BOOTSTRAP_ADMIN_PASSWORD="+s.Password)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is ours to answer, by Stop
	if err := cmd.Start(); err != nil {
		return err
	}
	s.process, s.ended = cmd, make(chan struct{})
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	guard := exec.Command("sh", "-c", `read line || kill -TERM "$0"`, strconv.Itoa(cmd.Process.Pid))
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.lifeline, err = guard.StdinPipe(); err != nil {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	go guard.Wait()
	return nil
}

func (s *Server) awaitReady(ctx context.Context, management int) error {
	ctx, cancel := context.WithTimeout(ctx, 120*time.Second)
	defer cancel()
	ready := fmt.Sprintf("http://127.0.0.1:%d/health/ready", management)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("wait for it to be ready: %w", ctx.Err())
		}
	}
}

func (s *Server) lastLines(n int) string {
	text, _ := os.ReadFile(s.Log)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return strings.ReplaceAll(string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))), s.Password, "…")
}

// freePort picks a port below those that the system gives to outgoing connections, so that none takes it before the
// server does.
func freePort() (int, error) {
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(12000))
		if err != nil {
			return 0, err
		}
		port := 20000 + int(n.Int64())
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.New("find a free port: none of 100 is")
}

func random() string {
	b := make([]byte, 12)
	rand.Read(b)
	return hex.EncodeToString(b)
}
