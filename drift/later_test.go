package drift

import (
	"strings"
	"testing"
	"time"
)

// Every form of a report says what is removed later, and when.
func TestReportsSayWhatIsRemovedLater(t *testing.T) {
	r := Report{Server: "eu", Realm: "acme", Verdict: InSync, Says: "3 objects as declared",
		Later: []Later{{Address: "authenticationFlows/acme%20old", After: time.Date(2026, 11, 23, 13, 40, 5, 0, time.FixedZone("", 3600))}}}
	var plain, markdown, machine strings.Builder
	if err := Text(&plain, r, nil); err != nil {
		t.Fatal(err)
	}
	if err := Markdown(&markdown, []Report{r}); err != nil {
		t.Fatal(err)
	}
	if err := JSON(&machine, []Report{r}); err != nil {
		t.Fatal(err)
	}
	const says = "authenticationFlows/acme%20old is removed after 2026-11-23 12:40:05 UTC\n"
	for _, c := range []struct{ got, want string }{
		{plain.String(), "  - " + says},
		{markdown.String(), "\n" + says},
		{machine.String(), `"address": "authenticationFlows/acme%20old",` + "\n        " + `"after": "2026-11-23T12:40:05Z"`},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("nothing says %q:\n%s", c.want, c.got)
		}
	}
}
