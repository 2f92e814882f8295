package realm

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// flowing is a change of flows under way.
type flowing struct {
	*application
	wanted  map[schema.Address]*drift.Change
	holders map[schema.Address]schema.Address // of the flows that stand in another
	now     map[schema.Address][]execution    // the executions that a flow has by now
	places  map[schema.Address]map[string]int // the priority that each execution shall have
}

// flows makes the changes of flows in place, so that whoever is signing in goes on: an execution that stays keeps its id.
// What is new comes first, and Keycloak makes it disabled, but for an authenticator that can only be required: a subflow
// that is still empty would let everybody pass. It is set up,
// then switched on from the innermost flow outwards, and only then goes what is no longer declared. The requests are sent
// one after the other: Keycloak loses the order of executions that are made side by side.
func (a *application) flows(ctx context.Context, changes []drift.Change) error {
	f := &flowing{application: a, wanted: map[schema.Address]*drift.Change{}, holders: map[schema.Address]schema.Address{},
		now: map[schema.Address][]execution{}, places: map[schema.Address]map[string]int{}}
	var todo []*drift.Change
	for i := range changes {
		if c := &changes[i]; c.Address.Kind() == "authenticationFlows" && c.Op != drift.Delete && !a.retires(c.Address) {
			todo = append(todo, c)
			f.wanted[c.Address] = c
		}
	}
	if len(todo) == 0 {
		return nil
	}
	f.look(changes)
	sort.SliceStable(todo, func(i, j int) bool { return f.depth(todo[i].Address) < f.depth(todo[j].Address) })
	outwards := slices.Clone(todo)
	slices.Reverse(outwards)
	for _, step := range []struct {
		flows []*drift.Change
		do    func(context.Context, *drift.Change) error
	}{{todo, f.itself}, {todo, f.add}, {todo, f.configure}, {outwards, f.settle}, {outwards, f.remove}} {
		if err := f.each(ctx, step.flows, step.do); err != nil {
			return err
		}
	}
	for _, c := range todo {
		if c.Outcome == "" {
			a.outcome(c, drift.Done, "")
		}
	}
	return nil
}

// look takes up what the flows hold now, under the names that they will have.
func (f *flowing) look(changes []drift.Change) {
	var renames []drift.Change
	for _, c := range changes {
		if c.Op == drift.Rename && !f.retires(c.Address) {
			renames = append(renames, c)
		}
	}
	for a, o := range f.live.State {
		if a.Kind() != "authenticationFlows" {
			continue
		}
		a = moved(a, renames)
		list := listed(o)
		for i, x := range list {
			if x.flow != "" {
				list[i].flow = moved(flowAt(x.flow), renames).Name()
				list[i].key = flowKey(list[i].flow)
				f.holders[flowAt(list[i].flow)] = a
			}
		}
		f.now[a] = list
	}
	for a, c := range f.wanted {
		for _, key := range wantedOrder(c) {
			if alias := flowIn(key); alias != "" {
				f.holders[flowAt(alias)] = a
			}
		}
	}
}

// depth is how many flows a flow stands in.
func (f *flowing) depth(a schema.Address) int {
	n := 0
	for holder, held := f.holders[a]; held && n < len(f.holders); holder, held = f.holders[holder] {
		n++
	}
	return n
}

// each takes one flow after the other, and stops where going on is of no use. What one depends on is another that holds
// it, or that it holds.
func (f *flowing) each(ctx context.Context, changes []*drift.Change, do func(context.Context, *drift.Change) error) error {
	for _, c := range changes {
		if c.Outcome != "" {
			continue
		}
		because := f.blocked(c)
		if holder := f.holders[c.Address]; because == "" && f.failed[holder] {
			because = holder
		}
		if because != "" {
			f.outcome(c, drift.Skipped, "because of "+string(because))
			continue
		}
		if err := f.unmoved(ctx); err != nil {
			return err
		}
		err := unwritten(writer(c.Address), do(ctx, c))
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.fail(c, err)
		if keycloak.IsUnreachable(err) || keycloak.IsSignIn(err) {
			return fmt.Errorf("%s %s: %w", c.Op, c.Address, err)
		}
	}
	return nil
}

// wantedOrder are the keys of the executions that a flow shall have; nothing where it doesn't say.
func wantedOrder(c *drift.Change) []string {
	byKey, _ := c.Want.Fields[executions].(map[string]any)
	return ordered(byKey)
}

// wantedOf is what one execution shall be.
func wantedOf(c *drift.Change, key string) map[string]any {
	byKey, _ := c.Want.Fields[executions].(map[string]any)
	fields, _ := byKey[key].(map[string]any)
	return fields
}

// itself makes or changes a flow without what stands in it. One that stands in another is made there.
func (f *flowing) itself(ctx context.Context, c *drift.Change) error {
	if c.Op == drift.Create {
		if _, held := f.holders[c.Address]; held {
			return nil
		}
		body := map[string]any{"providerId": "basic-flow", "topLevel": true, "builtIn": false}
		maps.Copy(body, c.Want.Fields)
		delete(body, executions)
		id, err := f.Client.Post(ctx, f.path("authentication", "flows"), nil, body, nil)
		if err != nil {
			return err
		}
		f.made(c.Address, id)
		return nil
	}
	diffs := slices.DeleteFunc(slices.Clone(c.Diffs), func(d drift.Diff) bool { return d.At[0] == executions })
	if len(diffs) == 0 {
		return nil
	}
	body, err := f.current(ctx, c.Address)
	if err != nil {
		return err
	}
	merge(body, diffs, false)
	return f.put(ctx, c.Address, body)
}

// add makes the executions that a flow lacks.
func (f *flowing) add(ctx context.Context, c *drift.Change) error {
	order := wantedOrder(c)
	if order == nil {
		return nil
	}
	have := map[string]int{}
	for _, x := range f.now[c.Address] {
		have[x.key] = x.priority
	}
	places := map[string]int{}
	for _, key := range order {
		if priority, ok := number(wantedOf(c, key)["priority"]); ok {
			places[key] = priority
		}
	}
	if len(places) == 0 {
		places = placed(order, have)
	}
	f.places[c.Address] = places
	added := false
	for _, key := range order {
		if _, there := have[key]; there {
			continue
		}
		if err := f.addOne(ctx, c, key, places[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		added = true
	}
	if !added {
		return nil
	}
	return f.read(ctx, c.Address)
}

func (f *flowing) addOne(ctx context.Context, c *drift.Change, key string, priority int) error {
	in := []string{"authentication", "flows", c.Address.Name(), "executions"}
	alias := flowIn(key)
	if alias == "" {
		provider, _, _ := strings.Cut(key, "#")
		_, err := f.Client.Post(ctx, f.path(append(in, "execution")...), nil, map[string]any{"provider": provider, "priority": priority}, nil)
		return err
	}
	body := map[string]any{"alias": alias, "type": "basic-flow", "description": "", "provider": "", "priority": priority}
	if form := text(wantedOf(c, key)["authenticator"]); form != "" {
		body["type"], body["provider"] = "form-flow", form
	}
	if made := f.wanted[flowAt(alias)]; made != nil {
		if provider := text(made.Want.Fields["providerId"]); provider != "" {
			body["type"] = provider
		}
		body["description"] = text(made.Want.Fields["description"])
	}
	id, err := f.Client.Post(ctx, f.path(append(in, "flow")...), nil, body, nil)
	if err != nil {
		return err
	}
	f.made(flowAt(alias), id)
	if made := f.wanted[flowAt(alias)]; made != nil {
		return f.complete(ctx, made)
	}
	return nil
}

// complete gives a flow that was made in another the fields that only a newer server knows: it is made of few.
func (f *flowing) complete(ctx context.Context, made *drift.Change) error {
	later := without(maps.Clone(made.Want.Fields), "alias", "description", "providerId", "topLevel", executions)
	if len(later) == 0 {
		return nil
	}
	body, err := f.current(ctx, made.Address)
	if err != nil {
		return err
	}
	maps.Copy(body, later)
	return f.put(ctx, made.Address, body)
}

// read looks which executions a flow has by now, after some were made.
func (f *flowing) read(ctx context.Context, a schema.Address) error {
	var infos []map[string]any
	if err := f.Client.Get(ctx, f.path("authentication", "flows", a.Name(), "executions"), nil, &infos); err != nil {
		return err
	}
	list := []any{}
	for _, info := range infos {
		if level, _ := number(info["level"]); level == 0 {
			list = append(list, elementOf(info))
		}
	}
	f.now[a] = listed(schema.Object{Fields: map[string]any{executions: list}})
	return nil
}

// configure gives executions the configurations that they shall have. What a configuration says is a change of its own,
// unless it is made here, where its execution asks for it: Keycloak has no other place for it.
func (f *flowing) configure(ctx context.Context, c *drift.Change) error {
	order := wantedOrder(c)
	for _, x := range f.now[c.Address] {
		if !slices.Contains(order, x.key) {
			continue
		}
		want := text(wantedOf(c, x.key)["authenticatorConfig"])
		switch {
		case want == x.config:
		case want == "":
			id, err := f.id(ctx, configAt(x.config))
			if err != nil {
				return err
			}
			if err := f.discard(ctx, "authentication", "config", id); err != nil {
				return err
			}
		default: // one that the execution had is replaced by it
			body := map[string]any{"alias": want, "config": map[string]any{}}
			for i := range f.changes {
				if made := &f.changes[i]; made.Address == configAt(want) && made.Op == drift.Create {
					maps.Copy(body, made.Want.Fields)
				}
			}
			id, err := f.Client.Post(ctx, f.path("authentication", "executions", x.id, "config"), nil, body, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", want, err)
			}
			f.made(configAt(want), id)
		}
	}
	return nil
}

// settle gives the executions of a flow their order and requirements: what is switched on first, what is switched off
// last, so that none of the moments between asks for less than the flow did or will.
func (f *flowing) settle(ctx context.Context, c *drift.Change) error {
	order := wantedOrder(c)
	urgency := func(x execution) int {
		switch {
		case x.requirement == "DISABLED":
			return 0
		case wantedOf(c, x.key)["requirement"] != "DISABLED":
			return 1
		}
		return 2
	}
	todo := slices.DeleteFunc(slices.Clone(f.now[c.Address]), func(x execution) bool {
		return !slices.Contains(order, x.key) || x.requirement == wantedOf(c, x.key)["requirement"] &&
			x.priority == f.places[c.Address][x.key] && holdsAll(x.later, laterFields(wantedOf(c, x.key)))
	})
	sort.SliceStable(todo, func(i, j int) bool { return urgency(todo[i]) < urgency(todo[j]) })
	for _, x := range todo {
		body := map[string]any{"id": x.id, "requirement": wantedOf(c, x.key)["requirement"], "priority": f.places[c.Address][x.key]}
		maps.Copy(body, laterFields(wantedOf(c, x.key)))
		if err := f.Client.Put(ctx, f.path("authentication", "flows", c.Address.Name(), "executions"), body); err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
	}
	return nil
}

// holdsAll tells whether fields are among others.
func holdsAll(have, want map[string]any) bool {
	for name, v := range want {
		if !reflect.DeepEqual(have[name], v) {
			return false
		}
	}
	return true
}

// remove takes away the executions that a flow shall not have. A flow goes with the execution that stands for it.
func (f *flowing) remove(ctx context.Context, c *drift.Change) error {
	order := wantedOrder(c)
	if order == nil {
		return nil
	}
	for _, x := range f.now[c.Address] {
		if slices.Contains(order, x.key) {
			continue
		}
		if err := f.discard(ctx, "authentication", "executions", x.id); err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
	}
	return nil
}

// flow deletes a flow. One that stands in another goes by its execution: deleted by itself, Keycloak would leave that
// behind, and no longer show what the other holds (26.7.3 answers 500).
func (a *application) flow(ctx context.Context, c *drift.Change) error {
	if c.Have.Fields["topLevel"] != false {
		if err := a.unbound(ctx, c.Have.ID, c.Address.Name()); err != nil {
			return err
		}
	}
	path := []string{"authentication", "flows", c.Have.ID}
	for _, holder := range a.live.State {
		if holder.Address.Kind() != "authenticationFlows" {
			continue
		}
		for _, x := range listed(holder) {
			if x.flow == c.Address.Name() {
				path = []string{"authentication", "executions", x.id}
			}
		}
	}
	return a.discard(ctx, path...)
}

// authenticatorConfig changes or deletes a configuration. A new one was made together with its execution.
func (a *application) authenticatorConfig(ctx context.Context, c *drift.Change) error {
	if _, err := a.id(ctx, c.Address); err != nil {
		return fmt.Errorf("its execution has none: %w", err)
	}
	switch c.Op {
	case drift.Create:
		return nil
	case drift.Delete:
		return a.remove(ctx, c.Address)
	}
	body, err := a.current(ctx, c.Address) // with its asterisks, for which Keycloak keeps what it has
	if err != nil {
		return err
	}
	merge(body, c.Diffs, false)
	return a.put(ctx, c.Address, body)
}

// withFlowIDs is the body of a client with the ids of flows in the place of their aliases.
func (a *application) withFlowIDs(ctx context.Context, body map[string]any) (map[string]any, error) {
	bound, ok := body[overrides].(map[string]any)
	if !ok {
		return body, nil
	}
	body, bound = maps.Clone(body), maps.Clone(bound)
	body[overrides] = bound
	for name, alias := range bound {
		if text(alias) == "" {
			continue
		}
		id, err := a.id(ctx, flowAt(text(alias)))
		if err != nil {
			return nil, err
		}
		bound[name] = id
	}
	return body, nil
}

// placed are priorities that put executions in order. As many as can keep the one that they have; where there is no room
// between these, none does.
func placed(order []string, have map[string]int) map[string]int {
	kept, places, last := rising(order, have), map[string]int{}, 0
	for i, key := range order {
		if kept[key] {
			last = have[key]
			places[key] = last
			continue
		}
		run := 1 // of those that find a place before the next that keeps its own
		for i+run < len(order) && !kept[order[i+run]] {
			run++
		}
		step := 10
		if i+run < len(order) {
			step = (have[order[i+run]] - last) / (run + 1)
		}
		if step < 1 {
			for j, key := range order {
				places[key] = (j + 1) * 10
			}
			return places
		}
		last += step
		places[key] = last
	}
	return places
}

// rising are the most executions whose priorities go up as they are.
func rising(order []string, have map[string]int) map[string]bool {
	best := make([][]string, len(order)) // that end with this one
	var longest []string
	for i, key := range order {
		priority, there := have[key]
		if !there {
			continue
		}
		for j, before := range order[:i] {
			if best[j] != nil && have[before] < priority && len(best[j]) > len(best[i]) {
				best[i] = best[j]
			}
		}
		best[i] = append(slices.Clone(best[i]), key)
		if len(best[i]) > len(longest) {
			longest = best[i]
		}
	}
	kept := map[string]bool{}
	for _, key := range longest {
		kept[key] = true
	}
	return kept
}
