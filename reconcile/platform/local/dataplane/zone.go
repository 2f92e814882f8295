package dataplane

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Zone is who a path is for.
type Zone string

// The zones. What isn't surely Login is Admin, so that nothing new in Keycloak is open by accident.
const (
	Login Zone = "login" // people and applications that sign in
	Admin Zone = "admin" // the console, the admin API, and all else
)

// loginPaths are the first segments that Keycloak's guide for reverse proxies has exposed; what it advises against is Admin.
var loginPaths = []string{"realms", "resources", ".well-known", "robots.txt"}

// zoneOf is the zone of a path as it stands in the request, below what Keycloak serves under ("" or /auth). It is not ok where
// Keycloak, in any version or by any way to read the path, could see another one in it: such a request is refused.
//
// Keycloak itself refuses, since 26.4.4, paths with dots, double slashes or needless escapes, and since some 26.5 those with
// matrix parameters; 26.4.7 serves /admin;x/realms as /admin/realms.
func zoneOf(path, prefix string) (zone Zone, ok bool) {
	if !normal(path) {
		return Admin, false
	}
	zone = below(path, prefix)
	for zone == Login { // whatever somebody behind us decodes once more than he should
		decoded := unescape(path)
		if decoded == path {
			break
		}
		path = decoded
		if below(resolve(path), prefix) != Login {
			return Admin, false
		}
	}
	return zone, true
}

// unescape decodes what can be decoded.
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if i+2 < len(path) && path[i] == '%' && hex(path[i+1]) && hex(path[i+2]) {
			b.WriteByte(digit(path[i+1])<<4 | digit(path[i+2]))
			i += 2
		} else {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}

func digit(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// below is the zone of a path that has one meaning.
func below(path, prefix string) Zone {
	rest, ok := strings.CutPrefix(path, prefix+"/")
	if !ok {
		return Admin
	}
	first, _, _ := strings.Cut(rest, "/")
	for _, p := range loginPaths {
		if first == p {
			return Login
		}
	}
	return Admin
}

// normal tells whether a path is absolute and as RFC 3986 has it when nothing is left to resolve.
func normal(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%':
			if i+2 >= len(path) || !hex(path[i+1]) || !hex(path[i+2]) {
				return false
			}
			if b := unescape(path[i : i+3])[0]; unreserved(b) || b == 0 {
				return false
			}
			i += 2
		case c == '/':
			if i+1 < len(path) && path[i+1] == '/' {
				return false
			}
		case c == ';', c == '\\', c == '#', c == '?', c <= ' ', c >= 0x7f:
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-._~", c) >= 0
}

// resolve is what a path leads to where backslashes are slashes, matrix parameters are nothing, and dots lead upward.
func resolve(path string) string {
	var kept []string
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, `\`, "/"), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// pathOf is the path of a request, letter by letter as it came and as it will be sent on; not ok where these could differ.
func pathOf(r *http.Request) (path string, ok bool) {
	path = r.URL.EscapedPath()
	if r.URL.Opaque != "" || r.Method == http.MethodConnect {
		return "", false
	}
	came, _, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(came, "/") { // absolute: http://host/path
		u, err := url.Parse(came)
		return path, err == nil && u.Host != "" && u.EscapedPath() == path && strings.HasSuffix(came, path)
	}
	return path, came == path
}

// rules are those of a zone. Where there are none, everybody is let in.
type rules []rule

type rule struct {
	network netip.Prefix
	allow   bool
}

func parseRules(declared []schema.Rule) (rules, error) {
	var parsed rules
	for _, r := range declared {
		network, err := netip.ParsePrefix(r.Allow + r.Deny)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, rule{network.Masked(), r.Allow != ""})
	}
	return parsed, nil
}

// admit tells whether a client is let in: by the first rule that its address matches. Nobody is whom no rule names, where
// there are any.
func (rs rules) admit(client netip.Addr) bool {
	for _, r := range rs {
		if everybody(r.network) || r.network.Contains(client) {
			return r.allow
		}
	}
	return len(rs) == 0
}

// everybody: 0.0.0.0/0 is written by people who mean all, and IPv6 is no way around it.
func everybody(p netip.Prefix) bool { return p.Bits() == 0 }
