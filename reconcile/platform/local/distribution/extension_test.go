package distribution

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listener is an event listener in Java: its class name, what it is and what it does when Keycloak starts.
func listener(name, is, does string) string {
	return `package acme;

import org.keycloak.Config;
import org.keycloak.events.EventListenerProvider;
import org.keycloak.models.KeycloakSession;
import org.keycloak.models.KeycloakSessionFactory;

public class ` + name + ` ` + is + ` {
	public EventListenerProvider create(KeycloakSession session) { return null; }
	public void init(Config.Scope config) { ` + does + ` }
	public void postInit(KeycloakSessionFactory factory) {}
	public void close() {}
	public String getId() { return "` + strings.ToLower(name) + `"; }
}
`
}

const (
	factory  = "implements org.keycloak.events.EventListenerProviderFactory"
	services = "META-INF/services/org.keycloak.events.EventListenerProviderFactory"
)

// compiled are the entries of a jar: the classes of some Java files.
func compiled(t *testing.T, sources map[string]string, options ...string) map[string]string {
	t.Helper()
	library, err := Store{Log: t.Output()}.Distribution(t.Context(), Newest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := append([]string{"-d", filepath.Join(dir, "out"), "-cp", filepath.Join(library, "lib", "lib", "main", "*")}, options...)
	for name, source := range sources {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	entries := map[string]string{}
	if err := filepath.WalkDir(filepath.Join(dir, "out"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		entries[strings.TrimPrefix(path, filepath.Join(dir, "out")+"/")] = string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return entries
}

// packed is a jar of some entries, always of the same bytes.
func packed(t *testing.T, name string, entries ...map[string]string) Jar {
	t.Helper()
	all := map[string]string{}
	for _, e := range entries {
		maps.Copy(all, e)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, entry := range slices.Sorted(maps.Keys(all)) {
		f, err := w.Create(entry)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(all[entry])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(out.Bytes())
	return Jar{Name: name, SHA256: hex.EncodeToString(sum[:]), Content: out.Bytes()}
}

// audit is an extension that nothing is wrong with.
func audit(t *testing.T) Jar {
	t.Helper()
	return packed(t, "audit.jar", compiled(t, entries{"Audit.java": listener("Audit", factory, `System.out.println("the audit begins");`)}), entries{services: "acme.Audit"})
}

type entries = map[string]string

func TestABadExtensionIsNamedWithItsFileLineAndClass(t *testing.T) {
	good := compiled(t, entries{"Audit.java": listener("Audit", factory, "")})
	// Interfaces as another version of Keycloak may have them, which come with no jar.
	other := compiled(t, entries{
		"Elder.java":                listener("Elder", "implements org.keycloak.elder.ElderProviderFactory", ""),
		"Heir.java":                 listener("Heir", "extends Elder "+factory, ""),
		"ElderFactory.java":         "package org.keycloak.elder; interface Hidden {}",
		"ElderProviderFactory.java": "package org.keycloak.elder; public interface ElderProviderFactory {}",
	})
	maps.DeleteFunc(other, func(name, _ string) bool { return strings.HasPrefix(name, "org/") })
	newer := maps.Clone(good)
	newer["acme/Audit.class"] = newer["acme/Audit.class"][:7] + "\x63" + newer["acme/Audit.class"][8:] // Java 55
	theme := entries{"META-INF/keycloak-themes.json": `{"themes": [{"name": "acme", "types": ["login", "email"]}]}`, "theme/acme/login/theme.properties": "parent=keycloak.v2"}

	for _, c := range []struct {
		name        string
		jars        []Jar
		wrong, told []string
	}{
		{"a good one", []Jar{packed(t, "audit.jar", good, entries{services: "# ours\nacme.Audit # indeed\n\n"})}, nil, nil},
		{"a provider in another extension", []Jar{packed(t, "audit.jar", good), packed(t, "list.jar", entries{services: "acme.Audit"})}, nil, nil},
		{"services of libraries that aren't there", []Jar{packed(t, "audit.jar", entries{"META-INF/services/reactor.Hook": "reactor.Missing"})}, nil, nil},
		{"a missing class", []Jar{packed(t, "audit.jar", good, entries{services: "# ours\nacme.Audit\nacme.Gone\n"})},
			[]string{"extension audit.jar: " + services + ":3: the class acme.Gone is in none of the extensions"}, nil},
		{"a missing driver", []Jar{packed(t, "sql.jar", entries{"META-INF/services/java.sql.Driver": "acme.Driver"})},
			[]string{"extension sql.jar: META-INF/services/java.sql.Driver:1: the class acme.Driver is in none of the extensions"}, nil},
		{"an interface of another version", []Jar{packed(t, "elder.jar", other, entries{"META-INF/services/org.keycloak.elder.ElderProviderFactory": "acme.Elder"})},
			[]string{"extension elder.jar: META-INF/services/org.keycloak.elder.ElderProviderFactory: keycloak-" + Newest + " has no such interface: the extension was made for another version"}, nil},
		{"an ancestor of another version", []Jar{packed(t, "heir.jar", other, entries{services: "acme.Heir"})},
			[]string{"extension heir.jar: acme.Elder is a org.keycloak.elder.ElderProviderFactory, which keycloak-" + Newest + " doesn't have: the extension was made for another version"}, nil},
		{"no zip", []Jar{{Name: "audit.jar", Content: []byte("<html>404</html>")}}, []string{"extension audit.jar: it is no jar: zip: not a valid zip file"}, nil},
		{"no jar by name", []Jar{packed(t, "audit.zip", good)}, []string{"extension audit.zip: its name doesn't end in .jar, so that Keycloak would not see it"}, nil},
		{"a way out", []Jar{packed(t, "audit.jar", entries{"acme/../../conf/keycloak.conf": "db=dev-mem"})},
			[]string{`extension audit.jar: its entry "acme/../../conf/keycloak.conf" leads out of it`}, nil},
		{"a newer Java", []Jar{packed(t, "audit.jar", newer)}, []string{"extension audit.jar: acme.Audit: made for Java 55, and nodes run on Java 17"}, nil},
		{"a damaged class", []Jar{packed(t, "audit.jar", entries{"acme/Audit.class": good["acme/Audit.class"][:60], services: "acme.Audit"})},
			[]string{"extension audit.jar: acme.Audit: its file is damaged"}, nil},
		{"one class twice", []Jar{packed(t, "audit.jar", good), packed(t, "again.jar", good)}, nil,
			[]string{"extensions audit.jar and again.jar both bring acme.Audit: which one is used is not said"}},
		{"a theme without a part", []Jar{packed(t, "acme.jar", theme)}, []string{"extension acme.jar: META-INF/keycloak-themes.json: theme acme has no email, which would stand in theme/acme/email/"}, nil},
		{"themes that aren't JSON", []Jar{packed(t, "acme.jar", entries{"META-INF/keycloak-themes.json": "themes:"})},
			[]string{"extension acme.jar: META-INF/keycloak-themes.json: invalid character 'h' in literal true (expecting 'r')"}, nil},
	} {
		library, err := Store{}.Distribution(t.Context(), Newest)
		if err != nil {
			t.Fatal(err)
		}
		wrong, told, err := examine(c.jars, library, Java{Major: 17})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.wrong, wrong); diff != "" {
			t.Errorf("%s, wrong: %s", c.name, diff)
		}
		if diff := cmp.Diff(c.told, told); diff != "" {
			t.Errorf("%s, told: %s", c.name, diff)
		}
	}
}
