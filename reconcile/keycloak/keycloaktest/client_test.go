package keycloaktest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// client is what is watched in these tests: it sends as the product would, through the proxy or straight to the server.
type client struct {
	t     *testing.T
	base  string
	token string
}

func newClient(t *testing.T, base string, s *keycloaktest.Server) *client {
	t.Helper()
	response, err := http.PostForm(base+"/realms/master/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {s.User}, "password": {s.Password},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, base: base, token: answer.AccessToken}
}

// try returns the status, 0 where the connection was cut.
func (c *client) try(method, path string, body any) int {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	request, err := http.NewRequest(method, c.base+path, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// do is try where a cut ends the test.
func (c *client) do(method, path string, body any) {
	c.t.Helper()
	if c.try(method, path, body) == 0 {
		c.t.Fatalf("%s %s: no answer", method, path)
	}
}
