package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

// action is what action.yml runs: one of the other verbs, whose result it hands to GitHub's runner.
func (c *cli) action() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "action",
		Short:  "Do what the GitHub action's inputs ask for, and tell the runner",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return c.act(cmd.Context()) },
	}
	c.manifestFlags(cmd.Flags())
	c.sourceFlags(cmd.Flags())
	c.connectionFlags(cmd.Flags())
	cmd.Flags().StringVar(&c.flags.against, "against", "", "environment to compare with, for plan")
	return cmd
}

// What a runner takes of one step.
const (
	mostSummary     = 1 << 20 // bytes
	mostAnnotations = 10      // of each kind
)

// runner is GitHub's, which reads its commands from the standard output, and files that the environment names.
type runner struct {
	out       io.Writer
	workspace string
	told      map[string]int // annotations, by kind
}

// act runs the verb with its output held back, since no line of it may be taken for a command.
func (c *cli) act(ctx context.Context) error {
	r := &runner{out: c.out.(redacting).w, workspace: os.Getenv("GITHUB_WORKSPACE"), told: map[string]int{}}
	c.secrets.tell = r.mask
	for _, v := range c.secrets.known() {
		r.mask(v)
	}
	var text bytes.Buffer
	c.out, c.errs = redacting{&text, c.secrets}, redacting{&text, c.secrets}
	result, err := c.requested(ctx)
	var ended exit
	if err != nil && !errors.As(err, &ended) {
		c.complain(err)
		r.annotate("error", schema.Origin{}, c.secrets.redact(err.Error()))
	}
	r.quote(text.String())
	return errors.Join(c.hand(r, result), result.ends(err))
}

// result is what a verb came to.
type result struct {
	reports []drift.Report
	verdict string
	json    []byte
	bad     bool // the step fails
}

func (r result) ends(err error) error {
	if err != nil || r.bad {
		return exit(1)
	}
	return nil
}

// requested runs the verb that the inputs name.
func (c *cli) requested(ctx context.Context) (r result, err error) {
	r.verdict = string(drift.Errored)
	command, paths := os.Getenv("ACTION_COMMAND"), []string{os.Getenv("ACTION_PATH")}
	failOnDrift, err := strconv.ParseBool(os.Getenv("ACTION_FAIL_ON_DRIFT"))
	if err != nil {
		return r, advise("write true or false", "fail-on-drift: %q is neither", os.Getenv("ACTION_FAIL_ON_DRIFT"))
	}
	modes := map[string]reconcile.Mode{"plan": reconcile.Plan, "apply": reconcile.Apply, "drift": reconcile.Drift}
	mode, known := modes[command]
	switch {
	case command == "validate":
		return c.validated(paths)
	case !known:
		return r, advise("write validate, plan, apply or drift", "command: %q is not one", command)
	case c.flags.against != "" && command != "plan":
		return r, advise("leave against out, or write command: plan", "against belongs to plan, not to %s", command)
	case c.flags.against != "":
		r.reports, err = c.compare(paths)
	default:
		var failed bool
		r.reports, failed, err = c.passes(ctx, paths, mode)
		r.bad = failed || mode == reconcile.Apply && slices.ContainsFunc(r.reports, unsettled)
	}
	drifted := func(p drift.Report) bool {
		return differs(p) || drift.Drifts(p.Changes) || mode == reconcile.Drift && changes(p)
	}
	r.bad = r.bad || failOnDrift && slices.ContainsFunc(r.reports, drifted)
	if len(r.reports) > 0 && err == nil {
		r.verdict = string(worst(r.reports))
	}
	var b bytes.Buffer
	if failed := drift.JSON(&b, r.reports); failed != nil {
		return r, failed
	}
	r.json = b.Bytes()
	return r, err
}

func (c *cli) validated(paths []string) (result, error) {
	r := result{verdict: "invalid"}
	t, err := c.openTree(paths)
	if err != nil {
		return r, err
	}
	o, err := c.options()
	if err != nil {
		return r, err
	}
	all := c.everyEnvironment(t, o)
	if err = c.reportValidity(all); err == nil {
		r.verdict = "valid"
	}
	text := c.out
	var b bytes.Buffer
	c.out, c.flags.output = &b, "json"
	_ = c.reportValidity(all) // the same, for programs
	c.out, c.flags.output, r.json = text, "text", b.Bytes()
	return r, err
}

// worst is the verdict that a person has to look at first.
func worst(reports []drift.Report) drift.Verdict {
	order := []drift.Verdict{drift.Errored, drift.Blocked, drift.Differs, drift.Drifted, drift.Pending, drift.Progressing, drift.Superseded, drift.Suspended, drift.InSync}
	rank := func(r drift.Report) int { return slices.Index(order, r.Verdict) }
	return slices.MinFunc(reports, func(a, b drift.Report) int { return rank(a) - rank(b) }).Verdict
}

// hand gives the runner what it shows: annotations, the job's summary, the outputs.
func (c *cli) hand(r *runner, result result) error {
	for _, p := range c.said {
		kind := "error"
		if p.Warning {
			kind = "warning"
		}
		r.annotate(kind, p.Origin, strings.TrimPrefix(p.String(), p.Origin.String()+": "))
	}
	n := 0
	for _, report := range result.reports {
		n += len(report.Changes)
		if report.Verdict == drift.Blocked || report.Verdict == drift.Errored {
			r.annotate("error", schema.Origin{}, report.Server+"/"+report.Realm+" "+string(report.Verdict)+": "+report.Says)
		}
		for _, change := range report.Changes {
			if kind, says := remark(change); kind != "" {
				r.annotate(kind, change.Origin(), says)
			}
		}
	}
	var summary bytes.Buffer
	if err := drift.Markdown(&summary, result.reports); err != nil {
		return err
	}
	for _, p := range c.said {
		fmt.Fprintf(&summary, "    %s\n", drift.Escape(p.String())) // indented: nothing in it is read as Markdown
	}
	text := c.secrets.redact(summary.String())
	if len(text) > mostSummary/2 { // what other steps say has to fit too
		text = strings.ToValidUTF8(text[:mostSummary/2], "") + "\n\n… the report goes on in the step's output `report`\n"
	}
	file, err := os.CreateTemp(os.Getenv("RUNNER_TEMP"), "cloakwork-*.json")
	if err != nil {
		return err
	}
	if _, err := file.WriteString(c.secrets.redact(string(result.json))); err != nil {
		return err
	}
	return errors.Join(file.Close(), toFile("GITHUB_STEP_SUMMARY", text),
		toFile("GITHUB_OUTPUT", fmt.Sprintf("changes=%d\nverdict=%s\nreport=%s\n", n, result.verdict, file.Name())))
}

// remark is what a reader of the manifest's line should know of a change.
func remark(c drift.Change) (kind, says string) {
	name, fields := string(c.Address), ""
	if f := c.Fields(); len(f) > 0 && c.Op == drift.Update {
		fields = " (" + strings.Join(f, ", ") + ")"
	}
	switch {
	case c.Outcome == drift.Failed:
		return "error", name + " failed: " + c.Says
	case c.Outcome != "" && c.Outcome != drift.Done:
		return "warning", name + " " + string(c.Outcome) + ": " + c.Says
	case c.Cause == "":
		return "warning", name + " differs" + fields
	case drift.Drifts([]drift.Change{c}):
		return "warning", name + " drifted" + fields
	case len(c.Risk) > 0 && c.Outcome == "":
		return "warning", name + ": " + string(c.Risk[0]) + fields
	}
	return "", ""
}

// annotate shows a sentence at a line of a file, on the pull request too.
func (r *runner) annotate(kind string, o schema.Origin, says string) {
	if r.told[kind]++; r.told[kind] > mostAnnotations {
		return
	}
	var at []string
	if o.File != "" && o.File != standardInput {
		at = append(at, "file="+property(r.within(o.File)))
		if o.Line > 0 {
			at = append(at, "line="+strconv.Itoa(o.Line))
		}
		if o.Column > 0 {
			at = append(at, "col="+strconv.Itoa(o.Column))
		}
	}
	at = append(at, "title=cloakwork")
	fmt.Fprintf(r.out, "::%s %s::%s\n", kind, strings.Join(at, ","), data(says))
}

// within is a file's name from the repository's root.
func (r *runner) within(name string) string {
	full, err := filepath.Abs(name)
	if err != nil || r.workspace == "" {
		return name
	}
	if real, err := filepath.EvalSymlinks(r.workspace); err == nil {
		if short, err := filepath.Rel(real, full); err == nil && !strings.HasPrefix(short, "..") {
			return filepath.ToSlash(short)
		}
	}
	if short, err := filepath.Rel(r.workspace, full); err == nil && !strings.HasPrefix(short, "..") {
		return filepath.ToSlash(short)
	}
	return name
}

// mask makes the runner blot a value out of all logs that follow. It reads lines, and so each line is masked.
func (r *runner) mask(value string) {
	for line := range strings.Lines(value) {
		if line = strings.TrimRight(line, "\r\n"); len(line) >= shortest {
			fmt.Fprintf(r.out, "::add-mask::%s\n", data(line))
		}
	}
}

// quote prints text in which nothing is a command.
func (r *runner) quote(text string) {
	token := rand.Text()
	fmt.Fprintf(r.out, "::stop-commands::%s\n%s\n::%s::\n", token, strings.TrimRight(text, "\n"), token)
}

// data and property are text as the runner's commands spell it.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}

// toFile adds text to a file that the runner reads after the step; without a runner there is none.
func toFile(variable, text string) error {
	name := os.Getenv(variable)
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}
