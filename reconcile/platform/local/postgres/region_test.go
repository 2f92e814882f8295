package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
	"github.com/jackc/pgx/v5"
)

// The test binary is also the data planes that tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "dataplane" {
		flags := flag.NewFlagSet("dataplane", flag.ExitOnError)
		dir := flags.String("dir", "", "")
		supervise := flags.Bool("supervise", false, "")
		_ = flags.Parse(os.Args[2:])
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		do := dataplane.Serve
		if *supervise {
			do = dataplane.Keep
		}
		if err := do(ctx, *dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// region is a server with its data plane.
type region struct {
	Server
	*dataplane.Client
	t      *testing.T
	writer string // the way to the primary
	epoch  int64
}

// twoRegions are paris and milan, each with its own way to the primary of both; nothing is made yet.
func twoRegions(t *testing.T) (paris, milan *region) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	pair := func(template *x509.Certificate) (cert, secret []byte) {
		der, err := x509.CreateCertificate(rand.Reader, template, authority, &key.PublicKey, key)
		must(t, err)
		secret, err = x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	}
	ca, _ := pair(authority)
	peers := map[string]string{"paris": freeAddress(t), "milan": freeAddress(t)}
	var both []*region
	for i, name := range []string{"paris", "milan"} {
		other := []string{"milan", "paris"}[i]
		r := &region{Server: newServer(t, name), t: t, writer: freeAddress(t)}
		r.Client = dataplane.NewClient(filepath.Join(filepath.Dir(r.Server.Dir), "plane"))
		config, err := json.Marshal(dataplane.Config{Region: name, DB: r.Socket(), Peers: map[string]string{other: peers[other]},
			Listen: dataplane.Listen{Writer: r.writer, Peers: peers[name]}})
		must(t, err)
		cert, secret := pair(&x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
		r.put("plane.json", config)
		r.put("tls/peer.crt", cert)
		r.put("tls/peer.key", secret)
		r.put("tls/peer-ca.crt", ca)
		r.start()
		t.Cleanup(r.end)
		both = append(both, r)
	}
	return both[0], both[1]
}

func (r *region) put(name string, content []byte) {
	r.t.Helper()
	path := filepath.Join(r.Client.Dir, name)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(r.t, dataplane.Write(path, content))
}

func (r *region) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if seen, err := r.Client.Look(ctx); err == nil {
		for _, n := range seen.Nodes {
			if err := r.Stop(ctx, 99, n.Name, 20*time.Second); err != nil {
				r.t.Error(err)
			}
		}
	}
	if err := r.End(ctx, 99); err != nil {
		r.t.Error(err)
	}
}

// dead ends all that watches over the database, and has it forget which process that is.
func (r *region) dead() {
	r.t.Helper()
	seen, err := r.Client.Look(r.t.Context())
	must(r.t, err)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", seen.PID))
	must(r.t, err)
	keeper, err := strconv.Atoi(strings.Fields(string(stat[strings.LastIndex(string(stat), ")"):]))[2])
	must(r.t, err)
	must(r.t, syscall.Kill(seen.PID, syscall.SIGSTOP)) // or it would see its keeper die
	must(r.t, syscall.Kill(keeper, syscall.SIGKILL))
	must(r.t, syscall.Kill(seen.PID, syscall.SIGKILL))
	for _, pid := range []int{keeper, seen.PID} {
		waitFor(r.t, "it is dead", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
	slot := seen.Told.Nodes["database"]
	slot.Process = dataplane.Process{}
	seen.Told.Nodes["database"] = slot
	b, err := json.Marshal(seen.Told)
	must(r.t, err)
	r.put("state.json", b)
}

func (r *region) start() {
	r.t.Helper()
	binary, err := os.Executable()
	must(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	must(r.t, r.Start(ctx, binary))
}

// run has the data plane run the database, and waits until it is up.
func (r *region) run() {
	r.t.Helper()
	c, err := r.Command()
	must(r.t, err)
	b, err := json.Marshal(c)
	must(r.t, err)
	r.put("nodes/database/r1.json", b)
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	must(r.t, r.Run(ctx, r.next(), "database", "r1"))
	if err := r.AwaitUp(ctx); err != nil {
		log, _ := os.ReadFile(r.Log())
		r.t.Fatalf("%v\n%s", err, log)
	}
}

func (r *region) stop() {
	r.t.Helper()
	must(r.t, r.Stop(r.t.Context(), r.next(), "database", time.Minute))
}

// kill ends the database like a loss of power, and sees to it that it stays so.
func (r *region) kill() {
	r.t.Helper()
	if err := r.Server.Fence(); err == nil || !strings.Contains(err.Error(), ErrRuns.Error()) {
		r.t.Errorf("a database that runs is fenced: %v", err)
	}
	must(r.t, syscall.Kill(postmaster(r.t, r.Server), syscall.SIGKILL))
	r.stop()
	must(r.t, r.Server.Fence())
}

func (r *region) route(primary string) {
	r.t.Helper()
	_, err := r.Route(r.t.Context(), r.next(), []string{primary})
	must(r.t, err)
}

func (r *region) next() int64 { r.epoch++; return r.epoch }

// sees looks until what it sees is so.
func (r *region) sees(what string, so func(Seen) bool) (seen Seen) {
	r.t.Helper()
	waitFor(r.t, r.Name+": "+what, func() bool {
		var err error
		seen, err = r.Server.Look(r.t.Context())
		return err == nil && so(seen)
	})
	return seen
}

func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(5 * time.Minute)
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// insert writes as a node would, by way of the region's writer endpoint, and returns when that is acknowledged.
func (r *region) insert(n int) error {
	p, err := r.Passwords()
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(r.writer)
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=keycloak dbname=keycloak sslmode=disable", host, port))
	if err != nil {
		return err
	}
	config.Password = p[Keycloak]
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute) // a standby may have to come first
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, "INSERT INTO written VALUES ($1)", n)
	return err
}

func (r *region) rows() string {
	r.t.Helper()
	return query[string](r.t, r.Server, Database, "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM written")
}

// freeAddress is one that other tests' servers don't get by chance before the process that it is for has come to listen there.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := distribution.FreePort()
	must(t, err)
	return "127.0.0.1:" + strconv.Itoa(port)
}
