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

	owned := map[schema.Address]bool{flowAt("a"): true}
	if problems, retire := Obstacles(live, want, []drift.Change{rename, drop}, owned); len(problems) > 0 || len(retire) != 1 || retire[flowAt("a")] == nil {
		t.Errorf("problems %v, to be retired %v", problems, retire)
	}
	rename.Diffs, want[gate] = nil, object(gate, nil)
	var says []string
	problems, retire := Obstacles(live, want, []drift.Change{rename, drop}, owned)
	for _, p := range problems {
		says = append(says, p.What)
	}
	if diff := cmp.Diff([]string{"authenticationFlows/a is no longer declared, and still the " + overrides + ".browser of clients/gate"}, says); diff != "" {
		t.Errorf("where it keeps its flow (-want +got):\n%s", diff)
	}
	if len(retire) > 0 {
		t.Errorf("to be retired %v", retire)
	}
}
