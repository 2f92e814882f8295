package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// configuration is what a command line works on: the manifests that it names, and where they come from.
type configuration struct {
	tree
	identity
	options  schema.Options
	declared schema.Declared
}

func (c *cli) configuration(args []string) (*configuration, error) {
	t, err := c.openTree(args)
	if err != nil {
		return nil, err
	}
	id, err := c.identify(t)
	if err != nil {
		return nil, err
	}
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	o.ServerVersion = c.serverVersion()
	conf := &configuration{tree: t, identity: id, options: o, declared: c.load(t.fsys, t.paths, t.prefix, o)}
	c.log.Debug("manifests", "source", id.source, "commit", id.commit, "realms", len(conf.declared.Realms), "problems", len(conf.declared.Problems))
	return conf, nil
}

// environment is the name of the one that was loaded, "" where the whole tree is one layer.
func (conf *configuration) environment() string {
	if e := conf.declared.Environment; e != nil {
		return e.Name
	}
	return ""
}

// wanted are the realms that the command line means, in order.
func (c *cli) wanted(d schema.Declared) ([]schema.RealmRef, error) {
	var refs []schema.RealmRef
	for ref := range d.Realms {
		_, deployed := d.Deployments[ref.Server]
		if c.flags.serverName == "" || ref.Server == c.flags.serverName || deployed && len(c.flags.realms) > 0 {
			refs = append(refs, ref)
		}
	}
	names := servers(d)
	switch {
	case len(refs) == 0 && len(names) > 0:
		return nil, advise("the manifests name "+strings.Join(names, ", "), "no realm is declared for server %s", c.flags.serverName)
	case c.flags.serverName == "" && len(names) > 1 && (c.flags.config == "" || c.flags.server != ""):
		return nil, advise("say which one --server is by --server-name", "the manifests name several servers: %s", strings.Join(names, ", "))
	}
	for _, name := range c.flags.realms {
		if !slices.ContainsFunc(refs, func(r schema.RealmRef) bool { return r.Realm == name }) {
			return nil, advise("without --realm, all declared realms are meant", "no realm %q is declared", name)
		}
	}
	refs = slices.DeleteFunc(refs, func(r schema.RealmRef) bool {
		return len(c.flags.realms) > 0 && !slices.Contains(c.flags.realms, r.Realm)
	})
	slices.SortFunc(refs, func(a, b schema.RealmRef) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Realm, b.Realm))
	})
	return refs, nil
}

// pass is a pass over one realm of the configuration.
func (c *cli) pass(conf *configuration, ref schema.RealmRef, mode reconcile.Mode) reconcile.Pass {
	p := reconcile.Pass{
		Mode: mode, Want: conf.declared.Realms[ref], Facts: conf.declared.Facts, Kinds: conf.declared.Kinds, Problems: conf.declared.Problems,
		Source: conf.source, Path: conf.path, Environment: conf.environment(), Commit: conf.commit,
		AllowRealmDeletion: c.flags.realmDeletion, Log: c.log,
	}
	if conf.worktree != nil {
		p.Descends = conf.worktree.Descends
		p.Base = func(commit string) (*schema.Realm, error) {
			fsys, err := conf.at(commit)
			if err != nil {
				return nil, err
			}
			return reconcile.Declares(c.load(fsys, conf.paths, conf.prefix, conf.options), ref)
		}
	}
	return p
}

// client makes the client of the one server that the flags describe. Nothing is sent yet.
func (c *cli) client() (*keycloak.Client, error) {
	settings, err := c.flaggedServer()
	if err != nil {
		return nil, err
	}
	settings.Log = c.log
	client, err := keycloak.New(settings)
	if err != nil {
		return nil, advise("check --server and the credentials", "%w", err)
	}
	return client, nil
}

// flaggedServer is the one server that the flags describe.
func (c *cli) flaggedServer() (keycloak.Config, error) {
	none := keycloak.Config{}
	password, err := c.secret("password-file", c.flags.passwordFile, "CLOAKWORK_PASSWORD", "KEYCLOAK_PASSWORD")
	if err != nil {
		return none, err
	}
	clientSecret, err := c.secret("client-secret-file", c.flags.clientSecretFile, "CLOAKWORK_CLIENT_SECRET", "KEYCLOAK_CLIENT_SECRET")
	if err != nil {
		return none, err
	}
	var ca []byte
	if c.flags.ca != "" {
		if ca, err = os.ReadFile(c.flags.ca); err != nil {
			return none, advise("--ca names a file with PEM certificates", "read the certificates to trust: %w", err)
		}
	}
	switch {
	case c.flags.server == "":
		return none, advise("give --server URL, or set KEYCLOAK_URL", "no server is given")
	case c.flags.user == "" && password != "":
		return none, advise("give --user NAME, or set KEYCLOAK_USER", "a password is given, and no user")
	case c.flags.user != "" && password == "":
		return none, advise("set KEYCLOAK_PASSWORD, or give --password-file FILE", "no password is given for user %s", c.flags.user)
	case c.flags.user == "" && clientSecret == "":
		return none, advise("set KEYCLOAK_USER and KEYCLOAK_PASSWORD, or KEYCLOAK_CLIENT_ID and KEYCLOAK_CLIENT_SECRET", "no credentials are given")
	}
	return keycloak.Config{
		URL: c.flags.server, Realm: c.flags.authRealm, User: c.flags.user, Password: password, ClientID: c.flags.clientID,
		ClientSecret: clientSecret, CA: ca, InFlight: c.flags.inFlight, PerSecond: c.flags.perSecond, Patience: c.flags.patience,
	}, nil
}

// fingerprintKey is the key by which changed secrets are told that Keycloak doesn't show; "" where none is given.
func (c *cli) fingerprintKey() (reconcile.FingerprintKey, error) {
	text, err := c.secret("fingerprint-key-file", c.flags.fingerprintKeyFile, "CLOAKWORK_FINGERPRINT_KEY")
	if err != nil || text == "" {
		return "", err
	}
	key, err := reconcile.NewFingerprintKey(text)
	if err != nil {
		return "", advise("make one: openssl rand -base64 32", "%w", err)
	}
	return key, nil
}

// secret reads a secret from a file, or from the first of the variables that is set. It has no flag of its own: a command
// line can be seen by everybody on the machine.
func (c *cli) secret(flag, file string, variables ...string) (string, error) {
	if file != "" {
		value, err := c.secretFile(file)
		if err != nil {
			return "", fmt.Errorf("--%s: %w", flag, err)
		}
		return value, nil
	}
	for _, name := range variables {
		if value := os.Getenv(name); value != "" {
			c.secrets.add(value)
			return value, nil
		}
	}
	return "", nil
}

func (c *cli) secretFile(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	c.secrets.add(value)
	return value, nil
}

// serverVersion asks the server for its version, once it has told; "" where it doesn't tell this account, or can't be reached.
func (c *cli) serverVersion() func() string {
	known := ""
	return func() string {
		if known != "" {
			return known
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		client, err := c.client()
		if err != nil {
			return "" // whoever signs in will say so
		}
		defer client.Close()
		if known, err = client.Version(ctx); err != nil {
			c.log.Debug("the server doesn't tell its version", "error", err)
		}
		return known
	}
}
