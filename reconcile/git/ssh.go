package git

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// newSSH is a git server spoken to over SSH: with a key, and only where the server shows the one that known_hosts has.
func newSSH(r Remote) (*server, error) {
	address := r.URL
	if scpLike(address) {
		host, path, _ := strings.Cut(address, ":")
		address = "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("the git repository's URL can't be read")
	}
	user := r.User
	if user == "" && u.User != nil {
		user = u.User.Username()
	}
	if user == "" {
		user = gitssh.DefaultUsername
	}
	if len(r.SSHKey) == 0 {
		return nil, fmt.Errorf("git repository %s: %w", Canonical(r.URL), ErrNoKey)
	}
	signer, err := ssh.ParsePrivateKey(r.SSHKey)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, errors.New("the SSH key is locked by a passphrase: give one of its own to cloakwork, without")
	case err != nil:
		return nil, errors.New("the SSH key can't be read: it isn't a private key in PEM") // the error may quote it
	}
	u.User = url.User(user)
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "22")
	}
	return &server{
		url: u.String(), auth: &sshAuth{user, host, signer, r.KnownHosts},
		client: gitssh.NewClient(nil),
	}, nil
}

// sshAuth signs in with a key. The files of known hosts are read anew for each connection.
type sshAuth struct {
	user, host string
	signer     ssh.Signer
	knownHosts []string // files; none: those that ssh itself reads
}

func (a *sshAuth) Name() string   { return gitssh.PublicKeysName }
func (a *sshAuth) String() string { return "user: " + a.user }

func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	files, err := a.files()
	if err != nil {
		return nil, err
	}
	known, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", strings.Join(files, ", "), err)
	}
	check := known.HostKeyCallback()
	return &ssh.ClientConfig{
		User:              a.user,
		Timeout:           serverPatience,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(a.signer)},
		HostKeyAlgorithms: known.HostKeyAlgorithms(a.host),
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			err := check(host, remote, key)
			switch {
			case knownhosts.IsHostUnknown(err):
				return fmt.Errorf("%w: %s shows %s", ErrHostUnknown, a.host, ssh.FingerprintSHA256(key))
			case knownhosts.IsHostKeyChanged(err):
				return fmt.Errorf("%w: %s shows %s", ErrHostChanged, a.host, ssh.FingerprintSHA256(key))
			}
			return err
		},
	}, nil
}

// files are the known_hosts that there are.
func (a *sshAuth) files() ([]string, error) {
	if len(a.knownHosts) > 0 {
		return a.knownHosts, nil
	}
	names := filepath.SplitList(os.Getenv("SSH_KNOWN_HOSTS"))
	if len(names) == 0 {
		if home, err := os.UserHomeDir(); err == nil {
			names = append(names, filepath.Join(home, ".ssh", "known_hosts"))
		}
		names = append(names, "/etc/ssh/ssh_known_hosts")
	}
	var there []string
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return nil, fmt.Errorf("%w: there is no %s", ErrHostUnknown, strings.Join(names, ", nor "))
	}
	return there, nil
}

// opening bounds what go-git does without a context: over SSH it connects, shakes hands and signs in before it hands out
// a session. One that comes too late is closed.
func opening[S transport.Session](ctx context.Context, open func() (S, error)) (S, error) {
	type opened struct {
		session S
		err     error
	}
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	done := make(chan opened, 1)
	go func() {
		s, err := open()
		done <- opened{s, err}
	}()
	select {
	case o := <-done:
		return o.session, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.session.Close()
			}
		}()
		var none S
		return none, ctx.Err()
	}
}
