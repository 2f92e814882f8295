package realm

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
)

// Keycloak gives some values to one object of a kind at a time, and a commit may pass one on. Who takes it is written before
// what gives it up is deleted, and two may take from each other: so it is released first.

// unique are the values of an object that no other of its kind may have, each with the path that holds it. Names and e-mails
// of users are one space; an issuer is its provider's alone where that vouches for clients or users.
func unique(kind string, fields map[string]any) map[string]string {
	values := map[string]string{}
	hold := func(path, space, value string) {
		if value != "" {
			values[space+" "+value] = path
		}
	}
	switch kind {
	case "organizations":
		hold("name", "name", text(fields["name"]))
		for _, domain := range objectsIn(fields, "domains") {
			hold("domains", "domain", strings.ToLower(text(domain["name"])))
		}
		aliases, _ := fields[linked].([]any)
		for _, alias := range aliases {
			hold(linked, "provider", text(alias))
		}
	case "users":
		hold("email", "login", strings.ToLower(text(fields["email"])))
		hold("username", "login", strings.ToLower(text(fields["username"])))
	case "identityProviders":
		config, _ := fields["config"].(map[string]any)
		if config["supportsClientAssertions"] == "true" || config["jwtAuthorizationGrantEnabled"] == "true" {
			hold("config.issuer", "issuer", text(config["issuer"]))
		}
	}
	return values
}

// release takes from objects of a kind the values that they give up and others take, and nothing else, so that a failure
// later on loses nothing; what is left of their changes follows. A user's name goes with the whole change alone.
func (a *application) release(ctx context.Context, kind string, changes []drift.Change) error {
	sought, given := map[string]bool{}, map[*drift.Change]map[string]string{}
	for i := range changes {
		c := &changes[i]
		if c.Address.Kind() != kind || c.Outcome != "" {
			continue
		}
		have, after := unique(kind, c.Have.Fields), afterwards(c)
		then := unique(kind, after)
		for value := range then {
			sought[value] = sought[value] || have[value] == ""
		}
		given[c] = map[string]string{}
		for value, path := range have {
			if before, now := at(c.Have.Fields, path), at(after, path); then[value] == "" && !reflect.DeepEqual(before, now) {
				given[c][value] = path
			}
		}
	}
	parts, wholly := map[*drift.Change]*drift.Change{}, []*drift.Change{}
	for i := range changes {
		c := &changes[i]
		for value, path := range given[c] {
			switch {
			case !sought[value]:
				delete(given[c], value)
			case path == "username":
				wholly = append(wholly, c)
			}
		}
		if len(given[c]) > 0 && !slices.Contains(wholly, c) {
			part := *c
			parts[&part] = c
		}
	}
	err := a.each(ctx, slices.Collect(maps.Keys(parts)), func(ctx context.Context, part *drift.Change) error {
		return a.giveUp(ctx, part, given[parts[part]])
	})
	for part, c := range parts {
		if part.Outcome != drift.Done {
			*c = *part
		}
	}
	if err != nil {
		return err
	}
	wholly = slices.DeleteFunc(wholly, func(c *drift.Change) bool { return c.Op == drift.Delete && a.anyFailed() })
	return a.each(ctx, wholly, a.apart)
}

// afterwards are the fields of an object when its change is made.
func afterwards(c *drift.Change) map[string]any {
	switch c.Op {
	case drift.Delete:
		return nil
	case drift.Create:
		return c.Want.Fields
	}
	fields := deepCopy(c.Have.Fields)
	merge(fields, c.Diffs, false)
	return fields
}

func at(fields map[string]any, path string) any { v, _ := drift.Value(fields, path); return v }

// giveUp writes an object without these values. What must have one gets its own id, which nobody else has.
func (a *application) giveUp(ctx context.Context, c *drift.Change, values map[string]string) error {
	if c.Address.Kind() == "users" {
		return a.writeUser(ctx, c.Have.ID, []drift.Diff{{At: []string{"email"}, Want: ""}})
	}
	body, err := a.current(ctx, c.Address)
	if err != nil {
		return err
	}
	links := 0
	for value, path := range values {
		_, name, _ := strings.Cut(value, " ")
		switch path {
		case linked:
			links++
			if err := a.discard(ctx, "organizations", c.Have.ID, "identity-providers", name); err != nil {
				return err
			}
		case "domains":
			domains, _ := body["domains"].([]any)
			body["domains"] = slices.DeleteFunc(domains, func(d any) bool { return strings.EqualFold(text(d.(map[string]any)["name"]), name) })
		case "name":
			body["name"] = c.Have.ID
		case "config.issuer":
			body["config"].(map[string]any)["issuer"] = "https://" + c.Have.ID + ".invalid"
		}
	}
	if links == len(values) {
		return nil
	}
	return a.put(ctx, c.Address, body)
}
