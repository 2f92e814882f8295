package dataplane

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pair is a connection to the writer endpoint and the one to the primary that it leads to.
type pair struct {
	Epoch int64  `json:"epoch"`          // by which it was let through
	To    string `json:"to"`             // the region of the primary
	Peer  bool   `json:"peer,omitempty"` // it came from another region
	// What each side has said its last word in.
	DownEnded bool `json:"downEnded,omitempty"`
	UpEnded   bool `json:"upEnded,omitempty"`

	down, up net.Conn // up is nil as long as it has no way
	broken   atomic.Bool
}

func (p *pair) close() {
	p.broken.Store(true)
	p.down.Close()
	if p.up != nil {
		p.up.Close()
	}
}

// carry takes bytes both ways until both sides have ended, one broke off, or ctx ends. Then every byte that was read is
// written, unless the other side doesn't take it.
func (p *pair) carry(ctx context.Context) {
	rest := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = p.down.SetReadDeadline(past)
		_ = p.up.SetReadDeadline(past)
		late := time.Now().Add(restTime)
		_ = p.down.SetWriteDeadline(late)
		_ = p.up.SetWriteDeadline(late)
	})
	defer rest()
	var both sync.WaitGroup
	both.Go(func() { p.pump(ctx, p.up, p.down, &p.DownEnded) })
	both.Go(func() { p.pump(ctx, p.down, p.up, &p.UpEnded) })
	both.Wait()
}

// restTime is how long a side that doesn't read may hold up a handover.
const restTime = 3 * time.Second

func (p *pair) pump(ctx context.Context, to, from net.Conn, ended *bool) {
	if *ended {
		return
	}
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, unwritten := to.Write(buffer[:n]); unwritten != nil {
				p.close()
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			*ended = true
			if half, ok := to.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				p.close()
			}
			return
		case ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			p.close()
			return
		}
	}
}

// rests tells whether the pair came to rest whole, to be carried on elsewhere.
func (p *pair) rests() bool {
	return !p.broken.Load() && !(p.DownEnded && p.UpEnded)
}

// files are the two ends as another process can take them over; none where they hold state of this one, as TLS does.
func (p *pair) files() (files []*os.File) {
	for _, c := range []net.Conn{p.down, p.up} {
		if c == nil {
			continue
		}
		filer, ok := c.(interface{ File() (*os.File, error) })
		if !ok {
			return nil
		}
		f, err := filer.File()
		if err != nil {
			return nil
		}
		files = append(files, f)
	}
	return files
}
