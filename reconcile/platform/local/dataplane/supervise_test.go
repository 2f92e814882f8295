package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func killed(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// dead ends a region's own processes at once, and leaves the nodes.
func (r *region) dead() {
	r.t.Helper()
	plane, keeper := r.look().PID, r.keeper()
	r.must(syscall.Kill(plane, syscall.SIGSTOP)) // or it would see its keeper die
	r.must(killed(keeper))
	r.must(killed(plane))
	eventually(r.t, "both are gone", func() bool { return gone(plane) && gone(keeper) })
}

func TestNodesAreFoundAgainWhenAllElseHasDied(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.up(1, "paris-0", "paris-1")
	before := r.pids()
	r.dead()
	// It had just started paris-1, and not come to write that down.
	told, err := folder(r.Dir).told()
	r.must(err)
	s := told.Nodes["paris-1"]
	s.Process = Process{}
	told.Nodes["paris-1"] = s
	r.must(folder(r.Dir).keep(told))
	binary, err := os.Executable()
	r.must(err)
	r.must(r.Start(r.ctx, binary))
	eventually(t, "both nodes are ready", func() bool { n := r.look().Nodes; return n[0].Ready && n[1].Ready })
	if after := r.pids(); after["paris-0"] != before["paris-0"] || after["paris-1"] != before["paris-1"] {
		t.Errorf("nodes were %v, are %v", before, after)
	}
}

func TestAfterTheDeathOfAllTheWayOpensOnlyWhenToldWhereThereAreOtherRegions(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		peers map[string]string
		want  Mode
	}{"alone": {nil, Routed}, "with others": {map[string]string{"milan": "127.0.0.1:1"}, Held}} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, "unix", filepath.Join(t.TempDir(), "db"), "paris")
			r := newRegion(t, Config{DB: db.Addr().String(), Peers: c.peers, Listen: Listen{Writer: freeAddress(t)}}).start()
			_, err := r.Route(r.ctx, 4, []string{"paris"})
			r.must(err)
			plane := r.look().PID
			r.must(killed(plane))
			eventually(t, "it is back", func() bool { s, err := r.Look(r.ctx); return err == nil && s.PID != plane })
			if got := dialWriter(t, r.config.Listen.Writer).hears(); got != "paris" {
				t.Errorf("after the death of the data plane alone it leads to %q", got)
			}
			r.dead()
			r.must(r.Start(r.ctx, binary))
			if got := r.look().Writer.Mode; got != c.want {
				t.Errorf("it is %q, want %q", got, c.want)
			}
			s := dialWriter(t, r.config.Listen.Writer)
			_, err = r.Route(r.ctx, 4, []string{"paris"})
			r.must(err)
			if got := s.hears(); got != "paris" {
				t.Errorf("told again it leads to %q", got)
			}
		})
	}
}

func TestNoProcessButItsOwnIsEverSignalled(t *testing.T) {
	bystander := exec.Command("/proc/self/exe", "node", "--address", freeAddress(t))
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	p, err := processOf(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Process){
		"started at another time": func(p *Process) { p.Started-- },
		"of another boot":         func(p *Process) { p.Boot = "before" },
	} {
		other := p
		change(&other)
		if h, err := other.open(); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s: %v %v", name, h, err)
		}
		r := newRegion(t, Config{})
		r.node("paris-0", "r1")
		b, _ := json.Marshal(Told{Nodes: map[string]Slot{"paris-0": {Revision: "r1", Process: other}}})
		put(t, filepath.Join(r.Dir, "state.json"), b)
		r.start()
		r.must(r.Stop(r.ctx, 1, "paris-0", time.Nanosecond))
	}
	if h, err := p.open(); err != nil {
		t.Errorf("the bystander: %v", err)
	} else {
		h.Close()
	}
}

func TestANodeThatDoesNotGoIsKilledAfterPatience(t *testing.T) {
	r := newRegion(t, Config{}).start()
	log := filepath.Join(r.Dir, "out.log")
	r.write("nodes/paris-0/r1.json", Command{Argv: []string{"/bin/sh", "-c", `trap "" TERM; echo deaf; exec sleep 600`}, Log: log})
	r.must(r.Run(r.ctx, 1, "paris-0", "r1"))
	eventually(t, "it hears no signal", func() bool { text, _ := os.ReadFile(log); return string(text) == "deaf\n" })
	pid := r.pids()["paris-0"]
	// A caller that doesn't wait, and then one that does: the same patience.
	short, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
	defer cancel()
	if err := r.Stop(short, 1, "paris-0", time.Second); err == nil {
		t.Error("it went at once")
	}
	r.must(r.Stop(r.ctx, 1, "paris-0", time.Second))
	if !gone(pid) {
		t.Error("stopped, and its process is there")
	}
	if err := r.Run(r.ctx, 1, "paris-0", "r1"); err != nil {
		t.Error(err)
	}
	if err := r.Remove(r.ctx, 1, "paris-0"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a node that runs is removed: %v", err)
	}
	r.write("nodes/paris-0/r2.json", Command{Argv: []string{"/bin/true"}})
	if err := r.Run(r.ctx, 1, "paris-0", "r2"); !errors.Is(err, ErrInvalid) {
		t.Errorf("another revision runs over it: %v", err)
	}
	r.must(r.Stop(r.ctx, 2, "paris-0", 10*time.Millisecond))
	r.must(r.Remove(r.ctx, 2, "paris-0"))
	if seen := r.look(); len(seen.Nodes) != 0 {
		t.Errorf("removed, it is there: %+v", seen.Nodes)
	}
}

func TestANodeThatCanNotLiveSaysWhyAndIsTriedEverMoreSeldom(t *testing.T) {
	r := newRegion(t, Config{}).start()
	began := time.Now()
	for name, c := range map[string]struct {
		argv []string
		why  string
	}{"dies": {[]string{"/bin/sh", "-c", "sleep 0.01; exit 7"}, "exit status 7"}, "missing": {[]string{"/no/such/java"}, "no such file"}} {
		r.write("nodes/"+name+"/r1.json", Command{Argv: c.argv, Log: filepath.Join(r.Dir, name+".log")})
		r.must(r.Run(r.ctx, 1, name, "r1"))
		eventually(t, name+" says why", func() bool {
			for _, n := range r.look().Nodes {
				if n.Name == name && strings.Contains(n.Why, c.why) {
					return true
				}
			}
			return false
		})
	}
	eventually(t, "it was tried four times", func() bool { return r.look().Nodes[0].Restarts >= 3 })
	if took := time.Since(began); took < leastPause {
		t.Errorf("within %s", took)
	}
}

func TestLogsAreCutAndOlderOnesKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.log")
	node, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // as a node holds it
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	own := &logFile{path: filepath.Join(dir, "own.log"), size: 10}
	for i := range 9 {
		fmt.Fprintf(node, "line number %d\n", i)
		if err := cutLogAt(path, 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(own, "line number %d\n", i)
	}
	read := func(name string) string { b, _ := os.ReadFile(filepath.Join(dir, name)); return string(b) }
	for name, want := range map[string]string{
		"out.log": "", "out.log.1": "line number 8\n", "out.log.5": "line number 4\n", "out.log.6": "",
		"own.log": "line number 8\n", "own.log.1": "line number 7\n", "own.log.5": "line number 3\n", "own.log.6": "",
	} {
		if got := read(name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

// Whoever runs the data plane, only what is declared can be reached from elsewhere.
func TestNothingListensButWhatIsDeclared(t *testing.T) {
	r := newRegion(t, Config{Listen: Listen{HTTP: freeAddress(t), Writer: freeAddress(t), Inside: freeAddress(t), Metrics: freeAddress(t)}}).start()
	r.must(r.Upgrade(r.ctx, 1))
	want := map[string]bool{r.config.Listen.HTTP: true, r.config.Listen.Writer: true, r.config.Listen.Inside: true, r.config.Listen.Metrics: true}
	for _, pid := range []int{r.look().PID, r.keeper()} {
		sockets := map[string]bool{}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			sockets[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
		listening := 0
		for _, table := range []string{"tcp", "tcp6"} {
			text, _ := os.ReadFile("/proc/self/net/" + table)
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) < 10 || f[3] != "0A" || !sockets[f[9]] {
					continue
				}
				var d, c, b, a, port int
				if _, err := fmt.Sscanf(f[1], "%02X%02X%02X%02X:%04X", &d, &c, &b, &a, &port); err != nil || table == "tcp6" {
					t.Errorf("process %d listens on %s", pid, f[1])
				} else if address := fmt.Sprintf("%d.%d.%d.%d:%d", a, b, c, d, port); !want[address] {
					t.Errorf("process %d listens on %s", pid, address)
				} else {
					listening++
				}
			}
		}
		if listening != len(want) {
			t.Errorf("process %d listens on %d of %d", pid, listening, len(want))
		}
	}
	status, text := get(t, "http://"+r.config.Listen.Metrics+"/metrics")
	if status != 200 || !strings.Contains(text, "cloakwork_front_waiting 0") {
		t.Errorf("metrics: %d %s", status, text)
	}
}
