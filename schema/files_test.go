package schema

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const acme = "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {server: eu, realm: {displayName: Acme}}\n"

func TestFilesThatCannotBeReadSayWhy(t *testing.T) {
	bomb := "realm: x\na: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for i, name := range strings.Split("bcdef", "") {
		before := string(rune('a' + i))
		bomb += name + ": &" + name + " [" + strings.Repeat("*"+before+",", 9) + "*" + before + "]\n"
	}
	groups := "realm: x\ngroups:\n"
	for i := range 120 {
		groups += strings.Repeat(" ", 2*i) + "- name: g\n" + strings.Repeat(" ", 2*i) + "  subGroups:\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"large.yaml", "a: " + strings.Repeat("x", 4<<20), "large.yaml: is larger than 4 MiB; split it into several files"},
		{"latin.yaml", "realm: caf\xe9\n", "latin.yaml:1:11: is no text: byte 0xe9 is not UTF-8; write it in UTF-8"},
		{"binary.yaml", "realm: a\nx: \x00\x01", "binary.yaml:2:4: is no text: it holds the control character U+0000; manifests are YAML or JSON text"},
		{"utf16.json", "\xff\xfe{\x00}\x00", "utf16.json:1:1: is no text: byte 0xff is not UTF-8; write it in UTF-8"},
		{"bomb.yaml", bomb, "bomb.yaml:2: aliases expand to more than 50000 nodes; write the values out, or split the file"},
		{"deep.yaml", "realm: " + strings.Repeat("[", 100_000), "deep.yaml:1:1008: is nested deeper than 1000 brackets; write it flatter"},
		{"deep.json", strings.Repeat("[", 100_000), "deep.json:1:1001: is nested deeper than 1000 brackets; write it flatter"},
		{"groups.yaml", groups, "groups.yaml:201:201: groups[g].subGroups[g].subGroups[g].subGroups[g].subGroups[g… is nested deeper than 100 objects"},
		{"returns.yaml", "realm: x\r\r\r\renabled: 5\r", "returns.yaml:5:10: enabled: 5 is not a bool; write true or false"},
		{"windows.yaml", "realm: x\r\nenabled: 5\r\n", "windows.yaml:2:10: enabled: 5 is not a bool; write true or false"},
		{"separators.yaml", "realm: x\n\u2028\u2028\u2028\u2028enabled: 5", "separators.yaml: can't be read as YAML; look for line breaks other than newlines: U+0085, U+2028, U+2029"},
		{"empty.json", " ", "empty.json: is empty"},
		{"empty.yaml", "# nothing", "empty.yaml: is empty"},
		{"other.yaml", "a: b", "other.yaml:1:1: is not a manifest; a manifest begins with apiVersion: cloakwork.dev/v1alpha1"},
		{"list.json", "[1]", "list.json:1:1: is not a manifest; a manifest begins with apiVersion: cloakwork.dev/v1alpha1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Load(fstest.MapFS{c.name: {Data: []byte(c.text)}}, Options{Server: "eu", Paths: []string{c.name}})
			if len(d.Problems) != 1 || d.Problems[0].String() != c.want {
				t.Errorf("says %.300q, want only %q", d.Problems, c.want)
			}
		})
	}
}

func TestPathsNameWhatIsRead(t *testing.T) {
	tree := fstest.MapFS{
		"a/acme.yaml":       {Data: []byte(acme)},
		"a/.hidden.yaml":    {Data: []byte(strings.ReplaceAll(acme, "acme", "hidden"))},
		"b/other.yaml":      {Data: []byte(strings.ReplaceAll(acme, "acme", "other"))},
		"b/third.yaml.orig": {Data: []byte(strings.ReplaceAll(acme, "acme", "third"))},
	}
	for _, c := range []struct {
		paths []string
		want  string
	}{
		{nil, "acme other"},
		{[]string{"."}, "acme other"},
		{[]string{"a"}, "acme"},
		{[]string{"./a/"}, "acme"},
		{[]string{"a", "a/acme.yaml"}, "acme"},
		{[]string{"a/.hidden.yaml"}, "hidden"},
		{[]string{"b/third.yaml.orig"}, "third"},
		{[]string{"c"}, "c: there is no such file"},
		{[]string{"../c"}, "../c: leads out of the configuration"},
	} {
		d := Load(tree, Options{Paths: c.paths})
		var got []string
		for ref := range d.Realms {
			got = append(got, ref.Realm)
		}
		for _, p := range d.Problems {
			got = append(got, p.String())
		}
		slices.Sort(got)
		if want := c.want; strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", c.paths, got, want)
		}
	}
}

// onDisk makes a folder with files, and links where the text begins with "->".
func onDisk(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range sortedKeys(files) {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(files[name], "-> "); ok {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// noLinks is a file system that can't tell links from files, as one over an archive.
type noLinks struct{ fs.FS }

func TestSymlinksStayInTheConfiguration(t *testing.T) {
	outside := onDisk(t, map[string]string{"realm.yaml": strings.ReplaceAll(acme, "acme", "outside"), "secret": "outside"})
	root := onDisk(t, map[string]string{
		"..data":             "-> ..2026",
		"..2026/realm.yaml":  acme, // as Kubernetes mounts a ConfigMap
		"realm.yaml":         "-> ..data/realm.yaml",
		"same.yaml":          "-> two.yaml",
		"two.yaml":           strings.ReplaceAll(acme, "acme", "two"),
		"absolute.yaml":      "-> " + outside + "/realm.yaml",
		"upwards.yaml":       "-> ../../../../../../etc/passwd",
		"folder":             "-> " + outside,
		"circle.yaml":        "-> circle2.yaml",
		"circle2.yaml":       "-> circle.yaml",
		"broken.yaml":        "-> nowhere.yaml",
		"picture.png":        "-> " + outside + "/secret",
		"sub/secret":         "-> ../../x/" + filepath.Base(outside) + "/secret",
		"sub/inside":         "-> ../text",
		"text":               "Inside",
		"sub/substitute.yml": strings.ReplaceAll(strings.Replace(acme, "Acme", "$(file:sub/inside)", 1), "acme", "three"),
		"sub/stolen.yml":     strings.ReplaceAll(strings.Replace(acme, "Acme", "$(file:sub/secret)", 1), "acme", "four"),
		"sub/stolen2.yml":    strings.ReplaceAll(strings.Replace(acme, "Acme", "$(file:folder/secret)", 1), "acme", "five"),
	})
	want := []string{
		"absolute.yaml: symlink leads out of the configuration; put the file itself there",
		"broken.yaml: there is no such file",
		"circle.yaml: symlinks lead in a circle",
		"circle2.yaml: symlinks lead in a circle",
		"folder: symlink leads out of the configuration; put the file itself there",
		"sub/secret: symlink leads out of the configuration; put the file itself there",
		"sub/stolen.yml:4:41: displayName: $(file:sub/secret): symlink leads out of the configuration",
		"sub/stolen2.yml:4:41: displayName: $(file:folder/secret): symlink leads out of the configuration",
		"upwards.yaml: symlink leads out of the configuration; put the file itself there",
	}
	opened, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for name, tree := range map[string]fs.FS{"folder": os.DirFS(root), "root": opened.FS()} {
		t.Run(name, func(t *testing.T) {
			d := Load(tree, Options{})
			var got []string
			for _, p := range d.Problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got := d.Realms[RealmRef{"eu", "three"}].State[RealmAddress].Fields["displayName"]; got != "Inside" {
				t.Errorf("three is %v, want what the link leads to", got)
			}
			for _, realm := range []string{"acme", "two"} {
				if d.Realms[RealmRef{"eu", realm}] == nil {
					t.Errorf("realm %s isn't read", realm)
				}
			}
			if d.Realms[RealmRef{"eu", "outside"}] != nil {
				t.Error("what stands outside is read")
			}
		})
	}
	t.Run("root that can't tell links", func(t *testing.T) {
		d := Load(noLinks{opened.FS()}, Options{Paths: []string{"absolute.yaml"}})
		if got, want := fmt.Sprint(d.Problems), "[absolute.yaml: symlink leads out of the configuration]"; got != want {
			t.Errorf("says %s, want %s", got, want)
		}
	})
}
