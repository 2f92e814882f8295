package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// regionMetrics show the regions of deployments, as they were last seen.
type regionMetrics struct {
	active, role, streaming, synchronous, lag, lost, decided *prometheus.GaugeVec
}

func newRegionMetrics(gauge func(name, help string, labels ...string) *prometheus.GaugeVec) regionMetrics {
	of := func(name, help string, more ...string) *prometheus.GaugeVec {
		return gauge("cloakwork_region_"+name, help, append([]string{"deployment", "region"}, more...)...)
	}
	return regionMetrics{
		active:      of("active", "1 for the region that serves."),
		role:        of("role", "1 for the role that a region's database has.", "role"),
		streaming:   of("streaming", "1 where a standby gets what the primary writes."),
		synchronous: of("synchronous", "1 where the primary waits for a standby."),
		lag:         of("lag_bytes", "What a standby hasn't replayed."),
		lost:        of("lost_timestamp_seconds", "Since when a region hasn't answered; 0 where it answers."),
		decided:     gauge("cloakwork_deployment_moved_timestamp_seconds", "When it was last decided that another region be the active one, and by whom.", "deployment", "by"),
	}
}

func (m regionMetrics) all() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{m.active, m.role, m.streaming, m.synchronous, m.lag, m.lost, m.decided}
}

var roles = []platform.Role{platform.Primary, platform.Standby, platform.Fenced}

func (m regionMetrics) show(deployment string, done reconcile.Deployed) {
	for _, of := range m.all() {
		of.DeletePartialMatch(prometheus.Labels{"deployment": deployment})
	}
	is := func(so bool) float64 {
		if so {
			return 1
		}
		return 0
	}
	seconds := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixMilli()) / 1000
	}
	for _, r := range done.Seen.Regions {
		m.active.WithLabelValues(deployment, r.Name).Set(is(r.Name == done.Record.Active))
		m.lost.WithLabelValues(deployment, r.Name).Set(seconds(r.Lost))
		for _, role := range roles {
			if r.Role != "" {
				m.role.WithLabelValues(deployment, r.Name, string(role)).Set(is(r.Role == role))
			}
		}
		if r.Role == platform.Standby {
			m.streaming.WithLabelValues(deployment, r.Name).Set(is(r.Streaming))
			m.synchronous.WithLabelValues(deployment, r.Name).Set(is(r.Synchronous))
			m.lag.WithLabelValues(deployment, r.Name).Set(float64(r.Lag))
		}
	}
	if by := done.Record.Decided.By; by != "" {
		m.decided.WithLabelValues(deployment, by).Set(seconds(done.Record.Decided.At))
	}
}
