package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
)

func (c *cli) apply() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply [PLAN] [PATH…]",
		Short: "Make the server as declared, then look again",
		Long: "Apply makes the declared realms as declared and looks a second time whether they are. What this source made\n" +
			"and no longer declares is deleted; what it never made is left alone. Nodes of declared deployments are brought to what\n" +
			"is declared, step by step, before the realms that they serve.\n\n" +
			"In place of the manifests a plan may be given that was saved by plan --out. It is applied only where the same manifests\n" +
			"and the server still ask for what it shows; else what moved is named, and nothing is done.\n\n" +
			"A client without a declared secret has one that Keycloak made. --outputs writes these, once every realm is as declared:\n" +
			"into a file to be read by a shell (set -a; . FILE; set +a), or, where it ends in a slash, into DIR/REALM/clients/CLIENT.\n\n" +
			"With --state-dir on the command line, what is changed and deleted is kept there as it was before, for cloakwork rollback.\n\n" +
			"Exit codes: 0 everything is as declared, 1 it isn't.",
		Example: "  cloakwork apply examples/acme --server https://id.acme.example --user admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			mode := reconcile.Apply
			if c.flags.dryRun {
				mode = reconcile.Plan
			}
			reports, failed, err := c.passes(cmd.Context(), args, mode)
			switch {
			case err != nil:
				return err
			case failed, !c.flags.dryRun && slices.ContainsFunc(reports, unsettled):
				return exit(1)
			}
			return nil
		},
	}
	c.manifestFlags(cmd.Flags())
	c.sourceFlags(cmd.Flags())
	c.connectionFlags(cmd.Flags())
	c.stateFlags(cmd.Flags())
	c.restoreFlags(cmd.Flags())
	cmd.Flags().StringVar(&c.flags.outputs, "outputs", "", "file or folder/, readable by you alone, for the secrets that Keycloak made for declared clients")
	cmd.Flags().BoolVar(&c.flags.dryRun, "dry-run", false, "only show what would be done, as plan does")
	cmd.Flags().BoolVar(&c.flags.realmDeletion, "allow-realm-deletion", false, "delete realms that are declared as null")
	return cmd
}

func unsettled(r drift.Report) bool { return r.Verdict != drift.InSync }
