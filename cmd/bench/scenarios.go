package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// bench measures one size on one server.
type bench struct {
	ctx    context.Context
	server *keycloaktest.Server
	size   size
	runs   int
	binary string
	dir    string
}

// scenario is something that the product is to do, again and again.
type scenario struct {
	what    string
	command string                            // apply or drift
	users   bool                              // are declared
	realm   func() string                     // makes ready, and names the realm
	change  func(i int, realm map[string]any) // what the i-th manifest declares differently; nil for nothing
	env     []string                          // another account
}

func (b *bench) all() (rows []row, err error) {
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.dir)
	if err := b.lengthenTokens(); err != nil {
		return nil, err
	}
	created, err := b.create()
	if err != nil {
		return nil, err
	}
	rows = append(rows, created...)
	settled := func(realm string) func() string { return func() string { return realm } }
	for _, s := range []scenario{
		{what: "nothing changed", command: "apply", realm: settled("plain")},
		{what: "nothing changed, read-only account", command: "drift", realm: settled("plain"), env: []string{
			"KEYCLOAK_REALM=plain", "KEYCLOAK_CLIENT_ID=watcher", "KEYCLOAK_CLIENT_SECRET=" + b.server.Password, "KEYCLOAK_USER=", "KEYCLOAK_PASSWORD="}},
		{what: "one attribute changed", command: "apply", realm: settled("plain"), change: func(i int, realm map[string]any) {
			client := realm["clients"].([]any)[0].(map[string]any)
			client["attributes"] = map[string]any{"post.logout.redirect.uris": "+", "access.token.lifespan": fmt.Sprint(301 + i)}
		}},
		{what: "nothing changed, users declared", command: "apply", users: true, realm: settled("peopled")},
	} {
		if s.users || s.what == "nothing changed" { // the realm as it is looked at in what follows
			if err := b.settle(s); err != nil {
				return rows, err
			}
		}
		r, err := b.measure(s)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.what, err)
		}
		rows = append(rows, r)
	}
	cold, err := b.cold()
	return append(rows, cold), err
}

// cold is a look at a server that was just started, once: with nothing in its caches, some requests may take minutes.
func (b *bench) cold() (row, error) {
	r := row{what: "nothing changed, server just started"}
	manifest := b.write(b.size.realm("plain", false))
	if _, err := b.product("apply", b.server.URL, manifest, nil); err != nil { // another scenario changed it
		return r, err
	}
	if err := b.server.Restart(b.ctx); err != nil {
		return r, err
	}
	rec, err := record(b.server.URL)
	if err != nil {
		return r, err
	}
	used, err := b.product("apply", rec.url, manifest, nil)
	r.count(rec.stop())
	r.wall, r.cpu, r.memory = used.wall, used.cpu, used.memory
	return r, err
}

// settle makes a realm as declared, and an account in it that may only look.
func (b *bench) settle(s scenario) error {
	name := s.realm()
	if _, err := b.product("apply", b.server.URL, b.write(b.size.realm(name, s.users)), nil); err != nil {
		return err
	}
	if s.users {
		return nil
	}
	return b.watcher(name)
}

// measure runs a scenario once through a recorder, and then in turn with its floor.
func (b *bench) measure(s scenario) (row, error) {
	r := row{what: s.what}
	file := func(i int) string {
		realm := b.size.realm(s.realm(), s.users)
		if s.change != nil {
			s.change(i, realm)
		}
		return b.write(realm)
	}
	rec, err := record(b.server.URL)
	if err != nil {
		return r, err
	}
	_, err = b.product(s.command, rec.url, file(0), s.env)
	exchanges := rec.stop()
	if err != nil {
		return r, err
	}
	r.count(exchanges)
	var walls, floors, cpus []time.Duration
	var memory []int64
	for i := range b.runs {
		used, err := b.product(s.command, b.server.URL, file(i+1), s.env)
		if err != nil {
			return r, err
		}
		walls, cpus, memory = append(walls, used.wall), append(cpus, used.cpu), append(memory, used.memory)
		floor, err := b.replay(exchanges, s.realm(), s.realm())
		if err != nil {
			return r, err
		}
		floors = append(floors, floor)
	}
	r.wall, r.floor, r.cpu, r.memory = median(walls), median(floors), median(cpus), median(memory)
	return r, nil
}

func (r *row) count(exchanges []*exchange) {
	for _, e := range exchanges {
		if e.write() {
			r.writes++
		} else {
			r.reads++
		}
		r.slowest = max(r.slowest, e.took)
	}
}

// create measures how a realm is made from nothing, against the same requests bare, and against one import.
func (b *bench) create() ([]row, error) {
	ours, whole := row{what: "create from nothing"}, row{what: "POST /admin/realms of the same (floor: ours)"}
	rec, err := record(b.server.URL)
	if err != nil {
		return nil, err
	}
	_, err = b.product("apply", rec.url, b.write(b.size.realm("recorded0", false)), nil)
	exchanges := rec.stop()
	if err != nil {
		return nil, err
	}
	ours.count(exchanges)
	whole.writes = 1
	var walls, floors, cpus, wholes []time.Duration
	var memory []int64
	for i := range b.runs {
		used, err := b.product("apply", b.server.URL, b.write(b.size.realm(fmt.Sprintf("created%d", i), false)), nil)
		if err != nil {
			return nil, err
		}
		walls, cpus, memory = append(walls, used.wall), append(cpus, used.cpu), append(memory, used.memory)
		floor, err := b.replay(exchanges, "recorded0", fmt.Sprintf("replayed%d", i))
		if err != nil {
			return nil, err
		}
		floors = append(floors, floor)
		made := []string{"created", "replayed"}
		if !b.size.tooMuch {
			took, err := b.importWhole(fmt.Sprintf("imported%d", i))
			if err != nil {
				return nil, err
			}
			wholes, made = append(wholes, took), append(made, "imported")
		}
		for _, name := range made {
			if err := b.admin(http.MethodDelete, "/admin/realms/"+name+fmt.Sprint(i), nil, nil); err != nil {
				return nil, err
			}
		}
	}
	ours.wall, ours.floor, ours.cpu, ours.memory = median(walls), median(floors), median(cpus), median(memory)
	if b.size.tooMuch {
		return []row{ours}, nil
	}
	whole.wall, whole.floor = median(wholes), ours.wall
	return []row{ours, whole}, nil
}

func (b *bench) importWhole(name string) (time.Duration, error) {
	began := time.Now()
	err := b.admin(http.MethodPost, "/admin/realms", b.size.realm(name, false), nil)
	return time.Since(began), err
}

func (b *bench) replay(exchanges []*exchange, from, to string) (time.Duration, error) {
	began := time.Now()
	token, err := b.token() // which the product asks for as well
	if err != nil {
		return 0, err
	}
	signedIn := time.Since(began)
	r := replay{url: b.server.URL, token: token, from: from, to: to}
	took, err := r.run(exchanges)
	return signedIn + took, err
}

// usage is what a process took.
type usage struct {
	wall, cpu time.Duration
	memory    int64
}

// fingerprintKey guards nothing: the realms last as long as the bench.
const fingerprintKey = "a key of realms that last as long as the bench"

// product runs the binary on a manifest.
func (b *bench) product(command, server, manifest string, env []string) (usage, error) {
	cmd := exec.CommandContext(b.ctx, b.binary, command, manifest, "--output", "json")
	cmd.Env = append(os.Environ(), "KEYCLOAK_URL="+server, "KEYCLOAK_USER="+b.server.User, "KEYCLOAK_PASSWORD="+b.server.Password)
	cmd.Env = append(cmd.Env, "CLOAKWORK_FINGERPRINT_KEY="+fingerprintKey) // else each commit writes the secrets that can't be read
	cmd.Env = append(cmd.Env, env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	began := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(began)}
	if err != nil {
		return u, fmt.Errorf("%s: %w: %s", command, err, said.String())
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if rusage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = rusage.Maxrss << 10
	}
	return u, nil
}

// write puts a manifest where the binary finds it.
func (b *bench) write(realm map[string]any) string {
	path := filepath.Join(b.dir, fmt.Sprint(realm["realm"])+".json")
	if err := os.WriteFile(path, manifest(realm), 0o600); err != nil {
		panic(err) // a temporary folder of our own
	}
	return path
}

// lengthenTokens lets a replay do with one token.
func (b *bench) lengthenTokens() error {
	return b.admin(http.MethodPut, "/admin/realms/master", map[string]any{"accessTokenLifespan": 3600}, nil)
}

// watcher makes a client that has every role to view, and none to manage.
func (b *bench) watcher(realm string) error {
	base := "/admin/realms/" + realm
	var clients []struct{ ID string }
	if err := b.admin(http.MethodGet, base+"/clients?clientId=watcher", nil, &clients); err != nil || len(clients) > 0 {
		return err
	}
	if err := b.admin(http.MethodPost, base+"/clients", map[string]any{"clientId": "watcher", "publicClient": false, "secret": b.server.Password,
		"serviceAccountsEnabled": true}, nil); err != nil {
		return err
	}
	var management []struct{ ID string }
	var roles []map[string]any
	var user struct{ ID string }
	if err := b.admin(http.MethodGet, base+"/clients?clientId=watcher", nil, &clients); err != nil {
		return err
	}
	if err := b.admin(http.MethodGet, base+"/clients/"+clients[0].ID+"/service-account-user", nil, &user); err != nil {
		return err
	}
	if err := b.admin(http.MethodGet, base+"/clients?clientId=realm-management", nil, &management); err != nil {
		return err
	}
	if err := b.admin(http.MethodGet, base+"/clients/"+management[0].ID+"/roles", nil, &roles); err != nil {
		return err
	}
	var views []any
	for _, role := range roles {
		if name := fmt.Sprint(role["name"]); strings.HasPrefix(name, "view-") || strings.HasPrefix(name, "query-") {
			views = append(views, role)
		}
	}
	return b.admin(http.MethodPost, base+"/users/"+user.ID+"/role-mappings/clients/"+management[0].ID, views, nil)
}

func (b *bench) token() (string, error) {
	answer, err := http.PostForm(b.server.URL+"/realms/master/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {b.server.User}, "password": {b.server.Password}})
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || token.Access == "" {
		return "", fmt.Errorf("sign in: %s", answer.Status)
	}
	return token.Access, nil
}

// admin sends a request that has to succeed.
func (b *bench) admin(method, path string, body, out any) error {
	token, err := b.token()
	if err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(b.ctx, method, b.server.URL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(out)
}
