package distribution

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Spec is what all nodes of a revision have in common. It can be kept as JSON, which is as secret as what it holds; a build
// that stands needs no Content of extensions.
//
// Read makes one of version, features, additionalOptions, env, extensions, truststores, cache and resources. Host names,
// ports, proxies and the database are left to the caller, who knows what stands around the nodes.
type Spec struct {
	Version string `json:"version"`

	Build   map[string]string `json:"build,omitempty"`   // options that kc.sh build takes, without dashes: "db": "postgres"
	Options map[string]string `json:"options,omitempty"` // options of start
	Secrets map[string]string `json:"secrets,omitempty"` // options of start that stand in a file rather than in the arguments

	Env    []string `json:"env,omitempty"`    // NAME=value
	Hidden []string `json:"hidden,omitempty"` // values in Env and Secrets that no error may show

	Extensions  []Jar             `json:"extensions,omitempty"`
	Truststores map[string][]byte `json:"truststores,omitempty"` // by file name
	CacheConfig []byte            `json:"cacheConfig,omitempty"`
	Memory      int64             `json:"memory,omitempty"` // bytes that a node may take; 0 is not said
}

// Jar is an extension or a theme.
type Jar struct {
	Name    string `json:"name"` // of its file
	SHA256  string `json:"sha256"`
	Content []byte `json:"-"`
}

// Read takes over what a deployment declares. Extensions are checked as far as that goes without starting anything; what is
// worth knowing, but no reason to refuse them, is in told.
func (s Store) Read(ctx context.Context, d schema.Deployment) (spec Spec, told []string, err error) {
	spec = Spec{Version: d.Version, Build: map[string]string{}, Options: map[string]string{}, Secrets: map[string]string{}}
	var wrong []string
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	dir, err := s.Distribution(ctx, d.Version)
	if err != nil {
		return spec, nil, err
	}
	java, err := findJava(dir)
	if err != nil {
		return spec, nil, err
	}
	built, err := java.buildOptions(ctx, dir)
	if err != nil {
		return spec, nil, err
	}
	for _, v := range d.AdditionalOptions {
		switch {
		case v.Secret.Name != "":
			fail("additionalOptions: %s: platform local keeps no secrets by name; write $(file:…) or $(env:…)", v.Name)
		case overrides(v.Name):
			fail("additionalOptions: %s would replace the configuration that cloakwork writes", v.Name)
		case built(v.Name):
			spec.Build[v.Name] = v.Value
		case v.Input:
			spec.Secrets[v.Name] = v.Value
			spec.Hidden = append(spec.Hidden, v.Value)
		default:
			spec.Options[v.Name] = v.Value
		}
	}
	for _, v := range d.Env {
		option, ours := strings.CutPrefix(v.Name, "KC_")
		option = strings.ReplaceAll(strings.ToLower(option), "_", "-")
		switch {
		case v.Secret.Name != "":
			fail("env: %s: platform local keeps no secrets by name; write $(file:…) or $(env:…)", v.Name)
		case ours && overrides(option), strings.HasPrefix(v.Name, "KCRAW_"), strings.HasPrefix(v.Name, "KCKEY_"), strings.HasPrefix(v.Name, "QUARKUS_"):
			fail("env: %s would replace the configuration that cloakwork writes", v.Name)
		case v.Name == "JAVA" || v.Name == "JAVA_HOME":
			fail("env: %s: cloakwork finds the Java that this Keycloak needs", v.Name)
		case slices.Contains(javaVariables, v.Name) && v.Input:
			fail("env: %s comes from $(…), and would stand in the arguments of java, for all to see", v.Name)
		case ours && built(option):
			spec.Build[option] = v.Value
		default:
			spec.Env = append(spec.Env, v.Name+"="+v.Value)
			if v.Input {
				spec.Hidden = append(spec.Hidden, v.Value)
			}
		}
	}
	enabled := slices.Clone(d.Features.Enabled)
	if d.Update.Strategy == "Auto" && !rollsByDefault(d.Version) && !strings.Contains(strings.Join(slices.Concat(enabled, d.Features.Disabled), ","), "rolling-updates") {
		enabled = append(enabled, "rolling-updates:v2") // else it doesn't say whether a patch may be rolled
	}
	if len(enabled) > 0 {
		spec.Build["features"] = strings.Join(enabled, ",")
	}
	if f := d.Features.Disabled; len(f) > 0 {
		spec.Build["features-disabled"] = strings.Join(f, ",")
	}
	for name, t := range d.Truststores {
		content, err := fs.ReadFile(d.Files, t.File)
		if err != nil {
			fail("truststores: %s: %s", name, err)
			continue
		}
		switch block, _ := pem.Decode(content); {
		case block != nil && block.Type == "CERTIFICATE":
			name += ".pem"
		case block == nil && len(content) > 0 && content[0] == 0x30: // a sequence in DER, as every PKCS #12 begins
			name += ".p12"
		default:
			fail("truststores: %s: %s holds neither certificates in PEM nor PKCS #12", name, t.File)
			continue
		}
		if spec.Truststores == nil {
			spec.Truststores = map[string][]byte{}
		}
		spec.Truststores[name] = content
	}
	if file := d.Cache.ConfigFile; file != "" {
		if spec.CacheConfig, err = fs.ReadFile(d.Files, file); err != nil {
			fail("cache: %s", err)
		} else if err := isXML(spec.CacheConfig); err != nil {
			fail("cache: %s: %s", file, err)
		}
	}
	if limit := d.Resources.Limits["memory"]; limit != "" {
		if spec.Memory, err = quantity(limit); err != nil {
			fail("resources.limits.memory: %s", err)
		} else if _, err := heap(spec.Memory); err != nil {
			fail("resources.limits.memory: %s", err)
		}
	}
	for _, e := range d.Extensions {
		content, err := fs.ReadFile(d.Files, e.Path)
		if err != nil {
			fail("extension %s: %s", named(e), err)
			continue
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, e.SHA256) {
			fail("extension %s: %s has the SHA-256 sum %s, declared is %s", named(e), e.Path, got, strings.ToLower(e.SHA256))
			continue
		}
		spec.Extensions = append(spec.Extensions, Jar{Name: path.Base(e.Path), SHA256: hex.EncodeToString(sum[:]), Content: content})
	}
	if len(wrong) == 0 {
		wrong, told, err = examine(spec.Extensions, dir, java)
	}
	if len(wrong) > 0 {
		return spec, told, &Refused{Why: strings.Join(wrong, "\n")}
	}
	return spec, told, err
}

// rollsByDefault tells whether a version compares itself with another patch of its minor without being asked to: since 26.6.
func rollsByDefault(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && (major > 26 || major == 26 && minor >= 6)
}

func named(e schema.Extension) string {
	if e.Name != "" {
		return e.Name
	}
	return path.Base(e.Path)
}

// overrides tells whether an option would lead Keycloak to another configuration than ours.
func overrides(option string) bool {
	switch option {
	case "legacy-observability-interface", "http-management-health-enabled": // nodes are asked for their health where they manage
		return true
	}
	return option == "config-file" || option == "conf-file" || option == "home-dir" || strings.HasPrefix(option, "config-keystore") ||
		option == "db" || strings.HasPrefix(option, "db-") || strings.HasPrefix(option, "bootstrap-admin-")
}

// buildOptions asks kc.sh which options a build takes; all others are those of start.
func (j Java) buildOptions(ctx context.Context, dir string) (func(option string) bool, error) {
	help := exec.CommandContext(ctx, j.Path, j.arguments(dir, dir, Spec{}, nil, "build", "--help-all")...)
	out, err := help.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ask Keycloak for the options of a build: %w\n%s", err, LastLines(string(out), nil))
	}
	names := []string{`spi-.+--provider(-default)?`, `spi-.+--enabled`, `spi-.+-(provider|provider-default|enabled)`}
	for _, m := range helpLine.FindAllStringSubmatch(string(out), -1) {
		if m[1] != "help-all" && m[1] != "verbose" {
			names = append(names, placeholder.ReplaceAllString(regexp.QuoteMeta(m[1]), ".+"))
		}
	}
	if len(names) < 10 {
		return nil, fmt.Errorf("ask Keycloak for the options of a build: it names %d\n%s", len(names), LastLines(string(out), nil))
	}
	all, err := regexp.Compile(`^(` + strings.Join(names, "|") + `)$`)
	if err != nil {
		return nil, err
	}
	return all.MatchString, nil
}

var (
	helpLine    = regexp.MustCompile(`(?m)^(?:-\w, )?--([a-z0-9<>-]+)`)
	placeholder = regexp.MustCompile(`<[a-z]+>`)
)

func isXML(content []byte) error {
	in := xml.NewDecoder(strings.NewReader(string(content)))
	for {
		switch _, err := in.Token(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// quantity reads 768Mi, 1.5G or 800000000, as Kubernetes writes memory.
func quantity(text string) (int64, error) {
	m := amount.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no amount of memory, such as 768Mi", text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	return int64(n * units[m[2]]), nil
}

var (
	amount = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kMGT]|[KMGT]i)?$`)
	units  = map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
)

// key names the build of a Spec: another one wherever the build would be.
func (s Spec) key() (string, error) {
	text, err := json.Marshal(struct {
		Version    string
		Build      map[string]string
		Extensions []Jar
	}{s.Version, s.Build, s.Extensions})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:keySize]), err
}

const keySize = 6 // bytes

// flags are options as arguments, in order.
func flags(options ...map[string]string) []string {
	all := map[string]string{}
	for _, o := range options {
		maps.Copy(all, o)
	}
	args := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "--"+name+"="+all[name])
	}
	return args
}
