package realm

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// Texts are fields of the realm, which neither gives nor takes them with its settings.
const texts = "localizationTexts"

// localizes tells whether texts are declared or ours.
func localizes(want *schema.Realm, owned map[schema.Address]bool) bool {
	if _, declared := want.State[schema.RealmAddress].Fields[texts]; declared {
		return true
	}
	for key := range owned {
		if strings.HasPrefix(string(key), string(drift.Key(schema.RealmAddress, texts+"."))) {
			return true
		}
	}
	return false
}

func (o *observation) localization(ctx context.Context) error {
	var locales []string
	if err := o.Client.Get(ctx, o.path("localization"), nil, &locales); keycloak.IsForbidden(err) {
		return unseen("view-realm", "the localization texts")
	} else if err != nil {
		return err
	}
	all := map[string]any{}
	for _, locale := range locales {
		var of map[string]any
		if err := o.Client.Get(ctx, o.path("localization", locale), nil, &of); err != nil {
			return err
		}
		all[locale] = of
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live.State[schema.RealmAddress].Fields[texts] = all
	return nil
}

// localized tells what differs in the texts from what differs in the settings.
func localized(diffs []drift.Diff) (inTexts, inSettings []drift.Diff) {
	for _, d := range diffs {
		if d.At[0] == texts {
			inTexts = append(inTexts, d)
		} else {
			inSettings = append(inSettings, d)
		}
	}
	return inTexts, inSettings
}

// localize writes texts, one locale after the other: of two writes to one locale at a time Keycloak loses one.
func (a *application) localize(ctx context.Context, diffs []drift.Diff) error {
	set := map[string]map[string]any{}
	for _, d := range diffs {
		locale, key := d.At[1], d.At[2]
		if !d.Unset {
			if set[locale] == nil {
				set[locale] = map[string]any{}
			}
			set[locale][key] = d.Want
		} else if err := a.discard(ctx, "localization", locale, key); err != nil {
			return err
		}
	}
	for _, locale := range slices.Sorted(maps.Keys(set)) {
		if _, err := a.Client.Post(ctx, a.path("localization", locale), nil, set[locale], nil); err != nil {
			return err
		}
	}
	return nil
}
