package reconcile_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// whole is a realm with an object of every kind, as testdata/rich.yaml and testdata/newest.yaml declare it in Keycloak's own
// words: no list is exclusive.
type whole struct {
	*world
	declared schema.Declared
	version  string
}

func newEverything(t *testing.T) whole {
	t.Helper()
	w := newWorld(t)
	version, err := w.client.Version(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	for _, name := range []string{"rich.yaml", "newest.yaml"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		tree[name] = &fstest.MapFile{Data: []byte(strings.NewReplacer("REALM", w.name, "UNIQUE", w.name[len(w.name)-8:]).Replace(string(text)))}
	}
	e := whole{w, schema.Load(tree, schema.Options{Server: "eu", Version: version}), version}
	for _, p := range e.declared.Problems {
		t.Errorf("problem: %s", p)
	}
	want := e.declared.Realms[schema.RealmRef{Server: "eu", Realm: w.name}]
	want.Limits.Changes = schema.Limit{Count: 100, Percent: true} // so that many edits are one pass
	e.pass(reconcile.Apply)
	w.admin.Edit(w.at(""), func(map[string]any) {}) // the first PUT of a realm adds five attributes of the server's own
	return e
}

// pass returns what it found, and what it wrote.
func (e whole) pass(mode reconcile.Mode) (drift.Report, []string) {
	e.t.Helper()
	mark := e.server.Mark(e.t)
	report, err := e.whole(mode, e.declared, e.version).Run(context.Background())
	if err != nil {
		e.t.Fatalf("%v\n%s", err, text(report))
	}
	var wrote []string
	for _, r := range keycloaktest.Writes(e.server.RequestsSince(e.t, mark, e.name)) {
		wrote = append(wrote, e.shape(r))
	}
	slices.Sort(wrote)
	return report, wrote
}

func (e whole) dump() map[string]any {
	e.t.Helper()
	return keycloaktest.Portable(e.name, e.admin.Dump(e.name))
}

// Edits of every kind by hand, none of which touches another of its batch: each is found and named, and each is repaired by
// the writes that it takes alone: no other is sent. An independent dump of the realm before and after differs nowhere.
func TestInARealmWithEverythingEachOfManyHandEditsIsFoundAndRepairedAlone(t *testing.T) {
	e := newEverything(t)
	kinds, edits := map[string]bool{}, 0
	before := e.dump()
	for _, batch := range everyEdit {
		var finds, takes []string
		for _, edit := range batch {
			edit.edit(e.world)
			edits++
			takes = append(takes, edit.writes...)
			for _, line := range edit.finds {
				finds = append(finds, strings.ReplaceAll(line, "REALM", e.name))
				kinds[schema.Address(strings.Fields(line)[1]).Kind()] = true
			}
		}
		slices.Sort(finds)
		slices.Sort(takes)
		found, wrote := e.pass(reconcile.Drift)
		named := strings.Split(ops(found), "\n")
		slices.Sort(named)
		if diff := cmp.Diff(finds, named); diff != "" || len(wrote) > 0 || found.Verdict != drift.Drifted {
			t.Errorf("%s, wrote %q, drifted (-want +got):\n%s", found.Verdict, wrote, diff)
		}
		_, wrote = e.pass(reconcile.Apply)
		if diff := cmp.Diff(takes, wrote); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		after := e.dump()
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the realm differs from before the edits (-before +after):\n%s", diff)
		}
		before = after
	}
	for kind := range e.declared.Kinds {
		if !kinds[kind] {
			t.Errorf("no edit is one of %s", kind)
		}
	}
	t.Logf("%d edits", edits)
}

// What is done by hand and none of ours is neither found nor touched, by a rule that an explanation of the object names, or
// that the page of the kinds states for all of them.
func TestInARealmWithEverythingWhatIsUnseenIsSoByRule(t *testing.T) {
	e := newEverything(t)
	for _, edit := range unseenByRule {
		edit.edit(e.world)
	}
	kinds, err := os.ReadFile("../docs/kinds.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(kinds)), " ")
	before := e.dump()
	for _, mode := range []reconcile.Mode{reconcile.Drift, reconcile.Plan, reconcile.Apply} {
		if found, wrote := e.pass(mode); len(found.Changes) > 0 || len(wrote) > 0 || found.Verdict != drift.InSync {
			t.Errorf("wrote %q, found\n%s", wrote, text(found))
		}
	}
	if diff := cmp.Diff(before, e.dump()); diff != "" {
		t.Errorf("the realm differs from before the passes (-before +after):\n%s", diff)
	}
	for _, edit := range unseenByRule {
		address := schema.Address(strings.ReplaceAll(edit.address, "REALM", e.name))
		x, err := e.whole(reconcile.Plan, e.declared, e.version).Explain(context.Background(), address, edit.field)
		if err != nil {
			t.Errorf("%s: %v", edit.name, err)
			continue
		}
		rule := x.Rule
		if edit.field != "" && len(x.Fields) == 1 {
			rule = x.Fields[0].Rule
		}
		if rule == "" && strings.Contains(page, edit.rule) {
			rule = edit.rule // one of all kinds, which their page says
		}
		if x.Standing != edit.standing || rule != edit.rule || len(x.Changes) > 0 {
			t.Errorf("%s: %s %s is %s by %q; want %s by %q", edit.name, address, edit.field, x.Standing, rule, edit.standing, edit.rule)
		}
	}
}
