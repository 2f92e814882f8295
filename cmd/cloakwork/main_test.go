package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

func TestMain(m *testing.M) {
	testscript.Main(served{m}, map[string]func(){"cloakwork": main})
}

// served runs the tests while one Keycloak is there for them.
type served struct{ *testing.M }

func (s served) Run() int {
	if os.Getenv(keycloaktest.Variable) != "" {
		return s.M.Run()
	}
	server, err := keycloaktest.Start(context.Background(), keycloaktest.Options{Log: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	name, value, _ := strings.Cut(server.Environment(), "=")
	os.Setenv(name, value)
	code := s.M.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestStories runs each script of testdata with a realm name of its own, which takes the place of @realm@ in its files.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"example": example, "admin": admin, "live": live, "gone": gone, "mark": mark, "writes": writes, "hides": hides, "fill": fill, "await": await, "replace": replace,
		},
	})
}

// stage is what a script's own commands work with.
type stage struct {
	t      testing.TB
	server *keycloaktest.Server
	admin  *keycloaktest.Admin
	realm  string
	mark   keycloaktest.Mark
}

func setup(env *testscript.Env) error {
	t := env.T().(testing.TB)
	server := keycloaktest.For(t)
	s := &stage{t: t, server: server, admin: server.Admin(t), realm: keycloaktest.Realm(t)}
	env.Values["stage"] = s
	env.Setenv("REALM", s.realm)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("KEYCLOAK_URL", server.URL)
	env.Setenv("KEYCLOAK_USER", server.User)
	env.Setenv("KEYCLOAK_PASSWORD", server.Password)
	for _, name := range []string{"GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"} {
		env.Setenv(name, "Ada")
	}
	for _, name := range []string{"GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"} {
		env.Setenv(name, "ada@acme.example")
	}
	return name(env.WorkDir, s.realm)
}

// name puts the realm's name in the place of @realm@ in all files below a folder.
func name(dir, realm string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("@realm@")) {
			return err
		}
		return os.WriteFile(path, bytes.ReplaceAll(text, []byte("@realm@"), []byte(realm)), 0o644)
	})
}

// TestEveryExampleHasAStory keeps an example from rotting.
func TestEveryExampleHasAStory(t *testing.T) {
	var stories strings.Builder
	for _, name := range []string{"example", "config"} {
		story, err := os.ReadFile("testdata/" + name + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		stories.Write(story)
	}
	examples, err := os.ReadDir("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range examples {
		if e.IsDir() && !strings.Contains(stories.String(), "\nexample "+e.Name()+"\n") {
			t.Errorf("no story runs examples/%s", e.Name())
		}
	}
}

func on(ts *testscript.TestScript) *stage { return ts.Value("stage").(*stage) }

// example copies an example into the script's folder, its realm renamed: example acme.
func example(ts *testscript.TestScript, _ bool, args []string) {
	s, to := on(ts), ts.MkAbs(args[0])
	ts.Check(os.CopyFS(to, os.DirFS(filepath.Join(root(ts), "examples", args[0]))))
	ts.Check(filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".cue" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, realmName.ReplaceAll(text, []byte("${1}"+s.realm)), 0o644)
	}))
}

// realmName is where a manifest of the examples says which realm it declares.
var realmName = regexp.MustCompile(`(metadata:\s*\{?\s*name:\s*"?)acme\b`)

func root(ts *testscript.TestScript) string {
	dir, err := os.Getwd()
	ts.Check(err)
	return filepath.Join(dir, "..", "..")
}

// path is a place in the script's realm. A part that begins with @ is the identifier of the object with that clientId or name:
// clients/@portal.
func (s *stage) path(short string) string {
	path := "/admin/realms/" + s.realm
	if short == "." {
		return path
	}
	for part := range strings.SplitSeq(short, "/") {
		if wanted, ok := strings.CutPrefix(part, "@"); ok {
			part = s.id(path, wanted)
		}
		path += "/" + part
	}
	return path
}

func (s *stage) id(list, wanted string) string {
	for _, element := range s.admin.Get(list + "?max=1000").([]any) {
		o := element.(map[string]any)
		if o["clientId"] == wanted || o["clientId"] == nil && o["name"] == wanted {
			return o["id"].(string)
		}
	}
	return "none-" + url.PathEscape(wanted)
}

// admin edits by hand: admin PUT clients/@portal '{"name": "…"}' merges the fields into what is there, POST and DELETE send
// them as they are.
func admin(ts *testscript.TestScript, _ bool, args []string) {
	s := on(ts)
	method, path := args[0], s.path(args[1])
	var body any
	if len(args) > 2 {
		ts.Check(json.Unmarshal([]byte(args[2]), &body))
	}
	if fields, ok := body.(map[string]any); ok && method == http.MethodPut {
		s.admin.Edit(path, func(o map[string]any) { merge(o, fields) })
		return
	}
	if status := s.admin.Do(method, path, body); status/100 != 2 {
		ts.Fatalf("%s %s: %d", method, path, status)
	}
}

func merge(into, from map[string]any) {
	for name, v := range from {
		below, isMap := v.(map[string]any)
		have, wasMap := into[name].(map[string]any)
		if isMap && wasMap {
			merge(have, below)
			continue
		}
		into[name] = v
	}
}

// live prints what the server has: live clients/@portal.
func live(ts *testscript.TestScript, _ bool, args []string) {
	text, err := json.MarshalIndent(on(ts).admin.Get(on(ts).path(args[0])), "", "  ")
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", text)
}

// gone tells that the server has no such object: gone clients/@portal; ! gone says that it has.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	s := on(ts)
	status := s.admin.Do(http.MethodGet, s.path(args[0]), nil)
	if is := status == http.StatusNotFound; is == neg {
		ts.Fatalf("GET %s: %d", args[0], status)
	}
}

// await waits until the server has an object: await clients/@portal.
func await(ts *testscript.TestScript, _ bool, args []string) {
	s := on(ts)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if s.admin.Do(http.MethodGet, s.path("."), nil) == http.StatusOK && s.admin.Do(http.MethodGet, s.path(args[0]), nil) == http.StatusOK {
			return
		}
	}
	ts.Fatalf("%s doesn't come", args[0])
}

// mark is where writes begins to count.
func mark(ts *testscript.TestScript, _ bool, _ []string) {
	s := on(ts)
	s.mark = s.server.Mark(s.t)
}

// writes prints the writes that Keycloak's access log has since mark, and holds their number against the argument. Those to
// the ledger, the client cloakwork, are left out unless they are named: writes 2, writes 3 ledger.
func writes(ts *testscript.TestScript, _ bool, args []string) {
	s := on(ts)
	ledger := s.path("clients/@cloakwork")
	var kept []string
	for _, r := range keycloaktest.Writes(s.server.RequestsSince(s.t, s.mark, s.realm)) {
		if len(args) > 1 || !strings.HasPrefix(r.Path, ledger) {
			kept = append(kept, r.String())
		}
	}
	fmt.Fprintln(ts.Stdout(), strings.Join(kept, "\n"))
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if len(kept) != want {
		ts.Fatalf("%d writes, want %d:\n%s", len(kept), want, strings.Join(kept, "\n"))
	}
}

// fill gives a variable the content of a file: fill HEAD stdout.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// replace puts texts in the place of others in a file: replace file old new old new.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(path)
	for i := 1; i+1 < len(args); i += 2 {
		if !strings.Contains(text, args[i]) {
			ts.Fatalf("%s doesn't hold %q", args[0], args[i])
		}
		text = strings.ReplaceAll(text, args[i], args[i+1])
	}
	ts.Check(os.WriteFile(path, []byte(text), 0o644))
}

// hides tells that none of the values of the variables stands in a file, in whatever spelling: hides stdout PASSWORD SECRET.
func hides(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, variable := range args[1:] {
		for _, form := range spellings(ts.Getenv(variable)) {
			if strings.Contains(text, form) {
				ts.Fatalf("%s holds the value of %s, as %s:\n%s", args[0], variable, form, text)
			}
		}
	}
}
