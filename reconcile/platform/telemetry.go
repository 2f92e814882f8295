package platform

import "time"

// Collector is where telemetry is sent, by OTLP over HTTP.
type Collector struct {
	OTLP    string            `json:"otlp"`              // its address; /v1/logs and /v1/metrics follow
	Headers map[string]string `json:"headers,omitempty"` // secret
	CA      string            `json:"ca,omitempty"`      // PEM, trusted besides the system's
}

// Telemetry is how one kind of it does that goes from a region to a collector.
type Telemetry struct {
	Region string `json:"region"`
	To     string `json:"to"`
	Of     string `json:"of"` // logs or metrics

	Sent    time.Time `json:"sent,omitzero"`  // when the collector last took something, UTC
	Since   time.Time `json:"since,omitzero"` // since when nothing can be sent; zero where it can
	Why     string    `json:"why,omitempty"`
	Lost    time.Time `json:"lost,omitzero"` // when something was last given up
	LostWhy string    `json:"lostWhy,omitempty"`
}
