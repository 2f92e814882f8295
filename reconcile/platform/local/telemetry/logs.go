package telemetry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
)

// batch is how many records are sent at once.
const batch = 1000

// mostPause is how long a collector that takes nothing is left alone at most, unless it asks for more.
const mostPause = time.Minute

// logStream follows the logs of all nodes for one collector.
type logStream struct {
	*stream
	limit int // of a batch, smaller where the collector takes no larger ones
}

func (l *logStream) run(ctx context.Context) {
	pause := l.Every
	for ctx.Err() == nil {
		more, err := l.round(ctx)
		wait := l.Every
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.fail(err)
			wait = pause
			if e := new(unsent); errors.As(err, &e) {
				wait = min(max(wait, e.after), 10*mostPause)
			}
			pause = min(2*pause, mostPause)
		default:
			l.well()
			pause = l.Every
			if more {
				wait = 0
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// round sends, of each node, what was read at once; more tells that there is more.
func (l *logStream) round(ctx context.Context) (more bool, err error) {
	nodes, err := l.Nodes()
	if err != nil {
		return false, err
	}
	var unread []error
	for _, n := range nodes {
		p, lost, err := read(n.Log, l.Positions[n.Name], l.Every)
		if err != nil {
			unread = append(unread, err)
			continue
		}
		if lost {
			delete(l.Positions, n.Name) // or it would be lost at each look
			l.lose("the log of " + n.Name + " was cut before all of it was sent")
		}
		if len(p.records) == 0 {
			continue
		}
		more = true
		count := min(len(p.records), l.limit)
		err = l.export(ctx, n, p.records[:count])
		switch {
		case refused(err) && count > 1:
			l.limit = count / 2
			continue
		case refused(err):
			l.lose("a record of " + n.Name + " was refused: " + err.Error())
		case err != nil:
			return more, err
		}
		l.limit = min(2*l.limit, batch)
		l.Positions[n.Name] = p.after(count)
		l.took()
	}
	l.prune(nodes)
	return more, errors.Join(unread...)
}

// prune forgets the nodes whose logs are gone.
func (l *logStream) prune(nodes []Node) {
	there := map[string]bool{}
	for _, n := range nodes {
		there[n.Name] = true
	}
	for name := range l.Positions {
		if !there[name] {
			delete(l.Positions, name)
		}
	}
}

// export sends records of a node.
func (l *logStream) export(ctx context.Context, n Node, records []record) error {
	now := uint64(time.Now().UnixNano())
	of := &logs.ResourceLogs{Resource: about(l.collector.About, keycloak, n.Name, n.Version)}
	for _, r := range records {
		if r.body == "" && r.level == "" {
			continue
		}
		last := len(of.ScopeLogs) - 1
		if last < 0 || of.ScopeLogs[last].Scope.Name != r.logger {
			of.ScopeLogs, last = append(of.ScopeLogs, &logs.ScopeLogs{Scope: &common.InstrumentationScope{Name: r.logger}}), last+1
		}
		of.ScopeLogs[last].LogRecords = append(of.ScopeLogs[last].LogRecords, r.encoded(now))
	}
	if len(of.ScopeLogs) == 0 {
		return nil
	}
	var answer collector.ExportLogsServiceResponse
	if err := l.to.send(ctx, "/v1/logs", &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{of}}, &answer); err != nil {
		return err
	}
	if n := answer.GetPartialSuccess().GetRejectedLogRecords(); n > 0 {
		l.lose(fmt.Sprintf("%d records were refused", n))
	}
	return nil
}

func (r record) encoded(now uint64) *logs.LogRecord {
	e := &logs.LogRecord{ObservedTimeUnixNano: now, SeverityNumber: r.severity, SeverityText: r.level,
		Body: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: r.body}}}
	if !r.at.IsZero() {
		e.TimeUnixNano = uint64(r.at.UnixNano())
	}
	if r.thread != "" {
		e.Attributes = append(e.Attributes, attribute("thread.name", r.thread))
	}
	if r.trace != "" {
		e.Attributes = append(e.Attributes, attribute("exception.stacktrace", r.trace))
	}
	return e
}

// Who speaks, as service.name.
const (
	keycloak  = "keycloak"
	dataPlane = "cloakwork-dataplane"
)

// about is the resource that something comes from.
func about(all map[string]string, service, instance, version string) *resource.Resource {
	r := &resource.Resource{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r.Attributes = append(r.Attributes, attribute(name, all[name]))
	}
	r.Attributes = append(r.Attributes, attribute("service.name", service), attribute("service.instance.id", instance))
	if version != "" {
		r.Attributes = append(r.Attributes, attribute("service.version", version))
	}
	if host, err := os.Hostname(); err == nil {
		r.Attributes = append(r.Attributes, attribute("host.name", host))
	}
	return r
}
