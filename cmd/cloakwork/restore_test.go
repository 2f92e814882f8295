package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	identities "filippo.io/age"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// copies are the databases of a platform in memory: a text, of which each line is a row.
type copies struct {
	serves string
	beside map[string]string
}

func counted(text string) platform.Counts {
	return platform.Counts{"public.users": int64(strings.Count(text, "\n"))}
}

func (c *copies) Dump(_ context.Context, _ schema.Deployment, _ bool, to io.Writer) (platform.Dump, error) {
	_, err := io.WriteString(to, c.serves)
	return platform.Dump{At: time.Now().UTC().Truncate(time.Second), Region: "eu", Role: platform.Primary, Version: "15.1", System: "1", Counts: counted(c.serves)}, err
}

func (c *copies) Try(_ context.Context, _ schema.Deployment, from io.Reader) (platform.Counts, error) {
	text, err := io.ReadAll(from)
	return counted(string(text)), err
}

func (c *copies) Fill(_ context.Context, _ schema.Deployment, database string, from io.Reader) (platform.Counts, error) {
	text, err := io.ReadAll(from)
	if err == nil {
		c.beside[database] = string(text)
	}
	return counted(string(text)), err
}

func (c *copies) Discard(_ context.Context, _ schema.Deployment, database string) error {
	delete(c.beside, database)
	return nil
}

func TestADeploymentIsBackedUpShownAndRestored(t *testing.T) {
	p := newPerson(t)
	db := &copies{serves: "ada\nbob\n", beside: map[string]string{}}
	key, err := identities.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key", key.String()+"\n")
	write("cloakwork.yaml", "apiVersion: cloakwork.dev/v1alpha1\nkind: Controller\nstate: state\nsources: {iam: {repository: work, notes: true}}\nbackups: {identity: {file: key}}\n"+
		"destinations: {far: {folder: vault, location: eu-south, provider: cloud}}\n")
	backups := "regions: [{name: eu, location: eu-west}], backups: [{to: far, schedule: \"0 3 * * *\", keep: 30d, encrypt: " + key.Recipient().String() + "}]"
	typed := ""
	types := func(args ...string) (string, int) {
		t.Helper()
		var out strings.Builder
		c := newCLI(strings.NewReader(typed), &out, &out)
		c.drivers = map[string]opener{"local": func(*platforms) (host, error) {
			return host{Driver: p.memory.Process(), Dumps: db, Admin: func(context.Context, schema.Deployment) (keycloak.Config, error) {
				return keycloak.Config{}, errors.New("nobody answers there")
			}}, nil
		}}
		code := c.execute(t.Context(), append(args, "--config", p.path("cloakwork.yaml")))
		return out.String(), code
	}
	until := func(want string) string {
		t.Helper()
		out := ""
		for range 60 {
			if out, _ = types("run", "--once", "--log-level", "error"); strings.Contains(out, want) {
				return out
			}
		}
		t.Fatalf("never says %q, but:\n%s", want, out)
		return ""
	}
	shows := func(code int, want string, args ...string) string {
		t.Helper()
		out, got := types(args...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("%v ends with %d and\n%swant %d and %s", args, got, out, code, want)
		}
		return out
	}

	p.declares("version: 26.7.3, regions: [{name: eu, location: eu-west}], backups: [{to: fat, schedule: \"0 3 * * *\", encrypt: none}]")
	until(`eu.yaml:4:99: spec.backups[0].to: the controller's configuration has no destination "fat"; did you mean far?`)
	p.declares("version: 26.7.3, " + backups)
	until("in sync: eu: 1 of 1 node serve")
	until("backup of deployment eu: cold to far failed: look at destination far: the folder of the destination: ")
	shows(1, "backup  cold to far not yet taken, fails since ", "status")
	if err := os.Mkdir(p.path("vault"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.path("state/backups/eu.json")); err != nil { // whoever loses it finds out anew
		t.Fatal(err)
	}
	if out, code := types("run", "--once", "--log-level", "error"); code != 0 {
		t.Errorf("backed up, it ends with %d:\n%s", code, out)
	}
	if out := shows(0, ", restored ", "status"); !regexp.MustCompile(`, restored [0-9]+ (s|min) ago\n`).MatchString(out) {
		t.Errorf("status is\n%s", out)
	}
	if out := shows(0, "far/cold/", "restore", "eu"); strings.Count(out, "\n") != 1 || !strings.Contains(out, "2 rows, Keycloak 26.7.3 at ") {
		t.Errorf("listed is\n%s", out)
	}

	db.serves = "eve\n"
	shows(1, `there is no backup "cold/20010101T000000Z"`, "restore", "eu", "--point", "cold/20010101T000000Z", "--target", "deployment")
	typed = "us\n"
	shows(1, `error: "us" isn't the deployment's name: nothing is changed`, "restore", "eu", "--point", "newest", "--target", "deployment")
	shows(1, `"yes" isn't the deployment's name`, "restore", "eu", "--point", "newest", "--target", "deployment", "--yes", "yes")
	if len(db.beside) > 0 {
		t.Errorf("nothing was confirmed, and there is %v", db.beside)
	}
	shows(0, "far-", "restore", "eu", "--point", "newest", "--target", "folder:"+p.path("far-look"))
	typed = "eu\n"
	out := shows(0, "deployment eu is restored from far/cold/", "restore", "eu", "--point", "newest", "--target", "deployment")
	if !strings.Contains(out, "All that deployment eu holds is replaced by the backup far/cold/") || !strings.Contains(out, "what is there now is backed up as far/before-restore/") {
		t.Errorf("it says\n%s", out)
	}
	if len(db.beside) != 1 {
		t.Errorf("beside there is %v", db.beside)
	}
	for _, text := range db.beside {
		if text != "ada\nbob\n" {
			t.Errorf("beside there is %q", text)
		}
	}
	shows(1, "is being restored already, from far/cold/", "restore", "eu", "--point", "newest", "--target", "deployment", "--yes", "eu")
	if len(db.beside) != 1 {
		t.Errorf("the second one is refused, and beside there is %v", db.beside)
	}
	until("in sync: eu: 1 of 1 node serve")
	if n := strings.Count(shows(0, "far/before-restore/", "restore", "eu"), "\n"); n != 2 {
		t.Errorf("%d backups are listed", n)
	}

	// A key that is lost.
	if err := os.Remove(p.path("key")); err != nil {
		t.Fatal(err)
	}
	shows(1, "backups.identity: ", "restore", "eu", "--point", "newest", "--target", "database:look")
	types("run", "--once", "--log-level", "error") // which says so, where it proves again
	text, err := exec.Command("git", "-C", p.path("work"), "notes", "--ref", "cloakwork", "show", "HEAD").Output()
	if err != nil || !strings.Contains(string(text), "cloakwork/backup/eu: success: cold to far ") || !strings.Contains(string(text), ", restored ") {
		t.Errorf("the commit says %v\n%s", err, text)
	}
}
