package reconcile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/schema"
)

const (
	acme     = "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {server: eu, realm: {displayName: Acme}}\n"
	shop     = "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: shop}\nspec: {server: eu, realm: {displayName: Shop}}\n"
	badAcme  = "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {server: eu, realm: {displayName: [Acme]}}\n"
	homeless = "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {realm: {displayName: Acme}}\n"
	junk     = "spec: [\n"
	gone     = ""
	cluster  = "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: us}\nspec: {platfrom: local}\n"
)

// look is commits that are pushed before the controller looks, and what is in force then: each realm, with the number of
// the commit that declares it, and a ! where the head's own declaration is held back.
type look struct {
	commits []files
	restart bool
	orphan  bool // the commits begin a new history
	want    string
}

// files are what one commit writes, or removes where there is no text.
type files map[string]string

func TestTheNewestGoodDeclarationOfEachRealmIsInForce(t *testing.T) {
	both := files{"acme.yaml": acme, "shop.yaml": shop}
	for name, steps := range map[string][]look{
		"a problem holds its realm only": {
			{commits: []files{both}, want: "acme@1 shop@1"},
			{commits: []files{{"acme.yaml": badAcme}}, want: "acme@1! shop@2"},
			{restart: true, want: "acme@1! shop@2"},
			{commits: []files{{"README.md": "x"}}, want: "acme@1! shop@3"},
			{commits: []files{{"acme.yaml": acme}}, want: "acme@4 shop@4"},
		},
		"an unreadable file holds all, and hides none": {
			{commits: []files{both, {"shop.yaml": junk}}, want: "acme@1! shop@1!"},
			{commits: []files{{"README.md": "x"}}, want: "acme@1! shop@1!"},
			{restart: true, want: "acme@1! shop@1!"},
			{commits: []files{{"shop.yaml": gone}}, want: "acme@4"},
		},
		"good commits that nobody saw count": {
			{commits: []files{{"acme.yaml": acme}}, want: "acme@1"},
			{commits: []files{{"shop.yaml": shop}, {"shop.yaml": junk}}, want: "acme@2! shop@2!"},
			{restart: true, want: "acme@2! shop@2!"},
		},
		"a realm that was dropped before stays dropped": {
			{commits: []files{both, {"shop.yaml": gone}, {"acme.yaml": junk}}, want: "acme@2!"},
		},
		"a realm dropped together with a problem elsewhere is forgotten": {
			{commits: []files{both}, want: "acme@1 shop@1"},
			{commits: []files{{"acme.yaml": badAcme, "shop.yaml": gone}}, want: "acme@1!"},
		},
		"a realm that was never good is in nobody's force": {
			{commits: []files{{"acme.yaml": badAcme, "shop.yaml": shop}}, want: "acme! shop@1"},
			{commits: []files{{"acme.yaml": acme}}, want: "acme@2 shop@2"},
		},
		"a realm that lost its server might be any": {
			{commits: []files{both}, want: "acme@1 shop@1"},
			{commits: []files{{"acme.yaml": homeless}}, want: "acme@1! shop@1!"},
			{restart: true, want: "acme@1! shop@1!"},
		},
		"a deployment's problem holds no realm of other servers": {
			{commits: []files{both, {"us.yaml": cluster}}, want: "acme@2 shop@2"},
			{commits: []files{{"shop.yaml": gone}}, want: "acme@3"},
		},
		"a bad commit without a past leaves in force what was": {
			{commits: []files{both}, want: "acme@1 shop@1"},
			{commits: []files{{"acme.yaml": badAcme}}, orphan: true, want: "acme@1! shop@2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			follow(t, steps)
		})
	}
}

// follow pushes and looks, step by step. No server is reached, so that each pass only tells what it was about to do.
func follow(t *testing.T, steps []look) {
	s := &source{world: &world{t: t, name: "acme"}, other: "shop"}
	s.repository()
	var mu sync.Mutex
	numbers, at, held := map[string]int{}, map[string]string{}, map[string]string{}
	start := func() *process {
		p := s.start()
		p.Post, p.Read = nil, nil
		p.Load = func(tree fs.FS) schema.Declared { return schema.Load(tree, schema.Options{}) }
		p.Connect = func(string) (*keycloak.Client, reconcile.Account, error) {
			return nil, reconcile.Account{}, errors.New("no connection")
		}
		p.Told = func(r drift.Report) {
			mu.Lock()
			defer mu.Unlock()
			if r.Server != "eu" {
				t.Errorf("told of server %q", r.Server)
			}
			if r.Verdict == drift.Blocked {
				held[r.Realm] = "!"
			} else {
				at[r.Realm] = fmt.Sprintf("@%d", numbers[r.Commit])
			}
		}
		return p
	}
	p := start()
	for i, step := range steps {
		if step.restart {
			p = start()
		}
		if step.orphan {
			s.orphan()
		}
		for _, files := range step.commits {
			numbers[s.pushAll(files)] = len(numbers) + 1
		}
		clear(at)
		clear(held)
		p.once()
		var force []string
		for _, realm := range []string{"acme", "shop"} {
			if at[realm]+held[realm] != "" {
				force = append(force, realm+at[realm]+held[realm])
			}
		}
		if got := strings.Join(force, " "); got != step.want {
			t.Errorf("step %d: in force is %q, want %q", i+1, got, step.want)
		}
	}
}
