package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// undefinedTable is PostgreSQL's code for a table that isn't there: no node has ever started.
const undefinedTable = "42P01"

// Pings are the addresses, 127.0.0.1:7800, by which nodes find each other's cluster: those that run, and those that died without
// taking leave. Since 26.7 a node is there before it has an address, as 127.0.0.1:0; these aren't among them, and aren't removed
// either: they hold its turn, and Keycloak itself passes over those that it hasn't heard of for a minute.
func (s Server) Pings(ctx context.Context) ([]string, error) {
	return s.pings(ctx, "SELECT ip FROM jgroups_ping WHERE ip NOT LIKE '%:0' ORDER BY ip")
}

// RemovePings forgets nodes, by their addresses, and returns those that were known. A node that starts tries in vain to join one
// that is dead, for 20 s; but one that lives must stay, or two clusters come to be: name only those that are known to be dead.
func (s Server) RemovePings(ctx context.Context, addresses []string) (removed []string, err error) {
	return s.pings(ctx, "DELETE FROM jgroups_ping WHERE ip = ANY($1) AND ip NOT LIKE '%:0' RETURNING ip", addresses)
}

// Lead has the first of these nodes that is known be the one that leads their cluster, where none of them is, and returns it:
// whoever led may have gone while it wrote the list, in which its successor then stands as one that doesn't lead. Until the
// successor looks, half a minute later, no node would be ready, and one that starts would found a cluster of its own. A node
// that leads in truth writes itself over the wrong one.
func (s Server) Lead(ctx context.Context, addresses []string) (named []string, err error) {
	return s.pings(ctx, `UPDATE jgroups_ping SET coord = true WHERE ip = (SELECT ip FROM jgroups_ping WHERE ip = ANY($1)
		AND NOT EXISTS (SELECT FROM jgroups_ping WHERE coord AND ip = ANY($1)) ORDER BY array_position($1::text[], ip::text) LIMIT 1) RETURNING ip`, addresses)
}

func (s Server) pings(ctx context.Context, sql string, args ...any) ([]string, error) {
	conn, err := s.connect(ctx, Database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, _ := conn.Query(ctx, sql, args...) // its error is the rows' too
	addresses, err := pgx.CollectRows(rows, pgx.RowTo[string])
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == undefinedTable {
		return nil, nil
	}
	if err != nil {
		return nil, s.explain(fmt.Errorf("pings in database %s: %w", s.Name, err))
	}
	return addresses, nil
}
