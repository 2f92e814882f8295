package status

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What a real Gitea makes of all this is tested in forgetest; here stand the addresses, and what only fails in reality.

func TestTheForgeIsFoundBehindARepositorysURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://git.example.test/team/acme.git":                  "https://git.example.test team acme",
		"https://ada:hunter2@git.example.test/team/acme/":         "https://git.example.test team acme",
		"http://127.0.0.1:3000/team/acme":                         "http://127.0.0.1:3000 team acme",
		"https://example.test/forge/deep/team/acme.git":           "https://example.test/forge/deep team acme",
		"ssh://git@git.example.test:2222/team/acme.git":           "https://git.example.test team acme",
		"git@git.example.test:team/acme.git":                      "https://git.example.test team acme",
		"https://git.example.test/acme":                           "",
		"/srv/git/acme.git":                                       "",
		"ftp://git.example.test/team/acme":                        "",
		"https://ada:hunter2%zz@git.example.test/team/acme/x/y/z": "",
	} {
		got := ""
		forge, err := FromURL(url, "gitea", "token")
		if err == nil {
			g := forge.(*Gitea)
			got = g.base + " " + g.owner + " " + g.repo
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
		if got != want {
			t.Errorf("%s is %q (%v), want %q", url, got, err, want)
		}
	}
	if _, err := FromURL("https://git.example.test/team/acme", "svn", ""); err == nil {
		t.Error("a forge that we don't know is taken")
	}
}

func TestTheTokenStaysWithItsHost(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	g, err := NewGitea(s.URL, "team", "acme", "a-secret-token")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{g.Write(t.Context(), status(Success, "x")), readError(g)} {
		if err == nil || !strings.Contains(err.Error(), "refused a redirect") {
			t.Errorf("the error is %v", err)
		}
	}
	if asked {
		t.Error("the other host was asked")
	}
}

func readError(f Forge) error {
	_, _, err := f.Read(context.Background(), commit, "x")
	return err
}

func TestAServerThatEchoesTheTokenDoesntGetItIntoOurErrors(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"message": "bad header ` + r.Header.Get("Authorization") + `"}`))
	}))
	defer s.Close()
	g, err := NewGitea(s.URL, "team", "acme", "a-secret-token")
	if err != nil {
		t.Fatal(err)
	}
	err = g.Write(t.Context(), status(Success, "x"))
	if err == nil || strings.Contains(err.Error(), "a-secret-token") || !strings.Contains(err.Error(), "500") {
		t.Errorf("the error is %v", err)
	}
}
