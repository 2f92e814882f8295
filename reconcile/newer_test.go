package reconcile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/schema"
)

// newer makes the server one that knows fields of flows, executions and configurations which no version has: they are kept
// on the way. The names of the fields begin with "later".
func (w *world) newer() *keycloaktest.Proxy {
	w.t.Helper()
	p := keycloaktest.NewProxy(w.t, w.server.URL)
	var mu sync.Mutex
	kept := map[string]map[string]any{} // by the id of an execution, and the alias of anything else
	p.Intercept(func(r *http.Request) *http.Response {
		if !strings.Contains(r.URL.Path, "/authentication/") {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		executions := path.Base(r.URL.Path) == "executions"
		key := func(o map[string]any) string {
			if executions {
				return textOf(o["id"])
			}
			return textOf(o["alias"])
		}
		if r.Method == http.MethodGet {
			return w.changed(r, func(_ *http.Request, body []byte) []byte {
				var v any
				if json.Unmarshal(body, &v) != nil {
					return body
				}
				objects, isList := v.([]any)
				if !isList {
					objects = []any{v}
				}
				for _, o := range objects {
					maps.Copy(o.(map[string]any), kept[key(o.(map[string]any))])
				}
				b, _ := json.Marshal(v)
				return b
			})
		}
		var fields map[string]any
		if body(r) == "" || json.Unmarshal([]byte(body(r)), &fields) != nil {
			return nil
		}
		for name, v := range fields {
			if strings.HasPrefix(name, "later") {
				if kept[key(fields)] == nil {
					kept[key(fields)] = map[string]any{}
				}
				kept[key(fields)][name] = v
				delete(fields, name)
			}
		}
		b, _ := json.Marshal(fields)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		return nil
	})
	w.url = p.URL
	w.connect()
	return p
}

func textOf(v any) string { s, _ := v.(string); return s }

func TestFieldsThatOnlyANewerServerKnowsAreWrittenIntoFlows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.newer()
	run := func(manifest string) drift.Report {
		t.Helper()
		tree := fstest.MapFS{"acme.yaml": {Data: []byte(strings.ReplaceAll(realm(manifest), "REALM", w.name))}}
		report, err := w.whole(reconcile.Apply, schema.Load(tree, schema.Options{Server: "eu", Version: "26.8.1"}), "26.8.1").Run(context.Background())
		if err != nil {
			t.Fatalf("%v\n%s", err, text(report))
		}
		return report
	}
	settled := func(manifest, changes string, writes int) {
		t.Helper()
		before := p.Writes()
		got := strings.Split(ops(run(manifest)), "\n")
		slices.Sort(got)
		if strings.Join(got, "; ") != changes || p.Writes()-before != writes {
			t.Errorf("changes %q with %d writes, want %q with %d", got, p.Writes()-before, changes, writes)
		}
		before = p.Writes()
		if second := run(manifest); len(second.Changes) > 0 || p.Writes() != before {
			t.Errorf("then there is\n%s", text(second))
		}
	}
	const manifest = `    authenticationFlows:
      - alias: top
        providerId: basic-flow
        topLevel: true
        laterTone: calm
        authenticationExecutions:
          - {authenticator: auth-cookie, requirement: ALTERNATIVE, laterPatience: 3}
          - {authenticator: identity-provider-redirector, requirement: ALTERNATIVE, authenticatorConfig: to hub}
          - {flowAlias: top forms, requirement: ALTERNATIVE, laterPatience: 4}
      - alias: top forms
        providerId: basic-flow
        topLevel: false
        laterTone: loud
        authenticationExecutions: [{authenticator: auth-username-password-form, requirement: REQUIRED}]
    authenticatorConfig: [{alias: to hub, laterMood: {good: true}, config: {defaultProvider: hub}}]
`
	run("")
	settled(manifest, "create authenticationFlows/top; create authenticationFlows/top%20forms; create authenticatorConfig/to%20hub", 12)
	settled(strings.NewReplacer("laterPatience: 3", "laterPatience: 5", "good", "bad", "loud", "still").Replace(manifest),
		"update authenticationFlows/top authenticationExecutions.auth-cookie.laterPatience; update authenticationFlows/top%20forms laterTone; update authenticatorConfig/to%20hub laterMood.bad", 4)
	settled(strings.NewReplacer("laterPatience: 4", "laterPatience: [4]").Replace(manifest),
		"update authenticationFlows/top authenticationExecutions.auth-cookie.laterPatience,authenticationExecutions.flow:top forms.laterPatience; update authenticationFlows/top%20forms laterTone", 4)
}
