package schema

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"cuelang.org/go/cue/ast"
	"filippo.io/age"
	"github.com/robfig/cron/v3"
)

// Controller is the controller's configuration: which servers there are, which repositories may declare what on them, and
// where backups and telemetry go. It holds no secret, only where each is found. Paths in it are as written: relative to its own folder.
type Controller struct {
	State        string                 `json:"state"`
	Metrics      Metrics                `json:"metrics"`
	Restore      Restore                `json:"restore"`
	Backups      Backups                `json:"backups"`
	Servers      map[string]Server      `json:"servers"`
	Sources      map[string]Source      `json:"sources"`
	Destinations map[string]Destination `json:"destinations"`
	Collectors   map[string]Collector   `json:"collectors"`
	Platforms    Platforms              `json:"platforms"`
}

// The parts of a Controller.
type (
	Metrics struct {
		Address string `json:"address"` // host:port; "" for none
	}
	// Restore is how what passes change and delete is kept as it was before.
	Restore struct {
		Recipients []string `json:"recipients"` // age's; none: secrets are left out
		Keep       Duration `json:"keep"`
	}
	// Backups is how it is proven that the backups of deployments can be restored.
	Backups struct {
		Identity Credential `json:"identity"` // age's, by which they are opened; none: it isn't proven
		Prove    string     `json:"prove"`    // cron, when the newest of each is restored aside
	}
	// Server is a Keycloak that somebody else runs.
	Server struct {
		URL          string     `json:"url"`
		CA           string     `json:"ca"`    // a file of PEM certificates to trust besides the system's
		Realm        string     `json:"realm"` // to sign in to
		User         string     `json:"user"`
		Password     Credential `json:"password"`
		ClientID     string     `json:"clientId"`
		ClientSecret Credential `json:"clientSecret"`
		PerSecond    float64    `json:"maxRequestsPerSecond"`
		InFlight     int        `json:"inFlight"`
		Patience     Duration   `json:"patience"`
	}
	// Source is a branch of a repository, and what its manifests may declare.
	Source struct {
		Name         string     `json:"-"`
		Origin       Origin     `json:"-"` // of its name
		Repository   string     `json:"repository"`
		Branch       string     `json:"branch"`
		Path         string     `json:"path"` // the folder of the manifests
		Environment  string     `json:"environment"`
		Server       string     `json:"server"`   // of realms that name none
		Interval     Duration   `json:"interval"` // between two looks for commits
		Schedule     string     `json:"schedule"` // when to look for drift where a manifest names no schedule
		Git          Git        `json:"git"`
		Forge        Forge      `json:"forge"`
		Notes        bool       `json:"notes"`
		StatusPrefix string     `json:"statusPrefix"`
		Ledger       string     `json:"ledger"`       // what realms remember it by; "" is the repository and path
		Secrets      string     `json:"secrets"`      // the folder in which $(file:…) is looked for besides the repository
		Fingerprints Credential `json:"fingerprints"` // the key by which changed secrets are told
		Allow        Allow      `json:"allow"`
	}
	Git struct {
		User       string     `json:"user"`
		Token      Credential `json:"token"`
		SSHKey     Credential `json:"sshKey"`
		KnownHosts []string   `json:"knownHosts"`
		CA         string     `json:"ca"`
	}
	// Forge is where statuses go.
	Forge struct {
		Kind  string     `json:"kind"`
		URL   string     `json:"url"`
		Token Credential `json:"token"` // none: git's
	}
	// Allow is what a source may declare, by patterns. What is absent allows all that the configuration names, but for
	// variables and the deletion of realms.
	Allow struct {
		Kinds         []string `json:"kinds"` // Realm, Deployment
		Servers       []string `json:"servers"`
		Realms        []string `json:"realms"`
		Deployments   []string `json:"deployments"`
		Variables     []string `json:"variables"` // that $(env:…) may name
		RealmDeletion bool     `json:"realmDeletion"`

		at func(field string) Origin
	}
	// Destination is a place for backups: a folder or a bucket.
	Destination struct {
		Location string `json:"location"` // held against a deployment's residency
		Provider string `json:"provider"` // whoever could lose all that is there at once
		Folder   string `json:"folder"`
		S3       *S3    `json:"s3"`
	}
	S3 struct {
		Bucket    string     `json:"bucket"`
		Prefix    string     `json:"prefix"`
		Region    string     `json:"region"`
		Endpoint  string     `json:"endpoint"`  // of a service that isn't Amazon's
		PathStyle *bool      `json:"pathStyle"` // the bucket stands in the path; absent: with an endpoint it does
		AccessKey Credential `json:"accessKey"`
		SecretKey Credential `json:"secretKey"`
	}
	// Collector is where telemetry may go.
	Collector struct {
		OTLP     string                `json:"otlp"` // its address; /v1/logs and /v1/metrics follow
		Headers  map[string]Credential `json:"headers"`
		CA       string                `json:"ca"`       // a file of PEM certificates to trust besides the system's
		Location string                `json:"location"` // held against a deployment's residency
	}
	Platforms struct {
		Local LocalPlatform `json:"local"`
	}
	// LocalPlatform is what platform local works with.
	LocalPlatform struct {
		Folder        string        `json:"folder"` // of everything that it keeps; "" is one below State
		User          string        `json:"user"`   // that nodes run as; "" is our own
		Distributions Distributions `json:"distributions"`
	}
	// Distributions are where the archives of Keycloak come from: one of these, or none.
	Distributions struct {
		Folder string `json:"folder"` // that holds keycloak-VERSION.tar.gz, or keycloak-VERSION
		URL    string `json:"url"`    // with {version} in it
		Maven  string `json:"maven"`  // a repository
	}
	// Credential says where a secret is found: in a file, or in a variable of the environment.
	Credential struct {
		File string `json:"file"`
		Env  string `json:"env"`
	}
)

// RestoreKeep is how long restore points are kept where nobody says how long.
const RestoreKeep = 30 * 24 * time.Hour

// ProveDaily is when backups are restored aside where nobody says when.
const ProveDaily = "30 5 * * *"

// Given tells whether there is such a secret.
func (c Credential) Given() bool { return c != Credential{} }

// LoadController reads the controller's configuration from a file, and says all that is wrong with it.
func LoadController(fsys fs.FS, name string) (Controller, []Problem) {
	d, err := define("")
	if err != nil {
		return Controller{}, []Problem{{What: err.Error()}}
	}
	l := &loader{fsys: fsys, definitions: d, options: Options{Env: func(string) (string, bool) { return "", true }}}
	source, problem := l.source(name)
	if problem != nil {
		return Controller{}, []Problem{*problem}
	}
	documents := l.parse(file{name: name, named: true}, source)
	for _, extra := range documents[min(1, len(documents)):] {
		l.problem(problemf(extra.at(extra.root, Origin{File: name}), "keep one", "the controller's configuration is one document"))
	}
	if len(documents) == 0 {
		return Controller{}, SortProblems(l.problems)
	}
	c := l.controller(documents[0])
	return c, SortProblems(l.problems)
}

// controller reads a document of kind Controller.
func (l *loader) controller(doc document) Controller {
	start := doc.at(doc.root, Origin{File: doc.name, Line: 1, Column: 1})
	r := &controlling{walker: l.walker(doc, RealmRef{}, false), start: start}
	r.realm = nil
	root, ok := doc.root.(*ast.StructLit)
	if !ok {
		r.problem(start, "it begins with apiVersion: "+apiVersion, "is not the controller's configuration")
		return r.Controller
	}
	top := doc.members(root)
	if api, _ := text(top, "apiVersion"); api != apiVersion {
		r.problem(doc.origin(top, "apiVersion", start), "write apiVersion: "+apiVersion, "apiVersion is not %s", apiVersion)
	}
	if kind, _ := text(top, "kind"); kind != "Controller" {
		r.problem(doc.origin(top, "kind", start), "write kind: Controller; manifests belong into a repository", "kind is not Controller")
	}
	r.object = Object{Origins: map[string]Origin{}, Inputs: map[string]bool{}}
	values := map[string]any{}
	r.inEnvelope, r.noun = true, "the controller's configuration"
	form := l.definitions.forms["#Controller"]
	r.members(&r.object, form, root, values, "", "", start)
	r.inEnvelope = false
	r.check(form, values, "")
	r.credentials("", values)
	encoded, err := json.Marshal(values)
	if err == nil {
		err = json.Unmarshal(encoded, &r.Controller)
	}
	if err != nil && len(r.said) == 0 { // else it is known what is wrong
		r.problem(start, "", "%s", err)
	}
	r.checks()
	return r.Controller
}

// controlling is the reading of the controller's configuration.
type controlling struct {
	*walker
	Controller
	object Object
	start  Origin
}

// at is where a field stands.
func (r *controlling) at(path string) Origin {
	if o, ok := r.object.Origins[path]; ok {
		return o
	}
	if i := strings.LastIndexByte(path, '.'); i > 0 {
		return r.at(path[:i])
	}
	return r.start
}

// secretFields are those that say where a secret is found.
var secretFields = []string{"password", "clientSecret", "token", "sshKey", "fingerprints", "accessKey", "secretKey", "identity"}

// namedOnes are what stands under names that are the operator's; all values of headers are secret.
var (
	namedOnes = []string{"servers", "sources", "destinations", "collectors"}
	headers   = regexp.MustCompile(`^collectors\.[^.]+\.headers$`)
)

const whereSecretsAre = "name where it is found: {file: PATH} or {env: NAME}"

// credentials finds secrets that are written out, which are then left out, and never shown.
func (r *controlling) credentials(label string, values map[string]any) {
	for _, name := range sortedKeys(values) {
		at := prefix(label) + name
		below, isMap := values[name].(map[string]any)
		secret := slices.Contains(secretFields, name) && !slices.Contains(namedOnes, label) || headers.MatchString(label)
		if !secret {
			if isMap {
				r.credentials(at, below)
			}
			continue
		}
		file, _ := below["file"].(string)
		env, _ := below["env"].(string)
		if len(below) != 1 || (file == "") == (env == "") {
			what := "%s names neither a file nor a variable"
			if !isMap {
				what = "%s: a secret isn't written here"
			}
			r.problem(r.at(at), whereSecretsAre, what, at)
			delete(values, name)
		} else if env != "" && !variable.MatchString(env) {
			r.problem(r.at(at), "write {env: NAME}", "%s.env names no variable", at)
		}
	}
}

// checks is what the types of single fields can't say.
func (r *controlling) checks() {
	if _, _, err := net.SplitHostPort(r.Metrics.Address); r.Metrics.Address != "" && err != nil {
		r.problem(r.at("metrics.address"), "write host:port, such as 127.0.0.1:9464", "metrics.address: %q is no address", r.Metrics.Address)
	}
	for i, recipient := range r.Restore.Recipients {
		if _, err := age.ParseRecipients(strings.NewReader(recipient)); err != nil {
			at := fmt.Sprintf("restore.recipients[%d]", i)
			r.problem(r.at("restore.recipients"), "write what age-keygen calls the public key, age1…", "%s is no age recipient", at)
		}
	}
	if r.Restore.Keep == 0 {
		r.Restore.Keep = Duration(RestoreKeep)
	}
	if r.Backups.Prove == "" {
		r.Backups.Prove = ProveDaily
	} else if _, err := cron.ParseStandard(r.Backups.Prove); err != nil {
		r.problem(r.at("backups.prove"), `write the five fields of cron, such as "0 5 * * *"`, "backups.prove: %q is not a schedule", r.Backups.Prove)
	}
	for _, name := range sortedKeys(r.Servers) {
		r.server("servers."+name, name, r.Servers[name])
	}
	if len(r.Sources) == 0 {
		r.problem(r.at("sources"), "write sources: {NAME: {repository: URL}}", "sources is missing: it names the repositories")
	}
	for _, name := range sortedKeys(r.Sources) {
		r.Sources[name] = r.source("sources."+name, name, r.Sources[name])
	}
	r.twice()
	for _, name := range sortedKeys(r.Destinations) {
		r.destination("destinations."+name, name, r.Destinations[name])
	}
	for _, name := range sortedKeys(r.Collectors) {
		r.collector("collectors."+name, name, r.Collectors[name])
	}
	at := "platforms.local.distributions"
	from := r.Platforms.Local.Distributions
	switch one := exactly(from.Folder, from.URL, from.Maven); {
	case from == (Distributions{}):
	case !one:
		r.problem(r.at(at), "keep one", "%s: folder, url and maven are alternatives", at)
	case from.URL != "" && !strings.Contains(from.URL, "{version}"):
		r.problem(r.at(at+".url"), "write {version} where it stands in the address", "%s.url names no version", at)
	}
	r.address(at+".url", strings.ReplaceAll(from.URL, "{version}", "1"))
	r.address(at+".maven", from.Maven)
}

func exactly(values ...string) bool {
	return len(slices.DeleteFunc(values, func(v string) bool { return v == "" })) == 1
}

// name checks what becomes a part of files' names, statuses and labels.
func (r *controlling) name(at, name string) {
	if !slotName.MatchString(name) {
		r.problem(r.at(at), "write small letters, digits and dashes", "%s: %q is no name", at, name)
	}
}

// address checks a URL, without ever showing it: somebody may have put a password there.
func (r *controlling) address(at, address string) {
	u, err := url.Parse(address)
	switch {
	case address == "":
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		r.problem(r.at(at), "write https://host", "%s is no address", at)
	case u.User != nil:
		r.problem(r.at(at), "give them apart", "%s holds credentials", at)
	}
}

func (r *controlling) server(at, name string, s Server) {
	r.name(at, name)
	if s.URL == "" {
		r.problem(r.at(at), "write the address of Keycloak", "%s.url is missing", at)
	}
	r.address(at+".url", s.URL)
	switch {
	case s.User != "" && !s.Password.Given():
		r.problem(r.at(at), "write password: {file: PATH} or {env: NAME}", "%s has a user and no password", at)
	case s.User == "" && s.Password.Given():
		r.problem(r.at(at+".password"), "write user", "%s has a password and no user", at)
	case s.User == "" && (s.ClientID == "" || !s.ClientSecret.Given()):
		r.problem(r.at(at), "write user and password, or clientId and clientSecret", "%s has no credentials", at)
	}
}

// source checks one source, and puts in what has a default.
func (r *controlling) source(at, name string, s Source) Source {
	r.name(at, name)
	s.Name, s.Origin = name, r.at(at)
	if s.Repository == "" {
		r.problem(r.at(at), "write its URL, or its path", "%s.repository is missing", at)
	} else if u, err := url.Parse(s.Repository); err == nil && u.Scheme != "ssh" && u.User != nil {
		r.problem(r.at(at+".repository"), "give them as git.user and git.token", "%s.repository holds credentials", at)
	}
	if s.Path = path.Clean(s.Path); s.Path == "." {
		s.Path = ""
	} else if !fs.ValidPath(s.Path) {
		r.problem(r.at(at+".path"), "name a folder within the repository", "%s.path leads out of the repository", at)
	}
	if s.Interval == 0 {
		s.Interval = Duration(30 * time.Second)
	} else if s.Interval < Duration(time.Second) {
		r.problem(r.at(at+".interval"), "give a second or more", "%s.interval is too short", at)
	}
	if s.Schedule == "" {
		s.Schedule = "*/5 * * * *"
	} else if _, err := cron.ParseStandard(s.Schedule); err != nil {
		r.problem(r.at(at+".schedule"), `write the five fields of cron, such as "*/5 * * * *"`, "%s.schedule: %q is not a schedule", at, s.Schedule)
	}
	if s.StatusPrefix == "" {
		s.StatusPrefix = "cloakwork"
	}
	if _, known := r.Servers[s.Server]; s.Server != "" && !known {
		r.problem(r.at(at+".server"), didYouMean(s.Server, sortedKeys(r.Servers)), "%s.server: %q is not one of the servers", at, s.Server)
	}
	r.address(at+".forge.url", s.Forge.URL)
	for field, patterns := range map[string][]string{"servers": s.Allow.Servers, "realms": s.Allow.Realms, "deployments": s.Allow.Deployments, "variables": s.Allow.Variables} {
		for i, p := range patterns {
			if _, err := path.Match(p, ""); err != nil {
				r.problem(r.places[index(at+".allow."+field, i)].Origin, "write one such as acme-*", "%s.allow.%s: %q is not a pattern", at, field, p)
			}
		}
	}
	s.Allow.at = func(field string) Origin { return r.at(at + ".allow." + field) }
	return s
}

// twice finds sources that would get in each other's way.
func (r *controlling) twice() {
	names := sortedKeys(r.Sources)
	for i, name := range names {
		s := r.Sources[name]
		for _, other := range names[:i] {
			o := r.Sources[other]
			if s.Repository == o.Repository && s.Branch == o.Branch && s.Path == o.Path && s.Environment == o.Environment && s.Repository != "" {
				r.problem(s.Origin, "keep one", "sources.%s is what sources.%s is, at %s", name, other, o.Origin)
			}
			if d, both := s.shares(o); both {
				r.problem(r.at("sources."+name+".allow.deployments"), "give each source its own, by name, in allow.deployments; or Realm alone in allow.kinds",
					"sources.%s and sources.%s may both declare %s", name, other, d)
			}
		}
	}
}

// shares tells whether two sources may declare one deployment: its servers can't follow both.
func (s Source) shares(o Source) (string, bool) {
	if !s.Allow.kind("Deployment") || !o.Allow.kind("Deployment") {
		return "", false
	}
	literal := func(p string) bool { return !strings.ContainsAny(p, `*?[\`) }
	if len(s.Allow.Deployments) == 0 || len(o.Allow.Deployments) == 0 ||
		!slices.ContainsFunc(s.Allow.Deployments, literal) || !slices.ContainsFunc(o.Allow.Deployments, literal) {
		return "any deployment", true
	}
	for _, a := range s.Allow.Deployments {
		for _, b := range o.Allow.Deployments {
			switch {
			case literal(a) && matches([]string{b}, a):
				return "deployment " + a, true
			case literal(b) && matches([]string{a}, b):
				return "deployment " + b, true
			case !literal(a) && !literal(b):
				return "deployments " + a + " and " + b, true
			}
		}
	}
	return "", false
}

func (r *controlling) destination(at, name string, d Destination) {
	r.name(at, name)
	bucket := ""
	if d.S3 != nil {
		bucket = "one"
		if d.S3.Bucket == "" {
			r.problem(r.at(at+".s3"), "write the bucket's name", "%s.s3.bucket is missing", at)
		}
		if d.S3.AccessKey.Given() != d.S3.SecretKey.Given() {
			r.problem(r.at(at+".s3"), "write both, or neither: then the machine's own are taken", "%s.s3 has one of accessKey and secretKey", at)
		}
		r.address(at+".s3.endpoint", d.S3.Endpoint)
	}
	if !exactly(d.Folder, bucket) {
		r.problem(r.at(at), "write folder or s3", "%s is neither one folder nor one bucket", at)
	}
	for field, v := range map[string]string{"location": d.Location, "provider": d.Provider} {
		if v == "" {
			r.problem(r.at(at), "write it: rules about where data may be are held against it", "%s.%s is missing", at, field)
		}
	}
}
