package status

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What a real Gitea makes of all this is tested in forgetest; here stand the addresses, and what only fails in reality.

func TestTheForgeIsFoundBehindARepositorysURL(t *testing.T) {
	for _, c := range []struct{ remote, kind, url, want string }{
		{"https://git.example.test/team/acme.git", "gitea", "", "gitea https://git.example.test team acme"},
		{"https://ada:hunter2@git.example.test/team/acme/", "gitea", "", "gitea https://git.example.test team acme"},
		{"http://127.0.0.1:3000/team/acme", "gitea", "", "gitea http://127.0.0.1:3000 team acme"},
		{"https://example.test/forge/deep/team/acme.git", "gitea", "", "gitea https://example.test/forge/deep team acme"},
		{"ssh://git@git.example.test:2222/team/acme.git", "gitea", "", "gitea https://git.example.test team acme"},
		{"git@git.example.test:team/acme.git", "gitea", "", "gitea https://git.example.test team acme"},
		{"git@git.example.test:team/acme.git", "gitea", "http://127.0.0.1:3000/forge/", "gitea http://127.0.0.1:3000/forge team acme"},
		{"https://codeberg.org/team/acme", "auto", "", "gitea https://codeberg.org team acme"},
		{"https://git.example.test/acme", "gitea", "", ""},
		{"/srv/git/acme.git", "gitea", "", ""},
		{"ftp://git.example.test/team/acme", "gitea", "", ""},
		{"https://ada:hunter2%zz@git.example.test/team/acme/x/y/z", "gitea", "", ""},
		{"https://git.example.test/team/acme", "gitea", "ftp://git.example.test", ""},
		{"https://git.example.test/team/acme", "svn", "", ""},
		{"https://git.example.test/team/acme", "auto", "", ""},

		{"https://github.com/team/acme.git", "auto", "", "github https://api.github.com/ team acme"},
		{"git@github.com:team/acme.git", "auto", "", "github https://api.github.com/ team acme"},
		{"https://acme.ghe.com/team/acme", "auto", "", "github https://api.acme.ghe.com/ team acme"},
		{"git@git.acme.example:team/acme.git", "github", "", "github https://git.acme.example/api/v3/ team acme"},
		{"https://git.acme.example:8443/team/acme", "github", "", "github https://git.acme.example:8443/api/v3/ team acme"},
		{"ssh://git@ssh.acme.example:2222/team/acme", "github", "https://git.acme.example", "github https://git.acme.example/api/v3/ team acme"},
		{"git@github.com:team/acme.git", "github", "https://api.acme.example", "github https://api.acme.example/ team acme"},

		{"https://gitlab.com/team/sub/deep/acme.git", "auto", "", "gitlab https://gitlab.com/api/v4/ team/sub/deep/acme"},
		{"git@git.acme.example:team/sub/acme.git", "gitlab", "", "gitlab https://git.acme.example/api/v4/ team/sub/acme"},
		{"https://acme.example/gitlab/team/acme.git", "gitlab", "https://acme.example/gitlab", "gitlab https://acme.example/gitlab/api/v4/ team/acme"},
	} {
		got := ""
		forge, err := Open(Repository{Remote: c.remote, Kind: c.kind, URL: c.url, Token: "token"})
		switch f := forge.(type) {
		case *Gitea:
			got = "gitea " + f.base + " " + f.owner + " " + f.repo
		case *GitHub:
			got = "github " + f.client.BaseURL() + " " + f.owner + " " + f.repo
		case *GitLab:
			got = "gitlab " + f.client.BaseURL().String() + " " + f.project
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s as %s at %q is %q (%v), want %q", c.remote, c.kind, c.url, got, err, c.want)
		}
	}
}

// opened is the forge of a kind for the repository team/acme on a server of the test.
func opened(t *testing.T, url, kind string) Forge {
	t.Helper()
	f, err := Open(Repository{Remote: url + "/team/acme.git", Kind: kind, Token: "a-secret-token"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTheTokenStaysWithItsHost(t *testing.T) {
	for _, kind := range Kinds {
		asked := false
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
		defer other.Close()
		s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
		defer s.Close()
		f := opened(t, s.URL, kind)
		for _, err := range []error{f.Write(t.Context(), status(Success, "x")), readError(f)} {
			if err == nil || !strings.Contains(err.Error(), "redirect") {
				t.Errorf("%s: the error is %v", kind, err)
			}
		}
		if asked {
			t.Errorf("%s: the other host was asked", kind)
		}
	}
}

func readError(f Forge) error {
	_, _, err := f.Read(context.Background(), commit, "x")
	return err
}

func TestAServerThatEchoesTheTokenDoesntGetItIntoOurErrors(t *testing.T) {
	for _, kind := range Kinds {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"message": "bad header ` + r.Header.Get("Authorization") + r.Header.Get("Private-Token") + `"}`))
		}))
		defer s.Close()
		err := opened(t, s.URL, kind).Write(t.Context(), status(Success, "x"))
		if err == nil || strings.Contains(err.Error(), "a-secret-token") || !strings.Contains(err.Error(), "500") {
			t.Errorf("%s: the error is %v", kind, err)
		}
	}
}

func TestAForgeWithACertificateOfItsOwnIsTrustedOnlyWhenToldTo(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`[]`)) }))
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for _, c := range []struct {
		ca   []byte
		want string
	}{{nil, "certificate"}, {ca, ""}} {
		f, err := Open(Repository{Remote: s.URL + "/team/acme", Kind: "gitlab", Token: "x", CA: c.ca})
		if err != nil {
			t.Fatal(err)
		}
		if err := readError(f); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("the error is %v, want %q", err, c.want)
		}
	}
	if _, err := Open(Repository{Remote: s.URL + "/team/acme", Kind: "gitlab", CA: []byte("nothing")}); err == nil {
		t.Error("certificates that are none are taken")
	}
}
