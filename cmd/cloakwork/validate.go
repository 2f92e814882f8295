package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) validate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [PATH…]",
		Short: "Check manifests, all problems at once",
		Long: "Validate reads manifests and prints every problem as file:line:column: what is wrong; what to do.\n" +
			"PATH is a file, a folder or - for standard input; the default is the working folder. It asks no server.\n\n" +
			"Exit codes: 0 no problems, 1 problems.",
		Example: "  cloakwork validate examples/acme",
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := c.openTree(args)
			if err != nil {
				return err
			}
			o, err := c.options()
			if err != nil {
				return err
			}
			return c.reportValidity(c.everyEnvironment(t, o))
		},
	}
	c.manifestFlags(cmd.Flags())
	return cmd
}

// everyEnvironment reads the manifests, those of all environments where none is named: a check before a merge means them all.
func (c *cli) everyEnvironment(t tree, o schema.Options) []schema.Declared {
	if o.Environment == "" {
		o.Paths = t.paths
		environments, _ := schema.Environments(t.fsys, o) // load says what is wrong with the version
		var all []schema.Declared
		for _, e := range environments {
			if o.Environment != e.Name && e.Name != "" { // they are in order
				o.Environment = e.Name
				all = append(all, c.load(t.fsys, t.paths, t.prefix, o))
			}
		}
		if len(all) > 0 {
			return all
		}
		o.Environment = ""
	}
	return []schema.Declared{c.load(t.fsys, t.paths, t.prefix, o)}
}

func (c *cli) reportValidity(all []schema.Declared) error {
	var v validity
	var problems []schema.Problem
	named := map[string]bool{}
	for _, d := range all {
		if d.Environment != nil {
			v.Environments++
		}
		v.Deployments += len(d.Deployments)
		v.Realms += len(d.Realms)
		for _, r := range d.Realms {
			for address := range r.State {
				if !d.Kinds[address.Kind()].Links { // they belong to their owner
					v.Objects++
				}
			}
		}
		problems = append(problems, d.Problems...)
		maps.Copy(named, files(d))
	}
	problems = schema.SortProblems(problems)
	c.said = problems
	v.Files, v.Problems = len(named), drift.ProblemsJSON(problems)
	bad := 0
	for _, p := range problems {
		if !p.Warning {
			bad++
		}
	}
	var b strings.Builder
	switch c.flags.output {
	case "json":
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return err
		}
	case "markdown":
		for _, p := range problems {
			fmt.Fprintf(&b, "    %s\n", drift.Escape(p.String())) // indented: nothing in it is read as Markdown
		}
		fmt.Fprintf(&b, "\n**%s**\n", v.says(bad))
	default:
		for _, p := range problems {
			what := "error"
			if p.Warning {
				what = "hint"
			}
			fmt.Fprintln(&b, c.painted(p, what, c.paint))
		}
		what := "good"
		if bad > 0 {
			what = "error"
		}
		fmt.Fprintln(&b, c.paint(what, v.says(bad)))
	}
	if _, err := c.out.Write([]byte(b.String())); err != nil {
		return err
	}
	if bad > 0 {
		return exit(1)
	}
	return nil
}

// painted is a problem in one line, its sentence coloured.
func (c *cli) painted(p schema.Problem, what string, paint drift.Paint) string {
	place := p.Origin.String()
	if place == "" {
		return paint(what, drift.Escape(p.String()))
	}
	return drift.Escape(place) + ": " + paint(what, drift.Escape(strings.TrimPrefix(p.String(), place+": ")))
}

// validity is the JSON form of what validate says.
type validity struct {
	Files        int `json:"files"`
	Environments int `json:"environments,omitempty"`
	Deployments  int `json:"deployments,omitempty"`
	Realms       int `json:"realms"`
	Objects      int `json:"objects"`
	Problems     any `json:"problems"`
}

func (v validity) says(bad int) string {
	if bad > 0 {
		return count(bad, "problem")
	}
	parts := []string{count(v.Files, "file"), count(v.Realms, "realm"), count(v.Objects, "object")}
	if v.Deployments > 0 {
		parts = slices.Insert(parts, 1, count(v.Deployments, "deployment"))
	}
	if v.Environments > 0 {
		parts = slices.Insert(parts, 1, count(v.Environments, "environment"))
	}
	return strings.Join(parts, ", ") + ": no problems"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// files are those that declare something.
func files(d schema.Declared) map[string]bool {
	found := map[string]bool{}
	for _, r := range d.Realms {
		found[r.Origin.File] = true
		for _, o := range r.State {
			found[o.Origin.File] = true
			for _, origin := range o.Origins {
				found[origin.File] = true
			}
		}
	}
	for _, deployment := range d.Deployments {
		found[deployment.Origin.File] = true
	}
	delete(found, "")
	return found
}
