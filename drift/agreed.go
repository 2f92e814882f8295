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
func Agree(changes []Change) ([]Agreed, error) {
	agreed := []Agreed{}
	for _, c := range changes {
		j := change(Change{Op: c.Op, Address: c.Address, From: c.From, Diffs: slices.Clone(c.Diffs)})
		for i := range j.Diffs {
			j.Diffs[i].Cause = ""
		}
		text, err := json.Marshal(j)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		agreed = append(agreed, Agreed{c.Op, c.Address, hex.EncodeToString(sum[:16])})
	}
	return agreed, nil
}

// Disagreements are the addresses of changes that are others than those agreed to, and of those that are no longer there.
func Disagreements(agreed []Agreed, changes []Change) ([]schema.Address, error) {
	now, err := Agree(changes)
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
