package reconcile_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// representation brings a dump into the shape of a realm's representation, in which manifests are written too.
func representation(dump map[string]any) map[string]any {
	realm := dump["realm"].(map[string]any)
	secrets := map[string]any{}
	for _, c := range dump["clients"].([]any) { // the export masks them
		c := c.(map[string]any)
		secrets[c["clientId"].(string)] = c["secret"]
	}
	for _, c := range realm["clients"].([]any) {
		c := c.(map[string]any)
		if _, has := c["secret"]; has {
			c["secret"] = secrets[c["clientId"].(string)]
		}
	}
	for _, c := range realm["clients"].([]any) { // comes and goes with the service account
		c := c.(map[string]any)
		scopes, _ := c["defaultClientScopes"].([]any)
		c["defaultClientScopes"] = slices.DeleteFunc(scopes, func(s any) bool { return s == "service_account" })
	}
	realm["clients"] = slices.DeleteFunc(realm["clients"].([]any), func(c any) bool { return c.(map[string]any)["clientId"] == "cloakwork" })
	users, _ := dump["users"].([]any)
	for _, u := range users {
		u := u.(map[string]any)
		mappings, _ := u["roleMappings"].(map[string]any)
		u["realmRoles"] = names(mappings["realmMappings"], "name")
		clients, _ := mappings["clientMappings"].(map[string]any)
		roles := map[string]any{}
		for id, m := range clients {
			roles[id] = names(m.(map[string]any)["mappings"], "name")
		}
		u["clientRoles"] = roles
		u["groups"] = names(u["groups"], "path")
		delete(u, "roleMappings")
	}
	// What is a field of the realm, too, is one there.
	for name := range realm["attributes"].(map[string]any) {
		if _, twin := realm[name]; twin {
			delete(realm["attributes"].(map[string]any), name)
		}
	}
	realm["users"], realm["workflows"] = users, dump["workflows"]
	organizations, _ := dump["organizations"].([]any)
	realm["organizations"] = organizations
	return realm
}

func names(list any, field string) []any {
	objects, _ := list.([]any)
	found := []any{}
	for _, o := range objects {
		found = append(found, o.(map[string]any)[field])
	}
	return found
}

// key names an object in a list of a representation; "" where nothing does, and the list is one value.
func key(v any) string {
	o, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	for _, field := range []string{"clientId", "username", "client", "clientScope", "identityProvider"} {
		if name, ok := o[field].(string); ok {
			return name
		}
	}
	if alias, ok := o["identityProviderAlias"].(string); ok {
		return alias + " / " + fmt.Sprint(o["name"])
	}
	if alias, ok := o["alias"].(string); ok {
		return alias
	}
	name, ok := o["name"].(string)
	provider, isComponent := o["providerId"].(string)
	if !ok && !isComponent {
		return ""
	}
	subType, _ := o["subType"].(string)
	return strings.TrimSpace(provider + " " + name + " " + subType)
}

// keyed is a list of objects by their keys; not ok where it is one value.
func keyed(v any) (map[string]any, bool) {
	list, _ := v.([]any)
	objects := map[string]any{}
	for _, o := range list {
		k := key(o)
		if k == "" {
			return nil, false
		}
		objects[k] = o
	}
	return objects, len(list) > 0
}

// complete are the lists of objects that hold no others than declared, where they are declared at all.
var complete = []string{"protocolMappers", "identityProviderMappers", "subComponents", "federatedIdentities", "domains"}

// computed are fields that follow from others.
var computed = []string{"composite", "otpSupportedApplications", "subGroupCount", "realmReusableOtpCode",
	"webAuthnPolicyExtraOrigins", "webAuthnPolicyExtraOriginsPasswordless"}

// touched are the places where a realm is another than before although none of the manifests, which were applied one
// after the other, ever declared anything there. What some of them declared and others didn't may be gone, with all in it.
func touched(before, after map[string]any, manifests ...map[string]any) []string {
	before, after = standing(before, manifests...), standing(after, manifests...)
	var lost []string
	var walk func(path string, complete bool, before, after any, declared []any)
	walk = func(path string, isComplete bool, before, after any, declared []any) {
		was, isMap := before.(map[string]any)
		objects, isList := keyed(before)
		if isList {
			was = objects
		}
		if !isMap && !isList { // a value, which some manifest declared
			return
		}
		is, _ := after.(map[string]any)
		if isList {
			is, _ = keyed(after)
		}
		for _, k := range slices.Sorted(maps.Keys(was)) {
			var below []any
			for _, m := range declared {
				if list, ok := keyed(m); ok {
					m = list
				}
				fields, _ := m.(map[string]any)
				if v, ok := fields[k]; ok {
					below = append(below, v)
				}
			}
			if slices.Contains(computed, k) {
				continue
			}
			path := path + "/" + k
			_, isObjects := keyed(was[k])
			_, nested := was[k].(map[string]any)
			switch {
			case len(below) == 0 && isList && isComplete, len(below) == 0 && follows(k, declared):
			case len(below) == 0:
				lost = append(lost, differences(path, was[k], is[k])...)
			case isList && len(below) < len(declared):
			case nested, isObjects:
				for len(below) < len(declared) {
					below = append(below, map[string]any{})
				}
				walk(path, slices.Contains(complete, k) || strings.Contains(path, "/subComponents/"), was[k], is[k], below)
			}
		}
	}
	declared := make([]any, len(manifests))
	for i, m := range manifests {
		declared[i] = m
	}
	walk("", false, before, after, declared)
	return lost
}

// follows tells whether a field follows from others that some manifest declared of the same object.
func follows(field string, declared []any) bool {
	return slices.ContainsFunc(declared, func(m any) bool {
		o, _ := m.(map[string]any)
		attributes, _ := o["attributes"].(map[string]any)
		_, public := o["publicClient"]
		_, twin := attributes[field]
		_, reusable := attributes["realmReusableOtpCode"]
		return twin || reusable && field == "otpPolicyCodeReusable" || public && field == "secret"
	})
}

// standing is what was before, without the roles and links of clients, scopes and identity providers that some manifest declared and that are gone.
func standing(before map[string]any, manifests ...map[string]any) map[string]any {
	gone := map[string]bool{}
	for _, list := range []string{"clients", "clientScopes", "identityProviders"} {
		for _, m := range manifests {
			objects, _ := keyed(m[list])
			for name := range objects {
				gone[name] = slices.ContainsFunc(manifests, func(m map[string]any) bool { o, _ := keyed(m[list]); return o[name] == nil })
			}
		}
	}
	var without func(v any) any
	without = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := map[string]any{}
			for k, inner := range v {
				if !gone[k] {
					out[k] = without(inner)
				}
			}
			return out
		case []any:
			list := []any{}
			for _, inner := range v {
				o, _ := inner.(map[string]any)
				held := func(field string) bool { return gone[fmt.Sprint(o[field])] }
				if !slices.ContainsFunc([]string{"client", "clientScope", "identityProviderAlias", "identityProvider"}, held) {
					list = append(list, without(inner))
				}
			}
			return list
		}
		return v
	}
	return without(before).(map[string]any)
}

// differences are the places where two values differ.
func differences(path string, was, is any) []string {
	a, b := compact(was), compact(is)
	if a == b || empty[a] && empty[b] || slices.Contains(computed, path[strings.LastIndexByte(path, '/')+1:]) {
		return nil
	}
	objects, ok := keyed(was)
	others, both := keyed(is)
	if ok && empty[b] {
		others, both = map[string]any{}, true
	}
	if !ok || !both {
		objects, ok = was.(map[string]any)
		others, both = is.(map[string]any)
	}
	if !ok || !both {
		return []string{fmt.Sprintf("%s\n\twas %s\n\tis  %s", path, a, b)}
	}
	keys := maps.Clone(objects)
	maps.Copy(keys, others)
	var found []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		found = append(found, differences(path+"/"+k, objects[k], others[k])...)
	}
	return found
}

// empty are values that say nothing.
var empty = map[string]bool{"null": true, `""`: true, "[]": true, "{}": true}

// differing are the places of a manifest where two realms differ.
func differing(declared, one, other any) []string {
	var found []string
	var walk func(path string, declared, one, other any)
	walk = func(path string, declared, one, other any) {
		if objects, isList := keyed(declared); isList {
			first, _ := keyed(one)
			then, _ := keyed(other)
			declared, one, other = objects, first, then
		} else if objects, _ := keyed(one); objects != nil && empty[compact(declared)] {
			return // an open list of which nothing is declared
		}
		fields, ok := declared.(map[string]any)
		if !ok {
			used := strings.HasPrefix(path, "/users/") && strings.HasSuffix(path, "/requiredActions") // which the server uses up, and adds to
			if a, b := compact(one), compact(other); a != b && !(empty[a] && empty[b]) && !used {
				found = append(found, fmt.Sprintf("%s\n\tfirst %s\n\tthen  %s", path, a, b))
			}
			return
		}
		a, _ := one.(map[string]any)
		b, _ := other.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(fields)) {
			walk(path+"/"+k, fields[k], a[k], b[k])
		}
	}
	walk("", declared, one, other)
	return found
}

func compact(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // JSON values always encode
	}
	return string(text)
}
