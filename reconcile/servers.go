package reconcile

import (
	"context"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// moment is how soon a deployment is looked at again while a move of it is in progress, and a realm that waits for one.
const moment = time.Second

// Soon is how long a move in progress is left alone before the next look: not for long where people wait for its end.
func (d Deployed) Soon() time.Duration {
	if d.holds() {
		return moment / 20
	}
	return moment
}

// holds tells whether a move in progress may hold people's requests, for the short time that they can wait.
func (d Deployed) holds() bool {
	switch d.Record.Step.Verb {
	case drift.Gate, drift.Fence, drift.Promote, drift.Follow, drift.Open:
		return d.Verdict == drift.Progressing
	}
	return false
}

// through makes a pass, and others where people wait, so that they wait for nothing else: not for git, for a forge or for a
// realm of another server. That ends after a while: a newer commit may be what helps.
func (p Deploy) through(ctx context.Context) (done Deployed, err error) {
	for began := time.Now(); ; {
		done, err = p.Run(ctx)
		if err != nil || !done.holds() || time.Since(began) > 30*moment {
			return done, err
		}
		select {
		case <-time.After(done.Soon()):
		case <-ctx.Done():
			return done, nil
		}
	}
}

// split tells the deployments from the realms, which may wait for them.
func split(due []schema.RealmRef) (servers, realms []schema.RealmRef) {
	for _, ref := range due {
		if ref.Realm == "" {
			servers = append(servers, ref)
		} else {
			realms = append(realms, ref)
		}
	}
	return servers, realms
}

// ready tells whether nothing is to be waited for: a realm waits while the deployment that serves it moves, or nobody answers there.
func (p *Poll) ready(ref schema.RealmRef) bool {
	server := p.realms[schema.RealmRef{Server: ref.Server}]
	return ref.Realm == "" || server == nil || server.deployed != nil && server.deployed.Ready()
}

// postpone leaves a realm as it is until its deployment is ready, which a new commit is told.
func (p *Poll) postpone(ctx context.Context, ref schema.RealmRef, k *keep, fresh bool) drift.Report {
	now := time.Now()
	k.next = now.Add(moment)
	if !fresh {
		return drift.Report{}
	}
	says := "waits for deployment " + ref.Server
	switch d := p.realms[schema.RealmRef{Server: ref.Server}].deployed; {
	case d == nil:
	case d.Record.Lifecycle == platform.Starting:
		says += ", which is " + string(platform.Starting)
	default:
		says += ", of which no node serves"
	}
	report := drift.Report{Commit: k.commit, Server: ref.Server, Realm: ref.Realm, Verdict: drift.Pending, Says: drift.Sentence(says), Began: now, Ended: now}
	p.say(ctx, report)
	return report
}

// deploy makes a pass over a deployment, and says what came of it. While a move is in progress the next one follows in a moment.
func (p *Poll) deploy(ctx context.Context, k *keep) drift.Report {
	pass := Deploy{Mode: Apply, Want: k.deploy, Commit: k.commit, Log: p.Log}
	driver, err := p.Drive(k.deploy)
	var done Deployed
	if err != nil {
		done = pass.refuse(err)
	} else {
		pass.Driver = driver
		done, err = pass.through(ctx)
	}
	if ctx.Err() == nil || done.Verdict != drift.Errored {
		p.say(ctx, done.Report)
	}
	if done.Record.Epoch > 0 || err == nil {
		k.deployed = &done
	}
	if p.Seen != nil {
		p.Seen(*k.deploy, done)
	}
	p.plan(k, nil, err)
	now := time.Now()
	switch {
	case err == nil && done.Verdict == drift.Progressing:
		k.next = now.Add(moment)
	case err == nil && (done.Verdict == drift.Drifted || done.Record.Lifecycle == platform.Error): // it comes back by itself, or somebody resumes it
		k.next = earlier(k.next, now.Add(p.Interval))
	case err == nil && !done.Until.IsZero():
		k.next = earlier(k.next, done.Until)
	}
	if err != nil {
		p.Log.Warn("pass", "deployment", k.deploy.Name, "commit", short(k.commit), "verdict", string(done.Verdict), "error", drift.Escape(err.Error()))
	} else {
		p.Log.Info("pass", "deployment", k.deploy.Name, "commit", short(k.commit), "verdict", string(done.Verdict), "says", done.Says)
	}
	return done.Report
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// refuse is what comes of a pass that couldn't even begin.
func (p Deploy) refuse(err error) Deployed {
	now := time.Now()
	done := Deployed{Report: drift.Report{Commit: p.Commit, Deployment: p.Want.Name, Began: now, Ended: now}}
	conclude(&done.Report, p.Mode, err)
	return done
}

// suspend is until when what is kept is held as it is; nil where it isn't.
func (k *keep) suspend() *schema.Suspend {
	if k.deploy != nil {
		return k.deploy.Suspend
	}
	return k.want.Suspend
}
