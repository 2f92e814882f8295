package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeper holds the sockets that a region listens on, and sees to it that a data plane serves them. It does nothing else, so
// that it has nothing to die of.
type keeper struct {
	dir       folder
	log       *slog.Logger
	binary    string
	lock      *os.File
	listeners []listener
	current   leash // to the data plane that serves
	pid       int   // its number; 0 where another keeper started it
	words     chan heard
	born      time.Time
	pause     time.Duration
}

// listener is a socket that stays open whatever data plane serves it.
type listener struct {
	name, address string
	file          *os.File
}

// heard is what a data plane said, or its end.
type heard struct {
	from leash
	message
	err error
}

// How long a data plane has to get ready, and to let go; and how long the pause is, at most, before one that died at once is
// started again.
const (
	readyTime    = 20 * time.Second
	releaseTime  = 20 * time.Second
	longestPause = 2 * time.Second
)

// Keep keeps a data plane alive until ctx ends. It returns at once where another process does so already.
func Keep(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	k := &keeper{dir: folder(dir), words: make(chan heard)}
	if err := os.MkdirAll(k.dir.path("log"), 0o700); err != nil {
		return err
	}
	k.log = slog.New(slog.NewJSONHandler(&logFile{path: k.dir.path("log", "keeper.log"), size: logSize}, nil)).With("pid", os.Getpid())
	if k.binary, err = os.Executable(); err != nil {
		return err
	}
	k.binary = strings.TrimSuffix(k.binary, " (deleted)")
	// Nodes that lose their data plane become our children, and don't stay behind as zombies where nobody else reaps.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper: %w", err)
	}
	go reap()
	if text := os.Getenv(inheritedVariable); text != "" {
		os.Unsetenv(inheritedVariable)
		if err := k.inherit(text); err != nil {
			return err
		}
	} else {
		if held, err := k.take(); err != nil || !held {
			return err
		}
		if err := k.listen(); err != nil {
			return err
		}
		if err := k.first(); err != nil {
			return err
		}
	}
	return k.keep(ctx)
}

// keep is all that a keeper does.
func (k *keeper) keep(ctx context.Context) error {
	k.born = time.Now()
	k.listenTo(k.current)
	for {
		select {
		case <-ctx.Done():
			return k.end()
		case w := <-k.words:
			switch {
			case w.from != k.current: // one that has handed over, and is done
			case w.err != nil:
				k.log.Error("the data plane died", "error", w.err)
				if err := k.revive(ctx); err != nil {
					return err
				}
			case w.Say == end:
				return k.end()
			case w.Say == upgrade:
				if err := k.replace(ctx); err != nil {
					k.log.Error("upgrade", "error", err)
					_ = k.current.send(message{Say: failed, Why: err.Error()}) // if it is gone, we hear that
				}
			}
		}
	}
}

// first starts the data plane where none was.
func (k *keeper) first() error {
	next, pid, err := k.start(self)
	if err != nil {
		return err
	}
	k.current, k.pid = next, pid
	return next.send(message{Say: serve, Cold: true})
}

// revive puts another data plane in the place of one that died.
func (k *keeper) revive(ctx context.Context) error {
	if time.Since(k.born) > 10*longestPause {
		k.pause = 0
	}
	k.current.Close()
	for {
		select {
		case <-time.After(k.pause):
		case <-ctx.Done():
			return nil
		}
		k.pause = min(max(2*k.pause, 50*time.Millisecond), longestPause)
		next, pid, err := k.start(self)
		if err == nil {
			err = next.send(message{Say: serve})
		}
		if err == nil {
			k.current, k.pid, k.born = next, pid, time.Now()
			k.listenTo(next)
			return nil
		}
		k.log.Error("start the data plane", "error", err)
	}
}

// replace has the data plane of the declared binary take over, and then becomes that binary itself. Until the next one is
// ready nothing is touched.
func (k *keeper) replace(ctx context.Context) error {
	config, err := k.dir.config()
	if err != nil {
		return err
	}
	binary := or(config.Binary, k.binary)
	stale, err := k.relisten(config.Listen)
	if err != nil {
		return err
	}
	next, pid, err := k.start(binary)
	if err != nil {
		return err
	}
	older, newer, err := socketpair()
	if err != nil {
		next.Close()
		return err
	}
	defer older.Close()
	defer newer.Close()
	if err := k.current.send(message{Say: release}, older); err != nil {
		k.log.Error("release", "error", err)
	}
	older.Close()
	if err := k.awaitRelease(ctx); err != nil { // it hangs, or is dead: two must not serve
		k.log.Error("release", "error", err)
		if k.pid > 0 {
			_ = syscall.Kill(k.pid, syscall.SIGKILL) // ours, and not reaped before its leash has ended
		}
	}
	if err := next.send(message{Say: serve}, newer); err != nil {
		k.log.Error("serve", "error", err) // it died: whoever listens to it hears so
	}
	for _, l := range stale {
		l.file.Close()
	}
	k.current, k.pid, k.binary, k.born = next, pid, binary, time.Now()
	k.log.Info("replaced", "binary", binary)
	err = k.become(binary)
	k.log.Error("become the new binary", "error", err)
	k.listenTo(next)
	return nil
}

// awaitRelease returns when the data plane has said that it touches nothing any more.
func (k *keeper) awaitRelease(ctx context.Context) error {
	late := time.After(releaseTime)
	for {
		select {
		case w := <-k.words:
			if w.from == k.current && (w.err != nil || w.Say == released) {
				return w.err
			}
		case <-late:
			return errors.New("the data plane doesn't let go")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end ends the data plane, which lets requests end first. Nodes are left as they are.
func (k *keeper) end() error {
	err := k.dir.short(controlName, os.Remove) // nobody shall wait at it
	if k.current.send(message{Say: end}) != nil {
		return err // it has ended
	}
	for w := range k.words {
		if w.from == k.current && w.err != nil {
			break
		}
	}
	return err
}

// self is the program that runs, even if its file was replaced.
const self = "/proc/self/exe"

// start starts a data plane, and returns when it is ready and waits for our word.
func (k *keeper) start(binary string) (leash, int, error) {
	near, far, err := newLeash()
	if err != nil {
		return leash{}, 0, err
	}
	defer far.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return leash{}, 0, err
	}
	defer null.Close()
	out, err := os.OpenFile(k.dir.path("log", "dataplane.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // for what a crash says
	if err != nil {
		return leash{}, 0, err
	}
	defer out.Close()
	files, names := []*os.File{null, out, out, far}, []string{}
	for _, l := range k.listeners {
		files, names = append(files, l.file), append(names, l.name)
	}
	var fds []uintptr
	for _, f := range files {
		fd, err := descriptor(f)
		if err != nil {
			return leash{}, 0, err
		}
		fds = append(fds, uintptr(fd))
	}
	pid, err := syscall.ForkExec(binary, []string{k.binary, verb, "--dir", string(k.dir)}, &syscall.ProcAttr{
		Env: append(os.Environ(), listenersVariable+"="+strings.Join(names, ",")), Files: fds, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return leash{}, 0, fmt.Errorf("start %s: %w", binary, err)
	}
	far.Close()
	_ = near.SetReadDeadline(time.Now().Add(readyTime))
	m, _, err := near.receive()
	if err != nil || m.Say != ready {
		near.Close()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return leash{}, 0, fmt.Errorf("%s doesn't get ready: %w; log/dataplane.log tells more", binary, or(err, errors.New(string(m.Say))))
	}
	return near, pid, near.SetReadDeadline(time.Time{})
}

// verb is the command line's word for all of this.
const verb = "dataplane"

// listenTo passes on what a data plane says.
func (k *keeper) listenTo(l leash) {
	go func() {
		for {
			m, _, err := l.receive()
			k.words <- heard{l, m, err}
			if err != nil {
				return
			}
		}
	}()
}

// reap takes leave of all who end below us.
func reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for ; ; <-ended { // some may have ended before we came
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
}
