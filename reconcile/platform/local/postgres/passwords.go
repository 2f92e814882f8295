package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Role is who signs in to the database.
type Role string

// The roles.
const (
	Keycloak Role = "keycloak"  // owns the database of the same name; nodes sign in with it
	Standby  Role = "standby"   // reads all that is written, for the other regions' servers
	Own      Role = "cloakwork" // ours, for looks and acts; it may do anything
)

var roles = []Role{Keycloak, Standby, Own}

// Passwords are those of the roles. The roles are replicated, so that all regions of a deployment have the same.
type Passwords map[Role]string

// NewPasswords makes passwords that nobody guesses.
func NewPasswords() Passwords {
	p := Passwords{}
	for _, r := range roles {
		p[r] = rand.Text() + rand.Text()
	}
	return p
}

// PasswordFile is where the password of a role stands: 0600, nothing but the password.
func (s Server) PasswordFile(r Role) string { return s.path("secrets", string(r)) }

// Passwords are those that the folder holds: fs.ErrNotExist before Init or Follow.
func (s Server) Passwords() (Passwords, error) {
	p := Passwords{}
	for _, r := range roles {
		b, err := os.ReadFile(s.PasswordFile(r))
		if err != nil {
			return nil, err
		}
		p[r] = strings.TrimRight(string(b), "\n")
	}
	return p, nil
}

// keepPasswords writes those that aren't there. One that is there stays: what was made with it knows no other.
func (s Server) keepPasswords(p Passwords) error {
	for _, r := range roles {
		have, err := os.ReadFile(s.PasswordFile(r))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := s.writePassword(r, p[r]); err != nil {
				return err
			}
		case err != nil:
			return err
		case string(have) != p[r]:
			return fmt.Errorf("the password of role %s is another one than in %s: SetPassword changes it", r, s.PasswordFile(r))
		}
	}
	_, err := s.passfile()
	return err
}

func (s Server) writePassword(r Role, password string) error {
	if password == "" || strings.ContainsAny(password, "\n\r\x00") {
		return fmt.Errorf("the password of role %s is empty, or of several lines", r)
	}
	return replace(s.PasswordFile(r), password, ours())
}

// passfile is what programs of PostgreSQL find our own password in, and people too.
func (s Server) passfile() (string, error) {
	p, err := s.Passwords()
	if err != nil {
		return "", err
	}
	return s.path("secrets", "passfile"), replace(s.path("secrets", "passfile"), passline(Own, p[Own]), ours())
}

// passline is a password as PostgreSQL's programs read it from a file.
func passline(r Role, password string) string {
	return "*:*:*:" + string(r) + ":" + strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(password) + "\n"
}

// iterations is PostgreSQL's own default.
const iterations = 4096

// verifier is what the server keeps of a password. It is made here, so that the password itself never gets into a statement,
// which the server would log where it fails.
func verifier(password string, salt []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(word string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(word))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, text(salt), text(stored[:]), text(mac("Server Key"))), nil
}

func newVerifier(password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return verifier(password, salt)
}

// verifies tells whether what the server keeps is of this password.
func verifies(kept, password string) bool {
	head, rest, ok := strings.Cut(strings.TrimPrefix(kept, "SCRAM-SHA-256$"), ":")
	if n, err := strconv.Atoi(head); !ok || err != nil || n != iterations {
		return false
	}
	encoded, _, _ := strings.Cut(rest, "$")
	salt, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return false
	}
	again, err := verifier(password, salt)
	return err == nil && again == kept
}
