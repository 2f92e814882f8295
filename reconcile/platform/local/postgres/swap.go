package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// setAside begins the name of a database that was Keycloak's, which goes on with that of the one that took its place.
const setAside = "before_"

// Swap makes a database of a primary Keycloak's, and sets the one that was aside under a name of its own, both or neither. It
// says under which. Whoever is in either is sent away; nodes should be stopped. What has been swapped stays so. Before it is,
// it is made ready. Of databases that were set aside earlier none is kept.
func (s Server) Swap(ctx context.Context, database string, ready func() error) (aside string, err error) {
	aside = setAside + database
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return aside, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := swap(ctx, conn, database, aside, ready); err != nil {
		return aside, s.explain(fmt.Errorf("make database %s of %s Keycloak's: %w", database, s.Name, err))
	}
	return aside, nil
}

func swap(ctx context.Context, conn *pgx.Conn, database, aside string, ready func() error) error {
	if database == Database || !databaseName.MatchString(database) {
		return fmt.Errorf("%q is no name for a new database", database)
	}
	names, err := databases(ctx, conn)
	if err != nil {
		return err
	}
	switch {
	case names[aside] && !names[database]:
		return nil
	case !names[database]:
		return fmt.Errorf("there is no database %s", database)
	}
	if err := ready(); err != nil {
		return err
	}
	for name := range names {
		if strings.HasPrefix(name, setAside) && name != database {
			if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
				return err
			}
		}
	}
	for tries := 0; ; tries++ {
		err := rename(ctx, conn, database, aside)
		if err == nil || tries == 10 || !strings.Contains(err.Error(), "being accessed by other users") {
			return err
		}
	}
}

// databases are the names of all.
func databases(ctx context.Context, conn *pgx.Conn) (map[string]bool, error) {
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { names[name] = true; return nil })
	return names, err
}

func rename(ctx context.Context, conn *pgx.Conn, database, aside string) error {
	if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid()",
		[]string{Database, database}); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // nothing, once it is committed
	for _, statement := range []string{"ALTER DATABASE " + Database + " RENAME TO " + aside, "ALTER DATABASE " + database + " RENAME TO " + Database} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}

// SetClientSecret gives a client of the realm master of a database that isn't served another secret: a database that was
// restored has those of its own time. False where there is no such client.
func (s Server) SetClientSecret(ctx context.Context, database, client, secret string) (bool, error) {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	done, err := conn.Exec(ctx, "UPDATE client SET secret = $1 WHERE client_id = $2 AND realm_id = (SELECT id FROM realm WHERE name = 'master')", secret, client)
	if err != nil {
		return false, s.explain(fmt.Errorf("set the secret of client %s in database %s of %s: %w", client, database, s.Name, err))
	}
	return done.RowsAffected() > 0, nil
}
