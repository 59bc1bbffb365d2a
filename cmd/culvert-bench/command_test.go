package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/bench/result"
)

func TestChoosePeers(t *testing.T) {
	tests := []struct {
		name              string
		binaries, without []string
		want, wantErr     string
	}{
		{"all", nil, nil, "culvert direct nginx haproxy relay envoy traefik sniproxy", ""},
		{"fewer", nil, []string{"envoy", "relay"}, "culvert direct nginx haproxy traefik sniproxy", ""},
		{"another build in its place", []string{"nginx=/opt/nginx"}, nil, "culvert direct nginx haproxy relay envoy traefik sniproxy", ""},
		{"another build beside it", []string{"nginx-1.31=/opt/nginx"}, []string{"envoy"}, "culvert direct nginx haproxy relay traefik sniproxy nginx-1.31", ""},
		{"of no kind", []string{"squid=/bin/squid"}, nil, "", "--peer squid=/bin/squid: want name=path"},
		{"without a path", []string{"nginx"}, nil, "", "want name=path"},
		{"direct has no binary", []string{"direct=/bin/true"}, nil, "", "want name=path"},
		{"leave out an unknown peer", nil, []string{"squid"}, "", "--without squid: no such peer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peers, err := choosePeers("/bin/culvert-bench", tt.binaries, tt.without)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v, want %q", err, tt.wantErr)
				}
				return
			}
			var names []string
			for _, p := range peers {
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); err != nil || got != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestCommandLineMistakes(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"run", "--rounds", "0"}, "begin at 1"},
		{[]string{"run", "--duration", "1ms"}, "100ms"},
		{[]string{"run", "--only", "nosuch", "--without", "envoy"}, "no workload is called nosuch"},
		{[]string{"compare", "/nonexistent.json", "b"}, "/nonexistent.json"},
		{[]string{"nosuch"}, "unknown command"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Chdir(t.TempDir())
			c := command()
			c.SetArgs(tt.args)
			c.SetOut(&bytes.Buffer{})
			if err := c.Execute(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A saved run can be shown again, and its table inserted into a README.
func TestSavedReportIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	r := &result.Report{Schema: result.SchemaVersion, Peers: []result.Peer{{Name: "culvert"}}}
	if err := save(path, r); err != nil {
		t.Fatal(err)
	}
	readme := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(readme, []byte("<!-- bench:begin -->\n<!-- bench:end -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"report", path + ".json"}, {"readme", path + ".json", readme}, {"compare", path + ".json", path + ".json"}} {
		c := command()
		c.SetArgs(args)
		if err := c.Execute(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	if text, err := os.ReadFile(readme); err != nil || !strings.Contains(string(text), "| work |") {
		t.Errorf("README: %s, %v", text, err)
	}
	if page, err := os.ReadFile(path + ".html"); err != nil || !strings.Contains(string(page), "</html>") {
		t.Errorf("no page: %v", err)
	}
}
