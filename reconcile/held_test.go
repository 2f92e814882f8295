package reconcile_test

import (
	"context"
	"io/fs"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

func TestWhileASwitchoverHoldsRequestsNobodyWaitsForGitAForgeOrTheNextSecond(t *testing.T) {
	repository := &source{world: &world{t: t, name: "acme"}}
	repository.repository()
	repository.push("eu.yaml", "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec: {platform: local, version: 26.7.3, instances: 2, "+
		"regions: [{name: paris}, {name: milan}], active: milan}\n")
	mirror, err := git.Open(repository.mirror, git.Remote{URL: repository.bare, Branch: "main"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		poll := &reconcile.Poll{Mirror: mirror, Source: "s", Prefix: "cloakwork", Interval: time.Minute, Schedule: every(time.Minute), Log: slog.New(slog.DiscardHandler),
			Load: func(tree fs.FS) schema.Declared {
				declared := schema.Load(tree, schema.Options{})
				declared.Deployments["eu"].Revision = "r1" // what runs
				return declared
			},
			Drive: func(*schema.Deployment) (platform.Driver, error) { return r.Process(), nil },
			Post: func(context.Context, status.Status) error {
				time.Sleep(20 * time.Second)
				return nil
			}}
		during(t.Context(), []func(context.Context){func(ctx context.Context) { _ = poll.Run(ctx) }}, func() { r.until("milan is the active region", tookOver) })

		var closed, opened time.Time
		for i, s := range r.steps {
			switch {
			case s.Verb == drift.Gate && closed.IsZero():
				closed = r.at[i]
			case s.Verb == drift.Open && s.Region == "milan":
				opened = r.at[i]
			}
		}
		if held := opened.Sub(closed); closed.IsZero() || held <= 0 || held > 2*time.Second {
			t.Errorf("requests were held for %s: %s", held, r.story())
		}
		r.check()
	})
}
