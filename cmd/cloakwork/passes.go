package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

// passes makes a pass over every deployment and every realm that the command line means, and prints each report as soon as it
// is there. One that fails doesn't stop the next. Failed tells whether any did, or any manifest has a problem.
func (c *cli) passes(ctx context.Context, args []string, mode reconcile.Mode) (reports []drift.Report, failed bool, err error) {
	plan, err := c.agreement(&args, mode)
	if err != nil {
		return nil, false, err
	}
	r, err := c.reaching(ctx)
	if err != nil {
		return nil, false, err
	}
	defer r.close()
	conf, refs, failed, err := c.meant(args, r.file)
	if err != nil {
		return nil, failed, err
	}
	if plan != nil {
		if err := plan.holds(c, conf, refs); err != nil {
			return nil, true, err
		}
	}
	key, err := c.fingerprintKey()
	if err != nil {
		return nil, failed, err
	}
	near := slices.DeleteFunc(slices.Clone(refs), func(ref schema.RealmRef) bool { return r.apart(conf.declared, ref) })
	if len(near) > 0 {
		if _, _, err := c.signedIn(r.way, conf.declared, near); err != nil {
			return nil, failed, err
		}
	}
	add := func(report drift.Report, err error, blocking int, subject string) (stop bool, printed error) {
		reports = append(reports, report)
		failed = failed || err != nil
		if blocking > 0 && c.flags.output == "text" { // they have been printed
			fmt.Fprintf(c.errs, "%s %s is left as it is, because of %s in its manifests\n", c.paintErrs("error", "error:"), drift.Escape(subject), count(blocking, "problem"))
		} else {
			printed = c.print(report)
		}
		return ctx.Err() != nil, printed
	}
	waits := map[string]string{}            // the deployments whose realms can't be looked at
	unplanned := map[schema.RealmRef]bool{} // and those realms
	for _, name := range c.deployments(conf.declared) {
		done, err := r.deployAgreed(ctx, conf, name, mode, plan)
		waits[name] = unready(name, done)
		stop, printed := add(done.Report, err, len(schema.BlockingDeployment(conf.declared.Problems, name)), "deployment "+name)
		if printed != nil || stop {
			return reports, true, printed
		}
	}
	out := outputs{path: c.flags.outputs}
	var points *reconcile.RestorePoints
	if mode == reconcile.Apply && slices.Contains(c.typed, "state-dir") { // a variable of the environment may be there for run
		if points, err = c.restorePoints(r.file); err != nil {
			return nil, failed, err
		}
	}
	for _, ref := range refs {
		p := c.pass(conf, ref, mode)
		p.RestorePoints = points
		waits := waits[ref.Server]
		if plan != nil {
			p.Agreed = plan.agreed(p.Facts, ref)
			if plan.realm(ref).Waits {
				waits = "nobody could look at it when the plan was made: plan anew"
			}
		}
		if out.path != "" {
			p.Outputs = out.take(c, ref.Realm)
		}
		p.FingerprintKey = key
		unplanned[ref] = waits != ""
		report, err := r.pass(ctx, conf, p, waits)
		if stop, printed := add(report, err, len(schema.Blocking(p.Problems, ref)), ref.String()); printed != nil || stop {
			return reports, true, printed
		}
	}
	if err := c.printAll(reports); err != nil || failed {
		return reports, failed, err
	}
	switch {
	case c.flags.out != "":
		err = c.save(c.flags.out, args, conf, reports, unplanned)
	case out.path != "" && mode == reconcile.Apply:
		err = out.write()
	}
	return reports, false, err
}

// pass makes a pass over a realm, unless it has to wait for its deployment.
func (r *reach) pass(ctx context.Context, conf *configuration, p reconcile.Pass, waits string) (report drift.Report, err error) {
	if len(schema.Blocking(p.Problems, p.Want.Ref)) > 0 {
		return p.Run(ctx) // which asks nobody
	}
	if waits != "" {
		report = failure(conf.commit, "", p.Want.Ref, errors.New(waits))
		report.Verdict = drift.Pending
		return report, nil
	}
	if p.Client, p.Account, err = r.to(conf.declared, p.Want.Ref); err != nil {
		return failure(conf.commit, "", p.Want.Ref, err), err
	}
	return r.watched(ctx, p)
}

// meant are the manifests that a command line names, with their problems printed, and the realms that it is about. Failed
// tells whether any of these has a problem.
func (c *cli) meant(args []string, file *config) (conf *configuration, refs []schema.RealmRef, failed bool, err error) {
	if conf, err = c.configuration(args); err != nil {
		return nil, nil, false, err
	}
	conf.declared = c.unserved(conf.declared)
	places := schema.Controller{}
	if file != nil {
		places = file.Controller
		conf.declared = places.PermitBackups(conf.declared)
	}
	conf.declared = places.PermitTelemetry(conf.declared)
	c.problems(conf.declared)
	refs, err = c.wanted(conf.declared)
	deployments := c.deployments(conf.declared)
	failed = held(conf.declared, refs) || slices.ContainsFunc(deployments, func(name string) bool {
		return len(schema.BlockingDeployment(conf.declared.Problems, name)) > 0
	})
	switch {
	case err != nil:
	case len(refs) == 0 && len(deployments) > 0:
	case len(refs) == 0 && failed:
		err = exit(1)
	case len(refs) == 0:
		err = advise("name the folder or the files of your manifests", "no realm is declared here")
	}
	return conf, refs, failed, err
}

// held tells whether a problem holds back any of the realms that are meant, or something that can't be told.
func held(d schema.Declared, refs []schema.RealmRef) bool {
	return slices.ContainsFunc(d.Problems, func(p schema.Problem) bool {
		unknown := !p.Warning && p.Realm == nil && p.Deployment == ""
		return unknown || slices.ContainsFunc(refs, p.Blocks)
	})
}

// problems prints what is wrong with the manifests.
func (c *cli) problems(d schema.Declared) {
	c.said = append(c.said, d.Problems...)
	for _, p := range d.Problems {
		what := "error"
		if p.Warning {
			what = "hint"
		}
		fmt.Fprintln(c.errs, c.painted(p, what, c.paintErrs))
	}
}

func (c *cli) watched(ctx context.Context, p reconcile.Pass) (drift.Report, error) {
	stop := c.progress.during(func() string {
		reads, writes := p.Client.Counts()
		return fmt.Sprintf("%s: %d reads, %d writes", p.Want.Ref, reads, writes)
	})
	defer stop()
	return p.Run(ctx)
}

// print writes a report, where reports are written one by one.
func (c *cli) print(r drift.Report) error {
	switch c.flags.output {
	case "json":
		return nil
	case "markdown":
		return drift.Markdown(c.out, []drift.Report{r})
	}
	return drift.Text(c.out, r, c.paint)
}

// printAll writes the reports, where they are written as one.
func (c *cli) printAll(reports []drift.Report) error {
	if c.flags.output != "json" {
		return nil
	}
	return drift.JSON(c.out, reports)
}
