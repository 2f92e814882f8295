package dataplane

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCommandsNameNothingButNames(t *testing.T) {
	r := newRegion(t, Config{}).start()
	r.node("paris-0", "r1")
	for _, o := range []Order{
		{Node: "../../etc", Revision: "r1"}, {Node: "paris-0", Revision: "../r1"}, {Node: "paris-0", Revision: ".."}, {Node: "", Revision: "r1"},
		{Node: "paris-0", Revision: ""}, {Node: "paris-0", Revision: "r9"}, {Node: "/bin/sh", Revision: "-c"}, {Node: "paris-0/../paris-0", Revision: "r1"},
	} {
		if err := r.Run(r.ctx, 1, o.Node, o.Revision); !errors.Is(err, ErrInvalid) {
			t.Errorf("run %q %q: %v, want refused", o.Node, o.Revision, err)
		}
	}
	answer, err := r.http.Post("http://dataplane/v1/run", "", strings.NewReader(`{"epoch": 1, "node": "paris-0", "revision": "r1", "argv": ["/bin/sh"]}`))
	r.must(err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("argv over the wire: %s", answer.Status)
	}
	if answer, err := r.http.Post("http://dataplane/v1/exec", "", strings.NewReader(`{}`)); err == nil {
		if answer.Body.Close(); answer.StatusCode != http.StatusNotFound {
			t.Errorf("exec: %s", answer.Status)
		}
	}
	if seen := r.look(); len(seen.Nodes) != 0 || seen.Told.Epoch != 0 {
		t.Errorf("something was done: %+v", seen)
	}
}

func TestOnlyOurUserAndRootGetIn(t *testing.T) {
	r := newRegion(t, Config{}).start()
	for path, want := range map[string]os.FileMode{"": 0o700, "control.sock": 0o600, "keeper.lock": 0o600, "log/dataplane.log": 0o600, "log": 0o700} {
		info, err := os.Stat(filepath.Join(r.Dir, path))
		if r.must(err); info.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
	// Were the modes lost, the kernel still tells who knocks.
	dir, err := os.MkdirTemp("", "knock")
	r.must(err)
	defer os.RemoveAll(dir)
	r.must(os.Chmod(dir, 0o777))
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	r.must(err)
	defer l.Close()
	r.must(os.Chmod(filepath.Join(dir, "sock"), 0o777))
	go func() {
		for {
			conn, err := (ours{l}).Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("!"))
			conn.Close()
		}
	}()
	knock := func(credential *syscall.Credential) string {
		binary, err := os.ReadFile("/proc/self/exe")
		r.must(err)
		copied := filepath.Join(dir, "knock") // where anybody may run it
		if _, err := os.Stat(copied); err != nil {
			r.must(os.WriteFile(copied, binary, 0o755))
		}
		cmd := exec.Command(copied, "knock", filepath.Join(dir, "sock"))
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, said)
		}
		return strings.TrimSpace(string(said))
	}
	if got := knock(nil); got != "let in" {
		t.Errorf("we ourselves: %s", got)
	}
	if os.Getuid() == 0 { // only root can be somebody else
		if got := knock(&syscall.Credential{Uid: 65534, Gid: 65534}); got != "refused" {
			t.Errorf("somebody else: %s", got)
		}
	}
}
