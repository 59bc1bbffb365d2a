package yaml

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/cmd/internal/config"
	"culvert/health"
)

// healthEffects are those of the keys of health. A row that does not say which
// check is one of https.
var healthEffects = []effect{
	{inHealth, "check: tcp", probed, "tcp"},
	{inHealth, "check: tls, server_name: a.example", probed, "tls a.example"},
	{inHealth, "check: http", probed, "http /"},
	{inHealth, "check: http, server_name: a.example", probed, "http a.example /"},
	{inHealth, "check: https, server_name: a.example", probed, "https a.example /"},
	{inHealth, "check: mattermost", probed, "https /api/v4/system/ping"},
	{inHealth, "check: off", probed, "nothing"},
	{inHealth, "check: off, interval: 1s", probed, "nothing"},
	{inHealth, "tls: on, check: mattermost", probed, "https /api/v4/system/ping"},
	{inHealth, "tls: off, check: mattermost", probed, "http /api/v4/system/ping"},
	{inHealth, "tls: off, check: mattermost, server_name: a.example", probed, "http a.example /api/v4/system/ping"},
	{inHealth, "server_name: b.example", probed, "https b.example /"},
	{inHealth, "method: HEAD", func(l loaded) any { return asked(l).Method }, "HEAD"},
	{inHealth, "path: '/health?full=1'", func(l loaded) any { return asked(l).Path }, "/health?full=1"},
	{inHealth, "host: 'b.example:8065'", func(l loaded) any { return asked(l).Host }, "b.example:8065"},
	{inHealth, "host: b.example, check: mattermost", func(l loaded) any { return asked(l).Host }, "b.example"},
	{inHealth, "status: 204", func(l loaded) any { return asked(l).Status }, []health.StatusRange{{Low: 204, High: 204}}},
	{inHealth, "status: 200-399", func(l loaded) any { return asked(l).Status }, []health.StatusRange{{Low: 200, High: 399}}},
	{inHealth, "status: [204, '301-302']", func(l loaded) any { return asked(l).Status }, []health.StatusRange{{Low: 204, High: 204}, {Low: 301, High: 302}}},
	{inHealth, "body: all good", passing("it is all good", "it is all bad"), "true false"},
	{inHealth, "body: '~good [0-9]'", passing("good 7", "good [0-9]"), "true false"},
	{inHealth, "body: good, check: http", passing("good", "bad"), "true false"},
	{inHealth, "method: GET", func(l loaded) any { return asked(l).Match == nil }, true},
	{inHealth, "verify: off", func(l loaded) any { return healthOf(l).Probes.Check.Roots == nil }, true},
	{inHealth, "verify: on, server_name: a.example", bySystem, true},
	{inHealth, "verify: true, check: mattermost, deep: on, server_name: a.example", bySystem, true},
	{inHealth, "port: 8065", func(l loaded) any { return healthOf(l).Probes.Port }, uint16(8065)},
	{inHealth, "interval: 7s", paced, "7s 1s 2s 2 3"},
	{inHealth, "interval: 500ms, timeout: 500ms", paced, "500ms 500ms 500ms 2 3"},
	{inHealth, "fast_interval: 100ms", paced, "5s 100ms 2s 2 3"},
	{inHealth, "timeout: 5s", paced, "5s 1s 5s 2 3"},
	{inHealth, "rise: 1", paced, "5s 1s 2s 1 3"},
	{inHealth, "fall: 1", paced, "5s 1s 2s 2 1"},
	{inHealth, "check: tcp, initial: up", begin, health.Up},
	{inHealth, "initial: up", begin, health.Up},
	{inHealth, "initial: down", begin, health.Down},
	{inHealth, "initial: probe", begin, health.Probe},
	{inHealth, "deep: on, check: mattermost", deep, "https /api/v4/system/ping?get_server_status=true every 1m0s"},
	{inHealth, "deep: on, check: mattermost, tls: off, host: a.example", deep, "http a.example /api/v4/system/ping?get_server_status=true every 1m0s"},
	{inHealth, "deep: off, check: mattermost", deep, "nothing"},
	{inHealth, "deep_interval: 5m, deep: on, check: mattermost", deep, "https /api/v4/system/ping?get_server_status=true every 5m0s"},
}

// healthOf returns what the file says of the health of p.
func healthOf(l loaded) *config.BuiltPool {
	if len(l.built.Pools) != 1 || l.built.Pools[0].Pool != l.pool {
		return &config.BuiltPool{}
	}
	return l.built.Pools[0]
}

func asked(l loaded) *health.Request { return healthOf(l).Probes.Check.Request }

func begin(l loaded) any { return healthOf(l).Probes.Schedule.Initial }

// probed says what the check of p is.
func probed(l loaded) any {
	p := healthOf(l).Probes
	if p == nil {
		return "nothing"
	}
	return checkText(&p.Check)
}

// deep says what its deep check is.
func deep(l loaded) any {
	p := healthOf(l).Probes
	if p.Deep == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s every %s", checkText(p.Deep), p.DeepPace)
}

// checkText joins what c asks of a server.
func checkText(c *health.Check) string {
	words := []string{string(c.Kind), c.ServerName}
	if c.Request != nil {
		path := c.Request.Path
		if path == "" {
			path = "/"
		}
		words = append(words, c.Request.Host, path)
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// paced says when probes run and what they decide.
func paced(l loaded) any {
	s := healthOf(l).Probes.Schedule
	return fmt.Sprint(s.Interval, s.Fast, s.Timeout, s.Rise, s.Fall)
}

// passing says which of two bodies pass.
func passing(a, b string) func(loaded) any {
	return func(l loaded) any {
		m := asked(l).Match
		return fmt.Sprint(m([]byte(a)) == nil, m([]byte(b)) == nil)
	}
}

// bySystem reports whether the system's authorities are asked by each check.
func bySystem(l loaded) any {
	system, err := x509.SystemCertPool()
	if err != nil {
		return err
	}
	p := healthOf(l).Probes
	return system.Equal(p.Check.Roots) && (p.Deep == nil || system.Equal(p.Deep.Roots))
}

// ejectEffects are those of the keys of eject.
var ejectEffects = []effect{
	{inEject, "failures: 1", ejected, health.Ejection{Failures: 1, Time: 10 * time.Second, MaxTime: 5 * time.Minute, Share: 0.5}},
	{inEject, "window: 1m", ejected, health.Ejection{Failures: 3, Window: time.Minute, Time: 10 * time.Second, MaxTime: 5 * time.Minute, Share: 0.5}},
	{inEject, "time: 10m", ejected, health.Ejection{Failures: 3, Time: 10 * time.Minute, MaxTime: 5 * time.Minute, Share: 0.5}},
	{inEject, "max_time: 10s", ejected, health.Ejection{Failures: 3, Time: 10 * time.Second, MaxTime: 10 * time.Second, Share: 0.5}},
	{inEject, "share: 1", ejected, health.Ejection{Failures: 3, Time: 10 * time.Second, MaxTime: 5 * time.Minute, Share: 1}},
}

func ejected(l loaded) any { return *healthOf(l).Ejection }

// TestHealthIsToldByPool: each pool that connections can get to has its own,
// and the others have none.
func TestHealthIsToldByPool(t *testing.T) {
	l := load(t, `
listeners: [{address: ':443', routes: [{server_name: a, pool: a}], default: b}]
pools:
  spare: {servers: ['10.0.0.1:443'], health: https}
  b: {servers: ['10.0.0.1:443'], health: tcp, eject: off}
  a: {servers: ['10.0.0.1:443']}
`)
	var got []string
	for _, h := range l.built.Pools {
		kind := health.Kind("no check")
		if h.Probes != nil {
			kind = h.Probes.Check.Kind
		}
		got = append(got, fmt.Sprintf("%s: %s, ejects: %t", h.Balancer.Name(), kind, h.Ejection != nil))
	}
	if diff := cmp.Diff([]string{"a: no check, ejects: true", "b: tcp, ejects: false"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestEjectionsAreNotShared: what one pool says must not become the default of
// the next.
func TestEjectionsAreNotShared(t *testing.T) {
	l := load(t, fileWith(inEject, "failures: 7"))
	if next := load(t, goodListener+goodPool); healthOf(l).Ejection.Failures != 7 || healthOf(next).Ejection.Failures != 3 {
		t.Errorf("got %+v, then %+v", healthOf(l).Ejection, healthOf(next).Ejection)
	}
}

func TestVerifyByAFile(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	name := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(name, block, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	l := load(t, fileWith(inHealth, "server_name: a.example, verify: '"+name+"'"))
	if got := healthOf(l).Probes.Check.Roots; !roots.Equal(got) {
		t.Errorf("got %v, want the certificate in the file", got)
	}
}
