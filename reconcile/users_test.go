package reconcile_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	realms "github.com/cloakwork/cloakwork/reconcile/realm"
)

func TestUsersThatAnAccountCannotSeeAreNotTakenForMissing(t *testing.T) {
	l := newLesser(t)
	l.admin.Create(l.at("/users"), map[string]any{"username": "ann"})
	manifest := rights + "    users: [{username: bob}]\n"
	l.become("view-realm", "view-clients", "query-users", "query-groups")
	report, err := l.run(reconcile.Apply, manifest)
	var missing *realms.MissingRole
	if !errors.As(err, &missing) || missing.Role != "view-users" || len(report.Changes) > 0 {
		t.Errorf("error %v, want one that names view-users\n%s", err, text(report))
	}
	l.become(append([]string{"manage-clients"}, views...)...)
	report, err = l.run(reconcile.Apply, manifest)
	if !strings.Contains(fmt.Sprint(report.Changes), "manage-users") || err == nil {
		t.Errorf("error %v, want one that names manage-users\n%s", err, text(report))
	}
}

// Many users are read by pages, and none but those declared.
func TestManyUsersAreReadByPages(t *testing.T) {
	w := newWorld(t)
	var manifest strings.Builder
	manifest.WriteString("    clients: [{clientId: c, serviceAccountsEnabled: true}]\n    users:\n      - {username: service-account-c, serviceAccountClientId: c, enabled: true}\n")
	for i := range 60 {
		fmt.Fprintf(&manifest, "      - {username: User%02d, firstName: F, lastName: L}\n", i)
	}
	w.settled(realm(manifest.String()))
	w.admin.Create(w.at("/users"), map[string]any{"username": "by-hand"})
	w.admin.Edit(w.at("/users/"+w.userID("user17")), func(u map[string]any) { u["lastName"] = "M" })
	mark := w.server.Mark(t)
	if report := w.plan(realm(manifest.String())); ops(report) != "update users/user17 lastName" {
		t.Errorf("changes\n%s", ops(report))
	}
	n := 0
	for _, r := range w.server.RequestsSince(t, mark, w.name) {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/users") {
			n++
		}
	}
	if n > 5 {
		t.Errorf("%d requests for 61 users", n)
	}
}

func TestExclusiveUsersAreAllButServiceAccountsAndOurselves(t *testing.T) {
	w := newWorld(t)
	manifest := spec("  exclusive: [users]\n", "    clients: [{clientId: c, serviceAccountsEnabled: true}]\n    users: [{username: ann}]\n")
	w.settled(manifest)
	for _, name := range []string{"by-hand", "boss"} {
		w.admin.Create(w.at("/users"), map[string]any{"username": name})
	}
	pass := w.pass(reconcile.Plan, manifest)
	pass.Account = reconcile.Account{Realm: w.name, ClientID: "admin-cli", User: "Boss"}
	report, err := pass.Run(context.Background())
	if err != nil || ops(report) != "delete users/by-hand" {
		t.Errorf("%v, changes\n%s", err, ops(report))
	}
}

func TestOurOwnUserIsNotLockedOut(t *testing.T) {
	w := newWorld(t)
	before := "    roles: {realm: [{name: r}]}\n    users: [{username: boss, enabled: true, realmRoles: [r]}]\n"
	w.settled(realm(before))
	for _, after := range []string{
		"    roles: {realm: [{name: r}]}\n    users: []\n",
		strings.Replace(before, "enabled: true", "enabled: false", 1),
		strings.Replace(before, "[r]}]", "[]}]", 1),
	} {
		pass := w.pass(reconcile.Apply, realm(after))
		pass.Account = reconcile.Account{Realm: w.name, ClientID: "admin-cli", User: "Boss"}
		if report, err := pass.Run(context.Background()); err == nil || report.Verdict != drift.Blocked || !strings.Contains(report.Says, "cuts own access") {
			t.Errorf("%s%v\n%s", after, err, text(report))
		}
	}
}

func TestARefusedRenameSaysWhatTheRealmNeeds(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    users: [{username: ann, firstName: Ann}]\n"))
	report, err := w.pass(reconcile.Apply, realm("    users: [{username: anna, $was: [Ann], firstName: Ann}]\n")).Run(context.Background())
	if err == nil || len(report.Changes) != 1 || !strings.HasPrefix(report.Changes[0].Says, "rename ann: the realm needs editUsernameAllowed: PUT /admin/realms/") {
		t.Errorf("%v\n%s", err, text(report))
	}
	w.settled(realm("    editUsernameAllowed: true\n    users: [{username: anna, $was: [Ann], firstName: Ann}]\n"))
}

// signsIn tells whether a user's password is this one.
func (w *world) signsIn(user, password string) bool {
	w.t.Helper()
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {user}, "password": {password}}
	response, err := http.PostForm(w.server.URL+"/realms/"+w.name+"/protocol/openid-connect/token", form)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// A password is set when its user is made: written out, or as exports have it, hashed. Whoever changes it keeps the new one.
func TestPasswordsAreSetOnce(t *testing.T) {
	w := newWorld(t)
	w.env["FIRST"] = "first-password"
	const salt = "0123456789abcdef"
	hash, err := pbkdf2.Key(sha512.New, "old-password", []byte(salt), 1000, 64)
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString
	manifest := realm(fmt.Sprintf(`    users:
      - {username: ann, enabled: true, email: ann@acme.example, firstName: Ann, lastName: Other, credentials: [{type: password, value: $(env:FIRST)}]}
      - username: bob
        enabled: true
        email: bob@acme.example
        firstName: Bob
        lastName: Other
        createdTimestamp: 1795415714161
        totp: false
        disableableCredentialTypes: []
        requiredActions: []
        realmRoles: [default-roles-REALM]
        notBefore: 0
        groups: []
        credentials:
          - id: 21d1aea4-d79c-4cbe-88d5-09e813bd2be0
            type: password
            createdDate: 1795416110072
            secretData: '{"value":"%s","salt":"%s","additionalParameters":{}}'
            credentialData: '{"hashIterations":1000,"algorithm":"pbkdf2-sha512","additionalParameters":{}}'
`, encoded(hash), encoded([]byte(salt))))
	report := w.settled(manifest)
	for _, secret := range []string{"first-password", encoded(hash)} {
		if strings.Contains(text(report), secret) {
			t.Errorf("the report shows %s", secret)
		}
	}
	for user, password := range map[string]string{"ann": "first-password", "bob": "old-password"} {
		if !w.signsIn(user, password) {
			t.Errorf("%s can't sign in", user)
		}
	}
	w.must(http.MethodPut, w.at("/users/"+w.userID("ann")+"/reset-password"), map[string]any{"type": "password", "value": "her-own"})
	w.env["FIRST"] = "another-one"
	w.settled(strings.Replace(manifest, "lastName: Other", "lastName: Else", 1))
	if !w.signsIn("ann", "her-own") {
		t.Error("ann's password was set again")
	}
}

// Everybody new has to do what the realm requires of all. A crash just before that is taken from a user who declares
// something else leaves no trace, and what somebody requires of the user later stays.
func TestACrashLeavesANewUserNoMoreToDoThanIsDeclared(t *testing.T) {
	c := newCrashing(t)
	c.commits = map[string]string{first: realm("    requiredActions: [{alias: CONFIGURE_TOTP, defaultAction: true}]\n    users: [{username: ann, requiredActions: [VERIFY_EMAIL]}]\n")}
	made := c.heal(first)
	c.must(http.MethodDelete, c.at(""), nil)
	c.crash(first, (*keycloaktest.Proxy).CutBefore, made-1) // the last but the ledger's
	todo := func() string {
		return fmt.Sprint(c.admin.Get(c.at("/users/" + c.userID("ann"))).(map[string]any)["requiredActions"])
	}
	if got := todo(); !strings.Contains(got, "CONFIGURE_TOTP") {
		t.Fatalf("the crash came too late: ann has to do %s", got)
	}
	c.heal(first)
	if got := todo(); got != "[VERIFY_EMAIL]" {
		t.Errorf("ann has to do %s", got)
	}
	with(ofUser("ann", ""), map[string]any{"requiredActions": []string{"UPDATE_PASSWORD"}})(c.world)
	c.heal(first)
	if got := todo(); got != "[UPDATE_PASSWORD]" {
		t.Errorf("afterwards, ann has to do %s", got)
	}
}
