package local_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// parted gives each region a network namespace of its own, joined by one cable, which cut cuts or mends. What regions share on
// one machine are files and sockets in them; whatever they say to each other by their addresses goes through the cable.
func (w *world) parted() (cut func(bool)) {
	w.t.Helper()
	ip := func(args string) {
		w.t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			w.t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	space := func(region string) string { return filepath.Base(w.dir) + "-" + region }
	known := map[string]string{}
	for i, r := range places {
		ip("netns add " + space(r.Name))
		w.t.Cleanup(func() { ip("netns del " + space(r.Name)) })
		known[r.Name] = net.JoinHostPort(r.Address, strconv.Itoa(freePort(w.t)))
		if i == 1 {
			ip("link add cable netns " + space(places[0].Name) + " type veth peer name cable netns " + space(r.Name))
		}
	}
	for i, r := range places {
		own, other := "10.77.0."+strconv.Itoa(i+1), "10.77.0."+strconv.Itoa(2-i)
		in := "-n " + space(r.Name) + " "
		ip(in + "link set lo up")
		ip(in + "address add " + r.Address + "/32 dev lo")
		ip(in + "address add " + own + "/30 dev cable")
		ip(in + "link set cable up")
		for _, name := range []string{"all", "cable"} { // addresses of loopback lead to the other region here
			ip("netns exec " + space(r.Name) + " sysctl -qw net.ipv4.conf." + name + ".route_localnet=1 net.ipv4.conf." + name + ".rp_filter=0")
		}
		ip(in + "route add table local unicast " + places[1-i].Address + "/32 via " + other + " dev cable src " + r.Address)
	}
	w.within = func(region string, do func() error) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and the thread ends with us
			f, err := os.Open("/run/netns/" + space(region))
			if err == nil {
				defer f.Close()
				err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			}
			if err == nil {
				err = do()
			}
			done <- err
		}()
		return <-done
	}
	text, err := json.Marshal(known) // whoever chose them would have to be in both
	if err == nil {
		err = os.MkdirAll(filepath.Join(w.dir, "eu", "peers"), 0o711)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "eu", "peers", "addresses.json"), text, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return func(cut bool) {
		w.t.Helper()
		if cut {
			ip("-n " + space("paris") + " link set cable down")
			return
		}
		ip("-n " + space("paris") + " link set cable up")
		ip("-n " + space("paris") + " route replace table local unicast 127.0.2.1/32 via 10.77.0.2 dev cable src 127.0.1.1")
	}
}

func TestHAWhereTheNetworkBetweenRegionsIsCutWritesWaitAndNobodyIsPromoted(t *testing.T) {
	w := newWorld(t)
	cut := w.parted()
	w.databasesAlone()
	write := func(region string, n int, patience time.Duration) error {
		ctx, end := context.WithTimeout(t.Context(), patience)
		defer end()
		conn, err := w.connect(ctx, region)
		if err != nil {
			return err
		}
		defer conn.Close(context.Background())
		_, err = conn.Exec(ctx, "INSERT INTO written VALUES ($1)", n)
		return err
	}
	conn, err := w.connect(t.Context(), "paris")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE written (n int)"); err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	for i, region := range []string{"paris", "milan"} {
		if err := write(region, i+1, time.Minute); err != nil {
			t.Fatalf("a write from %s: %v", region, err)
		}
	}

	cut(true)
	if err := write("paris", 3, 10*time.Second); err == nil {
		t.Error("a write in paris is acknowledged, though milan hasn't got it")
	}
	if err := write("milan", 4, 20*time.Second); err == nil {
		t.Error("a write from milan arrives somewhere")
	}
	for range 20 {
		w.onlyPrimary("paris")
		if r := w.record(); r.Active != "paris" || r.Toward != "" {
			t.Fatalf("the record says %+v", r)
		}
		time.Sleep(time.Second)
	}

	cut(false)
	w.eventually("a write in paris is acknowledged again", func() bool { return write("paris", 5, 5*time.Second) == nil })
	w.recorded("milan has all", func(r platform.Record) bool { return r.Synced == "milan" && r.Apart.IsZero() })
	w.onlyPrimary("paris")
	rows := w.has("milan")
	for _, n := range []int{1, 2, 5} {
		if !slices.Contains(rows, n) {
			t.Errorf("%d was acknowledged, and there are %v", n, rows)
		}
	}
	if slices.Contains(rows, 4) {
		t.Error("what milan couldn't hand on is there")
	}
}
