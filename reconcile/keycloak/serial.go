package keycloak

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// line names the queue that a write stands in, "" for none. Keycloak takes writes to different objects in parallel, but
// not these (26.7.3): two PUTs of one object collide, PUTs of a realm with attributes answer 500, texts of one locale
// lose each other silently, and executions added to one flow at a time get one and the same place.
func (r request) line() string {
	if r.read {
		return ""
	}
	s := strings.Split(r.path, "/") // "", realms, acme, …
	switch {
	case len(s) > 4 && s[1] == "realms" && s[3] == "localization":
		return strings.Join(s[:5], "/")
	case len(s) > 6 && s[1] == "realms" && s[3] == "authentication" && s[4] == "flows" && s[6] == "executions" && r.method == http.MethodPost:
		return strings.Join(s[:7], "/")
	case r.method == http.MethodPut:
		return r.path
	}
	return ""
}

// lines are queues by name; one that nobody stands in takes no space.
type lines struct {
	mu     sync.Mutex
	byName map[string]*line
}

type line struct {
	turn   chan struct{} // holds one while somebody's turn lasts
	people int           // standing here, the one whose turn it is included; guarded by lines.mu
}

// wait stands in line until it is our turn, which ends when leave is called, or until the context ends.
func (l *lines) wait(ctx context.Context, name string) (leave func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	l.mu.Lock()
	if l.byName == nil {
		l.byName = map[string]*line{}
	}
	q := l.byName[name]
	if q == nil {
		q = &line{turn: make(chan struct{}, 1)}
		l.byName[name] = q
	}
	q.people++
	l.mu.Unlock()

	quit := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if q.people--; q.people == 0 {
			delete(l.byName, name)
		}
	}
	select {
	case q.turn <- struct{}{}:
		return func() { <-q.turn; quit() }, nil
	case <-ctx.Done():
		quit()
		return nil, ctx.Err()
	}
}
