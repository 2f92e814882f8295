package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// reach leads to what a command line is about: to the server of the flags, to those that the configuration names, to
// deployments and to the Keycloak that they serve.
type reach struct {
	*cli
	way       *signing
	file      *config
	platforms *platforms
	servers   *connections
}

// reaching begins to sign in to the server of the flags.
func (c *cli) reaching(ctx context.Context) (*reach, error) {
	file, err := c.readConfig()
	if err != nil {
		return nil, err
	}
	r := &reach{cli: c, way: c.signingIn(ctx), file: file, platforms: c.openPlatforms(file)}
	r.servers = c.connect(ctx, file, r.platforms, func(string, string, int) {})
	return r, nil
}

func (r *reach) close() {
	r.way.close()
	r.servers.close()
	if err := r.platforms.close(); err != nil {
		r.log.Warn("close the platforms", "error", err)
	}
}

// apart tells whether a realm isn't on the server of the flags.
func (r *reach) apart(d schema.Declared, ref schema.RealmRef) bool {
	_, deployed := d.Deployments[ref.Server]
	return deployed || r.file != nil && r.flags.server == ""
}

// to is the way to a realm.
func (r *reach) to(d schema.Declared, ref schema.RealmRef) (*keycloak.Client, reconcile.Account, error) {
	switch deployment := d.Deployments[ref.Server]; {
	case deployment != nil:
		if _, err := r.platforms.drive(deployment); err != nil {
			return nil, reconcile.Account{}, err
		}
		return r.servers.get(ref.Server)
	case r.apart(d, ref):
		return r.servers.get(ref.Server)
	}
	return r.signedIn(r.way, d, []schema.RealmRef{ref})
}

// deployments are those that a command line means: all, unless it is about some realms, or about one server.
func (c *cli) deployments(d schema.Declared) []string {
	if len(c.flags.realms) > 0 || c.flags.serverName != "" {
		return nil
	}
	return slices.Sorted(maps.Keys(d.Deployments))
}

// deploy makes a pass over a deployment. Where it is to be as declared, passes follow until it is, or can't be.
func (r *reach) deploy(ctx context.Context, conf *configuration, name string, mode reconcile.Mode) (done reconcile.Deployed, err error) {
	want := conf.declared.Deployments[name]
	p := reconcile.Deploy{Mode: mode, Want: want, Problems: conf.declared.Problems, Commit: conf.commit, Log: r.log}
	if len(schema.BlockingDeployment(p.Problems, name)) == 0 {
		if p.Driver, err = r.platforms.drive(want); err != nil {
			return reconcile.Deployed{Report: failure(conf.commit, name, schema.RealmRef{}, err)}, err
		}
	}
	says := make(chan string, 1)
	says <- "looking at deployment " + name
	stop := r.progress.during(func() string { s := <-says; says <- s; return s })
	defer stop()
	if mode == reconcile.Apply {
		defer func() { r.keep(r.platforms.state, *want, done) }()
	}
	var made []drift.Change
	for {
		done, err = p.Run(ctx)
		done.Changes = append(made, done.Changes...)
		if mode != reconcile.Apply || err != nil || done.Verdict != drift.Progressing {
			return done, err
		}
		made = slices.Clone(done.Changes)
		<-says
		says <- done.Says
		select {
		case <-time.After(done.Soon()):
		case <-ctx.Done():
			return done, ctx.Err()
		}
	}
}

// deployAgreed is deploy; where there is a saved plan, nothing is begun unless a look would do what it says.
func (r *reach) deployAgreed(ctx context.Context, conf *configuration, name string, mode reconcile.Mode, plan *savedPlan) (reconcile.Deployed, error) {
	if plan != nil {
		now, err := r.deploy(ctx, conf, name, reconcile.Plan)
		if err == nil {
			err = plan.deploys(now.Report, conf.declared.Deployments[name].Revision)
		}
		if err != nil {
			return reconcile.Deployed{Report: failure(conf.commit, name, schema.RealmRef{}, err)}, err
		}
	}
	return r.deploy(ctx, conf, name, mode)
}

// unready is why the realms of a deployment can't be looked at now; "" where they can.
func unready(name string, done reconcile.Deployed) string {
	switch {
	case done.Ready():
		return ""
	case done.Record.Lifecycle == platform.Starting:
		return "waits for deployment " + name + ", which is " + string(platform.Starting)
	}
	return "waits for deployment " + name + ", of which no node serves"
}

// failure is the report of a pass that couldn't be begun.
func failure(commit, deployment string, ref schema.RealmRef, err error) drift.Report {
	now := time.Now()
	return drift.Report{Commit: commit, Deployment: deployment, Server: ref.Server, Realm: ref.Realm, Verdict: drift.Errored, Says: drift.Sentence(err.Error()),
		Hint: hint(err), Began: now, Ended: now}
}
