package dataplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// leash joins two processes of a data plane. Its end is the other one's end: nothing else holds it. Messages are whole, and
// open files go with them.
type leash struct{ *net.UnixConn }

// message is what goes over a leash.
type message struct {
	Say  word   `json:"say"`
	Cold bool   `json:"cold,omitempty"` // serve: nobody has served before in this keeper's life
	PID  int    `json:"pid,omitempty"`  // ready
	Why  string `json:"why,omitempty"`  // failed
	Pair *pair  `json:"pair,omitempty"` // carry
}

// word is what a message is about.
type word string

// The words.
const (
	ready    word = "ready"    // a plane has read all it needs, and touches nothing yet
	serve    word = "serve"    // it may; with a leash to the one before it, if there is one
	release  word = "release"  // touch nothing any more, and give what flows to the one at the other end of this leash
	released word = "released" // that is so
	upgrade  word = "upgrade"  // a plane asks for the next one
	failed   word = "failed"   // there is none, and all is as before
	end      word = "end"      // serve no longer, and nobody will: either may say so
	carry    word = "carry"    // go on with this connection
)

// newLeash makes both ends; the far one is for another process.
func newLeash() (near leash, far *os.File, err error) {
	one, far, err := socketpair()
	if err != nil {
		return leash{}, nil, err
	}
	if near, err = leashOf(one); err != nil {
		far.Close()
	}
	return near, far, err
}

func socketpair() (one, other *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "leash"), os.NewFile(uintptr(fds[1]), "leash"), nil
}

// leashOf takes an end from another process.
func leashOf(f *os.File) (leash, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return leash{}, err
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return leash{}, errors.New("a leash is a unix socket")
	}
	return leash{unix}, nil
}

// send says something, and hands files over with it; the caller keeps his own.
func (l leash) send(m message, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fd, err := descriptor(f)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
		}
		rights = syscall.UnixRights(fds...)
	}
	_, _, err = l.WriteMsgUnix(b, rights, nil)
	return err
}

// descriptor is a file's number. File.Fd would make it block, for all processes that share it.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	return fd, raw.Control(func(number uintptr) { fd = int(number) })
}

// receive hears what the other end says; io.EOF when it has ended.
func (l leash) receive() (m message, files []*os.File, err error) {
	b, rights := make([]byte, 4<<10), make([]byte, syscall.CmsgSpace(4*4))
	n, oob, _, _, err := l.ReadMsgUnix(b, rights)
	if err != nil {
		return m, nil, err
	}
	if n == 0 {
		return m, nil, io.EOF
	}
	controls, err := syscall.ParseSocketControlMessage(rights[:oob])
	if err != nil {
		return m, nil, err
	}
	for _, c := range controls {
		fds, err := syscall.ParseUnixRights(&c)
		if err != nil {
			return m, nil, err
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	if err := json.Unmarshal(b[:n], &m); err != nil {
		return m, files, fmt.Errorf("leash: %w", err)
	}
	return m, files, nil
}
