package schema

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const largestInput = 1 << 20 // bytes of a file that $(file:…) names

// forbidden are the variables that belong to the controller and to the tools beside it. They are never substituted, or
// whoever may push a commit could read the credentials out of a realm.
var forbidden = []string{"CLOAKWORK_*", "KEYCLOAK_*", "SOPS_*", "AWS_*", "*_TOKEN"}

// foreign are the lookups that keycloak-config-cli knows and we don't: to take them for text would write them into a realm.
var foreign = []string{"base64Decoder", "base64Encoder", "const", "date", "dns", "java", "localhost", "properties",
	"resourceBundle", "script", "sys", "url", "urlDecoder", "urlEncoder", "xml"}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reference is one $(…) in a text.
type reference struct {
	start, end int    // of all of it
	scheme     string // env or file; "" for the placeholder of an import
	name       string // the variable, or the file's path
	fallback   string
	defaults   bool // it has a fallback
}

// String is the reference without its default, which may be a secret itself.
func (r reference) String() string {
	if r.scheme == "" {
		return "${" + r.name + "}"
	}
	return "$(" + r.scheme + ":" + r.name + ")"
}

// references finds the $(…) of a text that are ours to replace.
func references(s string) (found []reference, unclosed bool) {
	for i := 0; i < len(s); {
		start := strings.Index(s[i:], "$(")
		if start < 0 {
			return found, false
		}
		start += i
		scheme, _, ok := strings.Cut(s[start+2:], ":")
		if !ok || scheme != "env" && scheme != "file" && !slices.Contains(foreign, scheme) {
			i = start + 2
			continue
		}
		end := closing(s, start+2)
		if end < 0 {
			return found, true
		}
		r := reference{start: start, end: end + 1, scheme: scheme}
		r.name = s[start+2+len(scheme)+1 : end]
		if scheme == "env" {
			r.name, r.fallback, r.defaults = strings.Cut(r.name, ":-")
		}
		found = append(found, r)
		i = r.end
	}
	return found, false
}

// closing finds the parenthesis that closes the reference whose inside begins at start.
func closing(s string, start int) int {
	depth := 1
	for i := start; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "$("):
			depth++
			i++
		case s[i] == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// substitutes tells whether anything in a text would be replaced.
func (w *walker) substitutes(s string) bool {
	if w.placeholders != nil {
		_, _, ok := w.placeholder(s)
		return ok
	}
	found, _ := references(s)
	return len(found) > 0
}

// substitute replaces what a text says in $(…). Input names what was replaced, "" if nothing was; where something can't
// be, the problem has been said.
func (w *walker) substitute(s, label string, at Origin) (text, input string, ok bool) {
	if w.placeholders != nil {
		return w.importPlaceholders(s, label, at)
	}
	if !strings.Contains(s, "$(") {
		return s, "", true
	}
	found, unclosed := references(s)
	if unclosed {
		w.problem(at, "close it with )", "%s: a $( isn't closed", label)
		return "", "", false
	}
	var names []string
	var b strings.Builder
	end := 0
	for _, r := range found {
		v, valid := w.resolve(r, label, at, !w.options.AsWritten)
		if !valid {
			return "", "", false
		}
		if w.options.AsWritten {
			v = s[r.start:r.end]
		}
		b.WriteString(s[end:r.start] + v)
		end = r.end
		names = append(names, r.String())
	}
	b.WriteString(s[end:])
	return b.String(), strings.Join(names, " and "), true
}

// resolve is the value of a reference. One that isn't needed is only looked at for what it must not name.
func (w *walker) resolve(r reference, label string, at Origin, needed bool) (string, bool) {
	wrong := func(hint, what string) (string, bool) {
		w.problem(at, hint, "%s: %s", label, what)
		return "", false
	}
	switch r.scheme {
	case "env", "":
	case "file":
		if !needed {
			return "", true
		}
		return w.content(r, wrong)
	default:
		return wrong("$(env:NAME) and $(file:path) are", "$("+r.scheme+":…) is not known to cloakwork")
	}
	switch {
	case !variable.MatchString(r.name):
		return wrong("write $(env:NAME)", "$(env:…) names no variable")
	case matches(forbidden, strings.ToUpper(r.name)):
		return wrong("give the value a name of its own; "+strings.Join(forbidden, ", ")+" belong to the controller", r.String()+" is never substituted")
	case w.options.Allow != nil && !matches(w.options.Allow, r.name):
		return wrong("add "+r.name+" to the variables that the source may substitute", r.String()+" may not be substituted here")
	}
	v, defined := "", false
	if w.options.Env != nil {
		v, defined = w.options.Env(r.name)
	}
	fallback, valid := w.fallback(r, label, at, needed && !defined)
	switch {
	case !valid:
		return "", false
	case defined:
	case r.defaults:
		v = fallback
	case needed && r.scheme == "":
		return wrong("set the variable "+r.name, r.String()+" is not defined")
	case needed:
		return wrong("set the variable, or write a default: $(env:"+r.name+":-…)", r.String()+" is not defined")
	}
	if !utf8.ValidString(v) {
		return wrong("", "the value of "+r.String()+" is no text")
	}
	return v, true
}

// fallback is a reference's default, which may hold references itself.
func (w *walker) fallback(r reference, label string, at Origin, needed bool) (string, bool) {
	found, _ := references(r.fallback)
	var b strings.Builder
	end := 0
	for _, inner := range found {
		v, valid := w.resolve(inner, label, at, needed)
		if !valid {
			return "", false
		}
		b.WriteString(r.fallback[end:inner.start] + v)
		end = inner.end
	}
	b.WriteString(r.fallback[end:])
	return b.String(), true
}

// content is what a file holds, without the line's end that editors put behind the last line. It is looked for in the
// tree, and then in the source's secrets.
func (w *walker) content(r reference, wrong func(hint, what string) (string, bool)) (string, bool) {
	name := path.Clean(strings.TrimPrefix(r.name, "UTF-8:"))
	if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || !fs.ValidPath(name) {
		return wrong("name a file of the configuration, or of the secrets folder", r.String()+" leads out of the configuration")
	}
	if inGit(name) {
		return wrong("", r.String()+" is never substituted")
	}
	var err error
	for _, fsys := range []fs.FS{w.fsys, w.options.Secrets} {
		if fsys == nil {
			continue
		}
		var target string
		if target, err = follow(fsys, name); err == nil {
			if inGit(target) {
				return wrong("", r.String()+" is never substituted")
			}
			var b []byte
			if b, err = readLimited(fsys, target, largestInput); err == nil {
				if !utf8.Valid(b) {
					return wrong("", "the value of "+r.String()+" is no text")
				}
				return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), true
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if info, e := fs.Stat(w.fsys, name); e == nil && info.IsDir() {
		return wrong("name a file in it", r.String()+" is a folder")
	}
	if errors.Is(err, errTooLarge) {
		return wrong("", r.String()+" is larger than 1 MiB")
	}
	return wrong("", r.String()+": "+reason(err))
}

func inGit(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.EqualFold(part, ".git") })
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// placeholder finds the first ${NAME} of a text that the import lists under its placeholders.
func (w *walker) placeholder(s string) (start int, name string, ok bool) {
	first := -1
	for _, p := range w.placeholders {
		if i := strings.Index(s, "${"+p+"}"); i >= 0 && (first < 0 || i < first) {
			first, name = i, p
		}
	}
	return first, name, first >= 0
}

// importPlaceholders replaces what a KeycloakRealmImport lists, and nothing else.
func (w *walker) importPlaceholders(s, label string, at Origin) (text, input string, ok bool) {
	var b strings.Builder
	var names []string
	for {
		i, name, found := w.placeholder(s)
		if !found {
			b.WriteString(s)
			return b.String(), strings.Join(names, " and "), true
		}
		v, valid := w.resolve(reference{name: name}, label, at, !w.options.AsWritten)
		if !valid {
			return "", "", false
		}
		if w.options.AsWritten {
			v = "${" + name + "}"
		}
		b.WriteString(s[:i] + v)
		s = s[i+len("${"+name+"}"):]
		names = append(names, reference{name: name}.String())
	}
}
