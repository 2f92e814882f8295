package realm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Create makes the realm with its settings; Keycloak fills it with its own clients, scopes, roles and flows.
func (r *Realm) Create(ctx context.Context, settings schema.Object) error {
	body := without(withoutNulls(settings.Fields), bindings["realm"]...) // the flows are made afterwards
	// A realm made with a part of a policy has nothing in place of the rest, and 26.7.3 answers 500 to every GET of it. The
	// update that follows writes the policy over the default one.
	for name := range body {
		if strings.HasPrefix(name, "otpPolicy") || strings.HasPrefix(name, "webAuthnPolicy") {
			delete(body, name)
		}
	}
	body["realm"] = r.Name
	if _, err := r.Client.Post(ctx, keycloak.Path("realms"), nil, body, nil); err != nil {
		return unwritten("create-realm", fmt.Errorf("create realm %s: %w", r.Name, err))
	}
	return nil
}

// Rename gives the realm another name, which changes the issuer of its tokens.
func (r *Realm) Rename(ctx context.Context, name string) error {
	if err := r.Client.Put(ctx, r.path(), map[string]any{"realm": name}); err != nil {
		return unwritten("manage-realm", fmt.Errorf("rename realm %s: %w", r.Name, err))
	}
	return nil
}

// Remove deletes the realm and everything in it.
func (r *Realm) Remove(ctx context.Context) error {
	if err := r.discard(ctx); err != nil {
		return unwritten("manage-realm", fmt.Errorf("delete realm %s: %w", r.Name, err))
	}
	return nil
}

// updateRealm writes the settings over those as they are at this moment: a PUT replaces the attributes as a whole, and
// what others changed since we looked is theirs.
func (a *application) updateRealm(ctx context.Context, c *drift.Change) error {
	texts, settings := localized(c.Diffs)
	if len(settings) > 0 {
		var body map[string]any
		if err := a.Client.Get(ctx, a.path(), nil, &body); err != nil {
			return err
		}
		if !slices.ContainsFunc(settings, func(d drift.Diff) bool { return d.At[0] == "smtpServer" }) {
			delete(body, "smtpServer") // with its asterisks: what a PUT leaves out stays
		}
		merge(body, settings, false)
		for _, d := range settings {
			name := d.At[len(d.At)-1]
			if name == "realmReusableOtpCode" {
				name = "otpPolicyCodeReusable"
			}
			if _, field := body[name]; field && d.At[0] == "attributes" && d.Want != nil {
				body[name] = d.Want // it is a field of the realm, too, and that would win
			}
		}
		if err := a.unmask(c.Address, body); err != nil {
			return err
		}
		// A policy with a profile that is gone would fail the whole of it (26.7.3 answers 500).
		if err := a.Client.Put(ctx, a.path(), without(body, "clientProfiles", "clientPolicies")); err != nil {
			return err
		}
	}
	return a.localize(ctx, texts)
}
