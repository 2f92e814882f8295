package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// hiding takes secrets out of what leaves the machine: the values that are known here, and whatever stands where secrets do.
type hiding struct{ secrets *secrets }

// hiding knows every secret that this process can find: those of the configuration, of sources, of deployments.
func (c *cli) hiding(conf *config, p *platforms) *hiding {
	h := &hiding{c.secrets}
	_, _ = c.ageKeys() // a broken file of keys holds back nothing here
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); secretName.MatchString(name) {
			h.secrets.add(value)
		}
	}
	if conf != nil {
		h.configured(c, conf)
	}
	for _, folder := range p.folders() {
		h.kept(folder)
	}
	return h
}

// configured reads what a configuration names.
func (h *hiding) configured(c *cli, conf *config) {
	read := func(of schema.Credential) { _, _ = c.credential(conf, "", of) } // one that is missing is no secret
	for _, s := range conf.Servers {
		read(s.Password)
		read(s.ClientSecret)
	}
	for _, d := range conf.Destinations {
		if d.S3 != nil {
			read(d.S3.AccessKey)
			read(d.S3.SecretKey)
		}
	}
	for _, to := range conf.Collectors {
		for _, header := range to.Headers {
			read(header)
		}
	}
	for _, s := range conf.Sources {
		read(s.Git.Token)
		read(s.Git.SSHKey)
		read(s.Forge.Token)
		read(s.Fingerprints)
		for _, variable := range os.Environ() {
			name, value, _ := strings.Cut(variable, "=")
			for _, pattern := range s.Allow.Variables {
				if ok, _ := path.Match(pattern, name); ok { // patterns were checked
					h.secrets.add(value)
				}
			}
		}
		if s.Secrets != "" {
			h.all(conf.path(s.Secrets), true, func(string) bool { return true })
		}
	}
}

// kept reads what a platform keeps for itself.
func (h *hiding) kept(folder string) {
	h.all(folder, false, func(name string) bool {
		return strings.HasSuffix(name, ".json") || strings.Contains(name, "pass") || strings.Contains(name, "secret")
	})
}

// all takes the files below a folder for secrets: what stands under a secret's name in those of JSON, unless all of it is
// secret, and others as a whole.
func (h *hiding) all(folder string, secret bool, which func(name string) bool) {
	const largest = 1 << 20
	_ = filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error { // what can't be read can't be shown
		if err != nil || entry.IsDir() || !which(filepath.Base(name)) {
			return nil
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() || info.Size() > largest {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil
		}
		var v any
		if json.Unmarshal(text, &v) == nil {
			h.under(secret || filepath.Base(name) == "account.json", v)
			return nil
		}
		h.secrets.add(strings.TrimSpace(string(text)))
		for line := range strings.Lines(string(text)) {
			h.secrets.add(strings.TrimSpace(line))
		}
		return nil
	})
}

// under takes for secrets what stands under the name of one, and everything below secret.
func (h *hiding) under(secret bool, v any) {
	switch v := v.(type) {
	case string:
		if name, value, ok := strings.Cut(v, "="); ok && secretName.MatchString(name) { // of an environment, or a command line
			h.secrets.add(value)
		}
		if secret {
			h.secrets.add(v)
		}
	case []any:
		for _, e := range v {
			h.under(secret, e)
		}
	case map[string]any:
		named, _ := v["name"].(string) // {name: X_PASSWORD, value: …}
		secret = secret || secretName.MatchString(named)
		for name, e := range v {
			h.under(secret || secretName.MatchString(name), e)
		}
	}
}

var secretName = regexp.MustCompile(`(?i)(passw|secret|token|credential|private|api_?key|access_?key|encryption|^hidden$|^headers$|_headers$|sops_age_key$)`)

// hidden is where secrets stand, whoever knows them.
var hidden = []struct {
	where *regexp.Regexp
	leave string
}{
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), "(secret)"},
	{regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Za-z]+`), "(secret)"},
	{regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)+`), "(secret)"}, // tokens of Keycloak
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 (secret)"},
	{regexp.MustCompile(`://[^/\s:@"]+:[^/\s@"]+@`), "://(secret)@"},
	{regexp.MustCompile(`(?i)((?:[a-z0-9_.-]*(?:passw(?:or)?d|secret|token|assertion|session_state|session_code|api_?key)|authorization|cookie|[?&]code)"?\s*[:=]\s*)("(?:[^"\\]|\\.)+"|'[^']+'|[^\s,;&"'{}\[\]]+)`), "$1(secret)"},
}

// in is a text without secrets.
func (h *hiding) in(text string) string {
	text = h.secrets.redact(text)
	for _, p := range hidden {
		text = p.where.ReplaceAllString(text, p.leave)
	}
	return text
}
