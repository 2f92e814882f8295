package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/reconcile/backup"
	"github.com/cloakwork/cloakwork/reconcile/platform"
)

func (c *cli) status() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show deployments, nodes, and the last report on each realm",
		Long: "Status shows what the controller last found out, how old that is, and each deployment as it is now, where its\n" +
			"platform can be asked. No controller has to run.\n\n" +
			"Exit codes: 0; 1 where anything is drifted, blocked or failed, a deployment is in ERROR, a node that should serve\n" +
			"doesn't, or the controller has stopped looking.",
		Example: "  cloakwork status --config /etc/cloakwork/cloakwork.yaml\n" +
			"  cloakwork status --watch",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.readConfig()
			if err != nil {
				return err
			}
			p := c.openPlatforms(conf)
			for {
				bad, err := c.showStatus(cmd.Context(), p, watch)
				switch {
				case err != nil:
					return err
				case !watch && bad:
					return exit(1)
				case !watch:
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(2 * time.Second):
				}
			}
		},
	}
	c.stateFlags(cmd.Flags())
	cmd.Flags().BoolVar(&watch, "watch", false, "show it anew every two seconds")
	return cmd
}

// overview is what status shows, and the form of its JSON.
type overview struct {
	At          time.Time     `json:"at"`
	Deployments []deployment  `json:"deployments"`
	Realms      []realmReport `json:"realms"`
	Sources     []followed    `json:"sources"`
}

type (
	deployment struct {
		deployed
		Live    bool          `json:"live"` // seen just now, not by the controller
		Verdict drift.Verdict `json:"verdict,omitempty"`
		Says    string        `json:"says,omitempty"`
		Hint    string        `json:"hint,omitempty"`
		Ended   time.Time     `json:"ended,omitzero"` // when the controller said so

		Backups []backup.Standing `json:"backups,omitempty"`

		kept time.Time // when it was seen by whoever wrote it down
	}
	realmReport struct {
		Server  string        `json:"server"`
		Realm   string        `json:"realm"`
		Commit  string        `json:"commit,omitempty"`
		Verdict drift.Verdict `json:"verdict"`
		Says    string        `json:"says"`
		Hint    string        `json:"hint,omitempty"`
		Ended   time.Time     `json:"ended"`
	}
	followed struct {
		Source     string    `json:"source"`
		Repository string    `json:"repository"`
		Commit     string    `json:"commit,omitempty"`
		Looked     time.Time `json:"looked"`
		Read       time.Time `json:"read,omitzero"`
		Error      string    `json:"error,omitempty"`
		Idle       bool      `json:"idle,omitempty"` // the controller has stopped looking
	}
	// reported is as much of a report as is shown.
	reported struct {
		realmReport
		Deployment string `json:"deployment"`
	}
)

// stand puts together what controllers wrote down and what can be seen now.
func (c *cli) stand(ctx context.Context, p *platforms) (overview, error) {
	now := time.Now().UTC()
	s := overview{At: now, Deployments: []deployment{}, Realms: []realmReport{}, Sources: []followed{}}
	all, err := recall(p.state)
	for _, r := range all {
		interval, _ := time.ParseDuration(r.Interval)
		if r.Source != byHand {
			s.Sources = append(s.Sources, followed{r.Source, r.Repository, r.Commit, r.Written, r.Read, r.Error, now.Sub(r.Written) > 5*time.Minute+5*interval})
		}
		of := map[string]reported{}
		for _, text := range r.Reports {
			var one reported
			if err := json.Unmarshal(text, &one); err != nil {
				return s, fmt.Errorf("read the reports of source %s: %w", r.Source, err)
			}
			if one.Deployment == "" {
				s.Realms = append(s.Realms, one.realmReport)
			} else if before, ok := of[one.Deployment]; !ok || worse(one.Verdict, before.Verdict) {
				of[one.Deployment] = one
			}
		}
		for _, d := range r.Deployments {
			if i := slices.IndexFunc(s.Deployments, func(o deployment) bool { return o.Name == d.Name }); i >= 0 {
				if !d.At.After(s.Deployments[i].kept) {
					continue
				}
				s.Deployments = slices.Delete(s.Deployments, i, i+1)
			}
			one := deployment{deployed: d, Verdict: of[d.Name].Verdict, Says: of[d.Name].Says, Hint: of[d.Name].Hint, Ended: of[d.Name].Ended, kept: d.At}
			one.Backups = recallBackups(backupsFolder(p.state), d.Name)
			one.look(ctx, p, now)
			s.Deployments = append(s.Deployments, one)
		}
	}
	return s, err
}

func worse(a, b drift.Verdict) bool {
	return status.StateOf(a) != status.Success && status.StateOf(b) == status.Success
}

// lookPatience is how long a platform is asked.
const lookPatience = 5 * time.Second

// look sees the deployment as it is now; where that can't be, it stays as it was last seen.
func (d *deployment) look(ctx context.Context, p *platforms, now time.Time) {
	driver, err := p.drive(&d.Declared)
	if err != nil {
		d.Error = err.Error()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	seen, err := driver.Observe(ctx, d.Declared)
	if err != nil {
		d.Error = drift.Escape(err.Error())
		return
	}
	d.see(seen, now)
	d.Live = true
}

// bad tells whether somebody has to look.
func (s overview) bad() bool {
	failed := func(v drift.Verdict) bool {
		state := status.StateOf(v)
		return v != "" && state != status.Success && state != status.Pending
	}
	return slices.ContainsFunc(s.Realms, func(r realmReport) bool { return failed(r.Verdict) }) ||
		slices.ContainsFunc(s.Sources, func(f followed) bool { return f.Error != "" || f.Idle }) ||
		slices.ContainsFunc(s.Deployments, func(d deployment) bool {
			down := slices.ContainsFunc(d.Nodes, func(n node) bool { return !n.Stopped && !n.Ready })
			backups := slices.ContainsFunc(d.Backups, func(s backup.Standing) bool { return s.Why != "" || s.Unproven != "" })
			unsent := slices.ContainsFunc(d.Telemetry, func(t platform.Telemetry) bool { return t.Why != "" })
			return failed(d.Verdict) || backups || unsent || d.Record.Lifecycle == platform.Error || down && d.Record.Lifecycle != platform.Starting
		})
}

func (c *cli) showStatus(ctx context.Context, p *platforms, watch bool) (bad bool, err error) {
	s, err := c.stand(ctx, p)
	if err != nil {
		return true, err
	}
	var b strings.Builder
	switch c.flags.output {
	case "json":
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(s)
	case "markdown":
		text := &strings.Builder{}
		s.text(text, plain)
		for line := range strings.Lines(text.String()) {
			b.WriteString("    " + line) // indented: nothing in it is read as Markdown
		}
	default:
		if r, ok := c.out.(redacting); ok && watch && isTerminal(r.w) {
			b.WriteString("\x1b[H\x1b[2J")
		} else if watch {
			fmt.Fprintln(&b, c.paint("faint", s.At.Format(time.RFC3339)))
		}
		s.text(&b, c.paint)
	}
	if err == nil {
		_, err = io.WriteString(c.out, b.String())
	}
	return s.bad(), err
}

// text writes it for people: deployments with their nodes, then realms, then where all of it was read.
func (s overview) text(b *strings.Builder, paint drift.Paint) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	ago := func(t time.Time) string { return paint("faint", age(s.At.Sub(t))) }
	for _, d := range s.Deployments {
		life := cmp.Or(d.Record.Lifecycle, "not there yet")
		line("deployment %s %s, epoch %d%s; seen %s", drift.Escape(d.Name), paint(lifeColour(life), string(life)), d.Record.Epoch, at(d.Commit), ago(d.At))
		if d.Verdict != "" {
			line("  %s: %s %s", paint(verdictColour(d.Verdict), string(d.Verdict)), drift.Escape(d.Says), ago(d.Ended))
		}
		if d.Hint != "" {
			line("  %s %s", paint("hint", "hint:"), drift.Escape(d.Hint))
		}
		if d.Error != "" {
			line("  %s %s", paint("error", "can't be seen now:"), drift.Escape(d.Error))
		}
		if m := d.Move; m != nil && m.State != platform.Done {
			line("  move    %s, %s %s%s", drift.Escape(m.Step.String()), m.State, ago(m.At), because(cmp.Or(m.Why, m.Step.Why)))
		}
		if words := d.movedBy(); words != "" {
			line("  moved   %s %s", words, ago(d.Record.Decided.At))
		}
		for _, r := range d.Regions {
			line("  region  %-10s %s%s", drift.Escape(r.Name), strings.Join(r.words(d.Record), ", "), because(r.Why))
		}
		for _, n := range d.Nodes {
			line("  node    %-10s %s%s", drift.Escape(n.Name), strings.Join(n.words(paint), ", "), because(n.Why))
		}
		for _, s := range d.Backups {
			line("  backup  %s", strings.Join(backupWords(s, ago, paint), ", "))
		}
		for _, t := range d.Telemetry {
			line("  %-7s %-10s %s", t.Of, drift.Escape(t.Region), strings.Join(telemetryWords(t, ago, paint), ", "))
		}
		for l := range strings.Lines(d.Record.Fault.Log) {
			line("  %s %s", paint("faint", "|"), drift.Escape(strings.TrimRight(l, "\r\n")))
		}
	}
	for _, r := range s.Realms {
		line("realm %s%s %s: %s %s", drift.Escape(r.Server+"/"+r.Realm), at(r.Commit), paint(verdictColour(r.Verdict), string(r.Verdict)), drift.Escape(r.Says), ago(r.Ended))
		if r.Hint != "" {
			line("  %s %s", paint("hint", "hint:"), drift.Escape(r.Hint))
		}
	}
	for _, f := range s.Sources {
		line("source %s%s, %s; looked %s", drift.Escape(f.Source), at(f.Commit), drift.Escape(f.Repository), ago(f.Looked))
		if f.Error != "" {
			line("  %s %s", paint("error", "error:"), drift.Escape(f.Error))
		}
		if f.Idle {
			line("  %s", paint("error", "the controller has stopped looking"))
		}
	}
}

// movedBy is who had the active region be another one, as long as that is news, and by which steps.
func (d deployment) movedBy() string {
	r := d.Record
	if r.Decided.By == "" || r.Toward == "" && r.Override == "" {
		return ""
	}
	words := "to " + drift.Escape(cmp.Or(r.Toward, r.Active)) + " by " + drift.Escape(r.Decided.By) + because(r.Decided.Why)
	var steps []string
	for _, m := range d.Past {
		if m.Step.Epoch >= r.Decided.Epoch {
			steps = append(steps, fmt.Sprintf("%s %s at epoch %d", drift.Escape(m.Step.String()), m.State, m.Step.Epoch))
		}
	}
	if len(steps) > 0 {
		words += ": " + strings.Join(steps, ", ")
	}
	return words
}

func (r region) words(record platform.Record) []string {
	words := []string{"passive"}
	if r.Name == record.Active {
		words[0] = "active"
	}
	if r.Role != "" {
		words = append(words, string(r.Role))
	}
	switch {
	case r.Role != platform.Standby:
	case !r.Streaming:
		words = append(words, "not streaming")
	case r.Synchronous:
		words = append(words, fmt.Sprintf("synchronous, %d bytes behind", r.Lag))
	default:
		words = append(words, fmt.Sprintf("asynchronous, %d bytes behind", r.Lag))
	}
	if r.Gated {
		words = append(words, "holds requests")
	}
	if !r.Lost.IsZero() {
		words = append(words, "hasn't answered since "+r.Lost.UTC().Format("15:04:05"))
	}
	return words
}

func (n node) words(paint drift.Paint) []string {
	state := paint("error", "not ready")
	switch {
	case n.Stopped:
		state = "stopped"
	case n.Ready && n.In:
		state = paint("good", "serves")
	case n.Ready:
		state = "ready, out of service"
	}
	words := []string{cmp.Or(n.Version, n.Revision), state}
	if n.Draining {
		words = append(words, "draining")
	}
	if n.View > 0 {
		words = append(words, "in a cluster of "+count(n.View, "node"))
	}
	return words
}

func backupWords(s backup.Standing, ago func(time.Time) string, paint drift.Paint) []string {
	words := []string{drift.Escape(s.Class + " to " + s.To)}
	if s.Last == "" {
		words[0] += " not yet taken"
	} else {
		words[0] += " " + ago(s.LastAt)
		words = append(words, amount(s.Bytes))
	}
	if s.Why != "" {
		words = append(words, paint("error", "fails since "+s.Since.UTC().Format("2 Jan 15:04"))+because(s.Why))
	}
	switch {
	case s.Unproven != "":
		words = append(words, paint("error", "not proven")+because(s.Unproven))
	case !s.ProvenAt.IsZero():
		words = append(words, "restored "+ago(s.ProvenAt))
	}
	return words
}

func at(commit string) string {
	if commit == "" {
		return ""
	}
	return " at " + commit[:min(7, len(commit))]
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + drift.Escape(why) + ")"
}

// age is how long ago something was, as a person would say it.
func age(d time.Duration) string {
	switch d = max(0, d); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

func verdictColour(v drift.Verdict) string {
	switch status.StateOf(v) {
	case status.Success:
		return "good"
	case status.Pending:
		return string(drift.Update)
	}
	return "error"
}

func lifeColour(l platform.Lifecycle) string {
	switch l {
	case platform.Running:
		return "good"
	case platform.Error:
		return "error"
	}
	return string(drift.Update)
}
