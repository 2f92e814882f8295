package drift

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Markdown writes reports for a pull request or a job summary.
func Markdown(w io.Writer, reports []Report) error {
	var b strings.Builder
	for _, r := range reports {
		fmt.Fprintf(&b, "### %s: %s\n\n", code(subject(r)), r.Verdict)
		fmt.Fprintf(&b, "%s\n\n", escapeMarkdown(r.Says))
		if r.Hint != "" {
			fmt.Fprintf(&b, "_%s_\n\n", escapeMarkdown(r.Hint))
		}
		for _, p := range r.Problems {
			fmt.Fprintf(&b, "- %s %s\n", code(p.Origin.String()), escapeMarkdown(strings.TrimPrefix(p.String(), p.Origin.String()+": ")))
		}
		for _, note := range r.Notes {
			fmt.Fprintf(&b, "%s\n\n", escapeMarkdown(note))
		}
		for i, s := range r.Steps {
			fmt.Fprintf(&b, "%d. %s %s\n", i+1, code(s.String()), escapeMarkdown(s.Why))
		}
		if len(r.Steps) > 0 {
			b.WriteString("\n")
		}
		if r.Log != "" {
			fmt.Fprintf(&b, "%s\n\n", block(r.Log))
		}
		if len(r.Changes) > 0 {
			b.WriteString("| | object | fields | cause | risk | outcome |\n|---|---|---|---|---|---|\n")
		}
		for _, c := range r.Changes {
			var risks, fields []string
			for _, risk := range c.Risk {
				risks = append(risks, string(risk))
			}
			for _, path := range c.Fields() {
				fields = append(fields, code(path))
			}
			if c.Op == Create {
				fields = nil
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", c.Op, code(string(c.Address)), strings.Join(fields, ", "), cause(c),
				strings.Join(risks, ", "), outcome(c))
		}
		for _, l := range r.Later {
			fmt.Fprintf(&b, "\n%s\n", escapeMarkdown(l.String()))
		}
		b.WriteString("\n")
		lines := unseenLines(r.Unseen)
		for _, line := range lines {
			fmt.Fprintf(&b, "- %s\n", escapeMarkdown(line))
		}
		if len(lines) > 0 {
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cause is why a change is needed, and who made it so.
func cause(c Change) string {
	if c.By.ID == "" {
		return string(c.Cause)
	}
	return fmt.Sprintf("%s by %s, %s", c.Cause, code(c.By.who()), c.By.At.UTC().Format(when))
}

// outcome is how a change ended, and why, or what a reader of the plan should know.
func outcome(c Change) string {
	parts := []string{string(c.Outcome), escapeMarkdown(c.Says)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// code is text as inline code: nothing in it is read as Markdown.
func code(s string) string {
	s = strings.ReplaceAll(Escape(s), "|", "\\|")
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if fence != "`" {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// block is text as lines of code.
func block(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + Escape(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// escapeMarkdown makes text say in Markdown what it says.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for _, r := range Escape(s) {
		if strings.ContainsRune("\\`*_{}[]<>#|~!@&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
