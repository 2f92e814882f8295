// Bench measures what cloakwork asks of a Keycloak, and how long it takes, against floors that are taken in turn in the same
// run on the same server: the same requests, sent bare on as many connections, and one import of the same content.
//
//	go run ./cmd/bench [-sizes small,medium,large] [-runs 5] [-version 26.7.3] [-postgres] [-binary bin/cloakwork]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

func main() {
	names := flag.String("sizes", "small,medium", "sizes of realms: small, medium, large")
	runs := flag.Int("runs", 5, "how often each thing is measured; the median counts")
	version := flag.String("version", "", "version of Keycloak (default the newest that is tested with)")
	withPostgres := flag.Bool("postgres", false, "put PostgreSQL behind Keycloak, rather than H2")
	binary := flag.String("binary", "bin/cloakwork", "what is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*names, ","), *runs, *version, *withPostgres, *binary); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, runs int, version string, withPostgres bool, binary string) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "size\twhat\treads\twrites\twall\tfloor\tratio\tslowest\tCPU\tmemory\t")
	for _, name := range names {
		size, err := sizeOf(name)
		if err != nil {
			return err
		}
		rows, err := measureSize(ctx, size, runs, version, withPostgres, binary)
		for _, r := range rows {
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%d MB\t\n", size.name, r.what, r.reads, r.writes,
				seconds(r.wall), seconds(r.floor), r.ratio(), seconds(r.slowest), seconds(r.cpu), r.memory>>20)
		}
		table.Flush()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// measureSize measures on a server of its own.
func measureSize(ctx context.Context, size size, runs int, version string, withPostgres bool, binary string) (rows []row, err error) {
	o := keycloaktest.Options{Version: version, Log: os.Stderr}
	if withPostgres {
		d, err := startDatabase(ctx)
		if err != nil {
			return nil, err
		}
		defer d.stop()
		if o, err = d.options(o); err != nil {
			return nil, err
		}
	}
	server, err := keycloaktest.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopped := server.Stop(); err == nil {
			err = stopped
		}
	}()
	b := &bench{ctx: ctx, server: server, size: size, runs: runs, binary: binary}
	return b.all()
}

// row is one line of the table: medians of all runs.
type row struct {
	what          string
	reads, writes int
	wall, floor   time.Duration // floor is 0 where there is none
	slowest       time.Duration // request, of the run whose requests were counted
	cpu           time.Duration // ours, user and system
	memory        int64         // bytes resident at most
}

func (r row) ratio() string {
	if r.floor == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(r.wall)/float64(r.floor))
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func median[T int64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
