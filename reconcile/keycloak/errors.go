package keycloak

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Error is Keycloak's refusal of one request.
type Error struct {
	Method, Path string // PUT, /admin/realms/acme/clients/7f3…
	Status       int    // 403
	Message      string // Keycloak's own words, or what the reply was instead
	Repeated     bool   // an earlier attempt lost its reply, and may have been carried out

	retryAfter time.Duration // what the server asked for, 0 for nothing
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %d", e.Method, e.Path, e.Status)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Repeated {
		s += " (at a repeat: the reply to the first attempt was lost)"
	}
	return s
}

// ErrSlow is that of a read which was given less time than others, and would have taken longer.
var ErrSlow = errors.New("the reply takes too long")

// Unreachable says that no whole reply came: the server is down, the connection broke, or it took too long. What Err
// wraps is the network's own error.
type Unreachable struct {
	Method, Path string
	Sent         bool // the request may have reached the server and been carried out; false where it was the sign-in that failed
	Err          error
}

func (e *Unreachable) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s %s: no reply: %v", e.Method, e.Path, e.Err)
	}
	return fmt.Sprintf("%s %s: server unreachable: %v", e.Method, e.Path, e.Err)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// SignInError says why there is no token. It never holds credentials.
type SignInError struct {
	Realm, ClientID, User string // User is "" for a client's own credentials
	Status                int    // of the token endpoint
	Message               string // Keycloak's own words, or what the reply was instead
	Hint                  string // what to do about it, or ""

	retryAfter time.Duration
}

func (e *SignInError) Error() string {
	who := "client " + e.ClientID
	if e.User != "" {
		who = e.User + " through " + who
	}
	s := fmt.Sprintf("sign in to realm %s as %s: %d: %s", e.Realm, who, e.Status, e.Message)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Status is the HTTP status of an Error or a SignInError anywhere in err, 0 where there is none.
func Status(err error) int {
	var refused *Error
	var signIn *SignInError
	switch {
	case errors.As(err, &refused):
		return refused.Status
	case errors.As(err, &signIn):
		return signIn.Status
	}
	return 0
}

// IsNotFound tells whether the admin API answered 404.
func IsNotFound(err error) bool { return is(err, http.StatusNotFound) }

// IsForbidden tells whether the account lacks a right.
func IsForbidden(err error) bool { return is(err, http.StatusForbidden) }

// IsConflict tells whether the name is taken, or (a PUT, a link) another writer was in the way: a later try may succeed.
func IsConflict(err error) bool { return is(err, http.StatusConflict) }

func is(err error, status int) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Status == status
}

// IsUnreachable tells whether Keycloak is down or overloaded, so that trying other requests is of no use now.
func IsUnreachable(err error) bool {
	var lost *Unreachable
	return errors.As(err, &lost) || busy(Status(err))
}

// busy are the answers of servers, and balancers before them, that can't answer now.
func busy(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// IsSignIn tells whether the credentials, or the address they were sent to, are at fault.
func IsSignIn(err error) bool {
	var signIn *SignInError
	return errors.As(err, &signIn)
}

// MayHaveHappened tells whether the write that failed may have been carried out nevertheless.
func MayHaveHappened(err error) bool {
	var lost *Unreachable
	var refused *Error
	switch {
	case errors.As(err, &lost):
		return lost.Sent
	case errors.As(err, &refused):
		return refused.Repeated || busy(refused.Status) && refused.retryAfter == 0
	}
	return false
}

// explanation is the text of a reply that refuses, on one line without secrets: what Keycloak's JSON says, else what the
// reply is. The values that a field error speaks of are left out.
func explanation(status int, header http.Header, body []byte, secrets []string) string {
	if to, err := url.Parse(header.Get("Location")); status/100 == 3 && err == nil {
		if to.Host == "" {
			return "redirects elsewhere on the same host, which is not followed: check the server URL"
		}
		return fmt.Sprintf("redirects to %s://%s, which is not followed: check the server URL", to.Scheme, to.Host)
	}
	type fault struct {
		Error        string `json:"error"`
		ErrorMessage string `json:"errorMessage"`
		Description  string `json:"error_description"`
		Field        string `json:"field"`
	}
	var reply struct {
		fault
		Errors []fault `json:"errors"`
	}
	if json.Unmarshal(body, &reply) != nil {
		if kind, _, _ := strings.Cut(header.Get("Content-Type"), ";"); kind != "" && len(body) > 0 {
			return strings.ToLower(http.StatusText(status)) + " (a reply of " + oneLine(kind) + ")"
		}
		return strings.ToLower(http.StatusText(status))
	}
	var said []string
	for _, f := range append([]fault{reply.fault}, reply.Errors...) {
		text := f.ErrorMessage
		switch {
		case text == "" && f.Description != "" && f.Error != "":
			text = f.Description + " (" + f.Error + ")"
		case text == "" && f.Description != "":
			text = f.Description
		case text == "":
			text = bareStatus.ReplaceAllString(f.Error, "")
		}
		if f.Field != "" {
			text = f.Field + ": " + text
		}
		if text != "" {
			said = append(said, text)
		}
	}
	if len(said) == 0 {
		return strings.ToLower(http.StatusText(status))
	}
	return oneLine(hushed(strings.Join(said, "; "), secrets))
}

// Keycloak says "HTTP 403 Forbidden" where it has nothing to add.
var bareStatus = regexp.MustCompile(`^HTTP \d{3} `)

// oneLine is s on one line of at most 400 characters.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > 400 {
		s = string(r[:399]) + "…"
	}
	return s
}

// secretKey matches the names of JSON fields whose values must not come back in an error's text.
var secretKey = regexp.MustCompile(`(?i)secret|passw|credential|private|token|^value$`)

// hushed is a server's text without secrets.
func hushed(text string, secrets []string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "…")
	}
	return text
}

// secretsIn are the secrets that a JSON body holds, as far as the names of its fields tell.
func secretsIn(body []byte) (secrets []string) {
	var sent any
	if len(body) > 0 && json.Unmarshal(body, &sent) == nil {
		eachSecret(sent, false, func(s string) { secrets = append(secrets, s) })
	}
	return secrets
}

// eachSecret calls f with the strings at keys that look secret; short ones are words like true.
func eachSecret(v any, secret bool, f func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			eachSecret(e, secretKey.MatchString(k), f)
		}
	case []any:
		for _, e := range v {
			eachSecret(e, secret, f)
		}
	case string:
		if secret && len(v) > 5 {
			f(v)
		}
	}
}
