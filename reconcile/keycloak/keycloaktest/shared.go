package keycloaktest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Variable names the environment variable that holds a server which runs already, as Environment spells it.
const Variable = "CLOAKWORK_TEST_KEYCLOAK"

// Environment is the NAME=value that makes For take this server in another process.
func (s *Server) Environment() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return Variable + "=" + string(text)
}

// For is the one server of this test run: the one that the environment names, or else one that is started at the first
// call, for all tests of this process. Then Main has to be called, which stops it.
func For(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = find(context.Background())
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Main runs the tests of a package and stops the server that they used, where it was started for them:
//
//	func TestMain(m *testing.M) { keycloaktest.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Realm is a name for a realm of this test. If there is a realm of that name when the test ends, it is deleted.
func Realm(t testing.TB) string {
	t.Helper()
	s := For(t)
	name := strings.ToLower(strings.Trim(notPlain.ReplaceAllString(strings.TrimPrefix(t.Name(), "Test"), "-"), "-"))
	name = name[:min(len(name), 40)] + "-" + random()[:8]
	t.Cleanup(func() { s.Admin(t).DeleteRealm(name) })
	return name
}

var notPlain = regexp.MustCompile(`[^A-Za-z0-9]+`)

// shared is what tests of one process have in common: the server takes too long to start for each of them, and the
// testing package has no other place for it.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

func find(ctx context.Context) (*Server, error) {
	text := os.Getenv(Variable)
	if text == "" {
		return Start(ctx, Options{Log: os.Stderr})
	}
	s := &Server{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("read %s: it is not JSON with URL, User, Password and Log", Variable)
	}
	return s, nil
}
