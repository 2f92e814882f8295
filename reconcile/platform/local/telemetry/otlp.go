package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// client sends to one collector, by OTLP over HTTP with protobuf.
type client struct {
	url     string
	headers map[string]string
	http    *http.Client
}

// timeout is how long a collector may take for one answer.
const timeout = 10 * time.Second

func newClient(c Collector) (*client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.CA != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM([]byte(c.CA)) {
			return nil, errors.New("its ca holds no certificate")
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return &client{strings.TrimSuffix(c.OTLP, "/"), c.Headers, &http.Client{Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil // headers go to nobody else
}

func (c *client) close() { c.http.CloseIdleConnections() }

// unsent is why a collector didn't take something.
type unsent struct {
	status int
	after  time.Duration // it is to be tried again no sooner; 0 where it didn't say
}

func (e *unsent) Error() string {
	return "it answers " + strconv.Itoa(e.status) + " " + http.StatusText(e.status)
}

// refused tells that the same will not be taken later either.
func refused(err error) bool {
	e := new(unsent)
	return errors.As(err, &e) && (e.status == http.StatusBadRequest || e.status == http.StatusRequestEntityTooLarge)
}

// send sends one request, whose answer is read into response. Nothing that the collector says is in an error: it may repeat what it
// was sent.
func (c *client) send(ctx context.Context, path string, request, response proto.Message) error {
	plain, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	packed := gzip.NewWriter(&body)
	if _, err := packed.Write(plain); err != nil {
		return err
	}
	if err := packed.Close(); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, &body)
	if err != nil {
		return errors.New("its address is none")
	}
	r.Header.Set("User-Agent", "cloakwork")
	for name, value := range c.headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "gzip")
	answer, err := c.http.Do(r)
	if outer := new(url.Error); errors.As(err, &outer) {
		err = outer.Err // without the address
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // a date is none that we wait for
		return &unsent{answer.StatusCode, time.Duration(seconds) * time.Second}
	}
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(text, response); err != nil {
		return fmt.Errorf("its answer is no OTLP")
	}
	return nil
}
