package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

func (a Allow) kind(name string) bool { return len(a.Kinds) == 0 || slices.Contains(a.Kinds, name) }

func allows(patterns []string, name string) bool {
	return len(patterns) == 0 || matches(patterns, name)
}

// Permit holds what a source's manifests declare against what the source may declare, and against the servers that there
// are. What goes beyond that is a problem where it is declared, and blocks that alone.
func (c Controller) Permit(source string, d Declared) Declared {
	s := c.Sources[source]
	for _, ref := range sortedRefs(d.Realms) {
		r := d.Realms[ref]
		_, deployed := d.Deployments[ref.Server]
		_, known := c.Servers[ref.Server]
		what, field := "", ""
		switch {
		case !s.Allow.kind("Realm"):
			what, field = "realms", "kinds"
		case !known && !deployed:
			p := problemf(r.Origin, cmp.Or(didYouMean(ref.Server, sortedKeys(c.Servers)), "name it there, under servers, or declare the deployment that serves it"),
				"realm %s: the controller's configuration has no server %s", ref, ref.Server)
			p.Realm = &ref
			d.Problems = append(d.Problems, p)
			continue
		case !deployed && !allows(s.Allow.Servers, ref.Server):
			what, field = "realms of server "+ref.Server, "servers"
		case !allows(s.Allow.Realms, ref.Realm):
			what, field = "realm "+ref.Realm, "realms"
		default:
			continue
		}
		p := s.forbids(r.Origin, fmt.Sprintf("realm %s", ref), what, field)
		p.Realm = &ref
		d.Problems = append(d.Problems, p)
	}
	for _, name := range sortedKeys(d.Deployments) {
		p := Problem{}
		_, taken := c.Servers[name]
		switch at := d.Deployments[name].Origin; {
		case !s.Allow.kind("Deployment"):
			p = s.forbids(at, "deployment "+name, "deployments", "kinds")
		case !allows(s.Allow.Deployments, name):
			p = s.forbids(at, "deployment "+name, "deployment "+name, "deployments")
		case taken:
			p = problemf(at, "give it another name", "deployment %s: a server of the controller's configuration has that name", name)
		default:
			continue
		}
		p.Deployment = name
		d.Problems = append(d.Problems, p)
	}
	d.Problems = SortProblems(d.Problems)
	return d
}

// forbids is the problem of something that a source may not declare, with the place that would allow it.
func (s Source) forbids(at Origin, subject, what, field string) Problem {
	return problemf(at, fmt.Sprintf("allow.%s at %s says what it may", field, s.Allow.at(field)), "%s: source %s may not declare %s", subject, s.Name, what)
}

func sortedRefs(realms map[RealmRef]*Realm) []RealmRef {
	var refs []RealmRef
	for ref := range realms {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b RealmRef) int { return strings.Compare(a.String(), b.String()) })
	return refs
}
