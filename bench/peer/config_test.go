package peer

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is a configuration with all features.
func golden(dir string) config {
	return config{
		Setup: Setup{
			Servers: []string{"127.0.0.1:20001", "127.0.0.1:20002"}, Workers: 2, Routes: 2,
			HTTP:      []string{"127.0.0.1:20003", "127.0.0.1:20004"},
			HalfClose: true, ConnectTimeout: 1500 * time.Millisecond, FirstByte: 2 * time.Second,
		},
		Listen: "127.0.0.1:25001", ListenTLS: "127.0.0.1:25002", Dir: dir, FDs: 20000, User: "root",
	}
}

// TestConfigurations compares all files of all peers with testdata; those of
// Envoy and Traefik are not read by the real program in any test.
func TestConfigurations(t *testing.T) {
	for _, p := range Known("culvert-bench") {
		t.Run(p.Name, func(t *testing.T) {
			dir := t.TempDir()
			if err := p.writeFiles(golden(dir)); err != nil {
				t.Fatal(err)
			}
			for name := range p.files {
				compare(t, filepath.Join("testdata", p.Name, name), filepath.Join(dir, name), dir)
			}
		})
	}
}

// compare replaces the peer's folder with /run/peer.
func compare(t *testing.T, want, got, dir string) {
	t.Helper()
	b, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte(dir), []byte("/run/peer"))
	if *update {
		if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(want, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(w), string(b)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", want, diff)
	}
}

// TestConfigurationsAreYAML is the check for programs that are not installed.
func TestConfigurationsAreYAML(t *testing.T) {
	for _, p := range []Peer{envoy(), traefik()} {
		t.Run(p.Name, func(t *testing.T) {
			for _, c := range []config{golden(t.TempDir()), {Setup: Setup{Servers: []string{"127.0.0.1:20001"}}, Listen: "127.0.0.1:25001", Dir: t.TempDir()}} {
				if err := p.writeFiles(c); err != nil {
					t.Fatal(err)
				}
				for name := range p.files {
					b, err := os.ReadFile(filepath.Join(c.Dir, name))
					if err != nil {
						t.Fatal(err)
					}
					var v map[string]any
					if err := yaml.Unmarshal(b, &v); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestArguments(t *testing.T) {
	want := map[string][]string{
		"culvert": {"run", "culvert.yaml"},
		"nginx":   {"-e", "stderr", "-p", "/run/peer", "-c", "nginx.conf", "-g", "daemon off;"},
		"haproxy": {"-db", "-f", "haproxy.cfg"},
		"relay":   {"relay", "-listen", "127.0.0.1:25001", "-servers", "127.0.0.1:20001,127.0.0.1:20002", "-half-close=true", "-connect-timeout", "1.5s"},
		"envoy":   {"-c", "envoy.yaml", "--concurrency", "2", "--disable-hot-restart", "-l", "error"},
		"traefik": {
			"--entryPoints.in.address=127.0.0.1:25001", "--providers.file.filename=routes.yaml", "--providers.file.watch=false",
			"--log.level=ERROR", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
		},
		"sniproxy": {"-f", "-c", "sniproxy.conf"},
	}
	got := make(map[string][]string)
	for _, p := range Known("culvert-bench") {
		if p.args != nil {
			got[p.Name] = p.args(golden("/run/peer"))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCulvertBesideTheBenchIsPreferred(t *testing.T) {
	dir := t.TempDir()
	bench := filepath.Join(dir, "culvert-bench")
	binary := func() string {
		for _, p := range Known(bench) {
			if p.Name == "culvert" {
				return p.Binary
			}
		}
		return ""
	}
	if got := binary(); got != "culvert" {
		t.Errorf("got %q, want the one in PATH", got)
	}
	beside := filepath.Join(dir, "culvert")
	if err := os.WriteFile(beside, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := binary(); got != beside {
		t.Errorf("got %q, want %q", got, beside)
	}
}
