package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) rollback() *cobra.Command {
	var beyondLimits bool
	cmd := &cobra.Command{
		Use:   "rollback COMMIT [PATH…]",
		Short: "Go back to an earlier commit, and hold it",
		Long: "Rollback applies an earlier commit of the checkout that the manifests lie in, and has every later pass of the source\n" +
			"hold the realms there, also the controller's: until a commit comes that this checkout doesn't know, or cloakwork\n" +
			"resume --realm. What git doesn't have, such as the generated secret and the id of a client that was deleted, comes\n" +
			"back from the restore points in --state-dir. The limits of the commit hold.\n\n" +
			"Exit codes: 0 the realms are as that commit declares, 1 they aren't.",
		Example: "  cloakwork rollback 3f1c2a9 realms --server https://id.acme.example --user admin",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.rolledBack(cmd.Context(), args[0], args[1:], beyondLimits)
		},
	}
	f := cmd.Flags()
	c.stateFlags(f)
	c.restoreFlags(f)
	c.manifestFlags(f)
	c.sourceFlags(f)
	c.connectionFlags(f)
	f.StringVar(&c.flags.restoreKeyFile, "restore-key-file", "", "file with the age keys that open the restore points (or CLOAKWORK_RESTORE_KEY)")
	f.BoolVar(&beyondLimits, "beyond-limits", false, "change and delete more than the commit's limits allow")
	return cmd
}

// restoreFlags say how restore points are kept.
func (c *cli) restoreFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&c.flags.restoreRecipients, "restore-recipient", nil, "age recipient whom restore points are encrypted to, repeatable (default nobody: secrets are left out)")
	f.DurationVar(&c.flags.restoreKeep, "restore-keep", schema.RestoreKeep, "how long restore points are kept")
}

// restorePoints are those in the state folder, as the configuration or the flags have it.
func (c *cli) restorePoints(conf *config) (*reconcile.RestorePoints, error) {
	recipients, keep := c.flags.restoreRecipients, c.flags.restoreKeep
	if conf != nil {
		recipients, keep = conf.Restore.Recipients, time.Duration(conf.Restore.Keep)
	}
	points, err := reconcile.NewRestorePoints(filepath.Join(c.stateFolder(conf), "restore-points"), recipients, keep)
	if err != nil {
		return nil, advise("give what age-keygen calls the public key, age1…", "--restore-recipient: %w", err)
	}
	return points, nil
}

// restoreKeys open the restore points; none where none are given.
func (c *cli) restoreKeys() (reconcile.RestoreKeys, error) {
	text, err := c.secret("restore-key-file", c.flags.restoreKeyFile, "CLOAKWORK_RESTORE_KEY")
	if err != nil || text == "" {
		return nil, err
	}
	for line := range strings.Lines(text) {
		c.secrets.add(strings.TrimSpace(line))
	}
	keys, err := reconcile.NewRestoreKeys(text)
	if err != nil {
		return nil, advise("give the file that age-keygen writes", "--restore-key-file: %w", err)
	}
	return keys, nil
}

// crossings is how often a rollback begins anew where the controller was writing at the same time.
const crossings = 5

func (c *cli) rolledBack(ctx context.Context, name string, args []string, beyondLimits bool) error {
	r, err := c.reaching(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	points, err := c.restorePoints(r.file)
	if err != nil {
		return err
	}
	keys, err := c.restoreKeys()
	if err != nil {
		return err
	}
	conf, err := c.configuration(args)
	if err != nil {
		return err
	}
	if conf.worktree == nil {
		return advise("run it in a checkout of the repository", "the manifests lie in no git checkout, and so there is nothing to go back to")
	}
	commit, err := conf.worktree.Resolve(name)
	if err != nil {
		return advise("git fetch, and look for it by git log", "%w", err)
	}
	tree, err := conf.at(commit)
	if err != nil {
		return err
	}
	conf.declared, conf.commit = c.load(tree, conf.paths, conf.prefix, conf.options), conf.worktree.Commit
	c.problems(conf.declared)
	refs, err := c.wanted(conf.declared)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return advise("name the folder that held the manifests then", "commit %.7s declares no realm here", commit)
	}
	failed := false
	var reports []drift.Report
	for _, ref := range refs {
		p := c.pass(conf, ref, reconcile.Apply)
		p.RestorePoints = points
		p.Rollback = &reconcile.Rollback{Commit: commit, Keys: keys, Unlimited: beyondLimits}
		report, err := r.pass(ctx, conf, p, "")
		for n := 1; n < crossings && reconcile.Crossed(err); n++ {
			report, err = r.pass(ctx, conf, p, "")
		}
		failed = failed || err != nil
		reports = append(reports, report)
		if err := c.print(report); err != nil {
			return err
		}
	}
	if err := c.printAll(reports); err != nil {
		return err
	}
	if failed {
		return exit(1)
	}
	return nil
}

// unpinned ends what rollbacks hold in realms of the server that the flags describe.
func (c *cli) unpinned(ctx context.Context, names []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	for _, name := range names {
		pinned, err := (&realm.Realm{Client: client, Name: name}).Unpin(ctx)
		if keycloak.IsNotFound(err) {
			return fmt.Errorf("there is no realm %s", name)
		}
		if err != nil {
			return err
		}
		if len(pinned) == 0 {
			return advise("cloakwork plan says what is in force", "no rollback holds realm %s", drift.Escape(name))
		}
		for _, source := range slices.Sorted(maps.Keys(pinned)) {
			fmt.Fprintf(c.out, "realm %s is no longer held at %.7s: the next pass of %s goes on with its newest commit\n", drift.Escape(name), pinned[source], drift.Escape(source))
		}
	}
	return nil
}
