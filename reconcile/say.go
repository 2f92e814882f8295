package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/schema"
)

// say posts a report as the status of its commit.
func (p *Poll) say(ctx context.Context, r drift.Report) {
	ref := schema.RealmRef{Server: r.Server + r.Deployment, Realm: r.Realm} // a report is of one of the two
	state := status.StateOf(r.Verdict)
	p.post(ctx, status.Status{Commit: r.Commit, Context: p.context(ref), State: state, Says: r.Says})
	if k := p.realms[ref]; k != nil && state == status.Pending {
		k.pending = r.Commit
	} else if k != nil && k.pending == r.Commit {
		k.pending = ""
	}
	p.told(r)
}

// supersede ends what was left pending on an earlier commit, of which nothing more will be said.
func (p *Poll) supersede(ctx context.Context, ref schema.RealmRef, k *keep, by string) {
	if k.pending == "" || k.pending == by {
		return
	}
	p.post(ctx, status.Status{Commit: k.pending, Context: p.context(ref), State: status.StateOf(drift.Superseded), Says: "superseded by " + short(by)})
	k.pending = ""
}

func (p *Poll) told(r drift.Report) {
	if p.Told != nil {
		p.Told(r)
	}
}

// context is what the statuses of a realm or a deployment stand under.
func (p *Poll) context(ref schema.RealmRef) string {
	if ref.Realm == "" {
		return p.Prefix + "/deployment/" + drift.Escape(ref.Server)
	}
	return p.Prefix + "/" + drift.Escape(ref.Server) + "/realm/" + drift.Escape(ref.Realm)
}

// validated posts the status of the manifests themselves.
func (p *Poll) validated(ctx context.Context, commit string, declared schema.Declared) {
	s := status.Status{Commit: commit, Context: p.Prefix + "/validate", State: status.Success, Says: fmt.Sprintf("%d realms declared", len(declared.Realms))}
	if len(declared.Realms) == 1 {
		s.Says = "1 realm declared"
	}
	bad := slices.DeleteFunc(slices.Clone(declared.Problems), func(q schema.Problem) bool { return q.Warning })
	if len(bad) > 0 {
		s.State, s.Says = status.Failure, bad[0].String()
	}
	if len(bad) > 1 {
		s.Says = fmt.Sprintf("%d problems: %s", len(bad), s.Says)
	}
	s.Says = drift.Sentence(s.Says)
	p.post(ctx, s)
}

// manyUnsaid bounds what is kept for a forge that stays away, and hang is when one that fails counts as hanging.
const (
	manyUnsaid = 256
	hang       = 5 * time.Second
)

// post tells the forge. What it refuses is logged and kept: a forge that is down never fails a pass, and one that hangs
// holds up a look only once.
func (p *Poll) post(ctx context.Context, s status.Status) (ok bool) {
	if p.Post == nil {
		return true
	}
	p.mu.Lock()
	err := p.hangs
	p.mu.Unlock()
	began := time.Now()
	if err == nil {
		// The last word of a pass that was stopped must still be said.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = p.Post(ctx, s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsaid = slices.DeleteFunc(p.unsaid, func(u status.Status) bool { return u.Commit == s.Commit && u.Context == s.Context })
	if err == nil {
		return true
	}
	p.Log.Warn("post a status", "commit", short(s.Commit), "context", s.Context, "error", err)
	if time.Since(began) > hang {
		p.hangs = err
	}
	p.unsaid = append(p.unsaid, s)
	if len(p.unsaid) > manyUnsaid {
		p.unsaid = slices.Delete(p.unsaid, 0, 1)
	}
	return false
}

// sayAgain posts what the forge refused, until it refuses again. What was refused goes to the end of the line: it may be
// about a commit that the forge has lost.
func (p *Poll) sayAgain(ctx context.Context) {
	p.hangs = nil
	for _, s := range slices.Clone(p.unsaid) {
		if ctx.Err() != nil || !p.post(ctx, s) {
			return
		}
	}
}

// farPending is how many commits back a status of ours is looked for, once in the life of a process for each realm: many
// may have been pushed while nobody was there to say anything about them.
const farPending = 200

// settle ends what a process that was killed left pending on an earlier commit, and tells whether that could be looked
// at. Whoever posts on a commit has settled the earlier ones, so that only the newest status of ours can be pending.
func (p *Poll) settle(ctx context.Context, ref schema.RealmRef, commit string) bool {
	if p.Read == nil {
		return true
	}
	earlier, err := p.Mirror.Before(commit, farPending)
	for _, c := range earlier {
		there, ok, err := p.Read(ctx, c.Hash, p.context(ref))
		if err != nil {
			p.Log.Warn("look for pending statuses", "commit", short(c.Hash), "error", err)
			return false
		}
		if !ok {
			continue
		}
		if there.State == status.Pending {
			there.State, there.Says = status.StateOf(drift.Superseded), "superseded by "+short(commit)
			p.post(ctx, there)
		}
		return true
	}
	return err == nil
}
