package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Poll is the loop over one source: it looks for new commits, keeps every declared realm as the newest good commit
// declares it, and says so on the commit.
type Poll struct {
	Mirror      *git.Mirror
	Load        func(fs.FS) schema.Declared
	Connect     func(server string) (*keycloak.Client, Account, error) // the same client for the same server
	Source      string
	Path        string // below the repository's root
	Environment string
	Prefix      string                                     // of commit statuses
	Interval    time.Duration                              // between two looks at the repository
	Schedule    cron.Schedule                              // when to look for drift where a manifest names no schedule
	Post        func(context.Context, status.Status) error // nil: nobody is told
	Told        func(drift.Report)                         // nil, or told of every report
	Log         *slog.Logger

	AllowRealmDeletion bool

	head     git.Commit // the last that was loaded
	declared schema.Declared
	realms   map[schema.RealmRef]*keep
}

// keep is what the loop knows of one realm between its passes. Nothing in it outlives the process: git, the ledger and the
// realm are the memory.
type keep struct {
	want     *schema.Realm // of the last good commit
	facts    schema.Declared
	commit   string
	problems []schema.Problem // why a newer commit isn't in force
	fresh    bool             // a commit that hasn't been tried
	next     time.Time        // when to look again
	failures int              // in a row
	schedule cron.Schedule
}

// Run looks until the context ends. A pass under way then ends between two writes.
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
	if p.realms == nil {
		p.realms = map[schema.RealmRef]*keep{}
	}
	fetchErr := p.fetch(ctx)
	now := time.Now()
	var due []schema.RealmRef
	for ref, k := range p.realms {
		if k.fresh || !now.Before(k.next) {
			due = append(due, ref)
		}
	}
	slices.SortFunc(due, func(a, b schema.RealmRef) int { return cmp.Compare(a.String(), b.String()) })
	reports := make([]drift.Report, len(due))
	var group errgroup.Group
	group.SetLimit(4)
	for i, ref := range due {
		group.Go(func() error {
			reports[i] = p.pass(ctx, ref, p.realms[ref])
			return nil
		})
	}
	group.Wait()
	return reports, fetchErr
}

// fetch takes up the newest commit. After an error all stays as it was.
func (p *Poll) fetch(ctx context.Context) error {
	fetched, err := p.Mirror.Fetch(ctx)
	if err != nil {
		if head, ok := p.Mirror.Head(); ok && p.head.Hash == "" {
			return errors.Join(err, p.take(ctx, head)) // the last known commit, from the mirror
		}
		return err
	}
	if fetched.Rewritten {
		p.Log.Warn("the history was rewritten; what is ours is known by the ledgers, not by it",
			"before", short(fetched.Before), "head", short(fetched.Head.Hash))
	}
	if fetched.Head.Hash == p.head.Hash {
		return nil
	}
	return p.take(ctx, fetched.Head)
}

// take loads a commit. A realm with a problem keeps the declaration of the last good commit in force.
func (p *Poll) take(ctx context.Context, head git.Commit) error {
	declared, err := p.load(head.Hash)
	if err != nil {
		return fmt.Errorf("read commit %s: %w", short(head.Hash), err)
	}
	p.Log.Info("new commit", "commit", short(head.Hash), "subject", drift.Sentence(head.Subject), "realms", len(declared.Realms),
		"problems", len(declared.Problems))
	p.head, p.declared = head, declared
	p.post(ctx, p.validated(head.Hash, declared))
	p.forget(declared)
	for ref, want := range declared.Realms {
		if blocking := schema.Blocking(declared.Problems, ref); len(blocking) > 0 {
			p.hold(ref, blocking)
			continue
		}
		p.realms[ref] = &keep{want: want, facts: declared, commit: head.Hash, fresh: true, schedule: p.schedule(want)}
	}
	if slices.ContainsFunc(declared.Problems, func(q schema.Problem) bool { return q.Realm == nil && !q.Warning }) {
		for ref := range p.lastGood(head.Hash, nil) {
			if _, kept := p.realms[ref]; !kept {
				p.hold(ref, declared.Problems)
			}
		}
	}
	return nil
}

func (p *Poll) load(commit string) (schema.Declared, error) {
	tree, err := p.Mirror.Tree(commit)
	if err != nil {
		return schema.Declared{}, err
	}
	if p.Path != "" && p.Path != "." {
		if tree, err = fs.Sub(tree, p.Path); err != nil {
			return schema.Declared{}, err
		}
	}
	return p.Load(tree), nil
}

// forget lets go of realms that a good commit no longer declares: they stay as they are, and are nobody's business.
func (p *Poll) forget(declared schema.Declared) {
	if slices.ContainsFunc(declared.Problems, func(q schema.Problem) bool { return q.Realm == nil && !q.Warning }) {
		return // a realm may be missing only because its file can't be read
	}
	maps.DeleteFunc(p.realms, func(ref schema.RealmRef, k *keep) bool {
		_, still := declared.Realms[ref]
		if !still {
			p.Log.Info("no longer declared, and left as it is", "realm", ref)
		}
		return !still
	})
}

// hold keeps the last good declaration of a realm in force and notes why a newer one isn't.
func (p *Poll) hold(ref schema.RealmRef, problems []schema.Problem) {
	k, ok := p.realms[ref]
	if !ok {
		k = &keep{}
		if good, found := p.lastGood(p.head.Hash, &ref)[ref]; found {
			k = good
		}
		p.realms[ref] = k
	}
	k.problems, k.fresh = problems, true
}

// far is how many commits back a good declaration is looked for.
const far = 50

// lastGood goes back in history to the newest commit whose manifests declare the realm without a problem; or, without a
// realm, to the newest whose manifests can be read at all, for all realms in it.
func (p *Poll) lastGood(from string, ref *schema.RealmRef) map[schema.RealmRef]*keep {
	commits, err := p.Mirror.Before(from, far)
	if err != nil {
		p.Log.Warn("look for the last good commit", "error", err)
	}
	for _, c := range commits {
		declared, err := p.load(c.Hash)
		if err != nil {
			p.Log.Warn("look for the last good commit", "commit", short(c.Hash), "error", err)
			continue
		}
		found := map[schema.RealmRef]*keep{}
		for r, want := range declared.Realms {
			if (ref == nil || r == *ref) && len(schema.Blocking(declared.Problems, r)) == 0 {
				found[r] = &keep{want: want, facts: declared, commit: c.Hash, schedule: p.schedule(want)}
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

func (p *Poll) schedule(want *schema.Realm) cron.Schedule {
	if want.Schedule == "" {
		return p.Schedule
	}
	schedule, err := cron.ParseStandard(want.Schedule)
	if err != nil {
		panic(err) // the schema has checked it
	}
	return schedule
}

// pass makes one pass over a realm and posts what it says.
func (p *Poll) pass(ctx context.Context, ref schema.RealmRef, k *keep) drift.Report {
	context := p.Prefix + "/" + drift.Escape(ref.Server) + "/realm/" + drift.Escape(ref.Realm)
	say := func(commit string, r drift.Report) {
		p.post(ctx, status.Status{Commit: commit, Context: context, State: status.StateOf(r.Verdict), Says: r.Says})
		if p.Told != nil {
			p.Told(r)
		}
	}
	fresh := k.fresh
	k.fresh = false
	var blocked drift.Report
	if len(k.problems) > 0 && fresh {
		blocked = drift.Report{Commit: p.head.Hash, Server: ref.Server, Realm: ref.Realm, Verdict: drift.Blocked,
			Says: drift.Sentence(k.problems[0].String()), Problems: k.problems, Began: time.Now(), Ended: time.Now()}
		say(p.head.Hash, blocked)
	}
	if k.want == nil { // no commit ever declared it well
		k.next = time.Now().Add(never)
		return blocked
	}
	pass := Pass{Mode: Apply, Want: k.want, Facts: k.facts.Facts, Kinds: k.facts.Kinds, Source: p.Source, Path: p.Path,
		Environment: p.Environment, Commit: k.commit, Base: p.base(ref), Descends: p.Mirror.Descends,
		AllowRealmDeletion: p.AllowRealmDeletion, Log: p.Log, Report: func(r drift.Report) { say(k.commit, r) }}
	report, err := p.run(ctx, pass)
	p.plan(k, err)
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

// never is how long a realm waits that nothing but a new commit can help.
const never = 100 * 365 * 24 * time.Hour

func (p *Poll) run(ctx context.Context, pass Pass) (drift.Report, error) {
	client, account, err := p.Connect(pass.Want.Ref.Server)
	if err != nil {
		return pass.refuse(err)
	}
	pass.Client, pass.Account = client, account
	return pass.Run(ctx)
}

// plan sets when the realm is looked at next: by its schedule, or sooner after a failure, ever later while it fails.
func (p *Poll) plan(k *keep, err error) {
	now := time.Now()
	k.next = k.schedule.Next(now)
	if err == nil {
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

// Declares is what a tree declares for a realm, and an error where it doesn't, or not well.
func Declares(declared schema.Declared, ref schema.RealmRef) (*schema.Realm, error) {
	if blocking := schema.Blocking(declared.Problems, ref); len(blocking) > 0 {
		return nil, blocking[0]
	}
	want, ok := declared.Realms[ref]
	if !ok {
		return nil, fmt.Errorf("it doesn't declare realm %s", ref)
	}
	return want, nil
}

// validated is the status of the manifests themselves.
func (p *Poll) validated(commit string, declared schema.Declared) status.Status {
	s := status.Status{Commit: commit, Context: p.Prefix + "/validate", State: status.Success}
	bad := 0
	for _, q := range declared.Problems {
		if !q.Warning {
			if bad++; bad == 1 {
				s.Says = q.String()
			}
		}
	}
	if bad == 0 {
		s.Says = fmt.Sprintf("%d realms declared", len(declared.Realms))
		if len(declared.Realms) == 1 {
			s.Says = "1 realm declared"
		}
		return s
	}
	s.State = status.Failure
	if bad > 1 {
		s.Says = fmt.Sprintf("%d problems: %s", bad, s.Says)
	}
	return s
}

// post tells the forge. What it refuses is logged: a forge that is down never fails a pass.
func (p *Poll) post(ctx context.Context, s status.Status) {
	if p.Post == nil {
		return
	}
	// The last word of a pass that was stopped must still be said.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := p.Post(ctx, s); err != nil {
		p.Log.Warn("post a status", "commit", short(s.Commit), "context", s.Context, "error", err)
	}
}
