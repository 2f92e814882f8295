package schema

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const small = "apiVersion: cloakwork.dev/v1alpha1\nkind: Deployment\nmetadata: {name: eu}\nspec:\n  platform: local\n  version: 26.7.3\n"

// deployment loads one manifest whose spec goes on with text.
func deployment(t *testing.T, files fstest.MapFS, text string) Deployment {
	t.Helper()
	tree := fstest.MapFS{"eu.yaml": {Data: []byte(small + text)}}
	for name, f := range files {
		tree[name] = f
	}
	d := Load(tree, Options{Env: func(name string) (string, bool) { return "value of " + name, true }})
	if len(d.Problems) > 0 || d.Deployments["eu"] == nil {
		t.Fatalf("%s: %v", text, d.Problems)
	}
	return *d.Deployments["eu"]
}

func TestARevisionIsAnotherWhereANodeMustStartAnew(t *testing.T) {
	files := func(content string) fstest.MapFS {
		return fstest.MapFS{"f": {Data: []byte(content)}, "g": {Data: []byte(content)}}
	}
	seen := map[string]string{}
	for _, text := range []string{
		"", "  env: [{name: A, value: \"1\"}]\n", "  env: [{name: A, value: \"2\"}]\n", "  env: [{name: A, value: $(env:A)}]\n", "  env: [{name: A, value: $(env:B)}]\n",
		"  additionalOptions: [{name: A, value: \"1\"}]\n", "  features: {enabled: [scripts]}\n", "  cache: {configFile: f}\n", "  truststores: {a: {file: f}}\n",
		"  truststores: {b: {file: f}}\n", "  resources: {limits: {memory: 1Gi}}\n", "  hostname: {hostname: id.acme.example}\n", "  proxy: {headers: xforwarded}\n",
		"  http: {httpPort: 9000}\n", "  db: {host: a}\n", "  db: {host: a, passwordSecret: $(env:P)}\n", "  db: {host: a, passwordSecret: $(env:Q)}\n", "  scheduling: {x: y}\n",
	} {
		d := deployment(t, files("one"), text)
		if before, ok := seen[d.Revision]; ok {
			t.Errorf("%q has the revision of %q", text, before)
		}
		seen[d.Revision] = text
		if again := deployment(t, files("one"), text); again.Revision != d.Revision {
			t.Errorf("%q: %s, then %s", text, d.Revision, again.Revision)
		}
		if len(d.Sums) > 0 && deployment(t, files("two"), text).Revision == d.Revision {
			t.Errorf("%q: another content of the file is the same revision", text)
		}
	}
	plain := deployment(t, nil, "").Revision
	for _, text := range []string{
		"  instances: 5\n", "  regions: [{name: paris}, {name: milan}]\n  active: milan\n", "  network: {login: [{allow: 0.0.0.0/0}]}\n", "  update: {onFailure: rollback}\n",
		"  tls: {certificate: f, key: $(env:K)}\n", "  limits: {nodes-down: 2}\n", "  drift: report\n", "  db: {replication: asynchronous}\n", "  standby: cold\n",
	} {
		if d := deployment(t, files("one"), text); d.Revision != plain {
			t.Errorf("%q starts nodes anew", text)
		}
	}
}

func TestADeploymentHoldsItsDefaults(t *testing.T) {
	d := deployment(t, nil, "")
	got := fmt.Sprintln(d.Instances, d.Regions, d.Active, d.Standby, d.Failover, d.DB.Replication, d.DB.WhenStandbyLost, d.Update, d.Limits, d.Drift, d.Slots("eu"))
	if want := "1 [{eu []   }] eu warm {manual 30s} synchronous wait {Auto  hold []} {1} correct [eu-0]\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestDurationsKnowDays(t *testing.T) {
	d := deployment(t, nil, "  failover: {after: 1.5d}\n  update: {windows: [{schedule: \"0 2 * * *\", duration: 1d2h}]}\n")
	if got := time.Duration(d.Failover.After); got != 36*time.Hour {
		t.Errorf("1.5d is %s", got)
	}
	if got := time.Duration(d.Update.Windows[0].Duration); got != 26*time.Hour {
		t.Errorf("1d2h is %s", got)
	}
}

func TestNoProblemOfADeploymentShowsWhatCameFromOutside(t *testing.T) {
	text := small + "  env: [{name: $(env:NAME), value: x}]\n  schedule: $(env:SCHEDULE)\n  update: {windows: [{schedule: $(env:WINDOW), duration: 1h}]}\n  network: {login: [{allow: $(env:NET)}]}\n" +
		"  regions: [{name: a, address: $(env:ADDRESS)}, {name: $(env:REGION)}]\n  active: $(env:ACTIVE)\n  residency: [$(env:RESIDENCY)]\n  cache: {configFile: $(env:FILE)}\n  backups: [{to: $(env:TO), schedule: $(env:BACKUP), class: $(env:CLASS), encrypt: $(env:KEY)}]\n"
	d := Load(fstest.MapFS{"eu.yaml": {Data: []byte(text)}}, Options{Env: func(string) (string, bool) { return "hidden", true }})
	if len(d.Problems) < 5 {
		t.Errorf("only %d problems: %v", len(d.Problems), d.Problems)
	}
	for _, p := range d.Problems {
		if strings.Contains(p.String(), "hidden") {
			t.Errorf("shows it: %s", p)
		}
	}
}
