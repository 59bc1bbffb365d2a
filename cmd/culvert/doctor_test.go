package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"culvert/cmd/internal/doctor"
	"culvert/l4/authority"
	"culvert/l4/terminate/mattermosttest"
)

// doctorSite is a file with two nodes of a site. TLS passes through if
// they speak it, and ends in culvert if not.
func doctorSite(t *testing.T, cfg mattermosttest.Config, encrypted bool) (file string) {
	t.Helper()
	s := &site{ca: must(authority.New()), dir: t.TempDir()}
	var srv mattermosttest.ServerConfig
	terminate := ""
	if encrypted {
		srv.Certificate = must(s.ca.Certificate(siteName))
	} else {
		s.writeCertificate("site")
		terminate = fmt.Sprintf(", terminate: {certificates: [{certificate: %[1]s/site.pem, key: %[1]s/site.key}]}", s.dir)
	}
	nodes := must(mattermosttest.NewCluster(2, cfg, srv))
	t.Cleanup(nodes.Close)
	file = filepath.Join(s.dir, "culvert.yaml")
	text := fmt.Sprintf("listeners: [{address: '127.0.0.1:0', routes: [{server_name: %[1]s, pool: nodes%[2]s}]}]\npools: {nodes: {servers: [%[3]q, %[4]q], site_url: 'https://%[1]s'}}\n",
		siteName, terminate, nodes[0].Addr(), nodes[1].Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDoctorsExitStatus: 0, 1 or 3, with nothing on standard error.
func TestDoctorsExitStatus(t *testing.T) {
	for _, tt := range []struct {
		name      string
		site      string // SiteURL
		encrypted bool
		status    int
		want      string
	}{
		{"all is well", "https://" + siteName, false, 0, " 0 with a warning, 0 wrong"},
		{"something is wrong", "http://" + siteName, false, 1, "the scheme is http instead of https"},
		{"only warnings", "https://" + siteName, true, 3, "from an authority that this machine does not trust"},
		{"both", "http://" + siteName, true, 1, "the scheme is http instead of https"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := doctorSite(t, mattermosttest.Config{SiteURL: tt.site}, tt.encrypted)
			var stderr strings.Builder
			cmd := exec.Command("culvert", "doctor", file)
			cmd.Stderr = &stderr
			out, _ := cmd.Output()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || !strings.Contains(string(out), tt.want) || stderr.Len() > 0 {
				t.Errorf("status %d, want %d and %q, got\n%s%s", got, tt.status, tt.want, out, &stderr)
			}
		})
	}
}

func TestDoctorsJSON(t *testing.T) {
	file := doctorSite(t, mattermosttest.Config{}, false)
	out, err := exec.Command("culvert", "doctor", "--json", file).Output()
	if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != statusFailed {
		t.Errorf("got %v, want exit status %d", err, statusFailed)
	}
	var r doctor.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if r.Result != doctor.Wrong || len(r.Findings) == 0 || !strings.HasPrefix(r.Findings[0].Problem, "SiteURL is empty") || len(r.Findings[0].Servers) != 2 {
		t.Errorf("got\n%s", out)
	}
}
