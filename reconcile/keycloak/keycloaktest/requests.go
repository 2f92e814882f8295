package keycloaktest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Request is one line of the access log.
type Request struct {
	Method string
	Path   string // as it was sent, with its query: /admin/realms/acme/clients?first=0
	Status int
}

func (r Request) String() string { return fmt.Sprintf("%s %s: %d", r.Method, r.Path, r.Status) }

// Write tells whether the request was meant to change something. A partial export is a read that is spelled POST.
func (r Request) Write() bool { return write(r.Method, r.Path) }

// Writes are those of the requests that were meant to change something.
func Writes(requests []Request) []Request {
	var writes []Request
	for _, r := range requests {
		if r.Write() {
			writes = append(writes, r)
		}
	}
	return writes
}

func write(method, path string) bool {
	path, _, _ = strings.Cut(path, "?")
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch:
		return strings.HasPrefix(path, "/admin/") && !strings.HasSuffix(path, "/partial-export")
	}
	return false
}

// Mark is a place in the access log; the zero value is its beginning.
type Mark int64

// Mark is now: what was answered before is before it.
func (s *Server) Mark(t testing.TB) Mark {
	t.Helper()
	return s.settle(t)
}

// Requests are all requests to the admin API that are about the realm: to its URL or below it, and the POST that made
// it. Requests of Admin are left out.
func (s *Server) Requests(t testing.TB, realm string) []Request {
	t.Helper()
	return s.RequestsSince(t, 0, realm)
}

// RequestsSince are those Requests that were answered after the mark. A POST that was to make a realm and was refused
// is in none: the log doesn't tell which realm it was about.
func (s *Server) RequestsSince(t testing.TB, mark Mark, realm string) []Request {
	t.Helper()
	end := s.settle(t)
	var requests []Request
	for _, line := range accessLine.FindAllSubmatch(s.read(t, mark, end), -1) {
		agent, location := string(line[4]), string(line[5])
		status, _ := strconv.Atoi(string(line[3]))
		r := Request{Method: string(line[1]), Path: string(line[2]), Status: status}
		if agent != adminAgent && about(r, location, realm) {
			requests = append(requests, r)
		}
	}
	return requests
}

// accessPattern makes the lines that accessLine reads.
const accessPattern = `access "%r" %s agent="%{i,User-Agent}" location="%{o,Location}"`

var accessLine = regexp.MustCompile(`access "([A-Z]+) (\S+) HTTP/[0-9.]+" ([0-9]+) agent="(.*)" location="(.*)"\n`)

func about(r Request, location, realm string) bool {
	base := "/admin/realms/" + url.PathEscape(realm)
	path, _, _ := strings.Cut(r.Path, "?")
	if path == base || strings.HasPrefix(path, base+"/") {
		return true
	}
	return r.Method == http.MethodPost && path == "/admin/realms" && strings.HasSuffix(location, base)
}

// settle returns where the log ends once it holds all that was answered until now. A line is written by the thread that
// sent the answer, just after it: so a reply can be here before its line. Three requests in a row, each waited for in
// the log, give that thread the time of three round trips.
func (s *Server) settle(t testing.TB) Mark {
	t.Helper()
	var end Mark
	for range 3 {
		path := "/realms/mark-" + random()
		response, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatalf("mark the access log: %v", err)
		}
		response.Body.Close()
		end = s.awaitLine(t, []byte(path+" "), end)
	}
	return end
}

func (s *Server) awaitLine(t testing.TB, text []byte, from Mark) Mark {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		log := s.read(t, from, -1)
		if at := bytes.Index(log, text); at >= 0 {
			if length := bytes.IndexByte(log[at:], '\n'); length >= 0 {
				return from + Mark(at+length+1)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("mark the access log: no line with %s in %s", text, s.Log)
		}
		time.Sleep(time.Millisecond)
	}
}

// read reads the log between two marks; until its end where to is negative.
func (s *Server) read(t testing.TB, from, to Mark) []byte {
	t.Helper()
	file, err := os.Open(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if to < 0 {
		to = 1<<62 - 1
	}
	text, err := io.ReadAll(io.NewSectionReader(file, int64(from), int64(to-from)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
