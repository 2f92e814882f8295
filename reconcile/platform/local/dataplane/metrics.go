package dataplane

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what a data plane counts. They begin anew with each process; names, not addresses, are their labels.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	restarts *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloakwork_front_request_seconds", Help: "How long requests took, with their time in the queue.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"zone", "status"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloakwork_node_restarts_total", Help: "How often a node died and was started again.",
		}, []string{"node"}),
	}
	m.registry.MustRegister(m.requests, m.restarts)
	return m
}

func (m *metrics) request(z Zone, status int, took time.Duration) {
	m.requests.WithLabelValues(string(z), strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// gauges are read off the pool and the writer endpoint whenever somebody asks.
type gauges struct {
	pool   *pool
	writer *writer
}

var (
	upGauge      = prometheus.NewDesc("cloakwork_node_ready", "Whether a node is ready.", []string{"node"}, nil)
	inGauge      = prometheus.NewDesc("cloakwork_node_in", "Whether a node gets requests when it is ready.", []string{"node"}, nil)
	flyingGauge  = prometheus.NewDesc("cloakwork_node_in_flight", "Requests that a node has not answered yet.", []string{"node"}, nil)
	servedCount  = prometheus.NewDesc("cloakwork_node_answers_total", "Answers of a node, by hundreds of status.", []string{"node", "class"}, nil)
	gatedGauge   = prometheus.NewDesc("cloakwork_front_gated", "Whether the front holds new requests.", nil, nil)
	waitingGauge = prometheus.NewDesc("cloakwork_front_waiting", "Requests that wait for a node.", nil, nil)
	writerGauge  = prometheus.NewDesc("cloakwork_writer_connections", "Connections to the primary.", nil, nil)
	epochGauge   = prometheus.NewDesc("cloakwork_writer_epoch", "The epoch by which the writer endpoint leads where it does.", nil, nil)
)

func (g gauges) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, c) }

func (g gauges) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	g.pool.mu.Lock()
	defer g.pool.mu.Unlock()
	for _, n := range g.pool.nodes {
		gauge(upGauge, truth(n.ready), n.name)
		gauge(inGauge, truth(n.in), n.name)
		gauge(flyingGauge, float64(len(n.flying)), n.name)
		for class, count := range n.served {
			c <- prometheus.MustNewConstMetric(servedCount, prometheus.CounterValue, float64(count), n.name, strconv.Itoa(class))
		}
	}
	gauge(gatedGauge, truth(g.pool.gated))
	gauge(waitingGauge, float64(g.pool.waiting))
	connections, route := g.writer.looks()
	gauge(writerGauge, float64(connections))
	gauge(epochGauge, float64(route.Epoch))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
