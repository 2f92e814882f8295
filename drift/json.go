package drift

import (
	"encoding/json"
	"io"
	"time"

	"github.com/cloakwork/cloakwork/schema"
)

// The JSON form of a report: it names fields for machines and never holds a secret.
type (
	reportJSON struct {
		Server   string        `json:"server"`
		Realm    string        `json:"realm"`
		Deployed string        `json:"deployment,omitempty"`
		Commit   string        `json:"commit,omitempty"`
		Verdict  Verdict       `json:"verdict"`
		Says     string        `json:"says"`
		Hint     string        `json:"hint,omitempty"`
		Objects  int           `json:"objects"`
		Changes  []changeJSON  `json:"changes"`
		Unseen   []unseenJSON  `json:"unseen"`
		Blind    []string      `json:"blind,omitempty"`
		Problems []problemJSON `json:"problems"`
		Steps    []Step        `json:"steps,omitempty"`
		Log      string        `json:"log,omitempty"`
		Notes    []string      `json:"notes,omitempty"`
		Later    []laterJSON   `json:"later,omitempty"`
		Began    time.Time     `json:"began"`
		Ended    time.Time     `json:"ended"`
	}
	changeJSON struct {
		Op      Op             `json:"op"`
		Cause   Cause          `json:"cause,omitempty"`
		Address schema.Address `json:"address"`
		From    schema.Address `json:"from,omitempty"`
		By      *writerJSON    `json:"by,omitempty"`
		Origin  *originJSON    `json:"origin,omitempty"`
		Diffs   []diffJSON     `json:"diffs,omitempty"`
		Risk    []Risk         `json:"risk,omitempty"`
		Outcome Outcome        `json:"outcome,omitempty"`
		Says    string         `json:"says,omitempty"`
	}
	diffJSON struct {
		Path   string `json:"path"`
		Cause  Cause  `json:"cause,omitempty"`
		Want   any    `json:"want,omitempty"`
		Have   any    `json:"have,omitempty"`
		Unset  bool   `json:"unset,omitempty"`
		Secret bool   `json:"secret,omitempty"` // want and have are left out
		Unseen bool   `json:"unseen,omitempty"` // Keycloak shows asterisks in place of what it has
	}
	unseenJSON struct {
		Address schema.Address `json:"address"`
		Path    string         `json:"path"`
		Written bool           `json:"written"` // as last written, as far as fingerprints tell
	}
	writerJSON struct {
		Name  string    `json:"name,omitempty"`
		ID    string    `json:"id"`
		Realm string    `json:"realm"`
		IP    string    `json:"ip,omitempty"`
		At    time.Time `json:"at"`
		Did   string    `json:"did"`
	}
	laterJSON struct {
		Address schema.Address `json:"address"`
		After   time.Time      `json:"after"`
	}
	originJSON struct {
		File   string `json:"file"`
		Line   int    `json:"line,omitempty"`
		Column int    `json:"column,omitempty"`
	}
	problemJSON struct {
		Origin  *originJSON `json:"origin,omitempty"`
		What    string      `json:"what"`
		Hint    string      `json:"hint,omitempty"`
		Warning bool        `json:"warning,omitempty"`
	}
)

// JSON writes reports as one indented array.
func JSON(w io.Writer, reports []Report) error {
	out := []reportJSON{}
	for _, r := range reports {
		j := reportJSON{r.Server, r.Realm, r.Deployment, r.Commit, r.Verdict, r.Says, r.Hint, r.Objects, []changeJSON{}, []unseenJSON{}, r.Blind, ProblemsJSON(r.Problems), r.Steps, r.Log, r.Notes, nil, r.Began, r.Ended}
		for _, l := range r.Later {
			j.Later = append(j.Later, laterJSON{l.Address, l.After.UTC()})
		}
		for _, c := range r.Changes {
			j.Changes = append(j.Changes, change(c))
		}
		for _, u := range r.Unseen {
			j.Unseen = append(j.Unseen, unseenJSON{u.Address, u.Path, u.Written})
		}
		out = append(out, j)
	}
	return encodeJSON(w, out)
}

func change(c Change) changeJSON {
	j := changeJSON{c.Op, c.Cause, c.Address, c.From, writer(c.By), origin(c.Origin()), nil, c.Risk, c.Outcome, c.Says}
	for _, d := range c.Diffs {
		diff := diffJSON{Path: d.Path, Cause: d.Cause, Unset: d.Unset, Secret: d.Secret, Unseen: d.Unseen}
		if !d.Secret {
			diff.Want, diff.Have = d.Want, d.Have
		}
		j.Diffs = append(j.Diffs, diff)
	}
	return j
}

// ProblemsJSON is the JSON form of problems.
func ProblemsJSON(problems []schema.Problem) []problemJSON {
	out := []problemJSON{}
	for _, p := range problems {
		out = append(out, problemJSON{origin(p.Origin), p.What, p.Hint, p.Warning})
	}
	return out
}

func writer(w Writer) *writerJSON {
	if w.ID == "" {
		return nil
	}
	j := writerJSON(w)
	return &j
}

func origin(o schema.Origin) *originJSON {
	if o.File == "" {
		return nil
	}
	return &originJSON{o.File, o.Line, o.Column}
}

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
