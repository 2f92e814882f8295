package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes files below the person's folder.
func (p *person) write(files map[string]string) {
	p.t.Helper()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o700); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// unpacked is what a bundle holds, by name.
func unpacked(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle is %v, %v", info.Mode(), err)
	}
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(packed); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
}

func TestABundleHoldsNoSecret(t *testing.T) {
	secret := map[string]string{}
	for _, name := range []string{"server", "git", "key", "folder", "json", "variable", "account", "node", "line", "bearer", "url", "cookie", "code", "destination", "unrelated", "release", "named", "collector", "told"} {
		secret[name] = "hUsh-" + name + "-7d41c0ffee"
	}
	jwt := "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJodXNoIn0" + ".c2lnbmF0dXJlLWh1c2g"
	age := "AGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQQPZRY9X8GF2TVDW0S"
	pem := "-----BEGIN PRIVATE KEY-----\nbWF0ZXJpYWwtaHVzaA==\n-----END PRIVATE KEY-----"

	p := newPerson(t)
	p.declares("version: 26.7.2, instances: 2, env: [{name: FLAG, value: $(env:PORTAL_SECRET)}]")
	t.Setenv("EU_PASSWORD", secret["server"])
	t.Setenv("PORTAL_SECRET", secret["variable"])
	t.Setenv("SOME_TOKEN", secret["unrelated"])
	t.Setenv("SOPS_AGE_KEY", age)
	p.write(map[string]string{
		"cloakwork.yaml": `apiVersion: cloakwork.dev/v1alpha1
kind: Controller
state: state
servers: {kc: {url: http://127.0.0.1:1, user: admin, password: {env: EU_PASSWORD}}}
sources:
  iam:
    repository: ` + p.path("work") + `
    git: {token: {file: git-token}}
    fingerprints: {file: key}
    secrets: secrets
    allow: {variables: ["PORTAL_*"]}
destinations:
  far: {location: a, provider: b, s3: {bucket: c, accessKey: {file: destination}, secretKey: {file: destination}}}
collectors: {watch: {otlp: "https://otel.acme.example", headers: {X-Tenant: {file: collector}}, location: a}}
platforms: {local: {folder: local}}
`,
		"collector": secret["collector"], "local/eu/regions/eu/plane/telemetry/watch.json": `{"otlp": "https://otel.acme.example", "headers": {"X-Tenant": "` + secret["told"] + `"}}`,
		"git-token": secret["git"] + "\n", "key": secret["key"] + secret["key"] + secret["key"], "destination": secret["destination"], "secrets/portal": secret["folder"] + "\n",
		"secrets/many.json":                           `{"a": ["` + secret["json"] + `"]}`,
		"local/eu/account.json":                       `{"secret": "` + secret["account"] + `"}`,
		"local/eu/releases/r/release.json":            `{"spec": {"hidden": ["` + secret["release"] + `"], "env": [{"name": "SMTP_PASSWORD", "value": "` + secret["named"] + `"}]}}`,
		"local/eu/regions/eu/plane/nodes/eu-0/r.json": `{"argv": ["java"], "env": ["KC_DB_PASSWORD=` + secret["node"] + `"]}`,
		"local/eu/regions/eu/plane/log/eu-0.log": strings.Join([]string{
			"INFO  started in 3 s, and this line is worth reading",
			"WARN  login of admin with " + secret["server"] + " refused; git says " + secret["git"] + ", fingerprints by " + secret["key"] + secret["key"] + secret["key"],
			"DEBUG " + secret["folder"] + " " + secret["json"] + " " + secret["variable"] + " " + secret["account"] + " " + secret["node"] + " " + secret["destination"] + " " + secret["unrelated"] + " " + secret["release"] + " " + secret["named"] + " " + secret["collector"] + " " + secret["told"] + " " + age,
			`DEBUG {"client_secret": "` + secret["line"] + `", "user": "ada"}`,
			"DEBUG Authorization: Bearer " + secret["bearer"], "DEBUG token " + jwt,
			"DEBUG jdbc:postgresql://keycloak:" + secret["url"] + "@127.0.0.1/keycloak", "DEBUG Cookie: " + secret["cookie"],
			"DEBUG GET /callback?state=x&code=" + secret["code"] + "&iss=y", pem, "INFO  stopped",
		}, "\n") + "\n",
		"local/eu/regions/eu/plane/tls/front.key": pem,
	})
	p.memory.Fails = nil
	for range 12 {
		if out, errs, _ := p.types("run", "--once", "--config", p.path("cloakwork.yaml")); strings.Contains(errs, "begin with") {
			t.Fatal(out + errs)
		}
	}
	out, errs, code := p.types("diagnose", "--config", p.path("cloakwork.yaml"), "--out", p.path("bundle.tar.gz"))
	if code != 0 || !strings.HasPrefix(out, p.path("bundle.tar.gz")+": ") {
		t.Fatalf("ends with %d: %s%s", code, out, errs)
	}
	files := unpacked(t, p.path("bundle.tar.gz"))
	for name, holds := range map[string]string{
		"README.txt": "metrics and goroutines of the controller of source iam: it serves none", "version.txt": "for Keycloak 26.4", "environment.txt": "SOPS_AGE_KEY\n",
		"configuration.json": `"env": "EU_PASSWORD"`, "status.txt": "deployment eu RUNNING", "status.json": `"lifecycle": "RUNNING"`, "sources/iam.json": `"source": "iam"`,
		"logs/eu/regions/eu/plane/log/eu-0.log": "this line is worth reading",
	} {
		if text, ok := files["cloakwork/"+name]; !ok || !strings.Contains(text, holds) {
			t.Errorf("%s doesn't hold %q:\n%s", name, holds, text)
		}
	}
	if log := files["cloakwork/logs/eu/regions/eu/plane/log/eu-0.log"]; !strings.Contains(log, `"user": "ada"`) || !strings.HasSuffix(log, "INFO  stopped\n") {
		t.Errorf("too much is left out:\n%s", log)
	}
	var secrets []string
	for _, s := range secret {
		secrets = append(secrets, s)
	}
	secrets = append(secrets, jwt, strings.Split(jwt, ".")[2], age, "bWF0ZXJpYWwtaHVzaA==")
	slices.Sort(secrets)
	for name, text := range files {
		for _, s := range secrets {
			for _, form := range spellings(s) {
				if strings.Contains(text, form) {
					t.Errorf("%s holds %s, as %s:\n%s", name, s, form, text)
				}
			}
		}
	}

	if _, errs, code := p.types("diagnose", "--config", p.path("cloakwork.yaml"), "--out", p.path("bundle.tar.gz")); code != 1 || !strings.Contains(errs, "is there already") {
		t.Errorf("a second time: ends with %d: %s", code, errs)
	}
}
