package reconcile

import (
	"cmp"
	"context"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Poll is the loop over one source: it looks for new commits, keeps every declared realm as the newest good commit
// declares it, and says so on the commit. It belongs to one goroutine; its funcs are called by several at a time.
type Poll struct {
	Mirror      *git.Mirror
	Load        func(fs.FS) schema.Declared
	Connect     func(server string) (*keycloak.Client, Account, error) // the same client for the same server
	Drive       func(*schema.Deployment) (platform.Driver, error)      // what a deployment runs by; nil leaves deployments alone
	Source      string
	Path        string // below the repository's root
	Environment string
	Prefix      string                                     // of commit statuses
	Interval    time.Duration                              // between two looks at the repository
	Schedule    cron.Schedule                              // when to look for drift where a manifest names no schedule
	Post        func(context.Context, status.Status) error // nil: nobody is told. What it refuses is posted again later
	// Read is what the forge shows for a commit under a context. With it, what a process that was killed left pending on
	// earlier commits is ended; it may be nil.
	Read   func(ctx context.Context, commit, context string) (status.Status, bool, error)
	Told   func(drift.Report)                // nil, or told of every report
	Seen   func(schema.Deployment, Deployed) // nil, or told of every look at a deployment
	Looked func(Look)                        // nil, or told of the end of every look
	Log    *slog.Logger

	AllowRealmDeletion bool
	FingerprintKey     FingerprintKey
	RestorePoints      *RestorePoints // nil: what passes change isn't kept

	head   git.Commit                // the last that was taken up
	realms map[schema.RealmRef]*keep // and deployments, under references without a realm

	mu     sync.Mutex
	unsaid []status.Status // what the forge refused, oldest first
	hangs  error           // why the forge isn't asked again in this look
}

// keep is what the loop knows of one realm, or deployment, between its passes. Nothing in it outlives the process: git, the
// ledger, the realm and the driver's record are the memory.
type keep struct {
	want     *schema.Realm      // of the last good commit; nil where there is none
	deploy   *schema.Deployment // the same
	deployed *Deployed          // what the last pass over the deployment came to
	facts    schema.Facts
	kinds    map[string]schema.Kind
	commit   string
	schedule cron.Schedule
	problems []schema.Problem // why a newer commit isn't in force

	fresh    bool      // there is a newer commit than at the last pass
	begun    bool      // that this commit is being applied has been said
	settled  bool      // nothing that a process before this one said is left pending on earlier commits
	pending  string    // the commit on which this one said so last
	next     time.Time // when to look again
	failures int       // in a row

	names map[string][]schema.Address // what ids stood for when this process last looked, by which who deleted something is known
}

// Look is one look over all that a source declares.
type Look struct {
	At      time.Time
	Head    string                     // the commit that was taken up last; "" where none was
	InForce map[schema.RealmRef]string // the commit that is in force for each realm and, without a realm, each deployment
	Err     error                      // why the repository couldn't be read
}

// Run looks until the context ends. A pass under way then ends between two writes, and its last word is still posted.
func (p *Poll) Run(ctx context.Context) error {
	for {
		_, err := p.Once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			p.Log.Error("look at the configuration", "source", p.Source, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(p.wait(time.Now())):
		}
	}
}

// wait is how long nothing is due.
func (p *Poll) wait(now time.Time) time.Duration {
	wait := p.Interval
	for _, k := range p.realms {
		wait = min(wait, max(0, k.next.Sub(now)))
	}
	return wait
}

// Once looks for a new commit and passes over every realm that is due. Where git can't be reached, what was last good
// stays in force, and the error is returned beside the reports.
func (p *Poll) Once(ctx context.Context) ([]drift.Report, error) {
	p.sayAgain(ctx)
	err := p.look(ctx)
	now := time.Now()
	var due []schema.RealmRef
	for ref, k := range p.realms {
		if k.fresh || !now.Before(k.next) {
			due = append(due, ref)
		}
	}
	slices.SortFunc(due, func(a, b schema.RealmRef) int { return cmp.Compare(a.String(), b.String()) })
	servers, realms := split(due)
	reports := slices.Concat(p.passes(ctx, servers), p.passes(ctx, realms))
	p.looked(err)
	return reports, err
}

func (p *Poll) looked(err error) {
	if p.Looked == nil {
		return
	}
	look := Look{At: time.Now(), Head: p.head.Hash, Err: err, InForce: map[schema.RealmRef]string{}}
	for ref, k := range p.realms {
		look.InForce[ref] = k.commit
	}
	p.Looked(look)
}

// passes makes a pass over each, some at a time.
func (p *Poll) passes(ctx context.Context, due []schema.RealmRef) []drift.Report {
	reports := make([]drift.Report, len(due))
	var group errgroup.Group
	group.SetLimit(4)
	for i, ref := range due {
		group.Go(func() error {
			if ctx.Err() == nil {
				reports[i] = p.pass(ctx, ref, p.realms[ref])
			}
			return nil
		})
	}
	group.Wait()
	return slices.DeleteFunc(reports, func(r drift.Report) bool { return r.Verdict == "" })
}

// pass makes one pass over a realm and posts what it says.
func (p *Poll) pass(ctx context.Context, ref schema.RealmRef, k *keep) drift.Report {
	var blocked drift.Report
	if k.fresh && len(k.problems) > 0 {
		now := time.Now()
		blocked = drift.Report{Commit: p.head.Hash, Server: ref.Server, Realm: ref.Realm, Verdict: drift.Blocked,
			Says: drift.Sentence(k.problems[0].String()), Problems: k.problems, Began: now, Ended: now}
		if ref.Realm == "" {
			blocked.Server, blocked.Deployment = "", ref.Server
		}
		p.say(ctx, blocked)
	}
	fresh := k.fresh
	k.fresh = false
	if k.want == nil && k.deploy == nil { // no commit ever declared it well
		k.next = time.Now().Add(never)
		return blocked
	}
	p.supersede(ctx, ref, k, k.commit)
	if !p.ready(ref) {
		return p.postpone(ctx, ref, k, fresh)
	}
	k.settled = k.settled || p.settle(ctx, ref, k.commit)
	if k.deploy != nil {
		return p.deploy(ctx, k)
	}
	busy := false // this pass has found something to do
	report, err := p.run(ctx, Pass{Mode: Apply, Want: k.want, Facts: k.facts, Kinds: k.kinds, Source: p.Source, Path: p.Path,
		Environment: p.Environment, Commit: k.commit, Base: p.base(ref), Descends: p.supersedes(ctx),
		Names: k.names, AllowRealmDeletion: p.AllowRealmDeletion, FingerprintKey: p.FingerprintKey, RestorePoints: p.RestorePoints, Log: p.Log,
		Report: func(r drift.Report) {
			if ctx.Err() != nil && r.Verdict == drift.Errored && !busy {
				p.told(r) // stopped while it only looked: what the commit shows still holds
				return
			}
			busy = true
			if r.Verdict == drift.Progressing && k.begun {
				return // a forge keeps all that it is told, and this may be the hundredth try
			}
			k.begun = k.begun || r.Verdict == drift.Progressing
			p.say(ctx, r)
		}})
	p.plan(k, report.Later, err)
	if err != nil {
		p.Log.Warn("pass", "realm", ref, "commit", short(k.commit), "verdict", string(report.Verdict), "error", drift.Escape(err.Error()))
	} else {
		p.Log.Info("pass", "realm", ref, "commit", short(k.commit), "verdict", string(report.Verdict), "says", report.Says)
	}
	if blocked.Verdict != "" {
		return blocked
	}
	return report
}

func (p *Poll) run(ctx context.Context, pass Pass) (drift.Report, error) {
	client, account, err := p.Connect(pass.Want.Ref.Server)
	if err != nil {
		return pass.refuse(err)
	}
	pass.Client, pass.Account = client, account
	return pass.Run(ctx)
}

// never is how long a realm waits that nothing but a new commit can help.
const never = 100 * 365 * 24 * time.Hour

// plan sets when the realm is looked at next: by its schedule, or sooner after a failure, ever later while it fails. What
// is blocked, or lacks a role, waits for a person, and what is superseded for the newer commit. What is to be removed later
// is when it can be.
func (p *Poll) plan(k *keep, later []drift.Later, err error) {
	now := time.Now()
	k.next = k.schedule.Next(now)
	if k.next.IsZero() { // 30 February
		k.next = now.Add(never)
	}
	if s := k.suspend(); s != nil && now.Before(s.Until) && s.Until.Before(k.next) {
		k.next = s.Until
	}
	for _, l := range later {
		if now.Before(l.After) && l.After.Before(k.next) {
			k.next = l.After
		}
	}
	if err == nil || waits(err) {
		k.failures = 0
		return
	}
	k.failures++
	const first, most = 2 * time.Second, 5 * time.Minute
	wait := min(most, first<<min(k.failures-1, 10))
	wait = wait/2 + rand.N(wait) // many realms that failed together shall not come back together
	if retry := now.Add(wait); retry.Before(k.next) {
		k.next = retry
	}
}

// base reads what an earlier commit declared for a realm.
func (p *Poll) base(ref schema.RealmRef) func(string) (*schema.Realm, error) {
	return func(commit string) (*schema.Realm, error) {
		declared, err := p.load(commit)
		if err != nil {
			return nil, err
		}
		return Declares(declared, ref)
	}
}

// supersedes tells whether commit b, which another process has applied, is newer than ours, a. That process may have seen
// more of the branch than we, so we look again; what was reset away since is no longer newer.
func (p *Poll) supersedes(ctx context.Context) func(a, b string) (bool, error) {
	return func(a, b string) (bool, error) {
		if older, err := p.Mirror.Descends(b, a); err == nil && older {
			return false, nil
		}
		if _, err := p.Mirror.Fetch(ctx); err != nil {
			p.Log.Warn("look whether a newer commit was applied", "commit", short(b), "error", err)
		}
		head, ok := p.Mirror.Head()
		if !ok {
			return false, nil
		}
		if onBranch, err := p.Mirror.Descends(b, head.Hash); err != nil || !onBranch {
			return false, err
		}
		return p.Mirror.Descends(a, b)
	}
}
