package dataplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// inherited is what a keeper gets from another process in place of its own: the one that it replaces, or the data plane
// that it lost. The numbers are those of open files.
type inherited struct {
	Lock      int                 `json:"lock"` // -1: not held
	Leash     int                 `json:"leash"`
	Listeners []inheritedListener `json:"listeners"`
}

type inheritedListener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	File    int    `json:"file"`
}

const inheritedVariable = "CLOAKWORK_KEEPER"

// take takes the folder for this keeper alone, unless another one has it.
func (k *keeper) take() (held bool, err error) {
	if err := k.open(); err != nil {
		return false, err
	}
	err = syscall.Flock(k.lockFD(), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func (k *keeper) open() error {
	info, err := os.Stat(string(k.dir))
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is open to others: its mode must be 0700", k.dir)
	}
	k.lock, err = os.OpenFile(k.dir.path("keeper.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	return err
}

func (k *keeper) lockFD() int {
	fd, _ := descriptor(k.lock) // it is open
	return fd
}

// listen opens the sockets of a region, and that of commands.
func (k *keeper) listen() error {
	config, err := k.dir.config()
	if err != nil {
		return err
	}
	control, err := k.listenControl()
	if err != nil {
		return err
	}
	k.listeners = []listener{{"control", "", control}}
	_, err = k.relisten(config.Listen)
	return err
}

// relisten opens what is to be listened on and isn't yet. What no longer is, is returned: it is closed when nobody serves it.
func (k *keeper) relisten(want Listen) (stale []listener, err error) {
	next := k.listeners[:1:1] // control stays
	var opened []listener
	for _, w := range []listener{
		{"http", want.HTTP, nil}, {"https", want.HTTPS, nil}, {"writer", want.Writer, nil}, {"peers", want.Peers, nil}, {"inside", want.Inside, nil}, {"metrics", want.Metrics, nil},
	} {
		if w.address == "" {
			continue
		}
		i := slices.IndexFunc(k.listeners, func(l listener) bool { return l.name == w.name && l.address == w.address })
		if i >= 0 {
			next = append(next, k.listeners[i])
			continue
		}
		if w.file, err = bind(w.address); err != nil {
			for _, o := range opened {
				o.file.Close()
			}
			return nil, fmt.Errorf("listen for %s: %w", w.name, err)
		}
		opened, next = append(opened, w), append(next, w)
	}
	for _, l := range k.listeners {
		if !slices.Contains(next, l) {
			stale = append(stale, l)
		}
	}
	k.listeners = next
	return stale, nil
}

func bind(address string) (*os.File, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// controlName is the socket that a data plane is told by.
const controlName = "control.sock"

func (k *keeper) listenControl() (*os.File, error) {
	var bound *os.File
	err := k.dir.short(controlName, func(path string) error {
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return errors.New("another data plane serves here, and its keeper is about to come back")
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		defer l.Close()
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		bound, err = l.(*net.UnixListener).File()
		return err
	})
	return bound, err
}

// short gives a path to a file of the folder that is short enough for a socket, while do runs.
func (f folder) short(name string, do func(path string) error) error {
	fd, err := unix.Open(string(f), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: string(f), Err: err}
	}
	defer unix.Close(fd)
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name))
}

// inherit takes over what another process holds open for us.
func (k *keeper) inherit(text string) error {
	var from inherited
	if err := json.Unmarshal([]byte(text), &from); err != nil {
		return fmt.Errorf("%s: %w", inheritedVariable, err)
	}
	if from.Lock >= 0 {
		k.lock = openFile(from.Lock, "lock")
	} else {
		if err := k.open(); err != nil {
			return err
		}
		if err := syscall.Flock(k.lockFD(), syscall.LOCK_EX); err != nil {
			return err
		}
	}
	for _, l := range from.Listeners {
		k.listeners = append(k.listeners, listener{l.Name, l.Address, openFile(l.File, l.Name)})
	}
	var err error
	k.current, err = leashOf(openFile(from.Leash, "leash"))
	return err
}

func openFile(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// become goes on as another program, in the same process and with the same open files. It returns only where it can't.
func (k *keeper) become(binary string) error {
	tether, err := k.current.File()
	if err != nil {
		return err
	}
	defer tether.Close()
	to := inherited{}
	keep := func(f *os.File, number *int) {
		if err == nil {
			if *number, err = descriptor(f); err == nil {
				_, err = unix.FcntlInt(uintptr(*number), unix.F_SETFD, 0)
			}
		}
	}
	keep(k.lock, &to.Lock)
	keep(tether, &to.Leash)
	for _, l := range k.listeners {
		to.Listeners = append(to.Listeners, inheritedListener{Name: l.name, Address: l.address})
		keep(l.file, &to.Listeners[len(to.Listeners)-1].File)
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(to)
	if err != nil {
		return err
	}
	return syscall.Exec(binary, []string{binary, verb, "--supervise", "--dir", string(k.dir)}, append(os.Environ(), inheritedVariable+"="+string(text)))
}

// newKeeper puts another keeper in the place of one that died: what it held, we hold too.
func (s *serving) newKeeper() (leash, error) {
	near, far, err := newLeash()
	if err != nil {
		return leash{}, err
	}
	files := []*os.File{far}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	to := inherited{Lock: -1, Leash: firstFile}
	addresses := map[string]string{"http": s.config.Listen.HTTP, "https": s.config.Listen.HTTPS, "writer": s.config.Listen.Writer,
		"peers": s.config.Listen.Peers, "inside": s.config.Listen.Inside, "metrics": s.config.Listen.Metrics}
	for _, name := range []string{"control", "http", "https", "writer", "peers", "inside", "metrics"} { // control first
		l, ok := s.listeners[name]
		if !ok {
			continue
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			near.Close()
			return leash{}, err
		}
		to.Listeners = append(to.Listeners, inheritedListener{name, addresses[name], firstFile + len(files)})
		files = append(files, f)
	}
	text, err := json.Marshal(to)
	if err != nil {
		near.Close()
		return leash{}, err
	}
	cmd := exec.Command(self, verb, "--supervise", "--dir", string(s.dir))
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inheritedVariable+"="+string(text))
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		near.Close()
		return leash{}, err
	}
	go cmd.Wait() // it leads its own life
	s.log.Info("has a new keeper", "keeper", cmd.Process.Pid)
	return near, nil
}
