package main

import (
	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
)

func (c *cli) dataplane() *cobra.Command {
	var dir string
	var supervise bool
	cmd := &cobra.Command{
		Use:   "dataplane --dir DIR",
		Short: "Serve a region on platform local",
		Long: "Dataplane is the process before the nodes of a region on platform local: it hands requests to them, leads them to the\n" +
			"primary of the database, and has them run. The driver starts it and tells it what to do; it goes on when the controller is gone.",
		Example: "  cloakwork dataplane --supervise --dir /var/lib/cloakwork/eu/paris",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return advise("give --dir DIR, a folder that holds a plane.json", "no folder is given")
			}
			if supervise {
				return dataplane.Keep(cmd.Context(), dir)
			}
			return dataplane.Serve(cmd.Context(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the region's data plane")
	cmd.Flags().BoolVar(&supervise, "supervise", false, "have a data plane run, whatever happens to it")
	return cmd
}
