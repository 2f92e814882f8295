package keycloak

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	grace     = 10 * time.Second // for a write whose context ended while it was under way
	replySize = 256 << 20        // bytes; the export of a realm with thousands of clients takes a few million
)

// request is one call of the admin API, which may take several attempts.
type request struct {
	method string
	path   string // below /admin
	query  url.Values
	body   []byte        // JSON; nil sends none
	read   bool          // changes nothing
	within time.Duration // if the reply takes longer, the error is ErrSlow; 0 is the client's Timeout, and Unreachable
}

// idempotent tells whether doing it twice is as good as once.
func (r request) idempotent() bool {
	return r.read || r.method == http.MethodPut || r.method == http.MethodDelete
}

// collides tells whether a refusal may come of something else that the server did at that moment, and not of the request.
func (r request) collides(err error) bool {
	switch r.method {
	case http.MethodPut:
		return IsConflict(err) || is(err, http.StatusInternalServerError)
	case http.MethodDelete: // 500: what Keycloak (26.7.3) deletes along with it, it looks at in an order of no kind
		return is(err, http.StatusInternalServerError)
	default:
		return false
	}
}

type reply struct {
	request
	status int
	header http.Header
	body   []byte
}

// into fills out from the reply.
func (r reply) into(out any) error {
	if len(r.body) == 0 || out == nil {
		return nil
	}
	if err := json.Unmarshal(r.body, out); err != nil {
		if !json.Valid(r.body) {
			return &Error{Method: r.method, Path: "/admin" + r.path, Status: r.status, Message: notJSON(r.header)}
		}
		return fmt.Errorf("%s /admin%s: decode the reply: %w", r.method, r.path, err)
	}
	return nil
}

func notJSON(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return "the reply is not JSON, but " + oneLine(orDefault(kind, "of no type")) + ": is this the address of a Keycloak?"
}

// id is the last segment of the Location header.
func (r reply) id() string {
	u, err := url.Parse(r.header.Get("Location"))
	if err != nil {
		return ""
	}
	path := u.EscapedPath()
	id, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return ""
	}
	return id
}

// do carries a request out: in line behind writes that it would collide with, in one of the slots, and repeated while
// that is safe and there is patience left. It keeps its slot while it waits, so that a server in need of rest gets it.
func (c *Client) do(ctx context.Context, r request) (got reply, err error) {
	notSent := func(err error) error { return fmt.Errorf("%s /admin%s: not sent: %w", r.method, r.path, err) }
	if err := checkPath(r.path); err != nil {
		return got, notSent(err)
	}
	leave, err := c.lines.wait(ctx, r.line())
	if err != nil {
		return got, notSent(err)
	}
	defer leave()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return got, notSent(ctx.Err())
	}

	var lost, collided bool
	try := func() (err error) {
		got, err = c.attempt(ctx, r)
		if is(err, http.StatusUnauthorized) { // so nothing was done; attempt has dropped the token
			got, err = c.attempt(ctx, r)
		}
		var refused *Error
		if errors.As(err, &refused) {
			if r.method == http.MethodDelete && refused.Status == http.StatusNotFound && (lost || collided) {
				return nil
			}
			refused.Repeated = lost
		}
		return err
	}
	again := func(err error) bool {
		lost = lost || MayHaveHappened(err)
		if !collided && r.collides(err) {
			collided = true
			return true
		}
		return r.mayRepeat(err)
	}
	err = c.persist(ctx, try, again)
	return got, err
}

// persist tries until that succeeds, or again says no, or patience is spent, or the context ends. Pauses grow from 0.2
// to 3 seconds, with jitter, and are as long as the server asks for.
func (c *Client) persist(ctx context.Context, try func() error, again func(error) bool) error {
	began := time.Now()
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 3*time.Second
	for {
		err := try()
		c.observe(err)
		if err == nil || !again(err) || ctx.Err() != nil {
			return err
		}
		pause := max(pauses.NextBackOff(), retryAfter(err))
		if !c.patient(began, pause) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w; not repeated: %w", err, ctx.Err())
		}
	}
}

// mayRepeat tells whether the failure may pass, and a repeat does no harm.
func (r request) mayRepeat(err error) bool {
	var lost *Unreachable
	var refused *Error
	var signIn *SignInError
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	switch {
	case errors.As(err, &certificate), errors.As(err, &name) && name.IsNotFound:
		return false // the URL or the CA is wrong, not the moment
	case errors.As(err, &lost):
		return r.idempotent() || !lost.Sent
	case errors.As(err, &signIn): // before the request itself
		return busy(signIn.Status) || signIn.Status == http.StatusTooManyRequests
	case !errors.As(err, &refused):
		return false
	case refused.Status == http.StatusTooManyRequests:
		return true
	case refused.Status == http.StatusServiceUnavailable && refused.retryAfter > 0:
		return true
	}
	return busy(refused.Status) && r.idempotent()
}

func retryAfter(err error) time.Duration {
	var refused *Error
	var signIn *SignInError
	switch {
	case errors.As(err, &refused):
		return refused.retryAfter
	case errors.As(err, &signIn):
		return signIn.retryAfter
	}
	return 0
}

// observe notes since when the server gives no useful answer, to any request.
func (c *Client) observe(err error) {
	switch now := time.Now(); {
	case IsUnreachable(err):
		c.down.CompareAndSwap(nil, &now)
	case err == nil || Status(err) != 0:
		c.down.Store(nil)
	}
}

// patient tells whether to wait for another attempt. Patience is spent by all requests together on a server that is
// down: after it each request still makes one attempt, so that a pass over a hundred objects ends soon.
func (c *Client) patient(began time.Time, pause time.Duration) bool {
	if down := c.down.Load(); down != nil && down.Before(began) {
		began = *down
	}
	return time.Since(began)+pause <= c.patience
}

// attempt sends the request once.
func (c *Client) attempt(ctx context.Context, r request) (got reply, err error) {
	if err := c.rate.Wait(ctx); err != nil {
		return got, fmt.Errorf("%s /admin%s: not sent: %w", r.method, r.path, err)
	}
	token, err := c.session.token(ctx)
	if err != nil {
		return got, fmt.Errorf("%s /admin%s: not sent: %w", r.method, r.path, err)
	}

	if ctx.Err() != nil {
		return got, fmt.Errorf("%s /admin%s: not sent: %w", r.method, r.path, ctx.Err())
	}
	sending, cancel := c.lifetime(ctx, r)
	defer cancel()
	var connected atomic.Bool
	sending = httptrace.WithClientTrace(sending, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	address := c.base + "/admin" + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(sending, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return got, fmt.Errorf("%s /admin%s: not sent: the path is no part of a URL", r.method, r.path)
	}
	req.Header.Set("Authorization", "Bearer "+token.access)
	req.Header.Set("Accept", "application/json") // workflows come as YAML otherwise
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}

	began := time.Now()
	defer func() { c.note(r, began, got, err) }()
	if r.read {
		c.reads.Add(1)
	} else {
		c.writes.Add(1)
	}
	resp, err := c.http.Do(req)
	if err == nil {
		got = reply{request: r, status: resp.StatusCode, header: resp.Header}
		got.body, err = atMost(resp.Body, replySize)
		resp.Body.Close()
	}
	if err != nil {
		return got, c.noReply(ctx, sending, r, connected.Load(), err)
	}
	if got.status/100 == 2 && !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		return got, nil
	}
	if got.status/100 == 2 { // the login page of a proxy, say: not Keycloak, so nothing was done
		return got, &Error{Method: r.method, Path: "/admin" + r.path, Status: got.status, Message: notJSON(got.header)}
	}
	if got.status == http.StatusUnauthorized {
		c.session.drop(token)
	}
	return got, &Error{
		Method:     r.method,
		Path:       "/admin" + r.path,
		Status:     got.status,
		Message:    explanation(got.status, got.header, got.body, slices.Concat(c.secrets, []string{token.access}, secretsIn(r.body))),
		retryAfter: pauseAskedFor(got.header),
	}
}

// lifetime is the context of one attempt. A read ends with ctx; a write that has begun outlives it for the grace.
func (c *Client) lifetime(ctx context.Context, r request) (context.Context, context.CancelFunc) {
	if r.read {
		return context.WithTimeout(ctx, min(orDefault(r.within, c.timeout), c.timeout))
	}
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-sending.Done():
		}
	})
	return sending, func() { stop(); cancel() }
}

// noReply is the error of an attempt that brought no whole reply.
func (c *Client) noReply(ctx, sending context.Context, r request, connected bool, err error) error {
	if r.read && ctx.Err() != nil {
		return fmt.Errorf("%s /admin%s: %w", r.method, r.path, ctx.Err())
	}
	switch cause := bare(err); {
	case r.within > 0 && sending.Err() != nil:
		return fmt.Errorf("%s /admin%s: %w", r.method, r.path, ErrSlow)
	case ctx.Err() != nil:
		err = fmt.Errorf("%w, and given up after %s: %w", ctx.Err(), grace, cause)
	case sending.Err() != nil:
		err = fmt.Errorf("none within %s: %w", c.timeout, cause)
	default:
		err = cause
	}
	return &Unreachable{Method: r.method, Path: "/admin" + r.path, Sent: connected, Err: err}
}

// bare is err without the URL, whose query isn't ours to show.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// pauseAskedFor is the Retry-After header, in seconds or as a date.
func pauseAskedFor(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at), time.Millisecond)
	}
	return 0
}

// note logs an attempt.
func (c *Client) note(r request, began time.Time, got reply, err error) {
	took := time.Since(began).Round(100 * time.Microsecond)
	attrs := []any{"method", r.method, "path", "/admin" + r.path, "took", took, "sent", len(r.body)}
	if got.status != 0 {
		attrs = append(attrs, "status", got.status, "received", len(got.body))
	}
	var lost *Unreachable
	if errors.As(err, &lost) {
		attrs = append(attrs, slog.Any("error", lost.Err))
	}
	c.log.Debug("keycloak", attrs...)
	if c.sent != nil {
		c.sent(r.method, got.status)
	}
}
