package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/telemetry"
	"github.com/cloakwork/cloakwork/schema"
)

// Each region whose telemetry goes anywhere has a shipper, which its data plane has run. What it goes by are objects that need no
// order, telemetry/milan:watch: where one is as desired, the shipper has been told of that collector.

const (
	telemetryKind   = "telemetry"
	telemetryFolder = "telemetry" // in that of the data plane
)

// telemetryFacts is how telemetry is compared.
var telemetryFacts = map[string]schema.Fact{"headers": {Secret: true}}

// desireTelemetry adds what goes where from each region.
func (d *Driver) desireTelemetry(want schema.Deployment, state schema.State) error {
	for _, t := range want.Telemetry {
		if d.Collector == nil {
			return errors.New("telemetry: nobody has said which collectors there are")
		}
		to, err := d.Collector(t.To)
		if err != nil {
			return fmt.Errorf("telemetry: %w", err)
		}
		for _, r := range want.Regions {
			o, err := shipped(r.Name, t.To, telemetry.Collector{Collector: to, Logs: t.Logs, Metrics: time.Duration(t.Metrics), About: described(want.Name, r)})
			if err != nil {
				return err
			}
			o.Origin = t.Origin
			state[o.Address] = o
		}
	}
	return nil
}

// described are the resource attributes of all that comes from a region.
func described(deployment string, r schema.Region) map[string]string {
	about := map[string]string{"service.namespace": deployment, "cloakwork.region": r.Name}
	if r.Location != "" {
		about["cloud.region"] = r.Location
	}
	if r.Provider != "" {
		about["cloud.provider"] = r.Provider
	}
	return about
}

// shipped is what is compared.
func shipped(region, name string, c telemetry.Collector) (schema.Object, error) {
	headers, err := json.Marshal(c.Headers)
	if err != nil {
		return schema.Object{}, err
	}
	about, err := json.Marshal(c.About)
	return schema.Object{Address: schema.Join(schema.RealmAddress, telemetryKind, region, name), Fields: map[string]any{
		"otlp": c.OTLP, "headers": string(headers), "ca": c.CA, "logs": c.Logs, "metrics": c.Metrics.String(), "about": string(about),
	}}, err
}

// haveTelemetry adds what the shipper of a region is told, where it runs, and how that does.
func (s site) haveTelemetry(r seenRegion, into *platform.Seen) error {
	if !s.told(r, shipper) {
		return nil
	}
	files, err := filepath.Glob(s.path("regions", r.name, "plane", telemetryFolder, "*"+telemetry.Told))
	if err != nil {
		return err
	}
	for _, file := range files {
		var c telemetry.Collector
		there, err := s.read(&c, "regions", r.name, "plane", telemetryFolder, filepath.Base(file))
		if err != nil || !there {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(file), telemetry.Told)
		o, err := shipped(r.name, name, c)
		if err != nil {
			return err
		}
		into.Have[o.Address] = o
		for of, sent := range map[string]bool{telemetry.Logs: c.Logs, telemetry.Metrics: c.Metrics > 0} {
			if sent {
				into.Telemetry = append(into.Telemetry, standing(r, filepath.Dir(file), name, of))
			}
		}
	}
	slices.SortFunc(into.Telemetry, func(a, b platform.Telemetry) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.To, b.To), cmp.Compare(a.Of, b.Of))
	})
	return nil
}

// standing is how one kind of telemetry does.
func standing(r seenRegion, dir, name, of string) platform.Telemetry {
	t, known := telemetry.Standing(dir, name, of)
	if !known {
		t = platform.Telemetry{Region: r.name, To: name, Of: of}
	}
	for _, n := range r.Nodes {
		if n.Name == shipper.slot && r.answers && !n.Alive && n.Why != "" {
			t.Why = "the shipper doesn't run: " + n.Why
		}
	}
	return t
}

// applyTelemetry has the shipper of a region send to one collector as is declared now, or no longer.
func (s site) applyTelemetry(ctx context.Context, c drift.Change, epoch int64) error {
	key := c.Address.Key()
	if len(key) != 2 {
		return fmt.Errorf("%s is no telemetry", c.Address)
	}
	region, dir := key[0], []string{"regions", key[0], "plane", telemetryFolder}
	file := append(slices.Clone(dir), key[1]+telemetry.Told)
	if c.Op == drift.Delete {
		if err := s.keepFile(nil, false, file...); err != nil {
			return err
		}
		left, err := filepath.Glob(filepath.Join(s.path(dir...), "*"+telemetry.Told))
		if err != nil {
			return err
		}
		if len(left) == 0 {
			if err := s.dismiss(ctx, region, shipper, epoch); err != nil {
				return err
			}
			if err := os.RemoveAll(s.path(dir...)); err != nil {
				return err
			}
		}
		return s.remember(c)
	}
	told, err := tellable(c.Want.Fields)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.path(dir...), 0o700); err != nil {
		return err
	}
	if err := s.write(told, file...); err != nil {
		return err
	}
	if err := s.engage(ctx, region, shipper, epoch); err != nil {
		return err
	}
	return s.remember(c)
}

// tellable is what the fields of an object say.
func tellable(fields map[string]any) (c telemetry.Collector, err error) {
	text := func(name string) string { v, _ := fields[name].(string); return v }
	c.OTLP, c.CA = text("otlp"), text("ca")
	c.Logs, _ = fields["logs"].(bool)
	c.Metrics, err = time.ParseDuration(text("metrics"))
	return c, errors.Join(err, json.Unmarshal([]byte(text("headers")), &c.Headers), json.Unmarshal([]byte(text("about")), &c.About))
}

// OpenShipper is the shipper of the region whose data plane has a folder.
func OpenShipper(plane string, log *slog.Logger) (telemetry.Shipper, error) {
	plane, err := filepath.Abs(plane)
	if err != nil {
		return telemetry.Shipper{}, err
	}
	region := filepath.Dir(plane)
	deployment := filepath.Dir(filepath.Dir(region))
	s := (&Driver{dir: filepath.Dir(deployment)}).site(filepath.Base(deployment))
	return telemetry.Shipper{
		Dir: filepath.Join(plane, telemetryFolder), Region: filepath.Base(region), Log: log, Stale: replaced,
		Nodes: func() ([]telemetry.Node, error) { return s.followed(filepath.Base(region)) },
		Plane: dataplane.NewClient(plane).Metrics,
	}, nil
}

// followed are the nodes of a region that have a log. One that was removed has sent all of it when it is gone.
func (s site) followed(region string) (nodes []telemetry.Node, err error) {
	logs, err := filepath.Glob(s.path("regions", region, "log", "*.log"))
	if err != nil {
		return nil, err
	}
	for _, log := range logs {
		n := telemetry.Node{Name: strings.TrimSuffix(filepath.Base(log), ".log"), Log: log}
		if !nodeName.MatchString(n.Name) {
			continue // a resident's
		}
		l, there, err := s.slot(n.Name)
		if err != nil {
			return nil, err
		}
		if there {
			if r, err := s.release(l.Revision); err == nil {
				n.Version = r.Version
			}
			c, _, err := s.command(l)
			if err != nil {
				return nil, err
			}
			if c.Health != "" && !l.Stopped {
				n.Metrics = strings.TrimSuffix(c.Health, healthPath) + "/metrics"
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

var nodeName = regexp.MustCompile(`-[0-9]+$`)
