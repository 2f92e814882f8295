package keycloak

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// Identity is whom the server takes us for.
type Identity struct {
	Realm    string // where we signed in
	ClientID string // the client that signed in, or that the user signed in through
	UserID   string // the user's, or that of the client's service account
	User     string // its name
}

// WhoAmI reads the tokens, signing in if need be, so that callers can keep their own access out of harm's way. What the
// tokens don't tell stays empty.
func (c *Client) WhoAmI(ctx context.Context) (Identity, error) {
	var t *token
	err := c.persist(ctx, func() (err error) {
		t, err = c.session.token(ctx)
		return err
	}, request{read: true}.mayRepeat)
	if err != nil {
		return Identity{}, err
	}
	who := Identity{Realm: c.session.config.Realm, ClientID: c.session.config.ClientID, User: c.session.config.User}
	for _, jwt := range []string{t.access, t.id} {
		var claims struct {
			Sub, Azp string
			Name     string `json:"preferred_username"`
		}
		if parts := strings.Split(jwt, "."); len(parts) == 3 {
			payload, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil || json.Unmarshal(payload, &claims) != nil {
				continue
			}
		}
		who.UserID = orDefault(claims.Sub, who.UserID)
		who.ClientID = orDefault(claims.Azp, who.ClientID)
		who.User = orDefault(claims.Name, who.User)
	}
	return who, nil
}

// Version is the server's version, 26.7.3, or "" where it is hidden from this account.
func (c *Client) Version(ctx context.Context) (string, error) {
	var info struct {
		SystemInfo struct{ Version string }
	}
	err := c.Get(ctx, Path("serverinfo"), nil, &info)
	if IsForbidden(err) {
		return "", nil
	}
	return info.SystemInfo.Version, err
}
