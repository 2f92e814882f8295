package realm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

// In one commit a client gets another name and another flow, and the flow that it had goes.
func TestRenamedClientIsAskedForTheFlowsThatItWillHave(t *testing.T) {
	object := func(a schema.Address, fields map[string]any) schema.Object {
		return schema.Object{Address: a, ID: string(a), Fields: fields}
	}
	override := func(flow string) map[string]any { return map[string]any{overrides: map[string]any{"browser": flow}} }
	flow := func(alias string) schema.Object {
		return object(flowAt(alias), map[string]any{"alias": alias, "topLevel": true})
	}
	const portal, gate = schema.Address("clients/portal"), schema.Address("clients/gate")
	live := Live{State: schema.State{flowAt("a"): flow("a"), flowAt("b"): flow("b"), portal: object(portal, override("a"))}}
	want := schema.State{flowAt("b"): flow("b"), gate: object(gate, override("b"))}
	rename := drift.Change{Op: drift.Rename, From: portal, Address: gate, Want: want[gate], Have: live.State[portal],
		Diffs: []drift.Diff{{Path: overrides + ".browser", At: []string{overrides, "browser"}, Want: "b", Have: "a"}}}
	drop := drift.Change{Op: drift.Delete, Address: flowAt("a"), Have: live.State[flowAt("a")]}

	if problems := Obstacles(live, want, []drift.Change{rename, drop}); len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
	rename.Diffs, want[gate] = nil, object(gate, nil)
	var says []string
	for _, p := range Obstacles(live, want, []drift.Change{rename, drop}) {
		says = append(says, p.What)
	}
	if diff := cmp.Diff([]string{"authenticationFlows/a is no longer declared, and still the " + overrides + ".browser of clients/gate"}, says); diff != "" {
		t.Errorf("where it keeps its flow (-want +got):\n%s", diff)
	}
}
