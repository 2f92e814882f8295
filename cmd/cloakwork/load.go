package main

import (
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// options say how this command line reads manifests. Every value that is substituted is noted, so that it isn't printed.
func (c *cli) options() (schema.Options, error) {
	o := schema.Options{
		Server: c.flags.serverName, Environment: c.flags.environment, Version: c.flags.version, Allow: c.flags.substitute, MergeLast: c.flags.merge == "last",
		Env: c.environment,
	}
	var err error
	if o.AgeKeys, err = c.ageKeys(); err != nil {
		return o, err
	}
	if dir := c.flags.secretsDir; dir != "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return o, advise("--secrets-dir names a folder", "open the secrets folder: %w", err)
		}
		o.Secrets = root.FS()
	}
	return o, nil
}

// environment is the value of a variable, which is a secret from then on.
func (c *cli) environment(name string) (string, bool) {
	value, ok := os.LookupEnv(name)
	c.secrets.add(value)
	return value, ok
}

// ageKeys are the identities that decrypt files of sops, from where sops itself looks for them.
func (c *cli) ageKeys() (string, error) {
	keys := os.Getenv("SOPS_AGE_KEY")
	if name := os.Getenv("SOPS_AGE_KEY_FILE"); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", advise("SOPS_AGE_KEY_FILE names a file of age keys", "read the age keys: %w", err)
		}
		keys += "\n" + string(text)
	}
	for line := range strings.Lines(keys) {
		c.secrets.add(strings.TrimSpace(line))
	}
	return keys, nil
}

// load reads the manifests of a tree. Where they name one server, what names none is that server's too; else the host of
// --server is its name.
func (c *cli) load(fsys fs.FS, paths []string, prefix string, o schema.Options) schema.Declared {
	o.Paths = paths
	if o.Server == "" {
		o.Server = nameless
	}
	declared := schema.Load(fsys, o)
	if names := servers(declared); slices.Contains(names, nameless) {
		o.Server = "default"
		if u, err := url.Parse(c.flags.server); err == nil && u.Hostname() != "" {
			o.Server = u.Hostname()
		}
		if names = slices.DeleteFunc(names, func(n string) bool { return n == nameless }); len(names) == 1 {
			o.Server = names[0]
		}
		declared = schema.Load(fsys, o)
	}
	for _, r := range declared.Realms {
		for _, object := range r.State {
			for path := range object.Inputs {
				c.secrets.add(valuesAt(object.Fields, path)...)
			}
		}
	}
	return placed(declared, prefix)
}

// nameless stands for the server of what names none, until all that is named is known. No manifest can spell it.
const nameless = "\x00"

// servers are the names of the servers that something is declared for, in order, but for those that are declared themselves.
func servers(d schema.Declared) []string {
	var names []string
	for ref := range d.Realms {
		if _, deployed := d.Deployments[ref.Server]; !deployed {
			names = append(names, ref.Server)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// valuesAt are the texts at and below a path. The keys in a path may hold dots.
func valuesAt(v any, path string) (values []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, element := range v {
			values = append(values, valuesAt(element, "")...)
		}
	case map[string]any:
		for key, below := range v {
			if path == "" || path == key {
				values = append(values, valuesAt(below, "")...)
			} else if rest, ok := strings.CutPrefix(path, key+"."); ok {
				values = append(values, valuesAt(below, rest)...)
			}
		}
	}
	return values
}

// placed puts prefix before the name of every file, so that places can be clicked on in a terminal.
func placed(d schema.Declared, prefix string) schema.Declared {
	if prefix == "" {
		return d
	}
	files := map[string]bool{}
	put := func(o schema.Origin) schema.Origin {
		if o.File != "" && o.File != standardInput {
			files[o.File] = true
			o.File = prefix + o.File
		}
		return o
	}
	for _, r := range d.Realms {
		r.Origin, r.Limits.Origin = put(r.Origin), put(r.Limits.Origin)
		for name, origin := range r.Settled {
			r.Settled[name] = put(origin)
		}
		for address, object := range r.State {
			object.Origin = put(object.Origin)
			for path, origin := range object.Origins {
				object.Origins[path] = put(origin)
			}
			for _, others := range []map[string][]schema.Origin{object.Again, object.Below} {
				for _, origins := range others {
					for i, origin := range origins {
						origins[i] = put(origin)
					}
				}
			}
			r.State[address] = object
		}
	}
	for _, deployment := range d.Deployments {
		deployment.Origin = put(deployment.Origin)
		for i := range deployment.Backups {
			deployment.Backups[i].Origin = put(deployment.Backups[i].Origin)
		}
		for i := range deployment.Telemetry {
			deployment.Telemetry[i].Origin = put(deployment.Telemetry[i].Origin)
		}
	}
	if e := d.Environment; e != nil {
		e.Origin = put(e.Origin)
		for i := range e.Layers {
			e.Layers[i].Origin = put(e.Layers[i].Origin)
		}
		for i := range e.Differs {
			e.Differs[i].Origin = put(e.Differs[i].Origin)
		}
	}
	for i, p := range d.Problems {
		d.Problems[i].Origin = put(p.Origin)
	}
	for i := range d.Problems { // a sentence may name a second place
		for file := range files {
			d.Problems[i].What = strings.ReplaceAll(d.Problems[i].What, "at "+file+":", "at "+prefix+file+":")
		}
	}
	return d
}
