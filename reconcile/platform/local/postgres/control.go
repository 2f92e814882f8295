package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Control is what the data says of itself, whether or not a server runs on it.
type Control struct {
	State    string // shut down, shut down in recovery, in production, in archive recovery, …
	System   string
	Timeline int
	// LSN is the last checkpoint. Of a server that was stopped it is the last thing that it wrote: a standby has all of it when what
	// it has replayed is greater.
	LSN uint64
}

// Clean tells that the server was stopped, and owes its data nothing.
func (c Control) Clean() bool { return c.State == "shut down" || c.State == "shut down in recovery" }

// Control reads it.
func (s Server) Control(ctx context.Context) (c Control, err error) {
	out, err := s.run(ctx, nil, "pg_controldata", s.Data())
	if err != nil {
		return c, err
	}
	fields := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	c.State, c.System = fields["Database cluster state"], fields["Database system identifier"]
	if c.Timeline, err = strconv.Atoi(fields["Latest checkpoint's TimeLineID"]); err == nil {
		c.LSN, err = parseLSN(fields["Latest checkpoint location"])
	}
	if err != nil || c.State == "" || c.System == "" {
		return c, fmt.Errorf("pg_controldata %s says something else than expected: %w", s.Data(), errors.Join(err))
	}
	return c, nil
}

// fencedConf is where a fence puts postgresql.conf: without it PostgreSQL doesn't start, by whomever.
const fencedConf = "postgresql.conf.fenced"

// Fenced tells whether the server is kept from starting.
func (s Server) Fenced() bool { return exists(s.path("conf", fencedConf)) }

// ErrRuns is why a server can't be fenced, followed or copied over: it has to be stopped first.
var ErrRuns = errors.New("the database runs: stop it first")

// Fence keeps the server from being started, by the data plane or by hand, until Follow or Unfence. First it takes the way to
// start away, and then it looks: ErrRuns where a process is there still, which has to be stopped, and then nobody starts another.
func (s Server) Fence() error {
	err := os.Rename(s.path("conf", "postgresql.conf"), s.path("conf", fencedConf))
	if errors.Is(err, fs.ErrNotExist) && !s.Fenced() {
		_, err = s.configure(fencedConf, mainConf)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("fence database %s: %w", s.Name, err)
	}
	if err := settle(s.path("conf")); err != nil {
		return fmt.Errorf("fence database %s: %w", s.Name, err)
	}
	runs, err := s.runs()
	if err == nil && runs {
		err = ErrRuns
	}
	if err != nil {
		return fmt.Errorf("fence database %s: %w", s.Name, err)
	}
	return nil
}

// Unfence lets the server be started again as what it was: a primary whose switchover was given up.
func (s Server) Unfence() error {
	if _, err := s.configure("postgresql.conf", mainConf); err != nil {
		return fmt.Errorf("unfence database %s: %w", s.Name, err)
	}
	if err := os.Remove(s.path("conf", fencedConf)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unfence database %s: %w", s.Name, err)
	}
	return settle(s.path("conf"))
}

// Halt ends whatever process runs on the data, whoever started it, and returns when it is gone. It is asked to stop, which hands standbys
// all that was written, and is made to after patience. Somebody who watches over it would start another one: he is told first, or
// the server is fenced.
func (s Server) Halt(ctx context.Context, patience time.Duration) error {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		gone, err := s.halt(ctx, signal, patience)
		if err != nil {
			return fmt.Errorf("halt database %s: %w", s.Name, err)
		}
		if gone {
			return nil
		}
	}
	return fmt.Errorf("halt database %s: %w", s.Name, ErrRuns)
}

func (s Server) halt(ctx context.Context, signal syscall.Signal, patience time.Duration) (gone bool, err error) {
	b, err := os.ReadFile(filepath.Join(s.Data(), "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if pid, err := strconv.Atoi(line); err == nil {
		process, err := unix.PidfdOpen(pid, 0) // it is this one that is looked at and signalled, not another of its number
		if err == nil {
			defer unix.Close(process)
			var runs bool
			if runs, err = s.runs(); err == nil && runs {
				err = unix.PidfdSendSignal(process, signal, nil, 0)
			}
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return false, err
		}
	}
	tick, late := time.NewTicker(20*time.Millisecond), time.NewTimer(patience)
	defer tick.Stop()
	defer late.Stop()
	for {
		if runs, err := s.runs(); err != nil || !runs {
			return !runs, err
		}
		select {
		case <-tick.C:
		case <-late.C:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
