package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// exporting are the flags of export.
type exporting struct {
	dir, split, secretsFile string
	users, unreadable       bool
}

func (c *cli) export() *cobra.Command {
	var e exporting
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write manifests of live realms",
		Long: "Export writes manifests of realms as they are: without what a new realm has by itself, without ids, and with\n" +
			"$(env:…) in place of every secret. A plan of them is empty, and the first apply owns what they declare and changes\n" +
			"nothing. It writes nothing to the server.\n\n" +
			"Which variables stand for secrets is said on standard error. --secrets-file writes those that Keycloak shows, to be\n" +
			"read by a shell: set -a; . FILE; set +a. What Keycloak doesn't show (passwords of mail servers and directories,\n" +
			"secrets of identity providers) stands in a comment, so that it stays as it is; --unreadable declares that too.\n\n" +
			"Exit codes: 0, 1 error.",
		Example: "  cloakwork export --realm acme --server https://id.acme.example --user admin\n" +
			"  cloakwork export --dir realms --split client --secrets-file secrets.env",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.exported(cmd.Context(), e) },
	}
	c.connectionFlags(cmd.Flags())
	f := cmd.Flags()
	f.StringSliceVar(&c.flags.realms, "realm", nil, "this realm, repeatable (default all but master)")
	f.StringVar(&c.flags.serverName, "server-name", "", "name of the server in the manifests (default none: they go where --server says)")
	f.StringVar(&e.dir, "dir", "", "folder for the manifests, one folder for each realm (default: standard output)")
	f.StringVar(&e.split, "split", "none", "files for each realm: none for one, kind for one a kind of object, client for one a client besides")
	f.StringVar(&e.secretsFile, "secrets-file", "", "new file, readable by you alone, for the secrets that Keycloak shows")
	f.BoolVar(&e.users, "users", false, "people too, without their credentials")
	f.BoolVar(&e.unreadable, "unreadable", false, "declare secrets that Keycloak doesn't show too: they must be given, and the first apply writes them")
	return cmd
}

func (c *cli) exported(ctx context.Context, e exporting) error {
	if !slices.Contains([]string{"none", "kind", "client"}, e.split) {
		return advise("give none, kind or client", "--split: %q is not known", e.split)
	}
	if e.dir == "" && e.split != "none" {
		return advise("give --dir DIR", "--split %s makes several files", e.split)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	who, err := account(ctx, client)
	if err != nil {
		return err
	}
	names := slices.Compact(slices.Sorted(slices.Values(c.flags.realms)))
	if len(names) == 0 {
		if names, err = realms(ctx, client); err != nil {
			return err
		}
	}
	var all []schema.Withheld
	for i, name := range names {
		exported, err := reconcile.Export(ctx, client, schema.RealmRef{Server: c.flags.serverName, Realm: name}, who.Version, e.users)
		if err != nil {
			return fmt.Errorf("export %s: %w", name, err)
		}
		exported.Declare = e.unreadable
		files, secrets, err := exported.Manifests(e.split)
		if err != nil {
			return err
		}
		for _, s := range secrets {
			c.secrets.add(s.Value)
		}
		if e.dir == "" {
			if i > 0 {
				fmt.Fprintln(c.out, "---")
			}
			fmt.Fprintf(c.out, "%s", files["realm.yaml"])
		} else if err := write(filepath.Join(e.dir, fileName(name)), files); err != nil {
			return err
		}
		c.explainExport(exported, secrets)
		all = append(all, secrets...)
	}
	if e.secretsFile == "" {
		return nil
	}
	return writeSecrets(e.secretsFile, all)
}

// realms are the names of all realms that the account may see, but for master.
func realms(ctx context.Context, client *keycloak.Client) ([]string, error) {
	var found []struct{ Realm string }
	if err := client.Get(ctx, keycloak.Path("realms"), map[string][]string{"briefRepresentation": {"true"}}, &found); err != nil {
		return nil, err
	}
	var names []string
	for _, r := range found {
		if r.Realm != "master" {
			names = append(names, r.Realm)
		}
	}
	if len(names) == 0 {
		return nil, advise("name one by --realm", "the account sees no realm but master")
	}
	slices.Sort(names)
	return names, nil
}

// explainExport says what a reader of the manifests must know.
func (c *cli) explainExport(e reconcile.Exported, secrets []schema.Withheld) {
	for _, s := range secrets {
		shown := "Keycloak shows it"
		if s.Value == "" {
			shown = "Keycloak doesn't show it"
		}
		fmt.Fprintf(c.errs, "secret %s: %s: %s of %s; %s\n", s.Name, drift.Escape(e.Ref.Realm), drift.Escape(s.Path), drift.Escape(string(s.At)), shown)
	}
	for _, a := range e.Missing {
		fmt.Fprintf(c.errs, "note: %s lacks %s, which every new realm has; no manifest says that\n", drift.Escape(e.Ref.Realm), drift.Escape(string(a)))
	}
	for _, a := range e.Twice {
		fmt.Fprintf(c.errs, "note: %s has %s more than once; it is left out\n", drift.Escape(e.Ref.Realm), drift.Escape(string(a)))
	}
}

// fileName is a realm's name as that of a folder.
func fileName(realm string) string {
	return strings.TrimLeft(strings.NewReplacer("/", "%2F").Replace(realm), ".")
}

// write makes new files. One that is there already is somebody's work.
func write(dir string, files map[string][]byte) error {
	for name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return advise("give an empty folder", "%s is there already", filepath.Join(dir, name))
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := create(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
