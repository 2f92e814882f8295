package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// docs writes what is generated of the documentation.
func (c *cli) docs() *cobra.Command {
	docs := &cobra.Command{Use: "docs", Short: "Write generated documentation", Hidden: true, Args: cobra.NoArgs}
	docs.AddCommand(
		&cobra.Command{
			Use:   "kinds",
			Short: "Print docs/kinds.md",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				page, err := kindsPage()
				if err != nil {
					return err
				}
				_, err = io.WriteString(c.out, page)
				return err
			},
		},
		&cobra.Command{
			Use:   "man DIR",
			Short: "Write a man page for each verb",
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := os.MkdirAll(args[0], 0o755); err != nil {
					return err
				}
				root := cmd.Root()
				root.DisableAutoGenTag = true
				return doc.GenManTree(root, &doc.GenManHeader{Title: "CLOAKWORK", Section: "1", Source: "cloakwork", Manual: "cloakwork"}, args[0])
			},
		},
	)
	return docs
}
