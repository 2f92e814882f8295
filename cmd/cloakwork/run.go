package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) run() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep servers as git repositories declare them",
		Long: "Run is the controller: it looks for new commits, applies them, corrects drift, and says so on the commits. It ends\n" +
			"on SIGTERM, between two writes. Flags describe one repository and one server; a file (--config) any number of both,\n" +
			"and what each repository may declare.\n\n" +
			"Exit codes: 0; 1 for an error, and with --once where anything isn't as declared.",
		Example: "  cloakwork run --config /etc/cloakwork/cloakwork.yaml\n" +
			"  cloakwork run --repository https://git.acme.example/iam/realms --server https://id.acme.example --user cloakwork\n" +
			"  cloakwork run --once --notes --repository /srv/git/realms.git",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.control(cmd.Context()) },
	}
	f := cmd.Flags()
	c.stateFlags(f)
	c.restoreFlags(f)
	f.StringVar(&c.flags.repository, "repository", "", "URL or path of the git repository")
	f.StringVar(&c.flags.branch, "branch", "", "branch that is in force (default the repository's)")
	f.StringVar(&c.flags.path, "path", "", "folder in the repository that holds the manifests (default its root)")
	f.StringVar(&c.flags.gitUser, "git-user", "", "who signs in to the git server, where a token alone isn't enough")
	f.StringVar(&c.flags.gitTokenFile, "git-token-file", "", "file with the token for the git server (or CLOAKWORK_GIT_TOKEN)")
	f.StringVar(&c.flags.sshKeyFile, "git-ssh-key-file", "", "file with the private key for an SSH repository, without a passphrase (or CLOAKWORK_GIT_SSH_KEY)")
	f.StringSliceVar(&c.flags.knownHosts, "git-known-hosts", nil, "file with the host keys of SSH servers, repeatable (default SSH_KNOWN_HOSTS, or ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts)")
	f.DurationVar(&c.flags.interval, "interval", 30*time.Second, "time between two looks for new commits")
	f.StringVar(&c.flags.schedule, "schedule", "*/5 * * * *", "when to look for drift where a manifest names no schedule (cron)")
	f.BoolVar(&c.flags.once, "once", false, "look once, print the reports, and end")
	f.BoolVar(&c.flags.notes, "notes", false, "write statuses as git notes (refs/notes/cloakwork)")
	f.StringVar(&c.flags.forge, "forge", "none", "post statuses to the repository's forge: gitea, github, gitlab, auto (by the host's name) or none")
	f.StringVar(&c.flags.forgeURL, "forge-url", "", "the forge's address, where it isn't the repository's host")
	f.StringVar(&c.flags.forgeTokenFile, "forge-token-file", "", "file with the token for the forge (or CLOAKWORK_FORGE_TOKEN; default the git token)")
	f.StringVar(&c.flags.statusPrefix, "status-prefix", "cloakwork", "beginning of the statuses' contexts, to tell environments apart")
	f.StringVar(&c.flags.metricsAddress, "metrics-address", "", "where Prometheus finds metrics, on this machine: 127.0.0.1:9464 (default nowhere)")
	f.StringVar(&c.flags.source, "source", "", "name of the source that owns what the manifests declare (default the repository and path)")
	f.BoolVar(&c.flags.realmDeletion, "allow-realm-deletion", false, "delete realms that are declared as null")
	c.manifestFlags(f)
	c.connectionFlags(f)
	return cmd
}

func (c *cli) control(ctx context.Context) error {
	k, err := c.keeper(ctx)
	if err != nil {
		return err
	}
	if c.flags.once {
		err = k.once(ctx)
	} else {
		err = k.run(ctx)
	}
	return errors.Join(err, k.close())
}

// keeper is the controller: the loops over its sources, and what they share.
type keeper struct {
	*cli
	sources   []*watched
	servers   *connections
	platforms *platforms
	metrics   *metrics
	points    *reconcile.RestorePoints
	backups   *backups
	listen    string // where metrics are served; "" for nowhere
}

// keeper makes it as the configuration or the flags say.
func (c *cli) keeper(ctx context.Context) (*keeper, error) {
	conf, err := c.readConfig()
	if err != nil {
		return nil, err
	}
	k := &keeper{cli: c, platforms: c.openPlatforms(conf), metrics: newMetrics()}
	if err := os.MkdirAll(k.platforms.state, 0o711); err != nil { // others go through it to where nodes stand; what is ours in it is closed
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if k.listen, err = c.metricsAddress(conf); err != nil {
		return nil, err
	}
	if k.points, err = c.restorePoints(conf); err != nil {
		return nil, err
	}
	if k.backups, err = k.newBackups(conf); err != nil {
		return nil, err
	}
	k.servers = c.connect(ctx, conf, k.platforms, k.metrics.sent)
	if conf == nil {
		w, err := c.flaggedSource(k.platforms)
		if err != nil {
			return nil, err
		}
		w.memory = k.memory(w)
		k.sources = []*watched{w}
		return k, nil
	}
	if err := c.alone(); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(conf.Sources)) {
		w := c.configuredSource(conf, k.platforms, k.servers, name)
		w.memory = k.memory(w)
		k.sources = append(k.sources, w)
	}
	return k, nil
}

func (k *keeper) close() error {
	k.servers.close()
	return k.platforms.close()
}

// run keeps each source by itself, until the context ends. One that can't be begun with is tried again.
func (k *keeper) run(ctx context.Context) error {
	if k.listen != "" {
		at, stopped, err := k.metrics.serve(ctx, k.listen)
		if err != nil {
			return err
		}
		defer stopped()
		k.log.Info("metrics", "address", at.String())
		for _, w := range k.sources {
			w.memory.state.Metrics = at.String()
		}
	}
	k.backups.begin(ctx)
	defer k.backups.Wait()
	var all sync.WaitGroup
	for _, w := range k.sources {
		all.Go(func() {
			for ctx.Err() == nil {
				poll, err := k.poll(w)
				if err == nil {
					k.log.Info("keeping", "source", poll.Source)
					_ = poll.Run(ctx) // it ends with the context
					return
				}
				w.memory.failed(err)
				k.log.Error("begin with a source", "source", w.Name, "error", drift.Escape(err.Error()))
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(w.Interval)):
				}
			}
		})
	}
	all.Wait()
	return nil
}

// once looks once at every source, and prints all reports.
func (k *keeper) once(ctx context.Context) error {
	said := &said{}
	failed := make([]error, len(k.sources))
	var all sync.WaitGroup
	for i, w := range k.sources {
		all.Go(func() {
			poll, err := k.poll(w)
			if err != nil {
				w.memory.failed(err)
			} else {
				told := poll.Told
				poll.Told = func(r drift.Report) { said.add(r); told(r) }
				_, err = poll.Once(ctx)
			}
			failed[i] = err
		})
	}
	all.Wait()
	bad := !k.backups.once(ctx) || ctx.Err() != nil
	for _, r := range said.reports {
		bad = bad || status.StateOf(r.Verdict) != status.Success
		if err := k.print(r); err != nil {
			return err
		}
	}
	if err := k.printAll(said.reports); err != nil {
		return err
	}
	var last error
	for i, w := range k.sources {
		err := failed[i]
		if err == nil && !bad {
			err = w.invalid()
		}
		if err != nil && len(k.sources) > 1 {
			k.complain(advised{fmt.Errorf("source %s: %w", w.Name, err), hint(err)})
			err = exit(1)
		}
		last = cmp.Or(err, last)
	}
	if last == nil && bad {
		return exit(1)
	}
	return last
}

// said is the last report on each realm and commit, in order. A commit with a problem has one, and so has the last good
// commit, which stays in force.
type said struct {
	mu      sync.Mutex
	reports []drift.Report
}

// keep forgets all others.
func (s *said) keep(which func(drift.Report) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = slices.DeleteFunc(s.reports, func(r drift.Report) bool { return !which(r) })
}

func (s *said) all() []drift.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports)
}

func (s *said) add(r drift.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = slices.DeleteFunc(s.reports, func(o drift.Report) bool {
		return o.Server == r.Server && o.Realm == r.Realm && o.Deployment == r.Deployment && o.Commit == r.Commit
	})
	s.reports = append(s.reports, r)
	slices.SortStableFunc(s.reports, func(a, b drift.Report) int {
		return cmp.Or(cmp.Compare(a.Deployment, b.Deployment), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Realm, b.Realm))
	})
}

// ours is what is declared for the one server that the flags describe.
func (c *cli) ours(d schema.Declared) schema.Declared {
	if name := c.flags.serverName; name != "" {
		maps.DeleteFunc(d.Realms, func(r schema.RealmRef, _ *schema.Realm) bool {
			_, deployed := d.Deployments[r.Server]
			return r.Server != name && !deployed
		})
	} else if names := servers(d); len(names) > 1 {
		d.Problems = append(d.Problems, schema.Problem{
			What: "the manifests name several servers: " + strings.Join(names, ", "), Hint: "say which one --server is by --server-name"})
	}
	return d
}
