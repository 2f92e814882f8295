package distribution

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Node is what one node has for itself; it goes before what the Spec says.
type Node struct {
	Options map[string]string // options of start: http-port, db-url; to be seen by whoever lists processes
	Secrets map[string]string // options of start that are written into a file: db-password
	Java    []string          // more options of java: -Djgroups.bind.port=7800
}

// Home makes the folder that one node runs from, or makes it anew: its own are conf, data and tmp, of which data and tmp are
// kept. The folder is its owner's alone. A node that runs from it has read conf when it started.
func (b Build) Home(dir string, spec Spec, node Node, uid, gid *uint32) error {
	err := b.register(dir)
	if err == nil {
		err = b.home(dir, spec, node, uid, gid)
	}
	if err != nil {
		return fmt.Errorf("make the home %s: %w", dir, err)
	}
	return nil
}

func (b Build) home(dir string, spec Spec, node Node, uid, gid *uint32) error {
	conf := filepath.Join(dir, "conf")
	if err := os.RemoveAll(conf); err != nil {
		return err
	}
	for _, d := range []string{dir, conf, filepath.Join(conf, "truststores"), filepath.Join(dir, "data"), filepath.Join(dir, "tmp")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o700); err != nil {
			return err
		}
	}
	for _, name := range []string{"lib", "providers", "themes", "bin", "version.txt"} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && exists(path) {
			return err
		}
		if err := os.Symlink(filepath.Join(b.Dir, name), path); err != nil {
			return err
		}
	}
	cache := spec.CacheConfig
	if cache == nil {
		var err error
		if cache, err = os.ReadFile(filepath.Join(b.Dir, "conf", cacheConfig)); err != nil {
			return err
		}
	}
	secrets := maps.Clone(spec.Secrets)
	if secrets == nil {
		secrets = map[string]string{}
	}
	maps.Copy(secrets, node.Secrets)
	files := map[string][]byte{"keycloak.conf": []byte(properties(secrets)), cacheConfig: cache}
	for name, content := range spec.Truststores {
		files[filepath.Join("truststores", name)] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(conf, name), content, 0o600); err != nil {
			return err
		}
	}
	if uid == nil || gid == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(*uid), int(*gid))
	})
}

// BuildOf is the build that a home was made of.
func BuildOf(home string) (b Build, err error) {
	library, err := os.Readlink(filepath.Join(home, "lib"))
	if err != nil {
		return b, fmt.Errorf("find the build of a home: %w", err)
	}
	b.Dir = filepath.Dir(library)
	text, err := os.ReadFile(filepath.Join(b.Dir, "version.txt"))
	if err != nil {
		return b, fmt.Errorf("find the build of a home: %w", err)
	}
	b.Version = versionIn(text)
	b.Java, err = findJava(b.Dir)
	return b, err
}

// cacheConfig is where Keycloak looks for its caches.
const cacheConfig = "cache-ispn.xml"

// Command is what starts the node of a home: the program with its arguments, and its whole environment. A node that can't start
// prints why in detail, which Cause understands.
func (b Build) Command(dir string, spec Spec, node Node) (argv, env []string) {
	return b.Run(dir, spec, node, append([]string{"start", "--optimized", "--verbose"}, options(spec, node)...)...)
}

// options are those of start that stand in the arguments.
func options(spec Spec, node Node) []string {
	shared := maps.Clone(spec.Options)
	maps.DeleteFunc(shared, func(name, _ string) bool { _, secret := node.Secrets[name]; return secret })
	return flags(shared, node.Options)
}

// Run is the same for another verb of kc.sh, with its options: "export", "--realm", "acme".
func (b Build) Run(dir string, spec Spec, node Node, verb ...string) (argv, env []string) {
	jvm := append([]string{"-Djava.io.tmpdir=" + filepath.Join(dir, "tmp")}, node.Java...)
	argv = append([]string{b.Java.Path}, b.Java.arguments(b.Dir, dir, spec, jvm, verb...)...)
	env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + dir}
	return argv, append(env, spec.Env...)
}

// properties writes options as Keycloak reads them: as Java's properties, in whose values ${…} would be replaced.
func properties(options map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(options)) {
		fmt.Fprintf(&out, "%s=%s\n", name, escape.Replace(options[name]))
	}
	return out.String()
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, " ", `\u0020`, "$", `\\$`)
