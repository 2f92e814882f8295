package local

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
	"github.com/cloakwork/cloakwork/schema"
)

// Who signs in to the nodes for us, in the realm master. The first is there from the first start of the first node until the
// second has been made by it.
const (
	bootstrapClient  = "cloakwork-bootstrap"
	controllerClient = "cloakwork-controller"
)

// account is what a deployment is managed with. It is kept in account.json, from before the first node is started.
type account struct {
	Secret    string `json:"secret"`              // of controllerClient
	Bootstrap string `json:"bootstrap,omitempty"` // of bootstrapClient, as long as there is one
	Probe     string `json:"probe"`               // the password of the user who tries to log in

	Database postgres.Passwords `json:"database"` // the same in all regions
}

// credentials are the deployment's, which are made where there are none.
func (s site) credentials() (a account, err error) {
	unlock, err := s.lock()
	if err != nil {
		return a, err
	}
	defer unlock()
	if ok, err := s.read(&a, "account.json"); err != nil || ok {
		return a, err
	}
	a = account{Secret: rand.Text() + rand.Text(), Bootstrap: rand.Text() + rand.Text(), Probe: rand.Text(), Database: postgres.NewPasswords()}
	return a, s.write(a, "account.json")
}

// account sees to it that our own service account is there, and the first administrator no more.
func (w *work) account(ctx context.Context, l slot) error {
	a, err := w.credentials()
	if err != nil || a.Bootstrap == "" {
		return err
	}
	made := w.makeAccount(ctx, l, a)
	ours, err := w.signIn(l, controllerClient, a.Secret)
	if err != nil {
		return err
	}
	defer ours.Close()
	if _, err := ours.WhoAmI(ctx); err != nil { // else the first administrator went just before a crash
		return cmp.Or(made, err)
	}
	var clients []struct{ ID string }
	if err := ours.Get(ctx, keycloak.Path("realms", "master", "clients"), url.Values{"clientId": {bootstrapClient}}, &clients); err != nil {
		return fmt.Errorf("look for the first administrator: %w", err)
	}
	for _, c := range clients {
		if err := ours.Delete(ctx, keycloak.Path("realms", "master", "clients", c.ID), nil); err != nil && !keycloak.IsNotFound(err) {
			return fmt.Errorf("delete the first administrator: %w", err)
		}
	}
	a.Bootstrap = ""
	if err := w.write(a, "account.json"); err != nil {
		return err
	}
	return w.configureNode(l) // without the first administrator
}

// makeAccount makes our own service account, by the first administrator.
func (w *work) makeAccount(ctx context.Context, l slot, a account) error {
	first, err := w.signIn(l, bootstrapClient, a.Bootstrap)
	if err != nil {
		return err
	}
	defer first.Close()
	clients := keycloak.Path("realms", "master", "clients")
	find := func() (found []struct{ ID string }, err error) {
		err = first.Get(ctx, clients, url.Values{"clientId": {controllerClient}}, &found)
		return found, err
	}
	found, err := find()
	if err != nil {
		return fmt.Errorf("sign in as the first administrator; where the database was there before, it has none: %w", err)
	}
	if len(found) == 0 {
		if _, err := first.Post(ctx, clients, nil, map[string]any{
			"clientId": controllerClient, "name": "cloakwork", "description": "The account by which cloakwork manages this deployment. Its secret is kept with the deployment.",
			"secret": a.Secret, "serviceAccountsEnabled": true, "publicClient": false, "standardFlowEnabled": false, "directAccessGrantsEnabled": false,
			"fullScopeAllowed": true,
		}, nil); err != nil {
			return fmt.Errorf("make our service account: %w", err)
		}
		if found, err = find(); err != nil {
			return err
		}
	}
	var user struct{ ID string }
	var role map[string]any
	err = first.Get(ctx, keycloak.Path("realms", "master", "clients", found[0].ID, "service-account-user"), nil, &user)
	if err == nil {
		err = first.Get(ctx, keycloak.Path("realms", "master", "roles", "admin"), nil, &role)
	}
	if err == nil {
		_, err = first.Post(ctx, keycloak.Path("realms", "master", "users", user.ID, "role-mappings", "realm"), nil, []any{role}, nil)
	}
	if err != nil {
		return fmt.Errorf("let our service account manage all: %w", err)
	}
	return nil
}

// signIn is a client that speaks straight to a node.
func (s site) signIn(l slot, client, secret string) (*keycloak.Client, error) {
	node, err := s.url(l)
	if err != nil {
		return nil, err
	}
	return keycloak.New(keycloak.Config{URL: node, ClientID: client, ClientSecret: secret, Patience: 10 * time.Second})
}

// url is where a node serves.
func (s site) url(l slot) (string, error) {
	r, err := s.release(l.Revision)
	if err != nil {
		return "", err
	}
	return "http://" + net.JoinHostPort(l.Host, strconv.Itoa(l.Port)) + r.Base, nil
}

// Connection is how the realms of a deployment are managed: through the data plane of the region that serves, past the rules
// that may keep everybody out of the admin API, with our own service account.
func (d *Driver) Connection(_ context.Context, want schema.Deployment) (keycloak.Config, error) {
	s := d.site(want.Name)
	var a account
	if ok, err := s.read(&a, "account.json"); err != nil || !ok || a.Bootstrap != "" {
		return keycloak.Config{}, errors.Join(err, fmt.Errorf("deployment %s has no account for us yet: its first node makes it", want.Name))
	}
	record, err := s.record()
	if err != nil {
		return keycloak.Config{}, err
	}
	c, ok, err := s.config(cmp.Or(record.Active, want.Active))
	if err == nil && !ok {
		err = fmt.Errorf("deployment %s has no front yet", want.Name)
	}
	return keycloak.Config{URL: "http://" + c.Listen.Inside + c.Base, ClientID: controllerClient, ClientSecret: a.Secret}, err
}
