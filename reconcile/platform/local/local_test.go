package local_test

import (
	"net/http"
	"testing"
	"time"

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
		Want: w.eu(2), Edited: edited, Kill: w.kill, Pause: 200 * time.Millisecond, Looks: 2000,
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

func TestADeploymentComesUpAndServes(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.eu(1)
	w.settle(d, want)
	answer, err := http.Get(w.url() + "/realms/master")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
}
