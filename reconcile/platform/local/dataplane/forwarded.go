package dataplane

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Headers by which a proxy tells of the client. Whoever isn't a trusted proxy doesn't get them through; an underscore is
// a dash to some. Those of client certificates are read by Keycloak's X.509 lookups.
var told = []string{"x-forwarded-", "forwarded", "x-real-ip", "x-original-", "x-rewrite-url", "ssl-client-", "x-ssl-", "x-client-cert", "client-cert"}

// client is who sends a request, and the address that he knows us by.
type client struct {
	addr        netip.Addr
	proto, host string
	port        string
}

// clientOf reads who sends a request. What proxies say counts only as far as each that says it is trusted. Another region's front
// is, and it knows the client already.
func clientOf(r *http.Request, trusted []netip.Prefix, relayed bool) client {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	if relayed {
		trusted = []netip.Prefix{itself(from.Addr().Unmap().WithZone(""))}
	}
	c := client{addr: from.Addr().Unmap().WithZone(""), proto: "http", host: r.Host}
	if r.TLS != nil {
		c.proto = "https"
	}
	if within(c.addr, trusted) {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= 0 && within(c.addr, trusted); i-- {
			addr, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				break
			}
			c.addr = addr.Unmap().WithZone("")
		}
		if p := strings.ToLower(last(r.Header, "X-Forwarded-Proto")); p == "http" || p == "https" {
			c.proto = p
		}
		if h := last(r.Header, "X-Forwarded-Host"); plainHost(h) {
			c.host = h
		}
	}
	c.port = map[string]string{"http": "80", "https": "443"}[c.proto]
	if _, port, err := net.SplitHostPort(c.host); err == nil {
		c.port = port
	} else if p := last(r.Header, "X-Forwarded-Port"); within(from.Addr().Unmap(), trusted) && plainPort(p) {
		c.port = p
	}
	return c
}

// last is what the nearest proxy says.
func last(h http.Header, name string) string {
	all := strings.Join(h.Values(name), ",")
	return strings.TrimSpace(all[strings.LastIndexByte(all, ',')+1:])
}

func within(a netip.Addr, networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func plainHost(h string) bool {
	return h != "" && len(h) < 256 && strings.Trim(h, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") == ""
}

func plainPort(p string) bool { return p != "" && len(p) < 6 && strings.Trim(p, "0123456789") == "" }

// tell sets what a node is told of the client, in both spellings; it reads the one that it is set up for. The one address
// is the client's: Keycloak takes the first of a list, which anybody could have written.
func (c client) tell(h http.Header) {
	for name := range h {
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		for _, t := range told {
			if strings.HasPrefix(plain, t) {
				delete(h, name)
			}
		}
	}
	addr := c.addr.String()
	h.Set("X-Forwarded-For", addr)
	h.Set("X-Forwarded-Proto", c.proto)
	h.Set("X-Forwarded-Host", c.host)
	h.Set("X-Forwarded-Port", c.port)
	if c.addr.Is6() {
		addr = `"[` + addr + `]"`
	}
	h.Set("Forwarded", "for="+addr+`;host="`+strings.NewReplacer(`\`, ``, `"`, ``).Replace(c.host)+`";proto=`+c.proto)
}
