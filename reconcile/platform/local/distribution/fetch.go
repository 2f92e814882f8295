package distribution

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// fetch brings a distribution into dir. The lock is held.
func (s Store) fetch(ctx context.Context, version, dir string) error {
	err := makeFolder(dir, func(part string) error {
		archive, sums, err := s.archive(ctx, version, filepath.Dir(dir))
		if err != nil {
			return err
		}
		defer archive.done()
		sum, err := archive.check(append(sums, s.Sums[version]), dir+".sha256")
		if err != nil {
			return err
		}
		s.say("unpacking Keycloak %s", version)
		if err := archive.unpack(part); err != nil {
			return err
		}
		if err := isKeycloak(part, version); err != nil {
			return err
		}
		return pin(dir+".sha256", sum, archive.from)
	})
	if err != nil {
		return fmt.Errorf("get Keycloak %s: %w", version, err)
	}
	return nil
}

// archive is a distribution on this machine.
type archive struct {
	path      string // a file, or a folder
	from      string // where it came from, for errors
	temporary bool
}

func (a archive) done() {
	if a.temporary {
		os.Remove(a.path)
	}
}

// archive finds or fetches the archive, and the sums that are published beside it.
func (s Store) archive(ctx context.Context, version, dir string) (archive, []string, error) {
	source := strings.ReplaceAll(s.Source, "{version}", version)
	switch {
	case source == "":
		return s.maven(ctx, version)
	case strings.HasPrefix(source, "https://"), strings.HasPrefix(source, "http://"):
		return s.download(ctx, version, source, dir)
	default:
		sums, err := publishedBeside(source)
		return archive{path: source, from: source}, sums, err
	}
}

// maven has mvn bring the archive into the local repository. It refuses what doesn't have the sum that the repository
// publishes, which then lies beside the archive.
func (s Store) maven(ctx context.Context, version string) (a archive, sums []string, err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return a, nil, fmt.Errorf("find the local Maven repository: %w", err)
	}
	repository := filepath.Join(home, ".m2", "repository") // Maven's own default; asking mvn itself would take seconds
	a.path = filepath.Join(repository, "org/keycloak/keycloak-quarkus-dist", version, "keycloak-quarkus-dist-"+version+".tar.gz")
	a.from = "Maven's org.keycloak:keycloak-quarkus-dist:" + version + ":tar.gz"
	if !exists(a.path) {
		s.say("fetching Keycloak %s (160 MB)", version)
		get := func() ([]byte, error) {
			return exec.CommandContext(ctx, "mvn", "-q", "-B", "--strict-checksums", "dependency:get", "-Dmaven.repo.local="+repository,
				"-Dartifact=org.keycloak:keycloak-quarkus-dist:"+version+":tar.gz", "-Dtransitive=false").CombinedOutput()
		}
		out, err := get()
		if ended := new(exec.ExitError); errors.As(err, &ended) && ctx.Err() == nil && !bytes.Contains(out, []byte("Could not find artifact")) {
			out, err = get() // what broke off half-way goes through the second time, most likely
		}
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return a, nil, errors.New("mvn is not installed; install maven, or name another source of distributions")
		case err != nil:
			return a, nil, fmt.Errorf("mvn: %w\n%s", err, out)
		case !exists(a.path):
			return a, nil, fmt.Errorf("mvn ended well, but %s is not there", a.path)
		}
	}
	sums, err = publishedBeside(a.path)
	return a, sums, err
}

// publishedBeside are the sums in the files beside an archive.
func publishedBeside(path string) (sums []string, err error) {
	for _, kind := range []string{".sha256", ".sha1"} {
		text, err := os.ReadFile(path + kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sums = append(sums, firstWord(text))
	}
	return sums, nil
}

func firstWord(text []byte) string {
	if words := strings.Fields(string(text)); len(words) > 0 {
		return words[0]
	}
	return "nothing"
}

// download fetches an archive, which must have a sum that is known: given, or published beside it.
func (s Store) download(ctx context.Context, version, url, dir string) (a archive, sums []string, err error) {
	for _, kind := range []string{".sha256", ".sha1"} {
		text, err := get(ctx, url+kind, func(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, 4096)) })
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return a, nil, err
		}
		sums = append(sums, firstWord(text))
	}
	if len(sums) == 0 && s.Sums[version] == "" {
		return a, nil, fmt.Errorf("neither %s.sha256 nor .sha1 is there, and no sum was given", url)
	}
	s.say("fetching Keycloak %s (160 MB)", version)
	path, err := get(ctx, url, func(r io.Reader) (string, error) {
		file, err := os.CreateTemp(dir, "keycloak-"+version+".*.part")
		if err != nil {
			return "", err
		}
		_, err = io.Copy(file, r)
		if err = errors.Join(err, file.Close()); err != nil {
			os.Remove(file.Name())
		}
		return file.Name(), err
	})
	return archive{path: path, from: url, temporary: true}, sums, err
}

func get[T any](ctx context.Context, url string, read func(io.Reader) (T, error)) (none T, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return none, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return none, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return none, fmt.Errorf("GET %s: %w", url, fs.ErrNotExist)
	default:
		return none, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	v, err := read(response.Body)
	if err != nil {
		return none, fmt.Errorf("GET %s: %w", url, err)
	}
	return v, nil
}

// check compares the archive with every sum that is known, and with the one that it had when this store saw it first.
func (a archive) check(sums []string, pinned string) (sum string, err error) {
	old, err := os.ReadFile(pinned)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	have, err := a.sums()
	if err != nil {
		return "", err
	}
	for _, want := range sums {
		if want == "" {
			continue
		}
		got := have.sha256
		if len(want) == hex.EncodedLen(sha1.Size) {
			got = have.sha1
		}
		if !strings.EqualFold(got, want) {
			return "", &Refused{Why: fmt.Sprintf("%s has the sum %s instead of %s: it is damaged, or not what was published", a.from, got, want)}
		}
	}
	if first := firstWord(old); len(old) > 0 && first != have.sha256 {
		return "", &Refused{Why: fmt.Sprintf("%s is another one than before: its SHA-256 sum was %s and is %s; remove %s if that is right", a.from, first, have.sha256, pinned)}
	}
	return have.sha256, nil
}

// pin keeps the sum of what was used first.
func pin(path, sum, from string) error {
	return os.WriteFile(path, []byte(sum+"  "+from+"\n"), 0o644)
}

type sums struct{ sha256, sha1 string }

// sums are those of the file, or of the names and contents of all files in the folder.
func (a archive) sums() (sums, error) {
	long, short := sha256.New(), sha1.New()
	both := io.MultiWriter(long, short)
	err := filepath.WalkDir(a.path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if path != a.path {
			name, err := filepath.Rel(a.path, path)
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(both, "%s\x00%d\x00", filepath.ToSlash(name), info.Size())
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(both, file)
		return err
	})
	text := func(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
	return sums{text(long), text(short)}, err
}

// isKeycloak makes sure that what was unpacked is the version that was asked for.
func isKeycloak(dir, version string) error {
	text, err := os.ReadFile(filepath.Join(dir, "version.txt"))
	if err != nil {
		return &Refused{Why: "what was unpacked is no Keycloak: it has no version.txt"}
	}
	if said := versionIn(text); said != version {
		return &Refused{Why: fmt.Sprintf("what was unpacked is Keycloak %s instead of %s", said, version)}
	}
	if !exists(filepath.Join(dir, "lib", "quarkus-run.jar")) {
		return &Refused{Why: "what was unpacked is no Keycloak: it has no lib/quarkus-run.jar"}
	}
	return nil
}

// versionIn reads a version.txt: Keycloak - Version 26.7.3.
func versionIn(text []byte) string {
	said := strings.TrimSpace(string(text))
	return said[strings.LastIndexByte(said, ' ')+1:]
}
