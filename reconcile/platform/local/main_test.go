package local_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
	"github.com/cloakwork/cloakwork/schema"
)

// The test binary is also the data plane that drivers start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "dataplane" {
		os.Exit(planeMain(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "controller" {
		os.Exit(controllerMain(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
	}
	os.Exit(m.Run())
}

func planeMain(args []string) int {
	flags := flag.NewFlagSet("dataplane", flag.ExitOnError)
	dir := flags.String("dir", "", "")
	supervise := flags.Bool("supervise", false, "")
	watch := flags.Bool("watch", false, "")
	ship := flags.Bool("ship", false, "")
	_ = flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	do := dataplane.Serve
	if *supervise {
		do = dataplane.Keep
	}
	if *watch {
		do = watcherMain
	}
	if *ship {
		do = shipperMain
	}
	if err := do(ctx, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func watcherMain(ctx context.Context, dir string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	driver, err := local.OpenWatcher(dir, local.Options{Log: log})
	if err != nil {
		return err
	}
	defer driver.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reconcile.Watch{Driver: driver, Region: driver.Region, Glance: driver.Glance, Pause: 250 * time.Millisecond, Log: log, Declared: func() (*schema.Deployment, error) {
		if driver.Stale() {
			stop()
		}
		return driver.Declared()
	}}.Run(ctx)
	return nil
}

func shipperMain(ctx context.Context, dir string) error {
	s, err := local.OpenShipper(dir, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil {
		s.Run(ctx)
	}
	return err
}
