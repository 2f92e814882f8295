package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/backup"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// restoring is what the flags of restore say.
type restoring struct {
	point, target, sure, keyFile string
	unsaved                      bool
}

func (c *cli) restore() *cobra.Command {
	var r restoring
	cmd := &cobra.Command{
		Use:   "restore DEPLOYMENT [--point POINT --target TARGET]",
		Short: "List a deployment's backups, or restore one",
		Long: "Restore lists the backups of a deployment at all destinations. With --point it restores one of them, to\n" +
			"  folder:PATH    a file for pg_restore, in the clear, and what is known of it\n" +
			"  database:NAME  a new database beside the deployment's, which nobody but cloakwork's own role gets into\n" +
			"  deployment     the deployment itself, once its name has been typed: the backup is restored beside the database, what is\n" +
			"                 there now is backed up, and the controller that runs, or the next one, holds requests, stops the nodes,\n" +
			"                 has the databases change places and starts the nodes. What was is kept aside until the next restore.\n\n" +
			"Exit codes: 0 done, 1 not; what there was is then as it was.",
		Example: "  cloakwork restore eu --config /etc/cloakwork/cloakwork.yaml\n" +
			"  cloakwork restore eu --point cold/20261123T030000Z --target deployment --config /etc/cloakwork/cloakwork.yaml",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.restored(cmd.Context(), args[0], r) },
	}
	f := cmd.Flags()
	c.stateFlags(f)
	f.StringVar(&r.point, "point", "", "the backup, as the list has it: [DESTINATION/][CLASS/]TIME, or newest")
	f.StringVar(&r.target, "target", "", "where to: folder:PATH, database:NAME or deployment")
	f.StringVar(&r.sure, "yes", "", "the deployment's name, in place of typing it")
	f.StringVar(&r.keyFile, "identity-file", "", "file with the age keys that open the backup (or CLOAKWORK_BACKUP_KEY; default backups.identity of the configuration)")
	f.BoolVar(&r.unsaved, "without-backup", false, "don't back up what is there now, where that can't be done")
	return cmd
}

func (c *cli) restored(ctx context.Context, name string, r restoring) error {
	conf, err := c.readConfig()
	if err != nil {
		return err
	}
	if conf == nil {
		return advise("give the controller's configuration by --config", "nobody knows where backups are")
	}
	if (r.point == "") != (r.target == "") {
		return advise("give both, or neither for a list", "--point and --target go together")
	}
	points, err := c.points(ctx, conf, name)
	if r.point == "" {
		return errors.Join(c.showPoints(name, points, recallBackups(backupsFolder(c.stateFolder(conf)), name)), err)
	}
	p, at, chosen := choose(points, r.point)
	if chosen != nil {
		return errors.Join(chosen, err)
	}
	keys := func() (backup.Identities, error) { return c.keysFor(conf, r.keyFile) }
	switch kind, where, _ := strings.Cut(r.target, ":"); {
	case kind == "folder" && where != "":
		return c.restoreToFolder(ctx, at, p, keys, where)
	case kind == "database" && where != "":
		return c.restoreToDatabase(ctx, name, at, p, keys, where)
	case r.target == "deployment":
		return c.restoreDeployment(ctx, conf, name, at, p, keys, r)
	}
	return advise("give folder:PATH, database:NAME or deployment", "--target %q is no target", r.target)
}

// found is a backup, and where it is.
type found struct {
	backup.Point
	at backup.Destination
}

// points are the backups of a deployment at all destinations, oldest first. A destination that is away hides no other's.
func (c *cli) points(ctx context.Context, conf *config, name string) (all []found, err error) {
	var failed []error
	for _, to := range slices.Sorted(maps.Keys(conf.Destinations)) {
		d, err := c.destination(ctx, conf, to)
		var points []backup.Point
		if err == nil {
			points, err = backup.Points(ctx, d, to, name)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("destination %s: %w", to, err))
		}
		for _, p := range points {
			all = append(all, found{p, d})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return a.At.Compare(b.At) })
	return all, errors.Join(failed...)
}

// label is how a person names a backup.
func (f found) label() string { return f.To + "/" + f.Class + "/" + f.ID }

// choose finds the backup that is meant.
func choose(all []found, point string) (backup.Point, backup.Destination, error) {
	var meant []found
	for _, f := range all {
		if point == f.ID || strings.HasSuffix("/"+f.label(), "/"+point) {
			meant = append(meant, f)
		}
	}
	if point == "newest" && len(all) > 0 {
		meant = all[len(all)-1:]
	}
	var labels []string
	for _, f := range meant {
		labels = append(labels, f.label())
	}
	switch len(meant) {
	case 0:
		return backup.Point{}, nil, advise("cloakwork restore DEPLOYMENT lists them", "there is no backup %q", point)
	case 1:
		return meant[0].Point, meant[0].at, nil
	}
	return backup.Point{}, nil, advise("name one of them", "%q is %s", point, strings.Join(labels, " and "))
}

func (c *cli) keysFor(conf *config, file string) (backup.Identities, error) {
	text, err := c.secret("identity-file", file, "CLOAKWORK_BACKUP_KEY")
	if err != nil {
		return nil, err
	}
	if text == "" {
		return c.backupKeys(conf)
	}
	return c.identities("--identity-file", text)
}

// showPoints lists the backups, newest first.
func (c *cli) showPoints(name string, all []found, known []backup.Standing) error {
	if c.flags.output == "json" {
		return c.pointsJSON(all, known)
	}
	var b strings.Builder
	if len(all) == 0 {
		fmt.Fprintf(&b, "deployment %s has no backups\n", drift.Escape(name))
	}
	for _, f := range slices.Backward(all) {
		fmt.Fprintf(&b, "%-40s %9s, %s", f.label(), amount(f.Bytes), count(int(f.Counts.Rows()), "row"))
		if f.Keycloak != "" {
			fmt.Fprintf(&b, ", Keycloak %s", drift.Escape(f.Keycloak))
		}
		if f.Commit != "" {
			b.WriteString(at(f.Commit))
		}
		if len(f.Recipients) == 0 {
			b.WriteString(", not encrypted")
		}
		if t := provenAt(f, known); !t.IsZero() {
			fmt.Fprintf(&b, ", restored %s", t.UTC().Format("2 Jan 15:04"))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(c.out, b.String())
	return err
}

// pointsJSON lists them for programs, newest first.
func (c *cli) pointsJSON(all []found, known []backup.Standing) error {
	type one struct {
		backup.Point
		Name     string    `json:"name"` // for --point
		ProvenAt time.Time `json:"provenAt,omitzero"`
	}
	list := []one{}
	for _, f := range slices.Backward(all) {
		list = append(list, one{f.Point, f.label(), provenAt(f, known)})
	}
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

// provenAt is when a backup was last restored aside, as far as that is known.
func provenAt(f found, known []backup.Standing) time.Time {
	for _, s := range known {
		if s.To == f.To && s.Class == f.Class && s.Proven == f.ID {
			return s.ProvenAt
		}
	}
	return time.Time{}
}

// amount is a number of bytes, as people say it.
func amount(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}

// restoreToFolder writes the dump in the clear, for somebody to look at it.
func (c *cli) restoreToFolder(ctx context.Context, at backup.Destination, p backup.Point, keys backup.Keys, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, p.Deployment+"-"+p.Class+"-"+p.ID+".dump")
	f, err := os.CreateTemp(dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = backup.Open(ctx, at, p, keys, func(r io.Reader) error {
		_, err := io.Copy(f, r)
		return err
	})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s holds it in the clear; pg_restore --no-owner --dbname=DATABASE %s brings it into an empty database\n", file, file)
	return err
}

// copied is a deployment, and what copies its database.
func (c *cli) copied(ctx context.Context, name string) (*platforms, deployment, platform.Dumps, error) {
	p, d, err := c.meantDeployment(ctx, []string{name})
	if err != nil {
		return nil, d, nil, err
	}
	dumps, err := p.dumps(&d.Declared)
	if err != nil {
		err = errors.Join(err, p.close())
	}
	return p, d, dumps, err
}

// restoreToDatabase restores into a new database beside the deployment's.
func (c *cli) restoreToDatabase(ctx context.Context, name string, at backup.Destination, p backup.Point, keys backup.Keys, database string) error {
	platforms, d, dumps, err := c.copied(ctx, name)
	if err != nil {
		return err
	}
	defer platforms.close()
	if err := c.fill(ctx, dumps, d.Declared, at, p, keys, database); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "database %s beside the one of deployment %s holds %s: all that was backed up\n", database, drift.Escape(name), count(int(p.Counts.Rows()), "row"))
	return err
}

// fill restores into a new database, and leaves none that isn't all of the backup.
func (c *cli) fill(ctx context.Context, dumps platform.Dumps, d schema.Deployment, at backup.Destination, p backup.Point, keys backup.Keys, database string) error {
	stop := c.progress.during(func() string { return "restoring " + p.To + "/" + p.Class + "/" + p.ID })
	defer stop()
	filled := false
	err := backup.Restored(ctx, at, p, keys, func(r io.Reader) (platform.Counts, error) {
		counts, err := dumps.Fill(ctx, d, database, r)
		filled = err == nil
		return counts, err
	})
	if err != nil && filled {
		err = errors.Join(err, dumps.Discard(context.WithoutCancel(ctx), d, database))
	}
	return err
}

// restoreDeployment has a backup take the place of a deployment's database.
func (c *cli) restoreDeployment(ctx context.Context, conf *config, name string, at backup.Destination, p backup.Point, keys backup.Keys, r restoring) (err error) {
	platforms, d, dumps, err := c.copied(ctx, name)
	if err != nil {
		return err
	}
	defer platforms.close()
	database := "restored_" + strings.ToLower(time.Now().UTC().Format("20060102T150405Z"))
	label := found{Point: p}.label()
	if older(d.Record.Good.Version, p.Keycloak) {
		return advise("declare that version first, and restore then", "the backup is of Keycloak %s, and deployment %s runs %s, which can't read it", p.Keycloak, name, d.Record.Good.Version)
	}
	allowed := func(seen platform.Seen) (platform.Record, error) {
		return rollout.Restore(d.Declared, seen, database, label)
	}
	driver, err := platforms.drive(&d.Declared)
	if err != nil {
		return err
	}
	seen, err := driver.Observe(ctx, d.Declared)
	if err != nil {
		return fmt.Errorf("look at deployment %s: %w", name, err)
	}
	if _, err := allowed(seen); err != nil {
		return err
	}
	if err := c.confirmed(name, r.sure, fmt.Sprintf("All that deployment %s holds is replaced by the backup %s of %s, %s; nodes stop meanwhile.", name, label,
		p.At.UTC().Format("2 Jan 2006 15:04"), count(int(p.Counts.Rows()), "row"))); err != nil {
		return err
	}
	if err := c.fill(ctx, dumps, d.Declared, at, p, keys, database); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dumps.Discard(context.WithoutCancel(ctx), d.Declared, database))
		}
	}()
	if !r.unsaved {
		if err := c.saved(ctx, conf, dumps, d, at, p); err != nil {
			return err
		}
	}
	if _, _, err := platforms.rerecord(ctx, d, allowed); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "deployment %s is restored from %s, from the controller's next look on; cloakwork status shows how far that is\n", drift.Escape(name), label)
	return err
}

// older tells whether version a is of an earlier minor version than b. What isn't known is no older.
func older(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	return slices.Compare(numbers(platform.Minor(a)), numbers(platform.Minor(b))) < 0
}

func numbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n := 0
		fmt.Sscan(part, &n)
		all = append(all, n)
	}
	return all
}

// confirmed has a person type the deployment's name.
func (c *cli) confirmed(name, typed, what string) error {
	if typed == "" {
		fmt.Fprintf(c.errs, "%s\nType the deployment's name to go on: ", what)
		line, err := bufio.NewReader(c.in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		typed = strings.TrimSpace(line)
	}
	if typed != name {
		return advise("type the name, or give it by --yes "+name, "%q isn't the deployment's name: nothing is changed", typed)
	}
	return nil
}

// saved backs up what there is now, to where the backup is that takes its place.
func (c *cli) saved(ctx context.Context, conf *config, dumps platform.Dumps, d deployment, at backup.Destination, p backup.Point) error {
	unlock, err := c.onlyBackup(backupsFolder(c.stateFolder(conf)), d.Name)
	if err != nil {
		return err
	}
	defer unlock()
	t := backup.Taking{Dumps: dumps, Want: d.Declared, Commit: d.Commit, To: p.To, At: at, Class: schema.BeforeRestore, Keep: schema.RestoreKeep}
	t.Want.Version = cmp.Or(d.Record.Good.Version, t.Want.Version)
	if len(p.Recipients) > 0 {
		if t.Recipients, t.Names, err = schema.Recipients(strings.Join(p.Recipients, ",")); err != nil {
			return fmt.Errorf("whom %s is encrypted to: %w", found{Point: p}.label(), err)
		}
	}
	now, err := t.Take(ctx, time.Now())
	if err != nil {
		return advise("--without-backup does it all the same", "back up what is there now: %w", err)
	}
	if _, err := backup.Expire(ctx, at, d.Name, t.Class, t.Keep, "", time.Now()); err != nil {
		c.log.Warn("remove old backups", "class", t.Class, "error", err)
	}
	_, err = fmt.Fprintf(c.out, "what is there now is backed up as %s\n", found{Point: now}.label())
	return err
}
