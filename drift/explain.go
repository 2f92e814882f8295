package drift

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Standing is how an object, or a field of one, is off.
type Standing string

// The standings.
const (
	AsDeclared  Standing = "as declared"
	Off         Standing = "differs"
	Missing     Standing = "isn't there"
	Surplus     Standing = "goes" // it is live, and apply removes it
	LeftAlone   Standing = "left alone"
	CantBeSeen  Standing = "can't be seen" // Keycloak never gives it back
	NotCompared Standing = "not compared"  // it is sent once
)

// Explanation is what there is to know about one object, or one field of it.
type Explanation struct {
	Commit, Server, Realm string
	Address               schema.Address
	Standing              Standing
	Rule                  string          // which rule decides about it
	Declared              []schema.Origin // where, none for what nobody declares
	Over                  []schema.Origin // what that lies over in lower layers, the nearest first
	Fields                []Field
	Changes               []Change // what apply would do to it
	Blocked               string   // why apply would do nothing at all
	Last                  Writer   // who wrote it last
	Us                    bool     // that was the account that looks
	Unknown               string   // why that isn't known
}

// Field is one field as declared and as live.
type Field struct {
	Path       string
	Standing   Standing
	Rule       string // which rule decides about it, "" where that of its object does
	Declared   []schema.Origin
	Over       []schema.Origin
	Want, Have any // nil where Secret
	Secret     bool
	Cause      Cause // of what differs
}

// TextExplanation writes an explanation for people.
func TextExplanation(w io.Writer, e Explanation, paint Paint) error {
	if paint == nil {
		paint = func(_, s string) string { return s }
	}
	t := &text{paint: paint}
	what := "good"
	if e.Standing == Off || e.Standing == Missing || e.Standing == Surplus {
		what = "error"
	}
	t.line("%s %s: %s", t.paint("faint", subject(Report{Server: e.Server, Realm: e.Realm, Commit: e.Commit})), Escape(string(e.Address)), t.paint(what, string(e.Standing)))
	t.line("  declared:   %s", places(e.Declared, e.Over, "nowhere"))
	t.line("  rule:       %s", Escape(e.Rule))
	t.line("  last write: %s", Escape(e.lastWrite()))
	t.line("  apply:      %s", e.wouldDo(t.paint))
	plain := map[Standing][]string{} // of which nothing is to be said but their names
	for _, f := range e.Fields {
		if (f.Standing == LeftAlone || f.Standing == Surplus) && f.Rule == "" && len(e.Fields) > 1 {
			plain[f.Standing] = append(plain[f.Standing], Escape(f.Path))
			continue
		}
		t.field(f)
	}
	for _, group := range []struct {
		Standing
		says string
	}{{Surplus, "goes with it: "}, {LeftAlone, "not declared, left alone: "}} {
		if names := plain[group.Standing]; len(names) > 0 {
			t.line("  %s", t.paint("faint", group.says+strings.Join(names, ", ")))
		}
	}
	_, err := io.WriteString(w, t.String())
	return err
}

func places(declared, over []schema.Origin, none string) string {
	s, between := "", ""
	for _, o := range declared {
		s, between = s+between+Escape(o.String()), ", also "
	}
	for _, o := range over {
		s += ", over " + Escape(o.String())
	}
	return cmp.Or(s, none)
}

func (e Explanation) lastWrite() string {
	switch {
	case e.Last.ID == "":
		return "not known: " + e.Unknown
	case e.Us:
		return e.Last.String() + " (the account that asks)"
	}
	return e.Last.String()
}

// wouldDo says what apply would do, and what harm that can do.
func (e Explanation) wouldDo(paint Paint) string {
	var does []string
	for _, c := range e.Changes {
		s := string(c.Op)
		switch {
		case c.Op == Rename:
			s += " from " + string(c.From)
		case c.Op == Update:
			s += " " + strings.Join(c.Fields(), ", ")
		case c.Address != e.Address:
			s += " " + string(c.Address) + ", in which it stands"
		}
		why := []string{string(c.Cause), string(c.Outcome), c.Says}
		s += " (" + strings.Join(slices.DeleteFunc(why, func(s string) bool { return s == "" }), "; ") + ")"
		s = paint(string(c.Op), Escape(s))
		for _, r := range c.Risk {
			s += "; " + paint("risk", string(r))
		}
		does = append(does, s)
	}
	if e.Blocked != "" {
		does = append(does, paint("error", "blocked: "+Escape(e.Blocked)))
	}
	if len(does) == 0 {
		return "nothing"
	}
	return strings.Join(does, "; ")
}

var standings = map[Standing]string{AsDeclared: "=", Off: "~", Missing: "+", Surplus: "-", LeftAlone: "·", CantBeSeen: "?", NotCompared: "·"}

func (t *text) field(f Field) {
	notes := []string{string(f.Standing)}
	if f.Standing == Off || f.Standing == Surplus || f.Standing == Missing {
		notes = append(notes, string(f.Cause))
	}
	if f.Rule != "" {
		notes = append(notes, Escape(f.Rule))
	}
	if len(f.Declared) > 0 {
		notes = append(notes, places(f.Declared, f.Over, ""))
	}
	value := show(f.Want)
	switch {
	case f.Standing == Off && f.Secret:
		value = secretly(Update, Diff{Have: "", Secret: true})
	case f.Secret:
		value = "(secret)"
	case f.Standing == Off:
		value = show(f.Have) + " → " + show(f.Want)
	case f.Standing == Surplus:
		value = show(f.Have) + " → (none)"
	case f.Standing == LeftAlone:
		value = show(f.Have)
	}
	t.line("  %s %s: %s  %s", standings[f.Standing], Escape(f.Path), value, t.paint("faint", fmt.Sprintf("(%s)", strings.Join(notes, "; "))))
}

// The JSON form of an explanation.
type (
	explanationJSON struct {
		Server   string         `json:"server"`
		Realm    string         `json:"realm"`
		Commit   string         `json:"commit,omitempty"`
		Address  schema.Address `json:"address"`
		Standing Standing       `json:"standing"`
		Rule     string         `json:"rule"`
		Declared []*originJSON  `json:"declared,omitempty"`
		Over     []*originJSON  `json:"over,omitempty"`
		Fields   []fieldJSON    `json:"fields"`
		Changes  []changeJSON   `json:"changes"`
		Blocked  string         `json:"blocked,omitempty"`
		Last     *writerJSON    `json:"last,omitempty"`
		Us       bool           `json:"us,omitempty"` // the last write was of the account that asks
		Unknown  string         `json:"unknown,omitempty"`
	}
	fieldJSON struct {
		Path     string        `json:"path"`
		Standing Standing      `json:"standing"`
		Rule     string        `json:"rule,omitempty"`
		Declared []*originJSON `json:"declared,omitempty"`
		Over     []*originJSON `json:"over,omitempty"`
		Want     any           `json:"want,omitempty"`
		Have     any           `json:"have,omitempty"`
		Secret   bool          `json:"secret,omitempty"` // want and have are left out
		Cause    Cause         `json:"cause,omitempty"`
	}
)

// JSONExplanations writes explanations as one indented array.
func JSONExplanations(w io.Writer, explanations []Explanation) error {
	out := []explanationJSON{}
	for _, e := range explanations {
		j := explanationJSON{e.Server, e.Realm, e.Commit, e.Address, e.Standing, e.Rule, originsJSON(e.Declared), originsJSON(e.Over), []fieldJSON{}, []changeJSON{}, e.Blocked,
			writer(e.Last), e.Us, e.Unknown}
		for _, f := range e.Fields {
			j.Fields = append(j.Fields, fieldJSON{f.Path, f.Standing, f.Rule, originsJSON(f.Declared), originsJSON(f.Over), f.Want, f.Have, f.Secret, f.Cause})
		}
		for _, c := range e.Changes {
			j.Changes = append(j.Changes, change(c))
		}
		out = append(out, j)
	}
	return encodeJSON(w, out)
}

func originsJSON(origins []schema.Origin) []*originJSON {
	var out []*originJSON
	for _, o := range origins {
		out = append(out, origin(o))
	}
	return out
}
