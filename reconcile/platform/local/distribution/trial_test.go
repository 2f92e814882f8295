package distribution

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

func TestWhatCantStartIsRefusedWithItsCauseAndWithoutSecrets(t *testing.T) {
	s := Store{Log: t.Output()}
	thrower := packed(t, "thrower.jar", compiled(t, entries{"Thrower.java": listener("Thrower", factory,
		`if (true) throw new IllegalStateException("no answer to " + System.getenv("AUDIT_TOKEN"));`)}), entries{services: "acme.Thrower"})
	for _, c := range []struct {
		name, want string
		spec       Spec
	}{
		{"an extension that throws", "try Keycloak " + Newest + ": it ended while it started, with exit status 1: java.lang.IllegalStateException: no answer to … at acme.Thrower.init(Thrower.java:10)",
			Spec{Extensions: []Jar{thrower}, Env: []string{"AUDIT_TOKEN=hush-hush"}, Hidden: []string{"hush-hush"}}},
		{"an option that nobody knows", "try Keycloak " + Newest + ": Unknown option: '--log-lvl'",
			Spec{Extensions: []Jar{audit(t)}, Options: map[string]string{"log-lvl": "debug"}}},
		{"a feature that nobody knows", "try Keycloak " + Newest + ": build Keycloak " + Newest + ": kc.sh build: 'juggling' is an unrecognized feature, ",
			Spec{Build: map[string]string{"features": "juggling"}}},
	} {
		c.spec.Version = Newest
		err := s.Try(t.Context(), c.spec)
		refused := new(Refused)
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Why, c.want) || refused.Log == "" {
			t.Errorf("%s: the error is %v", c.name, err)
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error holds a secret: %v", c.name, err)
		}
	}
	// What couldn't be built isn't there.
	cache, err := s.dir()
	if err != nil {
		t.Fatal(err)
	}
	key, err := Spec{Version: Newest, Build: map[string]string{"db": "dev-mem", "health-enabled": "true", "features": "juggling"}}.key()
	if failed := filepath.Join(cache, "keycloak-"+Newest+"-"+key); err != nil || exists(failed) {
		t.Errorf("%s is there, %v", failed, err)
	}
}

func TestADeclarationIsRefusedAsAWhole(t *testing.T) {
	jar := audit(t)
	files := fstest.MapFS{
		"audit.jar": {Data: jar.Content}, "page.jar": {Data: []byte("<html>")}, "corp.pem": {Data: []byte("no certificate")}, "cache.xml": {Data: []byte("<infinispan>")},
	}
	wrong := strings.Repeat("0", 64)
	_, _, err := Store{Log: t.Output()}.Read(t.Context(), schema.Deployment{Version: Newest, Files: files,
		AdditionalOptions: []schema.Variable{{Name: "config-file", Value: "/etc/passwd"}, {Name: "https-key-store-password", Secret: schema.Secret{Name: "keys"}}},
		Env:               []schema.Variable{{Name: "KCRAW_DB_PASSWORD", Value: "x"}, {Name: "KC_CONFIG_FILE", Value: "x"}, {Name: "JAVA_HOME", Value: "x"}, {Name: "JAVA_OPTS_APPEND", Value: "-Dx=hush", Input: true}},
		Extensions:        []schema.Extension{{Name: "audit", Path: "audit.jar", SHA256: wrong}, {Path: "gone.jar", SHA256: wrong}},
		Truststores:       map[string]schema.Truststore{"corp": {File: "corp.pem"}},
		Cache:             schema.Cache{ConfigFile: "cache.xml"},
		Resources:         schema.Resources{Limits: map[string]string{"memory": "256Mi"}},
	})
	want := strings.Join([]string{
		"additionalOptions: config-file would replace the configuration that cloakwork writes",
		"additionalOptions: https-key-store-password: platform local keeps no secrets by name; write $(file:…) or $(env:…)",
		"env: KCRAW_DB_PASSWORD would replace the configuration that cloakwork writes",
		"env: KC_CONFIG_FILE would replace the configuration that cloakwork writes",
		"env: JAVA_HOME: cloakwork finds the Java that this Keycloak needs",
		"env: JAVA_OPTS_APPEND comes from $(…), and would stand in the arguments of java, for all to see",
		"truststores: corp: corp.pem holds neither certificates in PEM nor PKCS #12",
		"cache: cache.xml: XML syntax error on line 1: unexpected EOF",
		"resources.limits.memory: 256 MiB are too few: Keycloak takes 448 MiB at least",
		"extension audit: audit.jar has the SHA-256 sum " + jar.SHA256 + ", declared is " + wrong,
		"extension gone.jar: open gone.jar: file does not exist",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("the error differs: %s", cmp.Diff(want, err.Error()))
	}
}

func TestADeclarationIsTakenOver(t *testing.T) {
	const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	spec, told, err := Store{Log: t.Output()}.Read(t.Context(), schema.Deployment{Version: Newest,
		Files: fstest.MapFS{"corp.pem": {Data: []byte(pem)}, "cache.xml": {Data: []byte("<infinispan/>")}},
		AdditionalOptions: []schema.Variable{{Name: "log-level", Value: "info"}, {Name: "metrics-enabled", Value: "true"}, {Name: "spi-theme--provider", Value: "x"},
			{Name: "https-key-store-password", Value: "hush", Input: true}},
		Env:         []schema.Variable{{Name: "KC_HTTP_RELATIVE_PATH", Value: "/auth"}, {Name: "KC_LOG_LEVEL_ORG_ACME", Value: "debug"}, {Name: "TOKEN", Value: "secret", Input: true}},
		Features:    schema.Features{Enabled: []string{"scripts", "docker"}, Disabled: []string{"ciba"}},
		Truststores: map[string]schema.Truststore{"corp": {File: "corp.pem"}},
		Cache:       schema.Cache{ConfigFile: "cache.xml"},
		Resources:   schema.Resources{Limits: map[string]string{"memory": "1Gi"}},
		Update:      schema.Update{Strategy: "Auto"},
	})
	want := Spec{
		Version:     Newest,
		Build:       map[string]string{"metrics-enabled": "true", "spi-theme--provider": "x", "http-relative-path": "/auth", "features": "scripts,docker", "features-disabled": "ciba"},
		Options:     map[string]string{"log-level": "info"},
		Secrets:     map[string]string{"https-key-store-password": "hush"},
		Env:         []string{"KC_LOG_LEVEL_ORG_ACME=debug", "TOKEN=secret"},
		Hidden:      []string{"hush", "secret"},
		Truststores: map[string][]byte{"corp.pem": []byte(pem)},
		CacheConfig: []byte("<infinispan/>"),
		Memory:      1 << 30,
	}
	if err != nil || len(told) > 0 {
		t.Errorf("told %q, %v", told, err)
	}
	if diff := cmp.Diff(want, spec); diff != "" {
		t.Error(diff)
	}
	for version, want := range map[string]bool{"26.4.7": false, "26.5.6": false, "26.6.0": true, "27.0.0": true} {
		if got := rollsByDefault(version); got != want {
			t.Errorf("%s rolls by default: %v", version, got)
		}
	}
}
