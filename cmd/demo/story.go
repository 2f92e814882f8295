package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// statusOfRealm is the context of the realm's status: the server is named eu in the manifests.
const statusOfRealm = "cloakwork/eu/realm/acme"

// story is all that is shown, in order. What a step says has happened it has seen.
func story(ctx context.Context, w *world) error {
	for _, chapter := range []func(context.Context, *world) error{
		problems, plan, applied, driftAndCorrection, massDelete,
	} {
		if err := chapter(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// problems are found in a copy of the example, first without a server, then with one.
func problems(ctx context.Context, w *world) error {
	w.step("Problems in a manifest")
	w.say("A copy of examples/acme gets some typical mistakes. All are found at once, without a server:")
	draft := filepath.Join(w.dir, "draft")
	if err := os.CopyFS(draft, os.DirFS("examples/acme")); err != nil {
		return err
	}
	mistakes := []edit{
		{"clients/portal.yaml", "redirectUris:", "redirectUrls:"},
		{"clients/portal.yaml", "publicClient: true", `publicClient: "yes"`},
		{"realm.yaml", "accessTokenLifespan: 300", "accessTokenLifespan: 5 minutes"},
	}
	if err := apply(draft, mistakes); err != nil {
		return err
	}
	if err := copyFile(manifest(draft, "clients/api.yaml"), manifest(draft, "clients/orders.yaml"), "name: Orders API", "name: Orders"); err != nil {
		return err
	}
	err := w.run(ctx, expect{exit: 1, says: []string{"did you mean redirectUris?", `"yes" is not a bool`, `"5 minutes" is not an int`, "keep one", "4 problems"}},
		"validate", "draft")
	if err != nil {
		return err
	}

	for i, m := range mistakes {
		mistakes[i] = edit{m.file, m.after, m.before}
	}
	mistakes = append(mistakes, edit{"clients/portal.yaml", "acr, department]", "acr, departement]"})
	if err := apply(draft, mistakes); err != nil {
		return err
	}
	if err := os.Remove(manifest(draft, "clients/orders.yaml")); err != nil {
		return err
	}
	if err := w.startKeycloak(ctx); err != nil {
		return err
	}
	w.say("\nThose are mended. A reference that leads nowhere is found in the plan, which knows the server:")
	w.command("export KEYCLOAK_URL=" + w.keycloak.URL + " KEYCLOAK_USER=" + w.keycloak.User + " KEYCLOAK_PASSWORD=…")
	return w.run(ctx, expect{exit: 1, says: []string{"departement"}, tail: 3}, "plan", "draft")
}

// plan shows the example's plan, and puts the example into a repository.
func plan(ctx context.Context, w *world) error {
	w.step("The plan")
	w.say("The example as it is, in a repository. Only its schedule is changed: drift is looked for every 6 s, not every 5 min.")
	config := filepath.Join(w.dir, "config")
	if err := os.CopyFS(config, os.DirFS("examples/acme")); err != nil {
		return err
	}
	if err := apply(config, []edit{{"realm.yaml", `schedule: "*/5 * * * *"`, `schedule: "@every 6s"`}}); err != nil {
		return err
	}
	if _, err := w.git(ctx, "init", "--quiet", "--initial-branch=main", "config"); err != nil {
		return err
	}
	url, flags, err := w.forge.start(ctx, w)
	if err != nil {
		return err
	}
	w.flags = flags
	if _, err := w.git(ctx, "-C", "config", "remote", "add", "origin", url); err != nil {
		return err
	}
	if err := w.run(ctx, expect{says: []string{"would create", "+ clients/portal"}, head: 10, tail: 8}, "plan", "config"); err != nil {
		return err
	}
	return w.push(ctx, "The realm acme")
}

// applied starts the controller, which makes the realm and says so on the commit.
func applied(ctx context.Context, w *world) error {
	w.step("The realm, applied by the controller")
	flags := append(slices.Clone(w.flags), "--state-dir", "state", "--interval", "1s", "--substitute", "SMTP_PASSWORD,*_SECRET")
	if err := w.startController(ctx, flags...); err != nil {
		return err
	}
	if err := w.awaitStatuses(ctx, "the status of the commit", w.commit, func(all []status.Status) bool { return ends(all, status.Success) }); err != nil {
		return err
	}
	made, err := w.look(ctx)
	if err != nil {
		return err
	}
	w.say("Keycloak now has a realm acme with the clients %s.", strings.Join(made.clients, ", "))
	if !slices.Contains(made.clients, "portal") || len(made.groups) == 0 {
		return fmt.Errorf("the realm is not as declared: clients %v, groups %v", made.clients, made.groups)
	}
	w.step("The status on the commit")
	return w.forge.show(ctx, w, w.commit)
}

// driftAndCorrection edits a client by hand, and waits until that is reported and repaired.
func driftAndCorrection(ctx context.Context, w *world) error {
	w.step("A change made by hand in Keycloak")
	w.say("Somebody lets the portal redirect anywhere, and allows passwords to be sent to it directly:")
	before, err := w.portal(ctx)
	if err != nil {
		return err
	}
	edited := []byte(`{"clientId": "portal", "redirectUris": ["*"], "directAccessGrantsEnabled": true}`)
	path := keycloak.Path("realms", "acme", "clients", before.ID)
	w.request("PUT " + w.keycloak.URL + "/admin" + path + " " + string(edited))
	if err := w.admin.Put(ctx, path, json.RawMessage(edited)); err != nil {
		return err
	}
	after, err := w.portal(ctx)
	if err != nil {
		return err
	}
	w.output(fmt.Sprintf("portal: redirectUris %v, directAccessGrantsEnabled %v\n", after.RedirectURIs, after.DirectGrants))

	w.step("The drift on the commit, and its correction")
	w.say("The controller reports the drift before it corrects it. All statuses that the commit has had:")
	err = w.awaitStatuses(ctx, "drift to be found and corrected", w.commit, func(all []status.Status) bool {
		drifted := slices.IndexFunc(all, func(s status.Status) bool {
			return s.State == status.Failure && strings.Contains(s.Says, "clients/portal") && strings.Contains(s.Says, "redirectUris")
		})
		return drifted > 0 && ends(all[drifted:], status.Success)
	})
	if err != nil {
		return err
	}
	if err := w.forge.history(ctx, w, w.commit, statusOfRealm); err != nil {
		return err
	}
	repaired, err := w.portal(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(repaired.RedirectURIs, before.RedirectURIs) || repaired.DirectGrants != before.DirectGrants {
		return fmt.Errorf("the portal is %+v, not %+v as before", repaired, before)
	}
	w.say("The portal is as declared again: redirectUris %v, directAccessGrantsEnabled %v.", repaired.RedirectURIs, repaired.DirectGrants)
	return w.run(ctx, expect{says: []string{"in sync"}}, "drift", "config")
}

// massDelete pushes a commit that drops most of the realm, and shows that nothing is deleted.
func massDelete(ctx context.Context, w *world) error {
	w.step("A blocked mass delete")
	w.say("A commit drops all roles, all groups and two of the clients. The manifest's limit is 5 deletes:")
	before, err := w.look(ctx)
	if err != nil {
		return err
	}
	if err := w.shell(ctx, "cd config && git rm --quiet realms/acme/roles.yaml realms/acme/groups.yaml realms/acme/clients/wiki.yaml realms/acme/clients/nightly.yaml"); err != nil {
		return err
	}
	if err := w.push(ctx, "Tidy up"); err != nil {
		return err
	}
	err = w.awaitStatuses(ctx, "the status of the commit", w.commit, func(all []status.Status) bool {
		return ends(all, status.Failure) && strings.Contains(all[len(all)-1].Says, "would delete")
	})
	if err != nil {
		return err
	}
	if err := w.forge.show(ctx, w, w.commit); err != nil {
		return err
	}
	w.say("The plan says what it would be, and what to do where it is meant:")
	err = w.run(ctx, expect{exit: 1, says: []string{"! deletes: groups/staff", "would delete", "raise limits.deletes"}, head: 4, tail: 2}, "plan", "config")
	if err != nil {
		return err
	}
	after, err := w.look(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(before.clients, after.clients) || !slices.Equal(before.groups, after.groups) || !slices.Equal(before.roles, after.roles) {
		return fmt.Errorf("the realm was changed: %+v became %+v", before, after)
	}
	w.say("Keycloak is untouched: %d clients, %d realm roles and %d top groups, as before.", len(after.clients), len(after.roles), len(after.groups))
	return nil
}

// push commits all that the checkout holds and pushes it.
func (w *world) push(ctx context.Context, subject string) error {
	if _, err := w.git(ctx, "-C", "config", "add", "--all"); err != nil {
		return err
	}
	err := w.shell(ctx, "cd config && git commit --quiet -m '"+subject+"' && git push --quiet origin main")
	if err != nil {
		return err
	}
	w.commit, err = w.git(ctx, "-C", "config", "rev-parse", "HEAD")
	return err
}

// awaitStatuses waits until the statuses of the realm on a commit are as they should be.
func (w *world) awaitStatuses(ctx context.Context, what, commit string, good func([]status.Status) bool) error {
	return w.until(ctx, what, func() (bool, error) {
		all, err := w.forge.statuses(ctx, w, commit, statusOfRealm)
		return good(all), err
	})
}

func ends(all []status.Status, state status.State) bool {
	return len(all) > 0 && all[len(all)-1].State == state
}

// contents are the names of what a realm holds.
type contents struct{ clients, roles, groups []string }

// look reads the realm acme as an administrator would. Keycloak's own clients, and cloakwork's, are left out.
func (w *world) look(ctx context.Context) (c contents, err error) {
	var clients []struct {
		ClientID string `json:"clientId"`
	}
	var roles, groups []struct {
		Name string `json:"name"`
	}
	for path, out := range map[string]any{"clients": &clients, "roles": &roles, "groups": &groups} {
		if err := w.admin.Get(ctx, keycloak.Path("realms", "acme", path), nil, out); err != nil {
			return c, err
		}
	}
	own := []string{"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console", "cloakwork"}
	for _, client := range clients {
		if !slices.Contains(own, client.ClientID) {
			c.clients = append(c.clients, client.ClientID)
		}
	}
	for _, r := range roles {
		c.roles = append(c.roles, r.Name)
	}
	for _, g := range groups {
		c.groups = append(c.groups, g.Name)
	}
	slices.Sort(c.clients)
	slices.Sort(c.roles)
	slices.Sort(c.groups)
	return c, nil
}

// client is what is edited by hand.
type client struct {
	ID           string   `json:"id"`
	RedirectURIs []string `json:"redirectUris"`
	DirectGrants bool     `json:"directAccessGrantsEnabled"`
}

func (w *world) portal(ctx context.Context) (client, error) {
	var found []client
	err := w.admin.Get(ctx, keycloak.Path("realms", "acme", "clients"), url.Values{"clientId": {"portal"}}, &found)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("the realm has %d clients portal", len(found))
	}
	if err != nil {
		return client{}, err
	}
	return found[0], nil
}

// edit replaces one text in a manifest.
type edit struct{ file, before, after string }

func apply(config string, edits []edit) error {
	for _, e := range edits {
		path := manifest(config, e.file)
		if err := copyFile(path, path, e.before, e.after); err != nil {
			return err
		}
	}
	return nil
}

func manifest(config, file string) string { return filepath.Join(config, "realms", "acme", file) }

// copyFile copies a file with one text in it replaced, which has to be there once.
func copyFile(from, to, before, after string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte(before)); n != 1 {
		return fmt.Errorf("%s holds %q %d times", from, before, n)
	}
	return os.WriteFile(to, bytes.Replace(text, []byte(before), []byte(after), 1), 0o644)
}
