package dataplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"time"
)

// How often a node is asked whether it is ready, and how long it may think about it.
const checkEvery, checkTimeout = 300 * time.Millisecond, 2 * time.Second

// check asks a node again and again, and tells the pool, until ctx ends. Readiness decides over requests alone: a node that
// isn't ready because the database is away would gain nothing by a restart.
func check(ctx context.Context, p *pool, n *node, c Command) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}
	if c.CA != "" { // health is served by the node's own certificate too
		if pem, err := os.ReadFile(c.CA); err == nil {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(pem)
			transport.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: c.Host, MinVersion: tls.VersionTLS12}
		}
	}
	defer transport.CloseIdleConnections()
	asker := &http.Client{Transport: transport, Timeout: checkTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	checks(ctx, p, n, func(ctx context.Context) bool {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Health, nil)
		if err != nil {
			return false
		}
		answer, err := asker.Do(r)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// checks asks again and again whether a node is ready, and tells the pool, until ctx ends.
func checks(ctx context.Context, p *pool, n *node, ready func(context.Context) bool) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		is := ready(ctx)
		if ctx.Err() != nil {
			return
		}
		p.answered(n, is)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
