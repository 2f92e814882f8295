package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
)

// healthPath is where a node says whether it is ready, on its management port.
const healthPath = "/health/ready"

// home is the folder that a node runs from.
func (s site) home(l slot) string { return s.path("regions", l.Region, "nodes", l.Name) }

func (s site) nodeLog(l slot) string { return s.path("regions", l.Region, "log", l.Name+".log") }

// launch has a node's process started, with a home that is made anew.
func (w *work) launch(ctx context.Context, plane *dataplane.Client, l *slot) error {
	if err := w.database(ctx, plane, l.Region); err != nil {
		return err
	}
	if err := w.ports(l); err != nil {
		return err
	}
	if err := w.callRoll(ctx); err != nil {
		return err
	}
	if _, err := w.credentials(); err != nil {
		return err
	}
	if err := w.configureNode(*l); err != nil {
		return err
	}
	if err := plane.Run(ctx, w.step.Epoch, l.Name, l.Revision); err != nil {
		return err
	}
	return w.forgetCommands(*l)
}

// forgetCommands removes how the node was run in other revisions.
func (w *work) forgetCommands(l slot) error {
	commands, err := filepath.Glob(w.path("regions", l.Region, "plane", "nodes", l.Name, "*.json"))
	if err != nil {
		return err
	}
	for _, c := range commands {
		if filepath.Base(c) == l.Revision+".json" {
			continue
		}
		if err := os.Remove(c); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ports sees to it that the node's ports are free, or are others.
func (w *work) ports(l *slot) error {
	host, cluster := inside(w.want, l.Region), address(w.want, l.Region)
	if l.Port > 0 && l.Host == host && listenable(host, l.Port, nodePorts) == nil && listenable(cluster, l.Port, nodePorts) == nil {
		return nil
	}
	for range 100 {
		port, err := w.freePorts(host, nodePorts)
		if err != nil {
			return err
		}
		if listenable(cluster, port, nodePorts) == nil {
			l.Host, l.Port = host, port
			return w.keep(*l)
		}
	}
	return fmt.Errorf("find free ports on %s: there are none", cluster)
}

// configureNode writes what a node starts with.
func (w *work) configureNode(l slot) error {
	r, err := w.release(l.Revision)
	if err != nil {
		return err
	}
	build, err := w.store().Build(w.life, r.Spec)
	if err != nil {
		return err
	}
	node, err := w.node(l, r)
	if err != nil {
		return err
	}
	if err := passable(w.path("regions", l.Region, "nodes")); err != nil {
		return err
	}
	if err := build.Home(w.home(l), r.Spec, node, w.uid, w.gid); err != nil {
		return err
	}
	argv, env := build.Command(w.home(l), r.Spec, node)
	at := func(port int) string { return net.JoinHostPort(l.Host, strconv.Itoa(l.Port+port)) }
	return w.write(dataplane.Command{
		Argv: argv, Env: env, Dir: w.home(l), UID: w.uid, GID: w.gid, Log: w.nodeLog(l),
		Address: at(0), Health: "http://" + at(managementPort) + r.Base + healthPath,
	}, "regions", l.Region, "plane", "nodes", l.Name, l.Revision+".json")
}

// node is what a node has for itself.
func (w *work) node(l slot, r release) (n distribution.Node, err error) {
	cluster := address(w.want, l.Region)
	port := func(n int) string { return strconv.Itoa(l.Port + n) }
	n.Options = map[string]string{
		"http-enabled": "true", "http-host": l.Host, "http-port": port(0), "http-management-host": l.Host, "http-management-port": port(managementPort),
		"cache-embedded-network-bind-address": cluster,
	}
	if newer(r.Version, 26, 7) {
		n.Options["cache-embedded-network-bind-port"] = port(clusterPort)
	} else {
		delete(n.Options, "http-management-host") // it takes http-host's
	}
	n.Java = []string{
		"-Djgroups.bind.address=" + cluster, "-Djgroups.bind.port=" + port(clusterPort), "-Djgroups.port_range=0",
		"-Djgroups.fd.port-offset=" + strconv.Itoa(alivePort-clusterPort), "-Djava.net.preferIPv4Stack=" + strconv.FormatBool(!strings.Contains(cluster, ":")),
	}
	n.Secrets = map[string]string{}
	var a account
	if _, err := w.read(&a, "account.json"); err != nil {
		return n, err
	}
	if a.Bootstrap != "" {
		n.Secrets["bootstrap-admin-client-id"], n.Secrets["bootstrap-admin-client-secret"] = bootstrapClient, a.Bootstrap
	}
	return n, w.databaseOptions(l.Region, r, &n)
}

// newer tells whether a version is of some minor version or a newer one.
func newer(version string, major, minor int) bool {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return true
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

// secrets hides all that must not be said.
func (w *work) secrets() *strings.Replacer {
	var values []string
	add := func(s string) {
		if len(s) > 3 {
			values = append(values, s, "…")
		}
	}
	var a account
	if _, err := w.read(&a, "account.json"); err == nil {
		for _, s := range append(slices.Collect(maps.Values(a.Database)), a.Secret, a.Bootstrap, a.Probe) {
			add(s)
		}
	}
	add(w.want.DB.PasswordSecret.Value)
	add(w.want.TLS.Key)
	for _, revision := range []string{w.step.Revision, w.want.Revision} {
		if r, err := w.release(revision); err == nil {
			for _, s := range r.Spec.Hidden {
				add(s)
			}
			for _, s := range r.Spec.Secrets {
				add(s)
			}
		}
	}
	return strings.NewReplacer(values...)
}

// lastLines are those that tell why a step failed.
func (w *work) lastLines(err error) string {
	if refused := new(distribution.Refused); errors.As(err, &refused) {
		return refused.Log
	}
	failed := new(unready)
	if w.step.Verb == drift.Drain || w.step.Node == "" && !errors.As(err, &failed) {
		return ""
	}
	l, ok, err := w.slot(w.step.Node)
	if err != nil || !ok {
		return ""
	}
	return tail(w.nodeLog(l), 30)
}

// unsaid are lines of a node's log that tell nothing: it writes one whenever it is asked whether it is ready and isn't.
const unsaid = "SRHCK01001"

// tail is the end of a node's log; "" where it can't be read.
func tail(path string, lines int) string {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 512 << 10 // what a node says in minutes of not being ready
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	all = slices.DeleteFunc(all, func(line []byte) bool { // nor do frames: the reason would be out of sight behind them
		return bytes.Contains(line, []byte(unsaid)) || bytes.HasPrefix(line, []byte("\t"))
	})
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
