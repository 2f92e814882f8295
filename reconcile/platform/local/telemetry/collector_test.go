package telemetry

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	logcollector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	metriccollector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// received is a collector that takes what it is told to, and keeps it.
type received struct {
	t *testing.T
	*httptest.Server

	mu      sync.Mutex
	status  int // of its answers; 0 takes all
	largest int // how many records it takes at once; 0: any number
	bodies  []string
	first   *logcollector.ExportLogsServiceRequest
	metrics *metriccollector.ExportMetricsServiceRequest
	asked   int
	headers http.Header
}

func newCollector(t *testing.T, start func(http.Handler) *httptest.Server) *received {
	r := &received{t: t}
	r.Server = start(r)
	t.Cleanup(r.Close)
	return r
}

func (r *received) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	r.headers = request.Header
	if r.status != 0 {
		w.WriteHeader(r.status)
		fmt.Fprint(w, "you sent ", request.Header.Get("Authorization"))
		return
	}
	unpacked, err := gzip.NewReader(request.Body)
	if err != nil {
		r.t.Error(err)
		return
	}
	body, err := io.ReadAll(unpacked)
	if err != nil {
		r.t.Error(err)
		return
	}
	var answer proto.Message = &metriccollector.ExportMetricsServiceResponse{}
	switch request.URL.Path {
	case "/otlp/v1/logs":
		var logs logcollector.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &logs); err != nil {
			r.t.Error(err)
		}
		var bodies []string
		for _, of := range logs.ResourceLogs {
			for _, scope := range of.ScopeLogs {
				for _, l := range scope.LogRecords {
					bodies = append(bodies, l.Body.GetStringValue())
				}
			}
		}
		if r.largest > 0 && len(bodies) > r.largest {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if r.bodies = append(r.bodies, bodies...); r.first == nil {
			r.first = &logs
		}
		answer = &logcollector.ExportLogsServiceResponse{}
	case "/otlp/v1/metrics":
		r.metrics = &metriccollector.ExportMetricsServiceRequest{}
		if err := proto.Unmarshal(body, r.metrics); err != nil {
			r.t.Error(err)
		}
	default:
		r.t.Error("asked for ", request.URL.Path)
	}
	text, _ := proto.Marshal(answer)
	_, _ = w.Write(text)
}

func (r *received) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *received) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

// world is a region with a node, paris-0, whose log a test writes.
type world struct {
	t    *testing.T
	dir  string
	log  string
	node Node

	end func()
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{t: t, dir: dir, log: filepath.Join(dir, "paris-0.log")}
	w.node = Node{Name: "paris-0", Version: "26.7.3", Log: w.log}
	return w
}

// tell declares a collector called watch.
func (w *world) tell(c Collector) {
	w.t.Helper()
	text, err := json.Marshal(c)
	if err == nil {
		err = os.MkdirAll(filepath.Join(w.dir, "telemetry"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "telemetry", "watch.json"), text, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func at(url string) platform.Collector {
	return platform.Collector{OTLP: url + "/otlp", Headers: map[string]string{"Authorization": "Bearer hidden"}}
}

// begin has a shipper run until end.
func (w *world) begin() {
	s := Shipper{Dir: filepath.Join(w.dir, "telemetry"), Region: "paris", Nodes: func() ([]Node, error) { return []Node{w.node}, nil },
		Plane: func(context.Context) ([]byte, error) {
			return []byte("# TYPE cloakwork_front_waiting gauge\ncloakwork_front_waiting 3\n"), nil
		}, Every: 50 * time.Millisecond, Stale: func() bool { return false }, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	w.end = func() { cancel(); <-done }
	w.t.Cleanup(w.end)
}

func (w *world) write(text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func line(body string) string {
	return time.Now().Format("2006-01-02 15:04:05,000") + " INFO  [org.keycloak.events] (executor-thread-1) " + body + "\n"
}

func (w *world) standing(of string) platform.Telemetry {
	s, _ := Standing(filepath.Join(w.dir, "telemetry"), "watch", of)
	return s
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(5 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("never: ", what)
		}
	}
}

func (w *world) gets(r *received, want ...string) {
	w.t.Helper()
	w.eventually("the collector has "+strings.Join(want, ", "), func() bool {
		got := r.got()
		return !slices.ContainsFunc(want, func(b string) bool { return !slices.Contains(got, b) })
	})
}

func attributes(all []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range all {
		m[a.Key] = a.Value.GetStringValue()
	}
	return m
}
