package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
)

func (c *cli) plan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [PATH…]",
		Short: "Show what apply would do, risks first",
		Long: "Plan compares the declared realms with the server, and declared deployments with what runs, and shows what apply\n" +
			"would do. It writes nothing.\n\n" +
			"With --against it compares what two environments declare instead, and asks no server: but for what spec.differs of\n" +
			"the Environment lists, they are to be alike.\n\n" +
			"With --out the plan is saved for apply, which refuses it when the commit or the server has moved since. The file holds\n" +
			"what is to be done to which objects, and no values.\n\n" +
			"Exit codes: 0, 1 error; with --detailed-exitcode 2 where there are changes.",
		Example: "  cloakwork plan examples/acme --out acme.plan\n" +
			"  cloakwork plan examples/acme --server https://id.acme.example --user admin\n" +
			"  cloakwork plan examples/layered --environment prod --against staging --detailed-exitcode",
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.flags.against != "" {
				return c.against(args)
			}
			reports, failed, err := c.passes(cmd.Context(), args, reconcile.Plan)
			switch {
			case err != nil:
				return err
			case failed:
				return exit(1)
			case c.flags.detailedExitCode && slices.ContainsFunc(reports, changes):
				return exit(2)
			}
			return nil
		},
	}
	c.manifestFlags(cmd.Flags())
	c.sourceFlags(cmd.Flags())
	c.connectionFlags(cmd.Flags())
	c.stateFlags(cmd.Flags())
	cmd.Flags().StringVar(&c.flags.out, "out", "", "new file, readable by you alone, that the plan is saved in for apply")
	cmd.Flags().StringVar(&c.flags.against, "against", "", "environment, or its topmost layer, that --environment is compared with; no server is asked")
	cmd.Flags().BoolVar(&c.flags.detailedExitCode, "detailed-exitcode", false, "exit with 2 where there are changes")
	cmd.Flags().BoolVar(&c.flags.realmDeletion, "allow-realm-deletion", false, "plan as apply would with this flag")
	return cmd
}

func changes(r drift.Report) bool { return len(r.Changes) > 0 || len(r.Steps) > 0 }
