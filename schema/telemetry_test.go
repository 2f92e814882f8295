package schema

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const collecting = `collectors:
  watch: {otlp: "https://otel.acme.example:4318/x", headers: {Authorization: {env: OTEL}, token: {file: t}}, ca: tls/otel.pem, location: eu-west}
  us: {otlp: "http://127.0.0.1:4318", location: us-east}
`

func TestTelemetryGoesWhereDataMayBe(t *testing.T) {
	c, problems := controller(wholeController + collecting)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if diff := cmp.Diff(Collector{OTLP: "https://otel.acme.example:4318/x", Headers: map[string]Credential{"Authorization": {Env: "OTEL"}, "token": {File: "t"}},
		CA: "tls/otel.pem", Location: "eu-west"}, c.Collectors["watch"]); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"{to: watch, logs: true, metrics: 30s}":             "",
		"{to: watch, metrics: 1m}":                          "",
		"{to: us, logs: true}":                              `eu.yaml:9:20: spec.telemetry[0].to: "us" is in us-east, which spec.residency doesn't allow; choose one that stands there`,
		"{to: wach, logs: true}":                            `eu.yaml:9:20: spec.telemetry[0].to: the controller's configuration has no collector "wach"; did you mean watch?`,
		"{to: watch}":                                       `eu.yaml:9:20: spec.telemetry[0] needs a collector, and what goes there; write {to: a collector, logs: true, metrics: 30s}, or one of the two`,
		"{logs: true}":                                      `eu.yaml:9:15: spec.telemetry[0] needs a collector, and what goes there; write {to: a collector, logs: true, metrics: 30s}, or one of the two`,
		"{to: watch, metrics: 500ms}":                       `eu.yaml:9:36: spec.telemetry[0].metrics is too short; give a second or more`,
		"{to: watch, logs: true}, {to: watch, metrics: 1s}": `eu.yaml:9:45: spec.telemetry[1]: there are two to "watch"; write them as one`,
		"{to: watch, logs: yes}":                            `eu.yaml:9:33: spec.telemetry[0].logs: "yes" is not a bool; write true or false`,
		"{to: watch, metrics: often}":                       `eu.yaml:9:36: spec.telemetry[0].metrics: "often" is not a duration such as 30s, 5m or 30d`,
	} {
		d := c.PermitTelemetry(Load(fstest.MapFS{"eu.yaml": {Data: []byte(backedUp + "  telemetry: [" + text + "]\n")}}, Options{}))
		got := ""
		for _, p := range BlockingDeployment(d.Problems, "eu") {
			got += p.String()
		}
		if diff := cmp.Diff(want, got); diff != "" || len(d.Problems) > 1 {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	all := Load(fstest.MapFS{"eu.yaml": {Data: []byte(backedUp + "  telemetry: [{to: watch, logs: true, metrics: 30s}]\n")}}, Options{})
	if got := all.Deployments["eu"].Telemetry; len(got) != 1 || got[0].To != "watch" || !got[0].Logs || got[0].Metrics != Duration(30*time.Second) {
		t.Errorf("%+v", got)
	}
	if d := (Controller{}).PermitTelemetry(all); len(d.Problems) != 1 || d.Problems[0].What != "spec.telemetry[0].to: the controller's configuration has no collectors" {
		t.Errorf("without any collector: %v", d.Problems)
	}
	other := Load(fstest.MapFS{"eu.yaml": {Data: []byte(backedUp)}}, Options{})
	if all.Deployments["eu"].Revision != other.Deployments["eu"].Revision {
		t.Error("nodes start anew for it")
	}
}

func TestACollectorIsCheckedAndNoSecretStandsInIt(t *testing.T) {
	const source = "sources: {s: {repository: /r}}\n"
	for text, want := range map[string]string{
		"{location: x}":                                                                "c.yaml:4:14: collectors.w.otlp is missing; write its address, such as https://otel.acme.example:4318",
		"{otlp: \"https://h\"}":                                                        "c.yaml:4:14: collectors.w.location is missing; write it: rules about where data may be are held against it",
		"{otlp: \"https://u:hidden@h\", location: x}":                                  "c.yaml:4:18: collectors.w.otlp holds credentials; give them apart",
		"{otlp: \"https://h/?key=hidden\", location: x}":                               "c.yaml:4:18: collectors.w.otlp goes on after its path; give what is secret as one of headers",
		"{otlp: \"http://h\", location: x}":                                            "c.yaml:4:18: collectors.w.otlp: logs would leave the machine in the clear; write https://",
		"{otlp: \"h:4317\", location: x}":                                              "c.yaml:4:18: collectors.w.otlp is no address; write https://host",
		"{otlp: \"https://h\", location: x, headers: {Authorization: hidden}}":         "c.yaml:4:60: collectors.w.headers.Authorization: a secret isn't written here; name where it is found: {file: PATH} or {env: NAME}",
		"{otlp: \"https://h\", location: x, headers: {Authorization: {env: \"a b\"}}}": "c.yaml:4:60: collectors.w.headers.Authorization.env names no variable; write {env: NAME}",
		"{otlp: \"https://h\", location: x, headers: {\"a b\": {env: A}}}":             "c.yaml:4:50: collectors.w.headers: \"a b\" is no header's name; write one such as Authorization",
	} {
		_, got := controller(source + "collectors: {w: " + text + "}\n")
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}
