package reconcile_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

const moreKinds = `    organizationsEnabled: true
    requiredActions: [{alias: UPDATE_PASSWORD, enabled: true, priority: 57, config: {max_auth_age: 100}}, {alias: delete_account, enabled: false, priority: 60}]
    localizationTexts: {de: {hello: Hallo, bye: Tschau}, fr: {hello: Salut}}
    clientProfiles: {profiles: [{name: p, executors: [{executor: secure-session}]}, {name: q}]}
    clientPolicies: {policies: [{name: po, enabled: true, conditions: [{condition: any-client}], profiles: [p]}]}
    organizations: [{alias: acme, name: Acme, redirectUrl: "https://acme.example", domains: [{name: acme.example}, {name: b.example}], attributes: {site: [a]}, identityProviders: [{alias: hub}]}]
    identityProviders: [{alias: hub, providerId: oidc}, {alias: spoke, providerId: oidc}]
    components:
      org.keycloak.userprofile.UserProfileProvider:
        - {providerId: declarative-user-profile, config: {kc.user.profile.config: ['{"attributes":[{"name":"username"},{"name":"email"}]}']}}
      org.keycloak.storage.UserStorageProvider:
        - name: corp
          providerId: ldap
          config: {vendor: [other], editMode: [READ_ONLY], connectionUrl: ["ldap://127.0.0.1:1"], bindDn: ["cn=admin"], bindCredential: [$(env:SECRET)], authType: [simple], usersDn: ["dc=x"], rdnLDAPAttribute: [uid], uuidLDAPAttribute: [entryUUID], usernameLDAPAttribute: [uid], userObjectClasses: [inetOrgPerson]}
          subComponents:
            org.keycloak.storage.ldap.mappers.LDAPStorageMapper:
              - {name: username, providerId: user-attribute-ldap-mapper, config: {ldap.attribute: [uid], user.model.attribute: [username]}}
`

const ldapMappers = "components/org.keycloak.storage.UserStorageProvider:ldap:corp/components/org.keycloak.storage.ldap.mappers.LDAPStorageMapper:user-attribute-ldap-mapper:"

// component is where the only component of a name stands.
func (w *world) component(name string) string {
	w.t.Helper()
	list := w.admin.Get(w.at("/components?name=" + name)).([]any)
	if len(list) != 1 {
		w.t.Fatalf("%d components %s", len(list), name)
	}
	return w.at("/components/" + list[0].(map[string]any)["id"].(string))
}

func (w *world) organization(below string) string { return w.organizationOf("acme", below) }

func (w *world) organizationOf(name, below string) string {
	list := w.admin.Get(w.at("/organizations?search=" + name)).([]any)
	return w.at("/organizations/" + list[0].(map[string]any)["id"].(string) + below)
}

// entry is the object of a name in a list of a document.
func entry(document map[string]any, list, name string) map[string]any {
	for _, o := range document[list].([]any) {
		if object := o.(map[string]any); object["name"] == name {
			return object
		}
	}
	return map[string]any{}
}

var moreHandEdits = []handEdit{
	{"required action unregistered", func(w *world) {
		w.admin.Do("DELETE", w.at("/authentication/required-actions/delete_account"), nil)
	}, "requiredActions/delete_account (gone)", []string{"POST /authentication/register-required-action", "PUT /authentication/required-actions/delete_account"}},
	{"required action moved and configured", func(w *world) {
		w.admin.Edit(w.at("/authentication/required-actions/UPDATE_PASSWORD"), func(a map[string]any) {
			a["priority"], a["config"] = 1, map[string]any{"max_auth_age": "9"}
		})
	}, "requiredActions/UPDATE_PASSWORD (config.max_auth_age, priority)", []string{"PUT /authentication/required-actions/UPDATE_PASSWORD"}},
	{"text changed and another deleted", func(w *world) {
		w.admin.Do("POST", w.at("/localization/de"), map[string]any{"hello": "Moin", "ours": "not"})
		w.admin.Do("DELETE", w.at("/localization/fr"), nil)
	}, "realm (localizationTexts.de.hello, localizationTexts.fr.hello)", []string{"POST /localization/de", "POST /localization/fr"}},
	{"executor added to a client profile", func(w *world) {
		w.admin.Edit(w.at("/client-policies/profiles"), func(d map[string]any) {
			p := entry(d, "profiles", "p")
			p["executors"] = append(p["executors"].([]any), map[string]any{"executor": "pkce-enforcer", "configuration": map[string]any{}})
		})
	}, "clientProfiles/p (executors)", []string{"PUT /client-policies/profiles"}},
	{"client policy switched off", func(w *world) {
		w.admin.Edit(w.at("/client-policies/policies"), func(d map[string]any) { entry(d, "policies", "po")["enabled"] = false })
	}, "clientPolicies/po (enabled)", []string{"PUT /client-policies/policies"}},
	{"user profile saved with another attribute", func(w *world) {
		w.admin.Edit(w.at("/users/profile"), func(p map[string]any) {
			p["attributes"] = append(p["attributes"].([]any), map[string]any{"name": "evil"})
		})
	}, "components/org.keycloak.userprofile.UserProfileProvider:declarative-user-profile (config.kc.user.profile.config)", []string{"PUT /components/*"}},
	{"mapper of a federation changed", func(w *world) {
		w.admin.Edit(w.component("username"), func(c map[string]any) { c["config"].(map[string]any)["ldap.attribute"] = []string{"mail"} })
	}, ldapMappers + "username (config.ldap.attribute)", []string{"PUT /components/*"}},
	{"mapper added to a federation", func(w *world) {
		corp := w.admin.Get(w.component("corp")).(map[string]any)
		w.admin.Create(w.at("/components"), map[string]any{"name": "evil", "parentId": corp["id"], "providerId": "user-attribute-ldap-mapper",
			"providerType": "org.keycloak.storage.ldap.mappers.LDAPStorageMapper", "config": map[string]any{"ldap.attribute": []string{"cn"}, "user.model.attribute": []string{"x"}}})
	}, ldapMappers + "evil (added)", []string{"DELETE /components/*"}},
	{"organization's domain taken, with its address", func(w *world) {
		w.admin.Edit(w.organization(""), func(o map[string]any) {
			o["domains"], o["redirectUrl"] = []any{map[string]any{"name": "b.example", "verified": true}}, "https://evil.example"
		})
	}, "organizations/acme (domains, redirectUrl)", []string{"PUT /organizations/*"}},
	{"identity provider linked to an organization in place of another", func(w *world) {
		w.admin.Do("DELETE", w.organization("/identity-providers/hub"), nil)
		w.admin.Do("POST", w.organization("/identity-providers"), "spoke")
	}, "organizations/acme (identityProviders)", []string{"DELETE /organizations/*/identity-providers/spoke", "POST /organizations/*/identity-providers"}},
}

// What the admin console can do to these kinds is found, named, and repaired by exactly the writes that it takes.
func TestHandEditsOfMoreKindsAreNamedAndRepairedAlone(t *testing.T) {
	w := newWorld(t)
	w.env["SECRET"] = "sesame"
	manifest := realm(moreKinds)
	w.settled(manifest)
	for _, e := range moreHandEdits {
		t.Run(e.name, func(t *testing.T) {
			w.t = t
			w.admin = w.server.Admin(t)
			e.edit(w)
			found, err := w.pass(reconcile.Drift, manifest).Run(context.Background())
			if err != nil {
				t.Fatalf("drift: %v\n%s", err, text(found))
			}
			_, names, _ := strings.Cut(drift.SayDrift(found.Changes), " drifted: ")
			if drift.Sentence("xxxxxxxxxxx"+names) != drift.Sentence("xxxxxxxxxxx"+e.says) {
				t.Errorf("found %q, want %q", names, e.says)
			}
			mark := w.server.Mark(t)
			w.apply(manifest)
			var writes []string
			for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
				writes = append(writes, w.shape(r))
			}
			slices.Sort(writes)
			if diff := cmp.Diff(e.writes, writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			w.settled(manifest)
		})
	}
	t.Run("what is nobody's stays", func(t *testing.T) {
		w.t, w.admin = t, w.server.Admin(t)
		if got := w.admin.Get(w.at("/localization/de")).(map[string]any)["ours"]; got != "not" {
			t.Errorf("the text of somebody else is %v", got)
		}
		domains := w.admin.Get(w.organization("")).(map[string]any)["domains"].([]any)
		verified := map[string]any{}
		for _, d := range domains {
			verified[d.(map[string]any)["name"].(string)] = d.(map[string]any)["verified"]
		}
		if diff := cmp.Diff(map[string]any{"acme.example": false, "b.example": true}, verified); diff != "" {
			t.Errorf("domains (-want +got):\n%s", diff)
		}
	})
}

// Keycloak takes two components of one name; nobody can tell which is meant, so neither is touched.
func TestComponentsOfOneNameAreAProblemAndNotTouched(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(""))
	key := map[string]any{"name": "twin", "providerId": "aes-generated", "providerType": "org.keycloak.keys.KeyProvider", "config": map[string]any{"priority": []string{"5"}}}
	w.admin.Create(w.at("/components"), key)
	w.admin.Create(w.at("/components"), key)
	declared := realm(component("org.keycloak.keys.KeyProvider", `{name: twin, providerId: aes-generated, config: {priority: ["6"]}}`))
	report, err := w.pass(reconcile.Apply, declared).Run(context.Background())
	if err == nil || len(report.Problems) != 1 || report.Problems[0].What != "Keycloak has more than one components/org.keycloak.keys.KeyProvider:aes-generated:twin" {
		t.Errorf("%v, problems %v", err, report.Problems)
	}
	w.settled(spec("  exclusive: [components]\n", "    components: {}\n"))
	if twins := w.admin.Get(w.at("/components?name=twin")).([]any); len(twins) != 2 {
		t.Errorf("%d of the two are left", len(twins))
	}
}

// Keys that Keycloak made for itself, tokens that nobody can read back: they are as they were after a pass that takes every
// stranger for drift.
func TestWhatKeycloakMakesForItselfIsNobodysDeclaration(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    clients: [{clientId: c}]\n"))
	w.admin.Edit(w.below("c", ""), func(c map[string]any) { // for which Keycloak makes a key of that sort when it is asked
		c["attributes"].(map[string]any)["access.token.signed.response.alg"] = "ES512"
		c["serviceAccountsEnabled"], c["secret"] = true, "a-secret"
	})
	if _, err := http.PostForm(w.url+"/realms/"+w.name+"/protocol/openid-connect/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"a-secret"}}); err != nil {
		t.Fatal(err)
	}
	w.must("POST", w.at("/clients-initial-access"), map[string]any{"count": 3, "expiration": 600})
	look := func() map[string]any {
		kids := []string{}
		for _, k := range w.admin.Get(w.at("/keys")).(map[string]any)["keys"].([]any) {
			kids = append(kids, k.(map[string]any)["kid"].(string))
		}
		slices.Sort(kids)
		return map[string]any{"keys": kids, "tokens": w.admin.Get(w.at("/clients-initial-access")), "fallback": len(w.admin.Get(w.at("/components?name=fallback-ES512")).([]any))}
	}
	before := look()
	if before["fallback"] != 1 || len(before["tokens"].([]any)) != 1 {
		t.Fatalf("there are %v", before)
	}
	w.settled(spec("  exclusive: [components, clients, users]\n  limits: {deletes: 1000}\n", "    clients: [{clientId: c}]\n    components: {}\n"))
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("before and after (-want +got):\n%s", diff)
	}
}

// A policy with a profile that is gone would make every PUT of the realm's settings fail.
func TestAClientProfileThatAPolicyNamesIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	w.settled(realm("    clientProfiles: {profiles: [{name: p}]}\n"))
	w.admin.Do("PUT", w.at("/client-policies/policies"), map[string]any{"policies": []any{map[string]any{"name": "theirs", "profiles": []string{"p"}}}})
	report, err := w.pass(reconcile.Apply, realm("    clientProfiles: {profiles: []}\n")).Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), `the client policy "theirs" still names it`) {
		t.Errorf("%v\n%s", err, text(report))
	}
}

// A key of ours is written by the commit that changes it, and Keycloak makes a new certificate for it.
func TestAPrivateKeyIsReplacedByTheCommitThatChangesIt(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"FIRST", "SECOND"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		w.env[name] = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	}
	manifest := func(key, priority string) string {
		return realm(component("org.keycloak.keys.KeyProvider", "{name: own, providerId: rsa, config: {privateKey: [$(env:"+key+")], priority: [\""+priority+"\"]}}"))
	}
	commits := []string{manifest("FIRST", "5"), manifest("FIRST", "6"), manifest("SECOND", "6"), manifest("SECOND", "6")}
	var kids []string
	for i, declared := range commits {
		p := w.pass(reconcile.Apply, declared)
		p.Commit = strconv.Itoa(i)
		p.Base = func(commit string) (*schema.Realm, error) {
			n, err := strconv.Atoi(commit)
			return w.pass(reconcile.Apply, commits[n]).Want, err
		}
		if report, err := p.Run(context.Background()); err != nil {
			t.Fatalf("commit %d: %v\n%s", i, err, text(report))
		}
		id := strings.TrimPrefix(w.component("own"), w.at("/components/"))
		for _, k := range w.admin.Get(w.at("/keys")).(map[string]any)["keys"].([]any) {
			if key := k.(map[string]any); key["providerId"] == id {
				kids = append(kids, key["kid"].(string))
			}
		}
	}
	if len(kids) != 4 || kids[0] != kids[1] || kids[1] == kids[2] || kids[2] != kids[3] {
		t.Errorf("the keys of four commits, of which the third brings another, are %q", kids)
	}
}

func TestAPlanSaysThatUsersGoWithTheirFederation(t *testing.T) {
	w := newWorld(t)
	w.settled(realm(federation("", "usersDn: [dc=x]")))
	if got := text(w.plan(realm("    components: {}\n"))); !strings.Contains(got, "the users that it imported go with it") {
		t.Errorf("got %s", got)
	}
}
