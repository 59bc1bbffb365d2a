package main

import (
	"github.com/spf13/cobra"

	"culvert/cmd/internal/yaml"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration file, for editors",
		Long: `schema prints the JSON Schema (draft 2020-12) of culvert.yaml. Editors that know
it complete keys, show what they mean and mark mistakes as they are typed. What
two keys say about each other, and names that must exist, culvert check knows.`,
		Example:           "  culvert schema > culvert.schema.json",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(yaml.Schema())
			return err
		},
	}
}
