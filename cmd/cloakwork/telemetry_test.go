package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

func TestTelemetryGoesToCollectorsOfTheConfigurationAlone(t *testing.T) {
	p := newPerson(t)
	p.declares("version: 26.7.2, telemetry: [{to: watch, logs: true}], residency: [eu-*], regions: [{name: eu, location: eu-west}]")
	configured := func(collectors string) []string {
		p.write(map[string]string{"cloakwork.yaml": "apiVersion: cloakwork.dev/v1alpha1\nkind: Controller\nstate: state\nsources: {iam: {repository: work}}\n" + collectors})
		return []string{"--config", p.path("cloakwork.yaml")}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no configuration": {nil, "work/eu.yaml:4:59: spec.telemetry[0].to: the controller's configuration has no collectors"},
		"elsewhere": {configured("collectors: {watch: {otlp: \"https://otel.acme.example\", location: us-east}}\n"),
			`work/eu.yaml:4:59: spec.telemetry[0].to: "watch" is in us-east, which spec.residency doesn't allow`},
	} {
		_, errs, code := p.types(append([]string{"plan", p.path("work")}, c.args...)...)
		if code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: ends with %d: %s", name, code, errs)
		}
	}
	out, errs, code := p.types(append([]string{"plan", p.path("work")}, configured("collectors: {watch: {otlp: \"https://otel.acme.example\", location: eu-west}}\n")...)...)
	if code != 0 || !strings.Contains(out, "eu: would add 1 node") {
		t.Errorf("ends with %d: %s%s", code, out, errs)
	}
}

func TestACollectorsSecretsAreReadWhenItIsAskedFor(t *testing.T) {
	p := newPerson(t)
	p.write(map[string]string{"cloakwork.yaml": `apiVersion: cloakwork.dev/v1alpha1
kind: Controller
sources: {iam: {repository: work}}
collectors:
  watch: {otlp: "https://otel.acme.example", headers: {Authorization: {file: token}, X-Tenant: {env: OTEL_TENANT}}, ca: ca.pem, location: eu}
`, "token": "Bearer one\n", "ca.pem": "PEM"})
	t.Setenv("OTEL_TENANT", "acme")
	var out strings.Builder
	c := p.cli(&out, &out)
	c.flags.config = p.path("cloakwork.yaml")
	conf, err := c.readConfig()
	if err != nil {
		t.Fatal(err, out.String())
	}
	all := c.openPlatforms(conf)
	want := platform.Collector{OTLP: "https://otel.acme.example", Headers: map[string]string{"Authorization": "Bearer one", "X-Tenant": "acme"}, CA: "PEM"}
	for range 2 {
		got, err := all.collector("watch")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		p.write(map[string]string{"token": "Bearer two\n"})
		want.Headers["Authorization"] = "Bearer two"
	}
	if said := c.secrets.redact("it is Bearer two"); said != "it is (secret)" {
		t.Error(said)
	}
	t.Setenv("OTEL_TENANT", "")
	if _, err := all.collector("watch"); err == nil || err.Error() != "collectors.watch.headers.X-Tenant: the variable OTEL_TENANT is not set" {
		t.Error(err)
	}
}

func TestTelemetryThatFailsIsShown(t *testing.T) {
	at := time.Date(2026, 11, 23, 18, 2, 0, 0, time.UTC)
	all := []platform.Telemetry{
		{Region: "milan", To: "watch", Of: "metrics", Sent: at.Add(3 * time.Second), Lost: at, LostWhy: "2 data points were refused"},
		{Region: "paris", To: "watch", Of: "logs", Sent: at.Add(-time.Minute), Since: at, Why: "it answers 503 Service Unavailable"},
	}
	s := overview{At: at.Add(4 * time.Second), Deployments: []deployment{{deployed: deployed{Name: "eu", Telemetry: all, Record: platform.Record{Lifecycle: platform.Running}}}}}
	var text strings.Builder
	s.text(&text, plain)
	want := "  metrics milan      to watch, last sent 1 s ago, lost something at 23 Nov 18:02 (2 data points were refused)\n" +
		"  logs    paris      to watch, last sent 64 s ago, fails since 23 Nov 18:02 (it answers 503 Service Unavailable)\n"
	if !strings.HasSuffix(text.String(), want) || !s.bad() {
		t.Errorf("%s is bad: %t, want\n%s", text.String(), s.bad(), want)
	}
	if s.Deployments[0].Telemetry = all[:1]; s.bad() {
		t.Error("what is over is bad still")
	}

	m := newMetrics()
	shown := func() string {
		answer := httptest.NewRecorder()
		promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		var lines []string
		for line := range strings.Lines(answer.Body.String()) {
			if strings.HasPrefix(line, "cloakwork_telemetry_") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	m.seen("s", schema.Deployment{Name: "eu"}, reconcile.Deployed{Observed: true, Seen: platform.Seen{Telemetry: all}})
	if diff := cmp.Diff(`cloakwork_telemetry_last_lost_timestamp_seconds{deployment="eu",of="metrics",region="milan",to="watch"} 1.79545692e+09
cloakwork_telemetry_last_sent_timestamp_seconds{deployment="eu",of="logs",region="paris",to="watch"} 1.79545686e+09
cloakwork_telemetry_last_sent_timestamp_seconds{deployment="eu",of="metrics",region="milan",to="watch"} 1.795456923e+09
cloakwork_telemetry_well{deployment="eu",of="logs",region="paris",to="watch"} 0
cloakwork_telemetry_well{deployment="eu",of="metrics",region="milan",to="watch"} 1
`, shown()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m.looked("s", reconcile.Look{}) // it isn't declared any longer
	if text := shown(); text != "" {
		t.Errorf("still shows\n%s", text)
	}
}
