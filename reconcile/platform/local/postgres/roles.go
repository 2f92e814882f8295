package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Database is the name of the database that Keycloak has.
const Database = "keycloak"

// Ensure has a primary that runs hold the roles with the passwords of the files, and the database. What is so already stays,
// and nothing is written.
func (s Server) Ensure(ctx context.Context) error {
	p, err := s.Passwords()
	if err != nil {
		return fmt.Errorf("roles of database %s: %w", s.Name, err)
	}
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, role := range roles {
		if err := ensureRole(ctx, conn, role, p[role]); err != nil {
			return s.explain(fmt.Errorf("role %s of database %s: %w", role, s.Name, err))
		}
	}
	if err := ensureDatabase(ctx, conn, Database); err != nil {
		return s.explain(fmt.Errorf("database %s in %s: %w", Database, s.Name, err))
	}
	return nil
}

// attributes are what each role may, and columns how pg_roles shows it.
var attributes = map[Role]struct{ may, shown string }{
	Keycloak: {"LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS", "login"},
	Standby:  {"LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE REPLICATION NOBYPASSRLS", "login replication"},
	Own:      {"LOGIN SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS", "login superuser replication"},
}

// For pg_rewind: https://www.postgresql.org/docs/current/app-pgrewind.html names these; the checkpoint makes a promotion visible to it.
var rewindGrants = []string{
	"pg_catalog.pg_ls_dir(text, boolean, boolean)", "pg_catalog.pg_stat_file(text, boolean)",
	"pg_catalog.pg_read_binary_file(text)", "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
}

func ensureRole(ctx context.Context, conn *pgx.Conn, role Role, password string) error {
	var shown, kept string
	err := conn.QueryRow(ctx, `SELECT concat_ws(' ', CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolsuper THEN 'superuser' END,
		CASE WHEN rolreplication THEN 'replication' END), coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1`, string(role)).Scan(&shown, &kept)
	missing := err == pgx.ErrNoRows
	if err != nil && !missing {
		return err
	}
	if missing {
		if _, err := conn.Exec(ctx, "CREATE ROLE "+string(role)+" "+attributes[role].may); err != nil {
			return err
		}
	} else if shown != attributes[role].shown {
		if _, err := conn.Exec(ctx, "ALTER ROLE "+string(role)+" "+attributes[role].may); err != nil {
			return err
		}
	}
	if !verifies(kept, password) {
		if err := alterPassword(ctx, conn, role, password); err != nil {
			return err
		}
	}
	if role != Standby {
		return nil
	}
	var granted bool
	if err := conn.QueryRow(ctx, `SELECT pg_has_role('standby', 'pg_checkpoint', 'MEMBER')
		AND (SELECT bool_and(has_function_privilege('standby', f, 'EXECUTE')) FROM unnest($1::text[]) f)`, rewindGrants).Scan(&granted); err != nil || granted {
		return err
	}
	statements := []string{"GRANT pg_checkpoint TO standby"}
	for _, f := range rewindGrants {
		statements = append(statements, "GRANT EXECUTE ON FUNCTION "+f+" TO standby")
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func alterPassword(ctx context.Context, conn *pgx.Conn, role Role, password string) error {
	v, err := newVerifier(password)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER ROLE "+string(role)+" PASSWORD '"+v+"'")
	return err
}

func ensureDatabase(ctx context.Context, conn *pgx.Conn, database string) error {
	var owner string
	var open bool
	err := conn.QueryRow(ctx, `SELECT r.rolname, has_database_privilege('public', d.oid, 'CONNECT') FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
		WHERE d.datname = $1`, database).Scan(&owner, &open)
	var statements []string
	switch {
	case err == pgx.ErrNoRows:
		statements = []string{"CREATE DATABASE " + database + " OWNER " + string(Keycloak), "REVOKE ALL ON DATABASE " + database + " FROM PUBLIC"}
	case err != nil:
		return err
	default:
		if owner != string(Keycloak) {
			statements = append(statements, "ALTER DATABASE "+database+" OWNER TO "+string(Keycloak))
		}
		if open {
			statements = append(statements, "REVOKE ALL ON DATABASE "+database+" FROM PUBLIC")
		}
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// SetPassword gives a role of a primary that runs another password. The file has it first: a crash between the two is mended
// by Ensure. Nodes that have the old one can't open new connections from then on. Our own role's stays for ever.
func (s Server) SetPassword(ctx context.Context, role Role, password string) error {
	if role == Own {
		return fmt.Errorf("the password of role %s is the server's for ever: who has lost it can't change it either", role)
	}
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := s.writePassword(role, password); err != nil {
		return fmt.Errorf("password of role %s in database %s: %w", role, s.Name, err)
	}
	if err := ensureRole(ctx, conn, role, password); err != nil {
		return s.explain(fmt.Errorf("password of role %s in database %s: %w", role, s.Name, err))
	}
	return nil
}

// TrySignIn tells whether a role gets in with its password as the files have it, as nodes would.
func (s Server) TrySignIn(ctx context.Context, role Role) error {
	p, err := s.Passwords()
	if err != nil {
		return fmt.Errorf("sign in to database %s: %w", s.Name, err)
	}
	database := "postgres"
	if role == Keycloak {
		database = Database
	}
	conn, err := s.signIn(ctx, role, p[role], database)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
