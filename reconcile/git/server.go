package git

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// How long a server may take before its answer begins, and how many commits we name so that it finds a common one
// after a force push.
const (
	serverPatience = 2 * time.Minute
	commonCommits  = 100
)

// server is a git server spoken to over HTTP or SSH.
type server struct {
	url     string // without credentials
	auth    transport.AuthMethod
	secrets []string
	client  transport.Transport
}

func newServer(r Remote) (*server, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the git repository's URL can't be read") // its text may hold a password
	}
	s := &server{}
	user, token := r.User, r.Token
	if u.User != nil {
		password, _ := u.User.Password()
		if user == "" {
			user = u.User.Username()
		}
		if token == "" {
			token = password
		}
		s.secrets = append(s.secrets, password)
		u.User = nil
	}
	s.url = u.String()
	if token != "" {
		if user == "" {
			user = "git" // forges look only at the token, but some refuse an empty name
		}
		s.auth = &githttp.BasicAuth{Username: user, Password: token}
		s.secrets = append(s.secrets, token)
	} else if user != "" { // a token in the place of the user
		s.auth = &githttp.BasicAuth{Username: user}
		s.secrets = append(s.secrets, user)
	}
	wire := http.DefaultTransport.(*http.Transport).Clone()
	wire.ResponseHeaderTimeout = serverPatience
	if len(r.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(r.CA) {
			return nil, errors.New("the git repository's CA holds no PEM certificate")
		}
		wire.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	s.client = githttp.NewClient(&http.Client{Transport: wire, CheckRedirect: sameHost})
	return s, nil
}

// sameHost keeps what is declared with the host that was asked for it.
func sameHost(req *http.Request, via []*http.Request) error {
	if first := via[0].URL; req.URL.Host != first.Host || first.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("it redirects to %s://%s, which is not followed", req.URL.Scheme, req.URL.Host)
	}
	return nil
}

func (s *server) fetching(ctx context.Context) (transport.UploadPackSession, *packp.AdvRefs, error) {
	endpoint, err := transport.NewEndpoint(s.url)
	if err != nil {
		return nil, nil, errors.New("the git repository's URL can't be read")
	}
	session, err := opening(ctx, func() (transport.UploadPackSession, error) { return s.client.NewUploadPackSession(endpoint, s.auth) })
	if err != nil {
		return nil, nil, err
	}
	offered, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		_ = session.Close()
	}
	return session, offered, err
}

func (s *server) refs(ctx context.Context) (refs, error) {
	session, offered, err := s.fetching(ctx)
	if err != nil {
		return refs{}, s.explain(ctx, err)
	}
	defer session.Close()
	r := refs{at: map[plumbing.ReferenceName]plumbing.Hash{}, shallow: offered.Shallows}
	for name, hash := range offered.References {
		r.at[plumbing.ReferenceName(name)] = hash
	}
	if offered.Head != nil {
		r.at[plumbing.HEAD] = *offered.Head
	}
	for _, symbolic := range offered.Capabilities.Get(capability.SymRef) {
		if name, target, _ := strings.Cut(symbolic, ":"); name == "HEAD" {
			r.head = plumbing.ReferenceName(target)
		}
	}
	return r, nil
}

func (s *server) copy(ctx context.Context, into *filesystem.Storage, want plumbing.Hash, has []plumbing.Hash) (err error) {
	session, offered, err := s.fetching(ctx)
	if err != nil {
		return s.explain(ctx, err)
	}
	defer session.Close()
	if !offers(offered, want) {
		return errMoved // since refs was asked: a server gives out what it shows in the same session alone
	}
	request := packp.NewUploadPackRequestFromCapabilities(offered.Capabilities)
	if offered.Capabilities.Supports(capability.NoProgress) {
		if err := request.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	request.Wants = []plumbing.Hash{want}
	request.Haves = recent(into, has)
	w, err := into.PackfileWriter()
	if err != nil {
		return err
	}
	defer func() {
		if wrong := w.Close(); err == nil && wrong != nil {
			err = fmt.Errorf("index what was received: %w", wrong)
		} else if err == nil && into.HasEncodedObject(want) != nil {
			err = fmt.Errorf("the server sent a pack without commit %s", want)
		}
	}()
	answer, err := session.UploadPack(ctx, request)
	if err != nil {
		return s.explain(ctx, err)
	}
	defer answer.Close()
	var pack io.Reader = answer
	switch {
	case request.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, answer)
	case request.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, answer)
	}
	if _, err := io.Copy(w, pack); err != nil {
		return s.explain(ctx, fmt.Errorf("receive pack: %w", err))
	}
	return nil
}

func offers(offered *packp.AdvRefs, want plumbing.Hash) bool {
	if offered.Head != nil && *offered.Head == want {
		return true
	}
	for _, hash := range offered.References {
		if hash == want {
			return true
		}
	}
	return false
}

// recent names commits that the mirror has, newest first, for the server to find one that it knows.
func recent(store *filesystem.Storage, has []plumbing.Hash) []plumbing.Hash {
	var hashes []plumbing.Hash
	seen := map[plumbing.Hash]bool{}
	for next := has; len(next) > 0 && len(hashes) < commonCommits; next = next[1:] {
		c, err := object.GetCommit(store, next[0])
		if err != nil || seen[c.Hash] {
			continue
		}
		seen[c.Hash] = true
		hashes = append(hashes, c.Hash)
		next = append(next, c.ParentHashes...)
	}
	return hashes
}

func (s *server) move(ctx context.Context, from *filesystem.Storage, name plumbing.ReferenceName, old, new plumbing.Hash, objects []plumbing.Hash) error {
	endpoint, err := transport.NewEndpoint(s.url)
	if err != nil {
		return errors.New("the git repository's URL can't be read")
	}
	session, err := opening(ctx, func() (transport.ReceivePackSession, error) { return s.client.NewReceivePackSession(endpoint, s.auth) })
	if err != nil {
		return s.explain(ctx, err)
	}
	defer session.Close()
	offered, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return s.explain(ctx, err)
	}
	if offered.References[string(name)] != old {
		return errMoved
	}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, from, false).Encode(objects, 0); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	request := packp.NewReferenceUpdateRequestFromCapabilities(offered.Capabilities)
	request.Commands = []*packp.Command{{Name: name, Old: old, New: new}}
	request.Packfile = io.NopCloser(&pack)
	_, err = session.ReceivePack(ctx, request)
	if err == nil {
		return nil
	}
	// The server says in words of its own that the reference moved meanwhile: look.
	if session, offered, again := s.fetching(ctx); again == nil && offered.References[string(name)] != old {
		_ = session.Close()
		if offered.References[string(name)] == new {
			return nil // only its answer was lost
		}
		return errMoved
	}
	for _, report := range []string{"command error", "unpack error"} { // go-git has no types for them
		if strings.HasPrefix(err.Error(), report) {
			return fmt.Errorf("%w: %s", ErrRefused, err)
		}
	}
	return s.explain(ctx, err)
}

// explain turns what go-git and net/http say into what a person can act on, without credentials. Bodies of answers
// are left out.
func (s *server) explain(ctx context.Context, err error) error {
	var address *url.Error
	var status *githttp.Err
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrHostUnknown), errors.Is(err, ErrHostChanged):
		for _, known := range []error{ErrHostUnknown, ErrHostChanged} { // without what the library wraps around it
			if i := strings.Index(err.Error(), known.Error()); i >= 0 && errors.Is(err, known) {
				return fmt.Errorf("%w%s", known, err.Error()[i+len(known.Error()):])
			}
		}
		return err
	case strings.Contains(err.Error(), "ssh: unable to authenticate"): // golang.org/x/crypto has no type for it
		return fmt.Errorf("%w the SSH key", ErrRefused)
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return ErrEmpty
	case errors.Is(err, transport.ErrAuthenticationRequired) && s.auth == nil:
		return fmt.Errorf("%w: it asks for credentials, and none are set", ErrRefused)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return fmt.Errorf("%w the credentials: 401", ErrRefused)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Errorf("%w: 403: these credentials may not do that here", ErrRefused)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return ErrNotFound
	case errors.As(err, &status):
		return fmt.Errorf("%w: it answers %d", ErrUnreachable, status.StatusCode())
	case errors.As(err, &address):
		err = address.Err
	}
	text := err.Error()
	for _, secret := range s.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, text)
}
