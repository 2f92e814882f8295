package dataplane

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// certificate is a pair of files that may be renewed at any time. One that can't be read, or is half renewed, changes
// nothing: the last good one stays in force.
type certificate struct {
	cert, key string

	mu     sync.Mutex
	looked time.Time
	seen   [2]time.Time // when the files were written
	good   *tls.Certificate
}

// reloadAfter is how long a look at the files is taken for the truth.
const reloadAfter = time.Second

func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.good != nil && time.Since(c.looked) < reloadAfter {
		return c.good, nil
	}
	c.looked = time.Now()
	var seen [2]time.Time
	for i, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			seen[i] = info.ModTime()
		}
	}
	if c.good != nil && seen == c.seen {
		return c.good, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	switch {
	case err == nil:
		c.good, c.seen = &pair, seen
	case c.good == nil:
		return nil, err
	}
	return c.good, nil
}

func (c *certificate) forServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() }

func (c *certificate) forClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.get()
}
