package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
)

func (c *cli) failover() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "failover DEPLOYMENT --to REGION",
		Short: "Have another region be the active one",
		Long: "Failover writes down that another region shall be active, whatever git names, and the controller that runs, or the next\n" +
			"one, moves there: a switchover where the active region answers, a failover where it doesn't. It is refused where\n" +
			"anything that was acknowledged might be lost. It waits for no window, and ends when git names that region, or\n" +
			"another one than it names now.\n\n" +
			"Exit codes: 0 it is written down, 1 it isn't.",
		Example: "  cloakwork failover eu --to milan --config /etc/cloakwork/cloakwork.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return advise("name the region by --to", "where shall deployment %s move?", args[0])
			}
			p, d, err := c.meantDeployment(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.failedOver(cmd.Context(), p, d, to)
		},
	}
	c.stateFlags(cmd.Flags())
	cmd.Flags().StringVar(&to, "to", "", "the region")
	return cmd
}

// failedOver has a deployment move to a region, unless it moved by itself meanwhile.
func (c *cli) failedOver(ctx context.Context, p *platforms, d deployment, to string) error {
	seen, _, err := p.rerecord(ctx, d, func(seen platform.Seen) (platform.Record, error) {
		record, err := rollout.Move(d.Declared, seen, to)
		if err != nil {
			return record, advise("look at it by cloakwork status", "%w", err)
		}
		return record, nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "deployment %s moves from %s to %s, from the controller's next look on\n", drift.Escape(d.Name), drift.Escape(seen.Record.Active), drift.Escape(to))
	return err
}
