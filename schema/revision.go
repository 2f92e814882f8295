package schema

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// revision digests what a node must start anew for. How many nodes there are, who may reach them, the certificate of the
// front, backups and policies are no part of it. It is shown to people, and the secrets in it are guessed against it only slowly.
func (d *Deployment) revision() (string, error) {
	db := d.DB
	db.Replication, db.WhenStandbyLost = "", ""
	secrets := []string{db.UsernameSecret.Value, db.PasswordSecret.Value}
	db.UsernameSecret.Value, db.PasswordSecret.Value = "", ""
	variables := func(from []Variable) []Variable {
		var without []Variable
		for _, v := range from {
			if v.Input {
				secrets = append(secrets, v.Value)
				v.Value = ""
			}
			without = append(without, v)
		}
		return without
	}
	files := map[string]string{}
	for path, sum := range d.Sums {
		if path != d.TLS.Certificate {
			files[path] = sum
		}
	}
	shown, err := json.Marshal([]any{d.Platform, d.Version, d.Image, d.Hostname, d.HTTP, d.Proxy, db, variables(d.Env), variables(d.AdditionalOptions),
		d.Features, d.Extensions, d.Cache, d.Truststores, d.Resources, d.Scheduling, files})
	if err != nil {
		return "", err
	}
	if all := strings.Join(secrets, "\x00"); strings.Trim(all, "\x00") != "" {
		key, err := pbkdf2.Key(sha256.New, all, []byte("cloakwork/"+d.Name), 200_000, 16)
		if err != nil {
			return "", err
		}
		shown = append(shown, key...)
	}
	sum := sha256.Sum256(shown)
	return hex.EncodeToString(sum[:6]), nil
}
