package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set when linking:
// -ldflags "-X main.version=v1.2.3 -X main.commit=0123abc". Empty means what
// the Go toolchain recorded, which is nothing without a version control system.
var version, commit string

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the Go version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), thisBuild())
			return err
		},
	}
}

// build says what this program was built from.
type build struct {
	Version string
	Commit  string // "" when unknown
	Dirty   bool   // the source differed from Commit
}

// describeBuild reads info, which may be nil. What linked says wins; its Dirty
// is not looked at.
func describeBuild(info *debug.BuildInfo, linked build) build {
	b := build{Version: linked.Version}
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
	if linked.Commit != "" && linked.Commit != b.Commit {
		b.Commit, b.Dirty = linked.Commit, false
	}
	return b
}

// thisBuild describes the running program.
func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(info, build{Version: version, Commit: commit})
}

// String returns three lines.
func (b build) String() string {
	commit := b.Commit
	if commit == "" {
		commit = "unknown"
	}
	if b.Dirty {
		commit += " (modified)"
	}
	return fmt.Sprintf("culvert %s\ncommit %s\n%s %s/%s\n",
		b.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
