package drift

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func drifted(by ...string) []Change {
	var changes []Change
	for _, name := range by {
		c := Change{Op: Create, Cause: FromDrift, Address: "roles/auditor"}
		if name != "" {
			c.By = Writer{Name: name, ID: "1", Realm: "master", At: time.Unix(0, 0), Did: "delete"}
		}
		changes = append(changes, c)
	}
	return changes
}

func TestAStatusSaysWhoDidIt(t *testing.T) {
	for _, c := range []struct {
		by   []string
		want string
	}{
		{[]string{""}, ""},
		{[]string{"admin"}, "; by admin"},
		{[]string{"admin", "admin"}, "; by admin"},
		{[]string{"ada", "bob", "bob"}, "; by bob and ada"},
		{[]string{"ada", "bob", "eve", "eve"}, "; by eve and 2 others"},
		{[]string{"admin", "", "admin"}, "; 2 by admin"},
		{[]string{"", "bob", "ada"}, "; 2 by ada and bob"},
		{[]string{"a\x1b[2Jb\u202e"}, `; by a\u001b[2Jb\u202e`},
		{[]string{strings.Repeat("x", 99)}, "; by " + strings.Repeat("x", 39) + "…"},
	} {
		got := SayDrift(drifted(c.by...))
		if !strings.HasSuffix(got, "(gone)"+c.want) {
			t.Errorf("%q: says %q, want %q at its end", c.by, got, c.want)
		}
	}
}

func TestWhoDidItStandsAtTheEndOfALongSentenceToo(t *testing.T) {
	got := SayDrift(drifted(strings.Split(strings.Repeat("admin,", 50), ",")...))
	if len([]rune(got)) != Longest || !strings.HasPrefix(got, "51 drifted: roles/auditor (gone), ") || !strings.HasSuffix(got, "…; 50 by admin") {
		t.Errorf("says %q", got)
	}
}

func TestNamesOfWritersCanNotTakeAReportOver(t *testing.T) {
	report := Report{Changes: drifted("`a`|**b**\x1b[2J")}
	for form, write := range map[string]func(*bytes.Buffer) error{
		"text":     func(b *bytes.Buffer) error { return Text(b, report, nil) },
		"markdown": func(b *bytes.Buffer) error { return Markdown(b, []Report{report}) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, "1970-01-01 00:00:00 UTC") {
			t.Errorf("%s: %q", form, got)
		} else if form == "markdown" && !strings.Contains(got, "| drift by `` `a`\\|**b**\\u001b[2J ``, 1970") {
			t.Errorf("%s: %q", form, got)
		}
	}
}
