package reconcile

import (
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
)

// executions is the field of a flow that holds its executions by what they are, and their order, as they are compared.
const executions = "authenticationExecutions"

// changesFlow tells whether people will be asked for something else than they are now.
func changesFlow(c drift.Change) bool {
	return slices.ContainsFunc(c.Diffs, func(d drift.Diff) bool {
		return d.At[0] == "config" || d.At[0] == executions && d.At[len(d.At)-1] != "priority"
	})
}

// loosensFlow tells whether a flow asks for less than it does now, as far as its executions say: what was required is no
// longer, a second factor can't be given any more, or one more condition stands before a step.
func loosensFlow(c drift.Change) bool {
	have, _ := c.Have.Fields[executions].(map[string]any)
	want, _ := c.Want.Fields[executions].(map[string]any)
	if have == nil || want == nil {
		return false
	}
	for key := range have {
		switch now := required(want, key); required(have, key) {
		case "REQUIRED":
			if now != "REQUIRED" {
				return true
			}
		case "CONDITIONAL":
			if now != "REQUIRED" && now != "CONDITIONAL" {
				return true
			}
		case "ALTERNATIVE":
			if now == "DISABLED" && secondFactor(key) {
				return true
			}
		}
	}
	for key := range want {
		if strings.HasPrefix(key, "conditional-") && required(have, key) == "DISABLED" && required(want, key) != "DISABLED" {
			return true
		}
	}
	return false
}

// required is the requirement of an execution; what isn't there is as good as disabled.
func required(byKey map[string]any, key string) string {
	if key == "order" {
		return "DISABLED"
	}
	fields, _ := byKey[key].(map[string]any)
	if requirement, _ := fields["requirement"].(string); requirement != "" {
		return requirement
	}
	return "DISABLED"
}

func secondFactor(authenticator string) bool {
	return slices.ContainsFunc([]string{"otp", "webauthn", "recovery-authn-code"}, func(part string) bool { return strings.Contains(authenticator, part) })
}
