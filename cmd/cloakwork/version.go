package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the versions of Keycloak that it knows",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(c.out, "cloakwork %s, for Keycloak %s\n", version(), strings.Join(schema.Versions(), ", "))
			return err
		},
	}
}

// release is what the Makefile calls a build; the linker sets it.
var release string

// version is that, or what the Go tool stamped this program with.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
