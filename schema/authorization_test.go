package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// What Keycloak holds as JSON in a string may be written as the list that it is, and is one value either way.
func TestListsInPoliciesAreReadFromJSONAndFromLists(t *testing.T) {
	load := func(config string) (Declared, Object) {
		d := Load(fstest.MapFS{"a.yaml": {Data: []byte("realm: acme\nclients:\n  - clientId: app\n    authorizationSettings:\n      policies:\n        - name: p\n          config: " + config + "\n")}},
			Options{Server: "eu", Env: func(string) (string, bool) { return "x", true }})
		return d, d.Realms[RealmRef{"eu", "acme"}].State["clients/app/policies/p"]
	}
	for _, c := range []struct {
		config string
		want   map[string]any
	}{
		{`{users: '["ann", "bob"]'}`, map[string]any{"users": []any{"ann", "bob"}}},
		{`{users: [ann, bob]}`, map[string]any{"users": []any{"ann", "bob"}}},
		{`{users: []}`, map[string]any{"users": []any{}}},
		{`{users: ""}`, map[string]any{"users": []any{}}},
		{`{roles: '[{"id":"viewer","required":true}]', fetchRoles: true}`, map[string]any{"roles": []any{map[string]any{"id": "viewer", "required": true}}, "fetchRoles": "true"}},
		{`{roles: [{id: viewer, required: "true"}]}`, map[string]any{"roles": []any{map[string]any{"id": "viewer", "required": true}}}},
		{`{groups: [{path: /staff}], hour: 5}`, map[string]any{"groups": []any{map[string]any{"path": "/staff"}}, "hour": "5"}},
		{`{groups: '[{"id":"9f","path":"/staff","extendChildren":false}]'}`, map[string]any{"groups": []any{map[string]any{"path": "/staff", "extendChildren": false}}}},
	} {
		d, o := load(c.config)
		if diff := cmp.Diff(c.want, o.Fields["config"]); diff != "" || len(d.Problems) > 0 {
			t.Errorf("%s: problems %v (-want +got):\n%s", c.config, d.Problems, diff)
		}
	}
	for _, c := range []struct{ config, want string }{
		{`{users: 'ann'}`, `a.yaml:7:27: clients[app].authorizationSettings.policies[p].config.users: "ann" is not a list, or one in JSON`},
		{`{users: '["ann"'}`, `a.yaml:7:27: clients[app].authorizationSettings.policies[p].config.users: "[\"ann\"" is not a list, or one in JSON`},
		{`{users: {ann: bob}}`, `a.yaml:7:27: clients[app].authorizationSettings.policies[p].config.users: an object is not a list, or one in JSON`},
		{`{users: '[$(env:X)]'}`, `a.yaml:7:27: clients[app].authorizationSettings.policies[p].config.users: "[$(env:X)]" is not a list, or one in JSON`},
		{`{users: '["$(env:X)"]'}`, `a.yaml:7:27: clients[app].authorizationSettings.policies[p].config.users[0]: a name can't come from $(…), since plans and reports show it; write the name itself`},
		{`{roles: '[{"name":"viewer"}]'}`, `a.yaml:7:27: clients[app].authorizationSettings.policies[p].config.roles[0].name is not a field`},
		{`{roles: [viewer]}`, `a.yaml:7:28: clients[app].authorizationSettings.policies[p].config.roles[0]: "viewer" is not an object`},
		{`{roles: [{id: viewer, required: maybe}]}`, `a.yaml:7:51: clients[app].authorizationSettings.policies[p].config.roles[0].required: "maybe" is not a bool; write true or false`},
	} {
		d, _ := load(c.config)
		if got := fmt.Sprint(d.Problems); got != "["+c.want+"]" {
			t.Errorf("%s: %s, want [%s]", c.config, got, c.want)
		}
	}
}

const layeredAuthorization = `
-- e.yaml --
apiVersion: cloakwork.dev/v1alpha1
kind: Environment
metadata: {name: prod}
spec: {layers: [base, prod]}
-- base/a.yaml --
apiVersion: cloakwork.dev/v1alpha1
kind: Realm
metadata: {name: acme}
spec:
  server: eu
  realm:
    clients:
      - clientId: app
        authorizationSettings: {policyEnforcementMode: ENFORCING, scopes: [{name: view}], resources: [{name: doc}, {name: page}], policies: [{name: p, type: regex}]}
-- prod/a.yaml --
apiVersion: cloakwork.dev/v1alpha1
kind: Realm
metadata: {name: acme}
spec: {server: eu, realm: {clients: [{clientId: app, authorizationSettings: LAID}]}}
`

// What a client protects is laid over by layers as anything else is, although its lists stand in an object without a name.
func TestLayersLieOverWhatClientsProtect(t *testing.T) {
	all := []string{"clients/app", "clients/app/authorizationSettings", "clients/app/policies/p", "clients/app/resources/doc", "clients/app/resources/page", "clients/app/scopes/view", "realm"}
	for _, c := range []struct {
		laid  string
		gone  []string
		lists []string
	}{
		{"{policyEnforcementMode: PERMISSIVE}", nil, []string{"clients/app/policies", "clients/app/resources", "clients/app/scopes"}},
		{"{resources: [{name: doc, $delete: true}]}", []string{"clients/app/resources/doc"}, []string{"clients/app/policies", "clients/app/resources", "clients/app/scopes"}},
		{"{resources: null}", []string{"clients/app/resources/doc", "clients/app/resources/page"}, []string{"clients/app/policies", "clients/app/scopes"}},
		{"{$delete: true}", []string{"clients/app/authorizationSettings", "clients/app/policies/p", "clients/app/resources/doc", "clients/app/resources/page", "clients/app/scopes/view"}, nil},
	} {
		tree := fstest.MapFS{}
		for _, f := range txtar.Parse([]byte(strings.Replace(layeredAuthorization, "LAID", c.laid, 1))).Files {
			tree[f.Name] = &fstest.MapFile{Data: f.Data}
		}
		d := Load(tree, Options{Server: "eu", Environment: "prod"})
		if len(d.Problems) > 0 {
			t.Errorf("%s: %v", c.laid, d.Problems)
			continue
		}
		r := d.Realms[RealmRef{"eu", "acme"}]
		var want []string
		for _, a := range all {
			if !slices.Contains(c.gone, a) {
				want = append(want, a)
			}
		}
		var got, lists []string
		for a := range r.State {
			got = append(got, string(a))
		}
		for _, a := range slices.Sorted(maps.Keys(r.Complete)) {
			lists = append(lists, string(a))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: objects (-want +got):\n%s", c.laid, diff)
		}
		if diff := cmp.Diff(c.lists, lists); diff != "" {
			t.Errorf("%s: complete lists (-want +got):\n%s", c.laid, diff)
		}
	}
}

// Resources of people, which exports hold among the client's own, are theirs.
func TestResourcesOfPeopleAreLeftAlone(t *testing.T) {
	d := Load(fstest.MapFS{"a.json": {Data: []byte(`{"realm":"acme","clients":[{"clientId":"app","authorizationSettings":{"resources":[{"name":"doc"},{"name":"doc","owner":{"name":"ann"}}]}}]}`)}}, Options{Server: "eu"})
	want := "[a.json:1:99: warning: clients[app].authorizationSettings.resources[doc] bears owner, and is left alone: it belongs to somebody else]"
	if got := fmt.Sprint(d.Problems); got != want {
		t.Errorf("problems %s, want %s", got, want)
	}
	if r := d.Realms[RealmRef{"eu", "acme"}]; len(r.State) != 4 {
		t.Errorf("it declares %v", r.State.Addresses())
	}
}
