package local_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	logcollector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	metriccollector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/schema"
)

// collector takes telemetry, and keeps which records and metrics it got, by the node that they are of.
type collector struct {
	*httptest.Server

	mu      sync.Mutex
	token   string
	status  int // of its answers; 0 takes all
	logs    map[string][]string
	levels  map[string]int
	metrics map[string]map[string]bool
	version string // of Keycloak, as the last record says
}

func newCollector(t testing.TB) *collector {
	c := &collector{logs: map[string][]string{}, levels: map[string]int{}, metrics: map[string]map[string]bool{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.token = r.Header.Get("Authorization")
		if c.status != 0 {
			w.WriteHeader(c.status)
			return
		}
		packed, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(packed)
		if err != nil {
			t.Error(err)
			return
		}
		if r.URL.Path == "/v1/logs" {
			err = c.takeLogs(body)
		} else {
			err = c.takeMetrics(body)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) takeLogs(body []byte) error {
	var all logcollector.ExportLogsServiceRequest
	if err := proto.Unmarshal(body, &all); err != nil {
		return err
	}
	for _, of := range all.ResourceLogs {
		node := said(of.Resource, "service.instance.id")
		c.version = said(of.Resource, "service.version")
		for _, s := range of.ScopeLogs {
			for _, l := range s.LogRecords {
				c.logs[node] = append(c.logs[node], l.Body.GetStringValue())
				c.levels[l.SeverityText]++
			}
		}
	}
	return nil
}

func (c *collector) takeMetrics(body []byte) error {
	var all metriccollector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &all); err != nil {
		return err
	}
	for _, of := range all.ResourceMetrics {
		from := said(of.Resource, "service.name") + " " + said(of.Resource, "service.instance.id")
		if c.metrics[from] == nil {
			c.metrics[from] = map[string]bool{}
		}
		for _, s := range of.ScopeMetrics {
			for _, m := range s.Metrics {
				c.metrics[from][m.Name] = true
			}
		}
	}
	return nil
}

func said(r *resource.Resource, name string) string {
	for _, a := range r.Attributes {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// has tells whether a node's record holds some text.
func (c *collector) has(node, text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.logs[node], func(body string) bool { return strings.Contains(body, text) })
}

func (c *collector) counts(from, metric string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[from][metric]
}

// sending is a deployment that sends all to a collector.
func sending(d *schema.Deployment) {
	d.Telemetry = []schema.Telemetry{{To: "watch", Logs: true, Metrics: schema.Duration(time.Second)}}
}

// collecting is a driver whose configuration names the collector.
func (w *world) collecting(c *collector, token *string) *local.Driver {
	w.t.Helper()
	d, err := local.Open(w.dir, local.Options{Log: w.log, Ready: 15 * time.Minute, Collector: func(name string) (platform.Collector, error) {
		if name != "watch" {
			return platform.Collector{}, fmt.Errorf("no collector %s", name)
		}
		return platform.Collector{OTLP: c.URL, Headers: map[string]string{"Authorization": *token}}, nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

func TestARegionsTelemetryIsSentAsDeclaredWhoeverIsGone(t *testing.T) {
	w := newWorld(t)
	c := newCollector(t)
	token := "Bearer hidden one"
	d := w.collecting(c, &token)
	want := w.eu(1, sending)
	region := filepath.Join(w.dir, "eu", "regions", "eu")
	logged := func(text string) {
		log := filepath.Join(region, "log", "eu-0.log")
		if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintf(f, "2026-11-23 18:51:02,123 INFO  [a] (b) %s\n", text)
	}
	left := func(want schema.Deployment) []drift.Change {
		return slices.DeleteFunc(w.changes(d, want), func(c drift.Change) bool { return c.Address.Kind() != "telemetry" })
	}
	standing := func() []platform.Telemetry {
		seen, err := d.Observe(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Telemetry
	}
	shipper := func() int {
		seen, _ := w.plane().Look(context.Background()) // one that is gone runs none
		for _, n := range seen.Nodes {
			if n.Name == "shipper" {
				return n.PID
			}
		}
		return 0
	}
	w.only(d, want, "fronts", "telemetry")
	if changes := left(want); len(changes) > 0 {
		t.Errorf("there is left %s", drift.SayChanges(changes))
	}
	logged("one")
	w.eventually("what was logged comes", func() bool { return c.has("eu-0", "one") })
	w.eventually("what the data plane counts comes", func() bool { return c.counts("cloakwork-dataplane eu", "cloakwork_front_waiting") })

	w.eventually("it is kept how far that is", func() bool { s := standing(); return len(s) == 2 && s[0].Of == "logs" && !s[0].Sent.IsZero() })

	t.Log("whoever is killed")
	pid := shipper()
	for _, file := range []string{fmt.Sprintf("/proc/%d/cmdline", pid), fmt.Sprintf("/proc/%d/environ", pid), filepath.Join(region, "plane", "telemetry", "watch.logs"), filepath.Join(region, "log", "shipper.log")} {
		if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte("hidden")) {
			t.Errorf("%s: %q %v", file, text, err)
		}
	}
	if info, err := os.Stat(filepath.Join(region, "plane", "telemetry", "watch.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	logged("two")
	w.eventually("the next one goes on where it stood", func() bool { return c.has("eu-0", "two") && shipper() != pid })
	c.mu.Lock()
	if diff := len(c.logs["eu-0"]); diff != 2 {
		t.Errorf("it came as %q", c.logs["eu-0"])
	}
	c.status = http.StatusBadGateway
	c.mu.Unlock()

	t.Log("the collector is away, and has another secret when it is back")
	logged("three")
	w.eventually("it is said", func() bool {
		s := standing()
		return len(s) == 2 && s[0].Of == "logs" && s[0].Why == "it answers 502 Bad Gateway" && !s[0].Since.IsZero() && s[1].Why == s[0].Why
	})
	token = "Bearer hidden two"
	changes := left(want)
	if len(changes) != 1 || changes[0].Op != drift.Update || len(changes[0].Diffs) != 1 || changes[0].Diffs[0].Path != "headers" || !changes[0].Diffs[0].Secret {
		t.Fatalf("another secret shows as %+v", changes)
	}
	before := shipper()
	if err := d.Apply(t.Context(), want, changes, 0); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.status = 0
	c.mu.Unlock()
	w.eventually("what was held back comes", func() bool { return c.has("eu-0", "three") })
	w.eventually("all is well", func() bool { s := standing(); return s[0].Why == "" && s[1].Why == "" && !s[0].Sent.IsZero() })
	c.mu.Lock()
	if c.token != token || shipper() != before {
		t.Errorf("it comes with %q, by process %d rather than %d", c.token, shipper(), before)
	}
	c.mu.Unlock()

	t.Log("no longer declared")
	none := w.eu(1)
	w.only(d, none, "telemetry")
	if changes := left(none); len(changes) > 0 || shipper() != 0 || len(standing()) > 0 {
		t.Errorf("there is left %s", drift.SayChanges(changes))
	}
	if _, err := os.Stat(filepath.Join(region, "plane", "telemetry")); err == nil {
		t.Error("its secret is left")
	}
}

// hears expects what nodes log and count at the collector.
func (w *world) hears(c *collector, nodes ...string) {
	w.t.Helper()
	for _, node := range nodes {
		w.eventually("the collector hears that "+node+" has started", func() bool { return c.has(node, "Keycloak 26.7.3 on JVM (powered by Quarkus") })
		w.eventually("the collector hears what "+node+" counts", func() bool {
			return c.counts("keycloak "+node, "vendor_cluster_size") && c.counts("keycloak "+node, "agroal_acquire_count_total")
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.levels["INFO"] == 0 || c.levels[""] > c.levels["INFO"] || c.version != "26.7.3" {
		w.t.Errorf("records are of levels %v, of Keycloak %q", c.levels, c.version)
	}
	for _, bodies := range c.logs {
		if i := slices.IndexFunc(bodies, func(b string) bool { return strings.HasPrefix(b, "\tat ") }); i >= 0 {
			w.t.Errorf("a stack trace comes apart from what it is of: %q", bodies[i])
		}
	}
}
