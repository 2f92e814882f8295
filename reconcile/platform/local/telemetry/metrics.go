package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
)

// metricStream asks the nodes and the data plane for one collector.
type metricStream struct{ *stream }

func (m metricStream) run(ctx context.Context) {
	asker := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(m.collector.Metrics)
	defer tick.Stop()
	for {
		switch err := m.round(ctx, asker); {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.fail(err)
		default:
			m.well()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// round sends what nodes and data plane count now. One that doesn't answer has nothing to tell; whether nodes serve, the data plane
// counts.
func (m metricStream) round(ctx context.Context, asker *http.Client) error {
	nodes, err := m.Nodes()
	if err != nil {
		return err
	}
	var request collector.ExportMetricsServiceRequest
	add := func(families map[string]*dto.MetricFamily, service, instance, version string) {
		if all := converted(families, time.Now()); len(all) > 0 {
			request.ResourceMetrics = append(request.ResourceMetrics, &metrics.ResourceMetrics{Resource: about(m.collector.About, service, instance, version),
				ScopeMetrics: []*metrics.ScopeMetrics{{Scope: &common.InstrumentationScope{Name: service}, Metrics: all}}})
		}
	}
	for _, n := range nodes {
		if n.Metrics == "" {
			continue
		}
		if families, err := scrape(ctx, asker, n.Metrics); err == nil {
			add(families, keycloak, n.Name, n.Version)
		} else {
			m.Log.Debug("ask a node for its metrics", "node", n.Name, "error", err)
		}
	}
	if text, err := m.Plane(ctx); err == nil {
		families, err := parsed(bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("read the metrics of the data plane: %w", err)
		}
		add(families, dataPlane, m.Shipper.Region, "")
	}
	if len(request.ResourceMetrics) == 0 {
		return nil
	}
	var answer collector.ExportMetricsServiceResponse
	if err := m.to.send(ctx, "/v1/metrics", &request, &answer); err != nil {
		return err
	}
	if n := answer.GetPartialSuccess().GetRejectedDataPoints(); n > 0 {
		m.lose(fmt.Sprintf("%d data points were refused", n))
	}
	m.took()
	return nil
}

// most is how many bytes of metrics are read of one node.
const most = 16 << 20

// scrape reads a node's metrics.
func scrape(ctx context.Context, by *http.Client, url string) (map[string]*dto.MetricFamily, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/plain;version=0.0.4")
	answer, err := by.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %s", answer.Status)
	}
	return parsed(io.LimitReader(answer.Body, most))
}

// parsed are metrics in Prometheus' text form.
func parsed(text io.Reader) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(text)
}

// converted are the same metrics as OTLP has them, by name.
func converted(families map[string]*dto.MetricFamily, now time.Time) (all []*metrics.Metric) {
	at := uint64(now.UnixNano())
	start := uint64(0)
	if f := families["process_start_time_seconds"]; f != nil && len(f.Metric) == 1 {
		start = uint64(f.Metric[0].GetGauge().GetValue() * 1e9)
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		m := &metrics.Metric{Name: name, Description: f.GetHelp(), Unit: f.GetUnit()}
		var points []*metrics.NumberDataPoint
		var histogram []*metrics.HistogramDataPoint
		var summary []*metrics.SummaryDataPoint
		for _, p := range f.Metric {
			labels := labelled(p.Label)
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				h := &metrics.HistogramDataPoint{Attributes: labels, StartTimeUnixNano: start, TimeUnixNano: at, Count: p.Histogram.GetSampleCount(), Sum: p.Histogram.SampleSum}
				h.ExplicitBounds, h.BucketCounts = buckets(p.Histogram)
				histogram = append(histogram, h)
			case dto.MetricType_SUMMARY:
				s := &metrics.SummaryDataPoint{Attributes: labels, StartTimeUnixNano: start, TimeUnixNano: at, Count: p.Summary.GetSampleCount(), Sum: p.Summary.GetSampleSum()}
				for _, q := range p.Summary.GetQuantile() {
					s.QuantileValues = append(s.QuantileValues, &metrics.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
				}
				summary = append(summary, s)
			default:
				value := p.GetGauge().GetValue() + p.GetCounter().GetValue() + p.GetUntyped().GetValue() // one of them
				points = append(points, &metrics.NumberDataPoint{Attributes: labels, StartTimeUnixNano: start, TimeUnixNano: at,
					Value: &metrics.NumberDataPoint_AsDouble{AsDouble: value}})
			}
		}
		switch f.GetType() {
		case dto.MetricType_HISTOGRAM:
			m.Data = &metrics.Metric_Histogram{Histogram: &metrics.Histogram{DataPoints: histogram, AggregationTemporality: cumulative}}
		case dto.MetricType_SUMMARY:
			m.Data = &metrics.Metric_Summary{Summary: &metrics.Summary{DataPoints: summary}}
		case dto.MetricType_COUNTER:
			m.Data = &metrics.Metric_Sum{Sum: &metrics.Sum{DataPoints: points, IsMonotonic: true, AggregationTemporality: cumulative}}
		default:
			m.Data = &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: points}}
		}
		all = append(all, m)
	}
	return all
}

const cumulative = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE

// buckets are a histogram's as OTLP counts them: each by itself, and one more beyond the last bound.
func buckets(h *dto.Histogram) (bounds []float64, counts []uint64) {
	before := uint64(0)
	for _, b := range h.GetBucket() {
		if math.IsInf(b.GetUpperBound(), 1) {
			continue // +Inf, which is all
		}
		bounds, counts = append(bounds, b.GetUpperBound()), append(counts, b.GetCumulativeCount()-min(before, b.GetCumulativeCount()))
		before = b.GetCumulativeCount()
	}
	return bounds, append(counts, h.GetSampleCount()-min(before, h.GetSampleCount()))
}

func labelled(labels []*dto.LabelPair) (attributes []*common.KeyValue) {
	for _, l := range labels {
		attributes = append(attributes, attribute(l.GetName(), l.GetValue()))
	}
	return attributes
}

func attribute(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}
