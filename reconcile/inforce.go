package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/schema"
)

// fetchPatience bounds one look at the repository, so that a server which never ends its answer doesn't end the repair
// of drift.
const fetchPatience = 10 * time.Minute

// look takes up the newest commit. After an error all stays as it was; a process that has just begun goes on with the
// last commit that its mirror knows.
func (p *Poll) look(ctx context.Context) error {
	fetching, cancel := context.WithTimeout(ctx, fetchPatience)
	fetched, err := p.Mirror.Fetch(fetching)
	cancel()
	head := fetched.Head
	if err != nil {
		known, ok := p.Mirror.Head()
		if !ok || p.head.Hash != "" {
			return err
		}
		head = known
	}
	if head.Hash == p.head.Hash {
		return nil
	}
	return errors.Join(err, p.take(ctx, head))
}

// take loads a commit and puts in force what it declares well.
func (p *Poll) take(ctx context.Context, head git.Commit) error {
	declared, err := p.load(head.Hash)
	if err != nil {
		return fmt.Errorf("read commit %s: %w", short(head.Hash), err)
	}
	before := p.head
	p.head = head
	p.Log.Info("new commit", "commit", short(head.Hash), "subject", drift.Sentence(head.Subject), "realms", len(declared.Realms),
		"problems", len(declared.Problems))
	if descends, err := p.Mirror.Descends(before.Hash, head.Hash); before.Hash != "" && err == nil && !descends {
		p.Log.Warn("the history was rewritten; what is ours is known by the ledgers, not by it", "before", short(before.Hash), "head", short(head.Hash))
	}
	p.validated(ctx, head.Hash, declared)

	held := map[schema.RealmRef][]schema.Problem{}
	now := p.subjects(declared, head.Hash)
	for ref, k := range now {
		switch problems := schema.Blocking(declared.Problems, ref); {
		case ref.Server == "": // that is the problem, and it has no status of its own
		case len(problems) > 0:
			held[ref] = problems
		default:
			p.put(ref, k)
		}
	}
	unclear := unattributed(declared)
	for ref, k := range p.realms {
		if _, still := now[ref]; still {
			continue
		}
		if len(unclear) > 0 {
			held[ref] = unclear // it may be missing only because its file can't be read
			continue
		}
		p.Log.Info("no longer declared, and left as it is", "of", ref)
		p.supersede(ctx, ref, k, head.Hash)
		delete(p.realms, ref)
	}
	p.hold(held, p.lastGood(before.Hash, held, len(unclear) > 0), unclear)
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

// unattributed are the problems that may hide any realm.
func unattributed(declared schema.Declared) []schema.Problem {
	var problems []schema.Problem
	for _, q := range declared.Problems {
		if !q.Warning && q.Deployment == "" && q.Realm == nil {
			problems = append(problems, q)
		}
	}
	return problems
}

// subjects are what a commit declares, realms and, without a realm in their reference, the deployments that serve them.
func (p *Poll) subjects(declared schema.Declared, commit string) map[schema.RealmRef]*keep {
	all := map[schema.RealmRef]*keep{}
	for ref, want := range declared.Realms {
		all[ref] = &keep{want: want, facts: declared.Facts, kinds: declared.Kinds, commit: commit, schedule: p.scheduled(want.Schedule),
			names: map[string][]schema.Address{}}
	}
	if p.Drive == nil {
		return all
	}
	for name, deploy := range declared.Deployments {
		all[schema.RealmRef{Server: name}] = &keep{deploy: deploy, commit: commit, schedule: p.scheduled(deploy.Schedule)}
	}
	return all
}

// scheduled is when to look at what names this schedule.
func (p *Poll) scheduled(spec string) cron.Schedule {
	if spec == "" {
		return p.Schedule
	}
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return p.Schedule // the schema has said so, and nothing of it comes into force
	}
	return schedule
}

// put brings a realm or a deployment into force, to be tried at once.
func (p *Poll) put(ref schema.RealmRef, k *keep) {
	if p.realms == nil {
		p.realms = map[schema.RealmRef]*keep{}
	}
	if old, ok := p.realms[ref]; ok {
		k.settled, k.pending, k.deployed = old.settled, old.pending, old.deployed
		if old.names != nil {
			k.names = old.names
		}
	}
	k.fresh = true
	p.realms[ref] = k
}

// hold keeps the last good declarations in force, and notes why newer ones aren't.
func (p *Poll) hold(held map[schema.RealmRef][]schema.Problem, good map[schema.RealmRef]*keep, unclear []schema.Problem) {
	for ref := range good {
		if _, ok := held[ref]; !ok {
			held[ref] = unclear
		}
	}
	for ref, problems := range held {
		k := cmp.Or(good[ref], p.realms[ref], &keep{})
		k.problems = problems
		p.put(ref, k)
	}
}

// far is how many commits back a good declaration is looked for.
const far = 50

// lastGood goes back from the head, but not beyond the head before it, to the newest commits that declare the held realms
// well. Where the head hides realms, those of the newest commit that hides none are held too.
func (p *Poll) lastGood(before string, held map[schema.RealmRef][]schema.Problem, hidden bool) map[schema.RealmRef]*keep {
	if len(held) == 0 && !hidden {
		return nil
	}
	commits, err := p.Mirror.Before(p.head.Hash, far)
	if err != nil {
		p.Log.Warn("look for the last good commit", "error", err)
	}
	found, missing := map[schema.RealmRef]*keep{}, maps.Clone(held)
	for _, c := range commits {
		if c.Hash == before || !hidden && len(missing) == 0 {
			break
		}
		declared, err := p.load(c.Hash)
		if err != nil {
			p.Log.Warn("look for the last good commit", "commit", short(c.Hash), "error", err)
			continue
		}
		for ref, k := range p.subjects(declared, c.Hash) {
			_, sought := missing[ref]
			if (sought || hidden && found[ref] == nil) && len(schema.Blocking(declared.Problems, ref)) == 0 {
				found[ref] = k
				delete(missing, ref)
			}
		}
		hidden = hidden && len(unattributed(declared)) > 0
	}
	return found
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
