package dataplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/cloakwork/cloakwork/schema"
)

// Config is what the driver writes into plane.json before it starts the data plane. It is read once by each process; where
// it changes, Upgrade has a new one take over.
type Config struct {
	Region string `json:"region"`
	// Binary is the program that takes over on Upgrade; "" is the one that runs.
	Binary string `json:"binary,omitempty"`
	// Program is the digest of Binary, for the driver: another one at the same path takes over too.
	Program string            `json:"program,omitempty"`
	Listen  Listen            `json:"listen"`
	Base    string            `json:"base,omitempty"`     // the path that Keycloak serves under, /auth
	DB      string            `json:"database,omitempty"` // the unix socket of the region's PostgreSQL
	Peers   map[string]string `json:"peers,omitempty"`    // the other regions' Listen.Peers, by name
}

// Listen is where the data plane listens; an empty address is none.
type Listen struct {
	HTTP    string `json:"http,omitempty"`
	HTTPS   string `json:"https,omitempty"`   // with tls/front.crt and tls/front.key
	Writer  string `json:"writer,omitempty"`  // the way to the primary, for what stands in this region
	Peers   string `json:"peers,omitempty"`   // the same for the other regions: mutual TLS by tls/peer.crt, peer.key and peer-ca.crt
	Inside  string `json:"inside,omitempty"`  // as HTTP, for whoever manages the realms: no rule keeps him out. On this machine alone
	Metrics string `json:"metrics,omitempty"` // GET /metrics, for anybody who gets there
}

// Command is how one node, or the database, is run. The driver writes it into nodes/NAME/REVISION.json.
type Command struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"` // NAME=value; nothing is taken over from the data plane
	Dir  string   `json:"dir,omitempty"`
	UID  *uint32  `json:"uid,omitempty"`
	GID  *uint32  `json:"gid,omitempty"`
	Log  string   `json:"log,omitempty"` // what it prints goes there; the file is cut at 64 MB, and five older ones are kept

	Address string `json:"address,omitempty"` // where it serves; "" is nothing that the balancer knows of
	Health  string `json:"health,omitempty"`  // the URL that answers 200 when it is ready
	CA      string `json:"ca,omitempty"`      // a file; where given, the node is spoken to by TLS
	Host    string `json:"host,omitempty"`    // the name in the node's certificate; default its address

	Interrupt bool `json:"interrupt,omitempty"` // it is asked to stop by SIGINT, as PostgreSQL likes it, rather than SIGTERM
}

// Settings are the balancer's. The zero value has no rules and the default limits.
type Settings struct {
	Login   []schema.Rule `json:"login,omitempty"`
	Admin   []schema.Rule `json:"admin,omitempty"`
	Trusted []string      `json:"trusted,omitempty"` // networks of proxies whose X-Forwarded headers count

	Queue     int      `json:"queue,omitempty"`     // requests that wait at most; default 1000
	QueueTime Duration `json:"queueTime,omitempty"` // how long each waits at most; default 30s
	Drain     Duration `json:"drain,omitempty"`     // how long requests have to end; default 1m
}

// Told is all that the data plane has been told, and outlives it in state.json.
type Told struct {
	Epoch    int64           `json:"epoch"` // the greatest that came with a command
	Settings Settings        `json:"settings"`
	Gated    bool            `json:"gated,omitempty"`
	Nodes    map[string]Slot `json:"nodes,omitempty"`
	Writer   Route           `json:"writer"`
}

// Slot is what was told of a node, and the process that runs for it.
type Slot struct {
	Revision string   `json:"revision"`
	Run      bool     `json:"run"`                // it runs, and is started again when it dies
	In       bool     `json:"in"`                 // it gets requests when it is ready
	Patience Duration `json:"patience,omitempty"` // how long it may take to stop; 0 is for ever
	Process  Process  `json:"process"`
}

// Route is where the writer endpoint leads.
type Route struct {
	Mode    Mode   `json:"mode,omitempty"`
	Primary string `json:"primary,omitempty"` // a region
	Epoch   int64  `json:"epoch,omitempty"`   // of the command that said so
}

// Mode is what the writer endpoint does with a new connection.
type Mode string

// The modes.
const (
	Held   Mode = ""       // it waits until there is a primary, up to a bound
	Routed Mode = "routed" // it is led to the primary
	Fenced Mode = "fenced" // it is refused
)

var (
	slotName     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?$`)
	revisionName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._]{0,99}$`)
)

// folder is where a data plane keeps all it has.
type folder string

func (f folder) path(parts ...string) string {
	return filepath.Join(append([]string{string(f)}, parts...)...)
}

func (f folder) config() (c Config, err error) {
	return c, f.read(&c, "plane.json")
}

// command reads how a node of a revision is run. Both are names, so that no path can be made of them.
func (f folder) command(node, revision string) (c Command, err error) {
	if !slotName.MatchString(node) || !revisionName.MatchString(revision) {
		return c, invalid{fmt.Errorf("%q of revision %q is no node's name", node, revision)}
	}
	if err := f.read(&c, "nodes", node, revision+".json"); errors.Is(err, fs.ErrNotExist) {
		return c, invalid{fmt.Errorf("nobody has written how node %s of revision %s is run", node, revision)}
	} else if err != nil {
		return c, err
	}
	if len(c.Argv) == 0 {
		return c, invalid{fmt.Errorf("node %s of revision %s has no command", node, revision)}
	}
	return c, nil
}

func (f folder) told() (t Told, err error) {
	if err = f.read(&t, "state.json"); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if t.Nodes == nil {
		t.Nodes = map[string]Slot{}
	}
	return t, err
}

func (f folder) read(v any, parts ...string) error {
	b, err := os.ReadFile(f.path(parts...))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", f.path(parts...), err)
	}
	return nil
}

// keep writes what was told, so that it is there after the next crash, of the machine too.
func (f folder) keep(t Told) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return Write(f.path("state.json"), append(b, '\n'))
}

// Write replaces a file as a whole, with mode 0600; it is either the old one or the new one, whatever crashes.
func Write(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// invalid is a command that could never be carried out.
type invalid struct{ error }
