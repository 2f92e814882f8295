package realm

import (
	"encoding/json"
	"maps"

	"github.com/cloakwork/cloakwork/schema"
)

// Fingerprints tell of the values that can't be read back whether they are the ones that were last written. They stand
// beside the ledger of their source, in an attribute of their own.
type Fingerprints struct {
	Key string                    // names the key that made them
	Of  map[schema.Address]string // by address and path: identityProviders/google#config.clientSecret; nil where there never were any
}

// Equal tells whether two say the same.
func (f Fingerprints) Equal(g Fingerprints) bool {
	return maps.Equal(f.Of, g.Of) && (f.Key == g.Key || len(f.Of) == 0)
}

type fingerprintsJSON struct {
	Key string `json:"key"`
	Of  string `json:"of"` // JSON, zlib, base64: 1,000 take some 30 kB
}

func fingerprintAttribute(source string) string { return "cloakwork.fingerprints." + hashed(source) }

func (f Fingerprints) encode() (string, error) {
	of, err := json.Marshal(f.Of) // sorted by key
	if err != nil {
		return "", err
	}
	text, err := deflated(string(of))
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(fingerprintsJSON{f.Key, text})
	return string(b), err
}

// fingerprintsIn are the fingerprints of a source. Those that can't be read tell nothing, as if there were none: what they
// are of is written once more.
func fingerprintsIn(attributes map[string]any, source string) Fingerprints {
	var j fingerprintsJSON
	if err := json.Unmarshal([]byte(text(attributes[fingerprintAttribute(source)])), &j); err != nil {
		return Fingerprints{}
	}
	f := Fingerprints{Key: j.Key}
	b, err := inflated(j.Of)
	if err != nil || json.Unmarshal(b, &f.Of) != nil {
		return Fingerprints{}
	}
	return f
}
