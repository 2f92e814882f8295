package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/backup"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// backups are those of all deployments that a controller keeps: what it is told of them goes to the state folder, to metrics and
// to the commits in force.
type backups struct {
	*backup.Keeper
	*cli
	folder  string // of what is known of them: STATE/backups/DEPLOYMENT.json
	metrics *metrics

	mu    sync.Mutex
	life  context.Context // nil: nothing is done by itself
	known map[string]backedUp
}

// backedUp is a deployment, and where its backups are spoken of.
type backedUp struct {
	source string
	want   schema.Deployment
	commit string
	moves  bool
	say    func(context.Context, backup.Standing, []backup.Standing) error
}

func (k *keeper) newBackups(conf *config) (*backups, error) {
	b := &backups{cli: k.cli, folder: backupsFolder(k.platforms.state), metrics: k.metrics, known: map[string]backedUp{}}
	prove := schema.ProveDaily
	if conf != nil {
		prove = conf.Backups.Prove
	}
	schedule, err := cron.ParseStandard(prove)
	if err != nil {
		return nil, fmt.Errorf("backups.prove: %w", err)
	}
	b.Keeper = &backup.Keeper{
		Open: func(ctx context.Context, name string) (backup.Destination, error) {
			return k.destination(ctx, conf, name)
		},
		Dumps:  k.platforms.dumps,
		Keys:   func() (backup.Identities, error) { return k.backupKeys(conf) },
		Prove:  schedule,
		Recall: func(deployment string) []backup.Standing { return recallBackups(b.folder, deployment) },
		Told:   b.told,
		Only:   func(deployment string) (func(), error) { return b.cli.onlyBackup(b.folder, deployment) },
		Log:    k.log,
	}
	return b, nil
}

func backupsFolder(state string) string { return filepath.Join(state, "backups") }

// begin has backups be taken by themselves, until the context ends.
func (b *backups) begin(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.life = ctx
}

// seen takes over a look at a deployment.
func (b *backups) seen(w *watched, post func(context.Context, status.Status) error, d schema.Deployment, done reconcile.Deployed) {
	r := done.Record
	if !done.Observed || r.Lifecycle == "" {
		return
	}
	moves := r.Lifecycle == platform.Starting || r.Toward != "" || r.Restore.Database != ""
	b.mu.Lock()
	if before, ok := b.known[d.Name]; len(d.Backups) > 0 || ok {
		if !ok && b.life != nil {
			b.metrics.backedUp(d.Name, recallBackups(b.folder, d.Name))
		}
		before.source, before.want, before.commit, before.moves = w.Name, d, done.Commit, moves
		before.say = func(ctx context.Context, worst backup.Standing, all []backup.Standing) error {
			return post(ctx, status.Status{Commit: done.Commit, Context: w.StatusPrefix + "/backup/" + drift.Escape(d.Name), State: backupState(all),
				Says: drift.Sentence(b.secrets.redact(b.sentence(worst, all)))})
		}
		b.known[d.Name] = before
	}
	life := b.life
	b.mu.Unlock()
	if life != nil {
		b.Want(life, d, done.Commit, moves)
	}
}

// looked forgets what is no longer declared.
func (b *backups) looked(source string, l reconcile.Look) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, of := range b.known {
		if _, ok := l.InForce[schema.RealmRef{Server: name}]; !ok && of.source == source {
			b.Forget(name)
			b.metrics.backedUp(name, nil)
			delete(b.known, name)
		}
	}
}

// once takes and proves what is due of all deployments that were seen, and tells whether all of it is well.
func (b *backups) once(ctx context.Context) bool {
	b.mu.Lock()
	all := maps.Clone(b.known)
	b.mu.Unlock()
	well := true
	for _, name := range slices.Sorted(maps.Keys(all)) {
		of := all[name]
		if of.moves || len(of.want.Backups) == 0 {
			continue // another look takes them
		}
		for _, s := range b.Once(ctx, of.want, of.commit) {
			if !s.Well() {
				well = false
				b.complain(fmt.Errorf("backup of deployment %s: %s", name, s.Says()))
			}
		}
	}
	return well
}

// told writes down how the backups of a deployment stand, and says so on its commit.
func (b *backups) told(deployment string, all []backup.Standing) {
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = replaceFile(filepath.Join(b.folder, deployment+".json"), []byte(b.secrets.redact(string(text))+"\n"))
	}
	if err != nil {
		b.log.Warn("write down how backups stand", "deployment", deployment, "error", err)
	}
	b.metrics.backedUp(deployment, all)
	b.mu.Lock()
	of, ok := b.known[deployment]
	life := cmp.Or(b.life, context.Background())
	b.mu.Unlock()
	if !ok || len(all) == 0 {
		return
	}
	if err := of.say(life, foremost(all), all); err != nil {
		b.log.Warn("say how backups stand", "deployment", deployment, "error", drift.Escape(err.Error()))
	}
}

// sentence is what a commit is told: what is wrong first.
func (b *backups) sentence(worst backup.Standing, all []backup.Standing) string {
	words := []string{worst.Says()}
	for _, s := range all {
		if s != worst {
			words = append(words, s.Says())
		}
	}
	return strings.Join(words, "; ")
}

// foremost is the one that somebody has to look at first.
func foremost(all []backup.Standing) backup.Standing {
	rank := func(s backup.Standing) int {
		switch {
		case s.Why != "":
			return 0
		case s.Unproven != "":
			return 1
		case s.Last == "":
			return 2
		}
		return 3
	}
	return slices.MinFunc(all, func(a, b backup.Standing) int { return cmp.Compare(rank(a), rank(b)) })
}

func backupState(all []backup.Standing) status.State {
	switch s := foremost(all); {
	case s.Why != "":
		return status.Error
	case s.Unproven != "":
		return status.Failure
	case s.Last == "":
		return status.Pending
	}
	return status.Success
}

// recallBackups are how the backups of a deployment stood last; none where that isn't known: it is found out anew.
func recallBackups(folder, deployment string) (all []backup.Standing) {
	text, err := os.ReadFile(filepath.Join(folder, deployment+".json"))
	if err != nil || json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}

// onlyBackup keeps other processes of this machine from backups of the same deployment.
func (c *cli) onlyBackup(folder, deployment string) (unlock func(), err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(folder, deployment+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process takes a backup of deployment %s: %w", deployment, err)
	}
	return func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // a program that is started this very moment may have the file open, too
		f.Close()
	}, nil
}

// destination is one of those that the configuration names.
func (c *cli) destination(ctx context.Context, conf *config, name string) (backup.Destination, error) {
	if conf == nil {
		return nil, errors.New("--config names destinations")
	}
	d, ok := conf.Destinations[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("the controller's configuration has no destination %s", name)
	case d.S3 == nil:
		return backup.Folder(conf.path(d.Folder)), nil
	}
	at := backup.BucketAt{Bucket: d.S3.Bucket, Prefix: d.S3.Prefix, Region: d.S3.Region, Endpoint: d.S3.Endpoint, PathStyle: d.S3.Endpoint != ""}
	if d.S3.PathStyle != nil {
		at.PathStyle = *d.S3.PathStyle
	}
	var err error
	if at.AccessKey, err = c.credential(conf, "destinations."+name+".s3.accessKey", d.S3.AccessKey); err != nil {
		return nil, err
	}
	if at.SecretKey, err = c.credential(conf, "destinations."+name+".s3.secretKey", d.S3.SecretKey); err != nil {
		return nil, err
	}
	return backup.OpenBucket(ctx, at)
}

// backupKeys open backups; none where none are given.
func (c *cli) backupKeys(conf *config) (backup.Identities, error) {
	if conf == nil || !conf.Backups.Identity.Given() {
		return nil, nil
	}
	text, err := c.credential(conf, "backups.identity", conf.Backups.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the key is lost: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return c.identities("backups.identity", text)
}

func (c *cli) identities(label, text string) (backup.Identities, error) {
	for line := range strings.Lines(text) {
		c.secrets.add(strings.TrimSpace(line))
	}
	keys, err := backup.NewIdentities(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	return keys, nil
}
