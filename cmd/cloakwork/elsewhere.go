//go:build !linux

package main

import (
	"errors"
	"runtime"

	"github.com/spf13/cobra"
)

// errLinux is why nothing runs on this machine itself: sockets, processes and their credentials are handled as Linux does.
var errLinux = errors.New("platform local needs Linux, and this is " + runtime.GOOS)

func openLocal(*platforms) (host, error) { return host{}, errLinux }

func (c *cli) dataplane() *cobra.Command {
	return &cobra.Command{Use: "dataplane", Short: "Serve a region on platform local (Linux)", RunE: func(*cobra.Command, []string) error { return errLinux }}
}
