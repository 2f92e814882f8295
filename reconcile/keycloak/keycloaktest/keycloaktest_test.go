package keycloaktest_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	cuejson "cuelang.org/go/encoding/json"
	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

func TestMain(m *testing.M) { keycloaktest.Main(m) }

func TestRequestsAreThoseOfOneRealmSinceTheMark(t *testing.T) {
	t.Parallel()
	s := keycloaktest.For(t)
	realm, other := keycloaktest.Realm(t), keycloaktest.Realm(t)
	c := newClient(t, s.URL, s)

	c.do("POST", "/admin/realms", map[string]any{"realm": realm})
	mark := s.Mark(t)
	c.do("POST", "/admin/realms", map[string]any{"realm": other})
	c.do("POST", "/admin/realms/"+realm+"/roles", map[string]any{"name": "viewer"})
	c.do("POST", "/admin/realms/"+realm+"/partial-export?exportClients=true", nil)
	c.do("GET", "/admin/realms/"+realm+"/roles?first=0", nil)
	c.do("DELETE", "/admin/realms/"+realm+"/roles/nobody", nil)
	s.Admin(t).Get("/admin/realms/" + realm)

	base := "/admin/realms/" + realm
	want := []keycloaktest.Request{
		{Method: "POST", Path: base + "/roles", Status: 201},
		{Method: "POST", Path: base + "/partial-export?exportClients=true", Status: 200},
		{Method: "GET", Path: base + "/roles?first=0", Status: 200},
		{Method: "DELETE", Path: base + "/roles/nobody", Status: 404},
	}
	got := s.RequestsSince(t, mark, realm)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := len(keycloaktest.Writes(got)); got != 2 {
		t.Errorf("%d writes, want 2", got)
	}
	if diff := cmp.Diff(append([]keycloaktest.Request{{Method: "POST", Path: "/admin/realms", Status: 201}}, want...), s.Requests(t, realm)); diff != "" {
		t.Errorf("all requests (-want +got):\n%s", diff)
	}
}

func TestProxyCutsBeforeOrAfterTheServerActs(t *testing.T) {
	t.Parallel()
	s := keycloaktest.For(t)
	realm := keycloaktest.Realm(t)
	admin := s.Admin(t)
	admin.Create("/admin/realms", map[string]any{"realm": realm})
	roles := "/admin/realms/" + realm + "/roles"
	p := keycloaktest.NewProxy(t, s.URL)
	c := newClient(t, p.URL, s)
	create := func(name string) int { return c.try("POST", roles, map[string]any{"name": name}) }
	exists := func(name string) bool { return admin.Do(http.MethodGet, roles+"/"+name, nil) == http.StatusOK }

	p.CutBefore(2)
	if got := create("one"); got != 201 {
		t.Fatalf("the write before the cut: %d", got)
	}
	if got := create("two"); got != 0 || exists("two") {
		t.Errorf("the write that is cut before the server: status %d, done: %v", got, exists("two"))
	}
	if got := c.try("GET", roles, nil); got != 0 {
		t.Errorf("a read after the cut is answered: %d", got)
	}
	if got := p.Writes(); got != 2 || !p.Cut() {
		t.Errorf("%d writes, want 2; cut: %v", got, p.Cut())
	}

	p.CutAfter(1)
	if got := create("three"); got != 0 || !exists("three") {
		t.Errorf("the write that is cut after the server: status %d, done: %v", got, exists("three"))
	}
	if got := create("four"); got != 0 || exists("four") {
		t.Errorf("a write after the cut: status %d, done: %v", got, exists("four"))
	}

	p.LoseReply(1)
	if got := create("five"); got != 0 || !exists("five") {
		t.Errorf("the write whose reply is lost: status %d, done: %v", got, exists("five"))
	}
	if got := create("six"); got != 201 {
		t.Errorf("the write after the lost reply: %d", got)
	}

	p.CutBefore(1)
	p.Heal()
	if got := create("seven"); got != 201 {
		t.Errorf("the write after Heal: %d", got)
	}
}

func TestProxyAnswersInPlaceOfTheServer(t *testing.T) {
	t.Parallel()
	s := keycloaktest.For(t)
	p := keycloaktest.NewProxy(t, s.URL)
	p.Intercept(func(r *http.Request) *http.Response {
		if strings.HasSuffix(r.URL.Path, "/busy") {
			return keycloaktest.Reply(http.StatusTooManyRequests, "", "Retry-After", "1")
		}
		return nil
	})
	for path, want := range map[string]int{"/admin/busy": http.StatusTooManyRequests, "/realms/master": http.StatusOK} {
		response, err := http.Post(p.URL+path, "", nil)
		if want == http.StatusOK {
			response, err = http.Get(p.URL + path)
		}
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
		}
	}
	if got := p.Writes(); got != 0 {
		t.Errorf("%d writes, want none: the proxy answered itself", got)
	}
}

func TestDumpsOfARealmDifferByWhatWasEdited(t *testing.T) {
	t.Parallel()
	s := keycloaktest.For(t)
	realm, twin := keycloaktest.Realm(t), keycloaktest.Realm(t)
	admin := s.Admin(t)
	for _, name := range []string{realm, twin} {
		admin.Create("/admin/realms", rich(name))
	}
	before := admin.Dump(realm)
	if diff := cmp.Diff(before, admin.Dump(realm)); diff != "" {
		t.Errorf("two dumps of an untouched realm:\n%s", diff)
	}
	if diff := cmp.Diff(keycloaktest.Portable(realm, before), keycloaktest.Portable(twin, admin.Dump(twin))); diff != "" {
		t.Errorf("dumps of two equal realms:\n%s", diff)
	}
	admin.Edit("/admin/realms/"+realm+"/roles/viewer", func(role map[string]any) { role["description"] = "looks" })
	if cmp.Equal(before, admin.Dump(realm)) {
		t.Error("an edited role doesn't show")
	}
}

func TestExportsOfARealServerFitTheGeneratedDefinitions(t *testing.T) {
	t.Parallel()
	s := keycloaktest.For(t)
	realm := keycloaktest.Realm(t)
	admin := s.Admin(t)
	admin.Create("/admin/realms", rich(realm))
	admin.Create("/admin/realms/"+realm+"/workflows", map[string]any{"name": "leave", "on": "user-created", "steps": []any{
		map[string]any{"uses": "notify-user", "after": "5d", "with": map[string]any{"message": "soon"}},
	}})
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "schema", "keycloak", "26.7", "representations.cue"))
	if err != nil {
		t.Fatal(err)
	}
	context := cuecontext.New()
	definitions := context.CompileBytes(text)
	for _, name := range []string{"master", realm} {
		dump := admin.Dump(name)
		for expression, value := range map[string]any{
			"#RealmRepresentation":             dump["realm"],
			"[...#ClientRepresentation]":       dump["clients"],
			"[...#OrganizationRepresentation]": admin.Get("/admin/realms/" + realm + "/organizations"),
			"[...#WorkflowRepresentation]":     dump["workflows"],
			"[...#UserRepresentation]":         admin.Get("/admin/realms/" + name + "/users"),
			"#UPConfig":                        admin.Get("/admin/realms/" + name + "/users/profile"),
			"[...#ComponentRepresentation]":    admin.Get("/admin/realms/" + name + "/components"),
		} {
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := cuejson.Extract(name, text)
			if err != nil {
				t.Fatal(err)
			}
			definition := context.CompileString(expression, cue.Scope(definitions))
			if err := definition.Unify(context.BuildExpr(tree)).Validate(cue.Concrete(true)); err != nil {
				t.Errorf("%s of %s: %v", expression, name, err)
			}
		}
	}
}

// rich is a realm with an object of most kinds.
func rich(name string) map[string]any {
	return map[string]any{
		"realm": name, "enabled": true, "organizationsEnabled": true, "adminPermissionsEnabled": true,
		"smtpServer": map[string]any{"host": "mail.example", "from": "id@example.org", "password": "x", "auth": "true"},
		"roles": map[string]any{"realm": []any{
			map[string]any{"name": "viewer"},
			map[string]any{"name": "boss", "composite": true, "composites": map[string]any{"realm": []any{"viewer"}}},
		}},
		"clients": []any{map[string]any{
			"clientId": "portal", "secret": "of the portal", "serviceAccountsEnabled": true, "authorizationServicesEnabled": true,
			"redirectUris": []any{"https://portal.example/*"},
			"authorizationSettings": map[string]any{
				"scopes":    []any{map[string]any{"name": "read"}},
				"resources": []any{map[string]any{"name": "page", "scopes": []any{map[string]any{"name": "read"}}}},
				"policies":  []any{map[string]any{"name": "viewers", "type": "role", "config": map[string]any{"roles": `[{"id":"viewer"}]`}}},
			},
		}},
		"groups": []any{map[string]any{"name": "staff", "attributes": map[string]any{"a": []any{"1"}}, "subGroups": []any{
			map[string]any{"name": "desk", "realmRoles": []any{"viewer"}},
		}}},
		"identityProviders": []any{map[string]any{"alias": "corp", "providerId": "oidc", "config": map[string]any{
			"clientId": "a", "clientSecret": "x", "authorizationUrl": "https://corp.example/a", "tokenUrl": "https://corp.example/t",
		}}},
		"clientProfiles": map[string]any{"profiles": []any{map[string]any{"name": "strict", "executors": []any{
			map[string]any{"executor": "pkce-enforcer", "configuration": map[string]any{"auto-configure": true}},
		}}}},
		"clientPolicies": map[string]any{"policies": []any{map[string]any{"name": "all", "enabled": true, "profiles": []any{"strict"},
			"conditions": []any{map[string]any{"condition": "any-client", "configuration": map[string]any{}}},
		}}},
		"organizations": []any{map[string]any{"name": "Acme", "alias": "acme", "domains": []any{map[string]any{"name": "acme.example"}}}},
		"users":         []any{map[string]any{"username": "ann", "email": "ann@example.org", "groups": []any{"/staff/desk"}}},
	}
}
