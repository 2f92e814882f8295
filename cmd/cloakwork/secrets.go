package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/cloakwork/cloakwork/drift"
)

// secrets are the strings that must not be printed. Reports leave secrets out by what the schema says of their fields;
// this is the last line of defence, for what an error of some library may repeat.
type secrets struct {
	mu     sync.Mutex
	values []string // with their encoded forms, longest first

	tell func(value string) // of each new one; may be nil
}

// shortest is how long a secret must be for its replacement to do more good than harm: "1" or "admin" stand everywhere.
const shortest = 8

func (s *secrets) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		if len(v) < shortest {
			continue
		}
		if s.tell != nil && !slices.Contains(s.values, v) {
			s.tell(v)
		}
		for _, form := range forms(v) {
			if !slices.Contains(s.values, form) {
				s.values = append(s.values, form)
			}
		}
	}
	slices.SortFunc(s.values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
}

// known are the values so far.
func (s *secrets) known() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.values)
}

// forms are the spellings in which a value may come back.
func forms(v string) []string {
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a string always can be
	html, _ := json.Marshal(v)
	inner := func(b []byte) string { b = bytes.TrimSpace(b); return string(b[1 : len(b)-1]) }
	return []string{
		v, inner(quoted.Bytes()), inner(html), url.QueryEscape(v), url.PathEscape(v),
		base64.StdEncoding.EncodeToString([]byte(v)), base64.RawStdEncoding.EncodeToString([]byte(v)),
		base64.URLEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)),
		drift.Escape(strings.Join(strings.Fields(v), " ")), // in a sentence
	}
}

func (s *secrets) redact(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.values {
		text = strings.ReplaceAll(text, v, "(secret)")
	}
	parts := strings.Split(text, ellipsis)
	for i := range parts[:len(parts)-1] {
		parts[i] = s.begun(parts[i])
	}
	return strings.Join(parts, ellipsis)
}

// ellipsis stands where a text was cut, in the middle of a secret perhaps.
const ellipsis = "…"

// begun is a text without the beginning of a secret at its end.
func (s *secrets) begun(text string) string {
	longest := shortest/2 - 1
	for _, v := range s.values {
		for n := min(len(v)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, v[:n]) {
				longest = n
			}
		}
	}
	if longest < shortest/2 {
		return text
	}
	return text[:len(text)-longest] + "(secret)"
}

// redacting is a writer that knows what not to write. Each Write has to hold whole lines.
type redacting struct {
	w       io.Writer
	secrets *secrets
}

func (r redacting) Write(p []byte) (int, error) {
	if _, err := io.WriteString(r.w, r.secrets.redact(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
