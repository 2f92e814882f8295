package local_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
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
	_ = flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	do := dataplane.Serve
	if *supervise {
		do = dataplane.Keep
	}
	if err := do(ctx, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
