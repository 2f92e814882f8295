package local_test

import (
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/traffic"
	"github.com/cloakwork/cloakwork/schema"
)

// admin is a client of the front, with the deployment's own account. What fails is not tried again.
func (w *world) admin(d *local.Driver, want schema.Deployment) *keycloak.Client {
	w.t.Helper()
	config, err := d.Connection(w.t.Context(), want)
	if err != nil {
		w.t.Fatal(err)
	}
	config.URL, config.Patience, config.Timeout = w.url(), -1, 2*time.Minute
	c, err := keycloak.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// use has people use the deployment.
func (w *world) use(d *local.Driver, want schema.Deployment) *traffic.Traffic {
	w.t.Helper()
	c := w.admin(d, want)
	if err := traffic.Make(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	people := traffic.Start(w.url(), c, 4, 200*time.Millisecond)
	deadline := time.Now().Add(3 * time.Minute)
	for people.Sum().Sessions < 4 || people.Sum().Writes == 0 || people.Sum().Forms < 2 {
		if time.Now().After(deadline) {
			w.t.Fatal("nobody gets in: ", people.Sum())
		}
		time.Sleep(100 * time.Millisecond)
	}
	return people
}

// unharmed ends the use, of which nobody must have noticed anything.
func (w *world) unharmed(people *traffic.Traffic) {
	w.t.Helper()
	sum, err := people.Stop(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Log(sum)
	if sum.Failed > 0 || sum.Thrown > 0 || sum.Lost > 0 || sum.Gone > 0 {
		w.t.Errorf("somebody noticed: %s: %q", sum, sum.Fails)
	}
}

func TestARollByAChangedVariableIsNoticedByNobody(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	want := w.eu(2)
	w.settle(d, want)
	people := w.use(d, want)
	next := w.eu(2, func(d *schema.Deployment) {
		d.Revision = "r2"
		d.Env = append(d.Env, schema.Variable{Name: "MY_FLAG", Value: "on"})
	})
	seen := w.settle(d, next)
	w.unharmed(people)
	for _, n := range seen.Nodes {
		if n.Revision != "r2" || !n.Serves() || n.View != 2 {
			t.Errorf("%+v", n)
		}
	}
}
