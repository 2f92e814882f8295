package schema

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sends checks the telemetry, as far as can be told without the controller's configuration.
func (d *deploying) sends() {
	for i := range d.Telemetry {
		t, at := &d.Telemetry[i], index("telemetry", i)
		if t.Origin, t.shown = d.at(at), d.show(at+".to", t.To); t.To != "" {
			t.Origin = d.at(at + ".to")
		}
		switch {
		case len(d.said) > 0: // it is known what is wrong
		case t.To == "" || !t.Logs && t.Metrics == 0:
			d.problem(t.Origin, "write {to: a collector, logs: true, metrics: 30s}, or one of the two", "spec.%s needs a collector, and what goes there", at)
		case t.Metrics != 0 && t.Metrics < Duration(time.Second):
			d.problem(d.at(at+".metrics"), "give a second or more", "spec.%s.metrics is too short", at)
		case slices.ContainsFunc(d.Telemetry[:i], func(o Telemetry) bool { return o.To == t.To }):
			d.problem(t.Origin, "write them as one", "spec.%s: there are two to %s", at, t.shown)
		}
	}
}

// PermitTelemetry holds the telemetry that deployments declare against the collectors that there are: each must be known and stand
// where the deployment's data may be. What doesn't is a problem that blocks the deployment.
func (c Controller) PermitTelemetry(d Declared) Declared {
	places := map[string]string{}
	for name, to := range c.Collectors {
		places[name] = to.Location
	}
	for _, name := range sortedKeys(d.Deployments) {
		if w := d.Deployments[name]; len(BlockingDeployment(d.Problems, name)) == 0 {
			for i, t := range w.Telemetry {
				if p := w.refuses(addressee{t.Origin, index("spec.telemetry", i) + ".to", t.To, t.shown}, "collector", "docs/telemetry.md", places); p != nil {
					p.Deployment = name
					d.Problems = append(d.Problems, *p)
				}
			}
		}
	}
	d.Problems = SortProblems(d.Problems)
	return d
}

// addressee is a place of the controller's configuration, as a manifest names it.
type addressee struct {
	Origin
	at    string // spec.backups[0].to
	name  string
	shown string // the name, or that it came from $(…)
}

// refuses is why data of a deployment can't go to a place; nil where it may. Places are the locations of all that there are of
// its noun, by name.
func (d Deployment) refuses(to addressee, noun, page string, places map[string]string) *Problem {
	location, known := places[to.name]
	var p Problem
	switch {
	case len(places) == 0:
		p = problemf(to.Origin, "name it there, under "+noun+"s: "+page, "%s: the controller's configuration has no %ss", to.at, noun)
	case !known:
		hint := ""
		if to.shown == strconv.Quote(to.name) {
			hint = didYouMean(to.name, sortedKeys(places))
		}
		if hint == "" {
			hint = "it has " + strings.Join(sortedKeys(places), ", ")
		}
		p = problemf(to.Origin, hint, "%s: the controller's configuration has no %s %s", to.at, noun, to.shown)
	case len(d.Residency) > 0 && !matches(d.Residency, location):
		p = problemf(to.Origin, "choose one that stands there", "%s: %s is in %s, which spec.residency doesn't allow", to.at, to.shown, location)
	default:
		return nil
	}
	return &p
}

// collector checks one collector of the controller's configuration.
func (r *controlling) collector(at, name string, c Collector) {
	r.name(at, name)
	r.address(at+".otlp", c.OTLP)
	switch u, err := url.Parse(c.OTLP); {
	case c.OTLP == "":
		r.problem(r.at(at), "write its address, such as https://otel.acme.example:4318", "%s.otlp is missing", at)
	case err != nil: // that was said
	case u.RawQuery != "" || u.Fragment != "":
		r.problem(r.at(at+".otlp"), "give what is secret as one of headers", "%s.otlp goes on after its path", at)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.problem(r.at(at+".otlp"), "write https://", "%s.otlp: logs would leave the machine in the clear", at)
	}
	for _, header := range sortedKeys(c.Headers) {
		if !headerName.MatchString(header) {
			r.problem(r.at(at+".headers"), "write one such as Authorization", "%s.headers: %q is no header's name", at, header)
		}
	}
	if c.Location == "" {
		r.problem(r.at(at), "write it: rules about where data may be are held against it", "%s.location is missing", at)
	}
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_]*$`)

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
