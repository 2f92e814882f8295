package dataplane

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/schema"
)

// What Keycloak answers stands beside each path: 26.4.7 | 26.7.3, asked without credentials. 401 is the admin API.
func TestAPathHasOneZoneOrIsRefused(t *testing.T) {
	const refused = Zone("")
	for _, c := range []struct {
		path string
		want Zone
	}{
		{"/realms/master", Login},                                        // 200
		{"/realms/master/", Login},                                       // 200
		{"/resources/abc/login/keycloak.v2/css/login.css", Login},        // 200
		{"/.well-known/openid-configuration/realms/acme", Login},         // 404
		{"/robots.txt", Login},                                           // 404
		{"/realms/acme%20corp/account", Login},                           // 404
		{"/realms/M%C3%BCller", Login},                                   // 404
		{"/realms/a%2Fb/account", Login},                                 // 404
		{"/realms/50%25", Login},                                         // 404
		{"/", Admin},                                                     // 302 to /admin/
		{"/admin", Admin},                                                // 302
		{"/admin/realms", Admin},                                         // 401
		{"/admin/realms/", Admin},                                        // 401
		{"/admin/realms/acme/roles/a%2Fb", Admin},                        // 401
		{"/admin/realms/acme/roles/a%5Cb", Admin},                        // 401
		{"/Admin/realms", Admin},                                         // 404
		{"/ADMIN/realms", Admin},                                         // 404
		{"/Realms/master", Admin},                                        // 404
		{"/realms", Login},                                               // 404
		{"/realmsx/master", Admin},                                       // 404
		{"/metrics", Admin},                                              // 404
		{"/health", Admin},                                               // 404
		{"/admin%2frealms", Admin},                                       // 404
		{"/admin%5crealms", Admin},                                       // 404
		{"/admin%3bx/realms", Admin},                                     // 404
		{"/%2561dmin/realms", Admin},                                     // 404
		{"/admin%20/realms", Admin},                                      // 404
		{"/admin/realms%3fx", Admin},                                     // 405
		{"/%C0%AFadmin/realms", Admin},                                   // 404
		{"/%61dmin/realms", refused},                                     // 400
		{"/ad%6din/realms", refused},                                     // 400
		{"/admin/%72ealms", refused},                                     // 400
		{"/%72ealms/master", refused},                                    // 400
		{"//admin/realms", refused},                                      // 400
		{"/admin//realms", refused},                                      // 400
		{"/realms//master", refused},                                     // 400
		{"/realms/../admin/realms", refused},                             // 400
		{"/realms/%2e%2e/admin/realms", refused},                         // 400
		{"/realms/master/%2e%2e/%2e%2e/admin", refused},                  // 400
		{"/realms/.%2e/admin/realms", refused},                           // 400
		{"/./admin/realms", refused},                                     // 400
		{"/../admin/realms", refused},                                    // 400
		{"/realms/..%2fadmin/realms", refused},                           // 404
		{"/realms%2f..%2fadmin/realms", Admin},                           // 404
		{"/realms/..%252fadmin/realms", refused},                         // 404
		{"/realms/..%255cadmin", refused},                                // 404
		{"/realms/x%2f..%2f..%2fadmin", refused},                         // 404
		{"/realms/x%2f..%2fy", Login},                                    // 404
		{"/admin;x/realms", refused},                                     // 401 | 400: 26.4.7 serves it
		{"/admin;/realms", refused},                                      // 401 | 400
		{"/admin;x=y/realms", refused},                                   // 401 | 400
		{"/;x/admin/realms", refused},                                    // 404 | 400
		{"/realms;x/master", refused},                                    // 200 | 400
		{"/realms/..;/admin/realms", refused},                            // 404 | 400
		{"/realms/..%3b/admin/realms", refused},                          // 404
		{"/realms/master;x=y/.well-known/openid-configuration", refused}, // 200 | 400
		{`/admin\realms`, refused},                                       // 400
		{`/\admin/realms`, refused},                                      // 400
		{`/realms\..\admin`, refused},                                    // 400
		{"/admin%00/realms", refused},                                    // 404
		{"/realms/x%00", refused},                                        // 404
		{"/admin%zz/realms", refused},                                    // 400
		{"/admin%", refused},                                             // 400
		{"/\xe1dmin", refused},                                           // 404
		{"/realms/M\xc3\xbcller", refused},                               // 404
		{"/admin realms", refused},                                       // 400
		{"/admin#/realms", refused},                                      // 404
		{"admin/realms", refused},                                        // 404
		{"", refused},
		{"*", refused},
	} {
		got, ok := zoneOf(c.path, "")
		if !ok {
			got = refused
		}
		if got != c.want {
			t.Errorf("%q is %q, want %q", c.path, got, c.want)
		}
	}
}

func TestZonesStandBelowWhatKeycloakServesUnder(t *testing.T) {
	for path, want := range map[string]Zone{
		"/auth/realms/acme": Login, "/auth/admin/realms": Admin, "/realms/acme": Admin, "/auth": Admin, "/authrealms/x": Admin,
	} {
		if got, ok := zoneOf(path, "/auth"); got != want || !ok {
			t.Errorf("%s is %q, %v, want %q", path, got, ok, want)
		}
	}
	if _, ok := zoneOf("/auth/realms/..%2f..%2fadmin", "/auth"); ok {
		t.Error("what leads out of /auth is not refused")
	}
}

// Readings of a path that servers are known for, each by itself and one after the other, written apart from zone.go.
func readings(raw string) []string {
	escape := regexp.MustCompile("%[0-9a-fA-F]{2}")
	decode := func(s string) string {
		return escape.ReplaceAllStringFunc(s, func(e string) string { d, _ := url.PathUnescape(e); return d })
	}
	unparam := func(s string) string {
		parts := strings.Split(s, "/")
		for i, p := range parts {
			parts[i] = strings.SplitN(p, ";", 2)[0]
		}
		return strings.Join(parts, "/")
	}
	slashes := func(s string) string { return strings.ReplaceAll(s, "\\", "/") }
	steps := []func(string) string{decode, unparam, slashes, path.Clean}
	seen, found := map[string]bool{raw: true}, []string{raw}
	for i := 0; i < len(found) && len(found) < 200; i++ {
		for _, step := range steps {
			if next := step(found[i]); !seen[next] {
				seen[next] = true
				found = append(found, next)
			}
		}
	}
	return found
}

func FuzzNoReadingOfALoginPathIsAdmin(f *testing.F) {
	for _, s := range []string{"/realms/x", "/realms/..%2fadmin", "/realms/%252e%252e/admin", "/realms/..%3bx/admin", "/realms/..%5cadmin", "/realms;/../admin", "/realms/a%2Fb", "/resources/%2e%2e%2fadmin/x", "/realms/x%252f..%252f..%252fadmin"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		zone, ok := zoneOf(raw, "")
		if !ok || zone != Login {
			return
		}
		for _, r := range readings(raw) {
			first, _, _ := strings.Cut(strings.TrimLeft(r, "/"), "/")
			if strings.EqualFold(first, "admin") {
				t.Errorf("%q is let in as login, and can be read as %q", raw, r)
			}
		}
	})
}

func TestTheFirstRuleThatMatchesHolds(t *testing.T) {
	rs, err := parseRules([]schema.Rule{{Deny: "10.1.0.0/16"}, {Allow: "10.0.0.0/8"}, {Allow: "2001:db8::/32"}, {Deny: "0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"10.1.2.3": false, "10.2.3.4": true, "192.0.2.1": false, "2001:db8::1": true, "2001:db9::1": false} {
		if got := rs.admit(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	if only, _ := parseRules([]schema.Rule{{Allow: "10.0.0.0/8"}}); only.admit(netip.MustParseAddr("192.0.2.1")) {
		t.Error("whom no rule names is let in")
	}
	if all, _ := parseRules([]schema.Rule{{Allow: "0.0.0.0/0"}}); !all.admit(netip.MustParseAddr("2001:db8::1")) {
		t.Error("0.0.0.0/0 means not everybody")
	}
	if !rules(nil).admit(netip.MustParseAddr("192.0.2.1")) {
		t.Error("without rules somebody is kept out")
	}
}
