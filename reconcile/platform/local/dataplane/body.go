package dataplane

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// patient is a request's body, whose sender must not rest for too long.
type patient struct {
	io.ReadCloser
	control *http.ResponseController
	rest    time.Duration
	mu      sync.Mutex
	late    atomic.Bool // it came too slowly
	ended   bool        // read to its end, or closed: deadlines are no longer ours to set
}

func (p *patient) Read(b []byte) (int, error) {
	p.deadline(time.Now().Add(p.rest), false)
	n, err := p.ReadCloser.Read(b)
	switch {
	case errors.Is(err, io.EOF):
		p.deadline(time.Time{}, true) // it would end the wait for the answer too
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.late.Store(true)
	}
	return n, err
}

// Close leaves a deadline, for the server reads what is left of a body.
func (p *patient) Close() error {
	p.deadline(time.Now().Add(p.rest), true)
	return p.ReadCloser.Close()
}

func (p *patient) deadline(t time.Time, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = end
		_ = p.control.SetReadDeadline(t) // a connection without deadlines has a patient sender, or none
	}
}

// replay is a body that can be sent again as long as only its beginning was read.
type replay struct {
	mu   sync.Mutex
	from io.Reader
	kept []byte
	lost bool
}

// keepable is how much of a body is kept until it is known to be on its way: more than a transport reads ahead.
const keepable = 64 << 10

// view is one attempt to send the body.
type view struct {
	*replay
	at    int
	ended bool
}

func (v *view) Read(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return 0, errors.New("this attempt is over")
	}
	if v.at < len(v.kept) {
		n := copy(b, v.kept[v.at:])
		v.at += n
		return n, nil
	}
	if v.from == nil {
		return 0, io.EOF
	}
	n, err := v.from.Read(b)
	if v.lost = v.lost || len(v.kept)+n > keepable; v.lost {
		v.kept = nil
	} else {
		v.kept = append(v.kept, b[:n]...)
	}
	v.at = len(v.kept)
	return n, err
}

// Close leaves the body open for another attempt.
func (v *view) Close() error { return nil }

// end ends an attempt, and tells whether another one can be made.
func (v *view) end() bool {
	if !v.mu.TryLock() { // somebody reads still, and what he gets would be lost
		return false
	}
	defer v.mu.Unlock()
	v.ended = true
	return !v.lost
}
