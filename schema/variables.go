package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Variables names the variables that hold the secrets of a realm; its zero value but for the realm has named none.
type Variables struct {
	Realm string
	taken map[string]bool
}

// For is a name that no other secret bears, such as ACME_CLIENT_PORTAL_SECRET. It is never one that $(env:…) refuses.
func (v *Variables) For(a Address, path string) string {
	words := []string{v.Realm}
	if a == RealmAddress {
		words = append(words, noun(strings.ReplaceAll(path, ".", " ")))
	} else {
		for at := a; at != RealmAddress && at != ""; at = at.Parent() {
			words = slices.Insert(words, 1, noun(at.Kind()), at.Name())
		}
		words = append(words, noun(path[strings.LastIndexByte(path, '.')+1:]))
	}
	name := spelledAsVariable(strings.Join(words, "_"))
	if name[0] >= '0' && name[0] <= '9' || slices.ContainsFunc(forbidden, func(p string) bool {
		begins, all := strings.CutSuffix(p, "*")
		return all && strings.HasPrefix(name, begins)
	}) {
		name = "REALM_" + name
	}
	if strings.HasSuffix(name, "_TOKEN") {
		name += "_VALUE"
	}
	if v.taken == nil {
		v.taken = map[string]bool{}
	}
	free := name
	for i := 2; v.taken[free]; i++ {
		free = fmt.Sprintf("%s_%d", name, i)
	}
	v.taken[free] = true
	return free
}

// spelledAsVariable puts one underscore in the place of whatever a variable's name can't hold.
func spelledAsVariable(text string) string {
	var name strings.Builder
	for _, r := range strings.ToUpper(text) {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			name.WriteRune(r)
		} else if !strings.HasSuffix(name.String(), "_") {
			name.WriteByte('_')
		}
	}
	return name.String()
}

// noun is one of a kind, without its article.
func noun(kind string) string {
	_, name, _ := strings.Cut(one(kind), " ")
	return name
}
