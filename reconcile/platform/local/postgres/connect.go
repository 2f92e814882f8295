package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrDown is why a server that doesn't answer can't be asked: it isn't started, or is on its way.
var ErrDown = errors.New("the database doesn't answer")

// patience is how long a server on the same machine may take to let us in.
const patience = 5 * time.Second

// connect signs in with our own role.
func (s Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	p, err := s.Passwords()
	if err != nil {
		return nil, fmt.Errorf("sign in to database %s: %w", s.Name, err)
	}
	return s.signIn(ctx, Own, p[Own], database)
}

func (s Server) signIn(ctx context.Context, role Role, password, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host='%s' port=5432 user=%s dbname=%s sslmode=disable", s.path("run"), role, database))
	if err != nil {
		return nil, fmt.Errorf("sign in to database %s: %w", s.Name, err)
	}
	// Nothing of our environment counts.
	config.Password, config.ConnectTimeout, config.Fallbacks = password, patience, nil
	config.RuntimeParams = map[string]string{"application_name": "cloakwork"}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err == nil {
		return conn, nil
	}
	err = s.explain(fmt.Errorf("sign in to database %s as %s: %w", s.Name, role, err))
	var refused *pgconn.PgError
	if pgconn.Timeout(err) && ctx.Err() == nil || errors.As(err, &refused) && slices.Contains(absent, refused.Code) || gone(err) {
		err = fmt.Errorf("%w: %w", ErrDown, err)
	}
	return nil, err
}

// gone tells that nobody listens, or that who did has ended before he said anything.
func gone(err error) bool {
	return slices.ContainsFunc([]error{syscall.ECONNREFUSED, fs.ErrNotExist, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF}, func(of error) bool { return errors.Is(err, of) })
}

// absent are PostgreSQL's codes of a server that starts or stops.
var absent = []string{"57P01", "57P02", "57P03"}

// explain adds to an error what a person can do about it.
func (s Server) explain(err error) error {
	var refused *pgconn.PgError
	code := ""
	if errors.As(err, &refused) {
		code = refused.Code
	}
	text := err.Error()
	switch {
	case code == "28P01" || code == "28000" || strings.Contains(text, "password authentication failed"):
		return fmt.Errorf("%w: the server has another password than the files in %s; SetPassword makes them the same, or put the right one there", err, s.path("secrets"))
	case code == "53100" || errors.Is(err, syscall.ENOSPC) || strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, "No space left on device"):
		return fmt.Errorf("%w: the disk is full: %s; make room, and it goes on by itself", err, s.room())
	case code == "53300":
		return fmt.Errorf("%w: all connections are taken: raise max_connections, or make the nodes' pools smaller", err)
	}
	return err
}

// room is how much of the disk is left.
func (s Server) room() string {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(s.Dir, &stat); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d MB are left where %s is", stat.Bavail*uint64(stat.Bsize)>>20, s.Dir)
}
