package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// remembered is what the controller last found out about a source: STATE/status/SOURCE.json. It is for people, and lost
// without harm: nothing is decided by it.
type remembered struct {
	Source      string            `json:"source"`
	Repository  string            `json:"repository"`
	Version     string            `json:"version"`           // of the program that wrote this
	Written     time.Time         `json:"written"`           // when it last looked
	Interval    string            `json:"interval"`          // between two looks
	Metrics     string            `json:"metrics,omitempty"` // where the controller served them
	Read        time.Time         `json:"read,omitzero"`     // when the repository could last be read
	Commit      string            `json:"commit,omitempty"`
	Error       string            `json:"error,omitempty"` // why it can't be read since
	Reports     []json.RawMessage `json:"reports"`         // the last on each realm and deployment, as -o json has them
	Deployments []deployed        `json:"deployments"`
}

// deployed is a deployment as it was last seen.
type deployed struct {
	Name      string               `json:"name"`
	Platform  string               `json:"platform"`
	Commit    string               `json:"commit,omitempty"` // that is in force
	Revision  string               `json:"revision"`
	At        time.Time            `json:"at"`
	Error     string               `json:"error,omitempty"` // why nobody could look since
	Record    platform.Record      `json:"record"`
	Move      *moved               `json:"move,omitempty"`
	Past      []moved              `json:"past,omitempty"` // steps of regions that have ended, oldest first
	Regions   []region             `json:"regions"`
	Nodes     []node               `json:"nodes"`
	Telemetry []platform.Telemetry `json:"telemetry,omitempty"`
	Declared  schema.Deployment    `json:"declared"` // what a driver needs to look again: nothing secret
}

// The JSON forms of what a platform shows.
type (
	node struct {
		Name     string    `json:"name"`
		Region   string    `json:"region"`
		Zone     string    `json:"zone,omitempty"`
		Revision string    `json:"revision"`
		Version  string    `json:"version"`
		Stopped  bool      `json:"stopped,omitempty"`
		Ready    bool      `json:"ready"`
		In       bool      `json:"in"`
		Draining bool      `json:"draining,omitempty"`
		View     int       `json:"view"`
		Why      string    `json:"why,omitempty"`
		Since    time.Time `json:"since,omitzero"`
	}
	region struct {
		Name        string        `json:"name"`
		View        string        `json:"view,omitempty"`
		Gated       bool          `json:"gated,omitempty"`
		Lost        time.Time     `json:"lost,omitzero"`
		Role        platform.Role `json:"role,omitempty"`
		Epoch       int64         `json:"epoch"`
		Streaming   bool          `json:"streaming,omitempty"`
		Synchronous bool          `json:"synchronous,omitempty"`
		Lag         int64         `json:"lag"`
		LSN         uint64        `json:"lsn,omitempty"`
		Why         string        `json:"why,omitempty"`
	}
	moved struct {
		Step  drift.Step         `json:"step"`
		State platform.MoveState `json:"state"`
		At    time.Time          `json:"at"`
		Why   string             `json:"why,omitempty"`
		Log   string             `json:"log,omitempty"`
	}
)

// see takes over a look at a deployment.
func (d *deployed) see(seen platform.Seen, at time.Time) {
	d.At, d.Record, d.Error = at.UTC(), seen.Record, ""
	d.Move, d.Past, d.Nodes, d.Regions = nil, nil, []node{}, []region{}
	for _, m := range seen.Past {
		d.Past = append(d.Past, moved(m))
	}
	if seen.Move.State != "" {
		move := moved(seen.Move)
		d.Move = &move
	}
	for _, n := range seen.Nodes {
		d.Nodes = append(d.Nodes, node(n))
	}
	d.Telemetry = slices.Clone(seen.Telemetry)
	for _, r := range seen.Regions {
		d.Regions = append(d.Regions, region(r))
	}
}

// declared is what a driver needs to look at a deployment, and to save its record.
func declared(d schema.Deployment) schema.Deployment {
	db := schema.Database{Replication: d.DB.Replication, WhenStandbyLost: d.DB.WhenStandbyLost, Host: d.DB.Host}
	if d.DB.URL != "" {
		db.Host = "by its URL" // in which a password may stand
	}
	return schema.Deployment{Name: d.Name, DB: db, Revision: d.Revision, Platform: d.Platform, Version: d.Version, Image: d.Image, Instances: d.Instances,
		HTTP: d.HTTP, Regions: d.Regions, Active: d.Active, Standby: d.Standby, Failover: d.Failover, Update: d.Update, Limits: d.Limits}
}

// memory writes down what the loop over a source finds out.
type memory struct {
	folder  string
	redact  func(string) string
	warn    func(error)
	reports said

	mu      sync.Mutex
	state   remembered
	written time.Time
}

func (k *keeper) memory(w *watched) *memory {
	return &memory{
		folder: statusFolder(k.platforms.state), redact: k.secrets.redact,
		warn:  func(err error) { k.log.Warn("write down what was found", "source", w.Name, "error", err) },
		state: remembered{Source: w.Name, Repository: git.Canonical(w.Repository), Version: version(), Interval: w.Interval.String(), Deployments: []deployed{}},
	}
}

// byHand is in the place of the source where apply has brought deployments to what they are. No source is called so.
const byHand = "_apply"

// keep writes down a deployment without a controller, so that status and resume know it.
func (c *cli) keep(state string, want schema.Deployment, done reconcile.Deployed) {
	m := &memory{folder: statusFolder(state), redact: c.secrets.redact, state: remembered{Source: byHand, Version: version(), Deployments: []deployed{}},
		warn: func(err error) { c.log.Warn("write down what was found", "deployment", want.Name, "error", err) }}
	all, _ := recall(state) // what can't be read is written anew
	for _, r := range all {
		if r.Source == byHand {
			m.state.Deployments = r.Deployments
		}
	}
	m.reports.add(done.Report)
	m.seen(want, done)
	m.write()
}

func statusFolder(state string) string { return filepath.Join(state, "status") }

func (m *memory) told(r drift.Report) {
	m.reports.add(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.written) > time.Second { // the end of the look isn't far
		m.write()
	}
}

func (m *memory) seen(want schema.Deployment, done reconcile.Deployed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := func(d deployed) bool { return d.Name == want.Name }
	if !slices.ContainsFunc(m.state.Deployments, named) {
		m.state.Deployments = append(m.state.Deployments, deployed{Name: want.Name, Nodes: []node{}, Regions: []region{}})
		slices.SortFunc(m.state.Deployments, func(a, b deployed) int { return strings.Compare(a.Name, b.Name) })
	}
	i := slices.IndexFunc(m.state.Deployments, named)
	d := &m.state.Deployments[i]
	d.Platform, d.Commit, d.Revision, d.Declared = want.Platform, done.Commit, want.Revision, declared(want)
	if done.Observed {
		d.see(done.Seen, done.Began)
		d.Record = done.Record
		return
	}
	d.Error = done.Says
}

func (m *memory) looked(l reconcile.Look) {
	inForce := func(r drift.Report) bool {
		commit, ok := l.InForce[schema.RealmRef{Server: r.Server + r.Deployment, Realm: r.Realm}]
		return ok && (r.Commit == commit || r.Commit == l.Head)
	}
	m.reports.keep(inForce)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Deployments = slices.DeleteFunc(m.state.Deployments, func(d deployed) bool {
		_, ok := l.InForce[schema.RealmRef{Server: d.Name}]
		return !ok
	})
	m.state.Commit, m.state.Error = l.Head, ""
	if l.Err != nil {
		m.state.Error = drift.Escape(l.Err.Error())
	} else {
		m.state.Read = l.At.UTC()
	}
	m.write()
}

// failed says that a source can't be begun with.
func (m *memory) failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Error = drift.Escape(err.Error())
	m.write()
}

// write replaces the file, which is whole at any time.
func (m *memory) write() {
	m.written = time.Now()
	m.state.Written = m.written.UTC()
	m.state.Reports = []json.RawMessage{}
	var b bytes.Buffer
	err := drift.JSON(&b, m.reports.all())
	if err == nil {
		err = json.Unmarshal(b.Bytes(), &m.state.Reports)
	}
	text, encoded := json.MarshalIndent(m.state, "", "  ")
	if err = errors.Join(err, encoded); err == nil {
		err = replaceFile(filepath.Join(m.folder, m.state.Source+".json"), []byte(m.redact(string(text))+"\n"))
	}
	if err != nil {
		m.warn(err)
	}
}

// replaceFile writes a file that only we can read, whole or not at all.
func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// recall reads what controllers last found out, by source.
func recall(state string) (all []remembered, err error) {
	names, err := filepath.Glob(filepath.Join(statusFolder(state), "*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var r remembered
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for i := range r.Deployments {
			d := &r.Deployments[i]
			d.Declared.Name, d.Declared.Revision = d.Name, d.Revision
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, advise("give --config or --state-dir as the controller has it", "no controller has kept anything in %s", state)
	}
	slices.SortFunc(all, func(a, b remembered) int { return strings.Compare(a.Source, b.Source) })
	return all, nil
}
