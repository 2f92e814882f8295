package dataplane

import (
	"context"
	"sync"
)

// bell wakes all who wait for a change.
type bell struct {
	mu sync.Mutex
	c  chan struct{}
}

// next is closed at the next change.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// until returns when done says so, which it is asked at each change, or ctx ends.
func (b *bell) until(ctx context.Context, done func() bool) error {
	for {
		next := b.next()
		if done() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
