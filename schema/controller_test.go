package schema

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const controllerHead = "apiVersion: cloakwork.dev/v1alpha1\nkind: Controller\n"

// controller reads a configuration that goes on with text.
func controller(text string) (Controller, []string) {
	c, problems := LoadController(fstest.MapFS{"c.yaml": {Data: []byte(controllerHead + text)}}, "c.yaml")
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return c, lines
}

const wholeController = `
state: /var/lib/cloakwork
metrics: {address: 127.0.0.1:9464}
restore: {recipients: [age14sufva05urhw4xzkecntjpthyvudt9pld3p2awrrvzdxlltu794s89wlrl], keep: 90d}
servers:
  eu:
    url: https://id.acme.example
    ca: tls/ca.pem
    user: cloakwork
    password: {file: secrets/eu}
    patience: 30s
sources:
  iam:
    repository: https://git.acme.example/iam/realms
    branch: main
    path: ./prod/
    interval: 1m
    git: {user: robot, token: {env: GIT}}
    forge: {kind: gitlab}
    secrets: secrets/iam
    allow: {kinds: [Realm], servers: [eu], realms: ["acme-*"], variables: ["PORTAL_*"]}
  servers:
    repository: git@git.acme.example:iam/servers.git
destinations:
  vault: {folder: /srv/backup, location: eu-west, provider: acme}
  far: {s3: {bucket: b, accessKey: {env: A}, secretKey: {file: s}}, location: eu-south, provider: cloud}
platforms:
  local: {user: keycloak, distributions: {folder: /srv/keycloak}}
`

func TestTheControllersConfigurationIsRead(t *testing.T) {
	c, problems := controller(wholeController)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got, want := c.Servers["eu"], (Server{URL: "https://id.acme.example", CA: "tls/ca.pem", User: "cloakwork", Password: Credential{File: "secrets/eu"}, Patience: Duration(30 * time.Second)}); got != want {
		t.Errorf("server %+v, want %+v", got, want)
	}
	s := c.Sources["iam"]
	if s.Path != "prod" || s.Interval != Duration(time.Minute) || s.Schedule != "*/5 * * * *" || s.StatusPrefix != "cloakwork" || s.Git.Token.Env != "GIT" || s.Origin.String() != "c.yaml:15:3" {
		t.Errorf("source %+v", s)
	}
	if c.Destinations["far"].S3.SecretKey.File != "s" || c.Platforms.Local.Distributions.Folder != "/srv/keycloak" || c.Metrics.Address != "127.0.0.1:9464" ||
		len(c.Restore.Recipients) != 1 || c.Restore.Keep != Duration(90*24*time.Hour) {
		t.Errorf("%+v", c)
	}
}

func TestTheControllersConfigurationSaysWhatIsWrongWithIt(t *testing.T) {
	const source = "sources: {a: {repository: /srv/a}}\n"
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "c.yaml:1:1: sources is missing: it names the repositories; write sources: {NAME: {repository: URL}}"},
		{"unknown field", source + "servrs: {}\n", "c.yaml:4:1: servrs is not a field of the controller's configuration; did you mean servers?"},
		{"unknown below", "sources: {a: {repository: /srv/a, brnch: main}}\n", "c.yaml:3:35: sources.a.brnch is not a field; did you mean branch?"},
		{"a manifest's field", source + "realm: {}\n", "c.yaml:4:1: realm is not a field of the controller's configuration"},
		{"type", source + "servers: {eu: {url: https://a, user: u, password: {env: P}, inFlight: many}}\n", `c.yaml:4:71: servers.eu.inFlight: "many" is not an int; write a whole number`},
		{"bound", source + "servers: {eu: {url: https://a, user: u, password: {env: P}, inFlight: 0}}\n", "c.yaml:4:71: servers.eu.inFlight: 0 is not allowed: it must be >=1"},
		{"choice", "sources: {a: {repository: /srv/a, forge: {kind: githb}}}\n", `c.yaml:3:49: sources.a.forge.kind: "githb" is not one of none, auto, gitea, github, gitlab; did you mean github?`},
		{"kind", "sources: {a: {repository: /srv/a, allow: {kinds: [Realms]}}}\n", `c.yaml:3:51: sources.a.allow.kinds[0]: "Realms" is not one of Realm, Deployment; did you mean Realm?`},
		{"twice", source + "state: a\nstate: b\n", "c.yaml:5:1: state stands here twice, first at c.yaml:4:1; keep one"},
		{"two documents", source + "---\na: b\n", "c.yaml:5:1: the controller's configuration is one document; keep one"},
		{"inline secret", source + "servers: {eu: {url: https://a, user: u, password: hunter2hunter2}}\n",
			"c.yaml:4:11: servers.eu has a user and no password; write password: {file: PATH} or {env: NAME}\nc.yaml:4:41: servers.eu.password: a secret isn't written here; name where it is found: {file: PATH} or {env: NAME}"},
		{"secret in a URL", source + "servers: {eu: {url: \"https://u:hunter2hunter2@a\", user: u, password: {env: P}}}\n", "c.yaml:4:16: servers.eu.url holds credentials; give them apart"},
		{"secret in a repository", "sources: {a: {repository: \"https://u:hunter2hunter2@a/b\"}}\n", "c.yaml:3:15: sources.a.repository holds credentials; give them as git.user and git.token"},
		{"two places", "sources: {a: {repository: /srv/a, git: {token: {env: A, file: b}}}}\n", "c.yaml:3:41: sources.a.git.token names neither a file nor a variable; name where it is found: {file: PATH} or {env: NAME}"},
		{"no such place", "sources: {a: {repository: /srv/a, git: {token: {enf: A}}}}\n", "c.yaml:3:41: sources.a.git.token names neither a file nor a variable; name where it is found: {file: PATH} or {env: NAME}"},
		{"substituted", "state: $(env:STATE)\n" + source, "c.yaml:3:8: state can't come from $(…); write it out"},
		{"substituted secret", "sources: {a: {repository: /srv/a, git: {token: $(env:T)}}}\n", "c.yaml:3:48: sources.a.git.token can't come from $(…); name where it is found: {file: PATH} or {env: NAME}"},
		{"no credentials", source + "servers: {eu: {url: https://a}}\n", "c.yaml:4:11: servers.eu has no credentials; write user and password, or clientId and clientSecret"},
		{"name", "sources: {A_b: {repository: /srv/a}}\n", `c.yaml:3:11: sources.A_b: "A_b" is no name; write small letters, digits and dashes`},
		{"path", "sources: {a: {repository: /srv/a, path: ../b}}\n", "c.yaml:3:35: sources.a.path leads out of the repository; name a folder within the repository"},
		{"pattern", "sources: {a: {repository: /srv/a, allow: {realms: [\"[\"]}}}\n", `c.yaml:3:52: sources.a.allow.realms: "[" is not a pattern; write one such as acme-*`},
		{"server", "sources: {a: {repository: /srv/a, server: eu}}\n", `c.yaml:3:35: sources.a.server: "eu" is not one of the servers`},
		{"one source twice", "sources:\n  a: {repository: /srv/a, allow: {kinds: [Realm]}}\n  b: {repository: /srv/a, path: ., allow: {kinds: [Realm]}}\n", "c.yaml:5:3: sources.b is what sources.a is, at c.yaml:4:3; keep one"},
		{"one deployment twice", "sources:\n  a: {repository: /srv/a, allow: {deployments: [eu]}}\n  b: {repository: /srv/b, allow: {deployments: [e*, us]}}\n",
			"c.yaml:5:35: sources.b and sources.a may both declare deployment eu; give each source its own, by name, in allow.deployments; or Realm alone in allow.kinds"},
		{"destination", source + "destinations: {v: {folder: /a, s3: {bucket: b}, location: x, provider: y}}\n", "c.yaml:4:16: destinations.v is neither one folder nor one bucket; write folder or s3"},
		{"destination nowhere", source + "destinations: {v: {folder: /a, provider: y}}\n", "c.yaml:4:16: destinations.v.location is missing; write it: rules about where data may be are held against it"},
		{"distributions", source + "platforms: {local: {distributions: {folder: /a, url: https://b}}}\n", "c.yaml:4:21: platforms.local.distributions: folder, url and maven are alternatives; keep one"},
		{"recipient", source + "restore: {recipients: [age1nobody]}\n", "c.yaml:4:11: restore.recipients[0] is no age recipient; write what age-keygen calls the public key, age1…"},
		{"metrics", source + "metrics: {address: here}\n", `c.yaml:4:11: metrics.address: "here" is no address; write host:port, such as 127.0.0.1:9464`},
		{"syntax", "a: [\n", "c.yaml:3: did not find expected node content; look for a bracket or quotation mark that isn't closed"},
	} {
		_, got := controller(c.text)
		if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if strings.Contains(strings.Join(got, ""), "hunter2") {
			t.Errorf("%s: shows the secret: %s", c.name, got)
		}
	}
	if _, problems := LoadController(fstest.MapFS{"c.yaml": {Data: []byte("kind: Realm\n")}}, "c.yaml"); len(problems) != 3 {
		t.Errorf("a manifest: %v", problems)
	}
}

func TestASourceDeclaresWhatItMay(t *testing.T) {
	c, problems := controller(`
servers:
  eu: {url: https://eu, user: u, password: {env: P}}
  us: {url: https://us, user: u, password: {env: P}}
sources:
  all: {repository: /srv/a, allow: {deployments: [all, near, eu]}}
  few: {repository: /srv/b, allow: {kinds: [Realm], servers: [eu], realms: [acme-*]}}
  some:
    repository: /srv/c
    allow: {deployments: [far]}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	tree := fstest.MapFS{}
	for name, text := range map[string]string{
		"a.yaml": "kind: Realm\nmetadata: {name: acme-web}\nspec: {server: eu, realm: {}}",
		"b.yaml": "kind: Realm\nmetadata: {name: acme-web}\nspec: {server: us, realm: {}}",
		"c.yaml": "kind: Realm\nmetadata: {name: master}\nspec: {server: eu, realm: {}}",
		"d.yaml": "kind: Realm\nmetadata: {name: acme-web}\nspec: {server: er, realm: {}}",
		"e.yaml": "kind: Deployment\nmetadata: {name: near}\nspec: {platform: local, version: 26.7.3}",
		"f.yaml": "kind: Realm\nmetadata: {name: acme-web}\nspec: {deployment: near, realm: {}}",
		"g.yaml": "kind: Deployment\nmetadata: {name: eu}\nspec: {platform: local, version: 26.7.3}",
	} {
		tree[name] = &fstest.MapFile{Data: []byte("apiVersion: cloakwork.dev/v1alpha1\n" + text + "\n")}
	}
	for source, want := range map[string]string{
		"all": `d.yaml:3:18: realm er/acme-web: the controller's configuration has no server er; did you mean eu?
g.yaml:3:18: deployment eu: a server of the controller's configuration has that name; give it another name`,
		"few": `b.yaml:3:18: realm us/acme-web: source few may not declare realms of server us; allow.servers at c.yaml:9:53 says what it may
c.yaml:3:18: realm eu/master: source few may not declare realm master; allow.realms at c.yaml:9:68 says what it may
d.yaml:3:18: realm er/acme-web: the controller's configuration has no server er; did you mean eu?
e.yaml:3:18: deployment near: source few may not declare deployments; allow.kinds at c.yaml:9:37 says what it may
g.yaml:3:18: deployment eu: source few may not declare deployments; allow.kinds at c.yaml:9:37 says what it may`,
		"some": `d.yaml:3:18: realm er/acme-web: the controller's configuration has no server er; did you mean eu?
e.yaml:3:18: deployment near: source some may not declare deployment near; allow.deployments at c.yaml:12:13 says what it may
g.yaml:3:18: deployment eu: source some may not declare deployment eu; allow.deployments at c.yaml:12:13 says what it may`,
	} {
		d := c.Permit(source, Load(tree, Options{}))
		var got []string
		for _, p := range d.Problems {
			got = append(got, p.String())
			if p.Realm == nil && p.Deployment == "" {
				t.Errorf("%s: %s blocks all that the source declares", source, p)
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}
