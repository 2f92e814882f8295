package schema

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
	cuejson "cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/yaml"
)

const (
	largest = 4 << 20 // bytes of a file
	deepest = 100     // objects in each other

	mostBrackets = 1000 // open at once
)

// document is one document of a file, parsed.
type document struct {
	file
	root   ast.Expr
	source []byte
	sealed map[ast.Expr]bool // the literals that were encrypted

	evaluated bool // it is what CUE made of files
}

// at is where a node stands, or otherwise where nothing is known of it, as of what a YAML merge brings in.
func (d document) at(n ast.Node, otherwise Origin) Origin {
	if n == nil {
		return otherwise
	}
	p := n.Pos()
	if !p.IsValid() {
		return otherwise
	}
	return d.place(p)
}

func (d document) place(p token.Pos) Origin {
	position := p.Position()
	return Origin{File: cmp.Or(position.Filename, d.name), Line: position.Line, Column: position.Column}
}

// label is where a field's name stands. In JSON cue's parser points at the first letter, behind the quotation mark.
func (d document) label(f *ast.Field, otherwise Origin) Origin {
	o := d.at(f.Label, otherwise)
	if _, bare := f.Label.(*ast.Ident); bare && o.Column > 1 && o != otherwise {
		if i := f.Label.Pos().Offset(); i > 0 && i <= len(d.source) && d.source[i-1] == '"' {
			o.Column--
		}
	}
	return o
}

// readAll reads the documents of files: CUE by folders, the others one by one.
func (l *loader) readAll(files []file) (documents []document) {
	for _, f := range files {
		if path.Ext(f.name) != ".cue" {
			documents = append(documents, l.read(f)...)
		}
	}
	return append(documents, l.evaluate(files)...)
}

// read parses the documents of a file, and decrypts those that sops has encrypted.
func (l *loader) read(f file) []document {
	source, problem := l.source(f.name)
	if problem != nil {
		l.problem(*problem)
		return nil
	}
	return l.decrypt(l.parse(f, source))
}

func (l *loader) parse(f file, source []byte) []document {
	if path.Ext(f.name) == ".json" {
		return l.readJSON(f, source)
	}
	return l.readYAML(f, source)
}

// source is a file's text, or why it can't be read as one.
func (l *loader) source(name string) ([]byte, *Problem) {
	wrong := func(o Origin, hint, format string, args ...any) ([]byte, *Problem) {
		p := problemf(o, hint, format, args...)
		return nil, &p
	}
	if _, err := follow(l.fsys, name); err != nil {
		return wrong(Origin{File: name}, "put the file itself there", "%s", reason(err))
	}
	source, err := readLimited(l.fsys, name, largest)
	if errors.Is(err, errTooLarge) {
		return wrong(Origin{File: name}, "split it into several files", "is larger than %d MiB", largest>>20)
	}
	if err != nil {
		return wrong(Origin{File: name}, "", "%s", reason(err))
	}
	for i := 0; i < len(source); {
		r, size := utf8.DecodeRune(source[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return wrong(position(name, source, i), "write it in UTF-8", "is no text: byte %#x is not UTF-8", source[i])
		case r < ' ' && r != '\n' && r != '\r' && r != '\t':
			return wrong(position(name, source, i), "manifests are YAML or JSON text", "is no text: it holds the control character %U", r)
		}
		i += size
	}
	if o, deep := tooDeep(name, source); deep {
		return wrong(o, "write it flatter", "is nested deeper than %d brackets", mostBrackets)
	}
	return source, nil
}

var errTooLarge = errors.New("too large")

func readLimited(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, errTooLarge
	}
	return b, err
}

func (l *loader) readJSON(f file, source []byte) []document {
	source = bytes.TrimPrefix(source, []byte("\ufeff"))
	if !json.Valid(source) { // and no deeper than cue's parser can recurse
		var v any
		err := json.Unmarshal(source, &v)
		o := Origin{File: f.name}
		if at := (*json.SyntaxError)(nil); errors.As(err, &at) {
			o = position(f.name, source, int(at.Offset)-1)
		}
		if len(bytes.TrimSpace(source)) == 0 {
			l.empty(f)
			return nil
		}
		l.problem(problemf(o, "", "is not valid JSON: %v", err))
		return nil
	}
	root, err := cuejson.Extract(f.name, source)
	if err != nil {
		l.problem(problemf(Origin{File: f.name}, "", "is not valid JSON: %v", err))
		return nil
	}
	return []document{{file: f, root: root, source: source}}
}

// empty says that a file holds nothing. Only where it was named that is more than odd.
func (l *loader) empty(f file) {
	p := problemf(Origin{File: f.name}, "", "is empty")
	p.Warning = !f.named
	l.problem(p)
}

// position is the place of a byte.
func position(name string, source []byte, offset int) Origin {
	before := source[:max(0, min(offset, len(source)))]
	line := bytes.LastIndexByte(before, '\n') + 1
	return Origin{File: name, Line: 1 + bytes.Count(before, []byte("\n")), Column: 1 + utf8.RuneCount(before[line:])}
}

func (l *loader) readYAML(f file, source []byte) (documents []document) {
	defer func() {
		// YAML's parser counts these as line breaks, and cue, which looks its lines up in a table of newlines, then
		// reaches past the end of it.
		if r := recover(); r != nil {
			l.problem(problemf(Origin{File: f.name}, "look for line breaks other than newlines: U+0085, U+2028, U+2029", "can't be read as YAML"))
			documents = nil
		}
	}()
	source = newlines(source)
	decoder := yaml.NewDecoder(f.name, bytes.NewReader(source))
	for {
		root, err := decoder.Extract()
		if err == io.EOF {
			return documents
		}
		if err != nil {
			l.problem(syntaxProblem(f.name, source, err))
			return nil
		}
		if _, nothing := root.(*ast.BinaryExpr); nothing { // what cue makes of a text without any document
			l.empty(f)
			return documents
		}
		if null(root) {
			continue
		}
		documents = append(documents, document{file: f, root: root, source: source})
	}
}

// tooDeep finds brackets that open more often than any manifest needs; the parser's time grows with the square of the depth.
func tooDeep(name string, source []byte) (Origin, bool) {
	depth := 0
	for i, c := range source {
		switch c {
		case '[', '{':
			if depth++; depth > mostBrackets {
				return position(name, source, i), true
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return Origin{}, false
}

// newlines puts a newline for each carriage return that stands alone.
func newlines(source []byte) []byte {
	if !bytes.ContainsRune(source, '\r') {
		return source
	}
	source = bytes.Clone(source)
	for i, c := range source {
		if c == '\r' && (i+1 == len(source) || source[i+1] != '\n') {
			source[i] = '\n'
		}
	}
	return source
}

// syntaxHints say what to do about what YAML's parser finds, by a part of its words.
var syntaxHints = []struct{ part, hint string }{
	{"cannot start any token", "indent with spaces, not with tabs, and quote what begins with @, % or `"},
	{"mapping values are not allowed", "quote a value that holds a colon, and look at the indentation"},
	{"did not find expected key", "look at the indentation of this line and of those above it"},
	{"did not find expected", "look for a bracket or quotation mark that isn't closed"},
	{"found unexpected end of stream", "look for a quotation mark that isn't closed"},
	{"aliases expand to more than", "write the values out, or split the file"},
	{"exceeded max depth", "write it flatter"},
	{"could not find expected ':'", "write a colon and a space behind the key"},
	{"tab character", "indent with spaces, not with tabs"},
	{"invalid map key", "a key is a plain string"},
	{"cannot unmarshal tag", "leave the tag out"},
	{"value contains itself", "an alias (*name) can't stand within its own anchor (&name)"},
	{"unknown anchor", "an anchor (&name) must stand above its alias (*name)"},
}

var unknownAnchor = regexp.MustCompile(`unknown anchor '([^']+)'`)

func syntaxProblem(name string, source []byte, err error) Problem {
	o := Origin{File: name}
	what := strings.TrimPrefix(strings.TrimPrefix(err.Error(), name+":"), "yaml:")
	if line, rest, ok := strings.Cut(what, ":"); ok {
		if n, err := strconv.Atoi(line); err == nil {
			o.Line, what = n, rest
		}
	}
	what = strings.TrimPrefix(strings.TrimSpace(what), "line ")
	if m := unknownAnchor.FindStringSubmatch(what); m != nil && o.Line == 0 {
		o = position(name, source, bytes.Index(source, []byte("*"+m[1])))
	}
	for _, h := range syntaxHints {
		if strings.Contains(what, h.part) {
			return problemf(o, h.hint, "%s", what)
		}
	}
	return problemf(o, "", "%s", what)
}
