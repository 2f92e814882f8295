package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what Load says into testdata")

// TestManifestsSayWhatTheyAlwaysSaid loads the tree of every archive in testdata. Its comment may set options, one a
// line, as "server eu"; the file "problems" holds what Load must say, and the file "declared", if there, what it must find.
func TestManifestsSayWhatTheyAlwaysSaid(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tree, o := opened(t, archive)
			d := Load(tree, o)
			var problems bytes.Buffer
			for _, p := range d.Problems {
				problems.WriteString(p.String() + "\n")
			}
			got := map[string]string{"problems": problems.String(), "declared": shown(t, d)}
			for i, f := range archive.Files {
				text, ok := got[f.Name]
				if !ok {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(text)
				} else if diff := cmp.Diff(string(f.Data), text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// opened is the tree of an archive, and the options of its comment.
func opened(t *testing.T, archive *txtar.Archive) (fs.FS, Options) {
	t.Helper()
	o := Options{}
	variables := map[string]string{}
	o.Env = func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	for line := range strings.Lines(string(archive.Comment)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "", "#":
		case "server":
			o.Server = value
		case "version":
			o.Version = value
		case "paths":
			o.Paths = strings.Fields(value)
		case "allow":
			o.Allow = strings.Fields(value)
		case "environment":
			o.Environment = value
		case "age":
			o.AgeKeys = value
		case "as-written":
			o.AsWritten = true
		case "merge-last":
			o.MergeLast = true
		case "env":
			k, v, _ := strings.Cut(value, "=")
			variables[k] = v
		default:
			t.Fatalf("no option %q", name)
		}
	}
	tree, secrets := fstest.MapFS{}, fstest.MapFS{}
	for _, f := range archive.Files {
		switch name, isSecret := strings.CutPrefix(f.Name, "secrets:"); {
		case isSecret:
			secrets[name] = &fstest.MapFile{Data: f.Data}
		case f.Name != "problems" && f.Name != "declared":
			tree[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	o.Secrets = secrets
	return tree, o
}

// shown is what was found, for people to read in an archive.
func shown(t *testing.T, d Declared) string {
	t.Helper()
	var b strings.Builder
	refs := []RealmRef{}
	for ref := range d.Realms {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b RealmRef) int { return strings.Compare(a.String(), b.String()) })
	for _, ref := range refs {
		r := d.Realms[ref]
		b.WriteString("realm " + ref.String() + ": drift " + r.Drift)
		if r.Absent {
			b.WriteString(", absent")
		}
		if r.Schedule != "" {
			b.WriteString(", schedule " + r.Schedule)
		}
		b.WriteString("\n  limits " + shownJSON(t, r.Limits.Deletes) + shownJSON(t, r.Limits.Changes) + shownJSON(t, r.Limits.Risks) + "\n")
		if r.Suspend != nil {
			b.WriteString("  suspended " + shownJSON(t, r.Suspend) + "\n")
		}
		for _, a := range sortedKeys(r.Complete) {
			b.WriteString("  complete " + string(a) + "\n")
		}
		for _, a := range r.State.Addresses() {
			o := r.State[a]
			b.WriteString("  " + o.Origin.String() + " " + string(a))
			if o.Was != nil {
				b.WriteString(" was " + strings.Join(o.Was, ", "))
			}
			b.WriteString("\n    " + shownJSON(t, o.Fields) + "\n")
			for _, path := range sortedKeys(o.Inputs) {
				b.WriteString("    input " + path + "\n")
			}
			for _, path := range sortedKeys(o.Below) {
				b.WriteString("    " + path + " of " + o.Origins[path].String() + " replaces " + strings.Trim(fmt.Sprint(o.Below[path]), "[]") + "\n")
			}
		}
	}
	for _, name := range sortedKeys(d.Deployments) {
		if len(BlockingDeployment(d.Problems, name)) == 0 {
			b.WriteString("deployment " + name + " " + shownJSON(t, d.Deployments[name]) + "\n")
		}
	}
	return b.String()
}

func shownJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestARealExportIsReadWithoutAProblem(t *testing.T) {
	d := Load(os.DirFS("testdata"), Options{Server: "eu", Paths: []string{"export.json"}})
	for _, p := range d.Problems {
		if !p.Warning {
			t.Error(p)
		}
	}
	r := d.Realms[RealmRef{"eu", "rich"}]
	counts := map[string]int{}
	for a := range r.State {
		counts[a.Kind()]++
	}
	for kind, least := range map[string]int{"realm": 1, "clients": 8, "clientScopes": 10, "protocolMappers": 30, "roles": 30, "groups": 2,
		"composites": 4, "realmRoles": 1, "clientRoles": 1, "defaultClientScopes": 8, "defaultGroups": 1, "defaultDefaultClientScopes": 1} {
		if counts[kind] < least {
			t.Errorf("%d objects of kind %s, want at least %d", counts[kind], kind, least)
		}
	}
	for a, o := range r.State {
		for _, field := range []string{"id", "containerId", "access", "path"} {
			if _, ok := o.Fields[field]; ok {
				t.Errorf("%s keeps %s, which nobody can set", a, field)
			}
		}
	}
}

func TestLoadsRunBesideEachOther(t *testing.T) {
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			d := Load(os.DirFS("testdata"), Options{Server: "eu", Paths: []string{"export.json"}})
			if len(d.Realms) != 1 {
				t.Errorf("%d realms", len(d.Realms))
			}
		})
	}
	wait.Wait()
}

func TestNullIsTheDefaultOfTheClientsProtocolWhereverThatStands(t *testing.T) {
	for _, fields := range []string{"protocol: saml, attributes: {saml.authnstatement: null}", "attributes: {saml.authnstatement: null}, protocol: saml"} {
		d := Load(fstest.MapFS{"a.yaml": {Data: []byte("realm: acme\nclients: [{clientId: sp, " + fields + "}]\n")}}, Options{Server: "eu"})
		for _, p := range d.Problems {
			t.Error(p)
		}
		attributes, _ := d.Realms[RealmRef{"eu", "acme"}].State["clients/sp"].Fields["attributes"].(map[string]any)
		if attributes["saml.authnstatement"] != "true" {
			t.Errorf("%s: the attribute is %v", fields, attributes["saml.authnstatement"])
		}
	}
}
