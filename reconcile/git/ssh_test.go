package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sshd is OpenSSH's server, for this user and one key, on a port of the test.
type sshd struct {
	t         *testing.T
	dir, port string
	user      string
}

func startSSHD(t *testing.T) *sshd {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{t: t, dir: t.TempDir(), user: me.Username}
	for _, key := range []string{"host", "mine"} {
		s.key(key, "ed25519", "")
	}
	s.key("ecdsa", "ecdsa", "")
	if err := os.WriteFile(s.file("authorized"), s.read("mine.pub"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // where sshd shuts itself in as root
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = "/usr/sbin/sshd"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(listener.Addr().String())
	listener.Close()
	config := fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\nStrictModes no\n"+
		"PasswordAuthentication no\nPermitRootLogin prohibit-password\nLogLevel INFO\n", s.port, s.file("ecdsa"), s.file("host"), s.file("authorized"))
	if err := os.WriteFile(s.file("config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-D", "-e", "-f", s.file("config"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd says:\n%s", log.String())
		}
	})
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("sshd doesn't listen: %v", err)
		}
	}
	s.know("host", "host.pub")
	return s
}

// key makes a pair of keys, in files called so.
func (s *sshd) key(name, kind, passphrase string) {
	s.run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", s.file(name))
}

func (s *sshd) file(name string) string { return filepath.Join(s.dir, name) }

func (s *sshd) read(name string) []byte {
	text, err := os.ReadFile(s.file(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func (s *sshd) run(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// know writes a known_hosts file that has a key for the server.
func (s *sshd) know(name, key string) {
	line := fmt.Sprintf("[127.0.0.1]:%s %s", s.port, s.read(key))
	if err := os.WriteFile(s.file("known-"+name), []byte(line), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sshd) remote(path string) Remote {
	return Remote{URL: "ssh://" + s.user + "@127.0.0.1:" + s.port + path, SSHKey: s.read("mine"), KnownHosts: []string{s.file("known-host")}}
}

func TestOverSSHOnlyTheKnownHostIsSpokenTo(t *testing.T) {
	r := newRepository(t)
	r.push("first", map[string]string{"a.yaml": "a: 1\n"})
	s := startSSHD(t)
	if err := os.WriteFile(s.file("known-nothing"), []byte("other.example ssh-ed25519 AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.key("other", "ed25519", "")
	s.key("stranger", "ed25519", "")
	s.know("wrong", "other.pub")
	t.Setenv("HOME", s.dir)
	t.Setenv("SSH_KNOWN_HOSTS", s.file("nowhere"))
	for _, c := range []struct {
		name string
		edit func(*Remote)
		want error
		says string
	}{
		{"known", func(*Remote) {}, nil, ""},
		{"another host key", func(r *Remote) { r.KnownHosts = []string{s.file("known-wrong")} }, ErrHostChanged, "127.0.0.1:" + s.port + " shows SHA256:"},
		{"an unknown host", func(r *Remote) { r.KnownHosts = []string{s.file("known-other-host")} }, ErrHostUnknown, "127.0.0.1:" + s.port + " shows SHA256:"},
		{"no known_hosts", func(r *Remote) { r.KnownHosts = nil }, ErrHostUnknown, "there is no " + s.file("nowhere")},
		{"a named known_hosts that isn't there", func(r *Remote) { r.KnownHosts = []string{s.file("nowhere")} }, nil, "nowhere: no such file"},
		{"a stranger's key", func(r *Remote) { r.SSHKey = s.read("stranger") }, ErrRefused, "the SSH key"},
		{"another repository", func(r *Remote) { r.URL += "x" }, ErrNotFound, ""},
		{"nobody there", func(r *Remote) { r.URL = strings.Replace(r.URL, ":"+s.port, ":1", 1) }, ErrUnreachable, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "an unknown host" {
				line := strings.Replace(string(s.read("known-host")), "127.0.0.1", "127.0.0.2", 1)
				if err := os.WriteFile(s.file("known-other-host"), []byte(line), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			remote := s.remote(r.bare)
			c.edit(&remote)
			m, err := Open(filepath.Join(t.TempDir(), "mirror"), remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			f, err := m.Fetch(t.Context())
			switch {
			case c.want == nil && c.says == "":
				if err != nil || f.Head.Subject != "first" {
					t.Errorf("fetched %v, %v", f, err)
				}
			case err == nil, c.want != nil && !errors.Is(err, c.want), !strings.Contains(err.Error(), c.says):
				t.Errorf("the error is %v, want %v with %q", err, c.want, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestAKeyThatCannotBeUsedSaysSoBeforeAnythingIsAsked(t *testing.T) {
	s := startSSHD(t)
	s.key("locked", "ed25519", "a passphrase")
	for want, key := range map[string][]byte{
		"an SSH key is needed": nil, "locked by a passphrase": s.read("locked"), "isn't a private key in PEM": []byte("-----BEGIN nothing"),
	} {
		remote := s.remote("/acme.git")
		remote.SSHKey = key
		if _, err := Open(filepath.Join(t.TempDir(), "mirror"), remote, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}

// A key of another type that known_hosts has is asked for, though the server would rather show its first.
func TestTheHostShowsTheKindOfKeyThatIsKnown(t *testing.T) {
	r := newRepository(t)
	r.push("first", nil)
	s := startSSHD(t)
	for _, key := range []string{"host.pub", "ecdsa.pub"} {
		s.know("one", key)
		remote := s.remote(r.bare)
		remote.KnownHosts = []string{s.file("known-one")}
		m, err := Open(filepath.Join(t.TempDir(), "mirror"), remote, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Fetch(t.Context()); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestASilentServerDoesntHoldAFetch(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := startSSHD(t)
	remote := s.remote("/acme.git")
	remote.URL = "ssh://git@" + silent.Addr().String() + "/acme.git"
	m, err := Open(filepath.Join(t.TempDir(), "mirror"), remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := silent.Accept(); err == nil {
			defer c.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	if _, err := m.Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestAMirrorOverSSHIsLikeAnyOther(t *testing.T) {
	r := newRepository(t)
	remote := startSSHD(t).remote(r.bare)
	m := openMirror(t, remote)
	if _, err := m.Fetch(t.Context()); !errors.Is(err, ErrEmpty) {
		t.Errorf("of an empty repository it says %v", err)
	}
	first := r.push("first", fill("a", 30))
	if f := fetch(t, m); f.Head.Hash != first || f.Branch != "main" || !f.Moved {
		t.Errorf("fetched %+v", f)
	}
	second := r.push("second", map[string]string{"a/001.yaml": "changed\n"})
	if f := fetch(t, m); f.Head.Hash != second || f.Before != first || f.Rewritten {
		t.Errorf("fetched %+v", f)
	}
	if got := read(t, m, second, "a/001.yaml"); got != "changed\n" {
		t.Errorf("the file is %q", got)
	}
	git(t, r.work, "reset", "-q", "--hard", first)
	if f := fetch(t, m); f.Moved {
		t.Errorf("nothing was pushed, and it fetched %+v", f)
	}
	third := r.push("third", nil)
	if f := fetch(t, m); f.Head.Hash != third || !f.Rewritten {
		t.Errorf("fetched %+v", f)
	}
	var wait sync.WaitGroup
	for writer := range 2 {
		m := openMirror(t, remote)
		fetch(t, m)
		wait.Go(func() {
			for i := range 2 {
				line := fmt.Sprintf("writer %d says %d\n", writer, i)
				if err := m.EditNote(t.Context(), third, func(text string) string { return text + line }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	note := git(t, r.bare, "notes", "--ref=cloakwork", "show", third)
	if got := strings.Count(note, "says"); got != 4 {
		t.Errorf("the note is %q", note)
	}
	remote.Branch = "release"
	if _, err := openMirror(t, remote).Fetch(t.Context()); !errors.Is(err, ErrNoBranch) {
		t.Errorf("of a branch that isn't there it says %v", err)
	}
}
