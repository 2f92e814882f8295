package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

// databaseSlot is what the data plane calls the database's process. Nodes' names end with a number.
const databaseSlot = "postgres"

// managed tells whether the database is ours.
func managed(want schema.Deployment) bool { return want.DB.Host == "" && want.DB.URL == "" }

// server is the database of a region.
func (s site) server(region string) (postgres.Server, error) {
	dir := s.path("regions", region, "db")
	server := postgres.Server{Name: region, Dir: dir}
	major, err := postgres.Major(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return server, err
	}
	if server.Programs, err = postgres.Find("", major); err != nil {
		return server, err
	}
	if os.Getuid() == 0 {
		server.Account, err = postgres.AccountOf("postgres")
	}
	return server, err
}

// socket is where the database of a region answers.
func (s site) socket(region string) string {
	return postgres.Server{Dir: s.path("regions", region, "db")}.Socket()
}

// firstDatabase makes the database of the region that is to be the active one, where there is none in any region.
func (w *work) firstDatabase(ctx context.Context) error {
	if !managed(w.want) {
		return nil
	}
	primary, err := w.primary(ctx, w.want)
	if err != nil || primary != "" {
		return err
	}
	record, err := w.record()
	if err != nil {
		return err
	}
	region := cmp.Or(record.Active, w.want.Active)
	if _, err := w.front(ctx, region); err != nil {
		return err
	}
	db, err := w.server(region)
	if err != nil {
		return err
	}
	a, err := w.credentials()
	if err != nil {
		return err
	}
	if err := db.Init(ctx, a.Database); err != nil {
		return err
	}
	if _, err := db.Configure(ctx, settings(w.want)); err != nil { // before it runs: some count from its start on only
		return err
	}
	return w.give(region)
}

// database has the primary run, and the way to it from a region lead there.
func (w *work) database(ctx context.Context, plane *dataplane.Client, region string) error {
	if !managed(w.want) {
		return nil
	}
	primary, err := w.primary(ctx, w.want)
	if err == nil && primary == "" {
		err = errors.New("no region has a database")
	}
	if err != nil {
		return err
	}
	own := plane
	if primary != region {
		if own, err = w.front(ctx, primary); err != nil {
			return err
		}
	}
	db, err := w.server(primary)
	if err != nil {
		return err
	}
	seen, err := own.Look(ctx)
	if err != nil {
		return err
	}
	if seen.Told.Nodes[databaseSlot].Run {
		err = db.AwaitUp(ctx)
	} else {
		err = w.runDatabase(ctx, own, db)
	}
	if err != nil {
		return err
	}
	if err := db.Ensure(ctx); err != nil {
		return err
	}
	return w.lead(ctx, region, primary, w.step.Epoch)
}

// usualPool is how many connections a node has at most, where nothing is declared.
const usualPool = 50

// databaseOptions is how a node gets to the database.
func (w *work) databaseOptions(region string, r release, n *distribution.Node) error {
	if r.External {
		return nil // the release says it all
	}
	a, err := w.credentials()
	if err != nil {
		return err
	}
	c, _, err := w.config(region)
	if err != nil {
		return err
	}
	n.Options["db-url"] = "jdbc:postgresql://" + c.Listen.Writer + "/" + postgres.Database + "?connectTimeout=5&loginTimeout=15&socketTimeout=60&tcpKeepAlive=true&sslmode=disable"
	n.Options["db-username"] = string(postgres.Keycloak)
	n.Secrets["db-password"] = a.Database[postgres.Keycloak]
	return nil
}

// external is how nodes get to a database that isn't ours.
func external(spec *distribution.Spec, db schema.Database) {
	set := func(name, value string) {
		if value != "" {
			spec.Options[name] = value
		}
	}
	set("db-url", db.URL)
	set("db-url-host", db.Host)
	set("db-url-database", db.Database)
	set("db-schema", db.Schema)
	if db.Port > 0 {
		set("db-url-port", strconv.Itoa(db.Port))
	}
	spec.Secrets["db-username"], spec.Secrets["db-password"] = db.UsernameSecret.Value, db.PasswordSecret.Value
	spec.Hidden = append(spec.Hidden, db.PasswordSecret.Value)
}

// settings are those of the database that a deployment needs.
func settings(want schema.Deployment) postgres.Settings {
	pool := want.DB.PoolMaxSize
	if pool == 0 {
		pool = usualPool
	}
	return postgres.Settings{"max_connections": strconv.Itoa(max(500, len(want.Regions)*(want.Instances+1)*pool+20))}
}

func (d *Driver) desireDatabases(want schema.Deployment, state schema.State) {
	if !managed(want) {
		return
	}
	for _, r := range want.Regions {
		o := postgres.Object(r.Name, settings(want))
		o.Origin = want.Origin
		state[o.Address] = o
	}
}

// haveDatabase adds the settings of a region's database.
func (s site) haveDatabase(ctx context.Context, want schema.Deployment, region string, have schema.State) error {
	if _, err := os.Stat(s.path("regions", region, "db", "conf", "settings.conf")); err != nil || !managed(want) {
		return nil
	}
	db, err := s.server(region)
	if err != nil {
		return err
	}
	o, err := db.Have(ctx, settings(want))
	if err != nil {
		return err
	}
	have[o.Address] = o
	return nil
}

// applyDatabase makes the settings of a region's database as they are declared. Those of a region that is declared no more
// stay with it.
func (s site) applyDatabase(ctx context.Context, want schema.Deployment, c drift.Change) error {
	key := c.Address.Key()
	if c.Op == drift.Delete || len(key) != 2 {
		return s.remember(c)
	}
	if err := passable(s.path("regions", key[1])); err != nil {
		return err
	}
	db, err := s.server(key[1])
	if err != nil {
		return err
	}
	if _, err := db.Configure(ctx, settings(want)); err != nil {
		return err
	}
	return s.remember(c)
}

// callRoll corrects the list by which nodes find each other. What dead nodes have left there is removed: a new one would try for
// long to join them. Where none of the living stands there as the one that leads, the oldest is named. Whoever is in the list
// has come through our data planes, so that all are known.
func (w *work) callRoll(ctx context.Context) error {
	if !managed(w.want) {
		return nil
	}
	primary, err := w.primary(ctx, w.want)
	if err != nil || primary == "" {
		return err
	}
	alive, err := w.alive(ctx)
	if err != nil {
		return err
	}
	db, err := w.server(primary)
	if err != nil {
		return err
	}
	known, err := db.Pings(ctx)
	if err != nil {
		return err
	}
	dead := slices.DeleteFunc(known, func(address string) bool { return slices.Contains(alive, address) })
	if len(dead) > 0 {
		if _, err := db.RemovePings(ctx, dead); err != nil {
			return err
		}
	}
	named, err := db.Lead(ctx, alive)
	if len(named) > 0 {
		w.Log.Warn("no node stood in the list as the one that leads the cluster", "deployment", w.name, "named", named)
	}
	return err
}

// alive are the addresses by which nodes that run, or are about to, know each other, the oldest first. Of a region whose data
// plane is gone a node is alive where somebody listens for it.
func (w *work) alive(ctx context.Context) (addresses []string, err error) {
	slots, err := w.slots()
	if err != nil {
		return nil, err
	}
	since, planes := map[string]time.Time{}, map[string]seenRegion{}
	for _, l := range slots {
		p, known := planes[l.Region]
		if !known {
			p.name = l.Region
			if err := w.lookAtPlane(ctx, &p, true); err != nil {
				return nil, err
			}
			planes[l.Region] = p
		}
		at := net.JoinHostPort(address(w.want, l.Region), strconv.Itoa(l.Port+clusterPort))
		i := slices.IndexFunc(p.Nodes, func(n dataplane.NodeSeen) bool { return n.Name == l.Name })
		alive := i >= 0 && (p.Nodes[i].Alive || p.Nodes[i].Run)
		if !p.answers {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", at)
			if alive = !errors.Is(err, syscall.ECONNREFUSED); err == nil {
				conn.Close()
			}
		}
		if alive {
			addresses, since[at] = append(addresses, at), p.Told.Nodes[l.Name].Process.Since
		}
	}
	slices.SortStableFunc(addresses, func(a, b string) int { return since[a].Compare(since[b]) })
	return addresses, nil
}

// dumped is the epoch of the newest dump that is complete.
func (s site) dumped() (epoch int64, err error) {
	_, err = s.read(&epoch, "dumped.json")
	return epoch, err
}

// dump writes a dump of the database.
func (w *work) dump(ctx context.Context) error {
	if !managed(w.want) {
		w.Log.Warn("the database is somebody else's, who has to keep a dump of it", "deployment", w.name)
		return w.write(w.step.Epoch, "dumped.json")
	}
	primary, err := w.primary(ctx, w.want)
	if err != nil {
		return err
	}
	db, err := w.server(primary)
	if err != nil {
		return err
	}
	file := w.path("dumps", fmt.Sprintf("%d-%s.dump", w.step.Epoch, w.step.Revision))
	if err := os.MkdirAll(w.path("dumps"), 0o700); err != nil {
		return err
	}
	if _, err := db.Dump(ctx, file); err != nil {
		return err
	}
	return w.write(w.step.Epoch, "dumped.json")
}
