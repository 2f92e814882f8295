package telemetry

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
)

func TestARecordComesAsItWasLoggedWithItsStackTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(t, httptest.NewServer)
	w.tell(Collector{Collector: at(c.URL), Logs: true, About: map[string]string{"service.namespace": "eu", "cloud.region": "eu-west"}})
	w.write("2026-11-23 18:51:02,123 ERROR [org.keycloak.services] (executor-thread-7) Uncaught (server) error: a\\b\n" +
		"java.lang.IllegalStateException: no\n\tat org.keycloak.A.b(A.java:1)\nCaused by: java.io.IOException: gone\n\t... 3 more\n" + line("next"))
	w.begin()
	w.gets(c, "next")
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.first.ResourceLogs[0]
	host, _ := os.Hostname()
	if diff := cmp.Diff(map[string]string{"service.name": "keycloak", "service.namespace": "eu", "service.instance.id": "paris-0", "service.version": "26.7.3",
		"cloud.region": "eu-west", "host.name": host}, attributes(of.Resource.Attributes)); diff != "" {
		t.Error(diff)
	}
	first := of.ScopeLogs[0].LogRecords[0]
	want := "Uncaught (server) error: a\\b\njava.lang.IllegalStateException: no\n\tat org.keycloak.A.b(A.java:1)\nCaused by: java.io.IOException: gone\n\t... 3 more"
	moment := time.Date(2026, 11, 23, 18, 51, 2, 123e6, time.Local)
	if first.Body.GetStringValue() != want || first.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_ERROR || first.SeverityText != "ERROR" ||
		first.TimeUnixNano != uint64(moment.UnixNano()) || of.ScopeLogs[0].Scope.Name != "org.keycloak.services" || attributes(first.Attributes)["thread.name"] != "executor-thread-7" {
		t.Errorf("%v in %v", first, of.ScopeLogs[0].Scope)
	}
	if c.headers.Get("Authorization") != "Bearer hidden" {
		t.Error("its headers didn't come along")
	}
}

func TestWhatHasAnotherFormIsARecordToo(t *testing.T) {
	t.Parallel()
	text := `{"timestamp":"2026-11-23T17:51:02.5Z","sequence":1,"loggerName":"a.b","level":"WARN","message":"said","threadName":"main","stackTrace":"at x"}` + "\n" +
		"2026-11-23 18:51:02,123 DEBUG [a] (b) one\n\n\tat more\n" + "2026-11-23 18:51:02,124 no such form\n"
	got := split([]byte("Listening for transport\n"+text), 10, true)
	var bodies []string
	for _, r := range got {
		bodies = append(bodies, r.level+" "+r.logger+" "+r.body)
	}
	if diff := cmp.Diff([]string{"  Listening for transport", "WARN a.b said", "DEBUG a one\n\n\tat more", "  2026-11-23 18:51:02,124 no such form"}, bodies); diff != "" {
		t.Error(diff)
	}
	if got[1].at.UnixMilli() != time.Date(2026, 11, 23, 17, 51, 2, 5e8, time.UTC).UnixMilli() || got[1].trace != "at x" || got[1].thread != "main" {
		t.Errorf("%+v", got[1])
	}
	if end := got[3].end; end != 10+24+int64(len(text)) {
		t.Errorf("it ends at %d", end)
	}
	if part := split([]byte(text), 0, false); len(part) != 2 {
		t.Errorf("of what may go on, %d records are taken", len(part))
	}
	long := split([]byte(strings.Repeat("ä", longest)+"\n"), 0, false)
	if len(long) != 2 || len(long[0].body) < longest || long[1].end != 2*longest {
		t.Errorf("a line without end comes as %d records", len(long))
	}
}

func TestNothingIsLostWhileTheCollectorIsAwayAndLogsAreCutAndTheShipperStartsAnew(t *testing.T) {
	t.Parallel()
	for name, turn := range map[string]func(log string) error{
		"by renaming": func(log string) error { return os.Rename(log, log+".1") },
		"by copying and emptying": func(log string) error {
			text, err := os.ReadFile(log)
			return errors.Join(err, os.WriteFile(log+".1", text, 0o600), os.Truncate(log, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := newCollector(t, httptest.NewServer)
			w.tell(Collector{Collector: at(c.URL), Logs: true})
			w.write(line("one"))
			w.begin()
			w.gets(c, "one")
			c.answer(http.StatusServiceUnavailable)
			var all []string
			for file := range 4 {
				for i := range 3 {
					all = append(all, fmt.Sprintf("file %d line %d", file, i))
					w.write(line(all[len(all)-1]))
				}
				if file == 1 {
					w.eventually("it is said that nothing is taken", func() bool { return w.standing(Logs).Why == "it answers 503 Service Unavailable" })
					w.end()
				}
				if file == 3 {
					break
				}
				for i := 3; i > 0; i-- {
					_ = os.Rename(fmt.Sprintf("%s.%d", w.log, i), fmt.Sprintf("%s.%d", w.log, i+1))
				}
				if err := turn(w.log); err != nil {
					t.Fatal(err)
				}
			}
			if s := w.standing(Logs); s.Since.IsZero() || s.Sent.IsZero() {
				t.Errorf("after the end: %+v", s)
			}
			c.answer(0)
			w.begin()
			w.gets(c, all...)
			w.eventually("it is said that all is well", func() bool { return w.standing(Logs).Why == "" && w.standing(Logs).Since.IsZero() })
			if diff := cmp.Diff(append([]string{"one"}, all...), c.got()); diff != "" {
				t.Error(diff)
			}
			if s := w.standing(Logs); !s.Lost.IsZero() {
				t.Errorf("it says that %s", s.LostWhy)
			}
		})
	}
}

func TestWhatRotationRemovedBeforeItWasSentIsSaidToBeLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(t, httptest.NewServer)
	w.tell(Collector{Collector: at(c.URL), Logs: true})
	w.write(line("one"))
	w.begin()
	w.gets(c, "one")
	w.eventually("that is kept", func() bool { return !w.standing(Logs).Sent.IsZero() })
	w.end()
	w.write(line("two"))
	if err := os.Remove(w.log); err != nil {
		t.Fatal(err)
	}
	w.write("")
	w.begin()
	w.eventually("it is said", func() bool { return w.standing(Logs).LostWhy == "the log of paris-0 was cut before all of it was sent" })
	once := w.standing(Logs).Lost
	w.write(line("three"))
	w.gets(c, "three")
	w.write(line("four"))
	w.gets(c, "four")
	if s := w.standing(Logs); s.Lost != once {
		t.Errorf("it is lost again: %+v", s)
	}
}

func TestACollectorThatTakesLittleAtOnceGetsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(t, httptest.NewServer)
	c.largest = 7
	w.tell(Collector{Collector: at(c.URL), Logs: true})
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprint("line ", i))
		w.write(line(all[i]))
	}
	w.begin()
	w.gets(c, all...)
	if got := c.got(); !slices.Equal(got, all) {
		t.Errorf("%d records of %d came, or in another order", len(got), len(all))
	}
}

func TestARecordThatNobodyTakesHoldsBackNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(t, httptest.NewServer)
	c.answer(http.StatusBadRequest)
	w.tell(Collector{Collector: at(c.URL), Logs: true})
	w.write(line("one"))
	w.begin()
	w.eventually("it is given up", func() bool {
		return w.standing(Logs).LostWhy == "a record of paris-0 was refused: it answers 400 Bad Request"
	})
	c.answer(http.StatusForbidden)
	w.write(line("two"))
	w.eventually("what somebody may mend is waited for", func() bool { return w.standing(Logs).Why == "it answers 403 Forbidden" })
	c.answer(0)
	w.gets(c, "two")
}

func TestACollectorIsKnownByItsAuthorityAndItsSecretIsSaidNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(t, httptest.NewTLSServer)
	told := Collector{Collector: at(c.URL), Logs: true}
	w.tell(told)
	w.write(line("one"))
	w.begin()
	w.eventually("nobody knows its authority", func() bool { return strings.Contains(w.standing(Logs).Why, "certificate") })
	if c.asked > 0 {
		t.Error("it was sent to nevertheless")
	}
	told.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}))
	c.answer(http.StatusUnauthorized)
	w.tell(told)
	w.eventually("it is asked", func() bool { return w.standing(Logs).Why == "it answers 401 Unauthorized" })
	text, err := os.ReadFile(filepath.Join(w.dir, "telemetry", "watch.logs"))
	if err != nil || strings.Contains(string(text), "hidden") {
		t.Errorf("%s %v", text, err)
	}
	c.answer(0)
	w.gets(c, "one")
	if s := w.standing(Logs); strings.Contains(s.Why, "127.0.0.1") {
		t.Error(s.Why)
	}
}

func TestWhatNodesAndTheDataPlaneCountComesAsTheyCountIt(t *testing.T) {
	t.Parallel()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `# HELP http_requests_total How many.
# TYPE http_requests_total counter
http_requests_total{method="GET"} 12
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.5e9
# TYPE took_seconds histogram
took_seconds_bucket{le="0.1"} 2
took_seconds_bucket{le="1"} 5
took_seconds_bucket{le="+Inf"} 6
took_seconds_sum 3.5
took_seconds_count 6
# TYPE pause_seconds summary
pause_seconds{quantile="0.5"} 0.25
pause_seconds_sum 4
pause_seconds_count 9
`)
	}))
	defer node.Close()
	w := newWorld(t)
	w.node.Metrics = node.URL
	c := newCollector(t, httptest.NewServer)
	w.tell(Collector{Collector: at(c.URL), Metrics: 100 * time.Millisecond, About: map[string]string{"service.namespace": "eu"}})
	w.begin()
	w.eventually("metrics come", func() bool { return !w.standing(Metrics).Sent.IsZero() })
	w.end()
	if s := w.standing(Metrics); s.To != "watch" || s.Region != "paris" || s.Of != "metrics" {
		t.Errorf("%+v", s)
	}
	c.mu.Lock() // a request that the shipper gave up at its end may be here still
	defer c.mu.Unlock()
	found := map[string]*metrics.Metric{}
	from := map[string]string{}
	for _, of := range c.metrics.ResourceMetrics {
		for _, m := range of.ScopeMetrics[0].Metrics {
			found[m.Name], from[m.Name] = m, attributes(of.Resource.Attributes)["service.name"]+" "+attributes(of.Resource.Attributes)["service.instance.id"]
		}
	}
	if from["http_requests_total"] != "keycloak paris-0" || from["cloakwork_front_waiting"] != "cloakwork-dataplane paris" {
		t.Error(from)
	}
	sum := found["http_requests_total"].GetSum()
	if p := sum.DataPoints[0]; !sum.IsMonotonic || p.GetAsDouble() != 12 || attributes(p.Attributes)["method"] != "GET" || p.StartTimeUnixNano != 1.5e18 ||
		found["http_requests_total"].Description != "How many." {
		t.Error(sum)
	}
	if h := found["took_seconds"].GetHistogram().DataPoints[0]; !slices.Equal(h.ExplicitBounds, []float64{.1, 1}) || !slices.Equal(h.BucketCounts, []uint64{2, 3, 1}) || h.GetSum() != 3.5 || h.Count != 6 {
		t.Error(h)
	}
	if s := found["pause_seconds"].GetSummary().DataPoints[0]; s.Count != 9 || s.Sum != 4 || s.QuantileValues[0].Value != .25 {
		t.Error(s)
	}
	if found["cloakwork_front_waiting"].GetGauge().DataPoints[0].GetAsDouble() != 3 {
		t.Error(found["cloakwork_front_waiting"])
	}
}
