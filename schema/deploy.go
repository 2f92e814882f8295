package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cuelang.org/go/cue/ast"
	"github.com/robfig/cron/v3"
)

// deploymentManifest reads a document of kind Deployment.
func (l *loader) deploymentManifest(doc document, root *ast.StructLit) {
	top := doc.members(root)
	start := doc.at(root, Origin{File: doc.name, Line: 1, Column: 1})
	name, _ := text(below(doc, top, "metadata"), "name")
	w := l.walker(doc, RealmRef{}, false)
	w.realm, w.deployment = nil, name
	named := doc.origin(below(doc, top, "metadata"), "name", doc.origin(top, "metadata", start))
	if name == "" {
		w.problem(named, "write metadata: {name: the deployment's name}", "metadata.name is missing: it names the deployment")
	} else if !slotName.MatchString(name) {
		w.problem(named, "write small letters, digits and dashes", "metadata.name: %q can't be part of a host's name", name)
	}
	o := Object{Origins: map[string]Origin{}, Inputs: map[string]bool{}}
	envelope := w.envelope(&o, "DeploymentManifest", root)
	settings, _ := envelope["spec"].(map[string]any)
	d := &deploying{walker: w, spec: settings, object: o, start: doc.origin(top, "spec", start)}
	d.Name, d.Origin = name, named
	for field := range below(doc, top, "spec") {
		d.given = append(d.given, field)
	}
	switch before, twice := l.layer.deployments[name]; {
	case twice:
		w.problem(named, "keep one", "deployment %s is declared twice, first at %s", name, before.Origin)
		d.read()
	case name == "":
		d.read()
	default:
		l.layer.deployments[name] = d
	}
}

// deploying is the reading of one deployment.
type deploying struct {
	*walker
	Deployment
	spec   map[string]any
	given  []string // the fields of spec that manifests name
	object Object
	start  Origin
}

// over lays what a layer declares for a deployment over what the ones below do: maps are merged, all else is replaced.
func (d *deploying) over(below *deploying) *deploying {
	d.spec = merged(below.spec, d.spec)
	for label, p := range below.places {
		list, _, inList := strings.Cut(label, "[")
		if _, replaced := d.places[list]; !inList || !replaced {
			if _, known := d.places[label]; !known {
				d.places[label] = p
			}
		}
	}
	d.given = append(d.given, below.given...)
	d.object.Inputs = joined(below.object.Inputs, d.object.Inputs)
	maps.Copy(d.said, below.said)
	return d
}

// at is where a path below spec stands.
func (d *deploying) at(path string) Origin {
	if p, ok := d.places["spec."+path]; ok && p.Origin != (Origin{}) {
		return p.Origin
	}
	return d.start
}

// show is the value at a path below spec, unless it came from $(…).
func (d *deploying) show(path, v string) string {
	if d.places["spec."+path].input != "" {
		return "the value"
	}
	return strconv.Quote(v)
}

// read makes a Deployment of what the manifest says, and checks what the types of single fields can't.
func (d *deploying) read() *Deployment {
	if !slices.Contains(d.given, "platform") {
		d.problem(d.start, "write local, kubernetes or aws", "spec.platform is missing")
	}
	if !slices.Contains(d.given, "version") && !slices.Contains(d.given, "image") {
		d.problem(d.start, "write the version of Keycloak, such as 26.7.3", "spec.version is missing")
	}
	d.Deployment = Deployment{Name: d.Name, Origin: d.Origin, Instances: 1, Standby: "warm", Failover: Failover{Mode: "manual", After: Duration(30 * time.Second)},
		DB:     Database{Replication: "synchronous", WhenStandbyLost: "wait"},
		Update: Update{Strategy: "Auto", OnFailure: "hold"}, Limits: NodeLimits{NodesDown: 1}, Drift: defaultDrift}
	encoded, err := json.Marshal(d.spec)
	if err == nil {
		err = json.Unmarshal(encoded, &d.Deployment)
	}
	if err != nil && len(d.said) == 0 { // else it is known what is wrong
		d.problem(d.start, "", "spec: %s", err)
	}
	d.Files = d.fsys
	d.Sums = map[string]string{}
	d.Suspend = d.suspension(d.spec, d.object, d.at)
	d.inputs("env", d.Env)
	d.inputs("additionalOptions", d.AdditionalOptions)
	d.whereabouts()
	d.nodes()
	d.files()
	d.times()
	d.copies()
	d.sends()
	d.rules()
	if d.Deployment.Revision, err = d.revision(); err != nil {
		d.problem(d.start, "", "spec: %s", err)
	}
	return &d.Deployment
}

// written is a Deployment of which nothing is known but what manifests write.
func (d *deploying) written() *Deployment {
	o := Object{Address: Join("", deploymentKind, d.Name), Fields: d.spec, Origin: d.Origin, Origins: map[string]Origin{}}
	for label, p := range d.places {
		if path, ok := strings.CutPrefix(label, "spec."); ok && p.Origin != (Origin{}) {
			o.Origins[path] = p.Origin
		}
	}
	return &Deployment{Name: d.Name, Origin: d.Origin, Written: o}
}

// inputs marks the variables that came from $(…).
func (d *deploying) inputs(list string, variables []Variable) {
	for i := range variables {
		variables[i].Input = d.places["spec."+index(list, i)+".value"].input != ""
	}
}

var slotName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// whereabouts checks the regions, which of them is active, and where data may be.
func (d *deploying) whereabouts() {
	var names []string
	for i, r := range d.Regions {
		at := index("regions", i)
		switch {
		case r.Name == "":
			d.problem(d.at(at), "write name: the region's name", "spec.%s has no name", at)
		case !slotName.MatchString(r.Name):
			d.problem(d.at(at+".name"), "write small letters, digits and dashes", "spec.%s.name: %s can't be part of a host's name", at, d.show(at+".name", r.Name))
		case slices.Contains(names, r.Name):
			d.problem(d.at(at+".name"), "keep one", "spec.%s.name: there are two regions %s", at, d.show(at+".name", r.Name))
		}
		if r.Name != "" && !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
		if r.Address != "" && d.Platform != "local" {
			d.problem(d.at(at+".address"), "leave it out", "spec.%s.address: only platform local has one", at)
		} else if _, err := netip.ParseAddr(r.Address); r.Address != "" && err != nil {
			d.problem(d.at(at+".address"), "write one such as 127.0.1.1", "spec.%s.address: %s is not an IP address", at, d.show(at+".address", r.Address))
		}
		d.resides(at, r.Location)
	}
	for i, pattern := range d.Residency {
		if _, err := path.Match(pattern, ""); err != nil {
			d.problem(d.at(index("residency", i)), "write one such as eu-*", "spec.residency: %s is not a pattern", d.show(index("residency", i), pattern))
		}
	}
	if len(d.Regions) == 0 {
		d.Regions, names = []Region{{Name: d.Name}}, []string{d.Name}
		if len(d.Residency) > 0 {
			d.problem(d.at("residency"), "write regions: [{name: …, location: …}]", "spec.residency needs regions, each with its location")
		}
	}
	if d.Active == "" {
		d.Active = d.Regions[0].Name
	} else if !slices.Contains(names, d.Active) {
		d.problem(d.at("active"), "write the name of a region", "spec.active: %s is not one of the regions", d.show("active", d.Active))
	}
}

// resides checks that a region may be where it is.
func (d *deploying) resides(at, location string) {
	switch {
	case len(d.Residency) == 0:
	case location == "":
		d.problem(d.at(at), "write its location", "spec.%s has no location, and spec.residency restricts it", at)
	case !matches(d.Residency, location):
		d.problem(d.at(at+".location"), "", "spec.%s.location: spec.residency doesn't allow %s", at, d.show(at+".location", location))
	}
}

// nodes checks what the nodes run.
func (d *deploying) nodes() {
	if d.Platform == "local" && d.Image != "" {
		d.problem(d.at("image"), "write version", "spec.image: platform local runs no images")
	}
	for list, variables := range map[string][]Variable{"env": d.Env, "additionalOptions": d.AdditionalOptions} {
		first := map[string]int{}
		for i, v := range variables {
			at := index(list, i)
			if v.Name == "" {
				d.problem(d.at(at), "", "spec.%s has no name", at)
			} else if j, twice := first[v.Name]; twice {
				d.problem(d.at(at+".name"), "keep one", "spec.%s: %s stands here twice, first as %s", at, d.show(at+".name", v.Name), index(list, j))
			}
			first[v.Name] = i
		}
	}
	for i, e := range d.Extensions {
		at := index("extensions", i)
		switch {
		case e.Path == "":
			d.problem(d.at(at), "write the path of its jar", "spec.%s has no path", at)
		case e.SHA256 == "":
			d.problem(d.at(at), "write sha256: its SHA-256 sum", "spec.%s has no sha256", at)
		}
		if slices.ContainsFunc(d.Extensions[:i], func(o Extension) bool {
			return path.Base(o.Path) == path.Base(e.Path) || e.Name != "" && o.Name == e.Name
		}) {
			d.problem(d.at(at), "keep one", "spec.%s: there are two of this name", at)
		}
	}
}

// files looks at every file that the manifest names.
func (d *deploying) files() {
	d.file("tls.certificate", d.TLS.Certificate)
	d.file("cache.configFile", d.Cache.ConfigFile)
	for _, name := range sortedKeys(d.Truststores) {
		d.file("truststores."+name+".file", d.Truststores[name].File)
	}
	for i, e := range d.Extensions {
		at := index("extensions", i)
		sum := d.file(at+".path", e.Path)
		if sum != "" && e.SHA256 != "" && !strings.EqualFold(sum, e.SHA256) {
			d.problem(d.at(at+".sha256"), "write the sum of the file that is meant", "spec.%s.sha256: the file has the sum %s", at, sum)
		}
	}
}

// file is the SHA-256 sum of a file of the configuration, "" where it can't be read.
func (d *deploying) file(at, name string) string {
	if name == "" {
		return ""
	}
	sum, err := d.sum(path.Clean(name))
	if err != nil {
		d.problem(d.at(at), "", "spec.%s: %s: %s", at, d.show(at, name), reason(err))
		return ""
	}
	d.Sums[name] = sum
	return sum
}

func (d *deploying) sum(name string) (string, error) {
	target, err := follow(d.fsys, name)
	if err != nil {
		return "", err
	}
	f, err := d.fsys.Open(target)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// times checks the schedules.
func (d *deploying) times() {
	check := func(at, schedule string) {
		if _, err := cron.ParseStandard(schedule); err != nil {
			d.problem(d.at(at), `write the five fields of cron, such as "0 2 * * *"`, "spec.%s: %s is not a schedule", at, d.show(at, schedule))
		}
	}
	if d.Schedule != "" {
		check("schedule", d.Schedule)
	}
	for i, window := range d.Update.Windows {
		at := index("update.windows", i)
		if window.Schedule == "" || window.Duration <= 0 {
			d.problem(d.at(at), "write {schedule: when it opens, duration: how long it is open}", "spec.%s needs a schedule and a duration", at)
			continue
		}
		check(at+".schedule", window.Schedule)
	}
	for i, b := range d.Backups {
		if b.Schedule != "" {
			check(index("backups", i)+".schedule", b.Schedule)
		}
	}
}

// rules checks who may reach what.
func (d *deploying) rules() {
	for zone, rules := range map[string][]Rule{"login": d.Network.Login, "admin": d.Network.Admin} {
		for i, r := range rules {
			at := index("network."+zone, i)
			side := at + ".deny"
			if r.Allow != "" {
				side = at + ".allow"
			}
			if (r.Allow == "") == (r.Deny == "") {
				d.problem(d.at(at), "write {allow: 10.0.0.0/8} or {deny: 0.0.0.0/0}", "spec.%s allows or side one network", at)
			} else if _, err := netip.ParsePrefix(r.Allow + r.Deny); err != nil {
				d.problem(d.at(at), "write one such as 10.0.0.0/8", "spec.%s: %s is not a network", at, d.show(side, r.Allow+r.Deny))
			}
		}
	}
}
