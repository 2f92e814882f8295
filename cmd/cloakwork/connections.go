package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

// connections are the clients of servers, by name, each made when it is first asked for.
type connections struct {
	ctx  context.Context
	open func(server string) (*keycloak.Client, error)

	mu    sync.Mutex
	known map[string]*connection
}

type connection struct {
	mu     sync.Mutex
	client *keycloak.Client
	who    *reconcile.Account
	asked  time.Time
}

// get is the client of a server, and whom it signs in as. That is found out now and then: a server is upgraded while the
// controller runs.
func (s *connections) get(server string) (*keycloak.Client, reconcile.Account, error) {
	s.mu.Lock()
	k := s.known[server]
	if k == nil {
		k = &connection{}
		s.known[server] = k
	}
	s.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.client == nil {
		client, err := s.open(server)
		if err != nil {
			return nil, reconcile.Account{}, err
		}
		k.client = client
	}
	if k.who == nil || time.Since(k.asked) > 10*time.Minute {
		found, err := account(s.ctx, k.client)
		if err != nil {
			k.client = nil // its address or credentials may be others by the next time
			return nil, reconcile.Account{}, err
		}
		k.who, k.asked = &found, time.Now()
	}
	return k.client, *k.who, nil
}

// close signs out everywhere.
func (s *connections) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		if k.client != nil {
			k.client.Close()
		}
	}
}

// connect opens the connections of this process: to the deployments that it drives, to the servers that the configuration
// names and, without one, to the one that the flags describe.
func (c *cli) connect(ctx context.Context, conf *config, p *platforms, sent func(server, method string, status int)) *connections {
	s := &connections{ctx: ctx, known: map[string]*connection{}}
	s.open = func(server string) (*keycloak.Client, error) {
		settings, deployed, err := p.admin(ctx, server)
		if !deployed && conf == nil {
			settings, err = c.flaggedServer()
		} else if !deployed {
			settings, err = c.configuredServer(conf, server)
		}
		if err != nil {
			return nil, err
		}
		settings.Log = c.log
		settings.Sent = func(method string, status int) { sent(server, method, status) }
		client, err := keycloak.New(settings)
		if err != nil {
			return nil, advise("check the server's address and credentials", "server %s: %w", server, err)
		}
		return client, nil
	}
	return s
}

// configuredServer is a server as the configuration describes it.
func (c *cli) configuredServer(conf *config, name string) (keycloak.Config, error) {
	s, ok := conf.Servers[name]
	if !ok {
		return keycloak.Config{}, fmt.Errorf("the controller's configuration has no server %s", name)
	}
	at := "servers." + name
	settings := keycloak.Config{URL: s.URL, Realm: s.Realm, User: s.User, ClientID: s.ClientID, InFlight: s.InFlight, PerSecond: s.PerSecond, Patience: time.Duration(s.Patience)}
	var err error
	if settings.Password, err = c.credential(conf, at+".password", s.Password); err != nil {
		return settings, err
	}
	if settings.ClientSecret, err = c.credential(conf, at+".clientSecret", s.ClientSecret); err != nil {
		return settings, err
	}
	if settings.CA, err = conf.certificates(s.CA); err != nil {
		return settings, fmt.Errorf("%s.ca: %w", at, err)
	}
	return settings, nil
}
