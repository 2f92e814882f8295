package realm

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// executions is the field of a flow that lists them.
const executions = "authenticationExecutions"

// overrides is the field of a client that names flows; Keycloak has their ids in it.
const overrides = "authenticationFlowBindingOverrides"

// bindings are the fields that name flows by alias, by the kind of the object that has them.
var bindings = map[string][]string{
	"realm": {"browserFlow", "registrationFlow", "directGrantFlow", "resetCredentialsFlow", "clientAuthenticationFlow",
		"dockerAuthenticationFlow", "firstBrokerLoginFlow"},
	"identityProviders": {"firstBrokerLoginFlowAlias", "postBrokerLoginFlowAlias"},
}

func flowAt(alias string) schema.Address {
	return schema.Join(schema.RealmAddress, "authenticationFlows", alias)
}

func configAt(alias string) schema.Address {
	return schema.Join(schema.RealmAddress, "authenticatorConfig", alias)
}

// flowsOf are the flows that an object names, by the path of the field that does.
func flowsOf(o schema.Object) map[string]schema.Address {
	named := map[string]schema.Address{}
	for _, field := range bindings[o.Address.Kind()] {
		if alias := text(o.Fields[field]); alias != "" {
			named[field] = flowAt(alias)
		}
	}
	switch o.Address.Kind() {
	case "clients":
		bound, _ := o.Fields[overrides].(map[string]any)
		for name, alias := range bound {
			if text(alias) != "" {
				named[overrides+"."+name] = flowAt(text(alias))
			}
		}
	case "authenticationFlows":
		for _, x := range listed(o) {
			if x.flow != "" {
				named[executions+"."+x.key] = flowAt(x.flow)
			}
		}
	}
	return named
}

// execution is one element of a flow.
type execution struct {
	id, key             string // the key tells it from the others in its flow
	authenticator, flow string // flow is the alias of the flow that it stands for
	requirement, config string // config is an alias
	priority            int
	hasPriority         bool
	later               map[string]any // the fields that only a newer server knows
}

// listed are the executions of a flow, declared, observed or aligned, in their order: by priority where all have one.
func listed(o schema.Object) []execution {
	if byKey, ok := o.Fields[executions].(map[string]any); ok {
		return elements(byKey)
	}
	elements, _ := o.Fields[executions].([]any)
	var all []execution
	for _, e := range elements {
		fields, _ := e.(map[string]any)
		priority, has := number(fields["priority"])
		x := execution{id: text(fields["id"]), authenticator: text(fields["authenticator"]), flow: text(fields["flowAlias"]),
			requirement: text(fields["requirement"]), config: text(fields["authenticatorConfig"]), priority: priority, hasPriority: has, later: laterFields(fields)}
		all = append(all, x)
	}
	if numbered(all) {
		sort.SliceStable(all, func(i, j int) bool { return all[i].priority < all[j].priority })
	}
	seen := map[string]int{}
	for i, x := range all {
		key := cmp.Or(x.authenticator, nameless)
		if seen[key]++; x.flow != "" {
			key = flowKey(x.flow)
		} else if seen[key] > 1 {
			key = fmt.Sprintf("%s#%d", key, seen[key])
		}
		all[i].key = key
	}
	return all
}

// laterFields are the fields of an execution that none of the versions has which we know.
func laterFields(fields map[string]any) map[string]any {
	return without(maps.Clone(fields), "id", "authenticator", "flowAlias", "requirement", "authenticatorConfig", "priority")
}

// nameless is the key of an execution that names neither an authenticator nor a flow.
const nameless = "?"

// flowKey is the key of an execution that stands for a flow: keys are listed with commas between them.
func flowKey(alias string) string {
	return "flow:" + strings.NewReplacer("%", "%25", ",", "%2C").Replace(alias)
}

// flowIn is the alias of the flow that an execution with the key stands for; "" where it stands for none.
func flowIn(key string) string {
	alias, ok := strings.CutPrefix(key, "flow:")
	if !ok {
		return ""
	}
	return strings.NewReplacer("%25", "%", "%2C", ",").Replace(alias)
}

// ordered are the keys of the executions of an aligned flow; nil where it doesn't say.
func ordered(byKey map[string]any) []string {
	order, ok := byKey["order"].(string)
	if !ok {
		return nil
	}
	if order == "" {
		return []string{}
	}
	return strings.Split(order, ", ")
}

// elements are the executions of a flow that was aligned.
func elements(byKey map[string]any) []execution {
	var all []execution
	for _, key := range ordered(byKey) {
		fields, _ := byKey[key].(map[string]any)
		x := execution{key: key, authenticator: key, requirement: text(fields["requirement"]), config: text(fields["authenticatorConfig"]), later: laterFields(fields)}
		if alias := flowIn(key); alias != "" {
			x.flow, x.authenticator = alias, text(fields["authenticator"])
		}
		x.priority, x.hasPriority = number(fields["priority"])
		all = append(all, x)
	}
	return all
}

func numbered(all []execution) bool {
	return !slices.ContainsFunc(all, func(x execution) bool { return !x.hasPriority })
}

func number(v any) (int, bool) {
	switch v := v.(type) {
	case float64:
		return int(v), true
	case int:
		return v, true
	}
	return 0, false
}

// Aligned is a state in which the executions of each flow can be compared with those that want declares: an object that
// holds them by key, and their order. A list as declared is complete; only its priorities may be left out. After
// renames flows are called by their new names everywhere.
func Aligned(want, s schema.State, renames []drift.Change) schema.State {
	now := func(alias string) string { return moved(flowAt(alias), renames).Name() }
	s = maps.Clone(s)
	for a, o := range s {
		switch kind := a.Kind(); {
		case kind == "authenticationFlows" && o.Fields[executions] != nil:
			s[a] = aligned(o, numbered(listed(want[a])), now)
		case len(renames) > 0 && len(flowsOf(o)) > 0:
			s[a] = rebound(o, now)
		}
	}
	return s
}

func aligned(o schema.Object, priorities bool, now func(string) string) schema.Object {
	byKey, order := map[string]any{}, []string{}
	for _, x := range listed(o) {
		key := x.key
		if x.flow != "" {
			key = flowKey(now(x.flow))
		}
		fields := map[string]any{"requirement": x.requirement, "authenticatorConfig": optional(x.config)}
		if x.flow != "" {
			fields["authenticator"] = optional(x.authenticator)
		}
		if priorities {
			fields["priority"] = x.priority
		}
		maps.Copy(fields, x.later)
		byKey[key] = fields
		order = append(order, key)
	}
	o.Fields, o.Inputs = maps.Clone(o.Fields), maps.Clone(o.Inputs)
	byKey["order"] = strings.Join(order, ", ") // in one line: a plan shows of a list only what comes and goes
	o.Fields[executions] = byKey
	for path := range o.Inputs { // the elements of a list share their paths
		if strings.HasPrefix(path, executions+".") {
			o.Inputs[executions] = true
		}
	}
	return o
}

// optional is a name, or nothing.
func optional(name string) any {
	if name == "" {
		return nil
	}
	return name
}

// masked tells whether a configuration holds what can't be read.
func masked(o schema.Object) bool {
	config, _ := o.Fields["config"].(map[string]any)
	return slices.ContainsFunc(slices.Collect(maps.Values(config)), schema.Asterisks)
}

// rebound calls the flows that an object names by their new names.
func rebound(o schema.Object, now func(string) string) schema.Object {
	o.Fields = maps.Clone(o.Fields)
	for _, field := range bindings[o.Address.Kind()] {
		if alias := text(o.Fields[field]); alias != "" {
			o.Fields[field] = now(alias)
		}
	}
	if bound, ok := o.Fields[overrides].(map[string]any); ok {
		bound = maps.Clone(bound)
		for name, alias := range bound {
			if text(alias) != "" {
				bound[name] = now(text(alias))
			}
		}
		o.Fields[overrides] = bound
	}
	return o
}

// flowReads are the reads of flows, where something asks for them.
func (o *observation) flowReads(want schema.State, owned map[schema.Address]bool, needed needed) []func(context.Context) error {
	managed := func(a schema.Address) bool { _, declared := want[a]; return declared || owned[a] }
	deep, asked := false, needed["authenticationFlows"] != nil
	for _, addresses := range []iter.Seq[schema.Address]{maps.Keys(want), maps.Keys(owned)} {
		for a := range addresses {
			deep = deep || strings.HasPrefix(string(a), "authenticationFlows/") || strings.HasPrefix(string(a), "authenticatorConfig/")
			asked = asked || strings.Contains(string(a), "#"+overrides)
		}
	}
	if !deep && !asked {
		return nil
	}
	return []func(context.Context) error{o.flows(deep, managed, func(a schema.Address) bool {
		_, declared := want[a]
		return !declared && (owned[a] || o.Complete[a.List()]) && needed["identityProviders"] == nil
	})}
}

// flows reads the flows. Which executions they have, with what stands in them, takes a request a flow, and what an
// execution doesn't show of a subflow or a configuration takes another: they are read where one is declared or owned.
// For one that goes the identity providers are read, which may be bound to it.
func (o *observation) flows(deep bool, managed, goes func(schema.Address) bool) func(context.Context) error {
	return func(ctx context.Context) error {
		var top []map[string]any
		if err := o.Client.Get(ctx, o.path("authentication", "flows"), nil, &top); keycloak.IsForbidden(err) {
			return unseen("view-realm", "the authentication flows")
		} else if err != nil {
			return err
		}
		var trees []func(context.Context) error
		going := false
		for _, flow := range top {
			a := flowAt(text(flow["alias"]))
			o.put(a, text(flow["id"]), flow)
			going = going || flow["builtIn"] != true && goes(a)
			if deep {
				whole := managed(a) && flow["builtIn"] != true // it may have to be built anew, with what isn't declared in it
				trees = append(trees, func(ctx context.Context) error {
					return o.flowTree(ctx, flow, func(part schema.Address) bool { return whole || managed(part) })
				})
			}
		}
		if going {
			trees = append(trees, o.identityProviders)
		}
		if err := together(ctx, trees...); err != nil {
			return err
		}
		o.nameOverrides()
		return nil
	}
}

// flowTree reads what stands in a flow, and in the flows below.
func (o *observation) flowTree(ctx context.Context, flow map[string]any, managed func(schema.Address) bool) error {
	var infos []map[string]any
	err := o.Client.Get(ctx, o.path("authentication", "flows", text(flow["alias"]), "executions"), nil, &infos)
	if keycloak.IsNotFound(err) {
		return nil // gone since
	} else if err != nil {
		return err
	}
	var more []func(context.Context) error
	path := []map[string]any{flow} // from the top to the flow in which the next execution stands
	flow[executions] = []any{}
	for _, info := range infos {
		level, _ := number(info["level"])
		path = path[:min(level+1, len(path))]
		in := path[len(path)-1]
		in[executions] = append(in[executions].([]any), elementOf(info))
		if id := text(info["flowId"]); id != "" {
			below := map[string]any{"alias": info["displayName"], "description": info["description"], "topLevel": false,
				"builtIn": flow["builtIn"], executions: []any{}}
			path = append(path, below)
			a := flowAt(text(info["displayName"]))
			o.put(a, id, below)
			if managed(a) {
				more = append(more, func(ctx context.Context) error { return o.subflow(ctx, id, below) })
			}
		}
		if id, alias := text(info["authenticationConfig"]), text(info["alias"]); id != "" {
			a := configAt(alias)
			fields := map[string]any{"alias": alias, "id": id}
			o.put(a, id, fields)
			if managed(a) {
				more = append(more, func(ctx context.Context) error {
					err := o.Client.Get(ctx, o.path("authentication", "config", id), nil, &fields)
					if keycloak.IsNotFound(err) {
						return nil
					}
					return err
				})
			}
		}
	}
	return together(ctx, more...)
}

// subflow reads what its execution doesn't show.
func (o *observation) subflow(ctx context.Context, id string, fields map[string]any) error {
	var flow map[string]any
	if err := o.Client.Get(ctx, o.path("authentication", "flows", id), nil, &flow); keycloak.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	delete(flow, executions)
	maps.Copy(fields, flow)
	return nil
}

// elementOf is an execution as a flow lists it, with its id, of what Keycloak tells about it.
func elementOf(info map[string]any) map[string]any {
	e := without(maps.Clone(info), "displayName", "alias", "description", "requirementChoices", "configurable", "authenticationFlow",
		"providerId", "authenticationConfig", "flowId", "level", "index")
	if provider := text(info["providerId"]); provider != "" {
		e["authenticator"] = provider
	}
	if text(info["flowId"]) != "" {
		e["flowAlias"] = info["displayName"]
	} else if text(info["authenticationConfig"]) != "" {
		e["authenticatorConfig"] = info["alias"]
	}
	return e
}

// nameOverrides puts the aliases of flows in the place of their ids.
func (o *observation) nameOverrides() {
	o.mu.Lock()
	defer o.mu.Unlock()
	aliases := map[string]string{}
	for a, flow := range o.live.State {
		if a.Kind() == "authenticationFlows" {
			aliases[flow.ID] = a.Name()
		}
	}
	for a, client := range o.live.State {
		bound, _ := client.Fields[overrides].(map[string]any)
		if a.Kind() != "clients" {
			continue
		}
		for name, id := range bound {
			if alias, ok := aliases[text(id)]; ok {
				bound[name] = alias
			}
		}
	}
}
