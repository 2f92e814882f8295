package keycloaktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Admin is a test's own way to the admin API: for edits by hand and for looking independently of the product. What it
// sends isn't among the Requests of a Server. It is not safe for parallel use.
type Admin struct {
	t      testing.TB
	server *Server
	account
	token   string
	session string // its id
	expires time.Time
}

// account is who signs in, by password through a client or, without a user, as the client.
type account struct{ realm, client, secret, user, password string }

// adminAgent tells the requests of Admin in the access log.
const adminAgent = "keycloaktest"

// Admin is signed in as the server's administrator.
func (s *Server) Admin(t testing.TB) *Admin {
	return &Admin{t: t, server: s, account: account{realm: "master", client: "admin-cli", user: s.User, password: s.Password}}
}

// As is signed in to a realm as a user of it, through one of its public clients.
func (a *Admin) As(realm, client, user, password string) *Admin {
	return &Admin{t: a.t, server: a.server, account: account{realm: realm, client: client, user: user, password: password}}
}

// AsClient is signed in to a realm as the service account of a client.
func (a *Admin) AsClient(realm, client, secret string) *Admin {
	return &Admin{t: a.t, server: a.server, account: account{realm: realm, client: client, secret: secret}}
}

// Get is what a GET of the path (/admin/realms/acme) answers, decoded. Anything but a 200 ends the test.
func (a *Admin) Get(path string) any {
	a.t.Helper()
	return a.must(http.MethodGet, path, nil)
}

// Create POSTs the body and returns the identifier that the server gave, from the last element of its Location. Anything
// but a 201 ends the test.
func (a *Admin) Create(path string, body any) string {
	a.t.Helper()
	response, text := a.send(http.MethodPost, path, body)
	if response.StatusCode != http.StatusCreated {
		a.t.Fatalf("POST %s: %s %s", path, response.Status, text)
	}
	location := response.Header.Get("Location")
	id, err := url.PathUnescape(location[strings.LastIndexByte(location, '/')+1:])
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

// Do sends a request, with the body as JSON unless it is nil, and returns the status.
func (a *Admin) Do(method, path string, body any) int {
	a.t.Helper()
	response, _ := a.send(method, path, body)
	return response.StatusCode
}

// Edit GETs an object, lets change have it and PUTs it back. Anything but success ends the test.
func (a *Admin) Edit(path string, change func(object map[string]any)) {
	a.t.Helper()
	object, ok := a.Get(path).(map[string]any)
	if !ok {
		a.t.Fatalf("edit %s: it is not an object", path)
	}
	change(object)
	if response, text := a.send(http.MethodPut, path, object); response.StatusCode/100 != 2 {
		a.t.Fatalf("PUT %s: %s %s", path, response.Status, text)
	}
}

// DeleteRealm deletes a realm, if there is one. It asks twice where the first answer is 500: Keycloak (26.7.3) now and then
// meets a policy of a client whose authorization services it has just deleted.
func (a *Admin) DeleteRealm(name string) {
	a.t.Helper()
	path := "/admin/realms/" + url.PathEscape(name)
	status := a.Do(http.MethodDelete, path, nil)
	if status == http.StatusInternalServerError {
		status = a.Do(http.MethodDelete, path, nil)
	}
	if status != http.StatusNoContent && status != http.StatusNotFound {
		a.t.Errorf("delete realm %s: %d", name, status)
	}
}

// must sends a read that has to answer 200 with JSON. It asks twice where the first answer is 500: master has a client for each
// realm, and other tests' realms come and go while it is read.
func (a *Admin) must(method, path string, body any) any {
	a.t.Helper()
	response, text := a.send(method, path, body)
	if response.StatusCode == http.StatusInternalServerError {
		response, text = a.send(method, path, body)
	}
	if response.StatusCode != http.StatusOK {
		a.t.Fatalf("%s %s: %s %s", method, path, response.Status, text)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return value
}

func (a *Admin) send(method, path string, body any) (*http.Response, []byte) {
	a.t.Helper()
	a.signIn()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			a.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, a.server.URL+path, reader)
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", adminAgent)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response, text
}

// signIn gets a token where there is none that lives for a while; those of admin-cli live a minute.
func (a *Admin) signIn() {
	a.t.Helper()
	if time.Now().Before(a.expires) {
		return
	}
	form := url.Values{"grant_type": {"password"}, "client_id": {a.client}, "username": {a.user}, "password": {a.password}}
	if a.user == "" {
		form = url.Values{"grant_type": {"client_credentials"}, "client_id": {a.client}, "client_secret": {a.secret}}
	}
	endpoint := a.server.URL + "/realms/" + url.PathEscape(a.realm) + "/protocol/openid-connect/token"
	response, err := http.PostForm(endpoint, form)
	if err == nil && response.StatusCode == http.StatusInternalServerError { // as in must
		response.Body.Close()
		response, err = http.PostForm(endpoint, form)
	}
	if err != nil {
		a.t.Fatalf("sign in: %v", err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Session     string `json:"session_state"`
		Seconds     int    `json:"expires_in"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		a.t.Fatalf("sign in: %s %v", response.Status, err)
	}
	a.token, a.session, a.expires = answer.AccessToken, answer.Session, time.Now().Add(time.Duration(answer.Seconds)*time.Second/2)
}

// pages is a collection, read in pages of 100.
func (a *Admin) pages(path, query string) []any {
	a.t.Helper()
	var all []any
	for {
		page, ok := a.Get(fmt.Sprintf("%s?%s&first=%d&max=100", path, query, len(all))).([]any)
		if !ok {
			a.t.Fatalf("GET %s: it is not a list", path)
		}
		all = append(all, page...)
		if len(page) < 100 {
			return all
		}
	}
}
