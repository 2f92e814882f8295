package schema

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// Declarable is a state without what can't be declared: what Keycloak makes itself, and what the definitions don't know.
func Declarable(version string, s State) (State, error) {
	d, err := define(Nearest(version))
	if err != nil {
		return nil, err
	}
	byKind := map[string]*form{}
	for _, f := range d.forms {
		if f.kind != nil && !f.kind.Links {
			byKind[f.kind.Name] = f
		}
	}
	w := &exporter{definitions: d}
	declarable := State{}
	for a, o := range s {
		if f := byKind[a.Kind()]; f != nil {
			fields, _ := w.declarable(f, o, o.Fields).(map[string]any)
			if providerID(&o) != "" && fields != nil { // it tells what a provider generated
				fields["providerId"] = o.Fields["providerId"]
			}
			o.Fields = fields
		}
		declarable[a] = o
	}
	return declarable, nil
}

// Fresh is what a new realm of a version holds by itself; nil where nobody has written that down.
func Fresh(version, realm string) (State, error) {
	text, err := definitionFiles.ReadFile("keycloak/" + minor(version) + "/fresh.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name, err := json.Marshal(realm)
	if err != nil {
		return nil, err
	}
	var objects map[Address]map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), "{realm}", strings.Trim(string(name), `"`))), &objects); err != nil {
		return nil, err
	}
	s := State{}
	for a, fields := range objects {
		s[a] = Object{Address: a, Fields: fields}
	}
	return s, nil
}

// Nearest is the version that there are definitions for: a minor that isn't known takes the newest.
func Nearest(version string) string {
	known := Versions()
	if m := minor(version); slices.Contains(known, m) {
		return m
	}
	return known[len(known)-1]
}
