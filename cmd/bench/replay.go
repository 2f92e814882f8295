package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// exchange is one request to the admin API and its answer.
type exchange struct {
	method, path string // with its query
	body         []byte
	status       int
	answer       []byte
	location     string
	took         time.Duration
}

func (e exchange) write() bool {
	return e.method != http.MethodGet && !strings.Contains(e.path, "/partial-export")
}

// recorder stands before a server and keeps what passes, in the order in which it came.
type recorder struct {
	url    string
	server *http.Server

	mu        sync.Mutex
	exchanges []*exchange
}

func record(target string) (*recorder, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{url: "http://" + listener.Addr().String()}
	forward := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Host = p.In.Host
			p.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(answer *http.Response) error {
			e, ok := answer.Request.Context().Value(exchangeKey{}).(*exchange)
			if !ok {
				return nil
			}
			e.status, e.location = answer.StatusCode, answer.Header.Get("Location")
			if e.answer, err = io.ReadAll(answer.Body); err != nil {
				return err
			}
			answer.Body = io.NopCloser(bytes.NewReader(e.answer))
			return nil
		},
	}
	r.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.URL.Path, "/admin/") {
			e := &exchange{method: request.Method, path: request.URL.RequestURI()}
			e.body, _ = io.ReadAll(request.Body)
			request.Body = io.NopCloser(bytes.NewReader(e.body))
			request = request.WithContext(context.WithValue(request.Context(), exchangeKey{}, e))
			r.mu.Lock()
			r.exchanges = append(r.exchanges, e)
			r.mu.Unlock()
		}
		began := time.Now()
		forward.ServeHTTP(w, request)
		if e, ok := request.Context().Value(exchangeKey{}).(*exchange); ok {
			e.took = time.Since(began)
		}
	})}
	go r.server.Serve(listener)
	return r, nil
}

type exchangeKey struct{}

// stop ends the recording and returns it.
func (r *recorder) stop() []*exchange {
	r.server.Close()
	return r.exchanges
}

// connections is how many requests a replay has under way, which is what the product allows itself by default.
const connections = 4

// replay sends the requests of a recording again, bare, to a realm of another name or to the same. What Keycloak identified
// by one id then, it identifies by another now: a request waits for those whose answers tell the ids that it names.
type replay struct {
	url, token string
	from, to   string // names of realms
	client     *http.Client

	mu    sync.Mutex
	known *sync.Cond
	ids   map[string]string // of the recording → of the replay
	done  []bool
}

// run returns how long it took.
func (r *replay) run(exchanges []*exchange) (time.Duration, error) {
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}, Timeout: 5 * time.Minute}
	defer r.client.CloseIdleConnections()
	r.known, r.ids, r.done = sync.NewCond(&r.mu), map[string]string{}, make([]bool, len(exchanges))
	after := r.order(exchanges)

	began := time.Now()
	next := make(chan int)
	failed := make(chan error, connections)
	var workers sync.WaitGroup
	for range connections {
		workers.Go(func() {
			for i := range next {
				if err := r.send(exchanges[i], after[i]); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
				r.mu.Lock()
				r.done[i] = true
				r.known.Broadcast()
				r.mu.Unlock()
			}
		})
	}
	for i := range exchanges {
		next <- i
	}
	close(next)
	workers.Wait()
	took := time.Since(began)
	select {
	case err := <-failed:
		return took, err
	default:
		return took, nil
	}
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// order says for each request which earlier ones it waits for: those that made what stands in its path, those that told the
// ids that it names, and in flows, which are written step by step, the one before.
func (r *replay) order(exchanges []*exchange) [][]int {
	told, made, after, flow := map[string]int{}, map[string]int{}, make([][]int, len(exchanges)), -1
	for i, e := range exchanges {
		path, _, _ := strings.Cut(e.path, "?")
		for at := range len(path) + 1 {
			if by, ok := made[path[:at]]; ok && (at == len(path) || path[at] == '/') {
				after[i] = append(after[i], by)
			}
		}
		for _, id := range uuid.FindAllString(e.path+string(e.body), -1) {
			if by, ok := told[id]; ok {
				after[i] = append(after[i], by)
			}
		}
		if strings.Contains(e.path, "/authentication/") && r.from != r.to {
			if flow >= 0 {
				after[i] = append(after[i], flow)
			}
			flow = i
		}
		if u, err := url.Parse(e.location); err == nil && e.location != "" {
			made[u.EscapedPath()] = i
		}
		for _, id := range identities(e.location, e.answer) {
			if _, before := told[id]; !before {
				told[id] = i
			}
		}
	}
	return after
}

func (r *replay) send(e *exchange, after []int) error {
	r.mu.Lock()
	for _, i := range after {
		for !r.done[i] {
			r.known.Wait()
		}
	}
	now := func(s string) string {
		s = strings.ReplaceAll(s, r.from, r.to)
		return uuid.ReplaceAllStringFunc(s, func(id string) string {
			if id, ok := r.ids[id]; ok {
				return id
			}
			return id
		})
	}
	path, body := now(e.path), now(string(e.body))
	r.mu.Unlock()

	request, err := http.NewRequest(e.method, r.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	request.Header.Set("Accept", "application/json")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 && e.status/100 == 2 { // what was looked for in vain may be there now
		return fmt.Errorf("replay %s %s: %d where it was %d: %.200s", e.method, path, answer.StatusCode, e.status, text)
	}
	if r.from == r.to {
		return nil
	}
	were, are := identities(e.location, e.answer), identities(answer.Header.Get("Location"), text)
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, id := range were {
		if is, ok := are[strings.ReplaceAll(name, r.from, r.to)]; ok {
			r.ids[id] = is
		}
	}
	return nil
}

// identities are the ids that an answer tells, by names that are the same in every replay.
func identities(location string, answer []byte) map[string]string {
	ids := map[string]string{}
	if id := uuid.FindString(location[strings.LastIndexByte(location, '/')+1:]); id != "" {
		ids["location"] = id
	}
	var value any
	if json.Unmarshal(answer, &value) != nil {
		return ids
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for _, element := range v {
				walk(at, element)
			}
		case map[string]any:
			for _, key := range []string{"clientId", "username", "alias", "displayName", "name"} {
				if name, ok := v[key].(string); ok {
					at += "/" + name
					break
				}
			}
			if id, ok := v["id"].(string); ok {
				ids[at] = id
			}
			for key, nested := range v {
				walk(at+"/"+key, nested)
			}
		}
	}
	walk("", value)
	return ids
}
