package status

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Repository is where the statuses of a repository's commits are kept.
type Repository struct {
	Remote string // as git knows it
	Kind   string // gitea (Forgejo too), github, gitlab; auto goes by the host's name
	URL    string // the server's first page; "" where it stands on the remote's host, with https for an SSH address
	Token  string
	CA     []byte // PEM certificates to trust besides the system's; may be nil
}

// Kinds are the forges that Open knows.
var Kinds = []string{"gitea", "github", "gitlab"}

// hosts are the public servers, whose kind their name tells.
var hosts = map[string]string{"github.com": "github", "gitlab.com": "gitlab", "codeberg.org": "gitea", "gitea.com": "gitea"}

// patience is how long a forge may take for one answer.
const patience = 20 * time.Second

// Open is the forge behind a repository. What stands before owner and name in the remote's path is the server's own path,
// but with GitLab, whose projects stand in groups within groups. Nothing is sent yet.
func Open(r Repository) (Forge, error) {
	remote, err := parseRemote(r.Remote)
	if err != nil {
		return nil, err
	}
	kind := r.Kind
	if kind == "auto" {
		kind = hosts[strings.ToLower(remote.Hostname())]
		if strings.HasSuffix(remote.Hostname(), ".ghe.com") {
			kind = "github"
		}
	}
	server := *remote
	if r.URL != "" {
		given, err := url.Parse(r.URL)
		if err != nil || given.Host == "" || given.Scheme != "http" && given.Scheme != "https" {
			return nil, errors.New("a forge's address starts with http:// or https:// and names a host")
		}
		server = *given
	}
	own := strings.Trim(server.Path, "/")
	if r.URL == "" {
		own = ""
	}
	project := strings.Split(strings.Trim(strings.TrimSuffix(strings.TrimRight(remote.Path, "/"), ".git"), "/"), "/")
	if own != "" && strings.HasPrefix(strings.Join(project, "/")+"/", own+"/") {
		project = project[len(strings.Split(own, "/")):]
	}
	if len(project) < 2 {
		return nil, errors.New("the repository's URL doesn't end with an owner and a name")
	}
	n := len(project)
	owner, name := project[n-2], project[n-1]
	client, err := httpClient(r.CA)
	if err != nil {
		return nil, err
	}
	base := func(path string) string {
		return (&url.URL{Scheme: server.Scheme, Host: server.Host, Path: strings.TrimSuffix("/"+path, "/")}).String()
	}
	switch kind {
	case "gitea":
		if r.URL == "" {
			own = strings.Join(project[:n-2], "/")
		}
		return &Gitea{base: base(own), owner: owner, repo: name, token: r.Token, client: client}, nil
	case "github":
		return newGitHub(base(own), owner, name, r.Token, client)
	case "gitlab":
		return newGitLab(base(own), strings.Join(project, "/"), r.Token, client)
	case "":
		return nil, fmt.Errorf("the host %s doesn't tell what kind of forge it is", remote.Host)
	}
	return nil, fmt.Errorf("forge %q is none of: %s", kind, strings.Join(Kinds, ", "))
}

// parseRemote is a repository's URL, an SSH address as the https one of its host.
func parseRemote(remote string) (*url.URL, error) {
	if user, path, ok := strings.Cut(remote, ":"); ok && !strings.Contains(remote, "://") && !strings.Contains(user, "/") {
		remote = "ssh://" + user + "/" + path
	}
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		return nil, errors.New("the repository's URL names no server, so that it has no forge")
	}
	switch u.Scheme {
	case "ssh":
		u.Scheme, u.Host = "https", u.Hostname()
	case "http", "https":
	default:
		return nil, errors.New("a forge's address starts with http:// or https://")
	}
	u.User = nil
	return u, nil
}

func httpClient(ca []byte) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("there is no PEM certificate in what shall be trusted")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Timeout: patience, CheckRedirect: sameHost, Transport: transport}, nil
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

// refused is what a forge didn't do, without the token, and what to do about it where that is known.
type refused struct {
	forge, act, repository string
	token                  string
	code                   int    // 0 where no answer came
	needs                  string // the right that 403 asks for
}

func (r refused) because(err error) error {
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err
	}
	if r.token != "" && strings.Contains(err.Error(), r.token) {
		err = errors.New(strings.ReplaceAll(err.Error(), r.token, "…"))
	}
	where := fmt.Sprintf("%s: %s of %s", r.forge, r.act, r.repository)
	switch r.code {
	case 0:
		return fmt.Errorf("%s: %w", where, err)
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: 401: the token is wrong or has expired: %w", where, err)
	case http.StatusForbidden:
		return fmt.Errorf("%s: 403: the token needs %s: %w", where, r.needs, err)
	case http.StatusNotFound:
		return fmt.Errorf("%s: 404: there is no such repository or commit, or the token's user doesn't see it: %w", where, err)
	}
	return fmt.Errorf("%s: %d: %w", where, r.code, err)
}
