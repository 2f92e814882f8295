package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// host is a platform that this build has a driver for.
type host struct {
	platform.Driver
	Fits  func(schema.Deployment) error                                     // why a deployment is none for it; may be nil
	Admin func(context.Context, schema.Deployment) (keycloak.Config, error) // how a deployment's Keycloak is reached, and as whom
	Dumps platform.Dumps                                                    // copies the databases of deployments; nil where it can't
	Close func() error                                                      // gives up what is under way; may be nil
}

// opener opens a platform, by what the configuration says of it.
type opener func(*platforms) (host, error)

// platforms are those of one process, each opened when a deployment first names it.
type platforms struct {
	*cli
	conf     *config // nil where none is given
	settings schema.Platforms
	state    string

	mu     sync.Mutex
	opened map[string]host
	driven map[string]schema.Deployment // by name, those that something was asked of
}

func (c *cli) openPlatforms(conf *config) *platforms {
	p := &platforms{cli: c, conf: conf, state: c.stateFolder(conf), opened: map[string]host{}, driven: map[string]schema.Deployment{}}
	if conf != nil {
		p.settings = conf.Platforms
		p.settings.Local.Folder, p.settings.Local.Distributions.Folder = conf.path(p.settings.Local.Folder), conf.path(p.settings.Local.Distributions.Folder)
	}
	return p
}

// serves is why a deployment can't be driven by this build; nil where it can.
func (c *cli) serves(d *schema.Deployment) error {
	if _, ok := c.drivers[d.Platform]; ok {
		return nil
	}
	names := slices.Sorted(maps.Keys(c.drivers))
	return advise("declare it on one of these, or take a build that serves "+d.Platform, "deployment %s: platform %s isn't served by this build, which serves %s",
		d.Name, d.Platform, cmp.Or(strings.Join(names, ", "), "none"))
}

// unserved adds a problem for each deployment whose platform this build has no driver for, where it is declared.
func (c *cli) unserved(d schema.Declared) schema.Declared {
	for _, name := range slices.Sorted(maps.Keys(d.Deployments)) {
		deployment := d.Deployments[name]
		if err := c.serves(deployment); err != nil && len(schema.BlockingDeployment(d.Problems, name)) == 0 {
			d.Problems = append(d.Problems, schema.Problem{Origin: deployment.Origin, What: err.Error(), Hint: hint(err), Deployment: name})
		}
	}
	d.Problems = schema.SortProblems(d.Problems)
	return d
}

// drive is what a deployment runs by.
func (p *platforms) drive(d *schema.Deployment) (platform.Driver, error) {
	if err := p.serves(d); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.opened[d.Platform]
	if !ok {
		var err error
		if s, err = p.cli.drivers[d.Platform](p); err != nil {
			return nil, fmt.Errorf("open platform %s: %w", d.Platform, err)
		}
		p.opened[d.Platform] = s
	}
	if s.Fits != nil {
		if err := s.Fits(*d); err != nil {
			return nil, advise("declare what it can run: docs/local.md", "deployment %s: %w", d.Name, err)
		}
	}
	p.driven[d.Name] = *d
	return s.Driver, nil
}

// dumps is what copies the database of a deployment.
func (p *platforms) dumps(d *schema.Deployment) (platform.Dumps, error) {
	if _, err := p.drive(d); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if dumps := p.opened[d.Platform].Dumps; dumps != nil {
		return dumps, nil
	}
	return nil, fmt.Errorf("deployment %s: platform %s makes no backups", d.Name, d.Platform)
}

// admin is how the Keycloak of a deployment is reached; ok tells whether there is a deployment of that name.
func (p *platforms) admin(ctx context.Context, name string) (c keycloak.Config, ok bool, err error) {
	p.mu.Lock()
	d, ok := p.driven[name]
	s := p.opened[d.Platform]
	p.mu.Unlock()
	if !ok {
		return c, false, nil
	}
	c, err = s.Admin(ctx, d)
	return c, true, err
}

func (p *platforms) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed []error
	for _, s := range p.opened {
		if s.Close != nil {
			failed = append(failed, s.Close())
		}
	}
	return errors.Join(failed...)
}

// folders are those in which platforms keep deployments on this machine.
func (p *platforms) folders() []string {
	folder := localFolder(p.settings.Local.Folder, p.state)
	if _, err := os.Stat(folder); err != nil {
		return nil
	}
	return []string{folder}
}

// stateFolder is where the controller keeps what it may lose.
func (c *cli) stateFolder(conf *config) string {
	switch {
	case c.flags.stateDir != "":
		return c.flags.stateDir
	case conf != nil && conf.State != "":
		return conf.path(conf.State)
	}
	if dir := userCache(); dir != "" {
		return filepath.Join(dir, "cloakwork")
	}
	return "/var/lib/cloakwork"
}

// localFolder is where deployments stand. Root's own home is nobody else's, and nodes run as another user.
func localFolder(declared, state string) string {
	if declared != "" {
		return declared
	}
	home, err := os.UserHomeDir()
	if os.Getuid() == 0 && err == nil && strings.HasPrefix(state+"/", home+"/") {
		state = "/var/lib/cloakwork"
	}
	return filepath.Join(state, "local")
}
