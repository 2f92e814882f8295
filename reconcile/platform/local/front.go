package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/schema"
)

// front is what a region's data plane serves, and to whom. It is an object that is compared: fronts/paris.
type front struct {
	HTTP        string        `json:"http"`
	HTTPS       string        `json:"https"`
	Certificate string        `json:"certificate"` // PEM
	Key         string        `json:"key"`
	Path        string        `json:"path"` // that Keycloak serves under
	Login       []schema.Rule `json:"login"`
	Admin       []schema.Rule `json:"admin"`
	Trusted     []string      `json:"trusted"` // networks of proxies before it
	Program     string        `json:"program"` // that serves it, by the start of its digest
	Peers       []string      `json:"peers"`   // the other regions that it knows the way to
	Way         string        `json:"way"`     // to the primary: open, or closed where it leads elsewhere than there
}

// open is how the way to the primary should be, and is taken to be as long as there is no primary.
const open = "open"

// frontFacts is how fronts are compared.
var frontFacts = map[string]schema.Fact{"key": {Secret: true}, "login": {Ordered: true}, "admin": {Ordered: true}, "trusted": {Set: true}, "peers": {Set: true}}

func frontAddress(region string) schema.Address {
	return schema.Join(schema.RealmAddress, "fronts", region)
}

// address is where a region stands.
func address(want schema.Deployment, region string) string {
	if r, _ := want.Region(region); r.Address != "" {
		return r.Address
	}
	return "127.0.0.1"
}

// inside is where what only this machine may reach listens: on the region's address where that is no other machine's to
// reach, so that regions stay apart.
func inside(want schema.Deployment, region string) string {
	if a, err := netip.ParseAddr(address(want, region)); err == nil && a.IsLoopback() {
		return a.String()
	}
	return "127.0.0.1"
}

// frontOf is the front that a deployment declares for a region.
func frontOf(want schema.Deployment, region string) (front, error) {
	f := front{Login: want.Network.Login, Admin: want.Network.Admin, Path: option(want, "http-relative-path"), Way: open}
	for _, r := range want.Regions {
		if r.Name != region && managed(want) {
			f.Peers = append(f.Peers, r.Name)
		}
	}
	if t := option(want, "proxy-trusted-addresses"); t != "" {
		for _, network := range strings.Split(t, ",") {
			f.Trusted = append(f.Trusted, asNetwork(strings.TrimSpace(network)))
		}
	}
	at := func(port, usual int) string {
		if port == 0 {
			port = usual
		}
		return net.JoinHostPort(address(want, region), strconv.Itoa(port))
	}
	secure := want.TLS.Certificate != ""
	if enabled := want.HTTP.HTTPEnabled; !secure && (enabled == nil || *enabled) || secure && enabled != nil && *enabled {
		f.HTTP = at(want.HTTP.HTTPPort, 8080)
	}
	if secure {
		pem, err := fs.ReadFile(want.Files, path.Clean(want.TLS.Certificate))
		if err != nil {
			return f, fmt.Errorf("read the certificate of the front: %w", err)
		}
		f.HTTPS, f.Certificate, f.Key = at(want.HTTP.HTTPSPort, 8443), string(pem), want.TLS.Key
	}
	if f.HTTP == "" && f.HTTPS == "" {
		return f, errors.New("the front serves nothing: declare tls, or leave http.httpEnabled out")
	}
	return f, nil
}

// asNetwork is an address as the network of just that.
func asNetwork(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return s
}

// option is an additional option, "" where there is none.
func option(want schema.Deployment, name string) string {
	for _, o := range want.AdditionalOptions {
		if o.Name == name {
			return o.Value
		}
	}
	return ""
}

// Desired implements platform.Driver.
func (d *Driver) Desired(want schema.Deployment) (schema.State, schema.Facts, error) {
	program, err := d.program()
	if err != nil {
		return nil, nil, fmt.Errorf("read the program of data planes: %w", err)
	}
	state, facts := schema.State{}, schema.Facts{"fronts": frontFacts}
	for _, r := range want.Regions {
		f, err := frontOf(want, r.Name)
		if err != nil {
			return nil, nil, err
		}
		f.Program = program
		fields, err := f.fields()
		if err != nil {
			return nil, nil, err
		}
		a := frontAddress(r.Name)
		state[a] = schema.Object{Address: a, Fields: fields, Origin: want.Origin}
	}
	d.desireDatabases(want, state)
	facts[telemetryKind] = telemetryFacts
	if err := d.desireTelemetry(want, state); err != nil {
		return nil, nil, err
	}
	return state, facts, desireWatchers(want, state)
}

// digest is the start of a file's SHA-256 sum.
func digest(file string) (string, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)[:digestSize]), nil
}

const digestSize = 8 // bytes

// fields are all of them: what isn't there isn't compared, and no rule is a rule too.
func (f front) fields() (fields map[string]any, err error) {
	f.Login, f.Admin = append([]schema.Rule{}, f.Login...), append([]schema.Rule{}, f.Admin...)
	f.Trusted, f.Peers = append([]string{}, f.Trusted...), append([]string{}, f.Peers...)
	b, err := json.Marshal(f)
	if err == nil {
		err = json.Unmarshal(b, &fields)
	}
	return fields, err
}

// haveFront is the front of a region as it is; false where none serves.
func (s site) haveFront(want schema.Deployment, seen seenRegion) (front, bool, error) {
	region := seen.name
	if !seen.answers {
		return front{}, false, nil
	}
	c, ok, err := s.config(region)
	if err != nil || !ok {
		return front{}, false, err
	}
	peers, err := s.peers(want)
	if err != nil {
		return front{}, false, err
	}
	f := front{HTTP: c.Listen.HTTP, HTTPS: c.Listen.HTTPS, Path: c.Base, Program: c.Program, Login: seen.Told.Settings.Login, Admin: seen.Told.Settings.Admin, Trusted: seen.Told.Settings.Trusted}
	for name, address := range c.Peers {
		if _, declared := want.Region(name); !declared || address == peers[name] { // one who has moved isn't known
			f.Peers = append(f.Peers, name)
		}
	}
	if f.HTTPS == "" {
		return f, true, nil
	}
	for file, into := range map[string]*string{"front.crt": &f.Certificate, "front.key": &f.Key} {
		pem, err := os.ReadFile(s.path("regions", region, "plane", "tls", file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, false, err
		}
		*into = string(pem)
	}
	return f, true, nil
}

func (s site) config(region string) (c dataplane.Config, ok bool, err error) {
	ok, err = s.read(&c, "regions", region, "plane", "plane.json")
	return c, ok, err
}

// apply makes one object as it is wanted.
func (s site) apply(ctx context.Context, want schema.Deployment, c drift.Change, epoch int64) error {
	key := c.Address.Name()
	switch {
	case c.Address.Kind() == platform.Watchers:
		return s.applyWatcher(ctx, want, c, epoch)
	case c.Address.Kind() == telemetryKind:
		return s.applyTelemetry(ctx, c, epoch)
	case c.Address.Kind() != "fronts":
		return s.applyDatabase(ctx, want, c)
	case c.Op == drift.Delete:
		if err := s.plane(key).End(ctx, epoch); err != nil {
			return err
		}
		return s.remember(c)
	}
	var f front
	b, err := json.Marshal(c.Want.Fields)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err == nil {
		err = s.serve(ctx, want, key, f, epoch)
	}
	if err != nil {
		return err
	}
	return s.remember(c)
}

// serve has a region's data plane run with this front.
func (s site) serve(ctx context.Context, want schema.Deployment, region string, f front, epoch int64) error {
	plane := s.plane(region)
	if err := passable(s.path("regions", region)); err != nil {
		return err
	}
	for file, pem := range map[string]string{"front.crt": f.Certificate, "front.key": f.Key} {
		if err := s.keepFile([]byte(pem), pem != "", "regions", region, "plane", "tls", file); err != nil {
			return err
		}
	}
	before, _, err := s.config(region)
	if err != nil {
		return err
	}
	changed, err := s.configure(want, region, f, before)
	if err != nil {
		return err
	}
	if _, err := plane.Look(ctx); err != nil {
		if err := plane.Start(ctx, s.Binary); err != nil {
			return err
		}
	} else if changed {
		if err := plane.Upgrade(ctx, epoch); err != nil { // and all is as before
			return errors.Join(err, s.write(before, "regions", region, "plane", "plane.json"))
		}
	}
	if err := plane.Settle(ctx, epoch, dataplane.Settings{Login: f.Login, Admin: f.Admin, Trusted: f.Trusted}); err != nil {
		return err
	}
	looked, err := s.databases(ctx, want)
	if err != nil {
		return err
	}
	if leader := primaryOf(looked); leader != nil {
		return s.lead(ctx, region, leader.name, epoch)
	}
	return nil // whoever promotes one leads there
}

// configure writes plane.json, and tells whether it is another one than before.
func (s site) configure(want schema.Deployment, region string, f front, old dataplane.Config) (changed bool, err error) {
	c := dataplane.Config{Region: region, Binary: s.Binary, Program: f.Program, Base: f.Path, Listen: dataplane.Listen{HTTP: f.HTTP, HTTPS: f.HTTPS, Inside: old.Listen.Inside}}
	host := inside(want, region)
	choose := func(address *string) error {
		if *address != "" {
			return nil
		}
		port, err := s.freePorts(host, 1)
		*address = net.JoinHostPort(host, strconv.Itoa(port))
		return err
	}
	if err := choose(&c.Listen.Inside); err != nil {
		return false, err
	}
	if managed(want) {
		c.DB, c.Listen.Writer = s.socket(region), old.Listen.Writer
		if err := choose(&c.Listen.Writer); err != nil {
			return false, err
		}
	}
	peers, err := s.peers(want)
	if err != nil {
		return false, err
	}
	for name, address := range peers {
		if name == region {
			c.Listen.Peers = address
			continue
		}
		if c.Peers == nil {
			c.Peers = map[string]string{}
		}
		c.Peers[name] = address
	}
	if c.Listen.Peers != "" {
		if err := s.certify(region); err != nil {
			return false, err
		}
	}
	if reflect.DeepEqual(c, old) {
		return false, nil
	}
	if err := os.MkdirAll(s.path("regions", region, "plane"), 0o700); err != nil {
		return false, err
	}
	return true, s.write(c, "regions", region, "plane", "plane.json")
}

// standing has the front of a region serve, as it was applied last, or else as it is declared: what a step needs may be
// gone meanwhile.
func (s site) standing(ctx context.Context, want schema.Deployment, region string, epoch int64) (*dataplane.Client, error) {
	plane := s.plane(region)
	if _, err := plane.Look(ctx); err == nil {
		return plane, nil
	}
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	f, err := frontOf(want, region)
	if err != nil {
		return nil, err
	}
	if o, ok := base[frontAddress(region)]; ok {
		f = front{}
		b, err := json.Marshal(o.Fields)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return nil, err
		}
	}
	return plane, s.serve(ctx, want, region, f, epoch)
}

// base is what was last applied of what needs no order.
func (s site) base() (schema.State, error) {
	var kept map[schema.Address]map[string]any
	ok, err := s.read(&kept, "applied.json")
	if err != nil || !ok {
		return nil, err
	}
	state := schema.State{}
	for a, fields := range kept {
		state[a] = schema.Object{Address: a, Fields: fields}
	}
	return state, nil
}

// remember keeps that a change was made.
func (s site) remember(c drift.Change) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	kept := map[schema.Address]map[string]any{}
	if _, err := s.read(&kept, "applied.json"); err != nil {
		return err
	}
	if delete(kept, c.Address); c.Op != drift.Delete {
		kept[c.Address] = c.Want.Fields
	}
	return s.write(kept, "applied.json")
}

// keepFile writes a file, or sees to it that there is none.
func (s site) keepFile(content []byte, there bool, parts ...string) error {
	name := s.path(parts...)
	if !there {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if old, err := os.ReadFile(name); err == nil && string(old) == string(content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return dataplane.Write(name, content)
}
