package main

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// against compares what two environments declare, and ends as plan does.
func (c *cli) against(args []string) error {
	reports, err := c.compare(args)
	switch {
	case err != nil:
		return err
	case c.flags.detailedExitCode && slices.ContainsFunc(reports, differs):
		return exit(2)
	}
	return nil
}

func differs(r drift.Report) bool { return r.Verdict == drift.Differs }

// compare prints a report for each deployment and realm of two environments. Nothing is substituted or decrypted, so that whoever may read
// the repository can ask.
func (c *cli) compare(args []string) ([]drift.Report, error) {
	if c.flags.environment == "" {
		return nil, advise("give --environment too", "--against %s: held against it is nothing", c.flags.against)
	}
	t, err := c.openTree(args)
	if err != nil {
		return nil, err
	}
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	o.AsWritten = true
	want := c.load(t.fsys, t.paths, t.prefix, o)
	if o.Environment, err = c.base(t, o); err != nil {
		return nil, err
	}
	have := c.load(t.fsys, t.paths, t.prefix, o)
	problems := schema.SortProblems(slices.Concat(want.Problems, have.Problems))
	c.problems(schema.Declared{Problems: problems})
	if slices.ContainsFunc(problems, func(p schema.Problem) bool { return !p.Warning }) {
		return nil, exit(1)
	}
	refs, err := c.wanted(want)
	if err != nil {
		return nil, err
	}
	reports := c.compareDeployments(want, have)
	for _, ref := range refs {
		r := drift.Report{Server: ref.Server, Realm: ref.Realm, Verdict: drift.Differs,
			Says: fmt.Sprintf("%s doesn't declare the realm", have.Environment.Name)}
		if other := counterpart(have, want, ref); other != nil {
			r = drift.Against(want.Facts, want.Kinds, want.Realms[ref], other, have.Environment.Name, want.Environment.Differs)
		}
		reports = append(reports, r)
	}
	if len(c.flags.realms) == 0 {
		for _, ref := range refsOf(have) {
			if counterpart(want, have, ref) == nil {
				reports = append(reports, drift.Report{Server: ref.Server, Realm: ref.Realm, Verdict: drift.Differs,
					Says: fmt.Sprintf("only %s declares the realm", have.Environment.Name)})
			}
		}
	}
	for _, r := range reports {
		if err := c.print(r); err != nil {
			return nil, err
		}
	}
	return reports, c.printAll(reports)
}

// compareDeployments holds each deployment against that of its name, or the only one against the only one.
func (c *cli) compareDeployments(want, have schema.Declared) (reports []drift.Report) {
	there := c.deployments(have)
	for _, name := range c.deployments(want) {
		r := drift.Report{Deployment: name, Verdict: drift.Differs, Says: fmt.Sprintf("%s doesn't declare the deployment", have.Environment.Name)}
		other := name
		if len(there) == 1 && len(want.Deployments) == 1 {
			other = there[0]
		}
		if d := have.Deployments[other]; d != nil {
			there = slices.DeleteFunc(there, func(name string) bool { return name == other })
			r = drift.AgainstDeployment(want.Deployments[name], d, have.Environment.Name, want.Environment.Differs)
		}
		reports = append(reports, r)
	}
	for _, name := range there {
		reports = append(reports, drift.Report{Deployment: name, Verdict: drift.Differs, Says: fmt.Sprintf("only %s declares the deployment", have.Environment.Name)})
	}
	return reports
}

// base is the name of the environment to compare with, where its topmost layer may have been given.
func (c *cli) base(t tree, o schema.Options) (string, error) {
	o.Paths = t.paths
	environments, err := schema.Environments(t.fsys, o)
	if err != nil {
		return "", err
	}
	name := c.flags.against
	for _, e := range environments {
		top := ""
		if len(e.Layers) > 0 {
			top = e.Layers[len(e.Layers)-1].Path
		}
		switch {
		case e.Name == c.flags.against:
			return e.Name, nil
		case top != "" && path.Clean(c.flags.against) == top:
			name = e.Name
		}
	}
	return name, nil
}

// counterpart is the realm of another environment that a realm of this one is compared with: the same one, or that of its
// name, since environments have servers of their own.
func counterpart(there, here schema.Declared, ref schema.RealmRef) *schema.Realm {
	if r := there.Realms[ref]; r != nil {
		return r
	}
	named := func(d schema.Declared) (found []*schema.Realm) {
		for _, r := range d.Realms {
			if r.Ref.Realm == ref.Realm {
				found = append(found, r)
			}
		}
		return found
	}
	if found := named(there); len(found) == 1 && len(named(here)) == 1 {
		return found[0]
	}
	return nil
}

func refsOf(d schema.Declared) []schema.RealmRef {
	var refs []schema.RealmRef
	for ref := range d.Realms {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b schema.RealmRef) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Realm, b.Realm))
	})
	return refs
}
