package schema

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
)

// labels are the fields of each definition in a generated file.
func labels(f *ast.File) map[string]map[string]bool {
	found := map[string]map[string]bool{}
	for _, d := range f.Decls {
		definition, ok := d.(*ast.Field)
		if !ok {
			continue
		}
		s, ok := definition.Value.(*ast.StructLit)
		name, _, err := ast.LabelName(definition.Label)
		if !ok || err != nil {
			continue
		}
		found[name] = map[string]bool{}
		for _, e := range s.Elts {
			if field, ok := e.(*ast.Field); ok {
				if label, _, err := ast.LabelName(field.Label); err == nil {
					found[name][label] = true
				}
			}
		}
	}
	return found
}

// since is the oldest version after this one in which a definition has a field, "" where there is none.
func (d *definitions) since(form, field string) string {
	for _, version := range Versions() {
		if compareVersions(version, d.version) <= 0 {
			continue
		}
		if newer, err := define(version); err == nil && newer.generated[form][field] {
			return version
		}
	}
	return ""
}

// Newer tells whether a version of Keycloak is newer than all that there are definitions for: it may know more.
func Newer(version string) bool {
	known := Versions()
	return version != "" && compareVersions(minor(version), known[len(known)-1]) > 0
}

// newer is the version of the server, where it is newer than all definitions; "" where it isn't, or nobody can tell.
func (l *loader) newer() string {
	version := l.options.Version
	if version == "" && l.options.ServerVersion != nil {
		version = l.options.ServerVersion()
	}
	if !Newer(version) {
		return ""
	}
	return version
}

// UnknownTo are the declared objects and fields that a version of Keycloak, 26.4.5, doesn't know: it would refuse a
// request that holds them. A version newer than all definitions, or "", is taken to know everything.
func UnknownTo(version string, r *Realm) []Problem {
	versions := Versions()
	at := slices.IndexFunc(versions, func(v string) bool { return compareVersions(v, minor(version)) >= 0 })
	if version == "" || at < 0 {
		return nil
	}
	facts, kinds, err := Definitions(versions[at])
	if err != nil {
		return []Problem{{What: err.Error()}}
	}
	var problems []Problem
	for _, a := range r.State.Addresses() {
		o, kind := r.State[a], a.Kind()
		if _, ok := kinds[kind]; !ok {
			problems = append(problems, unknownTo(version, r, o.Origin, string(a), func(_ Facts, kinds map[string]Kind) bool { _, ok := kinds[kind]; return ok }))
			continue
		}
		for _, field := range sortedKeys(o.Fields) {
			if _, ok := facts[kind][field]; ok || slices.Contains(kinds[kind].Key, field) {
				continue
			}
			origin, ok := o.Origins[field]
			if !ok {
				origin = o.Origin
			}
			problems = append(problems, unknownTo(version, r, origin, string(a)+": "+field, func(facts Facts, _ map[string]Kind) bool { _, ok := facts[kind][field]; return ok }))
		}
	}
	return problems
}

func unknownTo(version string, r *Realm, o Origin, what string, knows func(Facts, map[string]Kind) bool) Problem {
	p := problemf(o, "leave it out for this server", "%s: Keycloak %s doesn't know it", what, version)
	p.Realm = &r.Ref
	for _, newer := range Versions() {
		if facts, kinds, err := Definitions(newer); err == nil && compareVersions(newer, minor(version)) > 0 && knows(facts, kinds) {
			p.Hint = fmt.Sprintf("Keycloak %s does; upgrade first, or leave it out", newer)
			break
		}
	}
	return p
}

// minor is the version without what comes after its second number: 26.7 for 26.7.3.
func minor(version string) string {
	parts := strings.Split(version, ".")
	return strings.Join(parts[:min(2, len(parts))], ".")
}
