package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// config is the controller's configuration, as --config names it.
type config struct {
	schema.Controller
	folder string // of the file, absolute: paths in it begin there
}

// readConfig reads the file of --config, nil where none is given, and prints what is wrong with it.
func (c *cli) readConfig() (*config, error) {
	if c.flags.config == "" {
		return nil, nil
	}
	real, err := filepath.EvalSymlinks(c.flags.config)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, advise("--config names the controller's configuration", "%s: there is no such file", c.flags.config)
	case err != nil:
		return nil, fmt.Errorf("--config: %w", err)
	}
	read, problems := schema.LoadController(os.DirFS(filepath.Dir(real)), filepath.Base(real))
	for i, p := range problems {
		if p.Origin.File != "" {
			problems[i].Origin.File = c.flags.config
		}
		what := "error"
		if p.Warning {
			what = "hint"
		}
		fmt.Fprintln(c.errs, c.painted(problems[i], what, c.paintErrs))
	}
	if slices.ContainsFunc(problems, func(p schema.Problem) bool { return !p.Warning }) {
		return nil, exit(1)
	}
	folder, err := filepath.Abs(filepath.Dir(c.flags.config))
	return &config{read, folder}, err
}

// path is a path of the configuration, from anywhere.
func (conf *config) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(conf.folder, name)
}

// repository is what a source's URL names: a path begins at the configuration's folder.
func (conf *config) repository(url string) string {
	if strings.Contains(url, "://") || filepath.IsAbs(url) {
		return url
	}
	if _, err := os.Stat(conf.path(url)); err == nil {
		return conf.path(url)
	}
	return url // user@host:path
}

// credential is the secret that a configuration says where to find; "" where it names none. It is read each time that it is
// asked for, since it may be renewed.
func (c *cli) credential(conf *config, label string, where schema.Credential) (string, error) {
	if where.File != "" {
		value, err := c.secretFile(conf.path(where.File))
		if err != nil {
			return "", fmt.Errorf("%s: %w", label, err)
		}
		return value, nil
	}
	if where.Env == "" {
		return "", nil
	}
	value := os.Getenv(where.Env)
	if value == "" {
		return "", fmt.Errorf("%s: the variable %s is not set", label, where.Env)
	}
	c.secrets.add(value)
	return value, nil
}

// certificates are those of a file to trust; none where none is named.
func (conf *config) certificates(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	return os.ReadFile(conf.path(name))
}

// besideConfig are the flags that say something which a configuration doesn't.
var besideConfig = []string{"config", "once", "state-dir", "metrics-address", "output", "log-format", "log-level", "no-color", "help"}

// alone refuses flags on the command line that a configuration would pass over in silence. Variables of the environment
// may be there for other verbs.
func (c *cli) alone() error {
	var other []string
	for _, name := range c.typed {
		if !slices.Contains(besideConfig, name) {
			other = append(other, "--"+name)
		}
	}
	if len(other) > 0 {
		return advise("write it into the file", "%s has no place beside --config", strings.Join(other, ", "))
	}
	return nil
}

// userCache is where this user's programs keep what they may lose; "" where there is no such place.
func userCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return dir
}
