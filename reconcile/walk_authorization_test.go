package reconcile_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// guarded is a piece of a manifest with a client that protects something, and with what policies name.
func guarded(settings string) string {
	return "    roles: {realm: [{name: viewer}, {name: a/b}], client: {app: [{name: boss}]}}\n" +
		"    groups: [{name: staff, subGroups: [{name: s/f}]}]\n    users: [{username: ann, enabled: true}, {username: bob}]\n" +
		"    clients: [{clientId: app, serviceAccountsEnabled: true, authorizationServicesEnabled: true, authorizationSettings: {" + settings + "}}]\n"
}

const (
	shelf = `scopes: [{name: view}, {name: edit}], resources: [{name: doc, type: "urn:doc", scopes: [{name: view}, {name: edit}]}, {name: page, scopes: [{name: view}]}]`
	kinds = `{name: r, type: role, config: {roles: '[{"id":"viewer","required":true},{"id":"app/boss"}]'}}, {name: slash, type: role, config: {roles: [{id: a/b}]}},
        {name: u, type: user, config: {users: [Ann]}}, {name: g, type: group, config: {groupsClaim: groups, groups: [{path: /staff, extendChildren: true}, {path: /staff/s~/f}]}},
        {name: c, type: client, config: {clients: [app, account]}}, {name: cs, type: client-scope, config: {clientScopes: [{id: email, required: true}, {id: profile}]}},
        {name: t, type: time, logic: NEGATIVE, description: D, config: {hour: 5, hourEnd: "7", nbf: "2026-01-01 00:00:00"}}, {name: x, type: regex, config: {targetClaim: email, pattern: ".*", targetContextAttributes: true}},
        {name: all, type: aggregate, decisionStrategy: CONSENSUS, config: {applyPolicies: [more, r]}}, {name: more, type: aggregate, config: {applyPolicies: '["u","t"]'}}, {name: um, type: uma}`
	permissions = `{name: rp, type: resource, config: {resources: '["doc"]', applyPolicies: [all]}}, {name: tp, type: resource, decisionStrategy: AFFIRMATIVE, config: {defaultResourceType: "urn:doc", applyPolicies: [c]}},
        {name: sp, type: scope, config: {scopes: [view], resources: [doc], applyPolicies: [g, u]}}, {name: wide, type: scope, config: {scopes: [edit, view], applyPolicies: [u]}}`
)

// What a client protects, from state to state: what is declared, and what Keycloak's own settings then say by name.
var authorizationWalk = []struct{ settings, want string }{
	{``, `{"policyEnforcementMode":"ENFORCING","decisionStrategy":"UNANIMOUS","allowRemoteResourceManagement":true}`},
	{`policyEnforcementMode: PERMISSIVE, decisionStrategy: AFFIRMATIVE, allowRemoteResourceManagement: false`,
		`{"policyEnforcementMode":"PERMISSIVE","decisionStrategy":"AFFIRMATIVE","allowRemoteResourceManagement":false}`},
	{`policyEnforcementMode: DISABLED`, `{"policyEnforcementMode":"DISABLED","decisionStrategy":"AFFIRMATIVE","allowRemoteResourceManagement":false}`},
	{`policyEnforcementMode: null, decisionStrategy: null`, `{"policyEnforcementMode":"ENFORCING","decisionStrategy":"UNANIMOUS","allowRemoteResourceManagement":false}`},
	{`scopes: [{name: view, displayName: View, iconUri: "https://i.example"}, {name: edit}]`, `{"scopes":{"view":{"displayName":"View","iconUri":"https://i.example"},"edit":{"displayName":null}}}`},
	{`scopes: [{name: view, displayName: Look}, {name: edit, displayName: Edit}]`, `{"scopes":{"view":{"displayName":"Look","iconUri":"https://i.example"},"edit":{"displayName":"Edit"}}}`},
	{`scopes: [{name: look, $was: [view], displayName: null, iconUri: ""}]`, `{"scopes":{"look":{"displayName":null,"iconUri":""},"view":null,"edit":null}}`},
	{shelf, `{"scopes":{"look":null},"resources":{"doc":{"type":"urn:doc","scopes":["edit","view"],"ownerManagedAccess":false},"page":{"scopes":["view"]}}}`},
	{`scopes: [{name: view}, {name: edit}], resources: [{name: doc, displayName: Doc, icon_uri: "https://i.example", uris: [/b, "/a/*"], ownerManagedAccess: true, attributes: {k: [b, a], l: [x]}, scopes: [{name: edit}]}]`,
		`{"resources":{"doc":{"displayName":"Doc","icon_uri":"https://i.example","uris":["/a/*","/b"],"ownerManagedAccess":true,"attributes":{"k":["a","b"],"l":["x"]},"scopes":["edit"],"type":"urn:doc"},"page":null},"scopes":{"view":{}}}`},
	{`scopes: [{name: view}, {name: edit}], resources: [{name: file, $was: [doc], displayName: null, type: null, uris: [], ownerManagedAccess: null, attributes: {k: [c]}, scopes: []}]`,
		`{"resources":{"file":{"displayName":"","uris":[],"ownerManagedAccess":false,"attributes":{"k":["c"],"l":null},"scopes":null},"doc":null}}`},
	{`scopes: [{name: edit}]`, `{"scopes":{"view":null,"edit":{}},"resources":{"file":null}}`},
	{shelf + `, policies: [` + kinds + `]`, `{"resources":{"file":null},"policies":{"r":{"type":"role","config":{"roles":[{"id":"app/boss","required":false},{"id":"viewer","required":true}]}},
		"slash":{"config":{"roles":[{"id":"a/b","required":false}]}},"u":{"config":{"users":["ann"]}},"g":{"config":{"groupsClaim":"groups","groups":[{"extendChildren":false,"path":"/staff/s/f"},{"extendChildren":true,"path":"/staff"}]}},
		"c":{"config":{"clients":["account","app"]}},"cs":{"config":{"clientScopes":[{"id":"email","required":true},{"id":"profile","required":false}]}},
		"t":{"logic":"NEGATIVE","description":"D","config":{"hour":"5","hourEnd":"7"}},"x":{"config":{"pattern":".*","targetContextAttributes":"true"}},
		"all":{"decisionStrategy":"CONSENSUS","config":{"applyPolicies":["more","r"]}},"more":{"config":{"applyPolicies":["t","u"]}}}}`},
	{shelf + `, policies: [` + kinds + `, ` + permissions + `]`, `{"policies":{"rp":{"config":{"resources":["doc"],"applyPolicies":["all"]}},"tp":{"decisionStrategy":"AFFIRMATIVE","config":{"defaultResourceType":"urn:doc","applyPolicies":["c"]}},
		"sp":{"config":{"scopes":["view"],"resources":["doc"],"applyPolicies":["g","u"]}},"wide":{"config":{"scopes":["edit","view"],"applyPolicies":["u"]}}}}`},
	{shelf + `, policies: [{name: r, type: role, config: {fetchRoles: true, roles: [{id: viewer, required: false}]}}, {name: u, type: user, logic: NEGATIVE, config: {users: [bob, ann]}},
        {name: g, type: group, config: {groups: [{path: /staff}]}}, {name: c, type: client, config: {clients: []}}, {name: cs, type: client-scope, config: {clientScopes: [{id: profile, required: true}]}},
        {name: t, type: time, description: null, logic: null, config: {hour: null, nbf: "2026-01-01 00:00:00"}}, {name: x, type: regex, config: {targetClaim: sub, pattern: a}},
        {name: all, type: aggregate, decisionStrategy: null, config: {applyPolicies: [u]}}, {name: rp, type: resource, config: {resources: [page], applyPolicies: [r, all]}},
        {name: tp, type: resource, config: {resources: [doc], applyPolicies: [c]}}, {name: sp, type: scope, config: {scopes: [edit], applyPolicies: []}}]`,
		`{"policies":{"r":{"config":{"fetchRoles":"true","roles":[{"id":"viewer","required":false}]}},"u":{"logic":"NEGATIVE","config":{"users":["ann","bob"]}},"g":{"config":{"groupsClaim":null,"groups":[{"extendChildren":true,"path":"/staff"}]}},
		"c":{"config":{"clients":[]}},"cs":{"config":{"clientScopes":[{"id":"profile","required":true}]}},"t":{"description":"","logic":"POSITIVE","config":{"hour":null,"hourEnd":null}},"x":{"config":{"pattern":"a","targetClaim":"sub","targetContextAttributes":null}},
		"all":{"decisionStrategy":"UNANIMOUS","config":{"applyPolicies":["u"]}},"rp":{"config":{"resources":["page"],"applyPolicies":["all","r"]}},"tp":{"config":{"resources":["doc"],"defaultResourceType":null}},
		"sp":{"config":{"scopes":["edit"],"resources":null,"applyPolicies":[]}},"more":null,"slash":null,"wide":null}}`},
	{`scopes: [{name: view}, {name: write, $was: [edit]}], resources: [{name: file, $was: [doc], scopes: [{name: write}]}, {name: page}],
        policies: [{name: someone, $was: [u], type: user, config: {users: [bob, ann]}}, {name: rp, type: resource, config: {resources: [file], applyPolicies: [someone]}}, {name: sp, type: scope, config: {scopes: [write], applyPolicies: [someone]}}]`,
		`{"scopes":{"write":{},"edit":null},"resources":{"file":{"scopes":["write"]},"doc":null},"policies":{"someone":{"config":{"users":["ann","bob"]},"logic":"NEGATIVE"},"rp":{"config":{"resources":["file"],"applyPolicies":["someone"]}},
		"sp":{"config":{"scopes":["write"],"applyPolicies":["someone"]}},"u":null,"r":null}}`},
	{`scopes: [{name: view}, {name: write}], resources: [{name: file}, {name: page}], policies: [{name: someone, type: role, config: {roles: [{id: viewer}]}}, {name: rp, type: resource, config: {applyPolicies: [someone]}}]`,
		`{"policies":{"someone":{"type":"role","config":{"users":null,"roles":[{"id":"viewer","required":false}]}},"rp":{"config":{"applyPolicies":["someone"]}},"sp":null,"someone (replaced)":null}}`},
	{`scopes: [], resources: [], policies: []`, `{"scopes":{"view":null,"write":null},"resources":{"file":null,"page":null},"policies":{"someone":null,"rp":null}}`},
}

func TestAuthorizationWalksItsStates(t *testing.T) {
	w := newWorld(t)
	for i, s := range authorizationWalk {
		w.settled(spec("  limits: {deletes: 100%, changes: 100%}\n", guarded(s.settings)))
		w.protects("app", s.want)
		if t.Failed() {
			t.Fatalf("state %d:\n%s", i, s.settings)
		}
	}
}

// protects compares what want names of a client's authorization with what Keycloak says of it.
func (w *world) protects(client, want string) {
	w.t.Helper()
	var wanted any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, only(w.authorization(client), wanted)); diff != "" {
		w.t.Errorf("the authorization of %s (-want +got):\n%s", client, diff)
	}
}

// authorization is what a client protects, as Keycloak's settings of it say: what stands in them by name, and the lists in
// strings as lists, in order.
func (w *world) authorization(client string) map[string]any {
	w.t.Helper()
	settings := w.admin.Get(w.below(client, "/authz/resource-server/settings")).(map[string]any)
	for _, list := range []string{"scopes", "resources", "policies"} {
		byName := map[string]any{}
		for _, v := range settings[list].([]any) {
			object := v.(map[string]any)
			byName[object["name"].(string)] = object
			config, _ := object["config"].(map[string]any)
			for key, v := range config {
				var listed []any
				if s := v.(string); strings.HasPrefix(s, "[") && json.Unmarshal([]byte(s), &listed) == nil {
					config[key] = inOrder(listed)
				}
			}
			if scopes, ok := object["scopes"].([]any); ok {
				var names []any
				for _, s := range scopes {
					names = append(names, s.(map[string]any)["name"])
				}
				object["scopes"] = inOrder(names)
			}
			if uris, ok := object["uris"].([]any); ok {
				object["uris"] = inOrder(uris)
			}
			attributes, _ := object["attributes"].(map[string]any)
			for key, values := range attributes {
				attributes[key] = inOrder(values.([]any))
			}
		}
		settings[list] = byName
	}
	return settings
}

func inOrder(list []any) []any {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return list
}
