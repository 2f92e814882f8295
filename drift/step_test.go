package drift

import (
	"bytes"
	"testing"
)

func TestAReportOfADeploymentShowsWhatLiesAhead(t *testing.T) {
	r := Report{Deployment: "eu", Commit: "0123456789", Verdict: Progressing, Says: "eu: 0 of 1 node runs 26.7.3",
		Steps: []Step{{Verb: Prepare, Revision: "4f2a"}, {Verb: Drain, Node: "paris-0", Region: "paris", Epoch: 7, Why: "runs 26.7.2\x1b[2J"}, {Verb: Gate, Region: "paris"}, {Verb: Dump}},
		Log:   "line 1\n\x1b[2J`line` 2\n"}
	for _, c := range []struct {
		form  string
		write func(*bytes.Buffer) error
		want  string
	}{
		{"text", func(b *bytes.Buffer) error { return Text(b, r, nil) }, "deployment eu at 0123456 progressing: eu: 0 of 1 node runs 26.7.3\n" +
			"   1. prepare 4f2a\n   2. drain paris-0  (runs 26.7.2\\u001b[2J)\n   3. gate paris\n   4. dump\n  | line 1\n  | \\u001b[2J`line` 2\n"},
		{"markdown", func(b *bytes.Buffer) error { return Markdown(b, []Report{r}) }, "### `deployment eu at 0123456`: progressing\n\neu: 0 of 1 node runs 26.7.3\n\n" +
			"1. `prepare 4f2a` \n2. `drain paris-0` runs 26.7.2\\\\u001b\\[2J\n3. `gate paris` \n4. `dump` \n\n    line 1\n    \\u001b[2J`line` 2\n\n\n"},
		{"JSON", func(b *bytes.Buffer) error { return JSON(b, []Report{r}) }, `[
  {
    "server": "",
    "realm": "",
    "deployment": "eu",
    "commit": "0123456789",
    "verdict": "progressing",
    "says": "eu: 0 of 1 node runs 26.7.3",
    "objects": 0,
    "changes": [],
    "unseen": [],
    "problems": [],
    "steps": [
      {
        "verb": "prepare",
        "revision": "4f2a"
      },
      {
        "verb": "drain",
        "node": "paris-0",
        "region": "paris",
        "epoch": 7,
        "why": "runs 26.7.2\u001b[2J"
      },
      {
        "verb": "gate",
        "region": "paris"
      },
      {
        "verb": "dump"
      }
    ],
    "log": "line 1\n\u001b[2J` + "`line`" + ` 2\n",
    "began": "0001-01-01T00:00:00Z",
    "ended": "0001-01-01T00:00:00Z"
  }
]
`},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != c.want {
			t.Errorf("%s:\n%q\nwant\n%q", c.form, got, c.want)
		}
	}
}
