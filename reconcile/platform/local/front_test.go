package local

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloakwork/cloakwork/schema"
)

func TestAFrontIsWhatIsDeclared(t *testing.T) {
	no := false
	secure := schema.TLS{Certificate: "tls/tls.crt", Key: "key"}
	for name, c := range map[string]struct {
		declared    schema.Deployment
		http, https string
		trusted     []string
		fails       bool
	}{
		"nothing":           {http: "127.0.0.1:8080"},
		"an address":        {declared: schema.Deployment{Regions: []schema.Region{{Name: "eu", Address: "127.0.1.1"}}, HTTP: schema.HTTP{HTTPPort: 80}}, http: "127.0.1.1:80"},
		"TLS":               {declared: schema.Deployment{TLS: secure, HTTP: schema.HTTP{HTTPPort: 80}}, https: "127.0.0.1:8443"},
		"neither":           {declared: schema.Deployment{HTTP: schema.HTTP{HTTPEnabled: &no}}, fails: true},
		"proxies before it": {declared: schema.Deployment{AdditionalOptions: []schema.Variable{{Name: "proxy-trusted-addresses", Value: "10.0.0.7, 10.1.0.0/16"}}}, http: "127.0.0.1:8080", trusted: []string{"10.0.0.7/32", "10.1.0.0/16"}},
	} {
		c.declared.Files = fstest.MapFS{"tls/tls.crt": {Data: []byte("certificate")}}
		f, err := frontOf(c.declared, "eu")
		if (err != nil) != c.fails || !c.fails && (f.HTTP != c.http || f.HTTPS != c.https || !slices.Equal(f.Trusted, c.trusted)) {
			t.Errorf("%s: %+v %v", name, f, err)
		}
		if fields, err := f.fields(); err != nil || len(fields) != 11 {
			t.Errorf("%s: %v %v: what isn't there isn't compared", name, fields, err)
		}
	}
}

func TestTheEndOfALogTellsMoreThanThatTheNodeIsNotReady(t *testing.T) {
	log := filepath.Join(t.TempDir(), "eu-0.log")
	text := "INFO starts\nERROR the reason\n" + strings.Repeat("\tat java.base/java.lang.Thread.run(Thread.java:840)\n", 100) + strings.Repeat("INFO [io.smallrye.health] SRHCK01001: Reporting health down status\n", 1000)
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tail(log, 30); got != "INFO starts\nERROR the reason" {
		t.Errorf("the end is %q", got)
	}
}

func TestTooLittleRoomOnADiskIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := room(dir, 1<<62); err == nil || !strings.Contains(err.Error(), "the disk of "+dir+" has ") || !strings.Contains(err.Error(), "free some") {
		t.Errorf("says %v", err)
	}
	for _, dir := range []string{dir, filepath.Join(dir, "none"), ""} {
		if err := room(dir, 1); err != nil {
			t.Errorf("%q: %v", dir, err)
		}
	}
}
