package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// collector is one of those that the configuration names, with its secrets.
func (p *platforms) collector(name string) (to platform.Collector, err error) {
	if p.conf == nil {
		return to, advise("give --config", "the controller's configuration names collectors, and none is given")
	}
	c, ok := p.conf.Collectors[name]
	if !ok {
		return to, fmt.Errorf("the controller's configuration has no collector %s", name)
	}
	to.OTLP = c.OTLP
	for _, header := range slices.Sorted(maps.Keys(c.Headers)) {
		value, err := p.credential(p.conf, "collectors."+name+".headers."+header, c.Headers[header])
		if err != nil {
			return platform.Collector{}, err
		}
		if to.Headers == nil {
			to.Headers = map[string]string{}
		}
		to.Headers[header] = value
	}
	ca, err := p.conf.certificates(c.CA)
	if err != nil {
		return platform.Collector{}, fmt.Errorf("collectors.%s.ca: %w", name, err)
	}
	to.CA = string(ca)
	return to, nil
}

// telemetryMetrics show how telemetry does, as it was last seen.
type telemetryMetrics struct{ well, sent, lost *prometheus.GaugeVec }

func newTelemetryMetrics(gauge func(name, help string, labels ...string) *prometheus.GaugeVec) telemetryMetrics {
	of := func(name, help string) *prometheus.GaugeVec {
		return gauge("cloakwork_telemetry_"+name, help, "deployment", "region", "to", "of")
	}
	return telemetryMetrics{
		well: of("well", "1 where a collector takes what it is sent."),
		sent: of("last_sent_timestamp_seconds", "When a collector last took something."),
		lost: of("last_lost_timestamp_seconds", "When something was last given up that a collector should have got."),
	}
}

func (m telemetryMetrics) all() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{m.well, m.sent, m.lost}
}

func (m telemetryMetrics) show(deployment string, all []platform.Telemetry) {
	for _, of := range m.all() {
		of.DeletePartialMatch(prometheus.Labels{"deployment": deployment})
	}
	for _, t := range all {
		labels := []string{deployment, t.Region, t.To, t.Of}
		well := 1.0
		if t.Why != "" {
			well = 0
		}
		m.well.WithLabelValues(labels...).Set(well)
		for of, at := range map[*prometheus.GaugeVec]time.Time{m.sent: t.Sent, m.lost: t.Lost} {
			if !at.IsZero() {
				of.WithLabelValues(labels...).Set(float64(at.UnixMilli()) / 1000)
			}
		}
	}
}

func telemetryWords(t platform.Telemetry, ago func(time.Time) string, paint drift.Paint) []string {
	words := []string{"to " + drift.Escape(t.To)}
	if !t.Sent.IsZero() {
		words[0] += ", last sent " + ago(t.Sent)
	}
	if t.Why != "" {
		fails := "fails"
		if !t.Since.IsZero() {
			fails += " since " + t.Since.UTC().Format("2 Jan 15:04")
		}
		words = append(words, paint("error", fails)+because(t.Why))
	}
	if !t.Lost.IsZero() {
		words = append(words, "lost something at "+t.Lost.UTC().Format("2 Jan 15:04")+because(t.LostWhy))
	}
	return words
}
