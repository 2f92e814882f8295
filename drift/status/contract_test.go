package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// contract is a forge that holds every request to what the forge's documentation says: it answers as the forge does, and
// tells the test of anything that isn't in the contract.
type contract struct {
	t        *testing.T
	mu       sync.Mutex
	requests []string // method and path
	kept     []posted // in the order in which they came
	states   []string
	limits   map[string]int // of fields of the body, in characters
}

type posted struct {
	ID                               int64
	Name, State, Description, Target string
}

func (c *contract) wrong(format string, args ...any) { c.t.Errorf(format, args...) }

// fields reads a JSON body that may have these fields, and no others.
func (c *contract) fields(r *http.Request, allowed ...string) map[string]string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.wrong("the body can't be read: %v", err)
	}
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		c.wrong("the body is %q", got)
	}
	raw := map[string]string{}
	if err := json.Unmarshal(body, &raw); err != nil {
		c.wrong("the body is %s: %v", body, err)
	}
	for name, v := range raw {
		if !slices.Contains(allowed, name) {
			c.wrong("the body has %s", name)
		}
		if most, ok := c.limits[name]; ok && utf8.RuneCountInString(v) > most {
			c.wrong("%s has %d characters, %d are allowed", name, utf8.RuneCountInString(v), most)
		}
		if name == "target_url" && !strings.HasPrefix(v, "https://") {
			c.wrong("target_url is %q", v)
		}
	}
	if !slices.Contains(c.states, raw["state"]) {
		c.wrong("the state is %q", raw["state"])
	}
	return raw
}

func (c *contract) query(r *http.Request, allowed ...string) url.Values {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains(allowed, name) {
			c.wrong("the query has %s", name)
		}
	}
	return q
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// github is GitHub's contract: https://docs.github.com/en/rest/commits/statuses.
func (c *contract) github(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r.Method+" "+r.URL.Path)
	if r.Header.Get("Authorization") != "Bearer a-secret-token" {
		reply(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
		return
	}
	if accept := r.Header.Get("Accept"); !strings.HasPrefix(accept, "application/vnd.github") {
		c.wrong("Accept is %q", accept)
	}
	if _, err := time.Parse(time.DateOnly, r.Header.Get("X-GitHub-Api-Version")); err != nil {
		c.wrong("X-GitHub-Api-Version is %q", r.Header.Get("X-GitHub-Api-Version"))
	}
	if r.Header.Get("User-Agent") == "" {
		c.wrong("there is no User-Agent, without which GitHub answers 403")
	}
	repository := "/api/v3/repos/team/acme"
	switch {
	case r.Method == http.MethodPost && r.URL.Path == repository+"/statuses/"+commit:
		f := c.fields(r, "state", "target_url", "description", "context")
		c.kept = append(c.kept, posted{int64(len(c.kept) + 1), f["context"], f["state"], f["description"], f["target_url"]})
		reply(w, http.StatusCreated, map[string]any{"id": len(c.kept), "state": f["state"], "context": f["context"]})
	case r.Method == http.MethodGet && r.URL.Path == repository+"/commits/"+commit+"/status":
		q := c.query(r, "page", "per_page")
		per, _ := strconv.Atoi(q.Get("per_page"))
		page, _ := strconv.Atoi(q.Get("page"))
		if per < 1 || per > 100 || page < 1 {
			c.wrong("page %q of %q", q.Get("page"), q.Get("per_page"))
		}
		last := map[string]posted{}
		var names []string
		for _, p := range c.kept {
			if _, twice := last[strings.ToLower(p.Name)]; !twice {
				names = append(names, strings.ToLower(p.Name))
			}
			last[strings.ToLower(p.Name)] = p
		}
		from, to := min(len(names), (page-1)*per), min(len(names), page*per)
		list := []map[string]any{}
		for _, n := range names[from:to] {
			p := last[n]
			list = append(list, map[string]any{"id": p.ID, "context": p.Name, "state": p.State, "description": p.Description, "target_url": null(p.Target)})
		}
		if to < len(names) {
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?page=%d&per_page=%d>; rel="next"`, r.Host, r.URL.Path, page+1, per))
		}
		reply(w, http.StatusOK, map[string]any{"state": "pending", "statuses": list, "total_count": len(names)})
	default:
		reply(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
	}
}

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// gitlab is GitLab's contract: https://docs.gitlab.com/api/commits/#commit-status. A job that runs can't be set running.
func (c *contract) gitlab(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r.Method+" "+r.URL.EscapedPath())
	if r.Header.Get("Private-Token") != "a-secret-token" {
		reply(w, http.StatusUnauthorized, map[string]string{"message": "401 Unauthorized"})
		return
	}
	switch project := "/api/v4/projects/team%2Facme"; {
	case r.Method == http.MethodPost && r.URL.EscapedPath() == project+"/statuses/"+commit:
		f := c.fields(r, "state", "name", "target_url", "description")
		if i := slices.IndexFunc(c.kept, func(p posted) bool { return p.Name == f["name"] && (p.State == "pending" || p.State == "running") }); i >= 0 {
			if c.kept[i].State == f["state"] || f["state"] == "pending" {
				reply(w, http.StatusBadRequest, map[string]string{"message": fmt.Sprintf(`Cannot transition status via :run from :%s (Reason(s): Status cannot transition via "run")`, f["state"])})
				return
			}
			c.kept[i] = posted{c.kept[i].ID, f["name"], f["state"], f["description"], f["target_url"]}
			reply(w, http.StatusCreated, gitlabJSON(c.kept[i]))
			return
		}
		c.kept = append(c.kept, posted{int64(len(c.kept) + 1), f["name"], f["state"], f["description"], f["target_url"]})
		reply(w, http.StatusCreated, gitlabJSON(c.kept[len(c.kept)-1]))
	case r.Method == http.MethodGet && r.URL.EscapedPath() == project+"/repository/commits/"+commit+"/statuses":
		q := c.query(r, "name", "page", "per_page")
		list := []any{}
		for i := len(c.kept) - 1; i >= 0 && len(list) == 0; i-- { // the last one of the name
			if p := c.kept[i]; p.Name == q.Get("name") {
				list = append(list, gitlabJSON(p))
			}
		}
		reply(w, http.StatusOK, list)
	default:
		reply(w, http.StatusNotFound, map[string]string{"message": "404 Project Not Found"})
	}
}

func gitlabJSON(p posted) map[string]any {
	return map[string]any{"id": p.ID, "sha": commit, "name": p.Name, "status": p.State, "description": p.Description, "target_url": null(p.Target)}
}

// serve is a server that keeps to the contract of a kind of forge.
func serve(t *testing.T, kind string) (*contract, string) {
	c := &contract{t: t}
	var handler http.HandlerFunc
	switch kind {
	case "github":
		handler, c.states = c.github, []string{"error", "failure", "pending", "success"}
		c.limits = map[string]int{"description": 140, "context": 255}
	case "gitlab":
		handler, c.states = c.gitlab, []string{"pending", "running", "success", "failed", "canceled", "skipped"}
		c.limits = map[string]int{"description": 255, "name": 255, "target_url": 255}
	}
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return c, s.URL
}

func TestEveryStateIsPostedAndReadBackByContract(t *testing.T) {
	long := Status{Commit: commit, Context: "cloakwork/" + strings.Repeat("ü", 300), State: Failure, Says: strings.Repeat("é", 300)}
	for _, kind := range []string{"github", "gitlab"} {
		t.Run(kind, func(t *testing.T) {
			_, url := serve(t, kind)
			f := opened(t, url, kind)
			for _, state := range []State{Pending, Success, Failure, Error} {
				s := Status{Commit: commit, Context: "cloakwork/eu/realm/" + string(state), State: state, Says: "2 drifted: clients/portal", URL: "https://cloakwork.acme.example/x"}
				if _, ok, err := f.Read(t.Context(), commit, s.Context); ok || err != nil {
					t.Errorf("before %s it reads %v, %v", state, ok, err)
				}
				if err := f.Write(t.Context(), s); err != nil {
					t.Error(err)
				}
				if got, ok, err := f.Read(t.Context(), commit, s.Context); !ok || err != nil || got != s {
					t.Errorf("wrote %v, read %v, %v", s, got, err)
				}
			}
			if err := f.Write(t.Context(), long); err != nil {
				t.Error(err)
			}
			if got, ok, err := f.Read(t.Context(), commit, Fit(long).Context); !ok || err != nil || got != Fit(long) {
				t.Errorf("read %v, %v, want what fits of the long one", got, err)
			}
		})
	}
}

func TestGitHubAndGitLabSpellStatesTheirWay(t *testing.T) {
	for kind, want := range map[string]string{"github": "pending success failure error", "gitlab": "running success failed failed"} {
		c, url := serve(t, kind)
		f := opened(t, url, kind)
		var got []string
		for i, state := range []State{Pending, Success, Failure, Error} {
			if err := f.Write(t.Context(), Status{Commit: commit, Context: strconv.Itoa(i), State: state, Says: "x"}); err != nil {
				t.Error(err)
			}
			got = append(got, c.kept[i].State)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s gets %s, want %s", kind, strings.Join(got, " "), want)
		}
	}
}

func TestStatusesAreReadBeforeTheyAreWritten(t *testing.T) {
	paths := map[string][2]string{
		"github": {"GET /api/v3/repos/team/acme/commits/" + commit + "/status", "POST /api/v3/repos/team/acme/statuses/" + commit},
		"gitlab": {"GET /api/v4/projects/team%2Facme/repository/commits/" + commit + "/statuses", "POST /api/v4/projects/team%2Facme/statuses/" + commit},
	}
	for kind, path := range paths {
		c, url := serve(t, kind)
		post := func(p *Poster, s Status) {
			if err := p.Post(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
		first := &Poster{Forge: opened(t, url, kind)}
		post(first, status(Success, "24 objects as declared"))
		post(first, status(Success, "24 objects as declared"))
		post(first, status(Error, "broken"))
		post(&Poster{Forge: opened(t, url, kind)}, status(Error, "broken")) // another process
		want := []string{path[0], path[1], path[1], path[0]}
		if diff := cmp.Diff(want, c.requests); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

func TestGitHubListsStatusesOnSeveralPagesAndFoldsCase(t *testing.T) {
	c, url := serve(t, "github")
	for i := range 250 {
		c.kept = append(c.kept, posted{int64(i), "other/" + strconv.Itoa(i), "success", "x", ""})
	}
	c.kept = append(c.kept, posted{900, "Cloakwork/EU/realm/acme", "failure", "old", ""})
	got, ok, err := opened(t, url, "github").Read(t.Context(), commit, "cloakwork/eu/realm/acme")
	if !ok || err != nil || got.State != Failure || len(c.requests) != 3 {
		t.Errorf("read %v, %v, %v in %d requests", got, ok, err, len(c.requests))
	}
}

func TestAJobOfGitLabThatRunsStaysAsItIsUntilItEnds(t *testing.T) {
	c, url := serve(t, "gitlab")
	f := opened(t, url, "gitlab")
	for _, s := range []Status{status(Pending, "1 of 3"), status(Pending, "2 of 3"), status(Success, "done")} {
		if err := f.Write(t.Context(), s); err != nil {
			t.Errorf("%s: %v", s.Says, err)
		}
	}
	if want := []posted{{1, "cloakwork/eu/realm/acme", "success", "done", ""}}; !cmp.Equal(want, c.kept) {
		t.Errorf("it keeps %v, want %v", c.kept, want)
	}
	c.kept[0].State = "canceled"
	if got, ok, err := f.Read(t.Context(), commit, c.kept[0].Name); !ok || err != nil || got.State == Success || got.State == Pending {
		t.Errorf("what somebody canceled reads %v, %v, %v", got, ok, err)
	}
}

func TestARefusalSaysWhatToDoAndNoToken(t *testing.T) {
	for _, kind := range []string{"github", "gitlab"} {
		_, url := serve(t, kind)
		for _, c := range []struct{ remote, token, want string }{
			{url + "/team/acme", "wrong-token", "401: the token is wrong or has expired"},
			{url + "/team/other", "a-secret-token", "404: there is no such repository or commit, or the token's user doesn't see it"},
		} {
			f, err := Open(Repository{Remote: c.remote, Kind: kind, Token: c.token})
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{readError(f), f.Write(t.Context(), status(Success, "x"))} {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.token) {
					t.Errorf("%s says %v, want %q", kind, err, c.want)
				}
			}
		}
	}
}
