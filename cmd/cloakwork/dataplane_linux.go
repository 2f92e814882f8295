package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) dataplane() *cobra.Command {
	var dir string
	var supervise, watch, ship bool
	cmd := &cobra.Command{
		Use:   "dataplane --dir DIR",
		Short: "Serve a region on platform local",
		Long: "Dataplane is the process before the nodes of a region on platform local: it hands requests to them, leads them to the\n" +
			"primary of the database, and has them run. The driver starts it and tells it what to do; it goes on when the controller is gone.\n" +
			"\n" +
			"With --watch it is the region's watcher, which has another region take over from one that is lost, as was declared last.\n" +
			"The data plane has it run, where failover is automatic.\n" +
			"\n" +
			"With --ship it sends what the region's nodes log and count to collectors. The data plane has it run, where telemetry is declared.",
		Example: "  cloakwork dataplane --supervise --dir /var/lib/cloakwork/eu/paris",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return advise("give --dir DIR, a folder that holds a plane.json", "no folder is given")
			}
			switch {
			case watch && supervise || ship && supervise || watch && ship:
				return advise("give one of them", "--supervise, --watch and --ship don't go together")
			case ship:
				return c.ship(cmd.Context(), dir)
			case watch:
				return c.watch(cmd.Context(), dir)
			case supervise:
				return dataplane.Keep(cmd.Context(), dir)
			}
			return dataplane.Serve(cmd.Context(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the region's data plane")
	cmd.Flags().BoolVar(&supervise, "supervise", false, "have a data plane run, whatever happens to it")
	cmd.Flags().BoolVar(&watch, "watch", false, "be the region's watcher")
	cmd.Flags().BoolVar(&ship, "ship", false, "send the region's telemetry")
	return cmd
}

// watchPause is how long a watcher leaves regions unseen.
const watchPause = 250 * time.Millisecond

// watch is a watcher, until it is told to end, or another one should be in its place.
func (c *cli) watch(ctx context.Context, dir string) error {
	log := slog.New(slog.NewJSONHandler(c.errs, nil)) // into the watcher's own file
	driver, err := local.OpenWatcher(dir, local.Options{Log: log})
	if err != nil {
		return err
	}
	defer driver.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reconcile.Watch{Driver: driver, Region: driver.Region, Glance: driver.Glance, Pause: watchPause, Log: log, Declared: func() (*schema.Deployment, error) {
		if driver.Stale() {
			stop()
		}
		return driver.Declared()
	}}.Run(ctx)
	return nil
}

// ship sends the telemetry of a region, until it is told to end, or there is none.
func (c *cli) ship(ctx context.Context, dir string) error {
	s, err := local.OpenShipper(dir, slog.New(slog.NewJSONHandler(c.errs, nil))) // into the shipper's own file
	if err != nil {
		return err
	}
	s.Run(ctx)
	return nil
}
