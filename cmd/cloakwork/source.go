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
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/schema"
)

// watched is a source with what it is read by.
type watched struct {
	schema.Source
	folder string // of its copy
	load   func(fs.FS, schema.Options) schema.Declared
	read   func() (access, error) // what may change or be missing while the controller runs

	memory *memory
	head   func() (git.Commit, bool)
	broken atomic.Pointer[status.Status] // of the last commit whose manifests have problems
}

// access is what a source is reached by.
type access struct {
	remote  git.Remote
	forge   string // its token
	key     reconcile.FingerprintKey
	options schema.Options
}

// poll wires the loop over a source.
func (k *keeper) poll(w *watched) (*reconcile.Poll, error) {
	a, err := w.read()
	if err != nil {
		return nil, err
	}
	schedule, err := cron.ParseStandard(w.Schedule)
	if err != nil {
		return nil, err // it was checked
	}
	mirror, err := git.Open(w.folder, a.remote, k.log)
	if err != nil {
		return nil, err
	}
	to, err := w.posters(mirror, a)
	if err != nil {
		return nil, err
	}
	w.head = mirror.Head
	return &reconcile.Poll{
		Mirror: mirror, Path: w.Path, Source: cmp.Or(w.Ledger, sourceName(git.Canonical(w.Repository), "", w.Path)), Environment: w.Environment,
		Prefix: w.StatusPrefix, Interval: time.Duration(w.Interval), Schedule: schedule, AllowRealmDeletion: w.Allow.RealmDeletion,
		FingerprintKey: a.key, RestorePoints: k.points, Log: k.log,
		Load:    func(tree fs.FS) schema.Declared { return k.unserved(w.load(tree, a.options)) },
		Drive:   k.platforms.drive,
		Connect: k.servers.get,
		Post: func(ctx context.Context, s status.Status) error {
			s.Says = drift.Sentence(k.secrets.redact(s.Says)) // an error may repeat what Keycloak was sent
			if s.Context == w.StatusPrefix+"/validate" && s.State != status.Success {
				w.broken.Store(&s)
			}
			return to.post(ctx, s)
		},
		Read: to.read,
		Told: func(r drift.Report) { w.memory.told(r); k.metrics.told(w.Name, r) },
		Seen: func(d schema.Deployment, done reconcile.Deployed) {
			w.memory.seen(d, done)
			k.metrics.seen(w.Name, d, done)
			k.backups.seen(w, to.post, d, done)
		},
		Looked: func(l reconcile.Look) {
			w.memory.looked(l)
			k.metrics.looked(w.Name, l)
			k.backups.looked(w.Name, l)
		},
	}, nil
}

// invalid says what is wrong with the manifests of the newest commit.
func (w *watched) invalid() error {
	head, ok := w.head()
	last := w.broken.Load()
	if !ok || last == nil || last.Commit != head.Hash {
		return nil
	}
	return advise("mend it in a new commit", "commit %.7s: %s", head.Hash, last.Says)
}

// flaggedSource is the one source that the flags describe.
func (c *cli) flaggedSource(p *platforms) (*watched, error) {
	if c.flags.repository == "" {
		return nil, advise("give --repository URL, or --config FILE", "no repository is given")
	}
	if _, err := cron.ParseStandard(c.flags.schedule); err != nil {
		return nil, advise(`write the five fields of cron, such as "*/5 * * * *"`, "--schedule: %q is not a schedule", c.flags.schedule)
	}
	if c.flags.interval < time.Second {
		return nil, advise("give a second or more", "--interval %s is too short", c.flags.interval)
	}
	if c.flags.server != "" || len(c.drivers) == 0 { // else deployments may be declared
		if _, err := c.flaggedServer(); err != nil {
			return nil, err
		}
	}
	repository, path, err := c.repository()
	if err != nil {
		return nil, err
	}
	w := &watched{Source: schema.Source{
		Repository: repository, Branch: c.flags.branch, Path: path, Environment: c.flags.environment, Interval: schema.Duration(c.flags.interval),
		Schedule: c.flags.schedule, Forge: schema.Forge{Kind: c.flags.forge, URL: c.flags.forgeURL}, Notes: c.flags.notes, StatusPrefix: c.flags.statusPrefix,
		Ledger: c.flags.source, Allow: schema.Allow{Variables: c.flags.substitute, RealmDeletion: c.flags.realmDeletion},
	}}
	// A folder for each repository and branch, named so that a person knows whose it is.
	url := git.Canonical(repository)
	sum := sha256.Sum256([]byte(url + "\n" + c.flags.branch))
	w.Name = fmt.Sprintf("%s-%x", filepath.Base(url), sum[:4])
	w.folder = filepath.Join(p.state, "mirrors", w.Name)
	w.load = func(tree fs.FS, o schema.Options) schema.Declared {
		none := schema.Controller{}
		return none.PermitTelemetry(none.PermitBackups(c.ours(c.load(tree, nil, "", o))))
	}
	a, err := c.flaggedAccess(repository)
	w.read = func() (access, error) { return a, nil }
	return w, err
}

// flaggedAccess is what the flags say about reaching a repository.
func (c *cli) flaggedAccess(repository string) (a access, err error) {
	if a.options, err = c.options(); err != nil {
		return a, err
	}
	if a.options.Allow == nil {
		a.options.Allow = []string{} // a controller substitutes only what it is told to
	}
	a.options.ServerVersion = c.serverVersion()
	if a.key, err = c.fingerprintKey(); err != nil {
		return a, err
	}
	token, err := c.secret("git-token-file", c.flags.gitTokenFile, "CLOAKWORK_GIT_TOKEN")
	if err != nil {
		return a, err
	}
	if a.forge, err = c.secret("forge-token-file", c.flags.forgeTokenFile, "CLOAKWORK_FORGE_TOKEN"); err != nil {
		return a, err
	}
	a.forge = cmp.Or(a.forge, token)
	key, err := c.secret("git-ssh-key-file", c.flags.sshKeyFile, "CLOAKWORK_GIT_SSH_KEY")
	if err != nil {
		return a, err
	}
	a.remote = git.Remote{URL: repository, Branch: c.flags.branch, User: c.flags.gitUser, Token: token, SSHKey: []byte(key), KnownHosts: c.flags.knownHosts}
	if c.flags.ca != "" {
		a.remote.CA, err = os.ReadFile(c.flags.ca)
	}
	return a, err
}

// configuredSource is a source as the configuration describes it.
func (c *cli) configuredSource(conf *config, p *platforms, servers *connections, name string) *watched {
	w := &watched{Source: conf.Sources[name], folder: filepath.Join(p.state, "mirrors", name)}
	w.Repository = conf.repository(w.Repository)
	w.load = func(tree fs.FS, o schema.Options) schema.Declared {
		return conf.PermitTelemetry(conf.PermitBackups(conf.Permit(name, c.load(tree, nil, "", o))))
	}
	w.read = func() (access, error) { return c.configuredAccess(conf, servers, w.Source) }
	return w
}

// configuredAccess reads the secrets of a source.
func (c *cli) configuredAccess(conf *config, servers *connections, s schema.Source) (a access, err error) {
	secret := func(field string, where schema.Credential) (value string) {
		if err == nil {
			value, err = c.credential(conf, "sources."+s.Name+"."+field, where)
		}
		return value
	}
	token, key := secret("git.token", s.Git.Token), secret("git.sshKey", s.Git.SSHKey)
	a.forge = cmp.Or(secret("forge.token", s.Forge.Token), token)
	fingerprints := secret("fingerprints", s.Fingerprints)
	if err != nil {
		return a, err
	}
	if fingerprints != "" {
		if a.key, err = reconcile.NewFingerprintKey(fingerprints); err != nil {
			return a, advise("make one: openssl rand -base64 32", "sources.%s.fingerprints: %w", s.Name, err)
		}
	}
	a.remote = git.Remote{URL: s.Repository, Branch: s.Branch, User: s.Git.User, Token: token, SSHKey: []byte(key)}
	for _, file := range s.Git.KnownHosts {
		a.remote.KnownHosts = append(a.remote.KnownHosts, conf.path(file))
	}
	if a.remote.CA, err = conf.certificates(s.Git.CA); err != nil {
		return a, fmt.Errorf("sources.%s.git.ca: %w", s.Name, err)
	}
	a.options = schema.Options{Server: s.Server, Environment: s.Environment, Allow: slices.Concat([]string{}, s.Allow.Variables), Env: c.environment}
	if all := slices.Collect(maps.Keys(conf.Servers)); a.options.Server == "" && len(all) == 1 {
		a.options.Server = all[0]
	}
	if server := a.options.Server; server != "" {
		a.options.ServerVersion = func() string {
			_, who, err := servers.get(server)
			if err != nil {
				return "" // whoever signs in will say so
			}
			return who.Version
		}
	}
	if a.options.AgeKeys, err = c.ageKeys(); err != nil {
		return a, err
	}
	if s.Secrets != "" {
		root, err := os.OpenRoot(conf.path(s.Secrets))
		if err != nil {
			return a, fmt.Errorf("sources.%s.secrets: %w", s.Name, err)
		}
		a.options.Secrets = root.FS()
	}
	return a, nil
}

// posters are the places where a source's statuses go.
func (w *watched) posters(mirror *git.Mirror, a access) (posters, error) {
	var to posters
	if w.Notes {
		to = append(to, &status.Poster{Forge: status.Notes{Notes: mirror}})
	}
	if w.Forge.Kind != "none" && w.Forge.Kind != "" {
		forge, err := status.Open(status.Repository{Remote: w.Repository, Kind: w.Forge.Kind, URL: w.Forge.URL, Token: a.forge, CA: a.remote.CA})
		if err != nil {
			return nil, advise("check --repository, --forge and --forge-url, or what the configuration has in their place", "%w", err)
		}
		to = append(to, &status.Poster{Forge: forge})
	}
	return to, nil
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
