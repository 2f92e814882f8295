// With runs a command while one Keycloak serves all the tests that it runs, in whatever process:
//
//	go run ./reconcile/keycloak/keycloaktest/with [-version 26.7.3] -- go test ./...
//
// It ends with the command's exit code. Where the environment names a server already, that one is used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

func main() {
	version := flag.String("version", "", "version of Keycloak (default the newest that is tested with)")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: with [-version VERSION] -- COMMAND [ARG…]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := with(ctx, *version, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// with returns the exit code of the command, and an error where that alone doesn't tell what went wrong.
func with(ctx context.Context, version string, command []string) (code int, err error) {
	environment := os.Environ()
	if os.Getenv(keycloaktest.Variable) == "" {
		server, err := keycloaktest.Start(ctx, keycloaktest.Options{Version: version, Log: os.Stderr})
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		environment = append(environment, server.Environment())
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment, os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}
