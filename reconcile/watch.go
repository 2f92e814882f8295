package reconcile

import (
	"context"
	"log/slog"
	"reflect"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Watch has another region of a deployment take over in seconds, whoever else is there: it needs neither git nor a forge nor
// a controller. It decides as a controller does, by rollout.Failover, so that any number of watchers and controllers may
// stand side by side, and each goes on with what another one has begun. What nodes run, and settings, are none of its business.
type Watch struct {
	Driver   platform.Driver
	Region   string                             // where it stands
	Declared func() (*schema.Deployment, error) // what was declared last; nil where nobody is to watch
	// Glance is what a look at the regions would show, in short and for little. As long as it says the same, no look is taken
	// before one is due. Where it is nil, one is taken each time.
	Glance func(context.Context, schema.Deployment) string
	Pause  time.Duration // between two glances
	Log    *slog.Logger
}

// rest is how long a watcher leaves regions unseen of which a glance shows nothing new.
const rest = 5 * time.Second

// Run watches until the context ends. Nothing that it knows outlives it, or needs to.
func (w Watch) Run(ctx context.Context) {
	s := &watching{Watch: w}
	for ctx.Err() == nil {
		s.round(ctx)
		wait := w.Pause
		if until := time.Until(s.due); until > 0 {
			wait = min(wait, until)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// watching is a watcher at work.
type watching struct {
	Watch
	want     *schema.Deployment // what was declared, as far as it could be read last
	glanced  string             // at the last look
	due      time.Time          // when the next one is
	failures int                // in a row
	said     string             // last
}

// round looks, where there may be something to see.
func (w *watching) round(ctx context.Context) {
	want, err := w.Declared()
	switch {
	case err != nil: // what was declared before stays in force
		w.say(slog.LevelError, "read what is declared", drift.Escape(err.Error()))
	case !reflect.DeepEqual(want, w.want):
		w.want, w.due = want, time.Time{}
	}
	if w.want == nil {
		return
	}
	now := ""
	if w.Glance != nil {
		now = w.Glance(ctx, *w.want)
	}
	if w.Glance != nil && now == w.glanced && time.Now().Before(w.due) {
		return
	}
	w.glanced = now
	done, err := Deploy{Mode: Apply, Driver: w.Driver, Want: w.want, Log: w.Log, By: "the watcher of " + w.Region, Regions: true}.Run(ctx)
	w.due = time.Now().Add(rest)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		w.due = time.Now().Add(min(rest, w.Pause<<min(w.failures, 10)))
		w.failures++
		w.say(slog.LevelWarn, string(done.Verdict), drift.Escape(err.Error()))
		return
	case done.Verdict == drift.Progressing:
		w.due = time.Now().Add(min(w.Pause, done.Soon()))
	case !done.Until.IsZero():
		w.due = earlier(w.due, done.Until)
	}
	w.failures = 0
	if done.Verdict == drift.InSync {
		done.Says = "" // it would be about the nodes
	}
	w.say(slog.LevelInfo, string(done.Verdict), done.Says)
}

// say says what is new.
func (w *watching) say(level slog.Level, what, says string) {
	if text := what + ": " + says; text != w.said {
		w.said = text
		w.Log.Log(context.Background(), level, what, "says", says)
	}
}
