package reconcile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	realms "github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// What export leaves out rests on what a new realm holds by itself. With -update the table is written; that is how a version
// gets its table.
func TestFreshRealmsHoldWhatIsWrittenDown(t *testing.T) {
	w := newWorld(t)
	w.admin.Create("/admin/realms", map[string]any{"realm": w.name})
	version, err := w.client.Version(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, kinds, err := schema.Definitions(schema.Nearest(version))
	if err != nil {
		t.Fatal(err)
	}
	live, err := (&realms.Realm{Client: w.client, Name: w.name, Kinds: kinds}).ObserveAll(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	state, err := schema.Declarable(version, live.State)
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	for i, a := range state.Addresses() {
		sep := ",\n"
		if i == 0 {
			sep = "{\n"
		}
		if a.Kind() == "clients" {
			delete(state[a].Fields, "secret") // generated
		}
		fields, err := json.Marshal(state[a].Fields)
		if err != nil {
			t.Fatal(err)
		}
		key, _ := json.Marshal(a)
		lines.WriteString(strings.ReplaceAll(sep+string(key)+": "+string(fields), w.name, "{realm}"))
	}
	lines.WriteString("\n}\n")
	file := filepath.Join("..", "schema", "keycloak", schema.Nearest(version), "fresh.json")
	if *updateDefaults {
		if err := os.WriteFile(file, lines.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	object := func(text []byte) (m map[string]any) {
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return keycloaktest.Portable("{realm}", m)
	}
	if diff := cmp.Diff(object(committed), object(lines.Bytes())); diff != "" {
		t.Errorf("a new realm of %s (-committed +the server's; write it by -update):\n%s", version, diff)
	}
}

// loaded are the manifests of an export, with the values of its secrets.
func (w *world) loaded(e reconcile.Exported, version, split string, hidden map[string]string) schema.Declared {
	w.t.Helper()
	files, secrets, err := e.Manifests(split)
	if err != nil {
		w.t.Fatal(err)
	}
	fsys, env := fstest.MapFS{}, map[string]string{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: text}
		w.t.Logf("%s:\n%s", name, text)
	}
	for _, s := range secrets {
		env[s.Name] = s.Value
		if s.Value == "" {
			env[s.Name] = hidden[s.At.Name()]
		}
	}
	declared := schema.Load(fsys, schema.Options{Server: "eu", Version: version, Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	for _, p := range declared.Problems {
		w.t.Errorf("problem: %s", p)
	}
	return declared
}

// A realm that nobody declared is adopted by its export: that plans empty and changes nothing, and makes the same realm
// where nothing is.
func TestExportedManifestsPlanEmptyAndMakeTheSameRealm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	version, err := w.client.Version(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.rich()
	before := w.server.Export(t, w.name)
	e, err := reconcile.Export(ctx, w.client, schema.RealmRef{Realm: w.name}, version, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Missing)+len(e.Twice) > 0 {
		t.Errorf("missing %v, twice %v", e.Missing, e.Twice)
	}
	run := func(mode reconcile.Mode, declared schema.Declared) drift.Report {
		report, err := w.whole(mode, declared, version).Run(ctx)
		if err != nil {
			t.Fatalf("%v\n%s", err, text(report))
		}
		return report
	}
	for _, split := range []string{"none", "kind", "client"} {
		if report := run(reconcile.Plan, w.loaded(e, version, split, nil)); len(report.Changes) > 0 {
			t.Errorf("split by %s there is\n%s", split, text(report))
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	mark := w.server.Mark(t)
	run(reconcile.Apply, w.loaded(e, version, "kind", nil))
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
		if !strings.Contains(r.Path, "/clients") { // of the ledger
			t.Errorf("to adopt the realm it sent %s", r)
		}
	}

	w.admin.DeleteRealm(w.name)
	e.Declare = true
	again := w.loaded(e, version, "client", map[string]string{"": "mail secret", "hub": "hub secret", "search": "search secret", "org.keycloak.storage.UserStorageProvider:ldap:corp": "ldap secret"})
	run(reconcile.Apply, again)
	if report := run(reconcile.Plan, again); len(report.Changes) > 0 {
		t.Errorf("afterwards there is\n%s", text(report))
	}
	if diff := cmp.Diff(unexplained(w.portable(before)), unexplained(w.portable(w.server.Export(t, w.name)))); diff != "" {
		t.Errorf("the realm made of the manifests differs (-exported +made):\n%s", diff)
	}
}

// unexplained is an export without what the manifests of a realm can't or needn't say.
func unexplained(export map[string]any) map[string]any {
	if attributes := in(export, "attributes"); attributes["frontendUrl"] == "" {
		delete(attributes, "frontendUrl") // "" and none are one
	}
	policies, _ := in(export, "clientPolicies")["policies"].([]any)
	for _, p := range policies { // have no order in what they name
		p := p.(map[string]any)
		p["profiles"] = inOrder(p["profiles"].([]any))
	}
	users, _ := export["users"].([]any)
	for _, u := range users {
		u := u.(map[string]any)
		delete(u, "credentials") // no read gives them
		if u["serviceAccountClientId"] != nil {
			delete(u, "requiredActions") // a default action falls on all who are made after it
		}
	}
	return export
}

// What only the newest Keycloak has is in an export too: workflows, and groups of organizations with who is in them.
func TestExportedManifestsHoldWorkflowsAndTheGroupsOfOrganizations(t *testing.T) {
	t.Parallel()
	e := newEverything(t)
	dumped := func() map[string]any { // without our own client, and passwords, which no read gives
		e.must(http.MethodDelete, e.at("/clients/"+e.clientID(realms.LedgerClient)), nil)
		dump := e.dump()
		for _, u := range dump["users"].([]any) {
			delete(u.(map[string]any), "credentials")
		}
		unexplained(in(dump, "realm"))
		return dump
	}
	before := dumped()
	exported, err := reconcile.Export(context.Background(), e.client, schema.RealmRef{Realm: e.name}, e.version, true)
	if err != nil {
		t.Fatal(err)
	}
	exported.Declare = true
	e.declared = e.loaded(exported, e.version, "kind", map[string]string{"": "mail secret", "hub": "hub secret", "search": "search secret", "org.keycloak.storage.UserStorageProvider:ldap:corp": "ldap secret"})
	e.admin.DeleteRealm(e.name)
	e.pass(reconcile.Apply)
	if report, wrote := e.pass(reconcile.Apply); len(report.Changes)+len(wrote) > 0 {
		t.Errorf("a second pass wrote %v\n%s", wrote, text(report))
	}
	e.admin.Edit(e.at(""), func(map[string]any) {}) // as after the first making
	after := dumped()
	if len(after["workflows"].([]any)) != 3 {
		t.Errorf("workflows %v", after["workflows"])
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the realm made of the manifests differs (-exported +made):\n%s", diff)
	}
}

// What a new realm brings has nothing to lose: the pass that makes the realm changes it whatever the limits say, and the
// next one no longer.
func TestAPassThatMakesTheRealmKnowsNoLimitOfChangesAndTheNextOneDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	manifest := spec("  limits: {changes: 0, deletes: 0}\n", "    requiredActions: [{alias: CONFIGURE_TOTP, priority: 77}]\n    clientScopes: [{name: phone, protocolMappers: []}]\n")
	report := w.settled(manifest)
	for _, want := range []string{"create realm", "update requiredActions/CONFIGURE_TOTP priority", "delete clientScopes/phone/protocolMappers/phone%20number"} {
		if !strings.Contains(ops(report)+"\n", want+"\n") {
			t.Errorf("no %s in\n%s", want, ops(report))
		}
	}
	mark := w.server.Mark(t)
	_, err := w.pass(reconcile.Apply, strings.ReplaceAll(manifest, "77", "78")).Run(context.Background())
	if blocked := (*reconcile.Blocked)(nil); !errors.As(err, &blocked) || !strings.Contains(blocked.Why, "the limit is 0") {
		t.Errorf("afterwards: %v", err)
	}
	for _, r := range keycloaktest.Writes(w.server.RequestsSince(t, mark, w.name)) {
		t.Errorf("although it is blocked, it sent %s", r)
	}
}
