// Package postgres keeps one PostgreSQL server, that of one region, in a folder of its own, with the PostgreSQL of the
// machine. It decides nothing about order: it looks, and it acts when it is told. Every act may be repeated with the same
// arguments at any time, also after a crash in its middle; docs/local-database.md says what is where, and what may be lost.
//
// The server listens on a unix socket in a folder that only its own account may enter, and on nothing else. Who runs it is the
// region's data plane, by Command; what comes from elsewhere comes through the data plane's writer endpoint.
package postgres

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
)

// Server is a PostgreSQL server. It is a value: nothing but the folder remembers anything.
type Server struct {
	// Name is the region's, by which the server is known to the others: its slot and its application name there.
	Name string
	// Dir is the folder that holds all of it. The account must be able to get there; what it needs in it is given to it.
	Dir string
	// Programs are those that it runs with.
	Programs Programs
	// Account is who it runs as; the zero value is our own, which must not be root.
	Account Account

	lock *os.File // what the programs that it runs hold, too
}

// Account is a user of the machine. PostgreSQL refuses to run as root, and so does a Server.
type Account struct{ UID, GID uint32 }

// AccountOf finds an account by its name.
func AccountOf(name string) (Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return Account{}, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", name, err)
	}
	return Account{uint32(uid), uint32(gid)}, nil
}

// account is who the server runs as.
func (s Server) account() (Account, error) {
	a := s.Account
	if a == (Account{}) {
		a = Account{uint32(os.Getuid()), uint32(os.Getgid())}
	}
	switch {
	case a.UID == 0:
		return a, fmt.Errorf("PostgreSQL doesn't run as root: name another account, such as postgres")
	case os.Getuid() != 0 && int(a.UID) != os.Getuid():
		return a, fmt.Errorf("only root can run PostgreSQL as account %d: run as that account, or leave it out", a.UID)
	}
	return a, nil
}

// Socket is where the server answers: the data plane's Config.DB.
func (s Server) Socket() string { return s.path("run", ".s.PGSQL.5432") }

// Data is PostgreSQL's own folder, for messages and measurements; nobody else writes there.
func (s Server) Data() string { return s.path("data") }

// Log is what the server says.
func (s Server) Log() string { return s.path("log", "postgres.log") }

func (s Server) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// Command is how the data plane runs the server. What keeps it closed is among the arguments, which no settings overrule.
func (s Server) Command() (dataplane.Command, error) {
	a, err := s.account()
	if err != nil {
		return dataplane.Command{}, err
	}
	if err := s.fits(); err != nil {
		return dataplane.Command{}, err
	}
	c := dataplane.Command{Argv: append([]string{s.Programs.path("postgres"), "-D", s.Data()}, s.closed()...), Env: environment, Dir: "/", Log: s.Log(), Interrupt: true}
	if a != ours() { // only root may say who
		c.UID, c.GID = &a.UID, &a.GID
	}
	return c, nil
}

// closed are the arguments by which the server is reached through nothing but its socket, and believes no files but ours.
func (s Server) closed() (args []string) {
	for _, setting := range [][2]string{
		{"config_file", s.path("conf", "postgresql.conf")}, {"hba_file", s.path("conf", "pg_hba.conf")}, {"ident_file", s.path("conf", "pg_ident.conf")},
		{"listen_addresses", ""}, {"port", "5432"}, {"unix_socket_directories", s.path("run")}, {"unix_socket_permissions", "0700"},
	} {
		args = append(args, "-c", setting[0]+"="+setting[1])
	}
	return args
}

// environment is what every program of PostgreSQL gets, and nothing else: messages that we can read, no settings of ours.
var environment = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}

var regionName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?$`)

// socketRoom is how long the kernel lets a socket's path be.
const socketRoom = 107

func (s Server) fits() error {
	switch {
	case !regionName.MatchString(s.Name):
		return fmt.Errorf("%q is no region's name", s.Name)
	case !filepath.IsAbs(s.Dir):
		return fmt.Errorf("the database's folder %s must begin with /", s.Dir)
	case len(s.Socket()) > socketRoom:
		return fmt.Errorf("the database's socket %s has a path of %d bytes, and no more than %d are possible: choose a shorter folder", s.Socket(), len(s.Socket()), socketRoom)
	}
	return nil
}
