package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/backup"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// metrics are what the controller counts, since it began. Their labels are names that the configuration and manifests give, and
// words of ours: never addresses, commits or people.
type metrics struct {
	registry *prometheus.Registry

	passes    *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	changes   *prometheus.CounterVec
	requests  *prometheus.CounterVec
	drifted   *prometheus.GaugeVec
	success   *prometheus.GaugeVec
	life      *prometheus.GaugeVec
	nodes     *prometheus.GaugeVec
	epoch     *prometheus.GaugeVec
	regions   regionMetrics
	telemetry telemetryMetrics

	backupTaken, backupProven, backupWell *prometheus.GaugeVec

	mu      sync.Mutex
	realms  map[string]map[schema.RealmRef]bool // by source, those that have a gauge
	deploys map[string]map[string]bool
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		passes:   counter("cloakwork_passes_total", "Passes that have ended, by what they came to.", "source", "of", "verdict"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cloakwork_pass_seconds", Help: "How long passes took.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, []string{"source", "of"}),
		changes:      counter("cloakwork_changes_total", "Changes that passes found, by what was to be done, why, and how it ended.", "source", "op", "cause", "outcome"),
		requests:     counter("cloakwork_keycloak_requests_total", "Requests to the admin API, repeats included; status none where no answer came.", "server", "method", "status"),
		drifted:      gauge("cloakwork_drifted_objects", "Objects of a realm that drifted, as its last pass found them.", "source", "server", "realm"),
		success:      gauge("cloakwork_source_last_success_timestamp_seconds", "When the source's repository could last be read.", "source"),
		life:         gauge("cloakwork_deployment_lifecycle", "1 for the lifecycle that a deployment is in.", "deployment", "lifecycle"),
		nodes:        gauge("cloakwork_deployment_nodes", "Nodes of a deployment: all, those that are ready, and those that get requests.", "deployment", "state"),
		epoch:        gauge("cloakwork_deployment_epoch", "The epoch of a deployment's record.", "deployment"),
		backupTaken:  gauge("cloakwork_backup_last_taken_timestamp_seconds", "The moment that the newest backup is of.", "deployment", "class", "to"),
		backupProven: gauge("cloakwork_backup_last_proven_timestamp_seconds", "When a backup was last restored aside with all that was in it.", "deployment", "class", "to"),
		backupWell:   gauge("cloakwork_backup_well", "1 where the last try to take a backup, or to prove one, came to what it should.", "deployment", "class", "to", "of"),
		regions:      newRegionMetrics(gauge),
		telemetry:    newTelemetryMetrics(gauge),
		realms:       map[string]map[schema.RealmRef]bool{}, deploys: map[string]map[string]bool{},
	}
	info := gauge("cloakwork_build_info", "1, with the version of the program.", "version")
	info.WithLabelValues(version()).Set(1)
	for _, of := range append(m.regions.all(), m.telemetry.all()...) {
		m.registry.MustRegister(of)
	}
	m.registry.MustRegister(m.passes, m.seconds, m.changes, m.requests, m.drifted, m.success, m.life, m.nodes, m.epoch, m.backupTaken, m.backupProven, m.backupWell, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// told counts the end of a pass.
func (m *metrics) told(source string, r drift.Report) {
	if r.Ended.IsZero() { // it is under way
		return
	}
	of := "realm"
	if r.Deployment != "" {
		of = "deployment"
	}
	m.passes.WithLabelValues(source, of, string(r.Verdict)).Inc()
	m.seconds.WithLabelValues(source, of).Observe(r.Ended.Sub(r.Began).Seconds())
	drifted := 0
	for _, c := range r.Changes {
		m.changes.WithLabelValues(source, string(c.Op), cmp.Or(string(c.Cause), string(drift.Unknown)), cmp.Or(string(c.Outcome), "none")).Inc()
		if c.Cause == drift.FromDrift || c.Cause == drift.FromBoth {
			drifted++
		}
	}
	if of == "realm" {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.realms[source] == nil {
			m.realms[source] = map[schema.RealmRef]bool{}
		}
		m.realms[source][schema.RealmRef{Server: r.Server, Realm: r.Realm}] = true
		m.drifted.WithLabelValues(source, r.Server, r.Realm).Set(float64(drifted))
	}
}

var lifecycles = []platform.Lifecycle{platform.Running, platform.Starting, platform.Error}

// seen shows a look at a deployment. Where nobody could look, all stays as it was.
func (m *metrics) seen(source string, want schema.Deployment, done reconcile.Deployed) {
	if !done.Observed {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deploys[source] == nil {
		m.deploys[source] = map[string]bool{}
	}
	m.deploys[source][want.Name] = true
	for _, l := range lifecycles {
		is := 0.0
		if done.Record.Lifecycle == l {
			is = 1
		}
		m.life.WithLabelValues(want.Name, string(l)).Set(is)
	}
	ready, in := 0, 0
	for _, n := range done.Seen.Nodes {
		if n.Ready {
			ready++
		}
		if n.In {
			in++
		}
	}
	for state, n := range map[string]int{"all": len(done.Seen.Nodes), "ready": ready, "in": in} {
		m.nodes.WithLabelValues(want.Name, state).Set(float64(n))
	}
	m.epoch.WithLabelValues(want.Name).Set(float64(done.Record.Epoch))
	m.regions.show(want.Name, done)
	m.telemetry.show(want.Name, done.Seen.Telemetry)
}

// looked forgets what is no longer in force, so that what once was declared isn't shown for ever.
func (m *metrics) looked(source string, l reconcile.Look) {
	if l.Err == nil {
		m.success.WithLabelValues(source).Set(float64(l.At.UnixMilli()) / 1000)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for ref := range m.realms[source] {
		if _, ok := l.InForce[ref]; !ok {
			m.drifted.DeleteLabelValues(source, ref.Server, ref.Realm)
			delete(m.realms[source], ref)
		}
	}
	for name := range m.deploys[source] {
		if _, ok := l.InForce[schema.RealmRef{Server: name}]; !ok {
			for _, of := range slices.Concat(m.regions.all(), m.telemetry.all(), []*prometheus.GaugeVec{m.life, m.nodes, m.epoch}) {
				of.DeletePartialMatch(prometheus.Labels{"deployment": name})
			}
			delete(m.deploys[source], name)
		}
	}
}

func (m *metrics) sent(server, method string, status int) {
	text := "none"
	if status != 0 {
		text = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(server, method, text).Inc()
}

// metricsAddress is where metrics are served: what the configuration declares, or the flag, which leads to this machine alone.
func (c *cli) metricsAddress(conf *config) (string, error) {
	address := c.flags.metricsAddress
	if address == "" {
		if conf != nil {
			address = conf.Metrics.Address
		}
		return address, nil
	}
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", advise("write host:port, such as 127.0.0.1:9464", "--metrics-address %q is no address", address)
	}
	if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", advise("declare it as metrics.address in the file of --config", "--metrics-address %s leads beyond this machine", address)
	}
	return address, nil
}

// serve answers at an address until the context ends; stopped waits for that.
func (m *metrics) serve(ctx context.Context, address string) (at net.Addr, stopped func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("serve metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) {
		_ = pprof.Lookup("goroutine").WriteTo(w, 1) // for diagnose; who asked may be gone
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until it is closed
	}()
	release := context.AfterFunc(ctx, func() { server.Close() })
	return l.Addr(), func() { release(); server.Close(); <-done }, nil
}

// backedUp shows how the backups of a deployment stand; none: there are none any more.
func (m *metrics) backedUp(deployment string, all []backup.Standing) {
	for _, of := range []*prometheus.GaugeVec{m.backupTaken, m.backupProven, m.backupWell} {
		of.DeletePartialMatch(prometheus.Labels{"deployment": deployment})
	}
	for _, s := range all {
		labels := []string{deployment, s.Class, s.To}
		if !s.LastAt.IsZero() {
			m.backupTaken.WithLabelValues(labels...).Set(float64(s.LastAt.Unix()))
		}
		if !s.ProvenAt.IsZero() {
			m.backupProven.WithLabelValues(labels...).Set(float64(s.ProvenAt.Unix()))
		}
		for state, well := range map[string]bool{"taken": s.Why == "", "proven": s.Unproven == ""} {
			is := 0.0
			if well {
				is = 1
			}
			m.backupWell.WithLabelValues(append(labels, state)...).Set(is)
		}
	}
}
