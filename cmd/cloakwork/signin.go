package main

import (
	"context"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

// signing is a way into the one server that the flags describe. It is taken while manifests are read: the server hashes a
// password for as long as we check a realm. Whoever began it closes it.
type signing struct {
	client  *keycloak.Client // nil where the flags don't describe one
	account reconcile.Account
	err     error
	done    chan struct{} // closed when account and err are known
	cancel  context.CancelFunc
}

// signingIn begins to sign in, and sends nothing where the flags don't say how.
func (c *cli) signingIn(ctx context.Context) *signing {
	ctx, cancel := context.WithCancel(ctx)
	s := &signing{done: make(chan struct{}), cancel: cancel}
	if s.client, s.err = c.client(); s.err != nil {
		close(s.done)
		return s
	}
	go func() {
		defer close(s.done)
		s.account, s.err = account(ctx, s.client)
	}()
	return s
}

// signedIn says whom we are signed in as. Where manifests' problems block every realm it waits for nobody: then nothing is
// asked of the server.
func (c *cli) signedIn(s *signing, d schema.Declared, refs []schema.RealmRef) (*keycloak.Client, reconcile.Account, error) {
	if s.client == nil {
		return nil, reconcile.Account{}, s.err
	}
	for _, ref := range refs {
		if len(schema.Blocking(d.Problems, ref)) == 0 {
			stop := c.progress.during(func() string { return "signing in to " + c.flags.server })
			defer stop()
			<-s.done
			return s.client, s.account, s.err
		}
	}
	return s.client, reconcile.Account{}, nil
}

func (s *signing) close() {
	s.cancel()
	<-s.done
	if s.client != nil {
		s.client.Close()
	}
}

// account is whom a client signs in as.
func account(ctx context.Context, client *keycloak.Client) (reconcile.Account, error) {
	who, err := client.WhoAmI(ctx)
	if err != nil {
		return reconcile.Account{}, err
	}
	version, err := client.Version(ctx)
	if err != nil {
		return reconcile.Account{}, err
	}
	return reconcile.Account{Realm: who.Realm, ClientID: who.ClientID, User: who.User, Version: version}, nil
}
