package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Scratch makes an empty server aside and runs it for as long as use takes: nobody else can reach it, it is a child of this
// process and ends with it, and nothing is left of it. What was left by a process that was killed is removed first.
func Scratch(ctx context.Context, dir string, programs Programs, account Account, use func(Server) error) (err error) {
	s := Server{Name: "scratch", Dir: dir, Programs: programs, Account: account}
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	unlock, err := s.only()
	if err != nil {
		return err
	}
	defer unlock()
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := s.Init(ctx, NewPasswords()); err != nil {
		return err
	}
	stop, err := s.child()
	if err != nil {
		return fmt.Errorf("start a scratch server: %w", err)
	}
	defer stop()
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.AwaitUp(short); err != nil {
		return s.explain(fmt.Errorf("start a scratch server: %w: %s", err, s.complaint()))
	}
	if err := s.Ensure(ctx); err != nil {
		return err
	}
	return use(s)
}

// only keeps a second one out of the folder. The lock is beside it, since the folder goes.
func (s Server) only() (unlock func(), err error) {
	f, err := os.OpenFile(s.Dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("somebody else uses the scratch server in %s: %w", s.Dir, err)
	}
	return func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // a program that somebody starts this very moment may have the file open, too
		f.Close()
	}, nil
}

// child runs the server. It has nothing to lose, so that it doesn't wait for the disk.
func (s Server) child() (stop func(), err error) {
	c, err := s.Command()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := append(c.Argv[1:], "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
	cmd := exec.Command(c.Argv[0], args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, log, log
	// Where this process is killed the server is told to end at once; that hangs on the thread which started it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if c.UID != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: *c.UID, Gid: *c.GID}
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends doesn't matter
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		<-ended
	}, nil
}
