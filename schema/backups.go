package schema

import (
	"slices"
	"strings"

	"filippo.io/age"
)

// ClassCold is the class of backups that name none.
const ClassCold = "cold"

// copies checks the backups, as far as can be told without the controller's configuration.
func (d *deploying) copies() {
	for i := range d.Backups {
		b, at := &d.Backups[i], index("backups", i)
		if b.Origin, b.shown = d.at(at), d.show(at+".to", b.To); b.To != "" {
			b.Origin = d.at(at + ".to")
		}
		if b.Class == "" {
			b.Class = ClassCold
		}
		switch {
		case b.To == "" || b.Schedule == "":
			d.problem(b.Origin, "write {to: a destination, schedule: when}", "spec.%s needs a destination and a schedule", at)
		case !slotName.MatchString(b.Class):
			d.problem(d.at(at+".class"), "write small letters, digits and dashes", "spec.%s.class: %s can't be part of a file's name", at, d.show(at+".class", b.Class))
		case b.Class == BeforeRestore:
			d.problem(d.at(at+".class"), "choose another", "spec.%s.class: %s are those that a restore makes", at, BeforeRestore)
		case slices.ContainsFunc(d.Backups[:i], func(o Backup) bool { return o.To == b.To && o.Class == b.Class }):
			d.problem(b.Origin, "give it a class of its own", "spec.%s: there are two of class %s to %s", at, d.show(at+".class", b.Class), b.shown)
		}
		d.sealed(at, *b)
	}
	if len(d.Backups) > 0 && !d.DB.Managed() {
		d.problem(d.at("backups"), "have whoever runs the database keep them", "spec.backups: the database isn't the platform's")
	}
}

// BeforeRestore is the class of the backups that are taken before a restore.
const BeforeRestore = "before-restore"

// sealed checks whom a backup is encrypted to.
func (d *deploying) sealed(at string, b Backup) {
	switch _, names, err := Recipients(b.Encrypt); {
	case b.Encrypt == NotEncrypted:
	case len(names) == 0:
		d.problem(b.Origin, "write what age-keygen calls the public key, encrypt: age1…, or encrypt: none where everybody who gets at the destination may read all of it",
			"spec.%s doesn't say whom it is encrypted to", at)
	case err != nil:
		d.problem(d.at(at+".encrypt"), "write what age-keygen calls the public key, age1…; the private one never stands in a repository", "spec.%s.encrypt holds no age recipient", at)
	}
}

// Recipients are age's, one a line or parted by commas, and as they were written.
func Recipients(text string) (recipients []age.Recipient, names []string, err error) {
	names = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == ' ' })
	recipients, err = age.ParseRecipients(strings.NewReader(strings.Join(names, "\n")))
	return recipients, names, err
}

// PermitBackups holds the backups that deployments declare against the destinations that there are: each must be known and
// stand where the deployment's data may be, and one at least in another location than the active region, and where that names its
// provider, one with another provider. What doesn't is a problem that blocks the deployment.
func (c Controller) PermitBackups(d Declared) Declared {
	for _, name := range sortedKeys(d.Deployments) {
		if w := d.Deployments[name]; len(w.Backups) > 0 && len(BlockingDeployment(d.Problems, name)) == 0 {
			for _, p := range c.backups(*w) {
				p.Deployment = name
				d.Problems = append(d.Problems, p)
			}
		}
	}
	d.Problems = SortProblems(d.Problems)
	return d
}

func (c Controller) backups(w Deployment) (problems []Problem) {
	active, _ := w.Region(w.Active)
	elsewhere, others := false, false
	places := map[string]string{}
	for name, to := range c.Destinations {
		places[name] = to.Location
	}
	var stand, owners []string
	for i, b := range w.Backups {
		at := index("spec.backups", i)
		to := c.Destinations[b.To]
		if p := w.refuses(addressee{b.Origin, at + ".to", b.To, b.shown}, "destination", "docs/backups.md", places); p != nil {
			problems = append(problems, *p)
			continue
		}
		elsewhere = elsewhere || to.Location != active.Location
		others = others || to.Provider != active.Provider
		stand, owners = append(stand, to.Location), append(owners, to.Provider)
	}
	if len(problems) > 0 {
		return problems
	}
	first := w.Backups[0].Origin
	switch {
	case active.Location == "":
		problems = append(problems, problemf(first, "write regions: [{name: …, location: …}]", "spec.backups: one must stand elsewhere than region %s, which has no location", w.Active))
	case !elsewhere:
		problems = append(problems, problemf(first, "add one to a destination elsewhere", "spec.backups: all stand in %s, where the active region %s is too", list(stand), w.Active))
	case active.Provider != "" && !others:
		problems = append(problems, problemf(first, "add one to a destination of another provider", "spec.backups: all are with %s, as the active region %s is", list(owners), w.Active))
	}
	return problems
}

// list are the names, each once.
func list(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
