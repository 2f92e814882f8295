package realm

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// LedgerClient is the disabled client that remembers, in each realm, what is ours there. Client attributes merge on PUT
// and take 200 kB, where a PUT of a realm replaces its attributes as a whole (26.7.3): an old copy of the realm, saved
// from an open console page, would move our mark back.
const LedgerClient = "cloakwork"

// An attribute's name may have 255 characters, a source's may have more: attributes are named by a hash.
const ledgerPrefix = "cloakwork.ledger."

// Ledger is what one source owns in a realm, and what it last applied there.
type Ledger struct {
	Server      string // as the controller names it
	RealmID     string // the realm's id: an export takes the ledger along, and a copy owns nothing
	Source      string // the configuration repository or folder
	Commit      string // "" for what stood in no commit
	Path        string // below the source's root
	Environment string
	Digest      string                  // of what was declared, secrets left out
	Pinned      string                  // the commit that is held until a newer one comes
	Owned       map[schema.Address]bool // addresses, and keys of open maps as clients/portal#attributes.x
}

// Equal tells whether two ledgers say the same.
func (l Ledger) Equal(m Ledger) bool {
	return l.Server == m.Server && l.RealmID == m.RealmID && l.Source == m.Source && l.Commit == m.Commit && l.Path == m.Path &&
		l.Environment == m.Environment && l.Digest == m.Digest && l.Pinned == m.Pinned && maps.Equal(l.Owned, m.Owned)
}

// ledgerJSON is a ledger as the attribute holds it.
type ledgerJSON struct {
	Server      string `json:"server"`
	RealmID     string `json:"realm"`
	Source      string `json:"source"`
	Commit      string `json:"commit,omitempty"`
	Path        string `json:"path,omitempty"`
	Environment string `json:"environment,omitempty"`
	Digest      string `json:"digest,omitempty"`
	Pinned      string `json:"pinned,omitempty"`
	Owned       string `json:"owned"` // sorted lines, zlib, base64: 1,500 addresses take 5 kB
}

func ledgerAttribute(source string) string {
	sum := sha256.Sum256([]byte(source))
	return ledgerPrefix + hex.EncodeToString(sum[:8])
}

// encode is the ledger as an attribute's value; equal ledgers have equal values.
func (l Ledger) encode() (string, error) {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	for _, a := range slices.Sorted(maps.Keys(l.Owned)) {
		io.WriteString(z, string(a)+"\n")
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	b, err := json.Marshal(ledgerJSON{l.Server, l.RealmID, l.Source, l.Commit, l.Path, l.Environment, l.Digest, l.Pinned,
		base64.StdEncoding.EncodeToString(packed.Bytes())})
	return string(b), err
}

func decodeLedger(value string) (Ledger, error) {
	var j ledgerJSON
	if err := json.Unmarshal([]byte(value), &j); err != nil {
		return Ledger{}, err
	}
	packed, err := base64.StdEncoding.DecodeString(j.Owned)
	if err != nil {
		return Ledger{}, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return Ledger{}, err
	}
	const most = 64 << 20 // whoever may write clients could leave a bomb there
	lines, err := io.ReadAll(io.LimitReader(z, most))
	if err != nil {
		return Ledger{}, err
	}
	l := Ledger{j.Server, j.RealmID, j.Source, j.Commit, j.Path, j.Environment, j.Digest, j.Pinned, map[schema.Address]bool{}}
	for line := range strings.Lines(string(lines)) {
		l.Owned[schema.Address(strings.TrimSuffix(line, "\n"))] = true
	}
	return l, nil
}

// ledgers are those that the attributes of our client hold, by source. An attribute that can't be read, or holds the ledger
// of another source than it is named for, is an error where it is this source's; else its name is among the unread ones:
// what one source left, or one of a newer version, must not stop the others.
func ledgers(attributes map[string]any, source string) (found map[string]Ledger, unread []string, err error) {
	found = map[string]Ledger{}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		value, ok := attributes[name].(string)
		if !ok || !strings.HasPrefix(name, ledgerPrefix) {
			continue
		}
		l, err := decodeLedger(value)
		if err == nil && ledgerAttribute(l.Source) != name {
			err = fmt.Errorf("it is the one of %s", l.Source)
		}
		switch {
		case err == nil:
			found[l.Source] = l
		case name == ledgerAttribute(source):
			return nil, nil, fmt.Errorf("ledger %s of client %s can't be read: %w", name, LedgerClient, err)
		default:
			unread = append(unread, name)
		}
	}
	return found, unread, nil
}

// ReadLedger is what the source's ledger holds now, by one request; false where there is none.
func (r *Realm) ReadLedger(ctx context.Context, source string) (Ledger, bool, error) {
	var clients []map[string]any
	if err := r.Client.Get(ctx, r.path("clients"), url.Values{"clientId": {LedgerClient}}, &clients); err != nil {
		return Ledger{}, false, fmt.Errorf("read the ledger: %w", err)
	}
	if len(clients) == 0 {
		return Ledger{}, false, nil
	}
	attributes, _ := clients[0]["attributes"].(map[string]any)
	all, _, err := ledgers(attributes, source)
	if err != nil {
		return Ledger{}, false, err
	}
	l, ok := all[source]
	return l, ok, nil
}

// WriteLedger keeps the ledger in the realm, and makes the client that holds it where it is missing. Other sources'
// ledgers stay: a PUT of a client merges its attributes.
func (r *Realm) WriteLedger(ctx context.Context, live *Live, l Ledger) error {
	value, err := l.encode()
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	attributes := map[string]any{ledgerAttribute(l.Source): value}
	if live.ledgerID != "" {
		body := map[string]any{"clientId": LedgerClient, "attributes": attributes}
		if err := r.Client.Put(ctx, r.path("clients", live.ledgerID), body); err != nil {
			return unwritten("manage-clients", fmt.Errorf("write the ledger: %w", err))
		}
		live.Ledgers[l.Source] = l
		return nil
	}
	id, err := r.Client.Post(ctx, r.path("clients"), nil, map[string]any{
		"clientId": LedgerClient, "name": "cloakwork", "enabled": false, "publicClient": true,
		"description":         "Remembers what cloakwork manages in this realm. Nobody signs in here; without it nothing is deleted.",
		"standardFlowEnabled": false, "implicitFlowEnabled": false, "directAccessGrantsEnabled": false,
		"serviceAccountsEnabled": false, "fullScopeAllowed": false,
		"defaultClientScopes": []string{}, "optionalClientScopes": []string{}, "attributes": attributes,
	}, nil)
	if err != nil {
		return unwritten("manage-clients", fmt.Errorf("write the ledger: %w", err))
	}
	live.ledgerID, live.Ledgers[l.Source] = id, l
	return nil
}
