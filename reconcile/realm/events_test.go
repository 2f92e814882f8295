package realm

import "testing"

func TestOfEveryKindItIsKnownWhichEventsTellOfIt(t *testing.T) {
	for _, k := range Kinds() {
		if _, known := recorded[k.Name]; !known {
			t.Errorf("%s: not in recorded: give the types of its events, and say in touches.go what their paths name", k.Name)
		}
	}
}
