package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"code.gitea.io/sdk/gitea"
)

// Gitea posts commit statuses to a Gitea or Forgejo server, of any version that has them.
type Gitea struct {
	base, owner, repo, token string
	client                   *http.Client
}

var _ Forge = (*Gitea)(nil)

// How long Gitea may take for one answer, and how far back a commit's statuses are read.
const (
	giteaPatience = 20 * time.Second
	giteaPages    = 20
	giteaPerPage  = 50
)

// NewGitea names a repository on a server. baseURL is where the server's first page stands; the token needs
// write:repository. Nothing is sent yet.
func NewGitea(baseURL, owner, repo, token string) (*Gitea, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("a Gitea's address starts with http:// or https:// and names a host")
	}
	if owner == "" || repo == "" {
		return nil, errors.New("a Gitea repository has an owner and a name")
	}
	base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}
	return &Gitea{
		base: base.String(), owner: owner, repo: repo, token: token,
		client: &http.Client{Timeout: giteaPatience, CheckRedirect: sameHost},
	}, nil
}

// FromURL is the forge of a kind ("gitea") behind a repository's URL as git knows it; what stands before owner and name
// is the server's own path. Of an SSH address the host is taken, and https.
func FromURL(remoteURL, kind, token string) (Forge, error) {
	if kind != "gitea" {
		return nil, fmt.Errorf("forge %q is none of: gitea", kind)
	}
	if user, path, ok := strings.Cut(remoteURL, ":"); ok && !strings.Contains(remoteURL, "://") && !strings.Contains(user, "/") {
		remoteURL = "ssh://" + user + "/" + path
	}
	u, err := url.Parse(remoteURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the repository's URL names no server, so that it has no forge")
	}
	if u.Scheme == "ssh" {
		u.Scheme, u.Host = "https", u.Hostname()
	}
	parts := strings.Split(strings.Trim(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git"), "/"), "/")
	if len(parts) < 2 {
		return nil, errors.New("the repository's URL doesn't end with an owner and a name")
	}
	n := len(parts)
	u.Path = strings.Join(parts[:n-2], "/")
	return NewGitea((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), parts[n-2], parts[n-1], token)
}

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

// explain says what was refused where, without the token, and what to do about it where that is known.
func (g *Gitea) explain(act string, resp *gitea.Response, err error) error {
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err
	}
	if g.token != "" && strings.Contains(err.Error(), g.token) {
		err = errors.New(strings.ReplaceAll(err.Error(), g.token, "…"))
	}
	where := fmt.Sprintf("gitea %s: %s of %s/%s", g.base, act, g.owner, g.repo)
	if resp == nil || resp.Response == nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: 401: the token is wrong or has expired: %w", where, err)
	case http.StatusForbidden:
		return fmt.Errorf("%s: 403: the token needs write:repository, and its user may have to be a collaborator: %w", where, err)
	case http.StatusNotFound:
		return fmt.Errorf("%s: 404: there is no such repository or commit, or the token's user doesn't see it: %w", where, err)
	}
	return fmt.Errorf("%s: %d: %w", where, resp.StatusCode, err)
}

// sameHost keeps the token with the host that it was given for.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) > 5 {
		return errors.New("redirected more than 5 times")
	}
	if first := via[0].URL; req.URL.Host != first.Host || first.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("refused a redirect to %s://%s", req.URL.Scheme, req.URL.Host)
	}
	return nil
}
