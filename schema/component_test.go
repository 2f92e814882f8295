package schema

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestComponentsAreToldApartByTypeProviderNameAndSubType(t *testing.T) {
	d := Load(fstest.MapFS{"a.yaml": {Data: []byte(`realm: acme
components:
  org.keycloak.userprofile.UserProfileProvider:
    - {providerId: declarative-user-profile, config: {kc.user.profile.config: ['{}']}}
  policy:
    - {name: Allowed, providerId: allowed, subType: anonymous, subComponents: {}}
    - {name: Allowed, providerId: allowed, subType: authenticated}
  storage:
    - name: corp
      providerId: ldap
      config: {bindCredential: [$(env:LDAP)], priority: ["1"]}
      subComponents:
        mapper:
          - {name: mail, providerId: attribute, id: x, config: {a: [b]}}
  keys:
    - {name: rsa, providerId: rsa-generated, config: {priority: ["100"], privateKey: [x], kid: [y]}}
    - {name: own, providerId: rsa, config: {privateKey: [$(env:LDAP)]}}
`)}}, Options{Server: "eu", Env: func(string) (string, bool) { return "sesame", true }})
	if len(d.Problems) > 0 {
		t.Fatal(d.Problems)
	}
	realm := d.Realms[RealmRef{"eu", "acme"}]
	want := []Address{"realm", "components/keys:rsa-generated:rsa", "components/keys:rsa:own",
		"components/org.keycloak.userprofile.UserProfileProvider:declarative-user-profile", "components/policy:allowed:Allowed:anonymous",
		"components/policy:allowed:Allowed:authenticated", "components/storage:ldap:corp",
		"components/storage:ldap:corp/components/mapper:attribute:mail"}
	if diff := cmp.Diff(want, realm.State.Addresses()); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	complete := slices.Sorted(maps.Keys(realm.Complete))
	if diff := cmp.Diff([]Address{"components/policy:allowed:Allowed:anonymous/components", "components/storage:ldap:corp/components"}, complete); diff != "" {
		t.Errorf("complete lists (-want +got):\n%s", diff)
	}
	mapper := realm.State["components/storage:ldap:corp/components/mapper:attribute:mail"]
	if diff := cmp.Diff(map[string]any{"providerType": "mapper", "providerId": "attribute", "name": "mail", "config": map[string]any{"a": []any{"b"}}}, mapper.Fields); diff != "" {
		t.Errorf("a mapper (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"priority": []any{"100"}}, realm.State["components/keys:rsa-generated:rsa"].Fields["config"]); diff != "" {
		t.Errorf("what Keycloak generated is declared (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"privateKey": []any{"sesame"}}, realm.State["components/keys:rsa:own"].Fields["config"]); diff != "" {
		t.Errorf("a key of ours (-want +got):\n%s", diff)
	}
	if got := UnknownTo("26.7.3", realm); len(got) > 0 {
		t.Errorf("the newest Keycloak doesn't know %q", got)
	}
}

// Keycloak masks what a provider calls a secret, and keys of an authenticator that it doesn't know, whatever these are to us.
func TestAsterisksInThePlaceOfASecretAreLeftAloneInExportsAndAProblemInManifests(t *testing.T) {
	fields := "authenticatorConfig: [{alias: a, config: {known: x, other: '**********'}}], components: {s: [{name: c, providerId: p, config: {a: ['**********'], b: [x]}}]}"
	d := Load(fstest.MapFS{"a.yaml": {Data: []byte("{realm: acme, " + fields + "}")}}, Options{Server: "eu"})
	for _, p := range d.Problems {
		if !p.Warning || !strings.HasSuffix(p.What, " is asterisks, as exports show it in place of the secret; it is left alone") {
			t.Errorf("says %q", p)
		}
	}
	r := d.Realms[RealmRef{"eu", "acme"}]
	got := map[string]any{"a": r.State["authenticatorConfig/a"].Fields["config"], "c": r.State["components/s:p:c"].Fields["config"]}
	if diff := cmp.Diff(map[string]any{"a": map[string]any{"known": "x"}, "c": map[string]any{"b": []any{"x"}}}, got); diff != "" || len(d.Problems) != 2 {
		t.Errorf("%d problems, and declared is (-want +got):\n%s", len(d.Problems), diff)
	}
	d = Load(fstest.MapFS{"a.yaml": {Data: []byte("{apiVersion: cloakwork.dev/v1alpha1, kind: Realm, metadata: {name: acme}, spec: {server: eu, realm: {" + fields + "}}}")}}, Options{})
	if len(d.Problems) != 2 || d.Problems[0].Warning || d.Problems[1].Warning {
		t.Errorf("in a manifest: %q", d.Problems)
	}
}

func TestAsterisksInAListAreNoSecret(t *testing.T) {
	d := Load(fstest.MapFS{"a.yaml": {Data: []byte("realm: acme\ncomponents: {s: [{name: corp, providerId: ldap, config: {bindCredential: ['**********']}}]}\n")}}, Options{Server: "eu"})
	if len(d.Problems) != 1 || !d.Problems[0].Warning || !strings.Contains(d.Problems[0].What, "config.bindCredential[0] is asterisks") {
		t.Errorf("got %q", d.Problems)
	}
	config := d.Realms[RealmRef{"eu", "acme"}].State["components/s:ldap:corp"].Fields["config"]
	if diff := cmp.Diff(map[string]any{}, config); diff != "" {
		t.Errorf("declared (-want +got):\n%s", diff)
	}
}

func TestAnOrganizationNamesItsIdentityProviders(t *testing.T) {
	d := Load(fstest.MapFS{"a.yaml": {Data: []byte("realm: acme\norganizations: [{alias: a, identityProviders: [{alias: hub, providerId: oidc, config: {x: y}}, {alias: spoke}]}, {alias: b, identityProviders: [{}]}]\n")}}, Options{Server: "eu"})
	if len(d.Problems) != 1 || d.Problems[0].What != "organizations[b].identityProviders[0] has no alias" {
		t.Errorf("got %q", d.Problems)
	}
	want := State{"organizations/a": {}, "organizations/b": {}, "realm": {}}
	realm := d.Realms[RealmRef{"eu", "acme"}]
	if diff := cmp.Diff(want.Addresses(), realm.State.Addresses()); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"hub", "spoke"}, realm.State["organizations/a"].Fields["identityProviders"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The console exports workflows among the components without what they do.
func TestWorkflowsWithoutTheirConfigurationAreLeftAlone(t *testing.T) {
	d := Load(fstest.MapFS{"a.yaml": {Data: []byte("realm: acme\ncomponents: {org.keycloak.models.workflow.WorkflowProvider: [{providerId: default}, {providerId: default}]}\nworkflows: [{name: w, steps: [{uses: x, id: y}]}]\n")}}, Options{Server: "eu"})
	if len(d.Problems) != 1 || !d.Problems[0].Warning || d.Problems[0].Hint != "use workflows" {
		t.Errorf("got %q", d.Problems)
	}
	state := d.Realms[RealmRef{"eu", "acme"}].State
	if diff := cmp.Diff([]Address{"realm", "workflows/w"}, state.Addresses()); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{map[string]any{"uses": "x"}}, state["workflows/w"].Fields["steps"]); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

const exportedWorkflow = `{"realm": "acme", "components": {"org.keycloak.models.workflow.WorkflowProvider": [
  {"id": "1", "providerId": "default", "config": {"name": ["leave"], "enabled": ["false"], "supports": ["USERS"], "conditions": ["has-role(\"r\")"],
    "on": ["user-created"], "schedule.after": ["1d"], "schedule.batch-size": ["50"], "cancel-in-progress": ["true"], "restart-in-progress": ["user-authenticated"]},
   "subComponents": {"org.keycloak.models.workflow.WorkflowStepProvider": [
     {"id": "12", "providerId": "disable-user", "subComponents": {}, "config": {"after": ["90d"], "priority": ["10"]}},
     {"id": "11", "providerId": "notify-user", "subComponents": {}, "config": {"priority": ["9"], "subject": ["Hi"], "message": ["a", "b"]}}]}}]}}`

// An export of kc.sh holds all of a workflow, in a component and in those below.
func TestAWorkflowAmongTheComponentsIsDeclaredAsOne(t *testing.T) {
	d := Load(fstest.MapFS{"a.json": {Data: []byte(exportedWorkflow)}}, Options{Server: "eu"})
	if len(d.Problems) > 0 {
		t.Errorf("got %q", d.Problems)
	}
	workflow := d.Realms[RealmRef{"eu", "acme"}].State["workflows/leave"]
	want := map[string]any{"name": "leave", "enabled": false, "if": `has-role("r")`, "on": "user-created", "schedule": map[string]any{"after": "1d", "batch-size": 50.0},
		"concurrency": map[string]any{"cancel-in-progress": "true", "restart-in-progress": "user-authenticated"},
		"steps":       []any{map[string]any{"uses": "notify-user", "with": map[string]any{"subject": "Hi", "message": []any{"a", "b"}}}, map[string]any{"uses": "disable-user", "after": "90d"}}}
	if diff := cmp.Diff(want, workflow.Fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := workflow.Origin.String(); got != "a.json:2:3" {
		t.Errorf("it stands at %s", got)
	}
	d = Load(fstest.MapFS{"a.json": {Data: []byte(exportedWorkflow)}}, Options{Server: "eu", Version: "26.4.7"})
	if len(d.Problems) != 1 || !d.Problems[0].Warning {
		t.Errorf("on 26.4 %q", d.Problems)
	}
}

func TestTheClientThatRemembersIsNobodysDeclaration(t *testing.T) {
	fields := "clients: [{clientId: cloakwork, enabled: false, defaultClientScopes: []}, {clientId: portal}], roles: {client: {cloakwork: []}}"
	d := Load(fstest.MapFS{"a.yaml": {Data: []byte("{realm: acme, " + fields + "}")}}, Options{Server: "eu"})
	if got := d.Realms[RealmRef{"eu", "acme"}].State.Addresses(); len(d.Problems) > 0 || !slices.Equal(got, []Address{"realm", "clients/portal"}) {
		t.Errorf("an export declares %q, with %q", got, d.Problems)
	}
	d = Load(fstest.MapFS{"a.yaml": {Data: []byte("{apiVersion: cloakwork.dev/v1alpha1, kind: Realm, metadata: {name: acme}, spec: {server: eu, realm: {" + fields + "}}}")}}, Options{})
	if len(d.Problems) != 1 || d.Problems[0].What != "client cloakwork is where cloakwork remembers what it manages" {
		t.Errorf("in a manifest: %q", d.Problems)
	}
}
