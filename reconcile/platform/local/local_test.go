package local_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

func (w *world) subject() platformtest.Subject {
	edited := w.eu(2, func(d *schema.Deployment) {
		d.Network = schema.Network{Admin: []schema.Rule{{Allow: "10.0.0.0/8"}, {Deny: "0.0.0.0/0"}}}
	})
	return platformtest.Subject{
		Open: func() platformtest.Opened {
			d := w.open()
			return platformtest.Opened{Driver: d, Crash: func() { d.Close() }}
		},
		Want: w.eu(2), Next: w.eu(2, changed("r2")), Broken: w.eu(2, broken), Edited: edited, Kill: w.kill, Pause: 500 * time.Millisecond, Looks: 2000,
	}
}

func TestTheDriverKeepsRecordsAndSettings(t *testing.T) {
	for _, c := range platformtest.Cases[:6] {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(t.Context(), newWorld(t).subject()); err != nil {
				t.Error(err)
			}
		})
	}
}

// changed is another revision, that may be rolled.
func changed(revision string) func(*schema.Deployment) {
	return func(d *schema.Deployment) {
		d.Revision = revision
		d.Env = append(d.Env, schema.Variable{Name: "MY_FLAG", Value: revision})
	}
}

// broken is a revision whose nodes are refused, or never get ready.
func broken(d *schema.Deployment) {
	d.Revision = "broken"
	d.AdditionalOptions = append(d.AdditionalOptions, schema.Variable{Name: "db-pool-min-size", Value: "many"})
}

func TestHATheDriverIsAPlatform(t *testing.T) {
	for _, c := range platformtest.Cases[6:] {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(t.Context(), newWorld(t).subject()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPortThatIsTakenIsNamedAndTheFrontStaysWhereItIs(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.eu(1)
	take := func() net.Listener {
		taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(want.HTTP.HTTPPort))
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	refused := func() {
		seen, err := d.Observe(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.applySettings(t.Context(), d, want, seen); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("a port that is taken comes to: %v", err)
		}
		if left := w.changes(d, want); len(left) == 0 {
			t.Error("nothing is left to do")
		}
	}
	served := func() {
		if err := w.applySettings(t.Context(), d, want, platform.Seen{Base: schema.State{}}); err != nil {
			t.Error(err)
		}
		if left := w.changes(d, want); len(left) > 0 {
			t.Errorf("there is left %+v", left)
		}
	}
	taken := take()
	refused()
	taken.Close()
	served()
	want.HTTP.HTTPPort = freePort(t)
	taken = take()
	refused()
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(w.port))
	if err != nil {
		t.Error("the front has left the port that it had: ", err)
	} else {
		conn.Close()
	}
	taken.Close()
	served()
}

func TestADataPlaneIsReplacedByAnotherProgramAtTheSamePath(t *testing.T) {
	w := newWorld(t)
	binary := filepath.Join(w.dir, "cloakwork")
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	install := func() *local.Driver {
		if err := os.WriteFile(binary+".new", program, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(binary+".new", binary); err != nil {
			t.Fatal(err)
		}
		d, err := local.Open(w.dir, local.Options{Log: w.log, Binary: binary})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	runs := func() (pid int, program string) {
		seen, err := w.plane().Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		program, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", seen.PID))
		if err != nil {
			t.Fatal(err)
		}
		return seen.PID, program
	}
	want := w.eu(1)
	d := install()
	if err := w.applySettings(t.Context(), d, want, platform.Seen{}); err != nil {
		t.Fatal(err)
	}
	first, _ := runs()
	d = install() // the very same
	if left := w.changes(d, want); len(left) > 0 {
		t.Errorf("the same program again is %s", drift.SayChanges(left))
	}
	program = append(program, "another one"...)
	d = install()
	changes := w.changes(d, want)
	if len(changes) != 1 || len(changes[0].Diffs) != 1 || changes[0].Diffs[0].Path != "program" {
		t.Fatalf("another program shows as %+v", changes)
	}
	if err := d.Apply(t.Context(), want, changes, 0); err != nil {
		t.Fatal(err)
	}
	if left := w.changes(d, want); len(left) > 0 {
		t.Errorf("there is left %+v", left)
	}
	if pid, program := runs(); pid == first || program != binary {
		t.Errorf("process %d of %s serves, before it was %d", pid, program, first)
	}
}
