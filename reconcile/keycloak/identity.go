package keycloak

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Identity is whom the server takes us for, as far as the token tells: those of admin-cli tell little.
type Identity struct {
	Realm    string // where we signed in
	ClientID string // the client that signed in, or that the user signed in through
	UserID   string // the user's, or the client's service account's; "" where the token doesn't tell
	User     string // its name; "" where neither the configuration nor the token tell
}

// WhoAmI signs in if need be and reads the token, so that callers can keep their own access out of harm's way.
func (c *Client) WhoAmI(ctx context.Context) (Identity, error) {
	token, err := c.session.token(ctx)
	if err != nil {
		return Identity{}, err
	}
	who := Identity{Realm: c.session.config.Realm, ClientID: c.session.config.ClientID, User: c.session.config.User}
	var claims struct {
		Sub, Azp string
		Name     string `json:"preferred_username"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil {
			return Identity{}, fmt.Errorf("read the access token: %w", err)
		}
	}
	who.UserID = claims.Sub
	who.ClientID = orDefault(claims.Azp, who.ClientID)
	who.User = orDefault(claims.Name, who.User)
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
