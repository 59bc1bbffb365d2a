package main

import (
	"bytes"
	"errors"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"

	"culvert/cmd/internal/config"
)

func TestDescribeBuild(t *testing.T) {
	info := &debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"},
			{Key: "vcs.modified", Value: "true"},
		},
	}
	tests := []struct {
		name   string
		info   *debug.BuildInfo
		linked build
		want   build
	}{
		{"nothing known", nil, build{}, build{Version: "(devel)"}},
		{"linked only", nil, build{Version: "v9", Commit: "def"}, build{Version: "v9", Commit: "def"}},
		{"recorded", info, build{}, build{Version: "v1.2.3", Commit: "abc", Dirty: true}},
		{"linked version wins", info, build{Version: "v9"}, build{Version: "v9", Commit: "abc", Dirty: true}},
		{"linked commit is the recorded one", info, build{Commit: "abc"}, build{Version: "v1.2.3", Commit: "abc", Dirty: true}},
		{"linked commit wins", info, build{Commit: "def"}, build{Version: "v1.2.3", Commit: "def"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, describeBuild(tt.info, tt.linked)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestBuildString(t *testing.T) {
	platform := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	tests := []struct {
		b    build
		want string
	}{
		{build{Version: "v1"}, "culvert v1\ncommit unknown\n" + platform},
		{build{Version: "v1", Commit: "abc", Dirty: true}, "culvert v1\ncommit abc (modified)\n" + platform},
	}
	for _, tt := range tests {
		if got := tt.b.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestPrintError(t *testing.T) {
	at := func(line, column int) config.Position {
		return config.Position{File: "a.yaml", Line: line, Column: column}
	}
	file := config.Errors{{Position: at(1, 2), Message: "x"}, {Position: at(3, 4), Message: "y"}}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("listen: in use\n"), "culvert: listen: in use\n"},
		{"of a file", file, "a.yaml:1:2: x\na.yaml:3:4: y\n"},
		{"reported already", errReported, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			printError(&out, tt.err)
			if out.String() != tt.want {
				t.Errorf("got %q, want %q", out.String(), tt.want)
			}
		})
	}
}
