package dataplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	return a
}

func (a *authority) issue(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	a.last++
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(a.last), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// pair is a certificate for names and its key, as PEM.
func (a *authority) pair(names ...string) (cert, key []byte) {
	a.t.Helper()
	template := &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	c, k := a.issue(template, a.cert, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return block("CERTIFICATE", c.Raw), block("PRIVATE KEY", der)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *authority) ca() []byte { return block("CERTIFICATE", a.cert.Raw) }

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, content); err != nil {
		t.Fatal(err)
	}
}

func TestARenewedCertificateIsShownWithoutARestart(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	p := &Plane{dir: folder(dir), log: slog.New(slog.DiscardHandler)}
	p.balancer = newBalancer("", newMetrics(), p.log, p.log)
	renew := func() (cert, key []byte) { return a.pair("front") }
	cert, key := renew()
	put(t, filepath.Join(dir, "tls/front.crt"), cert)
	put(t, filepath.Join(dir, "tls/front.key"), key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := p.https()
	go s.ServeTLS(l, "", "")
	defer s.Close()
	shown := func() int64 {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: a.pool(), ServerName: "front"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	first := shown()
	cert, key = renew()
	put(t, filepath.Join(dir, "tls/front.crt"), cert) // half renewed
	late := time.Now().Add(2 * reloadAfter)
	eventually(t, "it was looked at", func() bool {
		if got := shown(); got != first {
			t.Fatalf("a certificate without its key is shown: %d", got)
		}
		return time.Now().After(late)
	})
	put(t, filepath.Join(dir, "tls/front.key"), key)
	eventually(t, "the new one is shown", func() bool { return shown() == first+1 })
}

func TestNodesAreSpokenToByTLSWhereTheirAuthorityIsGiven(t *testing.T) {
	a, other, dir := newAuthority(t), newAuthority(t), t.TempDir()
	cert, key := a.pair("paris-0")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	backend := httptest.NewUnstartedServer(http.HandlerFunc(named("paris-0")))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	backend.StartTLS()
	defer backend.Close()
	put(t, filepath.Join(dir, "ca.crt"), a.ca())
	put(t, filepath.Join(dir, "other.crt"), other.ca())
	for _, c := range []struct {
		name, ca, host string
		want           int
	}{{"its authority", "ca.crt", "paris-0", 200}, {"another authority", "other.crt", "paris-0", 503}, {"another name", "ca.crt", "paris-1", 503}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFront(t, Settings{QueueTime: Duration(100 * time.Millisecond)})
			to, err := targetOf(Command{Address: backend.Listener.Addr().String(), CA: filepath.Join(dir, c.ca), Host: c.host})
			if err != nil {
				t.Fatal(err)
			}
			f.pool.put(&node{name: "paris-0", to: to, in: true, ready: true, checked: true, stop: to.CloseIdleConnections})
			for range 2 {
				if got, _ := get(t, f.URL+"/realms/x"); got != c.want {
					t.Errorf("%d, want %d", got, c.want)
				}
			}
		})
	}
}

func TestAnUpgradeCostsNoRequestOverHTTP2(t *testing.T) {
	a := newAuthority(t)
	r := newRegion(t, Config{Listen: Listen{HTTPS: freeAddress(t)}})
	cert, key := a.pair("127.0.0.1")
	put(t, filepath.Join(r.Dir, "tls/front.crt"), cert)
	put(t, filepath.Join(r.Dir, "tls/front.key"), key)
	r.start().up(1, "paris-0")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool()}, ForceAttemptHTTP2: true}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	stop, ended := make(chan bool), make(chan bool)
	var asked atomic.Int64
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			answer, err := client.Post("https://"+r.config.Listen.HTTPS+"/realms/echo", "", strings.NewReader("said"))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if string(body) != "said" || answer.ProtoMajor != 2 {
				t.Errorf("%s %s %q", answer.Proto, answer.Status, body)
				return
			}
			asked.Add(1)
		}
	}()
	for range 3 {
		before := asked.Load()
		eventually(t, "requests are answered", func() bool { return asked.Load() > before+50 || t.Failed() })
		r.must(r.Upgrade(r.ctx, 1))
	}
	close(stop)
	<-ended
}

func TestRegionsReachThePrimaryByMutualTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	db := newDatabase(t, "unix", filepath.Join(t.TempDir(), "db"), "paris")
	between := freeAddress(t)
	paris := newRegion(t, Config{Region: "paris", DB: db.Addr().String(), Listen: Listen{Writer: freeAddress(t), Peers: between}, Peers: map[string]string{"milan": freeAddress(t)}})
	milan := newRegion(t, Config{Region: "milan", DB: "/nowhere", Listen: Listen{Writer: freeAddress(t)}, Peers: map[string]string{"paris": between}})
	for _, r := range []*region{paris, milan} {
		cert, key := a.pair(r.config.Region)
		put(t, filepath.Join(r.Dir, "tls/peer.crt"), cert)
		put(t, filepath.Join(r.Dir, "tls/peer.key"), key)
		put(t, filepath.Join(r.Dir, "tls/peer-ca.crt"), a.ca())
		r.start()
		if _, err := r.Route(r.ctx, 1, []string{"paris"}); err != nil {
			t.Fatal(err)
		}
	}
	s := dialWriter(t, milan.config.Listen.Writer)
	if got := s.hears(); got != "paris" {
		t.Fatalf("from milan led to %q", got)
	}
	s.says(t, "insert")
	// Strangers get nothing: without a certificate, with another authority's, with one for no region that is known.
	open := db.open.Load()
	for name, from := range map[string]func() (cert, key []byte){
		"nobody": nil, "another authority": func() (_, _ []byte) { return stranger.pair("milan") }, "another region": func() (_, _ []byte) { return a.pair("rome") },
	} {
		config := &tls.Config{RootCAs: a.pool(), ServerName: "paris"}
		if from != nil {
			pair, err := tls.X509KeyPair(from())
			paris.must(err)
			config.Certificates = []tls.Certificate{pair}
		}
		conn, err := tls.Dial("tcp", between, config)
		if err != nil {
			continue
		}
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s reads %d bytes", name, n)
		}
		conn.Close()
	}
	plain := dialWriter(t, between)
	fmt.Fprintln(plain, "hello")
	if got := plain.hears(); strings.Contains(got, "paris") {
		t.Errorf("without TLS: %q", got)
	}
	if got := db.open.Load(); got != open {
		t.Errorf("strangers have %d connections to the database", got-open)
	}
	// What comes from another region is fenced with the rest.
	if cut, err := paris.Fence(paris.ctx, 2); cut != 1 || err != nil {
		t.Errorf("%d cut, %v, want milan's", cut, err)
	}
	if got := s.hears(); got != "" {
		t.Errorf("from milan goes on: %q", got)
	}
}

func TestConnectionsToThePrimaryOutliveAnUpgradeAndAreFencedAfterIt(t *testing.T) {
	db := newDatabase(t, "unix", filepath.Join(t.TempDir(), "db"), "paris")
	r := newRegion(t, Config{DB: db.Addr().String(), Listen: Listen{Writer: freeAddress(t)}}).start()
	_, err := r.Route(r.ctx, 1, []string{"paris"})
	r.must(err)
	var sessions []*session
	for i := range 250 { // more than a leash holds at a time
		s := dialWriter(t, r.config.Listen.Writer)
		if got := s.hears(); got != "paris" {
			t.Fatalf("connection %d: %q", i, got)
		}
		sessions = append(sessions, s)
	}
	for range 2 {
		r.must(r.Upgrade(r.ctx, 2))
		eventually(t, "all are handed over", func() bool { return r.look().Writer.Connections == len(sessions) })
		for _, s := range sessions {
			s.says(t, "insert")
		}
	}
	if cut, err := r.Fence(r.ctx, 3); cut != len(sessions) || err != nil {
		t.Errorf("%d cut, %v, want all %d", cut, err, len(sessions))
	}
	eventually(t, "the database has none", func() bool { return db.open.Load() == 0 })
	if got := dialWriter(t, r.config.Listen.Writer).hears(); got != "" {
		t.Errorf("fenced, it leads to %q", got)
	}
	plane := r.look().PID
	r.must(killed(plane))
	eventually(t, "it is back", func() bool { s, err := r.Look(r.ctx); return err == nil && s.PID != plane })
	if got := dialWriter(t, r.config.Listen.Writer).hears(); got != "" {
		t.Errorf("after its death it has forgotten the fence: %q", got)
	}
}
