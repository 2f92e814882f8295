package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/reconcile"
)

func (c *cli) drift() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drift [PATH…]",
		Short: "Show how the server differs from what was last applied",
		Long: "Drift compares the server with what these manifests' source last applied, or with the manifests where that\n" +
			"can't be read. It writes nothing.\n\n" +
			"Exit codes: 0 no drift, 2 drift, 1 error.",
		Example: "  cloakwork drift examples/acme --server https://id.acme.example --user admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			reports, failed, err := c.passes(cmd.Context(), args, reconcile.Drift)
			switch {
			case err != nil:
				return err
			case failed:
				return exit(1)
			case slices.ContainsFunc(reports, changes):
				return exit(2)
			}
			return nil
		},
	}
	c.manifestFlags(cmd.Flags())
	c.sourceFlags(cmd.Flags())
	c.connectionFlags(cmd.Flags())
	c.stateFlags(cmd.Flags())
	return cmd
}
