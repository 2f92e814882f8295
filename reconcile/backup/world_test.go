package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

// databases are platform.Dumps of one real PostgreSQL.
type databases struct {
	postgres.Server
	dir      string
	cutShort int       // how many dumps of a standby are to be cut short
	asked    []bool    // who was asked for a standby's
	tail     io.Reader // what a dump waits for at its end; nil: nothing
}

func (d *databases) Dump(ctx context.Context, _ schema.Deployment, standby bool, to io.Writer) (platform.Dump, error) {
	d.asked = append(d.asked, standby)
	made, err := d.Server.DumpTo(ctx, to)
	if standby && d.cutShort > 0 {
		d.cutShort--
		return platform.Dump{}, platform.ErrCutShort
	}
	if d.tail != nil && err == nil {
		_, err = io.Copy(to, d.tail)
	}
	return platform.Dump{At: made.At, Region: "paris", Role: platform.Primary, Version: made.Version, System: made.System, Counts: made.Counts}, err
}

func (d *databases) Try(ctx context.Context, _ schema.Deployment, from io.Reader) (counts platform.Counts, err error) {
	err = postgres.Scratch(ctx, filepath.Join(d.dir, "scratch"), d.Programs, d.Account, func(s postgres.Server) error {
		counts, err = s.RestoreFrom(ctx, from, "restored")
		return err
	})
	return counts, err
}

func (d *databases) Fill(ctx context.Context, _ schema.Deployment, database string, from io.Reader) (platform.Counts, error) {
	return d.Server.RestoreFrom(ctx, from, database)
}

func (d *databases) Discard(ctx context.Context, _ schema.Deployment, database string) error {
	return d.Server.Drop(ctx, database)
}

// primary is a PostgreSQL that runs until the test ends, and holds 2,000 users.
func primary(t *testing.T) *databases {
	t.Helper()
	dir, err := os.MkdirTemp("", "bk") // short, and not within a folder that only root may enter
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o711))
	s := postgres.Server{Name: "paris", Dir: filepath.Join(dir, "paris")}
	s.Programs, err = postgres.Find("", 0)
	must(t, err)
	if os.Getuid() == 0 {
		s.Account, err = postgres.AccountOf("postgres")
		must(t, err)
	}
	must(t, s.Init(t.Context(), postgres.NewPasswords()))
	c, err := s.Command()
	must(t, err)
	log, err := os.Create(c.Log)
	must(t, err)
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.UID != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: *c.UID, Gid: *c.GID}
	}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
		log.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, s.AwaitUp(ctx))
	must(t, s.Ensure(ctx))
	d := &databases{Server: s, dir: dir}
	d.do(t, postgres.Database, "SET ROLE keycloak; CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 2000) n")
	return d
}

// filled restores a backup into a database beside, and removes it again: it is what a proof does, but for the server of its own.
func (d *databases) filled(ctx context.Context, to Destination, p Point, keys Keys) error {
	err := Restored(ctx, to, p, keys, func(r io.Reader) (platform.Counts, error) { return d.Fill(ctx, eu, "restored", r) })
	return errors.Join(err, d.Discard(ctx, eu, "restored"))
}

// do runs SQL with psql, as somebody else.
func (d *databases) do(t *testing.T, database, sql string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(d.Programs.Dir, "psql"), "-h", filepath.Join(d.Dir, "run"), "-U", "cloakwork", "-d", database, "-Atqc", sql)
	cmd.Env = append(os.Environ(), "PGPASSFILE="+filepath.Join(d.Dir, "secrets", "passfile"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", sql, err, out)
	}
	return string(out[:max(0, len(out)-1)])
}

// eu is the deployment that is backed up.
var eu = schema.Deployment{Name: "eu", Platform: "local", Version: "26.7.3", Regions: []schema.Region{{Name: "paris"}}, Active: "paris"}

// cloud is a real S3, as far as an emulator is, which runs until the test ends.
type cloud struct {
	t    *testing.T
	at   string
	stop func()
}

const ministack = "1.5.33"

func newCloud(t *testing.T) *cloud {
	t.Helper()
	dir := installed(t)
	free, err := distribution.FreePort()
	must(t, err)
	port := strconv.Itoa(free)
	log, err := os.Create(filepath.Join(t.TempDir(), "ministack.log"))
	must(t, err)
	cmd := exec.Command("python3", "-m", "ministack")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "GATEWAY_PORT="+port, "BIND_HOST=127.0.0.1", "SERVICES=s3", "TMPDIR="+t.TempDir(), "LOG_LEVEL=WARNING")
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	c := &cloud{t: t, at: "http://127.0.0.1:" + port}
	c.stop = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() { c.stop(); log.Close() })
	deadline := time.Now().Add(2 * time.Minute)
	for {
		answer, err := http.Get(c.at + "/_ministack/health")
		if err == nil {
			answer.Body.Close()
			return c
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("S3 never answers: %v\n%s", err, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// installed is the folder that ministack is in; it is fetched once.
func installed(t *testing.T) string {
	t.Helper()
	cache, err := distribution.CacheDir()
	must(t, err)
	dir := filepath.Join(cache, "ministack-"+ministack)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	must(t, os.MkdirAll(cache, 0o755))
	part, err := os.MkdirTemp(cache, "installing-ministack-")
	must(t, err)
	defer os.RemoveAll(part)
	if out, err := exec.Command("python3", "-m", "pip", "install", "--quiet", "--target", filepath.Join(part, "it"), "ministack=="+ministack).CombinedOutput(); err != nil {
		t.Fatalf("install ministack: %v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(part, "it"), dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		} // else another process was first
	}
	return dir
}

// bucket is a new one.
func (c *cloud) bucket(name string, locks bool) *Bucket {
	c.t.Helper()
	b, err := OpenBucket(c.t.Context(), BucketAt{Bucket: name, Prefix: "kc", Region: "us-east-1", Endpoint: c.at, PathStyle: true, AccessKey: "AKIATEST", SecretKey: "hidden-secret"})
	must(c.t, err)
	_, err = b.client.CreateBucket(c.t.Context(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(locks)})
	must(c.t, err)
	return b
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	must(t, err)
	return key
}

// with are keys that are there.
func with(keys ...age.Identity) Keys { return func() (Identities, error) { return keys, nil } }

// taking is a backup of a database to a destination, encrypted to a key.
func taking(d platform.Dumps, to Destination, key *age.X25519Identity) Taking {
	return Taking{Dumps: d, Want: eu, Commit: "c0ffee", To: "vault", At: to, Class: "cold", Keep: time.Hour,
		Recipients: []age.Recipient{key.Recipient()}, Names: []string{key.Recipient().String()}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, d Destination) []string {
	t.Helper()
	all, err := d.List(t.Context(), "eu/")
	must(t, err)
	return all
}

// cut is a reader that fails after its text.
func cut(n int64, err error) io.Reader {
	return io.MultiReader(io.LimitReader(zeros{}, n), broken{err})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type broken struct{ error }

func (b broken) Read([]byte) (int, error) { return 0, b.error }

var errPower = errors.New("the power has gone")

func at(hour int) time.Time { return time.Date(2026, 11, 1, hour, 0, 0, 0, time.UTC) }

func id(hour int) string { return fmt.Sprintf("202611%02dT%02d0000Z", 1+hour/24, hour%24) }
