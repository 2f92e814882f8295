package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/distribution"
	"github.com/cloakwork/cloakwork/schema"
)

// region is a data plane in a process of its own, in a folder of its own.
type region struct {
	*Client
	t      *testing.T
	config Config
	ctx    context.Context
}

func newRegion(t *testing.T, config Config) *region {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-way-down/", 8), "plane") // sockets must not mind
	if err := os.MkdirAll(filepath.Join(dir, "nodes"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	r := &region{NewClient(dir), t, config, ctx}
	if r.config.Region == "" {
		r.config.Region = "paris"
	}
	if r.config.Listen.HTTP == "" {
		r.config.Listen.HTTP = freeAddress(t)
	}
	r.write("plane.json", r.config)
	return r
}

// start has it run, until the test ends.
func (r *region) start() *region {
	r.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Start(r.ctx, binary); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		seen, err := r.Look(ctx)
		for _, n := range seen.Nodes {
			if err := r.Stop(ctx, seen.Told.Epoch, n.Name, 5*time.Second); err != nil {
				r.t.Error(err)
			}
		}
		if err != nil {
			r.t.Error(err)
		}
		keeper := r.keeper()
		if err := r.End(ctx, seen.Told.Epoch); err != nil {
			r.t.Errorf("end: %v", err)
		}
		eventually(r.t, "the data plane and its keeper are gone", func() bool { return gone(keeper) && gone(seen.PID) })
		if r.t.Failed() {
			for _, log := range []string{"keeper.log", "dataplane.log"} {
				text, _ := os.ReadFile(filepath.Join(r.Dir, "log", log))
				r.t.Logf("%s:\n%s", log, text)
			}
		}
	})
	return r
}

func gone(pid int) bool {
	_, err := processOf(pid)
	return err != nil
}

// freeAddress is one that other tests' servers don't get by chance before the process that it is for has come to listen there.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := distribution.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

func (r *region) write(name string, v any) {
	r.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := Write(path, b); err != nil {
		r.t.Fatal(err)
	}
}

// node writes how a node is run.
func (r *region) node(name, revision string) {
	r.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	address := freeAddress(r.t)
	r.write("nodes/"+name+"/"+revision+".json", Command{
		Argv: []string{binary, "node", "--address", address}, Env: []string{"NODE=" + name}, Dir: r.Dir, Log: filepath.Join(r.Dir, "nodes", name, "out.log"),
		Address: address, Health: "http://" + address + "/health/ready",
	})
}

// up has nodes serve.
func (r *region) up(epoch int64, names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.node(name, "r1")
		r.must(r.Run(r.ctx, epoch, name, "r1"))
		r.must(r.Admit(r.ctx, epoch, name))
	}
	eventually(r.t, "all nodes are ready", func() bool {
		for _, n := range r.look().Nodes {
			if !n.Ready {
				return false
			}
		}
		return true
	})
}

func (r *region) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *region) look() Seen {
	r.t.Helper()
	seen, err := r.Look(r.ctx)
	r.must(err)
	return seen
}

func (r *region) pids() map[string]int {
	pids := map[string]int{}
	for _, n := range r.look().Nodes {
		pids[n.Name] = n.PID
	}
	return pids
}

// keeper is who started the data plane; where that one died, the data plane's log says who came instead.
func (r *region) keeper() int {
	r.t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if args := strings.Split(string(text), "\x00"); len(args) > 4 && args[1] == verb && args[2] == "--supervise" && args[4] == r.Dir {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if !gone(pid) {
				return pid
			}
		}
	}
	return 0
}

func (r *region) url(path string) string { return "http://" + r.config.Listen.HTTP + path }

// load asks the front all the time, as browsers and applications do, and counts what went wrong.
type load struct {
	ok, failed, refused atomic.Int64
	first               atomic.Pointer[string]
	stop                chan bool
	all                 sync.WaitGroup
}

func (r *region) load(users int, fresh bool) *load {
	l := &load{stop: make(chan bool)}
	for i := range users {
		l.all.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: fresh}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				said := fmt.Sprint(i, n)
				answer, err := client.Post(r.url("/realms/echo"), "text/plain", strings.NewReader(said))
				var got []byte
				if err == nil {
					got, err = io.ReadAll(answer.Body)
					answer.Body.Close()
				}
				switch {
				case err == nil && answer.StatusCode == 200 && string(got) == said:
					l.ok.Add(1)
				case errors.Is(err, syscall.ECONNREFUSED):
					l.refused.Add(1)
				default:
					why := fmt.Sprint(err)
					if err == nil {
						why = fmt.Sprint(answer.Status, string(got))
					}
					l.first.CompareAndSwap(nil, &why)
					l.failed.Add(1)
				}
			}
		})
	}
	return l
}

func (l *load) end(t *testing.T) {
	close(l.stop)
	l.all.Wait()
	t.Logf("%d answered, %d failed, %d refused", l.ok.Load(), l.failed.Load(), l.refused.Load())
}

func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.ok.Load() + n
	eventually(t, "requests are answered", func() bool { return l.ok.Load() >= want })
}

func (l *load) none(t *testing.T) {
	t.Helper()
	if l.failed.Load() > 0 || l.refused.Load() > 0 {
		t.Errorf("%d failed, %d refused, want none; the first: %s", l.failed.Load(), l.refused.Load(), *or(l.first.Load(), new(string)))
	}
}

func TestANodeThatDiesIsBackAndNobodyElseIsTouched(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.up(1, "paris-0", "paris-1")
	before := r.pids()
	r.must(syscall.Kill(before["paris-0"], syscall.SIGKILL))
	eventually(t, "it is back", func() bool {
		n := r.look().Nodes[0]
		return n.Ready && n.PID != before["paris-0"] && n.Restarts == 1
	})
	after := r.pids()
	if after["paris-1"] != before["paris-1"] {
		t.Error("the other node was touched")
	}
	if text, _ := os.ReadFile(filepath.Join(r.Dir, "nodes", "paris-0", "out.log")); strings.Count(string(text), "node starts") != 2 {
		t.Errorf("its log: %s", text)
	}
	if n := r.look().Nodes[0]; !n.In {
		t.Error("it gets no requests any more")
	}
}

func TestADeadDataPlaneIsBackWithItsNodesUntouchedAndNoPortClosed(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.must(r.Settle(r.ctx, 3, Settings{Queue: 77}))
	r.up(4, "paris-0", "paris-1")
	before, plane := r.pids(), r.look().PID
	l := r.load(4, true)
	l.more(t, 20)
	for range 3 {
		died := time.Now()
		r.must(syscall.Kill(plane, syscall.SIGKILL))
		eventually(t, "another one serves", func() bool {
			ctx, cancel := context.WithTimeout(r.ctx, time.Second)
			defer cancel()
			seen, err := r.Look(ctx)
			return err == nil && seen.PID != plane
		})
		t.Logf("back after %s", time.Since(died).Round(time.Millisecond))
		plane = r.look().PID
		l.more(t, 20)
	}
	l.end(t)
	if l.refused.Load() > 0 {
		t.Errorf("%d connections refused, want 0", l.refused.Load())
	}
	if l.failed.Load() > 12 {
		t.Errorf("%d requests failed; in flight were 4 at a time, 3 times", l.failed.Load())
	}
	if after := r.pids(); after["paris-0"] != before["paris-0"] || after["paris-1"] != before["paris-1"] {
		t.Errorf("nodes were %v, are %v", before, after)
	}
	told := r.look().Told
	if told.Epoch != 4 || told.Settings.Queue != 77 {
		t.Errorf("it forgot what it was told: %+v", told)
	}
	r.must(syscall.Kill(before["paris-0"], syscall.SIGKILL)) // and it watches over those that it didn't start
	eventually(t, "the node is back", func() bool { n := r.look().Nodes[0]; return n.Ready && n.PID != before["paris-0"] })
}

func TestAnUpgradeCostsNoRequest(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, fresh := range []bool{true, false} {
		t.Run(fmt.Sprintf("fresh connections %v", fresh), func(t *testing.T) {
			r := newRegion(t, Config{}).start()
			r.up(1, "paris-0", "paris-1")
			nodes, keeper := r.pids(), r.keeper()
			other := filepath.Join(r.Dir, "newer")
			r.must(os.Link(binary, other))
			r.config.Binary = other
			r.write("plane.json", r.config)
			l := r.load(4, fresh)
			l.more(t, 50)
			slow := make(chan string)
			go func() { _, body := get(t, r.url("/realms/slow?for=2s")); slow <- body }()
			eventually(t, "the slow one is in flight", func() bool {
				s := r.look()
				return s.Nodes[0].InFlight+s.Nodes[1].InFlight > 0
			})
			for range 3 {
				before := r.look().PID
				r.must(r.Upgrade(r.ctx, 2))
				if after := r.look().PID; after == before {
					t.Fatal("the same process serves")
				}
				l.more(t, 50)
			}
			l.end(t)
			l.none(t)
			if body := <-slow; body != strconv.Itoa(nodes["paris-0"]) && body != strconv.Itoa(nodes["paris-1"]) {
				t.Errorf("the request that was in flight got %q", body)
			}
			if got := r.pids(); got["paris-0"] != nodes["paris-0"] || got["paris-1"] != nodes["paris-1"] {
				t.Errorf("nodes were %v, are %v", nodes, got)
			}
			if got := r.keeper(); got != keeper {
				t.Errorf("the keeper was process %d, is %d", keeper, got)
			}
			for _, pid := range []int{keeper, r.look().PID} {
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe != other {
					t.Errorf("process %d runs %s, %v, want %s", pid, exe, err, other)
				}
			}
		})
	}
}

func TestAnUpgradeToWhatDoesNotRunChangesNothing(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.up(1, "paris-0")
	l := r.load(2, false)
	l.more(t, 20)
	before := r.look().PID
	for name, text := range map[string]string{"broken": "#!/bin/sh\nexit 3\n", "missing": ""} {
		r.config.Binary = filepath.Join(r.Dir, name)
		if text != "" {
			r.must(os.WriteFile(r.config.Binary, []byte(text), 0o700))
		}
		r.write("plane.json", r.config)
		if err := r.Upgrade(r.ctx, 2); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.more(t, 20)
	l.end(t)
	l.none(t)
	if after := r.look().PID; after != before {
		t.Error("another process serves")
	}
}

func TestADeadKeeperIsReplacedByItsDataPlane(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.up(1, "paris-0")
	nodes, keeper, plane := r.pids(), r.keeper(), r.look().PID
	l := r.load(3, true)
	l.more(t, 20)
	r.must(syscall.Kill(keeper, syscall.SIGKILL))
	eventually(t, "there is another keeper", func() bool { k := r.keeper(); return k != 0 && k != keeper })
	l.more(t, 20)
	l.end(t)
	l.none(t)
	if got := r.look().PID; got != plane {
		t.Error("another data plane serves")
	}
	// The new one does its work.
	r.must(syscall.Kill(plane, syscall.SIGKILL))
	eventually(t, "the data plane is back", func() bool { s, err := r.Look(r.ctx); return err == nil && s.PID != plane })
	r.must(r.Upgrade(r.ctx, 2))
	if got := r.pids(); got["paris-0"] != nodes["paris-0"] {
		t.Error("the node was touched")
	}
	r.must(r.Start(r.ctx, "/nowhere")) // as it runs already
}

func TestAnOlderEpochIsRefusedAfterARestartToo(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.up(7, "paris-0")
	plane := r.look().PID
	r.must(syscall.Kill(plane, syscall.SIGKILL))
	eventually(t, "it is back", func() bool { s, err := r.Look(r.ctx); return err == nil && s.PID != plane })
	_, drained := r.Drain(r.ctx, 6, "paris-0")
	_, gated := r.Gate(r.ctx, 6)
	_, routed := r.Route(r.ctx, 6, []string{"paris"})
	_, fenced := r.Fence(r.ctx, 6)
	_, shut := r.Shut(r.ctx, 6)
	for command, err := range map[string]error{
		"settle": r.Settle(r.ctx, 6, Settings{Queue: 1}), "run": r.Run(r.ctx, 6, "paris-0", "r1"), "stop": r.Stop(r.ctx, 6, "paris-0", 0),
		"remove": r.Remove(r.ctx, 6, "paris-0"), "drain": drained, "admit": r.Admit(r.ctx, 6, "paris-0"), "gate": gated, "open": r.Open(r.ctx, 6),
		"route": routed, "hold": r.Hold(r.ctx, 6), "fence": fenced, "shut": shut, "upgrade": r.Upgrade(r.ctx, 6), "end": r.End(r.ctx, 6),
	} {
		if !errors.Is(err, platform.ErrOldEpoch) {
			t.Errorf("%s: %v, want %v", command, err, platform.ErrOldEpoch)
		}
	}
	seen := r.look()
	if n := seen.Nodes[0]; seen.Told.Epoch != 7 || !n.In || !n.Alive || seen.Told.Gated || seen.Told.Settings.Queue != 0 || seen.Writer.Mode != Held {
		t.Errorf("something was done: %+v", seen)
	}
}

func TestARollUnderLoadCostsNoRequest(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.up(1, "paris-0", "paris-1", "paris-2")
	l := r.load(4, false)
	l.more(t, 50)
	for i := range 3 {
		name, epoch := fmt.Sprint("paris-", i), int64(2+i)
		cut, err := r.Drain(r.ctx, epoch, name)
		if r.must(err); cut > 0 {
			t.Errorf("%d cut off", cut)
		}
		if i == 1 {
			r.must(r.Upgrade(r.ctx, epoch)) // of all times
		}
		r.must(r.Stop(r.ctx, epoch, name, 10*time.Second))
		r.node(name, "r2")
		r.must(r.Run(r.ctx, epoch, name, "r2"))
		eventually(t, "it is ready", func() bool { return r.look().Nodes[i].Ready })
		if r.look().Nodes[i].In {
			t.Error("it gets requests before it is admitted")
		}
		r.must(r.Admit(r.ctx, epoch, name))
		l.more(t, 50)
	}
	l.end(t)
	l.none(t)
}

// Who manages the realms isn't kept out by the rules for everybody else, also when another process has taken over.
func TestNoRuleKeepsOutWhoComesFromInside(t *testing.T) {
	r := newRegion(t, Config{Listen: Listen{HTTP: freeAddress(t), Inside: freeAddress(t)}}).start()
	r.node("paris-0", "1")
	r.up(1, "paris-0")
	deny := []schema.Rule{{Deny: "0.0.0.0/0"}}
	r.must(r.Settle(r.ctx, 1, Settings{Login: deny, Admin: deny}))
	for range 2 {
		for address, want := range map[string]int{r.config.Listen.HTTP: 403, r.config.Listen.Inside: 200} {
			if status, text := get(t, "http://"+address+"/realms/pid"); status != want {
				t.Errorf("%s answers %d %s, want %d", address, status, text, want)
			}
		}
		r.must(r.Upgrade(r.ctx, 1))
	}
}
