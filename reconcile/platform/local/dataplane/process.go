package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process names one process for ever: numbers are used again, but not with the same start in the same boot.
type Process struct {
	PID     int       `json:"pid,omitempty"`
	Started uint64    `json:"started,omitempty"` // in ticks since the boot
	Boot    string    `json:"boot,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// mark is what a node's environment carries, by which a data plane that crashed between starting it and saying so knows it
// again.
const mark = "CLOAKWORK_SLOT="

// start runs a node in its own session, so that it outlives us. Its output goes straight to its file. How it ended is sent
// to exit, should we be there still.
func (f folder) start(name string, c Command) (p Process, exit <-chan string, err error) {
	out := os.DevNull
	if c.Log != "" {
		out = c.Log
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
		return p, nil, err
	}
	log, err := os.OpenFile(out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return p, nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(append([]string{}, c.Env...), f.mark(name))
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.UID != nil || c.GID != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: number(c.UID, os.Getuid()), Gid: number(c.GID, os.Getgid())}
	}
	if err := cmd.Start(); err != nil {
		return p, nil, err
	}
	// Nobody else waits for it, so that until here its number is its own even if it has ended.
	p, err = processOf(cmd.Process.Pid)
	how := make(chan string, 1)
	go func() {
		_ = cmd.Wait() // the state tells it all
		how <- cmd.ProcessState.String()
	}()
	if errors.Is(err, os.ErrProcessDone) {
		return p, nil, fmt.Errorf("it ended at once: %s", <-how)
	}
	return p, how, err
}

func number(id *uint32, instead int) uint32 {
	if id == nil {
		return uint32(instead)
	}
	return *id
}

func (f folder) mark(name string) string { return mark + f.path("nodes", name) }

// stray finds a process that runs for a slot although nobody remembers it.
func (f folder) stray(name string) (Process, bool) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+f.mark(name)+"\x00")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		// Its children carry the mark too: only who leads a session was started by us.
		if p, err := processOf(pid); err == nil && leads(pid) {
			return p, true
		}
	}
	return Process{}, false
}

func leads(pid int) bool {
	session, err := unix.Getsid(pid)
	return err == nil && session == pid
}

// processOf is the process that has a number now.
func processOf(pid int) (Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	_, rest, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ") // names may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return Process{}, os.ErrProcessDone
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, Started: started, Boot: strings.TrimSpace(string(boot)), Since: time.Now().UTC().Truncate(time.Second)}, nil
}

// open takes hold of a process, so that its number can't become somebody else's meanwhile. It fails with os.ErrProcessDone
// where the process is gone.
func (p Process) open() (hold, error) {
	if p.PID <= 0 {
		return hold{}, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return hold{}, os.ErrProcessDone
	}
	if err != nil {
		return hold{}, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	now, err := processOf(p.PID)
	if err != nil || now.Started != p.Started || now.Boot != p.Boot {
		unix.Close(fd)
		return hold{}, os.ErrProcessDone
	}
	return hold{os.NewFile(uintptr(fd), "process")}, nil
}

// hold keeps a process's number from becoming somebody else's.
type hold struct{ *os.File }

// ended is closed when the process has ended, or the hold is closed.
func (h hold) ended() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if raw, err := h.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
				return n > 0
			})
		}
	}()
	return ended
}

func (h hold) signal(s syscall.Signal) error {
	fd, err := descriptor(h.File)
	if err != nil {
		return err
	}
	return unix.PidfdSendSignal(fd, s, nil, 0)
}
