package main

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// The Dockerfile is carried out here line by line, without an engine: each command runs in a folder that stands for its
// stage, each copy is made, and what the last stage holds is all that the program then finds.

// image is what carrying out a Dockerfile made.
type image struct {
	root       string            // the folder of the last stage
	env        map[string]string // ENV
	labels     map[string]string
	user, dir  string
	entrypoint []string
	owners     map[string]string // by --chown, of paths
}

// buildStage is a stage under way.
type buildStage struct {
	root, dir string
	args      map[string]string
}

func carryOut(t *testing.T, file string, args map[string]string) image {
	t.Helper()
	img := image{env: map[string]string{}, labels: map[string]string{}, owners: map[string]string{}}
	global := map[string]string{"BUILDPLATFORM": "linux/" + runtime.GOARCH}
	stages := map[string]*buildStage{}
	var current *buildStage
	for _, line := range instructions(t, file) {
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		scope := global
		if current != nil {
			scope = current.args
		}
		expand := func(s string) string {
			return os.Expand(s, func(name string) string {
				if v, ok := scope[name]; ok {
					return v
				}
				t.Errorf("%s: %s is not declared by ARG or ENV", line, name)
				return ""
			})
		}
		switch word {
		case "ARG":
			name, fallback, _ := strings.Cut(rest, "=")
			if given, ok := args[name]; ok {
				fallback = given
			}
			scope[name] = fallback
		case "FROM":
			fields := strings.Fields(expand(rest))
			fields = slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "--platform=") })
			current = &buildStage{root: t.TempDir(), dir: "/", args: map[string]string{}}
			base := fields[0]
			if len(fields) == 3 {
				stages[fields[2]] = current
				checkBase(t, base)
			} else if base != "scratch" {
				t.Errorf("the image stands on %s", base)
			}
			img.root = current.root
		case "WORKDIR":
			current.dir = expand(rest)
			img.dir = current.dir
			mkdir(t, filepath.Join(current.root, current.dir))
		case "COPY":
			img.copy(t, current, stages, strings.Fields(expand(rest)))
		case "RUN":
			if absolute.MatchString(rest) {
				t.Errorf("RUN %s: names a path of the stage's root, and here is none", rest)
			}
			cmd := exec.Command("sh", "-euc", rest)
			cmd.Dir = filepath.Join(current.root, current.dir)
			cmd.Env = os.Environ()
			for name, v := range current.args {
				cmd.Env = append(cmd.Env, name+"="+v)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v\n%s", rest, err, out)
			}
		case "LABEL":
			for _, m := range pair.FindAllStringSubmatch(expand(rest), -1) {
				img.labels[m[1]] = m[2]
			}
		case "ENV":
			name, v, _ := strings.Cut(expand(rest), "=")
			img.env[name] = v
		case "USER":
			img.user = rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(rest), &img.entrypoint); err != nil {
				t.Errorf("ENTRYPOINT %s: %v", rest, err)
			}
		default:
			t.Fatalf("nobody here can carry out: %s", line)
		}
	}
	return img
}

var (
	absolute = regexp.MustCompile(`(^|[\s=>])/[a-z]`)
	pair     = regexp.MustCompile(`(\S+?)="([^"]*)"`)
)

// instructions are the lines of a Dockerfile, each with what it goes on to.
func instructions(t *testing.T, file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// checkBase holds the image that builds against what go.mod asks for.
func checkBase(t *testing.T, base string) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if m := regexp.MustCompile(`^golang:(\d+\.\d+)-`).FindStringSubmatch(base); m == nil || m[1] != string(wanted[1]) {
		t.Errorf("it is built by %s, and go.mod asks for Go %s", base, wanted[1])
	}
}

// copy carries out a COPY: from the repository, as far as .dockerignore lets it, or from another stage. The certificates
// are the build image's own: Debian's package ca-certificates puts them where they stand here too.
func (img *image) copy(t *testing.T, to *buildStage, stages map[string]*buildStage, words []string) {
	t.Helper()
	from, owner := "", ""
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		name, v, _ := strings.Cut(words[0], "=")
		switch name {
		case "--from":
			from = v
		case "--chown":
			owner = v
		default:
			t.Fatalf("COPY %s", words[0])
		}
		words = words[1:]
	}
	target := words[len(words)-1]
	for _, source := range words[:len(words)-1] {
		into := filepath.Join(to.root, to.dir, target)
		if strings.HasPrefix(target, "/") {
			into = filepath.Join(to.root, target)
		}
		if strings.HasSuffix(target, "/") {
			into = filepath.Join(into, filepath.Base(source))
		}
		if owner != "" {
			img.owners[target] = owner
		}
		mkdir(t, filepath.Dir(into))
		switch {
		case from == "":
			copyRepository(t, source, into)
		case source == "/etc/ssl/certs/ca-certificates.crt":
			command(t, "cp", source, into)
		default:
			command(t, "cp", "-a", "-T", filepath.Join(stages[from].root, source), into)
		}
	}
}

// copyRepository copies what git knows or would know of the repository, without what .dockerignore names.
func copyRepository(t *testing.T, source, into string) {
	ignored, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(ignored)), ".git") {
		t.Error(".dockerignore lets the repository's history into the build")
	}
	if source != "." {
		command(t, "cp", filepath.Join("../..", source), into)
		return
	}
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for _, name := range strings.Split(strings.Trim(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join("../..", name)); err != nil {
			continue // deleted, and not committed yet
		}
		mkdir(t, filepath.Dir(filepath.Join(into, name)))
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(into, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// boot is a script that runs the image's program as a container engine would: in a tree of its own that nobody can write
// to, but for /state, with the configuration at /config.
const boot = `
	mount -t tmpfs tmpfs "$1"
	cp -a "$2/." "$1"
	mount --bind "$3" "$1/config"
	mount -o remount,ro,bind "$1/config"
	mount -o remount,ro "$1"
	mount -t tmpfs -o mode=0755,uid=65534,gid=65534 tmpfs "$1/state"
	root=$1; shift 3

	exec chroot --userspec=65534:65534 "$root" "$@"`

// contained runs the image's program. Where we aren't root, sudo or a namespace of the user's own makes the mounts.
func (img image) contained(t *testing.T, config string, env []string, args ...string) (string, error) {
	t.Helper()
	how := []string{"unshare", "-m"}
	if os.Getuid() != 0 {
		how = []string{"sudo", "-nE", "unshare", "-m"}
		if exec.Command("sudo", "-n", "true").Run() != nil {
			how = []string{"unshare", "-m", "--map-user=65534", "--map-group=65534"}
		}
	}
	script := append(how, "sh", "-euc", boot, "sh", t.TempDir(), img.root, config)
	script = append(script, img.entrypoint...)
	cmd := exec.Command(script[0], append(script[1:], args...)...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	for name, v := range img.env {
		cmd.Env = append(cmd.Env, name+"="+v)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestTheImageHoldsAStaticProgramAndItsCertificatesAndRunsAsNobody(t *testing.T) {
	args := map[string]string{"TARGETOS": "linux", "TARGETARCH": runtime.GOARCH, "VERSION": "v1.2.3", "REVISION": "0123abc"}
	img := carryOut(t, "../../Dockerfile", args)

	var files []string
	err := filepath.WalkDir(img.root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && (!entry.IsDir() || empty(path)) {
			name, _ := filepath.Rel(img.root, path)
			files = append(files, name)
		}
		return err
	})
	if diff := cmp.Diff([]string{"cloakwork", "config", "etc/ssl/certs/ca-certificates.crt", "state"}, files); diff != "" || err != nil {
		t.Errorf("the image holds (-want +got):\n%s%v", diff, err)
	}
	static(t, filepath.Join(img.root, "cloakwork"))
	if img.user != "65534:65534" || img.owners["/state"] != "65534:65534" || img.dir != "/config" {
		t.Errorf("it runs as %s in %s, and /state belongs to %s", img.user, img.dir, img.owners["/state"])
	}
	want := map[string]string{
		"org.opencontainers.image.title": "cloakwork", "org.opencontainers.image.description": "Keeps Keycloak as a git repository declares it",
		"org.opencontainers.image.source": "https://github.com/cloakwork/cloakwork", "org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version": "v1.2.3", "org.opencontainers.image.revision": "0123abc",
	}
	if diff := cmp.Diff(want, img.labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}

	config := t.TempDir()
	if err := os.CopyFS(config, os.DirFS("../../examples/layered")); err != nil {
		t.Fatal(err)
	}
	command(t, "chmod", "-R", "a+rX", config)
	t.Run("version", func(t *testing.T) {
		if out, err := img.contained(t, config, nil, "version"); err != nil || !strings.HasPrefix(out, "cloakwork v1.2.3, ") {
			t.Errorf("it says %s (%v)", out, err)
		}
	})
	t.Run("validate", func(t *testing.T) {
		out, err := img.contained(t, config, []string{"BILLING_SECRET=x", "SOPS_AGE_KEY=" + exampleAgeKey}, "validate", img.dir)
		if err != nil || !strings.Contains(out, "no problems") {
			t.Errorf("it says %s (%v)", out, err)
		}
	})
	t.Run("certificates", func(t *testing.T) {
		trusting := img
		trusting.root = filepath.Join(t.TempDir(), "root")
		command(t, "cp", "-a", "-T", img.root, trusting.root)
		s := httptest.NewTLSServer(http.NotFoundHandler())
		defer s.Close()
		ask := func(img image) string {
			out, _ := img.contained(t, config, []string{"SOPS_AGE_KEY=" + exampleAgeKey, "KEYCLOAK_URL=" + s.URL, "KEYCLOAK_USER=a", "KEYCLOAK_PASSWORD=b"}, "plan", "--environment", "prod", "--patience", "1s", img.dir)
			return out
		}
		if out := ask(img); !strings.Contains(out, "certificate") {
			t.Errorf("of a certificate that nobody vouches for it says %s", out)
		}
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		if err := os.WriteFile(filepath.Join(trusting.root, "etc/ssl/certs/ca-certificates.crt"), ca, 0o644); err != nil {
			t.Fatal(err)
		}
		if out := ask(trusting); strings.Contains(out, "certificate") || !strings.Contains(out, "404") {
			t.Errorf("of one that the image's file vouches for it says %s", out)
		}
	})
	t.Run("run", func(t *testing.T) {
		server, realm := keycloaktest.For(t), keycloaktest.Realm(t)
		manifest := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: " + realm + "}\nspec: {server: eu, realm: {displayName: From a container}}\n"
		repository := t.TempDir()
		if err := os.WriteFile(filepath.Join(repository, "realm.yaml"), []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, words := range []string{"init -q -b main", "add -A", "-c user.name=Ada -c user.email=ada@acme.example commit -q -m first"} {
			command(t, "git", append([]string{"-C", repository}, strings.Fields(words)...)...)
		}
		command(t, "chmod", "-R", "a+rX", repository)
		out, err := img.contained(t, repository, []string{"KEYCLOAK_URL=" + server.URL, "KEYCLOAK_USER=" + server.User, "KEYCLOAK_PASSWORD=" + server.Password},
			"run", "--once", "--repository", "/config")
		if err != nil || !strings.Contains(out, "in sync") {
			t.Errorf("it says %s (%v)", out, err)
		}
		if got := server.Admin(t).Get("/admin/realms/" + realm).(map[string]any)["displayName"]; got != "From a container" {
			t.Errorf("the realm is %v", got)
		}
	})
}

// exampleAgeKey opens the encrypted file of examples/layered.
const exampleAgeKey = "AGE-SECRET-KEY-1RFNNQAPEKLU5UV6835LLTN54KY3MNQPWGP35Z364WCJ6ZHTNXVCQJYV8KP"

func empty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// static tells whether a program needs nothing beside it, no loader and no library.
func static(t *testing.T, name string) {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s has a %s", name, p.Type)
		}
	}
	if libraries, err := f.ImportedLibraries(); err == nil && len(libraries) > 0 {
		t.Errorf("%s needs %q", name, libraries)
	}
}

func TestTheSameSourceMakesTheSameProgramWhereverItStands(t *testing.T) {
	sums := map[string]bool{}
	for range 2 {
		dir := t.TempDir()
		copyRepository(t, ".", dir)
		target := "dist/cloakwork-linux-" + runtime.GOARCH
		command(t, "make", "-s", "-C", dir, target, "VERSION=v1.2.3")
		text, err := os.ReadFile(filepath.Join(dir, target))
		if err != nil {
			t.Fatal(err)
		}
		sums[fmt.Sprintf("%x", sha256.Sum256(text))] = true
		if strings.Contains(string(text), dir) {
			t.Error("the program holds the path of its source")
		}
	}
	if len(sums) != 1 {
		t.Errorf("two builds differ: %v", sums)
	}
}
