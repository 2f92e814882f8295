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
const LedgerClient = schema.LedgerClient

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
	Past        string                  // the newest commit when that was pinned: one that comes after it ends the pin
	Owned       map[schema.Address]bool // addresses, and keys of open maps as clients/portal#attributes.x
	Inputs      map[schema.Address]bool // the values that came from $(…), in the same form; nil where nobody wrote that down
	Written     Fingerprints            // of what can't be read back; it has an attribute of its own
}

// Equal tells whether two ledgers say the same.
func (l Ledger) Equal(m Ledger) bool {
	return l.Server == m.Server && l.RealmID == m.RealmID && l.Source == m.Source && l.Commit == m.Commit && l.Path == m.Path &&
		l.Environment == m.Environment && l.Digest == m.Digest && l.Pinned == m.Pinned && l.Past == m.Past && maps.Equal(l.Owned, m.Owned) &&
		maps.Equal(l.Inputs, m.Inputs) && l.Written.Equal(m.Written)
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
	Past        string `json:"past,omitempty"`
	Owned       string `json:"owned"`            // sorted lines, zlib, base64: 1,500 addresses take 5 kB
	Inputs      string `json:"inputs,omitempty"` // likewise
}

func ledgerAttribute(source string) string { return ledgerPrefix + hashed(source) }

func hashed(source string) string {
	sum := sha256.Sum256([]byte(source))
	return hex.EncodeToString(sum[:8])
}

// encode is the ledger as an attribute's value; equal ledgers have equal values.
func (l Ledger) encode() (string, error) {
	owned, err := packed(l.Owned)
	if err != nil {
		return "", err
	}
	inputs := ""
	if l.Inputs != nil {
		if inputs, err = packed(l.Inputs); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(ledgerJSON{l.Server, l.RealmID, l.Source, l.Commit, l.Path, l.Environment, l.Digest, l.Pinned, l.Past, owned, inputs})
	return string(b), err
}

func decodeLedger(value string) (Ledger, error) {
	var j ledgerJSON
	if err := json.Unmarshal([]byte(value), &j); err != nil {
		return Ledger{}, err
	}
	l := Ledger{Server: j.Server, RealmID: j.RealmID, Source: j.Source, Commit: j.Commit, Path: j.Path, Environment: j.Environment,
		Digest: j.Digest, Pinned: j.Pinned, Past: j.Past}
	var err error
	if l.Owned, err = unpacked(j.Owned); err != nil {
		return Ledger{}, err
	}
	if j.Inputs != "" {
		if l.Inputs, err = unpacked(j.Inputs); err != nil {
			return Ledger{}, err
		}
	}
	return l, nil
}

func packed(keys map[schema.Address]bool) (string, error) {
	var lines strings.Builder
	for _, a := range slices.Sorted(maps.Keys(keys)) {
		lines.WriteString(string(a) + "\n")
	}
	return deflated(lines.String())
}

func unpacked(text string) (map[schema.Address]bool, error) {
	lines, err := inflated(text)
	if err != nil {
		return nil, err
	}
	keys := map[schema.Address]bool{}
	for line := range strings.Lines(string(lines)) {
		keys[schema.Address(strings.TrimSuffix(line, "\n"))] = true
	}
	return keys, nil
}

// deflated is a text as attributes hold it: zlib, base64.
func deflated(text string) (string, error) {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	io.WriteString(z, text)
	err := z.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes()), err
}

func inflated(text string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	const most = 64 << 20 // whoever may write clients could leave a bomb there
	return io.ReadAll(io.LimitReader(z, most))
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
			l.Written = fingerprintsIn(attributes, l.Source)
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
	_, all, err := r.readLedgers(ctx, source)
	l, ok := all[source]
	return l, ok, err
}

// readLedgers are those of all sources, with the id of the client that holds them, "" where there is none.
func (r *Realm) readLedgers(ctx context.Context, source string) (id string, all map[string]Ledger, err error) {
	var clients []map[string]any
	if err := r.Client.Get(ctx, r.path("clients"), url.Values{"clientId": {LedgerClient}}, &clients); err != nil {
		return "", nil, fmt.Errorf("read the ledger: %w", err)
	}
	if len(clients) == 0 {
		return "", nil, nil
	}
	attributes, _ := clients[0]["attributes"].(map[string]any)
	all, _, err = ledgers(attributes, source)
	return text(clients[0]["id"]), all, err
}

// Unpin ends what rollbacks hold in the realm, whatever source they are of, and returns the commits by source.
func (r *Realm) Unpin(ctx context.Context) (map[string]string, error) {
	id, all, err := r.readLedgers(ctx, "")
	if err != nil {
		return nil, err
	}
	pinned, attributes := map[string]string{}, map[string]any{}
	for source, l := range all {
		if l.Pinned == "" {
			continue
		}
		pinned[source] = l.Pinned
		l.Pinned, l.Past = "", ""
		if attributes[ledgerAttribute(source)], err = l.encode(); err != nil {
			return nil, fmt.Errorf("write the ledger: %w", err)
		}
	}
	if len(pinned) == 0 {
		return nil, nil
	}
	if err := r.Client.Put(ctx, r.path("clients", id), map[string]any{"clientId": LedgerClient, "attributes": attributes}); err != nil {
		return nil, unwritten("manage-clients", fmt.Errorf("write the ledger: %w", err))
	}
	return pinned, nil
}

// WriteLedger keeps the ledger in the realm, and makes the client that holds it where it is missing. Other sources'
// ledgers stay: a PUT of a client merges its attributes.
func (r *Realm) WriteLedger(ctx context.Context, live *Live, l Ledger) error {
	value, err := l.encode()
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	attributes := map[string]any{ledgerAttribute(l.Source): value}
	if l.Written.Of != nil || live.Ledgers[l.Source].Written.Of != nil {
		if attributes[fingerprintAttribute(l.Source)], err = l.Written.encode(); err != nil {
			return fmt.Errorf("write the fingerprints: %w", err)
		}
	}
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
