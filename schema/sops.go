package schema

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"
	"filippo.io/age"
	"filippo.io/age/armor"
)

// Files of sops are read here, by age alone: sops' own library brings the clients of five clouds along. See
// docs/decisions/006-sops-without-its-library.md.

const (
	sealedPrefix = "ENC[AES256_GCM,"
	sealedHint   = "encrypt values alone, as encrypted_regex: '^(secret|password)$' does"
)

// decrypt puts plain literals in the place of those that sops has encrypted in a file, where they stand. Of a file that
// was changed since, nothing is taken.
func (l *loader) decrypt(documents []document) []document {
	first := slices.IndexFunc(documents, func(d document) bool { return d.metadata() != nil })
	if first < 0 {
		return documents
	}
	metadata := documents[first].metadata()
	at := documents[first].label(metadata, Origin{File: documents[first].name})
	s := &seal{Hash: sha512.New()}
	for i, d := range documents {
		documents[i].root, documents[i].sealed = d.unsealed(), map[ast.Expr]bool{}
	}
	if err := s.describe(documents[first], metadata); err != nil {
		l.problem(problemf(at, "encrypt it anew by sops", "sops: %v", err))
		return nil
	}
	if l.options.AsWritten {
		for _, d := range documents {
			mark(d)
		}
		return documents
	}
	if problem := s.open(l.options.AgeKeys); problem != nil {
		problem.Origin = at
		l.problem(*problem)
		return nil
	}
	for _, d := range documents {
		s.document = d
		s.walk(d.root, nil)
	}
	if s.problem == nil && !s.genuine() {
		p := problemf(at, "edit it by sops alone, and look who changed it", "sops: the file was changed since it was encrypted: its MAC doesn't fit")
		s.problem = &p
	}
	if s.problem != nil {
		l.problem(*s.problem)
		return nil
	}
	return documents
}

// metadata is the field that sops adds to what it encrypts.
func (d document) metadata() *ast.Field {
	if root, ok := d.root.(*ast.StructLit); ok {
		if f := d.members(root)["sops"]; f != nil {
			if _, ok := f.Value.(*ast.StructLit); ok {
				return f
			}
		}
	}
	return nil
}

// unsealed is the document's root without that field.
func (d document) unsealed() ast.Expr {
	root, ok := d.root.(*ast.StructLit)
	f := d.metadata()
	if !ok || f == nil {
		return d.root
	}
	rest := *root
	rest.Elts = slices.DeleteFunc(slices.Clone(root.Elts), func(e ast.Decl) bool { return e == ast.Decl(f) })
	return &rest
}

// mark notes which literals are encrypted, and leaves them so.
func mark(d document) {
	ast.Walk(d.root, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.HasPrefix(spelled(lit), sealedPrefix) {
			d.sealed[lit] = true
		}
		return true
	}, nil)
}

// seal is how a file was encrypted, and the MAC of what was read of it so far.
type seal struct {
	hash.Hash
	document document
	problem  *Problem // the first; what stands behind it isn't read

	keys       []string // the data key, as encrypted to each recipient
	recipients []string
	other      bool // there are keys of other kinds
	groups     bool // parts of the data key are encrypted apart

	key           []byte
	mac, modified string
	encrypts      func(path []string, text string) bool
	onlyEncrypted bool // the MAC is of what is encrypted
}

// describe reads the metadata.
func (s *seal) describe(d document, metadata *ast.Field) error {
	root, _ := metadata.Value.(*ast.StructLit)
	fields := d.members(root)
	say := func(name string) string { v, _ := text(fields, name); return v }
	list := func(name string) []ast.Expr {
		if f := fields[name]; f != nil {
			if l, ok := f.Value.(*ast.ListLit); ok {
				return l.Elts
			}
		}
		return nil
	}
	for _, elem := range list("age") {
		if key, ok := elem.(*ast.StructLit); ok {
			members := d.members(key)
			enc, _ := text(members, "enc")
			recipient, _ := text(members, "recipient")
			s.keys, s.recipients = append(s.keys, enc), append(s.recipients, recipient)
		}
	}
	s.groups = len(list("key_groups")) > 0
	s.other = slices.ContainsFunc([]string{"kms", "gcp_kms", "azure_kv", "hc_vault", "pgp", "hckms"}, func(name string) bool { return len(list(name)) > 0 })
	if s.mac = say("mac"); s.mac == "" {
		return errors.New("there is no MAC")
	}
	modified, err := time.Parse(time.RFC3339, say("lastmodified"))
	if err != nil {
		return errors.New("lastmodified is not a time")
	}
	s.modified = modified.Format(time.RFC3339)
	if s.onlyEncrypted = say("mac_only_encrypted") == "true"; s.onlyEncrypted {
		s.Write(onlyEncryptedStart)
	}
	return s.choose(say)
}

// onlyEncryptedStart is what sops feeds a MAC first that doesn't cover plain values: the SHA-256 of "sops".
var onlyEncryptedStart = []byte{0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0xb,
	0xb, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69}

// choose finds out which values are encrypted: one of these rules holds, or else all are.
func (s *seal) choose(say func(string) string) error {
	for _, name := range []string{"encrypted_comment_regex", "unencrypted_comment_regex"} {
		if say(name) != "" { // comments have gone by now; the values tell
			s.encrypts = func(_ []string, text string) bool { return strings.HasPrefix(text, sealedPrefix) }
			return nil
		}
	}
	s.encrypts = func([]string, string) bool { return true }
	for _, rule := range []struct {
		name                string
		encrypted, isSuffix bool
	}{{"unencrypted_suffix", false, true}, {"encrypted_suffix", true, true}, {"unencrypted_regex", false, false}, {"encrypted_regex", true, false}} {
		says := say(rule.name)
		if says == "" {
			continue
		}
		fits := func(part string) bool { return strings.HasSuffix(part, says) }
		if !rule.isSuffix {
			pattern, err := regexp.Compile(says)
			if err != nil {
				return fmt.Errorf("%s is not a regular expression", rule.name)
			}
			fits = pattern.MatchString
		}
		s.encrypts = func(path []string, _ string) bool { return slices.ContainsFunc(path, fits) == rule.encrypted }
	}
	return nil
}

// open decrypts the data key.
func (s *seal) open(keys string) *Problem {
	wrong := func(hint, format string, args ...any) *Problem {
		p := problemf(Origin{}, hint, "sops: "+format, args...)
		return &p
	}
	const give = "give the key by SOPS_AGE_KEY or SOPS_AGE_KEY_FILE"
	switch {
	case s.groups:
		return wrong("encrypt it to age recipients in one group", "it is encrypted to several groups of keys")
	case len(s.keys) == 0 && s.other:
		return wrong("add an age recipient", "it is encrypted to keys of other kinds than age")
	case len(s.keys) == 0:
		return wrong("encrypt it to an age recipient", "it is encrypted to nobody")
	case strings.TrimSpace(keys) == "":
		return wrong(give, "it is encrypted, and there is no age key")
	}
	identities, err := age.ParseIdentities(strings.NewReader(keys))
	if err != nil {
		return wrong("write AGE-SECRET-KEY-1…, as age-keygen does", "the age keys can't be read") // the error may quote them
	}
	for _, enc := range s.keys {
		r, err := age.Decrypt(armor.NewReader(strings.NewReader(enc)), identities...)
		if err != nil {
			continue
		}
		if s.key, err = io.ReadAll(r); err == nil && len(s.key) == 32 {
			return nil
		}
	}
	return wrong(give, "none of the age keys opens it; it is encrypted to %s", strings.Join(s.recipients, ", "))
}

// walk replaces what is encrypted below a node, and adds all values to the MAC in their order.
func (s *seal) walk(n ast.Expr, path []string) ast.Expr {
	switch n := n.(type) {
	case *ast.StructLit:
		for _, e := range n.Elts {
			if f, ok := e.(*ast.Field); ok {
				name, _, err := ast.LabelName(f.Label)
				if err != nil {
					continue
				}
				if v := s.walk(f.Value, append(slices.Clip(path), name)); v != nil {
					f.Value = v
				}
			}
		}
	case *ast.ListLit:
		kept := n.Elts[:0]
		for _, e := range n.Elts {
			if e = s.walk(e, path); e != nil {
				kept = append(kept, e)
			}
		}
		n.Elts = kept
	default:
		if lit, negative := literalOf(n); lit != nil && lit.Kind != token.NULL && s.problem == nil {
			return s.leaf(n, lit, negative, path)
		}
	}
	return n
}

// leaf is the literal that stands for what was encrypted; nil for a comment, which sops leaves among the elements of a list.
func (s *seal) leaf(n ast.Expr, lit *ast.BasicLit, negative bool, path []string) ast.Expr {
	says := spelled(lit)
	if negative {
		says = "-" + says
	}
	if !s.encrypts(path, says) {
		if !s.onlyEncrypted {
			s.Write(macOf(lit.Kind, says))
		}
		return n
	}
	if says == "" && lit.Kind == token.STRING { // sops leaves it as it is
		return n
	}
	kind, plain, err := s.plain(lit, says, path)
	if err != nil {
		p := problemf(s.document.at(n, Origin{File: s.document.name}), "edit it by sops alone, and look who changed it", "sops: %s: %v", strings.Join(path, "."), err)
		s.problem = &p
		return n
	}
	if kind == token.COMMENT {
		return nil
	}
	s.Write(macOf(kind, plain))
	value := plain
	if kind == token.STRING {
		value = literal.String.Quote(plain)
	}
	out := &ast.BasicLit{Kind: kind, Value: value}
	ast.SetPos(out, n.Pos())
	s.document.sealed[out] = true
	return out
}

// plain is what an encrypted literal stands for.
func (s *seal) plain(lit *ast.BasicLit, says string, path []string) (token.Token, string, error) {
	if lit.Kind != token.STRING || !strings.HasPrefix(says, sealedPrefix) {
		return 0, "", errors.New("isn't encrypted, and should be")
	}
	plain, kind, err := unseal(says, s.key, strings.Join(path, ":")+":")
	if err != nil {
		return 0, "", err
	}
	switch kind {
	case "str", "bytes", "time":
		return token.STRING, plain, nil
	case "comment":
		return token.COMMENT, "", nil
	case "int":
		if _, err := strconv.Atoi(plain); err == nil {
			return token.INT, plain, nil
		}
	case "float":
		if _, err := strconv.ParseFloat(plain, 64); err == nil {
			return token.FLOAT, plain, nil
		}
	case "bool":
		if b, err := strconv.ParseBool(plain); err == nil && b {
			return token.TRUE, "true", nil
		} else if err == nil {
			return token.FALSE, "false", nil
		}
	}
	return 0, "", fmt.Errorf("holds what is called a %s", kind)
}

// genuine tells whether the MAC is that of what was read.
func (s *seal) genuine() bool {
	mac, _, err := unseal(s.mac, s.key, s.modified)
	return err == nil && subtle.ConstantTimeCompare([]byte(mac), fmt.Appendf(nil, "%X", s.Sum(nil))) == 1
}

// macOf is a value as it goes into the MAC.
func macOf(kind token.Token, says string) []byte {
	switch kind {
	case token.TRUE:
		return []byte("True")
	case token.FALSE:
		return []byte("False")
	case token.INT, token.FLOAT:
		if n, ok := new(big.Int).SetString(says, 0); ok && kind == token.INT {
			return []byte(n.String())
		}
		if f, err := strconv.ParseFloat(strings.ReplaceAll(says, "_", ""), 64); err == nil {
			return strconv.AppendFloat(nil, f, 'f', -1, 64)
		}
	}
	return []byte(says)
}

var sealed = regexp.MustCompile(`^ENC\[AES256_GCM,data:(.+),iv:(.+),tag:(.+),type:(.+)\]$`)

var errChanged = errors.New("can't be decrypted: it was changed, or came from another place")

// unseal decrypts ENC[AES256_GCM,…]. Where a value stands is part of what protects it.
func unseal(s string, key []byte, place string) (plain, kind string, err error) {
	m := sealed.FindStringSubmatch(s)
	if m == nil {
		return "", "", errChanged
	}
	var parts [3][]byte
	for i := range parts {
		if parts[i], err = base64.StdEncoding.DecodeString(m[i+1]); err != nil {
			return "", "", errChanged
		}
	}
	data, nonce, tag := parts[0], parts[1], parts[2]
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", "", err
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	if err != nil {
		return "", "", errChanged
	}
	b, err := gcm.Open(nil, nonce, append(data, tag...), []byte(place))
	if err != nil {
		return "", "", errChanged
	}
	return string(b), m[4], nil
}
