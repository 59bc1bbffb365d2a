package admin

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"culvert/l4"
)

// exposition is the result of a scrape with the numbers of source.
const exposition = `
# HELP culvert_access_log_dropped_total Access log records that were not written.
# TYPE culvert_access_log_dropped_total counter
culvert_access_log_dropped_total 9
# HELP culvert_attempts_failed_total Attempts to connect to a server that failed.
# TYPE culvert_attempts_failed_total counter
culvert_attempts_failed_total{pool="mattermost",reason="connect_refused",server="10.0.0.12:443"} 3
culvert_attempts_failed_total{pool="mattermost",reason="connect_timeout",server="10.0.0.12:443"} 1
# HELP culvert_connections_active Connections open now.
# TYPE culvert_connections_active gauge
culvert_connections_active{listener=":443"} 7
# HELP culvert_connections_ended_total Connections that ended, by the side that ended them and the reason.
# TYPE culvert_connections_ended_total counter
culvert_connections_ended_total{ended_by="client",listener=":443",reason="closed"} 60
culvert_connections_ended_total{ended_by="culvert",listener=":443",reason="hello_timeout"} 20
culvert_connections_ended_total{ended_by="culvert",listener=":443",reason="malformed"} 10
culvert_connections_ended_total{ended_by="server",listener=":443",reason="reset"} 3
# HELP culvert_connections_total Connections accepted.
# TYPE culvert_connections_total counter
culvert_connections_total{listener=":443"} 100
# HELP culvert_failovers_total Failed attempts after which another server was tried.
# TYPE culvert_failovers_total counter
culvert_failovers_total{pool="mattermost",server="10.0.0.12:443"} 2
culvert_failovers_total{pool="mattermost",server="app-1"} 0
# HELP culvert_buffered_bytes Bytes buffered in user space for peers that read slowly and for incomplete hellos.
# TYPE culvert_buffered_bytes gauge
culvert_buffered_bytes 4096
# HELP culvert_listeners_paused Listeners that do not accept now because of a limit or a lack of descriptors.
# TYPE culvert_listeners_paused gauge
culvert_listeners_paused 1
# HELP culvert_pipes Pipes open for splicing, in use or pooled.
# TYPE culvert_pipes gauge
culvert_pipes 2
# HELP culvert_preauth_accepted_total Requests accepted because of a pre-auth secret.
# TYPE culvert_preauth_accepted_total counter
culvert_preauth_accepted_total{listener=":443",route="apps.example.com",secret="current"} 7
# HELP culvert_rejects_total Connections rejected: they ended before a server answered.
# TYPE culvert_rejects_total counter
culvert_rejects_total{listener=":443",reason="hello_timeout"} 20
culvert_rejects_total{listener=":443",reason="malformed"} 10
# HELP culvert_requests_refused_total Requests on these routes that were refused without contacting a server.
# TYPE culvert_requests_refused_total counter
culvert_requests_refused_total{listener=":443",reason="preauth",route="apps.example.com"} 2
# HELP culvert_requests_total Requests on routes that terminate TLS, by the status of the answer; 0 means no answer.
# TYPE culvert_requests_total counter
culvert_requests_total{listener=":443",route="apps.example.com",status="200"} 7
culvert_requests_total{listener=":443",route="apps.example.com",status="403"} 2
# HELP culvert_route_connections_total Connections that matched a route.
# TYPE culvert_route_connections_total counter
culvert_route_connections_total{listener=":443",pool="",route="default"} 5
culvert_route_connections_total{listener=":443",pool="mattermost",route="chat.example.com"} 70
# HELP culvert_server_bytes_total Bytes relayed, up to a server or down from it.
# TYPE culvert_server_bytes_total counter
culvert_server_bytes_total{direction="down",pool="mattermost",server="10.0.0.12:443"} 4096
culvert_server_bytes_total{direction="down",pool="mattermost",server="app-1"} 5.36870912e+09
culvert_server_bytes_total{direction="up",pool="mattermost",server="10.0.0.12:443"} 2048
culvert_server_bytes_total{direction="up",pool="mattermost",server="app-1"} 1.048576e+06
# HELP culvert_server_connections_active Connections being dialed or relayed to a server now.
# TYPE culvert_server_connections_active gauge
culvert_server_connections_active{pool="mattermost",server="10.0.0.12:443"} 3
culvert_server_connections_active{pool="mattermost",server="app-1"} 4
# HELP culvert_server_connections_total Connections established to a server.
# TYPE culvert_server_connections_total counter
culvert_server_connections_total{pool="mattermost",server="10.0.0.12:443"} 30
culvert_server_connections_total{pool="mattermost",server="app-1"} 40
`

// ours are the families compared with exposition; build_info holds the
// toolchain's version and the runtime's own metrics vary.
var ours = []string{
	"culvert_access_log_dropped_total", "culvert_attempts_failed_total", "culvert_connections_active",
	"culvert_connections_ended_total", "culvert_connections_total", "culvert_failovers_total",
	"culvert_buffered_bytes", "culvert_listeners_paused", "culvert_pipes", "culvert_preauth_accepted_total", "culvert_rejects_total",
	"culvert_requests_refused_total", "culvert_requests_total",
	"culvert_route_connections_total", "culvert_server_bytes_total",
	"culvert_server_connections_active", "culvert_server_connections_total",
}

func TestExposition(t *testing.T) {
	err := testutil.GatherAndCompare(NewRegistry(source(t)), strings.NewReader(exposition), ours...)
	if err != nil {
		t.Error(err)
	}
}

func TestMetricsPassLint(t *testing.T) {
	var names []string
	families, err := NewRegistry(source(t)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "culvert_") {
			names = append(names, f.GetName())
		}
	}
	if got, want := len(names), len(metrics); got != want {
		t.Errorf("%d families gathered, %d declared", got, want)
	}
	problems, err := testutil.GatherAndLint(NewRegistry(source(t)), names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestRuntimeAndProcessMetricsAreThere(t *testing.T) {
	got := body(t, get(t, Handler(source(t)), "GET", "/metrics"))
	for _, want := range []string{"go_goroutines ", "process_open_fds ", `culvert_build_info{commit="abc",goversion="go`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestEqualLabelsAreAddedUp(t *testing.T) {
	stats := &l4.Stats{Routes: []l4.RouteStats{
		{Listener: "a", Route: "chat", Pool: "p", Taken: 1},
		{Listener: "a", Route: "chat", Pool: "p", Taken: 2},
	}}
	const want = `
# HELP culvert_route_connections_total Connections that matched a route.
# TYPE culvert_route_connections_total counter
culvert_route_connections_total{listener="a",pool="p",route="chat"} 3
`
	reg := NewRegistry(Source{Stats: func() *l4.Stats { return stats }})
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "culvert_route_connections_total"); err != nil {
		t.Error(err)
	}
}

func TestInvalidUTF8DoesNotFailTheScrape(t *testing.T) {
	stats := &l4.Stats{Listeners: []l4.ListenerStats{{Name: "unix:/run/\xff"}}}
	reg := NewRegistry(Source{Stats: func() *l4.Stats { return stats }})
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

func TestEveryRelayReasonIsNoReject(t *testing.T) {
	tests := []struct {
		reason l4.Reason
		want   bool
	}{
		{l4.ReasonClosed, false},
		{l4.ReasonReset, false},
		{l4.ReasonStalled, false},
		{l4.ReasonIdleTimeout, false},
		{l4.ReasonHalfCloseTimeout, false},
		{l4.ReasonLifetime, false},
		{l4.ReasonDrained, false},
		{l4.ReasonHelloTimeout, true},
		{l4.ReasonHelloClosed, true},
		{l4.ReasonHelloLimit, true},
		{l4.ReasonMemoryLimit, true},
		{l4.ReasonNoRoute, true},
		{l4.ReasonClosedByRoute, true},
		{l4.ReasonNoServerUp, true},
		{l4.ReasonServersFull, true},
		{l4.ReasonTriesExhausted, true},
		{l4.ReasonFailoverTimeout, true},
		{"not_tls", true},
	}
	for _, tt := range tests {
		if got := !tt.reason.Relayed(); got != tt.want {
			t.Errorf("!%q.Relayed() = %v, want %v", tt.reason, got, tt.want)
		}
	}
}
