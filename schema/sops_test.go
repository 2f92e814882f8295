package schema

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// What stands in testdata/sops was encrypted to the first key.
const (
	ageKey   = "AGE-SECRET-KEY-1RFNNQAPEKLU5UV6835LLTN54KY3MNQPWGP35Z364WCJ6ZHTNXVCQJYV8KP"
	otherKey = "AGE-SECRET-KEY-1GEXHJ0N52QKVXJP5STP25JDG4NT8PJUK97RZKHPUW7S5RX3Y39JQJLYYWP"
)

// encryptedFile is a file of testdata/sops with something in it replaced.
func encryptedFile(t *testing.T, name string, replace ...string) fstest.MapFS {
	t.Helper()
	text, err := os.ReadFile("testdata/sops/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		pattern := regexp.MustCompile(replace[i])
		if !pattern.Match(text) {
			t.Fatalf("%s holds no %s", name, replace[i])
		}
		text = pattern.ReplaceAll(text, []byte(replace[i+1]))
	}
	return fstest.MapFS{name: {Data: text}}
}

// sameNumber takes numbers for one, of which sops spells some anew.
var sameNumber = cmp.Comparer(func(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	y, wrong := strconv.ParseFloat(b, 64)
	return a == b || err == nil && wrong == nil && x == y && !strings.HasPrefix(a, "0")
})

func TestFilesThatSopsEncryptedAreReadAsTheirPlainOnes(t *testing.T) {
	names, err := filepath.Glob("testdata/sops/*")
	if err != nil || len(names) < 11 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		name = path.Base(name)
		if path.Ext(name) == ".md" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			plain := Load(os.DirFS("testdata/sops"), Options{Server: "eu", Paths: []string{"plain" + path.Ext(name)}})
			d := Load(encryptedFile(t, name), Options{Server: "eu", AgeKeys: "# a comment\n" + otherKey + "\n" + ageKey + "\n"})
			for _, p := range append(plain.Problems, d.Problems...) {
				t.Error(p)
			}
			if len(d.Realms) != len(plain.Realms) || len(d.Realms) == 0 {
				t.Fatalf("%d realms, want %d", len(d.Realms), len(plain.Realms))
			}
			text, _ := os.ReadFile("testdata/sops/" + name)
			lines := strings.Split(string(text), "\n")
			for ref, r := range plain.Realms {
				for a, o := range r.State {
					got := d.Realms[ref].State[a]
					if diff := cmp.Diff(o.Fields, got.Fields, sameNumber); diff != "" {
						t.Errorf("%s of %s (-want +got):\n%s", a, ref, diff)
					}
					for field, origin := range got.Origins {
						line := lines[origin.Line-1]
						if !strings.Contains(line, field[strings.LastIndex(field, ".")+1:]) {
							t.Errorf("%s of %s is said to stand at %s: %s", field, a, origin, line)
						}
						if _, isList := o.Fields[field].([]any); !isList && strings.Contains(line, "ENC[") != got.Inputs[field] && !strings.HasSuffix(name, "json") {
							t.Errorf("%s of %s counts as secret: %v, and stands there as %s", field, a, got.Inputs[field], line)
						}
					}
				}
			}
		})
	}
}

func TestAFileOfSopsThatWasChangedIsNotRead(t *testing.T) {
	for _, c := range []struct {
		name, file, keys string
		replace          []string
		want             string
	}{
		{"as it is", "regex.yaml", ageKey, nil, ""},
		{"without a key", "regex.yaml", "", nil, `^regex\.yaml:\d+:1: sops: it is encrypted, and there is no age key; give the key by SOPS_AGE_KEY or SOPS_AGE_KEY_FILE$`},
		{"with another's key", "regex.yaml", otherKey, nil, `^regex\.yaml:\d+:1: sops: none of the age keys opens it; it is encrypted to age14sufva05.*; give the key`},
		{"with no key", "regex.yaml", "AGE-SECRET-KEY-1NOT", nil, `^regex\.yaml:\d+:1: sops: the age keys can't be read; write AGE-SECRET-KEY-1…, as age-keygen does$`},
		{"a plain value changed", "regex.yaml", ageKey, []string{"accessTokenLifespan: 300", "accessTokenLifespan: 301"}, `^regex\.yaml:\d+:1: sops: the file was changed since it was encrypted: its MAC doesn't fit; edit it by sops alone, and look who changed it$`},
		{"a plain value changed that isn't sealed", "onlymac.yaml", ageKey, []string{"accessTokenLifespan: 300", "accessTokenLifespan: 301"}, ""},
		{"a plain value added", "regex.yaml", ageKey, []string{"accessTokenLifespan: 300", "accessTokenLifespan: 300\n        rememberMe: true"}, "MAC doesn't fit"},
		{"values in another order", "regex.yaml", ageKey, []string{"(?s)(- https://a.example/..)(.*?)(- https://b.example/..)", "$3$2$1"}, "MAC doesn't fit"},
		{"an encrypted value changed", "regex.yaml", ageKey, []string{"password: ENC.AES256_GCM,data:(..)", "password: ENC[AES256_GCM,data:zz"}, `^regex\.yaml:\d+:23: sops: spec\.realm\.smtpServer\.password: can't be decrypted: it was changed, or came from another place; edit it`},
		{"an encrypted value moved", "regex.yaml", ageKey, []string{`(?s)password: (ENC[^\n]*)(.*)secret: (ENC[^\n]*)`, "password: $3${2}secret: $1"}, "smtpServer.password: can't be decrypted"},
		{"an encrypted value written out", "onlymac.yaml", ageKey, []string{"password: ENC[^\n]*", "password: mine"}, `^onlymac\.yaml:\d+:23: sops: spec\.realm\.smtpServer\.password: isn't encrypted, and should be`},
		{"an encrypted value taken out", "onlymac.yaml", ageKey, []string{"password: ENC[^\n]*", ""}, "MAC doesn't fit"},
		{"the MAC of another time", "regex.yaml", ageKey, []string{`lastmodified: "20`, `lastmodified: "19`}, "MAC doesn't fit"},
		{"no MAC", "regex.yaml", ageKey, []string{`\n    mac: [^\n]*`, ""}, "there is no MAC"},
		{"a MAC that covers less", "regex.yaml", ageKey, []string{`\n    mac: `, "\n    mac_only_encrypted: true\n    mac: "}, "MAC doesn't fit"},
		{"no time", "regex.yaml", ageKey, []string{`lastmodified: "`, `lastmodified: "x`}, "lastmodified is not a time"},
		{"another rule", "regex.yaml", ageKey, []string{`encrypted_regex: \^`, "encrypted_regex: ^(accessTokenLifespan)|"}, "accessTokenLifespan: isn't encrypted, and should be"},
		{"a rule that is none", "regex.yaml", ageKey, []string{`encrypted_regex: .*`, "encrypted_regex: '('"}, "encrypted_regex is not a regular expression"},
		{"of another kind of key", "regex.yaml", ageKey, []string{"\n    age:", "\n    pgp: [{fp: x}]\n    other:"}, "sops: it is encrypted to keys of other kinds than age; add an age recipient"},
		{"of several groups", "regex.yaml", ageKey, []string{"\n    age:", "\n    key_groups: [{}]\n    age:"}, "it is encrypted to several groups of keys"},
		{"of nobody", "regex.yaml", ageKey, []string{"\n    age:", "\n    other:"}, "it is encrypted to nobody"},
		{"without its key sops", "regex.yaml", ageKey, []string{"(?s)\nsops:.*?(\n---|$)", "$1"}, `smtpServer\.password: this is encrypted by sops, and the file has no key sops; encrypt the whole file anew`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Load(encryptedFile(t, c.file, c.replace...), Options{Server: "eu", AgeKeys: c.keys})
			said := ""
			for _, p := range d.Problems {
				said += p.String() + "\n"
				for _, secret := range []string{"hunter2", "hunter3", "AGE-SECRET-KEY-1RF", "1NOT"} {
					if strings.Contains(p.String(), secret) {
						t.Errorf("a problem shows %s: %s", secret, p)
					}
				}
			}
			if c.want == "" {
				if said != "" || len(d.Realms) != 2 {
					t.Errorf("%d realms, and problems: %s", len(d.Realms), said)
				}
				return
			}
			if !regexp.MustCompile("(?m)" + c.want).MatchString(said) {
				t.Errorf("says %s, want %s", said, c.want)
			}
			if r := d.Realms[RealmRef{"eu", "acme"}]; r != nil && len(Blocking(d.Problems, r.Ref)) == 0 {
				t.Error("the realm is taken all the same")
			}
		})
	}
}

func TestAnEncryptedValueIsNeverShown(t *testing.T) {
	d := Load(encryptedFile(t, "unregex.yaml"), Options{Server: "eu", AgeKeys: ageKey})
	for _, p := range d.Problems {
		t.Error(p)
	}
	client := d.Realms[RealmRef{"eu", "acme"}].State["clients/portal"]
	for field := range client.Fields {
		if field != "clientId" && !d.Facts.Secret(client, field) {
			t.Errorf("%s was encrypted and doesn't count as secret", field)
		}
	}
	// A problem with a value that was encrypted: another file declares it otherwise, or it isn't what its field holds.
	tree := encryptedFile(t, "unregex.yaml")
	tree["z.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(acme, "Acme}", "Other, clients: [{clientId: portal, secret: mine}]}", 1))}
	wrong := encryptedFile(t, "onlymac.yaml", "smtpServer:\n", "smtpServer: {}\n        accessTokenLifespan:\n", "accessTokenLifespan: 300\n", "")
	for name, d := range map[string]Declared{"conflict": Load(tree, Options{AgeKeys: ageKey}), "type": Load(wrong, Options{AgeKeys: ageKey})} {
		if len(d.Problems) == 0 {
			t.Errorf("%s: no problem", name)
		}
		for _, p := range d.Problems {
			if s := p.String(); strings.Contains(s, "hunter") || strings.Contains(s, "Two") {
				t.Errorf("%s shows an encrypted value: %s", name, s)
			}
		}
	}
}

func TestWhatIsEncryptedIsComparedAsWritten(t *testing.T) {
	d := Load(encryptedFile(t, "regex.yaml"), Options{Server: "eu", AsWritten: true})
	if len(d.Problems) > 0 {
		t.Error(d.Problems)
	}
	if got := d.Realms[RealmRef{"eu", "acme"}].State["clients/portal"].Fields["secret"]; got != "(encrypted)" {
		t.Errorf("an encrypted value is %v", got)
	}
	d = Load(encryptedFile(t, "all.yaml"), Options{Server: "eu", AsWritten: true})
	if len(d.Problems) != 2 || !strings.Contains(d.Problems[0].String(), "apiVersion and kind are encrypted, and what is written is to be compared; encrypt values alone") {
		t.Errorf("of a file that is encrypted as a whole it says %q", d.Problems)
	}
}
