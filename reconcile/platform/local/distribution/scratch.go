package distribution

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Scratch is a server that ends with this process, however that ends: for a trial or a test.
type Scratch struct {
	Log string // path of all that it prints

	process  *exec.Cmd
	ended    chan struct{} // closed when the process has ended
	lifeline io.WriteCloser
}

// StartScratch starts a command and returns when the URL of its health answers 200, or ctx ends. On failure nothing of it is
// left, and the error is a *Refused with the last lines of its log, in which the hidden values aren't shown.
func StartScratch(ctx context.Context, cmd *exec.Cmd, log, health string, hidden []string) (*Scratch, error) {
	s := &Scratch{Log: log, process: cmd, ended: make(chan struct{})}
	if err := s.launch(); err != nil {
		return nil, err
	}
	why := s.awaitReady(ctx, health)
	if why == "" {
		return s, nil
	}
	err := s.Stop()
	printed := s.printed()
	if cause := Cause(printed, hidden); cause != "" {
		why += ": " + cause
	}
	return nil, errors.Join(&Refused{Why: why, Log: LastLines(printed, hidden)}, err)
}

// launch starts the server and, beside it, a shell that ends it when this process is gone: then the shell reads the end
// of its input instead of a line.
func (s *Scratch) launch() error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if s.process.SysProcAttr == nil {
		s.process.SysProcAttr = &syscall.SysProcAttr{}
	}
	s.process.SysProcAttr.Setpgid = true // an interrupt from the terminal is ours to answer, by Stop
	if err := s.process.Start(); err != nil {
		return err
	}
	go func() {
		_ = s.process.Wait() // the state tells it all
		close(s.ended)
	}()
	guard := exec.Command("sh", "-c", `read line || kill -TERM "$0"`, strconv.Itoa(s.process.Process.Pid))
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.lifeline, err = guard.StdinPipe(); err == nil {
		err = guard.Start()
	}
	if err != nil {
		return errors.Join(err, s.process.Process.Kill())
	}
	go guard.Wait()
	return nil
}

// awaitReady says why the server doesn't get ready.
func (s *Scratch) awaitReady(ctx context.Context, health string) string {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	client := http.Client{Timeout: 10 * time.Second}
	for {
		if response, err := client.Get(health); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return ""
			}
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return "it ended while it started, with " + s.process.ProcessState.String()
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return "it didn't get ready in time"
			}
			return "the start was given up"
		}
	}
}

// Stop ends the server and waits for that.
func (s *Scratch) Stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop Keycloak: %w", err)
	}
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop Keycloak: %w", err)
		}
		<-s.ended
	}
	// The guard goes with it. That it has gone already, and its input with it, is as well.
	_, _ = io.WriteString(s.lifeline, "done\n")
	_ = s.lifeline.Close()
	return nil
}

// printed is the log.
func (s *Scratch) printed() string {
	text, err := os.ReadFile(s.Log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// FreePort picks a port of 127.0.0.1 below those that the system gives to outgoing connections, so that none takes it
// before the server does.
func FreePort() (int, error) {
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
