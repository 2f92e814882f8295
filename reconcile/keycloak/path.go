package keycloak

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ErrUnnameable is the error of a request whose path holds an empty segment, "." or "..". Keycloak has roles with such
// names, but servers and proxies on the way resolve these segments, escaped or not: reach the object by its ID.
var ErrUnnameable = errors.New(`a name that is empty, "." or ".." can't stand in a URL`)

// Path joins segments, each escaped, so that a role named a/b stays one segment: Path("realms", "acme", "roles", "a/b")
// is /realms/acme/roles/a%2Fb. Segments that no URL can hold make the request fail with ErrUnnameable.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func badSegment(s string) bool { return s == "" || s == "." || s == ".." }

// checkPath refuses what would name another object than the caller meant.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
		return fmt.Errorf("%q is no path below /admin", path)
	}
	for s := range strings.SplitSeq(path[1:], "/") {
		name, err := url.PathUnescape(s)
		if err != nil {
			return fmt.Errorf("%q is no path below /admin: %w", path, err)
		}
		if badSegment(name) {
			return fmt.Errorf("%s: %w", path, ErrUnnameable)
		}
	}
	return nil
}
