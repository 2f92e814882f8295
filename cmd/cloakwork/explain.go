package main

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain ADDRESS [PATH…]",
		Short: "Say where an object is declared, which rule decides, what is live, and who wrote it last",
		Long: "Explain says all there is to know about one object, by its address as plans print it, or about one of its fields:\n" +
			"which file and line declare it, which rule decides about it, what is live, who wrote it last as far as the realm\n" +
			"records that, and what apply would do. It writes nothing.\n\n" +
			"Exit codes: 0, 1 error.",
		Example: "  cloakwork explain clients/portal examples/acme --server https://id.acme.example --user admin\n" +
			"  cloakwork explain clients/portal#redirectUris examples/acme\n" +
			"  cloakwork explain clients/portal/roles/viewer -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return advise("give one as a plan prints it, such as clients/portal or clients/portal#redirectUris", "no address is given")
			}
			return nil
		},
		ValidArgsFunction: c.addresses,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.explained(cmd.Context(), args[0], args[1:]) },
	}
	c.manifestFlags(cmd.Flags())
	c.sourceFlags(cmd.Flags())
	c.connectionFlags(cmd.Flags())
	c.stateFlags(cmd.Flags())
	return cmd
}

// explained explains an address in every realm that has it.
func (c *cli) explained(ctx context.Context, asked string, paths []string) error {
	if c.flags.output == "markdown" {
		return advise("give text or json", "explain has no form for Markdown")
	}
	address, path, _ := strings.Cut(asked, "#")
	r, err := c.reaching(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	conf, refs, _, err := c.meant(paths, r.file)
	if err != nil {
		return err
	}
	var explanations []drift.Explanation
	var unknown error
	for _, ref := range refs {
		p := c.pass(conf, ref, reconcile.Plan)
		if p.Client, p.Account, err = r.to(conf.declared, ref); err != nil {
			return err
		}
		e, err := p.Explain(ctx, escaped(address), path)
		var notThere *reconcile.NotThere
		switch {
		case errors.As(err, &notThere) && notThere.Near != "":
			unknown = advise("did you mean "+notThere.Near+"?", "%s: %w", ref, err)
		case errors.As(err, &notThere):
			if unknown == nil {
				unknown = advise("give an address as a plan prints it, such as clients/portal", "%s: %w", ref, err)
			}
		case err != nil:
			return err
		default:
			explanations = append(explanations, e)
		}
	}
	if len(explanations) == 0 {
		return unknown
	}
	if c.flags.output == "json" {
		return drift.JSONExplanations(c.out, explanations)
	}
	for _, e := range explanations {
		if err := drift.TextExplanation(c.out, e, c.paint); err != nil {
			return err
		}
	}
	return nil
}

// escaped is an address as plans spell it: what somebody typed may lack the escapes.
func escaped(asked string) schema.Address {
	parts := strings.Split(asked, "/")
	for i := 1; i < len(parts); i += 2 {
		keys := strings.Split(parts[i], ":")
		for j, k := range keys {
			if plain, err := url.PathUnescape(k); err == nil {
				keys[j] = plain
			}
		}
		parts[i] = strings.TrimPrefix(string(schema.Join("", "x", keys...)), "x/")
	}
	return schema.Address(strings.Join(parts, "/"))
}

// addresses completes an address from what the manifests of the working folder declare, and after a # its declared fields.
func (c *cli) addresses(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	conf, err := c.configuration(nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var all []string
	for _, r := range conf.declared.Realms {
		for a, o := range r.State {
			all = append(all, string(a))
			if !strings.HasPrefix(begun, string(a)+"#") {
				continue
			}
			for field := range o.Origins {
				all = append(all, string(drift.Key(a, field)))
			}
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, begun) })
	slices.Sort(all)
	return slices.Compact(all), cobra.ShellCompDirectiveNoFileComp
}
