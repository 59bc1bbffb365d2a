package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary double as the program: scripts, and tests
// that need a process of its own, find it as culvert in PATH.
func TestMain(m *testing.M) {
	// A program built with -race sleeps a second before it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=50 "+os.Getenv("GORACE"))
	testscript.Main(m, map[string]func(){"culvert": main})
}

// TestScript runs testdata/script. UPDATE=1 rewrites what the scripts expect.
func TestScript(t *testing.T) {
	hellos, err := filepath.Abs("../../sniff/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HELLOS", hellos)
			return nil
		},
	})
}
