package reconcile_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/encoding/yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	realms "github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// rich makes a realm that holds what every realm does, and beside it what testdata/rich.yaml names, by the server's own import.
func (w *world) rich() {
	w.t.Helper()
	text, err := os.ReadFile("testdata/rich.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	syntax, err := yaml.Extract("rich.yaml", strings.NewReplacer("REALM", w.name, "UNIQUE", w.name[len(w.name)-8:]).Replace(string(text)))
	if err != nil {
		w.t.Fatal(err)
	}
	var more any
	if err := cuecontext.New().BuildFile(syntax).Decode(&more); err != nil {
		w.t.Fatal(err)
	}
	w.admin.Create("/admin/realms", map[string]any{"realm": w.name})
	every := w.admin.Export(w.name)
	w.admin.DeleteRealm(w.name)
	w.admin.Create("/admin/realms", united(every, more))
	for _, p := range []map[string]any{
		{"name": "help desk", "type": "role", "config": map[string]any{"roles": `[{"id":"reader"}]`}},
		{"name": "one person", "type": "scope", "resourceType": "Users", "config": map[string]any{"defaultResourceType": "Users", "resources": `["` + w.userID("ann") + `"]`, "scopes": `["view"]`, "applyPolicies": `["help desk"]`}},
		{"name": "every group", "type": "scope", "resourceType": "Groups", "config": map[string]any{"defaultResourceType": "Groups", "scopes": `["view"]`, "applyPolicies": `["help desk"]`}},
	} {
		w.must(http.MethodPost, w.guard("admin-permissions", "/policy"), p)
	}
}

// united is a value with another laid over it: objects of a list are told apart by their names, and other lists grow.
func united(below, above any) any {
	switch above := above.(type) {
	case map[string]any:
		fields, _ := below.(map[string]any)
		fields = maps.Clone(fields)
		if fields == nil {
			fields = map[string]any{}
		}
		for name, v := range above {
			fields[name] = united(fields[name], v)
		}
		return fields
	case []any:
		list, _ := below.([]any)
		list = slices.Clone(list)
		for _, v := range above {
			if i := slices.IndexFunc(list, func(b any) bool { return nameOf(v) != nil && nameOf(b) == nameOf(v) }); i >= 0 {
				list[i] = united(list[i], v)
			} else {
				list = append(list, v)
			}
		}
		return list
	}
	return above
}

func nameOf(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for _, key := range []string{"clientId", "alias", "username", "name", "providerId"} {
		if name, ok := object[key].(string); ok {
			return name
		}
	}
	return nil
}

// whole is a pass over a file as it is, with no word of ours in it.
func (w *world) whole(mode reconcile.Mode, declared schema.Declared, version string) reconcile.Pass {
	w.t.Helper()
	want := declared.Realms[schema.RealmRef{Server: "eu", Realm: w.name}]
	if want == nil {
		w.t.Fatal("no realm declared")
	}
	return reconcile.Pass{Mode: mode, Client: w.client, Account: reconcile.Account{Realm: "master", ClientID: "admin-cli", User: w.server.User, Version: version},
		Want: want, Facts: declared.Facts, Kinds: declared.Kinds, Source: w.source, Log: slog.New(slog.DiscardHandler)}
}

var workflows = []map[string]any{
	{"name": "welcome", "enabled": true, "on": "user-created", "steps": []any{
		map[string]any{"uses": "set-user-attribute", "after": "1d", "with": map[string]any{"seen": []string{"a", "b"}, "level": "1"}}, map[string]any{"uses": "disable-user", "after": "30d"}}},
	{"name": "leave", "enabled": false, "on": "user-authenticated", "if": `has-role("reader")`, "schedule": map[string]any{"after": "1d", "batch-size": 50},
		"concurrency": map[string]any{"cancel-in-progress": "user-created", "restart-in-progress": "true"}, "steps": []any{map[string]any{"uses": "notify-user", "after": "80d"}}},
}

// A realm that kc.sh has exported is declared by the file as it is: made of it on a server that never saw the realm, it is
// the same realm again.
func TestAnExportAppliesUnchangedWhereNothingIsAndPlansEmptyThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	version, err := w.client.Version(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	w.rich()
	if w.admin.Do(http.MethodGet, w.at("/workflows"), nil) == http.StatusOK { // before 26.5 there are none
		for _, workflow := range workflows {
			w.must(http.MethodPost, w.at("/workflows"), workflow)
		}
	}
	w.must(http.MethodPost, w.at("/clients-initial-access"), map[string]any{"count": 1, "expiration": 600})
	initial := w.admin.Get(w.at("/clients-initial-access")).([]any)[0].(map[string]any)["id"].(string)
	w.must(http.MethodPost, w.below("portal", "/registration-access-token"), nil)
	exported := w.server.Export(t, w.name)
	for _, nobodys := range []string{initial, "nitialAccess", "egistrationAccess"} { // declarations know no tokens, for exports hold none
		if strings.Contains(string(exported), nobodys) {
			t.Errorf("the export holds %s", nobodys)
		}
	}
	w.admin.DeleteRealm(w.name)

	declared := schema.Load(fstest.MapFS{"export.json": {Data: exported}}, schema.Options{Server: "eu", Version: version})
	for _, p := range declared.Problems {
		t.Errorf("problem: %s", p)
	}
	run := func(mode reconcile.Mode) drift.Report {
		report, err := w.whole(mode, declared, version).Run(context.Background())
		if err != nil {
			t.Fatalf("%v\n%s", err, text(report))
		}
		return report
	}
	run(reconcile.Apply)
	mark := w.server.Mark(t)
	for _, mode := range []reconcile.Mode{reconcile.Plan, reconcile.Apply} {
		if report := run(mode); len(report.Changes) > 0 || report.Verdict != drift.InSync {
			t.Errorf("afterwards there is\n%s", text(report))
		}
	}
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
		t.Errorf("the second pass sent %s", r)
	}
	if diff := cmp.Diff(w.portable(exported), w.portable(w.server.Export(t, w.name))); diff != "" {
		t.Errorf("the realm made of the export differs (-exported +made):\n%s", diff)
	}
}

// portable is an export without what is another in each realm: ids, what the server generated, our own client. What the
// import itself leaves out or adds isn't the realm's either: the use of keys, an attribute of realm-management.
func (w *world) portable(export []byte) map[string]any {
	w.t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(export, &fields); err != nil {
		w.t.Fatal(err)
	}
	clients := slices.DeleteFunc(fields["clients"].([]any), func(c any) bool { return nameOf(c) == realms.LedgerClient })
	for _, c := range clients {
		if nameOf(c) == "realm-management" {
			delete(in(c.(map[string]any), "attributes"), "post.logout.redirect.uris")
		}
		if nameOf(c) == "admin-permissions" { // which nobody signs in to, and nobody may write
			delete(c.(map[string]any), "defaultClientScopes")
			delete(c.(map[string]any), "optionalClientScopes")
		}
		settings := in(c.(map[string]any), "authorizationSettings")
		for _, list := range []string{"resources", "policies"} { // 26.4 gives each new client some of its own
			objects, _ := settings[list].([]any)
			settings[list] = slices.DeleteFunc(objects, func(o any) bool { return strings.HasPrefix(nameOf(o).(string), "Default ") })
		}
		policies, _ := settings["policies"].([]any)
		slices.SortFunc(policies, func(a, b any) int { return strings.Compare(nameOf(a).(string), nameOf(b).(string)) })
		for _, p := range policies { // the server keeps no order in what they name
			config := in(p.(map[string]any), "config")
			for key, v := range config {
				var list []any
				if json.Unmarshal([]byte(v.(string)), &list) == nil {
					config[key] = inOrder(list)
				}
			}
		}
	}
	fields["clients"] = clients
	delete(in(in(fields, "roles"), "client"), realms.LedgerClient)
	for _, k := range in(fields, "components")["org.keycloak.keys.KeyProvider"].([]any) {
		config := in(k.(map[string]any), "config")
		delete(config, "secret")
		delete(config, "keyUse")
	}
	return keycloaktest.Portable(w.name, fields)
}
