package status

import (
	"context"
	"net/http"
	"strings"
	"unicode/utf8"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
)

// GitLab posts commit statuses to gitlab.com or a server of one's own. They appear as external jobs in the commit's pipeline.
type GitLab struct {
	base, project, token string
	client               *gitlab.Client
}

var _ Forge = (*GitLab)(nil)

// newGitLab names a project, with its groups, on the server whose first page stands at base. The token needs the scope api,
// and its user the role of a developer.
func newGitLab(base, project, token string, client *http.Client) (*GitLab, error) {
	c, err := gitlab.NewClient(token, gitlab.WithBaseURL(base), gitlab.WithHTTPClient(client), gitlab.WithoutRetries())
	if err != nil {
		return nil, err
	}
	return &GitLab{base: base, project: project, token: token, client: c}, nil
}

// GitLab knows one state for what failed: the sentence of one that is an error begins with this.
const gitlabError = "error: "

var gitlabStates = map[State]gitlab.BuildStateValue{Success: gitlab.Success, Failure: gitlab.Failed, Error: gitlab.Failed, Pending: gitlab.Running}

// Read finds the last status of a name. GitLab lists the last one of each name and pipeline.
func (g *GitLab) Read(ctx context.Context, commit, context string) (Status, bool, error) {
	const pages = 20
	var newest *gitlab.CommitStatus
	options := &gitlab.GetCommitStatusesOptions{ListOptions: gitlab.ListOptions{Page: 1, PerPage: 100}, Name: &context}
	for range pages {
		list, resp, err := g.client.Commits.GetCommitStatuses(g.project, commit, options, gitlab.WithContext(ctx))
		if err != nil {
			return Status{}, false, g.explain("list statuses", resp, err)
		}
		for _, s := range list {
			if s.Name == context && (newest == nil || s.ID > newest.ID) {
				newest = s
			}
		}
		if resp.NextPage == 0 {
			break
		}
		options.Page = resp.NextPage
	}
	if newest == nil {
		return Status{}, false, nil
	}
	s := Status{Commit: commit, Context: context, Says: newest.Description, URL: newest.TargetURL}
	says, isError := strings.CutPrefix(s.Says, gitlabError)
	switch newest.Status {
	case "success":
		s.State = Success
	case "created", "waiting_for_resource", "preparing", "pending", "running", "scheduled":
		s.State = Pending
	case "failed":
		s.State = Failure
		if isError {
			s.State, s.Says = Error, says
		}
	default: // canceled, skipped, manual: somebody's doing
		s.State = State(newest.Status)
	}
	return s, true, nil
}

// Write sets the status of a name. GitLab refuses to set a job running that runs: what it says then stays until it ends.
func (g *GitLab) Write(ctx context.Context, s Status) error {
	s = Fit(s)
	if s.State == Error {
		s.Says = gitlabError + s.Says // 255 characters are allowed
	}
	options := &gitlab.SetCommitStatusOptions{State: gitlabStates[s.State], Name: &s.Context, Description: &s.Says}
	if s.URL != "" && utf8.RuneCountInString(s.URL) <= 255 { // a longer one would be refused with the rest
		options.TargetURL = &s.URL
	}
	_, resp, err := g.client.Commits.SetCommitStatus(g.project, s.Commit, options, gitlab.WithContext(ctx))
	if err == nil {
		return nil
	}
	if resp != nil && resp.StatusCode == http.StatusBadRequest && strings.Contains(err.Error(), "Cannot transition status") {
		if there, ok, failed := g.Read(ctx, s.Commit, s.Context); failed == nil && ok && there.State == s.State {
			return nil
		}
	}
	return g.explain("set status", resp, err)
}

func (g *GitLab) explain(act string, resp *gitlab.Response, err error) error {
	r := refused{forge: "gitlab " + g.base, act: act, repository: g.project, token: g.token, needs: "the scope api, and its user the role of a developer"}
	if resp != nil && resp.Response != nil {
		r.code = resp.StatusCode
	}
	return r.because(err)
}
