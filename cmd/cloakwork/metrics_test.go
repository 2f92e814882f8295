package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// shared is a buffer that one writes while another reads.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// until asks again and again what a test waits for.
func until[T any](t *testing.T, what string, ask func() (T, bool)) T {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if v, ok := ask(); ok {
			return v
		}
	}
	t.Fatalf("%s doesn't come", what)
	panic("unreachable")
}

var metricsAt = regexp.MustCompile(`msg=metrics address=(\S+)`)

func TestMetricsTellHowTheControllerIsDoing(t *testing.T) {
	server, name := keycloaktest.For(t), keycloaktest.Realm(t)
	p := newPerson(t)
	p.declares("version: 26.7.2, instances: 2")
	realm := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: " + name + "}\nspec: {server: kc, realm: {displayName: Acme}}\n"
	if err := os.WriteFile(p.path("work/realm.yaml"), []byte(realm), 0o644); err != nil {
		t.Fatal(err)
	}
	p.git("-C", p.path("work"), "add", ".")
	p.git("-C", p.path("work"), "commit", "-q", "-m", "realm")
	t.Setenv("KEYCLOAK_URL", server.URL)
	t.Setenv("KEYCLOAK_USER", server.User)
	t.Setenv("KEYCLOAK_PASSWORD", server.Password)

	ctx, stop := context.WithCancel(t.Context())
	var errs shared
	ended := make(chan int)
	go func() {
		ended <- p.cli(io.Discard, &errs).execute(ctx, []string{"run", "--repository", p.path("work"), "--state-dir", p.path("state"), "--interval", "1s",
			"--schedule", "* * * * *", "--metrics-address", "127.0.0.1:0"})
	}()
	defer func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("the controller ends with %d:\n%s", code, &errs)
		}
	}()
	address := until(t, "the address of metrics", func() (string, bool) {
		found := metricsAt.FindStringSubmatch(errs.String() + "\n")
		if found == nil {
			return "", false
		}
		return found[1], true
	})
	scrape := func() string {
		answer, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text := until(t, "a realm and a deployment in sync", func() (string, bool) {
		text := scrape()
		return text, strings.Contains(text, `of="realm",source="`) && strings.Contains(text, `lifecycle="RUNNING"} 1`) && strings.Contains(text, `state="in"} 2`)
	})
	for _, want := range []string{
		`(?m)^cloakwork_passes_total{of="realm",source="work-[0-9a-f]+",verdict="in sync"} [1-9]`,
		`(?m)^cloakwork_passes_total{of="deployment",source="work-[0-9a-f]+",verdict="progressing"} [1-9]`,
		`(?m)^cloakwork_pass_seconds_count{of="realm",source="work-[0-9a-f]+"} [1-9]`,
		`(?m)^cloakwork_changes_total{cause="commit",op="create",outcome="done",source="work-[0-9a-f]+"} 1$`,
		`(?m)^cloakwork_keycloak_requests_total{method="GET",server="kc",status="200"} [1-9]`,
		`(?m)^cloakwork_keycloak_requests_total{method="POST",server="kc",status="201"} [1-9]`,
		`(?m)^cloakwork_drifted_objects{realm="` + name + `",server="kc",source="work-[0-9a-f]+"} 0$`,
		`(?m)^cloakwork_source_last_success_timestamp_seconds{source="work-[0-9a-f]+"} 1\.[0-9]+e\+09$`,
		`(?m)^cloakwork_deployment_lifecycle{deployment="eu",lifecycle="RUNNING"} 1$`,
		`(?m)^cloakwork_deployment_lifecycle{deployment="eu",lifecycle="ERROR"} 0$`,
		`(?m)^cloakwork_deployment_nodes{deployment="eu",state="all"} 2$`,
		`(?m)^cloakwork_deployment_nodes{deployment="eu",state="ready"} 2$`,
		`(?m)^cloakwork_deployment_epoch{deployment="eu"} [1-9]`,
		`(?m)^cloakwork_build_info{version="[^"]+"} 1$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%s isn't in\n%s", want, text)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if strings.Contains(text, server.Password) || strings.Contains(text, server.URL) {
		t.Errorf("shows the password or the address:\n%s", text)
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (cloakwork_\S+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(page), "| `"+m[1]+"` |") {
			t.Errorf("docs/metrics.md doesn't say what %s is", m[1])
		}
	}

	// What is no longer declared is shown no more.
	p.git("-C", p.path("work"), "rm", "-q", "eu.yaml", "realm.yaml")
	p.git("-C", p.path("work"), "commit", "-q", "-m", "nothing")
	until(t, "the end of what isn't declared", func() (string, bool) {
		text := scrape()
		return text, !strings.Contains(text, "cloakwork_drifted_objects{") && !strings.Contains(text, `deployment="eu"`)
	})
}

func TestMetricsTellHowRegionsAre(t *testing.T) {
	m := newMetrics()
	at := time.Date(2026, 8, 3, 2, 0, 0, 0, time.UTC)
	want := schema.Deployment{Name: "eu"}
	done := reconcile.Deployed{Observed: true, Record: platform.Record{Active: "milan", Decided: platform.Decided{By: "the watcher of milan", At: at}}}
	done.Seen.Regions = []platform.Region{{Name: "milan", Role: platform.Primary}, {Name: "paris", Role: platform.Fenced, Lost: at}, {Name: "rome", Role: platform.Standby, Streaming: true, Lag: 12}}
	shown := func() string {
		answer := httptest.NewRecorder()
		promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		var lines []string
		for line := range strings.Lines(answer.Body.String()) {
			if strings.HasPrefix(line, "cloakwork_region_") || strings.HasPrefix(line, "cloakwork_deployment_moved") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	m.seen("s", want, done)
	if diff := cmp.Diff(`cloakwork_deployment_moved_timestamp_seconds{by="the watcher of milan",deployment="eu"} 1.7857224e+09
cloakwork_region_active{deployment="eu",region="milan"} 1
cloakwork_region_active{deployment="eu",region="paris"} 0
cloakwork_region_active{deployment="eu",region="rome"} 0
cloakwork_region_lag_bytes{deployment="eu",region="rome"} 12
cloakwork_region_lost_timestamp_seconds{deployment="eu",region="milan"} 0
cloakwork_region_lost_timestamp_seconds{deployment="eu",region="paris"} 1.7857224e+09
cloakwork_region_lost_timestamp_seconds{deployment="eu",region="rome"} 0
cloakwork_region_role{deployment="eu",region="milan",role="fenced"} 0
cloakwork_region_role{deployment="eu",region="milan",role="primary"} 1
cloakwork_region_role{deployment="eu",region="milan",role="standby"} 0
cloakwork_region_role{deployment="eu",region="paris",role="fenced"} 1
cloakwork_region_role{deployment="eu",region="paris",role="primary"} 0
cloakwork_region_role{deployment="eu",region="paris",role="standby"} 0
cloakwork_region_role{deployment="eu",region="rome",role="fenced"} 0
cloakwork_region_role{deployment="eu",region="rome",role="primary"} 0
cloakwork_region_role{deployment="eu",region="rome",role="standby"} 1
cloakwork_region_streaming{deployment="eu",region="rome"} 1
cloakwork_region_synchronous{deployment="eu",region="rome"} 0
`, shown()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m.looked("s", reconcile.Look{}) // it isn't declared any longer
	if text := shown(); text != "" {
		t.Errorf("still shows\n%s", text)
	}
}

func TestMetricsLeadBeyondThisMachineOnlyWhereDeclared(t *testing.T) {
	p := newPerson(t)
	p.declares("version: 26.7.2")
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "example.test:0"} {
		if _, errs, code := p.types("run", "--once", "--repository", p.path("work"), "--state-dir", p.path("state"), "--metrics-address", address); code != 1 ||
			!strings.Contains(errs, "leads beyond this machine\nhint: declare it as metrics.address in the file of --config") {
			t.Errorf("%s: ends with %d: %s", address, code, errs)
		}
	}
}
