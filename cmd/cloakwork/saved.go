package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

// savedPlan is a plan in a file: what somebody looked at, and apply may do. It holds no values, and so no secret: apply reads
// the manifests again, and does what they say only where that is the same still.
type savedPlan struct {
	Cloakwork   string            `json:"cloakwork"` // the header: plan
	Version     int               `json:"version"`
	Made        time.Time         `json:"made"`
	Paths       []string          `json:"paths,omitempty"`
	Source      string            `json:"source"`
	Commit      string            `json:"commit,omitempty"`
	Environment string            `json:"environment,omitempty"`
	URL         string            `json:"url"`
	Deletion    bool              `json:"allowRealmDeletion,omitempty"`
	Deployments []savedDeployment `json:"deployments"`
	Realms      []savedRealm      `json:"realms"`
}

type savedDeployment struct {
	Name     string         `json:"name"`
	Revision string         `json:"revision"`
	Changes  []drift.Agreed `json:"changes"`
	Steps    []drift.Step   `json:"steps"`
}

type savedRealm struct {
	Server  string         `json:"server"`
	Realm   string         `json:"realm"`
	Waits   bool           `json:"waits,omitempty"` // nobody could look at it yet: apply leaves it alone
	Changes []drift.Agreed `json:"changes"`
}

const (
	savedHeader  = "plan"
	savedVersion = 2
)

// save writes what the reports of a plan say into a new file. Unplanned are the realms that nobody could look at.
func (c *cli) save(file string, args []string, conf *configuration, reports []drift.Report, unplanned map[schema.RealmRef]bool) error {
	p := savedPlan{Cloakwork: savedHeader, Version: savedVersion, Made: time.Now().UTC().Truncate(time.Second), Paths: args,
		Source: conf.source, Commit: conf.commit, Environment: conf.environment(), URL: c.flags.server, Deletion: c.flags.realmDeletion}
	for _, r := range reports {
		agreed, err := drift.Agree(conf.declared.Facts, r.Changes)
		if err != nil {
			return err
		}
		if d := conf.declared.Deployments[r.Deployment]; d != nil {
			p.Deployments = append(p.Deployments, savedDeployment{d.Name, d.Revision, agreed, bare(r.Steps)})
		} else {
			p.Realms = append(p.Realms, savedRealm{r.Server, r.Realm, unplanned[schema.RealmRef{Server: r.Server, Realm: r.Realm}], agreed})
		}
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := create(file, append(text, '\n'), 0o600); os.IsExist(err) {
		return advise("give the name of a new file", "--out: %s is there already", file)
	} else if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// bare are steps without what changes from one look to the next.
func bare(steps []drift.Step) []drift.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Epoch, steps[i].Why = 0, ""
	}
	return steps
}

// saved is the saved plan that the first argument names, nil where it names none.
func saved(args []string) (*savedPlan, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if info, err := os.Stat(args[0]); err != nil || !info.Mode().IsRegular() {
		return nil, nil // what is wrong is said where manifests are read
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	var p savedPlan
	if json.Unmarshal(text, &p) != nil || p.Cloakwork != savedHeader {
		return nil, nil
	}
	if p.Version != savedVersion {
		return nil, advise("plan anew", "%s was saved by another version of cloakwork", args[0])
	}
	return &p, nil
}

// agreement is the saved plan that is to be applied, nil where there is none. Then the arguments become those of the plan,
// unless others follow.
func (c *cli) agreement(args *[]string, mode reconcile.Mode) (*savedPlan, error) {
	if mode != reconcile.Apply {
		return nil, nil
	}
	p, err := saved(*args)
	if p == nil || err != nil {
		return nil, err
	}
	if *args = (*args)[1:]; len(*args) == 0 {
		*args = p.Paths
	}
	c.flags.realmDeletion = p.Deletion
	if c.flags.environment == "" {
		c.flags.environment = p.Environment
	}
	if len(c.flags.realms) == 0 && len(p.Deployments) == 0 { // else it was made for all
		for _, r := range p.Realms {
			c.flags.realms = append(c.flags.realms, r.Realm)
		}
	}
	return p, nil
}

// holds says whether a saved plan may be applied to what is declared now.
func (p *savedPlan) holds(c *cli, conf *configuration, refs []schema.RealmRef) error {
	differs := func(what, then, now string) error {
		if then == now {
			return nil
		}
		return advise("plan anew", "%s has moved since the plan was made: it was %s, and is %s", what, orNone(then), orNone(now))
	}
	if err := errors.Join(differs("the commit", p.Commit, conf.commit), differs("the source", p.Source, conf.source),
		differs("the environment", p.Environment, conf.environment()), differs("the server", p.URL, c.flags.server)); err != nil {
		return err
	}
	var then, now []string
	for _, r := range p.Realms {
		then = append(then, r.Server+"/"+r.Realm)
	}
	for _, ref := range refs {
		now = append(now, ref.String())
	}
	for _, d := range p.Deployments {
		then = append(then, "deployment "+d.Name)
	}
	for _, name := range c.deployments(conf.declared) {
		now = append(now, "deployment "+name)
	}
	return differs("what is declared", strings.Join(then, ", "), strings.Join(now, ", "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// deploys holds what a look at a deployment would do against what was planned.
func (p *savedPlan) deploys(now drift.Report, revision string) error {
	i := slices.IndexFunc(p.Deployments, func(d savedDeployment) bool { return d.Name == now.Deployment })
	then := p.Deployments[i]
	moved, err := drift.Disagreements(nil, then.Changes, now.Changes)
	if err == nil && (len(moved) > 0 || then.Revision != revision || !slices.Equal(then.Steps, bare(now.Steps))) {
		return &reconcile.Blocked{Why: "deployment " + now.Deployment + " has moved since the plan was made", Hint: "plan anew"}
	}
	return err
}

func (p *savedPlan) realm(ref schema.RealmRef) savedRealm {
	i := slices.IndexFunc(p.Realms, func(r savedRealm) bool { return r.Server == ref.Server && r.Realm == ref.Realm })
	return p.Realms[i]
}

// agreed holds the changes of a pass against those that were planned for its realm.
func (p *savedPlan) agreed(facts schema.Facts, ref schema.RealmRef) func([]drift.Change) error {
	then := p.realm(ref)
	return func(changes []drift.Change) error {
		moved, err := drift.Disagreements(facts, then.Changes, changes)
		if err != nil || len(moved) == 0 {
			return err
		}
		names := make([]string, len(moved))
		for i, a := range moved {
			names[i] = string(a)
		}
		return &reconcile.Blocked{Why: "moved since the plan was made: " + strings.Join(names, ", "), Hint: "plan anew"}
	}
}
