package reconcile

import (
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// A flow that asks for less than before weakens security, and one that asks for something else may break logins.
func TestChangesOfFlowsCarryTheirRisks(t *testing.T) {
	for _, c := range []struct{ have, want, risks string }{
		{"auth-cookie ALTERNATIVE", "auth-cookie ALTERNATIVE", ""},
		{"auth-cookie ALTERNATIVE, flow:forms ALTERNATIVE", "flow:forms ALTERNATIVE, auth-cookie ALTERNATIVE", "breaks logins"},
		{"flow:forms ALTERNATIVE", "flow:forms REQUIRED", "breaks logins"},
		{"auth-password REQUIRED", "auth-password REQUIRED, auth-otp-form REQUIRED", "breaks logins"},
		{"auth-password REQUIRED, auth-otp-form REQUIRED", "auth-password REQUIRED", "breaks logins, weakens security"},
		{"auth-password REQUIRED, auth-otp-form REQUIRED", "auth-password REQUIRED, auth-otp-form ALTERNATIVE", "breaks logins, weakens security"},
		{"auth-password REQUIRED, auth-otp-form REQUIRED", "auth-password REQUIRED, auth-otp-form DISABLED", "breaks logins, weakens security"},
		{"flow:2fa REQUIRED", "flow:2fa CONDITIONAL", "breaks logins, weakens security"},
		{"flow:2fa CONDITIONAL", "flow:2fa REQUIRED", "breaks logins"},
		{"flow:2fa CONDITIONAL", "flow:2fa ALTERNATIVE", "breaks logins, weakens security"},
		{"flow:2fa CONDITIONAL", "", "breaks logins, weakens security"},
		{"auth-cookie ALTERNATIVE, auth-spnego ALTERNATIVE", "auth-cookie ALTERNATIVE", "breaks logins"},
		{"auth-otp-form ALTERNATIVE, webauthn-authenticator ALTERNATIVE", "auth-otp-form ALTERNATIVE", "breaks logins, weakens security"},
		{"auth-otp-form ALTERNATIVE", "auth-otp-form DISABLED", "breaks logins, weakens security"},
		{"conditional-user-configured REQUIRED", "conditional-user-configured REQUIRED, conditional-user-role REQUIRED", "breaks logins, weakens security"},
		{"conditional-user-configured REQUIRED", "conditional-user-configured DISABLED", "breaks logins, weakens security"},
	} {
		object := func(text string) schema.Object {
			list := []any{}
			for element := range strings.SplitSeq(text, ", ") {
				if key, requirement, ok := strings.Cut(element, " "); ok {
					fields := map[string]any{"authenticator": key, "requirement": requirement}
					if flow, isFlow := strings.CutPrefix(key, "flow:"); isFlow {
						fields = map[string]any{"flowAlias": flow, "requirement": requirement}
					}
					list = append(list, fields)
				}
			}
			return schema.Object{Address: "authenticationFlows/acme", Fields: map[string]any{executions: list}}
		}
		want, have := schema.State{"authenticationFlows/acme": object(c.want)}, schema.State{"authenticationFlows/acme": object(c.have)}
		changes := drift.Compare(nil, nil, drift.Memory{Owned: func(schema.Address) bool { return false }}, realm.Aligned(want, want, nil), realm.Aligned(want, have, nil))
		var names []string
		for _, change := range changes {
			for _, r := range risks("acme", Account{Realm: "master"}, change) {
				names = append(names, string(r))
			}
		}
		if got := strings.Join(names, ", "); got != c.risks {
			t.Errorf("%s → %s: %q, want %q", c.have, c.want, got, c.risks)
		}
	}
}
