package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
)

func (c *cli) resume() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume [DEPLOYMENT]",
		Short: "Try again what stopped, or end a rollback",
		Long: "Resume ends a deployment's ERROR: what stopped is tried again from the beginning, by the controller that runs or the\n" +
			"next one. Without a name it is the one deployment that is in ERROR.\n\n" +
			"With --realm it ends what cloakwork rollback holds there: the source's newest commit is in force from the next pass on.\n\n" +
			"Exit codes: 0 it goes on, 1 it doesn't.",
		Example: "  cloakwork resume eu --config /etc/cloakwork/cloakwork.yaml\n" +
			"  cloakwork resume --realm acme --server https://id.acme.example --user admin",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(c.flags.realms) > 0 {
				if len(args) > 0 {
					return advise("give one of them", "a deployment and --realm don't go together")
				}
				return c.unpinned(cmd.Context(), c.flags.realms)
			}
			p, d, err := c.meantDeployment(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.resumed(cmd.Context(), p, d)
		},
	}
	c.stateFlags(cmd.Flags())
	c.connectionFlags(cmd.Flags())
	cmd.Flags().StringSliceVar(&c.flags.realms, "realm", nil, "end the rollback of this realm, repeatable")
	return cmd
}

// meantDeployment is the deployment that is named, or the one that is in ERROR, of those that controllers have kept.
func (c *cli) meantDeployment(ctx context.Context, args []string) (*platforms, deployment, error) {
	conf, err := c.readConfig()
	if err != nil {
		return nil, deployment{}, err
	}
	p := c.openPlatforms(conf)
	now, err := c.stand(ctx, p)
	if err != nil {
		return nil, deployment{}, err
	}
	d, err := stopped(now.Deployments, args)
	return p, d, err
}

// rerecord looks at a deployment and keeps another Record of it, unless it moved by itself meanwhile. It returns what was seen.
func (p *platforms) rerecord(ctx context.Context, d deployment, decide func(platform.Seen) (platform.Record, error)) (seen platform.Seen, record platform.Record, err error) {
	driver, err := p.drive(&d.Declared)
	if err != nil {
		return seen, record, err
	}
	if seen, err = driver.Observe(ctx, d.Declared); err != nil {
		return seen, record, fmt.Errorf("look at deployment %s: %w", d.Name, err)
	}
	if record, err = decide(seen); err != nil {
		return seen, record, err
	}
	switch err = driver.Save(ctx, d.Declared, seen.Record, record); {
	case errors.Is(err, platform.ErrMoved):
		err = advise("look at it by cloakwork status", "deployment %s: somebody else was faster", d.Name)
	case err != nil:
		err = fmt.Errorf("save the record of deployment %s: %w", d.Name, err)
	}
	return seen, record, err
}

// stopped is the deployment that is named, or the one that is in ERROR.
func stopped(all []deployment, named []string) (deployment, error) {
	names := func(which func(deployment) bool) (names []string) {
		for _, d := range all {
			if which(d) {
				names = append(names, d.Name)
			}
		}
		return names
	}
	inError := names(func(d deployment) bool { return d.Record.Lifecycle == platform.Error })
	if len(named) == 0 {
		switch len(inError) {
		case 0:
			return deployment{}, errors.New("nothing has stopped: no deployment is in ERROR")
		case 1:
			named = inError
		default:
			return deployment{}, advise("name one", "several deployments are in ERROR: %s", strings.Join(inError, ", "))
		}
	}
	i := slices.IndexFunc(all, func(d deployment) bool { return d.Name == named[0] })
	if i < 0 {
		known := strings.Join(names(func(deployment) bool { return true }), ", ")
		if known == "" {
			known = "no deployment at all"
		}
		return deployment{}, advise("the controller knows "+known, "no deployment %q is known", named[0])
	}
	return all[i], nil
}

// resumed has a deployment's move go on, unless it moved by itself meanwhile.
func (c *cli) resumed(ctx context.Context, p *platforms, d deployment) error {
	seen, record, err := p.rerecord(ctx, d, func(seen platform.Seen) (platform.Record, error) {
		record, ok := rollout.Resume(seen.Record)
		if !ok {
			return record, fmt.Errorf("nothing has stopped: deployment %s is %s", d.Name, seen.Record.Lifecycle)
		}
		return record, nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "deployment %s goes on, at epoch %d: %s is tried again at the controller's next look\n", drift.Escape(d.Name), record.Epoch,
		what(seen.Record.Fault.Step))
	return err
}

// what is what a step that failed was to do.
func what(s drift.Step) string {
	if s.Verb == "" {
		return "the move"
	}
	return drift.Escape(s.String())
}
