package local_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

func TestHANodesUseADatabaseThatIsSomebodyElses(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	port := startDatabase(t, "hers")
	elsewhere := func(d *schema.Deployment) {
		d.DB.Host, d.DB.Port, d.DB.Database = "127.0.0.1", port, "keycloak"
		d.DB.UsernameSecret.Value, d.DB.PasswordSecret.Value = "keycloak", "hers"
	}
	w.settle(d, w.eu(2, elsewhere))
	people := w.use(d, w.eu(2, elsewhere))
	seen := w.settle(d, w.eu(2, elsewhere, changed("r2")))
	w.unharmed(people)
	for _, n := range seen.Nodes {
		if n.Revision != "r2" || n.View != 2 {
			t.Errorf("a roll left %+v", n)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "eu", "regions", "eu", "db")); err == nil || seen.Regions[0].Role != "" {
		t.Errorf("a database of ours was made: %+v, %v", seen.Regions[0], err)
	}
}

// startDatabase has a PostgreSQL of its own run until the test ends, with a database and a role keycloak.
func startDatabase(t *testing.T, password string) (port int) {
	t.Helper()
	programs, err := postgres.Find("", 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		account, err := postgres.AccountOf("postgres")
		if err == nil {
			err = os.Chown(dir, int(account.UID), int(account.GID))
		}
		if err != nil {
			t.Fatal(err)
		}
		as.Credential = &syscall.Credential{Uid: account.UID, Gid: account.GID}
	}
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(password), 0o644); err != nil {
		t.Fatal(err)
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(programs.Dir, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, as
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := command("initdb", "-D", data, "-U", "keycloak", "--pwfile="+file, "-A", "scram-sha-256").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	port = freePort(t)
	server := command("postgres", "-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", "", "-c", "max_connections=200")
	server.Stderr = t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT)
		_ = server.Wait()
	})
	(&world{t: t}).eventually("the database serves", func() bool {
		conn, err := pgx.Connect(t.Context(), "host=127.0.0.1 user=keycloak dbname=postgres sslmode=disable port="+strconv.Itoa(port)+" password="+password)
		if err != nil {
			return false
		}
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), "CREATE DATABASE keycloak")
		return err == nil
	})
	return port
}
