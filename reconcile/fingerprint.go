package reconcile

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// What Keycloak shows as asterisks can't be compared. A fingerprint of what was last written, made with a key that never
// leaves this process, tells whether that is what is declared now, wherever the declaration takes it from. A fingerprint
// stands in the realm only while the value does: it goes before another value is written, and comes after.

// FingerprintKey makes fingerprints; the empty one makes none.
type FingerprintKey string

// NewFingerprintKey takes a text of 32 characters or more: everybody who may see clients can try short ones out.
func NewFingerprintKey(text string) (FingerprintKey, error) {
	if least := 32; len(text) < least {
		return "", fmt.Errorf("the fingerprint key has %d characters, and needs %d", len(text), least)
	}
	return FingerprintKey(text), nil
}

// id names the key without telling it.
func (k FingerprintKey) id() string { return hex.EncodeToString(k.sum("key")[:4]) }

// of is the fingerprint of a value at a place of a realm.
func (k FingerprintKey) of(server, realmID string, at schema.Address, v any) string {
	address, path, _ := strings.Cut(string(at), "#")
	return base64.RawStdEncoding.EncodeToString(k.sum("value", server, realmID, address, path, v)[:16])
}

func (k FingerprintKey) sum(parts ...any) []byte {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // JSON values always encode
	}
	mac := hmac.New(sha256.New, []byte(k))
	mac.Write(text)
	return mac.Sum(nil)
}

func (w *work) fingerprint(at schema.Address, v any) string {
	return w.FingerprintKey.of(w.Want.Ref.Server, w.live.ID, at, v)
}

// remembered tells of a value whether it is the one that was last written, as far as that is known. What was written under
// a former name still counts under the new one.
func (w *work) remembered(renames []drift.Change) func(at schema.Address, v any) (same, known bool) {
	former := map[schema.Address]schema.Address{}
	if w.FingerprintKey != "" && w.ledger.Written.Key == w.FingerprintKey.id() {
		for key := range w.ledger.Written.Of {
			former[realm.Moved(key, renames)] = key
		}
	}
	return func(at schema.Address, v any) (same, known bool) {
		key, known := former[at]
		return known && hmac.Equal([]byte(w.ledger.Written.Of[key]), []byte(w.fingerprint(key, v))), known
	}
}

// forgets are the fingerprints without those of what the changes write.
func (w *work) forgets(todo []drift.Change) realm.Fingerprints {
	f := w.ledger.Written
	f.Of = maps.Clone(f.Of)
	for _, c := range todo {
		maps.DeleteFunc(f.Of, func(key schema.Address, _ string) bool {
			return c.Op == drift.Create && strings.HasPrefix(string(key), string(c.Address)+"#") || w.hidesWritten(c, key)
		})
	}
	return f
}

// hidesWritten tells whether a change writes the value of which a fingerprint is.
func (w *work) hidesWritten(c drift.Change, key schema.Address) bool {
	for _, d := range c.Diffs {
		if key == drift.Key(c.Address, d.Path) || c.Op == drift.Rename && key == drift.Key(c.From, d.Path) {
			return true
		}
	}
	return false
}

// wrote notes the fingerprints of what a change has written, in this process alone: they are kept once it is seen what of
// it Keycloak hides.
func (w *work) wrote(c drift.Change) {
	if w.FingerprintKey == "" || c.Outcome != drift.Done {
		return
	}
	f := realm.Fingerprints{Key: w.FingerprintKey.id(), Of: map[schema.Address]string{}}
	if w.ledger.Written.Key == f.Key {
		maps.Copy(f.Of, w.ledger.Written.Of)
	}
	note := func(path string, v any) {
		if w.Facts.Of(c.Address.Kind(), path).MayHide() && v != nil {
			f.Of[drift.Key(c.Address, path)] = w.fingerprint(drift.Key(c.Address, path), v)
		}
	}
	var walk func(prefix string, fields map[string]any)
	walk = func(prefix string, fields map[string]any) {
		for name, v := range fields {
			if nested, ok := v.(map[string]any); ok {
				walk(prefix+name+".", nested)
			} else {
				note(prefix+name, v)
			}
		}
	}
	if c.Op == drift.Create {
		walk("", c.Want.Fields)
	}
	for _, d := range c.Diffs {
		note(d.Path, d.Want)
	}
	w.ledger.Written = f
}

// crossed tells whether a change has written, over what another process remembers, something else.
func (w *work) crossed(c drift.Change, key schema.Address, theirs realm.Fingerprints) bool {
	v, _ := drift.Value(c.Want.Fields, strings.TrimPrefix(string(key), string(c.Address)+"#"))
	same := w.FingerprintKey != "" && theirs.Key == w.FingerprintKey.id() && theirs.Of[key] == w.fingerprint(key, v)
	return w.hidesWritten(c, key) && !same
}

// fingerprints are those to keep: of the declared values that can't be seen, and that are known to be as last written.
// Without the key, those that others made with theirs stay.
func (w *work) fingerprints() realm.Fingerprints {
	f := realm.Fingerprints{Key: w.ledger.Written.Key, Of: map[schema.Address]string{}}
	if w.FingerprintKey != "" {
		f.Key = w.FingerprintKey.id()
	}
	for _, u := range w.report.Unseen {
		at := drift.Key(u.Address, u.Path)
		if w.FingerprintKey == "" {
			if was, ok := w.ledger.Written.Of[at]; ok {
				f.Of[at] = was
			}
		} else if u.Written {
			f.Of[at] = w.fingerprint(at, u.Want)
		}
	}
	if len(f.Of) == 0 && w.ledger.Written.Of == nil {
		return realm.Fingerprints{}
	}
	return f
}

// seenFingerprints are those that the realm holds.
func (w *work) seenFingerprints() realm.Fingerprints {
	if w.seen == nil {
		return realm.Fingerprints{}
	}
	return w.seen.Written
}

// keepFingerprints writes down what a pass that can't finish has written all the same, so that the next one doesn't again.
func (w *work) keepFingerprints(ctx context.Context) error {
	l := w.ledger
	if l.Written = w.fingerprints(); l.Written.Equal(w.seenFingerprints()) {
		return nil
	}
	if err := w.unmoved(ctx); err != nil {
		return err
	}
	return w.write(ctx, l)
}
