package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Programs are those of one PostgreSQL.
type Programs struct {
	Dir     string // where they are
	Major   int    // 15
	Version string // 15.18
}

// Oldest is the oldest major version that will do: before it, pg_rewind needs settings within the data.
const Oldest = 15

// needed are the programs that are run.
var needed = []string{"postgres", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind", "pg_dump", "pg_restore"}

// places are where systems put PostgreSQL's programs.
var places = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql@*/bin"}

// Find finds the programs in a folder, or where that is "", the newest that the machine has. Where major isn't 0, they are of
// that version: what wrote the data is what reads it.
func Find(dir string, major int) (Programs, error) {
	candidates := []string{dir}
	if dir == "" {
		candidates = nil
		for _, pattern := range places {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return Programs{}, err
			}
			candidates = append(candidates, found...)
		}
	}
	var best Programs
	var why []error
	for _, c := range candidates {
		p, err := programsIn(c)
		switch {
		case err != nil:
			why = append(why, err)
		case major != 0 && p.Major != major:
			why = append(why, fmt.Errorf("%s holds version %s", c, p.Version))
		case p.Major > best.Major:
			best = p
		}
	}
	if best.Dir != "" {
		return best, nil
	}
	which, install := fmt.Sprintf("PostgreSQL %d or newer", Oldest), "postgresql"
	if major != 0 {
		which, install = fmt.Sprintf("PostgreSQL %d", major), fmt.Sprintf("postgresql-%d", major)
	}
	if len(why) > 0 {
		return Programs{}, fmt.Errorf("%s isn't here: %w; apt-get install %s", which, errors.Join(why...), install)
	}
	return Programs{}, fmt.Errorf("%s isn't here: nothing in %s; apt-get install %s", which, strings.Join(places, ", "), install)
}

func programsIn(dir string) (Programs, error) {
	p := Programs{Dir: dir}
	for _, name := range needed {
		if _, err := os.Stat(p.path(name)); err != nil {
			return p, err
		}
	}
	out, err := exec.Command(p.path("postgres"), "--version").Output()
	if err != nil {
		return p, fmt.Errorf("%s --version: %w", p.path("postgres"), err)
	}
	words := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
	if len(words) < 3 {
		return p, fmt.Errorf("%s --version says %q", p.path("postgres"), out)
	}
	p.Version = words[2]
	p.Major, err = strconv.Atoi(strings.FieldsFunc(p.Version, func(r rune) bool { return r < '0' || r > '9' })[0])
	if err != nil {
		return p, fmt.Errorf("%s --version says %q", p.path("postgres"), out)
	}
	if p.Major < Oldest {
		return p, fmt.Errorf("%s holds version %s, which is too old", dir, p.Version)
	}
	return p, nil
}

func (p Programs) path(name string) string { return filepath.Join(p.Dir, name) }

// run runs a program as the server's account, and returns what it printed. Its arguments are for everybody to see.
func (s Server) run(ctx context.Context, env []string, program string, args ...string) (string, error) {
	a, err := s.account()
	if err != nil {
		return "", err
	}
	return s.runAs(ctx, a, env, program, args...)
}

// runAs is run as another account.
func (s Server) runAs(ctx context.Context, a Account, env []string, program string, args ...string) (string, error) {
	var said bytes.Buffer
	err := s.pipe(ctx, a, env, nil, &said, program, args...)
	if err != nil {
		return "", err
	}
	return said.String(), nil
}

// pipe runs a program between a reader and a writer, either of which may be nil. A program that is to end is asked first.
func (s Server) pipe(ctx context.Context, a Account, env []string, from io.Reader, to io.Writer, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.Programs.path(program), args...)
	cmd.Env, cmd.Dir = append(append([]string{}, environment...), env...), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts itself ends with it
	if int(a.UID) != os.Getuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.UID, Gid: a.GID}
	}
	if s.lock != nil {
		cmd.ExtraFiles = []*os.File{s.lock}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	said, whole := to.(*bytes.Buffer) // pg_rewind and others say what they did where they say what went wrong
	if !whole {
		said = new(bytes.Buffer)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = from, to, said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return s.explain(fmt.Errorf("%s: %w: %s", program, err, lastLines(said.String())))
	}
	return nil
}

// lastLines is the end of what a program said, on one line.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}
