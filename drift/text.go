package drift

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/schema"
)

// Paint colours a part of the text by what it is: an Op, "risk", "error", "hint", "good", "faint". A nil Paint leaves text as it is.
type Paint func(what, s string) string

var marks = map[Op]string{Create: "+", Update: "~", Delete: "-", Rename: ">"}

// Text writes the report for people: the verdict, the risks, each change with its fields, what is in the way, what to do.
func Text(w io.Writer, r Report, paint Paint) error {
	if paint == nil {
		paint = func(_, s string) string { return s }
	}
	t := &text{paint: paint}
	t.head(r)
	t.risks(r.Changes)
	for _, c := range r.Changes {
		t.change(c)
	}
	t.steps(r.Steps)
	for _, line := range unseenLines(r.Unseen) {
		t.line("  %s", t.paint("faint", "? "+Escape(line)))
	}
	for _, l := range r.Later {
		t.line("  %s", t.paint("faint", "- "+l.String()))
	}
	t.problems(r.Problems)
	for _, note := range r.Notes {
		t.line("%s %s", t.paint("hint", "note:"), Escape(note))
	}
	t.log(r.Log)
	t.tail(r)
	_, err := io.WriteString(w, t.String())
	return err
}

type text struct {
	strings.Builder
	paint Paint
}

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// bad verdicts are errors to whoever reads them.
func bad(v Verdict) bool { return v == Blocked || v == Errored || v == Drifted || v == Differs }

func (t *text) head(r Report) {
	what := "good"
	if bad(r.Verdict) {
		what = "error"
	}
	says := r.Says
	if what == "error" && r.Verdict != Drifted && r.Verdict != Differs {
		says = "" // it stands below, where people look for it
	} else {
		says = ": " + says
	}
	if r.Verdict == InSync && len(r.Changes) > 0 {
		says += ", after " + count(r.Changes)
	}
	t.line("%s %s%s", t.paint("faint", subject(r)), t.paint(what, string(r.Verdict)), says)
}

func subject(r Report) string {
	s := Escape(r.Server + "/" + r.Realm)
	if r.Deployment != "" {
		s = "deployment " + Escape(r.Deployment)
	}
	if r.Commit != "" {
		s += " at " + r.Commit[:min(7, len(r.Commit))]
	}
	return s
}

// steps are listed in the order in which they are made.
func (t *text) steps(steps []Step) {
	for i, s := range steps {
		why := ""
		if s.Why != "" {
			why = "  " + t.paint("faint", "("+Escape(s.Why)+")")
		}
		t.line("  %2d. %s%s", i+1, Escape(s.String()), why)
	}
}

func (t *text) log(lines string) {
	for line := range strings.Lines(lines) {
		t.line("  %s %s", t.paint("faint", "|"), Escape(strings.TrimRight(line, "\r\n")))
	}
}

// risks come first: what a reader must not miss.
func (t *text) risks(changes []Change) {
	for _, c := range changes {
		if len(c.Risk) == 0 {
			continue
		}
		var names []string
		for _, r := range c.Risk {
			names = append(names, string(r))
		}
		t.line("  %s %s", t.paint("risk", "! "+strings.Join(names, ", ")+":"), Escape(string(c.Address)))
	}
}

func (t *text) change(c Change) {
	head := marks[c.Op] + " " + Escape(string(c.Address))
	if c.Op == Rename {
		head += " (was " + Escape(string(c.From)) + ")"
	}
	var notes []string
	if c.Cause != "" { // between two declarations there is none
		notes = append(notes, string(c.Cause))
	}
	if by := c.By.String(); by != "" {
		notes = append(notes, Escape(by))
	}
	if c.Outcome != "" {
		notes = append(notes, string(c.Outcome))
	}
	if c.Says != "" {
		notes = append(notes, Escape(c.Says))
	}
	if o := c.Origin(); o.File != "" {
		notes = append(notes, o.String())
	}
	t.line("  %s  %s", t.paint(string(c.Op), head), t.paint("faint", "("+strings.Join(notes, "; ")+")"))
	for _, d := range c.Diffs {
		t.diff(c.Op, d)
	}
}

func (t *text) diff(op Op, d Diff) {
	path := Escape(d.Path)
	want, wantList := d.Want.([]any)
	have, haveList := d.Have.([]any)
	switch {
	case d.Secret:
		t.line("      %s: %s", path, secretly(op, d))
	case d.Unset:
		t.line("      %s: %s → %s", path, show(d.Have), "(none)")
	case op == Create:
		t.line("      %s: %s", path, show(d.Want))
	case wantList && (haveList || d.Have == nil):
		t.line("      %s:", path)
		t.elements(want, have)
	default:
		t.line("      %s: %s → %s", path, show(d.Have), show(d.Want))
	}
}

func secretly(op Op, d Diff) string {
	switch {
	case op == Create:
		return "(secret)"
	case d.Unset:
		return "(secret) → (none)"
	case d.Unseen:
		return "(can't be seen) → (secret)"
	case d.Have == nil:
		return "(none) → (secret)"
	}
	return "(secret) → (another secret)"
}

// elements shows what a list gains and loses, or both orders where it is only the order.
func (t *text) elements(want, have []any) {
	before, after := map[string]bool{}, map[string]bool{}
	for _, v := range have {
		before[encoded(v)] = true
	}
	for _, v := range want {
		after[encoded(v)] = true
	}
	moved := true
	for _, v := range have {
		if !after[encoded(v)] {
			moved = false
			t.line("        %s", t.paint(string(Delete), "- "+show(v)))
		}
	}
	for _, v := range want {
		if !before[encoded(v)] {
			moved = false
			t.line("        %s", t.paint(string(Create), "+ "+show(v)))
		}
	}
	if moved {
		t.line("        order: %s → %s", show(have), show(want))
	}
}

// show is a value in short.
func show(v any) string {
	if v == nil {
		return "(none)"
	}
	const most = 200
	s := []rune(Escape(readable(v)))
	if len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(s)
}

// readable is a value's JSON as people write it: what HTML would need escaped isn't.
func readable(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // JSON values always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (t *text) problems(problems []schema.Problem) {
	for _, p := range problems {
		what := "error"
		if p.Warning {
			what = "hint"
		}
		t.line("%s", t.paint(what, Escape(p.String())))
	}
}

// tail says what was in the way and what to do, the way command-line tools do.
func (t *text) tail(r Report) {
	said := len(r.Problems) > 0 && strings.HasPrefix(r.Problems[0].String(), strings.TrimSuffix(r.Says, "…"))
	if (r.Verdict == Blocked || r.Verdict == Errored) && !said {
		t.line("%s %s", t.paint("error", "error:"), r.Says)
	}
	if r.Hint != "" {
		t.line("%s %s", t.paint("hint", "hint:"), Escape(r.Hint))
	}
}

// Origin is where the change is declared: the field that differs, or the object.
func (c Change) Origin() schema.Origin {
	if len(c.Diffs) > 0 && c.Op == Update {
		if o, ok := c.Want.Origins[c.Diffs[0].Path]; ok {
			return o
		}
	}
	if c.Op == Delete && c.Cause == "" { // it is declared elsewhere
		return c.Have.Origin
	}
	return c.Want.Origin
}

// Fields are the paths that differ in a change, for those who name them in a sentence.
func (c Change) Fields() []string {
	var paths []string
	for _, d := range c.Diffs {
		paths = append(paths, d.Path)
	}
	slices.Sort(paths)
	return paths
}
