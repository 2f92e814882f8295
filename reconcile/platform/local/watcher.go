package local

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Each region of those that take over from each other by themselves has a watcher, which its data plane has run. What it goes
// by is an object that needs no order, watchers/milan: where that is as desired, the watcher knows what was declared last.

// watch is what a watcher is told: watch.json in the folder of its data plane. Nothing in it is secret.
type watch struct {
	Site post     `json:"site"`
	Told outlined `json:"told"`
}

// post is where a watcher stands, and by which options.
type post struct {
	Deployments string `json:"deployments"` // the folder in which they are
	Deployment  string `json:"deployment"`
	Region      string `json:"region"`
	User        string `json:"user,omitempty"`
	Cache       string `json:"cache,omitempty"`
}

// outlined is as much of a declaration as the next step of its regions is decided and made by.
type outlined struct {
	Instances int             `json:"instances"`
	HTTP      schema.HTTP     `json:"http"`
	Regions   []schema.Region `json:"regions"`
	Active    string          `json:"active"`
	Standby   string          `json:"standby"`
	Failover  schema.Failover `json:"failover"`
	DB        struct {
		Replication     string `json:"replication"`
		WhenStandbyLost string `json:"whenStandbyLost"`
		PoolMaxSize     int    `json:"poolMaxSize"`
	} `json:"db"`
	Windows []schema.Window `json:"windows"`
	Suspend *schema.Suspend `json:"suspend"`
}

func outline(want schema.Deployment) outlined {
	o := outlined{Instances: want.Instances, HTTP: want.HTTP, Regions: want.Regions, Active: want.Active, Standby: want.Standby, Failover: want.Failover,
		Windows: want.Update.Windows, Suspend: want.Suspend}
	o.DB.Replication, o.DB.WhenStandbyLost, o.DB.PoolMaxSize = want.DB.Replication, want.DB.WhenStandbyLost, want.DB.PoolMaxSize
	return o
}

func (o outlined) deployment(name string) *schema.Deployment {
	d := &schema.Deployment{Name: name, Platform: "local", Instances: o.Instances, HTTP: o.HTTP, Regions: o.Regions, Active: o.Active, Standby: o.Standby, Failover: o.Failover,
		Update: schema.Update{Windows: o.Windows}, Suspend: o.Suspend}
	d.DB.Replication, d.DB.WhenStandbyLost, d.DB.PoolMaxSize = o.DB.Replication, o.DB.WhenStandbyLost, o.DB.PoolMaxSize
	return d
}

// object is what is compared: one field for each part, as JSON.
func (o outlined) object(region string) (schema.Object, error) {
	object := schema.Object{Address: schema.Join(schema.RealmAddress, platform.Watchers, region), Fields: map[string]any{}}
	b, err := json.Marshal(o)
	if err != nil {
		return object, err
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return object, err
	}
	for name, part := range parts {
		object.Fields[name] = string(part)
	}
	return object, nil
}

// desireWatchers adds those that the deployment needs: none where no region could take over by itself.
func desireWatchers(want schema.Deployment, state schema.State) error {
	if len(want.Regions) < 2 || !managed(want) || want.Failover.Mode != "automatic" {
		return nil
	}
	for _, r := range want.Regions {
		o, err := outline(want).object(r.Name)
		if err != nil {
			return err
		}
		o.Origin = want.Origin
		state[o.Address] = o
	}
	return nil
}

// haveWatcher adds the watcher of a region, where it is told to run. While its data plane doesn't answer, it is as it was told.
func (s site) haveWatcher(r seenRegion, have schema.State) error {
	var w watch
	there, err := s.read(&w, "regions", r.name, "plane", watchFile)
	if err != nil || !there {
		return err
	}
	if !s.told(r, watcher) || w.Site != s.post(r.name) {
		return nil
	}
	o, err := w.Told.object(r.name)
	have[o.Address] = o
	return err
}

const watchFile = "watch.json"

func (s site) post(region string) post {
	return post{Deployments: s.Driver.dir, Deployment: s.name, Region: region, User: s.User, Cache: s.Cache}
}

// applyWatcher has the watcher of a region go by what is declared now, or be none.
func (s site) applyWatcher(ctx context.Context, want schema.Deployment, c drift.Change, epoch int64) error {
	region := c.Address.Name()
	if c.Op == drift.Delete {
		if err := s.dismiss(ctx, region, watcher, epoch); err != nil {
			return err
		}
		if err := s.keepFile(nil, false, "regions", region, "plane", watchFile); err != nil {
			return err
		}
		return s.remember(c)
	}
	if err := os.MkdirAll(s.path("regions", region, "plane"), 0o700); err != nil {
		return err
	}
	if err := s.write(watch{s.post(region), outline(want)}, "regions", region, "plane", watchFile); err != nil {
		return err
	}
	if err := s.engage(ctx, region, watcher, epoch); err != nil {
		return err
	}
	return s.remember(c)
}

// Watcher is the driver of a watcher, which knows what it was told.
type Watcher struct {
	*Driver
	Region string
	post   post
	file   string
}

// OpenWatcher opens the driver of the watcher whose watch.json stands in a folder.
func OpenWatcher(dir string, o Options) (*Watcher, error) {
	w := &Watcher{file: filepath.Join(dir, watchFile)}
	now, err := w.read()
	if err != nil {
		return nil, err
	}
	w.post, w.Region = now.Site, now.Site.Region
	o.User, o.Cache = w.post.User, w.post.Cache
	w.Driver, err = Open(w.post.Deployments, o)
	return w, err
}

func (w *Watcher) read() (now watch, err error) {
	b, err := os.ReadFile(w.file)
	if err == nil {
		err = json.Unmarshal(b, &now)
	}
	return now, err
}

// Declared is what the watcher was told last.
func (w *Watcher) Declared() (*schema.Deployment, error) {
	now, err := w.read()
	if err != nil {
		return nil, err
	}
	return now.Told.deployment(w.post.Deployment), nil
}

// Stale tells whether another watcher should be in this one's place, or none: its program was replaced, or it isn't told any
// longer what it began with.
func (w *Watcher) Stale() bool {
	if replaced() {
		return true
	}
	now, err := w.read()
	return err == nil && now.Site != w.post || errors.Is(err, fs.ErrNotExist)
}
