package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"culvert/bench"
	"culvert/bench/report"
	"culvert/bench/result"
)

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Show the names of all workloads", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Println(strings.Join(bench.Names(), "\n"))
			return err
		},
	}
}

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "report FILE.json", Short: "Print the report of an earlier run, and write its HTML page anew", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := read(args[0])
			if err != nil {
				return err
			}
			for i := range r.Workloads {
				report.Line(os.Stdout, r, &r.Workloads[i])
			}
			report.Bars(os.Stdout, r)
			return save(strings.TrimSuffix(args[0], ".json"), r)
		},
	}
}

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compare OLD.json NEW.json", Short: "Show what changed between two runs, and whether it means anything", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := read(args[0])
			if err != nil {
				return err
			}
			after, err := read(args[1])
			if err != nil {
				return err
			}
			report.Changes(os.Stdout, result.Compare(before, after))
			return nil
		},
	}
}

func readmeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "readme FILE.json README.md", Short: "Write the table of a README from a run", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := read(args[0])
			if err != nil {
				return err
			}
			old, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			text, err := report.UpdateReadme(old, r)
			if err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			return os.WriteFile(args[1], text, 0o644)
		},
	}
}

func read(path string) (*result.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := result.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
