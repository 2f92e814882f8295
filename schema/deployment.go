package schema

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Deployment is what the manifests of one commit declare for one deployment: the servers of some realms. Its fields keep
// the names of the official operator's Keycloak resource (v2beta1) wherever that has one. What has a default holds it.
type Deployment struct {
	Name   string            `json:"-"`
	Origin Origin            `json:"-"` // of metadata.name
	Files  fs.FS             `json:"-"` // the configuration, in which paths in the manifest are found
	Sums   map[string]string `json:"-"` // SHA-256 of each file that the manifest names, by path

	Written Object `json:"-"` // spec, as the manifests write it; only where Options.AsWritten asks for it

	// Revision names what the nodes run: it is another one where a node must start anew to be as declared.
	Revision string `json:"-"`

	Platform  string `json:"platform"`
	Version   string `json:"version"` // 26.7.3; "" where only an image is named
	Image     string `json:"image"`
	Instances int    `json:"instances"` // nodes in each region

	Hostname Hostname `json:"hostname"`
	HTTP     HTTP     `json:"http"`
	TLS      TLS      `json:"tls"`
	Proxy    Proxy    `json:"proxy"`

	Regions   []Region    `json:"regions"` // never none: where none is declared there is one, called as the deployment
	Active    string      `json:"active"`  // one of them
	Standby   string      `json:"standby"` // warm or cold
	Failover  Failover    `json:"failover"`
	DB        Database    `json:"db"`
	Backups   []Backup    `json:"backups"`
	Telemetry []Telemetry `json:"telemetry"`
	Network   Network     `json:"network"`
	Update    Update      `json:"update"`
	Limits    NodeLimits  `json:"limits"`

	Env               []Variable            `json:"env"`
	AdditionalOptions []Variable            `json:"additionalOptions"`
	Features          Features              `json:"features"`
	Extensions        []Extension           `json:"extensions"`
	Cache             Cache                 `json:"cache"`
	Truststores       map[string]Truststore `json:"truststores"`
	Resources         Resources             `json:"resources"`
	Scheduling        map[string]any        `json:"scheduling"`

	Residency []string `json:"residency"` // patterns for the location of regions, backups and collectors; none: anywhere
	Drift     string   `json:"drift"`     // correct or report
	Schedule  string   `json:"schedule"`  // cron, when to look for drift besides new commits
	Suspend   *Suspend `json:"-"`
}

// The parts of a Deployment.
type (
	Hostname struct {
		Hostname           string `json:"hostname"`
		Admin              string `json:"admin"`
		Strict             *bool  `json:"strict"`
		BackchannelDynamic bool   `json:"backchannelDynamic"`
	}
	HTTP struct {
		HTTPEnabled *bool  `json:"httpEnabled"`
		HTTPPort    int    `json:"httpPort"`
		HTTPSPort   int    `json:"httpsPort"`
		TLSSecret   string `json:"tlsSecret"`
	}
	// TLS is the certificate of the front. It may be renewed without a restart.
	TLS struct {
		Certificate string `json:"certificate"` // a path
		Key         string `json:"key"`         // the key itself: secret
	}
	Proxy struct {
		Headers string `json:"headers"` // xforwarded or forwarded
	}
	// Region is a place that can serve alone.
	Region struct {
		Name     string   `json:"name"`
		Zones    []string `json:"zones"`
		Location string   `json:"location"`
		Provider string   `json:"provider"` // whoever could lose all that is there at once
		Address  string   `json:"address"`  // on platform local
	}
	Failover struct {
		Mode  string   `json:"mode"`  // automatic or manual
		After Duration `json:"after"` // how long the active region must be lost
	}
	// Database is one that the platform manages, or where Host or URL names one, somebody else's.
	Database struct {
		Vendor          string `json:"vendor"`
		Replication     string `json:"replication"`     // synchronous or asynchronous
		WhenStandbyLost string `json:"whenStandbyLost"` // wait or degrade
		URL             string `json:"url"`
		Host            string `json:"host"`
		Port            int    `json:"port"`
		Database        string `json:"database"`
		Schema          string `json:"schema"`
		UsernameSecret  Secret `json:"usernameSecret"`
		PasswordSecret  Secret `json:"passwordSecret"`
		PoolInitialSize int    `json:"poolInitialSize"`
		PoolMinSize     int    `json:"poolMinSize"`
		PoolMaxSize     int    `json:"poolMaxSize"`
	}
	// Secret is a value, or names one that the platform keeps.
	Secret struct{ Value, Name, Key string }
	// Backup is a copy of the database that is taken again and again.
	Backup struct {
		To       string   `json:"to"`    // a destination of the controller's configuration
		Class    string   `json:"class"` // those of one class and destination are kept together
		Schedule string   `json:"schedule"`
		Keep     Duration `json:"keep"`    // zero: for ever
		Encrypt  string   `json:"encrypt"` // age's recipients, parted by commas, or NotEncrypted
		Origin   Origin   `json:"-"`       // of To
		shown    string   // To, or that it came from $(…)
	}
	// Telemetry is what nodes log and count, sent to a collector.
	Telemetry struct {
		To      string   `json:"to"` // a collector of the controller's configuration
		Logs    bool     `json:"logs"`
		Metrics Duration `json:"metrics"` // between two looks; zero: none are sent
		Origin  Origin   `json:"-"`       // of To
		shown   string   // To, or that it came from $(…)
	}
	// Network says who may reach what: ordered rules, of which the first that matches holds.
	Network struct {
		Login []Rule `json:"login"`
		Admin []Rule `json:"admin"`
	}
	Rule struct {
		Allow string `json:"allow"`
		Deny  string `json:"deny"`
	}
	Update struct {
		Strategy  string   `json:"strategy"`  // Auto, RecreateOnImageChange or Explicit
		Revision  string   `json:"revision"`  // Explicit: another one asks for a recreate
		OnFailure string   `json:"onFailure"` // hold or rollback
		Windows   []Window `json:"windows"`   // none: at any time
	}
	// Window is when nodes may be taken down: for a while from each time of the schedule on.
	Window struct {
		Schedule string   `json:"schedule"`
		Duration Duration `json:"duration"`
	}
	NodeLimits struct {
		NodesDown int `json:"nodes-down"` // in each region at a time
	}
	Variable struct {
		Name   string `json:"name"`
		Value  string `json:"value"`
		Secret Secret `json:"secret"`
		Input  bool   `json:"-"` // the value came from $(…): it is never shown
	}
	Features struct {
		Enabled  []string `json:"enabled"`
		Disabled []string `json:"disabled"`
	}
	Extension struct {
		Name   string `json:"name"`
		Path   string `json:"path"`
		SHA256 string `json:"sha256"`
	}
	Cache struct {
		ConfigFile string `json:"configFile"`
	}
	Truststore struct {
		File string `json:"file"`
	}
	Resources struct {
		Requests map[string]string `json:"requests"`
		Limits   map[string]string `json:"limits"`
	}
)

// NotEncrypted is what Backup.Encrypt says where anybody who gets at a backup may read it.
const NotEncrypted = "none"

// Region is the region of a name, and whether the deployment has it.
func (d Deployment) Region(name string) (Region, bool) {
	for _, r := range d.Regions {
		if r.Name == name {
			return r, true
		}
	}
	return Region{}, false
}

// Managed tells whether the database is the platform's.
func (d Database) Managed() bool { return d.Host == "" && d.URL == "" }

// Slots are the names of the nodes in a region: paris-0, paris-1.
func (d Deployment) Slots(region string) []string {
	slots := make([]string, d.Instances)
	for i := range slots {
		slots[i] = region + "-" + strconv.Itoa(i)
	}
	return slots
}

// UnmarshalJSON reads a value, or {name, key}.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &s.Value) == nil {
		return nil
	}
	var named struct{ Name, Key string }
	err := json.Unmarshal(b, &named)
	s.Name, s.Key = named.Name, named.Key
	return err
}

// Duration is a span of time; in manifests it also knows days.
type Duration time.Duration

// UnmarshalJSON reads 90s, 1h30m or 30d.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		days, rest = "0", s
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil {
		return fmt.Errorf("%q is not a duration", s)
	}
	var t time.Duration
	if rest != "" {
		if t, err = time.ParseDuration(rest); err != nil {
			return err
		}
	}
	*d = Duration(t + time.Duration(n*float64(24*time.Hour)))
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

func (d Duration) String() string { return time.Duration(d).String() }
