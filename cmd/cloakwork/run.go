package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) run() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep a server as a git repository declares it",
		Long: "Run is the controller: it looks for new commits, applies them, corrects drift, and says so on the commits. It ends\n" +
			"on SIGTERM, between two writes.\n\n" +
			"Exit codes: 0; 1 for an error, and with --once where anything isn't as declared.",
		Example: "  cloakwork run --repository https://git.acme.example/iam/realms --server https://id.acme.example --user cloakwork\n" +
			"  cloakwork run --once --notes --repository /srv/git/realms.git",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.control(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&c.flags.repository, "repository", "", "URL or path of the git repository")
	f.StringVar(&c.flags.branch, "branch", "", "branch that is in force (default the repository's)")
	f.StringVar(&c.flags.path, "path", "", "folder in the repository that holds the manifests (default its root)")
	f.StringVar(&c.flags.gitUser, "git-user", "", "who signs in to the git server, where a token alone isn't enough")
	f.StringVar(&c.flags.gitTokenFile, "git-token-file", "", "file with the token for the git server (or CLOAKWORK_GIT_TOKEN)")
	f.StringVar(&c.flags.sshKeyFile, "git-ssh-key-file", "", "file with the private key for an SSH repository, without a passphrase (or CLOAKWORK_GIT_SSH_KEY)")
	f.StringSliceVar(&c.flags.knownHosts, "git-known-hosts", nil, "file with the host keys of SSH servers, repeatable (default SSH_KNOWN_HOSTS, or ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts)")
	f.StringVar(&c.flags.stateDir, "state-dir", "", "folder for the copy of the repository (default one in the user's cache)")
	f.DurationVar(&c.flags.interval, "interval", 30*time.Second, "time between two looks for new commits")
	f.StringVar(&c.flags.schedule, "schedule", "*/5 * * * *", "when to look for drift where a manifest names no schedule (cron)")
	f.BoolVar(&c.flags.once, "once", false, "look once, print the reports, and end")
	f.BoolVar(&c.flags.notes, "notes", false, "write statuses as git notes (refs/notes/cloakwork)")
	f.StringVar(&c.flags.forge, "forge", "none", "post statuses to the repository's forge: gitea, github, gitlab, auto (by the host's name) or none")
	f.StringVar(&c.flags.forgeURL, "forge-url", "", "the forge's address, where it isn't the repository's host")
	f.StringVar(&c.flags.forgeTokenFile, "forge-token-file", "", "file with the token for the forge (or CLOAKWORK_FORGE_TOKEN; default the git token)")
	f.StringVar(&c.flags.statusPrefix, "status-prefix", "cloakwork", "beginning of the statuses' contexts, to tell environments apart")
	f.StringVar(&c.flags.source, "source", "", "name of the source that owns what the manifests declare (default the repository and path)")
	f.BoolVar(&c.flags.realmDeletion, "allow-realm-deletion", false, "delete realms that are declared as null")
	c.manifestFlags(f)
	c.connectionFlags(f)
	return cmd
}

func (c *cli) control(ctx context.Context) error {
	poll, invalid, err := c.poll(ctx)
	if err != nil {
		return err
	}
	if !c.flags.once {
		c.log.Info("keeping", "source", poll.Source, "server", c.flags.server)
		return poll.Run(ctx)
	}
	said := &said{}
	poll.Told = said.add
	_, err = poll.Once(ctx)
	bad := ctx.Err() != nil
	for _, r := range said.reports {
		bad = bad || status.StateOf(r.Verdict) != status.Success
		if printed := c.print(r); printed != nil {
			return printed
		}
	}
	if printed := c.printAll(said.reports); printed != nil {
		return printed
	}
	if problem := invalid(); problem != nil && !bad && err == nil {
		return problem
	}
	switch {
	case err != nil:
		return err
	case bad:
		return exit(1)
	}
	return nil
}

// said is the last report on each realm and commit, in order. A commit with a problem has one, and so has the last good
// commit, which stays in force.
type said struct {
	mu      sync.Mutex
	reports []drift.Report
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

// poll wires the loop. Invalid says afterwards what is wrong with the manifests of the newest commit.
func (c *cli) poll(ctx context.Context) (p *reconcile.Poll, invalid func() error, err error) {
	if c.flags.repository == "" {
		return nil, nil, advise("give --repository URL", "no repository is given")
	}
	schedule, err := cron.ParseStandard(c.flags.schedule)
	if err != nil {
		return nil, nil, advise(`write the five fields of cron, such as "*/5 * * * *"`, "--schedule: %q is not a schedule", c.flags.schedule)
	}
	if c.flags.interval < time.Second {
		return nil, nil, advise("give a second or more", "--interval %s is too short", c.flags.interval)
	}
	options, err := c.options()
	if err != nil {
		return nil, nil, err
	}
	if options.Allow == nil {
		options.Allow = []string{} // a controller substitutes only what it is told to
	}
	options.ServerVersion = c.serverVersion()
	key, err := c.fingerprintKey()
	if err != nil {
		return nil, nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	repository, path, err := c.repository()
	if err != nil {
		return nil, nil, err
	}
	mirror, to, err := c.mirror(repository)
	if err != nil {
		return nil, nil, err
	}
	var broken atomic.Pointer[status.Status] // of the last commit whose manifests have problems
	p = &reconcile.Poll{
		Mirror: mirror, Path: path, Source: c.flags.source, Environment: c.flags.environment, Prefix: c.flags.statusPrefix,
		Interval: c.flags.interval, Schedule: schedule, AllowRealmDeletion: c.flags.realmDeletion, FingerprintKey: key, Log: c.log,
		Load:    func(tree fs.FS) schema.Declared { return c.ours(c.load(tree, nil, "", options)) },
		Connect: c.connector(ctx, client),
		Post: func(ctx context.Context, s status.Status) error {
			s.Says = drift.Sentence(c.secrets.redact(s.Says)) // an error may repeat what Keycloak was sent
			if s.Context == c.flags.statusPrefix+"/validate" && s.State != status.Success {
				broken.Store(&s)
			}
			return to.post(ctx, s)
		},
		Read: to.read,
	}
	if p.Source == "" {
		p.Source = sourceName(git.Canonical(repository), "", path)
	}
	invalid = func() error {
		head, ok := mirror.Head()
		last := broken.Load()
		if !ok || last == nil || last.Commit != head.Hash {
			return nil
		}
		return advise("mend it in a new commit", "commit %.7s: %s", head.Hash, last.Says)
	}
	return p, invalid, nil
}

// ours is what is declared for the one server that the flags describe.
func (c *cli) ours(d schema.Declared) schema.Declared {
	if name := c.flags.serverName; name != "" {
		maps.DeleteFunc(d.Realms, func(r schema.RealmRef, _ *schema.Realm) bool { return r.Server != name })
	} else if names := servers(d); len(names) > 1 {
		d.Problems = append(d.Problems, schema.Problem{
			What: "the manifests name several servers: " + strings.Join(names, ", "), Hint: "say which one --server is by --server-name"})
	}
	return d
}

// repository is the URL with nothing relative in it, and the folder within.
func (c *cli) repository() (url, path string, err error) {
	url = c.flags.repository
	if _, err := os.Stat(url); err == nil && !strings.Contains(url, "://") {
		if url, err = filepath.Abs(url); err != nil {
			return "", "", err
		}
	}
	path = filepath.ToSlash(filepath.Clean(c.flags.path))
	if c.flags.path == "" || path == "." {
		return url, "", nil
	}
	path = strings.Trim(path, "/")
	if !fs.ValidPath(path) {
		return "", "", advise("name a folder within the repository", "--path %s leads out of the repository", c.flags.path)
	}
	return url, path, nil
}

// posters are the places where statuses go.
type posters []*status.Poster

func (p posters) post(ctx context.Context, s status.Status) error {
	var refused []error
	for _, to := range p {
		refused = append(refused, to.Post(ctx, s))
	}
	return errors.Join(refused...)
}

// read is what is shown for a commit: of several places, what is pending in one.
func (p posters) read(ctx context.Context, commit, context string) (shown status.Status, ok bool, err error) {
	for _, from := range p {
		s, found, err := from.Forge.Read(ctx, commit, context)
		if err != nil {
			return status.Status{}, false, err
		}
		if found && (!ok || s.State == status.Pending) {
			shown, ok = s, true
		}
	}
	return shown, ok, nil
}

// mirror opens the copy of the repository, and says where statuses go.
func (c *cli) mirror(repository string) (*git.Mirror, posters, error) {
	token, err := c.secret("git-token-file", c.flags.gitTokenFile, "CLOAKWORK_GIT_TOKEN")
	if err != nil {
		return nil, nil, err
	}
	forgeToken, err := c.secret("forge-token-file", c.flags.forgeTokenFile, "CLOAKWORK_FORGE_TOKEN")
	if err != nil {
		return nil, nil, err
	}
	if forgeToken == "" {
		forgeToken = token
	}
	key, err := c.secret("git-ssh-key-file", c.flags.sshKeyFile, "CLOAKWORK_GIT_SSH_KEY")
	if err != nil {
		return nil, nil, err
	}
	remote := git.Remote{URL: repository, Branch: c.flags.branch, User: c.flags.gitUser, Token: token, SSHKey: []byte(key), KnownHosts: c.flags.knownHosts}
	if c.flags.ca != "" {
		if remote.CA, err = os.ReadFile(c.flags.ca); err != nil {
			return nil, nil, err
		}
	}
	mirror, err := git.Open(c.mirrorFolder(repository), remote, c.log)
	if err != nil {
		return nil, nil, err
	}
	var to posters
	if c.flags.notes {
		to = append(to, &status.Poster{Forge: status.Notes{Notes: mirror}})
	}
	if c.flags.forge != "none" {
		forge, err := status.Open(status.Repository{Remote: repository, Kind: c.flags.forge, URL: c.flags.forgeURL, Token: forgeToken, CA: remote.CA})
		if err != nil {
			return nil, nil, advise("check --repository, --forge and --forge-url", "%w", err)
		}
		to = append(to, &status.Poster{Forge: forge})
	}
	return mirror, to, nil
}

// mirrorFolder is a folder for each repository and branch, named so that a person knows whose it is.
func (c *cli) mirrorFolder(repository string) string {
	dir := c.flags.stateDir
	if dir == "" {
		dir = "/var/lib/cloakwork"
		if cache, err := os.UserCacheDir(); err == nil {
			dir = filepath.Join(cache, "cloakwork")
		}
	}
	url := git.Canonical(repository)
	sum := sha256.Sum256([]byte(url + "\n" + c.flags.branch))
	return filepath.Join(dir, "mirrors", fmt.Sprintf("%s-%x", filepath.Base(url), sum[:4]))
}

// connector hands out the client of the one server, and finds out now and then whom it signs in as: a server is upgraded
// while the controller runs.
func (c *cli) connector(ctx context.Context, client *keycloak.Client) func(string) (*keycloak.Client, reconcile.Account, error) {
	var mu sync.Mutex
	var who *reconcile.Account
	var asked time.Time
	return func(string) (*keycloak.Client, reconcile.Account, error) {
		mu.Lock()
		defer mu.Unlock()
		if who == nil || time.Since(asked) > 10*time.Minute {
			found, err := account(ctx, client)
			if err != nil {
				return nil, reconcile.Account{}, err
			}
			who, asked = &found, time.Now()
		}
		return client, *who, nil
	}
}
