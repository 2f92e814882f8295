package distribution

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The test binary is also a process that fetches a distribution, to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "fetch" {
		_, err := Store{Dir: os.Args[2], Source: os.Args[3]}.Distribution(context.Background(), "1.2.3")
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// small is a distribution for what has nothing to do with Keycloak itself.
var small = []struct{ name, text string }{
	{"keycloak-1.2.3/", ""},
	{"keycloak-1.2.3/version.txt", "Keycloak - Version 1.2.3\n"},
	{"keycloak-1.2.3/bin/kc.sh", "#!/bin/sh\n"},
	{"keycloak-1.2.3/lib/quarkus-run.jar", "a jar"},
}

func tarball(t *testing.T, more ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	w := tar.NewWriter(compressed)
	for _, f := range small {
		header := &tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o644, Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if strings.HasSuffix(f.name, ".sh") {
			header.Mode = 0o755
		}
		add(t, w, header, f.text)
	}
	for _, name := range more {
		add(t, w, &tar.Header{Name: name, Size: 1, Mode: 0o644, Typeflag: tar.TypeReg}, "x")
	}
	if err := errors.Join(w.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func add(t *testing.T, w *tar.Writer, header *tar.Header, text string) {
	t.Helper()
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func zipped(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range small {
		header := &zip.FileHeader{Name: f.name}
		header.SetMode(0o644)
		if strings.HasSuffix(f.name, ".sh") {
			header.SetMode(0o755)
		}
		file, err := w.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(file, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func hashes(text []byte) (long, short string) {
	a, b := sha256.Sum256(text), sha1.Sum(text)
	return hex.EncodeToString(a[:]), hex.EncodeToString(b[:])
}

// names are the entries of a folder, but for the lock.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestADistributionIsTakenOnceFromWhereverItIs(t *testing.T) {
	from := t.TempDir()
	write(t, filepath.Join(from, "kc-1.2.3.tar.gz"), tarball(t))
	write(t, filepath.Join(from, "kc-1.2.3.zip"), zipped(t))
	for _, f := range small[1:] {
		write(t, filepath.Join(from, strings.Replace(f.name, "keycloak-1.2.3", "kc-1.2.3", 1)), []byte(f.text))
	}
	if err := os.Chmod(filepath.Join(from, "kc-1.2.3", "bin", "kc.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	long, short := hashes(tarball(t))
	var gets atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/1.2.3/kc.tar.gz":
			gets.Add(1)
			w.Write(tarball(t))
		case "/1.2.3/kc.tar.gz.sha1":
			fmt.Fprintf(w, "%s  kc.tar.gz\n", short)
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	for _, source := range []string{"kc-{version}.tar.gz", "kc-{version}.zip", "kc-{version}", "web"} {
		s := Store{Dir: t.TempDir(), Source: filepath.Join(from, source)}
		if source == "web" {
			s.Source = web.URL + "/{version}/kc.tar.gz"
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				dir, err := s.Distribution(t.Context(), "1.2.3")
				if err != nil {
					t.Errorf("%s: %v", source, err)
					return
				}
				if info, err := os.Stat(filepath.Join(dir, "bin", "kc.sh")); err != nil || info.Mode().Perm() != 0o755 {
					t.Errorf("%s: kc.sh: %v, %v", source, info, err)
				}
				if text, err := os.ReadFile(filepath.Join(dir, "lib", "quarkus-run.jar")); err != nil || string(text) != "a jar" {
					t.Errorf("%s: quarkus-run.jar: %q, %v", source, text, err)
				}
			})
		}
		all.Wait()
		if diff := cmp.Diff([]string{"keycloak-1.2.3", "keycloak-1.2.3.sha256"}, names(t, s.Dir)); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
		pinned, err := os.ReadFile(filepath.Join(s.Dir, "keycloak-1.2.3.sha256"))
		if source == "web" && (err != nil || string(pinned) != long+"  "+web.URL+"/1.2.3/kc.tar.gz\n") {
			t.Errorf("pinned is %q, %v", pinned, err)
		}
	}
	if gets.Load() != 1 {
		t.Errorf("it was fetched %d times", gets.Load())
	}
}

func TestAnArchiveThatIsNotTheOneIsRefusedAndNothingOfItStays(t *testing.T) {
	good := tarball(t)
	long, _ := hashes(good)
	wrong := strings.Repeat("0", 64)
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for _, c := range []struct {
		name, version, source, want string
		archive                     []byte
		beside, sums                map[string]string
		pinned                      string
	}{
		{name: "another sum is published", archive: good, beside: map[string]string{".sha256": wrong + "  kc.tar.gz"}, want: "has the sum " + long + " instead of " + wrong + ": it is damaged, or not what was published"},
		{name: "another SHA-1 is published", archive: good, beside: map[string]string{".sha1": wrong[:40]}, want: "instead of " + wrong[:40]},
		{name: "the published sum is empty", archive: good, beside: map[string]string{".sha256": "\n"}, want: "instead of nothing"},
		{name: "another sum was given", archive: good, sums: map[string]string{"1.2.3": wrong}, want: "instead of " + wrong},
		{name: "it was another one before", archive: good, pinned: wrong, want: "is another one than before: its SHA-256 sum was " + wrong + " and is " + long},
		{name: "another version is in it", archive: good, version: "1.2.4", want: "what was unpacked is Keycloak 1.2.3 instead of 1.2.4"},
		{name: "it leads out", archive: tarball(t, "keycloak-1.2.3/../../evil"), want: "escapes"},
		{name: "it is cut", archive: good[:len(good)-20], want: "unexpected EOF"},
		{name: "it is a page", archive: []byte("<html>404</html>"), want: "is neither a tar.gz nor a zip"},
		{name: "it isn't there", want: "no such file"},
		{name: "nobody publishes a sum", source: web.URL + "/kc.tar.gz", want: "neither " + web.URL + "/kc.tar.gz.sha256 nor .sha1 is there, and no sum was given"},
	} {
		from := filepath.Join(t.TempDir(), "kc.tar.gz")
		s := Store{Dir: t.TempDir(), Source: from, Sums: c.sums}
		if c.source != "" {
			s.Source = c.source
		}
		if c.archive != nil {
			write(t, from, c.archive)
		}
		for kind, text := range c.beside {
			write(t, from+kind, []byte(text))
		}
		var want []string
		if c.pinned != "" {
			want = []string{"keycloak-1.2.3.sha256"}
			write(t, filepath.Join(s.Dir, want[0]), []byte(c.pinned+"  somewhere\n"))
		}
		version := "1.2.3"
		if c.version != "" {
			version = c.version
		}
		if _, err := s.Distribution(t.Context(), version); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v", c.name, err)
		}
		if diff := cmp.Diff(want, names(t, s.Dir)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestAKilledProcessLeavesNothingHalf(t *testing.T) {
	good := tarball(t)
	long, _ := hashes(good)
	half, killed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/kc.tar.gz":
			w.Write(good[:len(good)/2])
			w.(http.Flusher).Flush()
			once.Do(func() { close(half) })
			<-killed
			w.Write(good[len(good)/2:])
		case "/kc.tar.gz.sha256":
			io.WriteString(w, long)
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	s := Store{Dir: t.TempDir(), Source: web.URL + "/kc.tar.gz"}
	other := exec.Command(os.Args[0], "fetch", s.Dir, s.Source)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Distribution(ctx, "1.2.3"); err == nil || !strings.Contains(err.Error(), "wait for another process") {
		t.Errorf("while another process fetches it: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other.Wait()
	close(killed)
	if !slices.ContainsFunc(names(t, s.Dir), func(name string) bool { return strings.HasSuffix(name, ".part") }) {
		t.Errorf("it was killed in between, and left %q", names(t, s.Dir))
	}
	if _, err := s.Distribution(t.Context(), "1.2.3"); err != nil {
		t.Fatal(err)
	}
	if err := s.Reclaim(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keycloak-1.2.3", "keycloak-1.2.3.sha256"}, names(t, s.Dir)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatNobodyNamesIsReclaimed(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	yesterday := time.Now().Add(-24 * time.Hour)
	builds := map[string]Build{}
	for _, name := range []string{"keycloak-1.2.3-aaaaaaaaaaaa", "keycloak-1.2.3-bbbbbbbbbbbb", "keycloak-1.2.3-cccccccccccc", "keycloak-1.2.2-dddddddddddd", "keycloak-1.2.2", "keycloak-1.2.3", "trial.5"} {
		b := Build{Dir: filepath.Join(s.Dir, name)}
		write(t, filepath.Join(b.Dir, "conf", cacheConfig), nil)
		builds[name[strings.LastIndexByte(name, '-')+1:]] = b
	}
	homes := t.TempDir()
	for _, name := range []string{"aaaaaaaaaaaa", "bbbbbbbbbbbb"} {
		if err := builds[name].Home(filepath.Join(homes, name), Spec{}, Node{}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(homes, "bbbbbbbbbbbb")); err != nil {
		t.Fatal(err)
	}
	for _, name := range names(t, s.Dir) {
		if !strings.HasSuffix(name, "cccccccccccc") { // which was asked for just now
			if err := os.Chtimes(filepath.Join(s.Dir, name), yesterday, yesterday); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := s.Reclaim(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"keycloak-1.2.3", "keycloak-1.2.3-aaaaaaaaaaaa", "keycloak-1.2.3-aaaaaaaaaaaa.homes", "keycloak-1.2.3-cccccccccccc"}
	if diff := cmp.Diff(want, names(t, s.Dir)); diff != "" {
		t.Error(diff)
	}
}
