package dataplane

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/schema"
)

func TestNoOtherProtocolPassesTheZones(t *testing.T) {
	switches := func(w http.ResponseWriter, r *http.Request) { // as Keycloak does
		if r.Header.Get("Upgrade") == "h2c" || r.Header.Get("Http2-Settings") != "" {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "h2c")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
	}
	f := newFront(t, Settings{}, newNode(t, "a", switches))
	for _, connection := range []string{"Upgrade, HTTP2-Settings", "upgrade"} {
		r, _ := http.NewRequest("GET", f.URL+"/realms/x", nil)
		r.Header = http.Header{"Connection": {connection}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABkAAQCAAAAAAIAAAAA"}}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, want a plain 200", connection, answer.Status)
		}
	}
}

func TestNobodyOutsideSaysWhoHeIs(t *testing.T) {
	heard := make(chan http.Header, 1)
	a := newNode(t, "a", func(w http.ResponseWriter, r *http.Request) { heard <- r.Header })
	outside := http.Header{
		"X-Forwarded-For": {"10.9.9.9, 203.0.113.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"id.acme.example"}, "X-Forwarded-Port": {"444"},
		"X-Forwarded-Prefix": {"/evil"}, "X_forwarded_for": {"10.9.9.9"}, "Forwarded": {"for=10.9.9.9"}, "X-Real-Ip": {"10.9.9.9"},
		"Ssl-Client-Cert": {"mine"}, "Ssl_client_cert": {"mine"}, "Client-Cert": {":mine:"}, "X-Mine": {"kept"},
	}
	for name, c := range map[string]struct {
		trusted []string
		want    map[string]string
	}{
		"from anybody": {nil, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "front.example:8080", "X-Forwarded-Port": "8080",
			"Forwarded": `for=127.0.0.1;host="front.example:8080";proto=http`, "X-Mine": "kept"}},
		"through a trusted proxy": {[]string{"127.0.0.0/8"}, map[string]string{
			"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "id.acme.example", "X-Forwarded-Port": "444",
			"Forwarded": `for=203.0.113.7;host="id.acme.example";proto=https`, "X-Mine": "kept"}},
		"through two trusted proxies": {[]string{"127.0.0.0/8", "203.0.113.0/24"}, map[string]string{
			"X-Forwarded-For": "10.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "id.acme.example", "X-Forwarded-Port": "444",
			"Forwarded": `for=10.9.9.9;host="id.acme.example";proto=https`, "X-Mine": "kept"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, Settings{Trusted: c.trusted}, a)
			r, _ := http.NewRequest("GET", f.URL+"/realms/x", nil)
			r.Header, r.Host = outside.Clone(), "front.example:8080"
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			got := map[string]string{}
			for name, values := range <-heard {
				if name != "User-Agent" && name != "Accept-Encoding" {
					got[name] = strings.Join(values, "|")
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestIPv6ClientsAreToldOf(t *testing.T) {
	h := http.Header{}
	client{netip.MustParseAddr("2001:db8::1"), "https", "x", "443"}.tell(h)
	if got, want := h.Get("Forwarded"), `for="[2001:db8::1]";host="x";proto=https`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestZonesDecideBeforeANodeHears(t *testing.T) {
	a := newNode(t, "a", named("a"))
	f := newFront(t, Settings{Admin: []schema.Rule{{Deny: "0.0.0.0/0"}}}, a)
	ask := func(path string) int {
		conn, err := net.Dial("tcp", f.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	for path, want := range map[string]int{
		"/realms/x": 200, "/realms/x?a=%zz;b": 200, "http://x/realms/x": 200,
		"/admin/realms": 403, "/": 403, "/Admin": 403, "http://x/admin/realms": 403, "/admin/realms?/realms/": 403,
		"//admin/realms": 400, "/%61dmin/realms": 400, "/realms/../admin/realms": 400, "/admin;x/realms": 400, `/admin\realms`: 400,
		"/realms/..%2fadmin": 400, "http://x//admin": 400, "http:admin/realms": 400, "*": 400,
	} {
		before := a.got.Load()
		if got := ask(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
		if heard := a.got.Load() - before; heard != int64(map[bool]int{true: 1}[want == 200]) {
			t.Errorf("%s: the node heard %d requests", path, heard)
		}
	}
}
