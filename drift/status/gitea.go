package status

import (
	"context"
	"net/http"

	"code.gitea.io/sdk/gitea"
)

// Gitea posts commit statuses to a Gitea or Forgejo server, of any version that has them.
type Gitea struct {
	base, owner, repo, token string
	client                   *http.Client
}

var _ Forge = (*Gitea)(nil)

// How far back a commit's statuses are read.
const (
	giteaPages   = 20
	giteaPerPage = 50
)

// Read finds the newest status of a context. Gitea lists a commit's statuses by the second they are from, the latest
// first and those of one second in no useful order; their numbers tell which is the newest.
func (g *Gitea) Read(ctx context.Context, commit, context string) (Status, bool, error) {
	client, err := g.sdk(ctx)
	if err != nil {
		return Status{}, false, err
	}
	var newest *gitea.Status
	for page := 1; page <= giteaPages; page++ {
		list, resp, err := client.ListStatuses(g.owner, g.repo, commit, gitea.ListStatusesOption{
			ListOptions: gitea.ListOptions{Page: page, PageSize: giteaPerPage},
		})
		if err != nil {
			return Status{}, false, g.explain("list statuses", resp, err)
		}
		older := false
		for _, s := range list {
			older = newest != nil && s.Created.Before(newest.Created)
			if s.Context == context && (newest == nil || s.ID > newest.ID) {
				newest = s
			}
		}
		if older || len(list) == 0 {
			break
		}
	}
	if newest == nil {
		return Status{}, false, nil
	}
	return Status{Commit: commit, Context: context, State: State(newest.State), Says: newest.Description, URL: newest.TargetURL}, true, nil
}

// Write adds a status, which takes the place of the context's last one in all that Gitea shows but the history.
func (g *Gitea) Write(ctx context.Context, s Status) error {
	client, err := g.sdk(ctx)
	if err != nil {
		return err
	}
	s = Fit(s)
	_, resp, err := client.CreateStatus(g.owner, g.repo, s.Commit, gitea.CreateStatusOption{
		State: gitea.StatusState(s.State), TargetURL: s.URL, Description: s.Says, Context: s.Context,
	})
	if err != nil {
		return g.explain("create status", resp, err)
	}
	return nil
}

// sdk makes a client for one call: the SDK keeps the context in the client. The empty version stops it from asking the
// server for its own before each first call.
func (g *Gitea) sdk(ctx context.Context) (*gitea.Client, error) {
	client, err := gitea.NewClient(g.base, gitea.SetHTTPClient(g.client), gitea.SetToken(g.token), gitea.SetContext(ctx), gitea.SetGiteaVersion(""))
	if err != nil {
		return nil, g.explain("reach", nil, err)
	}
	return client, nil
}

func (g *Gitea) explain(act string, resp *gitea.Response, err error) error {
	r := refused{forge: "gitea " + g.base, act: act, repository: g.owner + "/" + g.repo, token: g.token,
		needs: "write:repository, and its user may have to be a collaborator"}
	if resp != nil && resp.Response != nil {
		r.code = resp.StatusCode
	}
	return r.because(err)
}
