// Package telemetry sends what the nodes of a region log and count to the collectors that it is told of, by OTLP. It follows files
// and asks nodes as anybody may: whatever becomes of a collector, or of the shipper, no node and no request is held up by it.
// docs/telemetry.md says what is sent and what may be lost.
package telemetry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
)

// Collector is where telemetry goes, and which. It is told in a file of its name, with mode 0600: headers are secret.
type Collector struct {
	platform.Collector
	Logs    bool              `json:"logs,omitempty"`
	Metrics time.Duration     `json:"metrics,omitempty"` // between two looks; 0: none are sent
	About   map[string]string `json:"about,omitempty"`   // resource attributes of all that is sent
}

// Node is one of those that are followed.
type Node struct {
	Name    string
	Version string // of Keycloak; "" where nobody knows it any longer
	Log     string // the file that it writes
	Metrics string // the URL that its metrics are read from; "" for none
}

// Shipper sends what a region has to tell.
type Shipper struct {
	Dir    string // collectors are told in NAME.json; NAME.logs and NAME.metrics keep how that does
	Region string
	Nodes  func() ([]Node, error)                            // those that there are now
	Plane  func(context.Context) (metrics []byte, err error) // of the data plane
	Every  time.Duration                                     // between two looks at files; 0: a second
	Stale  func() bool                                       // another shipper should be in this one's place
	Log    *slog.Logger
}

// Told is the suffix of the files in which collectors are told.
const Told = ".json"

// Run sends to whatever collectors are told, until the context ends, there is none, or another shipper should be in this one's place.
func (s Shipper) Run(ctx context.Context) {
	s.Every = cmp.Or(s.Every, time.Second)
	running := map[string]*sending{}
	defer func() {
		for _, r := range running {
			r.end()
		}
	}()
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		told, err := s.told()
		switch {
		case err != nil:
			s.Log.Error("read which collectors there are", "error", err)
		case len(told) == 0 || s.Stale():
			return
		}
		for name, r := range running {
			if c, still := told[name]; err == nil && (!still || !reflect.DeepEqual(c, r.collector)) {
				r.end()
				delete(running, name)
				if !still {
					s.forget(name, Logs, Metrics)
				}
			}
		}
		for name, c := range told {
			if running[name] == nil {
				running[name] = s.begin(ctx, name, c)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// told are the collectors, by name.
func (s Shipper) told() (map[string]Collector, error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "*"+Told))
	if err != nil {
		return nil, err
	}
	told := map[string]Collector{}
	for _, file := range files {
		var c Collector
		switch text, err := os.ReadFile(file); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return told, err
		default:
			if err := json.Unmarshal(text, &c); err != nil {
				return told, err
			}
		}
		told[strings.TrimSuffix(filepath.Base(file), Told)] = c
	}
	return told, nil
}

// sending is what goes to one collector.
type sending struct {
	collector Collector
	end       func() // returns when nothing is sent any more
}

func (s Shipper) begin(ctx context.Context, name string, c Collector) *sending {
	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	for of, signal := range map[string]struct {
		wanted bool
		send   func(context.Context, *stream)
	}{
		Logs:    {c.Logs, func(ctx context.Context, t *stream) { (&logStream{stream: t, limit: batch}).run(ctx) }},
		Metrics: {c.Metrics > 0, func(ctx context.Context, t *stream) { metricStream{t}.run(ctx) }},
	} {
		t := &stream{Shipper: s, collector: c, file: filepath.Join(s.Dir, name+"."+of)}
		if !signal.wanted {
			s.forget(name, of)
			continue
		}
		both.Go(func() {
			t.recall(name, of)
			var err error
			if t.to, err = newClient(c); err != nil {
				t.fail(err)
				return
			}
			defer t.to.close()
			signal.send(ctx, t)
		})
	}
	return &sending{c, func() { cancel(); both.Wait() }}
}

// forget removes what is known of how something was sent.
func (s Shipper) forget(name string, kinds ...string) {
	for _, of := range kinds {
		if err := os.Remove(filepath.Join(s.Dir, name+"."+of)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.Log.Error("forget what was sent", "collector", name, "of", of, "error", err)
		}
	}
}

// What is sent.
const (
	Logs    = "logs"
	Metrics = "metrics"
)

// stream is one kind of telemetry on its way to one collector.
type stream struct {
	Shipper
	collector Collector
	to        *client
	file      string
	kept
}

// kept is what outlives a stream.
type kept struct {
	platform.Telemetry
	Positions map[string]Position `json:"positions,omitempty"` // of logs, by node
}

// Standing is how the telemetry of one kind does that goes to a collector; false where nothing was ever sent.
func Standing(dir, name, of string) (platform.Telemetry, bool) {
	var k kept
	text, err := os.ReadFile(filepath.Join(dir, name+"."+of))
	return k.Telemetry, err == nil && json.Unmarshal(text, &k) == nil && k.To == name
}

func (t *stream) recall(name, of string) {
	if text, err := os.ReadFile(t.file); err == nil {
		if err := json.Unmarshal(text, &t.kept); err != nil {
			t.Log.Error("read what was sent", "file", t.file, "error", err)
		}
	}
	t.Telemetry.Region, t.To, t.Of = t.Shipper.Region, name, of
	if t.Positions == nil {
		t.Positions = map[string]Position{}
	}
	t.save()
}

func (t *stream) save() {
	text, err := json.MarshalIndent(t.kept, "", "  ")
	if err == nil {
		err = dataplane.Write(t.file, append(text, '\n'))
	}
	if err != nil { // it is sent again after a restart
		t.Log.Error("keep what was sent", "file", t.file, "error", err)
	}
}

// took notes that the collector has taken something.
func (t *stream) took() {
	t.Sent = time.Now().UTC()
	t.save()
}

// fail notes why nothing can be sent.
func (t *stream) fail(err error) {
	if t.Why == err.Error() {
		return
	}
	if t.Why == "" {
		t.Since = time.Now().UTC()
	}
	t.Why = err.Error()
	t.Log.Warn("telemetry isn't sent", "collector", t.To, "of", t.Of, "why", t.Why)
	t.save()
}

func (t *stream) well() {
	if t.Why == "" {
		return
	}
	t.Log.Info("telemetry is sent again", "collector", t.To, "of", t.Of)
	t.Why, t.Since = "", time.Time{}
	t.save()
}

// lose notes that something won't be sent.
func (t *stream) lose(why string) {
	t.Lost, t.LostWhy = time.Now().UTC(), why
	t.Log.Warn("telemetry is lost", "collector", t.To, "of", t.Of, "why", why)
	t.save()
}
