package drift

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/cloakwork/cloakwork/schema"
)

// Agreed is one change of a plan that somebody has agreed to: what it does and to what, and a digest of what it finds and
// leaves there. Secrets are no part of it.
type Agreed struct {
	Op      Op             `json:"op"`
	Address schema.Address `json:"address"`
	Digest  string         `json:"digest"`
}

// Agree notes changes.
func Agree(facts schema.Facts, changes []Change) ([]Agreed, error) {
	agreed := []Agreed{}
	for _, c := range changes {
		j := change(Change{Op: c.Op, Address: c.Address, From: c.From, Diffs: slices.Clone(c.Diffs)})
		for i := range j.Diffs {
			j.Diffs[i].Cause = ""
		}
		var found any
		if c.Op == Delete {
			found = []any{c.Have.ID, shown(facts, c.Have)}
		}
		text, err := json.Marshal([]any{j, found})
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		agreed = append(agreed, Agreed{c.Op, c.Address, hex.EncodeToString(sum[:16])})
	}
	return agreed, nil
}

// Disagreements are the addresses of changes that are others than those agreed to, and of those that are no longer there.
func Disagreements(facts schema.Facts, agreed []Agreed, changes []Change) ([]schema.Address, error) {
	now, err := Agree(facts, changes)
	if err != nil {
		return nil, err
	}
	var moved []schema.Address
	for _, a := range now {
		if !slices.Contains(agreed, a) {
			moved = append(moved, a.Address)
		}
	}
	for _, a := range agreed {
		if !slices.Contains(now, a) {
			moved = append(moved, a.Address)
		}
	}
	slices.Sort(moved)
	return slices.Compact(moved), nil
}

// shown is what an object holds that can be declared and is no secret, in the form in which it is compared.
func shown(facts schema.Facts, o schema.Object) map[string]any {
	kind := o.Address.Kind()
	var walk func(prefix string, fields map[string]any) map[string]any
	walk = func(prefix string, fields map[string]any) map[string]any {
		all := map[string]any{}
		for name, v := range fields {
			path := prefix + name
			if _, known := facts[kind][name]; prefix == "" && !known || facts.Secret(o, path) {
				continue
			}
			if below, ok := v.(map[string]any); ok {
				all[name] = walk(path+".", below)
			} else if v = canonical(facts.Of(kind, path), v); v != nil {
				all[name] = v
			}
		}
		return all
	}
	return walk("", o.Fields)
}
