package local_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
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

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(w.port))
	if err != nil {
		t.Fatal(err)
	}
	want := w.eu(1)
	if err := w.applySettings(t.Context(), d, want, platform.Seen{}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken comes to: %v", err)
	}
	taken.Close()
	if left := w.changes(d, want); len(left) == 0 {
		t.Error("nothing is left to do")
	}
	if err := w.applySettings(t.Context(), d, want, platform.Seen{}); err != nil {
		t.Error(err)
	}
	if left := w.changes(d, want); len(left) > 0 {
		t.Errorf("there is left %+v", left)
	}
}
