package status

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v92/github"
)

// GitHub posts commit statuses to github.com, or to an Enterprise server.
type GitHub struct {
	base, owner, repo, token string
	client                   *github.Client
}

var _ Forge = (*GitHub)(nil)

// newGitHub names a repository on the server whose first page stands at base. The token needs repo:status, or the right
// to write commit statuses where it is fine-grained.
func newGitHub(base, owner, repo, token string, client *http.Client) (*GitHub, error) {
	api := githubAPI(base)
	options := []github.ClientOptionsFunc{github.WithHTTPClient(client), github.WithURLs(&api, nil)}
	if token != "" {
		options = append(options, github.WithAuthToken(token))
	}
	c, err := github.NewClient(options...)
	if err != nil {
		return nil, err
	}
	return &GitHub{base: base, owner: owner, repo: repo, token: token, client: c}, nil
}

// githubAPI is where a server answers programs: on a host of its own in GitHub's cloud, below /api/v3 elsewhere.
func githubAPI(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	switch host := strings.ToLower(u.Hostname()); {
	case host == "github.com", strings.HasSuffix(host, ".ghe.com"):
		return "https://api." + host + "/"
	case strings.HasPrefix(host, "api."):
		return base + "/"
	}
	return base + "/api/v3/"
}

// Read finds a commit's status in the list that GitHub makes of the last one of each context.
func (g *GitHub) Read(ctx context.Context, commit, context string) (Status, bool, error) {
	const pages = 20
	for page := 1; page <= pages; page++ {
		combined, resp, err := g.client.Repositories.GetCombinedStatus(ctx, g.owner, g.repo, commit, &github.ListOptions{Page: page, PerPage: 100})
		if err != nil {
			return Status{}, false, g.explain("list statuses", resp, err)
		}
		for _, s := range combined.Statuses {
			if strings.EqualFold(s.GetContext(), context) { // GitHub takes contexts that differ in case for one
				return Status{Commit: commit, Context: context, State: State(s.GetState()), Says: s.GetDescription(), URL: s.GetTargetURL()}, true, nil
			}
		}
		if resp.NextPage == 0 {
			break
		}
	}
	return Status{}, false, nil
}

// Write adds a status, which takes the place of the context's last one in all that GitHub shows but the history.
func (g *GitHub) Write(ctx context.Context, s Status) error {
	s = Fit(s)
	state := string(s.State)
	body := github.RepoStatus{State: &state, Description: &s.Says, Context: &s.Context}
	if s.URL != "" {
		body.TargetURL = &s.URL
	}
	_, resp, err := g.client.Repositories.CreateStatus(ctx, g.owner, g.repo, s.Commit, body)
	if err != nil {
		return g.explain("create status", resp, err)
	}
	return nil
}

func (g *GitHub) explain(act string, resp *github.Response, err error) error {
	r := refused{forge: "github " + g.base, act: act, repository: g.owner + "/" + g.repo, token: g.token,
		needs: "repo:status, or the permission to write commit statuses"}
	if resp != nil && resp.Response != nil {
		r.code = resp.StatusCode
	}
	return r.because(err)
}
