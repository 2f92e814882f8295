package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// alone does something while nobody else does the like: neither another process, nor a program of PostgreSQL whose starter has
// died and which works on. Such programs hold the lock too, for as long as they live.
func (s Server) alone(ctx context.Context, lock string, do func(Server) error) error {
	f, err := os.OpenFile(s.path(lock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			s.lock = f
			return do(s)
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("somebody else works on it: %w", ctx.Err())
		}
	}
}

// The locks: one for who changes what the data is, one for who reads or fills databases.
const (
	dataLock = "data.lock"
	dumpLock = "dump.lock"
)
