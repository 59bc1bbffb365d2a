package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when linking: -ldflags "-X main.version=v1.2.3". Empty means
// what the Go toolchain recorded.
var version string

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the Go version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return thisBuild().print(cmd.OutOrStdout())
		},
	}
}

// build says what this program was built from.
type build struct {
	Version string
	Commit  string // "" when unknown
	Dirty   bool   // the source differed from Commit
}

// describeBuild reads info, which may be nil; linked, if not empty, is the
// version.
func describeBuild(info *debug.BuildInfo, linked string) build {
	b := build{Version: linked}
	if info == nil {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

// thisBuild describes the running program.
func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(info, version)
}

func (b build) print(w io.Writer) error {
	commit := b.Commit
	if commit == "" {
		commit = "unknown"
	}
	if b.Dirty {
		commit += " (modified)"
	}
	_, err := fmt.Fprintf(w, "culvert %s\ncommit %s\n%s %s/%s\n",
		b.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
