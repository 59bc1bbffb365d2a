package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/balancer"
	"culvert/cmd/internal/notify"
	"culvert/cmd/internal/resolve"
	"culvert/health"
	"culvert/l4"
	"culvert/l4/socket"
	"culvert/l4/terminate"
)

// build checks and builds c, whose servers have no names.
func build(t *testing.T, c *Config) *Built {
	t.Helper()
	mustCheck(t, c)
	b, err := c.Build(t.Context(), resolveFunc(noResolve))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBuildsShareNoState: a replacement is built again, and the counts of the
// old pools must not move with the new ones'.
func TestBuildsShareNoState(t *testing.T) {
	c := good()
	a, b := build(t, c), build(t, c)
	if a.Pools[0].Pool == b.Pools[0].Pool || a.Engine.Listeners[0] == b.Engine.Listeners[0] ||
		a.Pools[0].Balancer.Servers()[0] == b.Pools[0].Balancer.Servers()[0] {
		t.Error("two builds share a pool, a server or a listener")
	}
}

// TestDefaultsOfTheDataPlane: what a configuration does not say is zero, and
// what zero means is said in l4.
func TestDefaultsOfTheDataPlane(t *testing.T) {
	b := build(t, &Config{
		Listeners: []*Listener{{Address: ":443", Routes: []*Route{{ServerNames: Texts("a"), Target: To("p")}}}},
		Pools:     []*Pool{{Name: "p", Servers: []*Server{{Address: "10.0.0.1:443"}}}},
	})
	got := *b.Engine.Listeners[0]
	if action := got.Table.Lookup(nil, nil).Route.Action; action != l4.Reject {
		t.Errorf("default: %v", action)
	}
	got.Table = nil
	if want := (l4.Listener{Name: ":443", Address: socket.IP(netip.MustParseAddrPort("[::]:443"))}); !reflect.DeepEqual(want, got) {
		t.Errorf("listener: %+v", got)
	}
	if e := b.Pools[0].Ejection; e == nil || e.Failures != DefaultEjectionFailures {
		t.Errorf("ejection: %+v", e)
	}
	p := *b.Pools[0].Pool
	if p.Balancer.Policy() != balancer.ClientAddress || len(p.Targets) != 1 {
		t.Errorf("pool: %+v", p)
	}
	p.Balancer, p.Targets = nil, nil
	if want := (l4.Pool{RetryBudget: DefaultRetryBudget}); !reflect.DeepEqual(want, p) {
		t.Errorf("pool: %+v", p)
	}
	if b.Engine.Loops != 0 || b.Engine.Limits != (l4.Limits{}) || b.Admin.IsValid() || len(b.Redirects)+len(b.Terminations) > 0 {
		t.Errorf("built: %+v", b)
	}
}

// TestEveryValueIsBuilt: every value of a listener, a pool and a server gets to
// where the data plane reads it.
func TestEveryValueIsBuilt(t *testing.T) {
	session := Session{IdleTimeout: time.Minute, HalfCloseTimeout: 2 * time.Minute, Lifetime: time.Hour, HalfClose: l4.SwitchOff}
	tcp := TCP{UserTimeout: time.Second, Keepalive: Keepalive{Idle: 2 * time.Second, Interval: 3 * time.Second, Count: 4}}
	wantSession := l4.Session{IdleTimeout: time.Minute, HalfCloseTimeout: 2 * time.Minute, Lifetime: time.Hour, KeepHalfClose: l4.SwitchOff}
	wantTCP := socket.Options{UserTimeout: time.Second, KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 4}
	b := build(t, &Config{
		Loops:  3,
		Limits: Limits{Connections: 5, HelloPerPrefix: -1, BufferMemory: 2 * mib},
		Admin:  Admin{Address: "127.0.0.1:9180"},
		Listeners: []*Listener{{
			Address: "10.0.0.1:443", Name: "tls", Default: Target{Action: Close}, Plaintext: To("p"), MaxConnections: 6, MaxHello: 16 * kib, Backlog: 7,
			ProxyProtocol: &ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
			HelloTimeout:  time.Second, ProxyHeaderTimeout: l4.Off, Session: session, TCP: tcp,
			Routes: []*Route{{ServerNames: Texts("A.example", "~^b"), ALPN: Texts("h2"), Target: To("p"), SendProxy: l4.ProxyV2}},
		}},
		Pools: []*Pool{{
			Name: "p", Policy: balancer.Maglev, Tries: -1, ConnectTimeout: time.Second, FirstByteTimeout: l4.Off, FailoverTimeout: time.Minute, RetryBudget: 1.5,
			Session: session, TCP: tcp, Sources: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.5")}, SendProxy: l4.ProxyV1,
			Servers: []*Server{{Address: "unix:/run/a", Name: "a", Weight: 7}, {Address: "10.0.0.2:443", Backup: true}, {Address: "10.0.0.3:443", Down: true}},
		}},
	})
	if b.Engine.Loops != 3 || b.Engine.Limits != (l4.Limits{Connections: 5, HelloPerPrefix: -1, BufferedBytes: 2 * mib}) || b.Admin.String() != "127.0.0.1:9180" {
		t.Errorf("built: %+v", b)
	}
	l := *b.Engine.Listeners[0]
	if got := fmt.Sprint(l.ProxyFrom); got != "[10.0.0.0/8 10.0.0.0/8]" || l.Plaintext != b.Pools[0].Pool {
		t.Errorf("listener: from %s, plaintext to %v", got, l.Plaintext)
	}
	checkTable(t, l.Table, b.Pools[0].Pool)
	l.Table, l.Plaintext, l.ProxyFrom = nil, nil, nil
	if want := (l4.Listener{
		Name: "tls", Address: socket.IP(netip.MustParseAddrPort("10.0.0.1:443")), MaxConnections: 6, MaxHello: 16 * kib, Backlog: 7,
		Proxied: true, ProxyTimeout: l4.Off, HelloTimeout: time.Second, Session: wantSession, TCP: wantTCP,
	}); !reflect.DeepEqual(want, l) {
		t.Errorf("listener: %+v", l)
	}
	checkPool(t, *b.Pools[0].Pool, l4.Pool{
		ConnectTimeout: time.Second, FirstByteTimeout: l4.Off, FailoverTimeout: time.Minute, Tries: -1, RetryBudget: 1.5,
		Session: wantSession, TCP: wantTCP, Sources: []netip.Addr{netip.MustParseAddr("10.0.0.5")}, SendProxy: l4.ProxyV1,
	})
}

func checkTable(t *testing.T, table *l4.Table, pool *l4.Pool) {
	t.Helper()
	routes := table.Routes()
	for i, name := range []string{"A.example", "~^b"} {
		if r := routes[i]; r.ServerName != name || r.Pool != pool || r.SendProxy != l4.ProxyV2 || !reflect.DeepEqual(r.ALPN, []string{"h2"}) || r.Action != l4.Forward {
			t.Errorf("route %d: %+v", i, r)
		}
	}
	if r := routes[2]; r.Action != l4.Close || r.Pool != nil {
		t.Errorf("default: %+v", r)
	}
}

func checkPool(t *testing.T, got, want l4.Pool) {
	t.Helper()
	var servers []string
	for i, s := range got.Balancer.Servers() {
		servers = append(servers, fmt.Sprint(s.Name(), " ", got.Targets[i].Addr(), " ", s.Weight(), s.Backup(), s.Down()))
	}
	all := "a unix:/run/a 7 false false, 10.0.0.2:443 10.0.0.2:443 1 true false, 10.0.0.3:443 10.0.0.3:443 1 false true"
	if text := strings.Join(servers, ", "); text != all || got.Balancer.Policy() != balancer.Maglev {
		t.Errorf("servers %s, policy %s", text, got.Balancer.Policy())
	}
	got.Balancer, got.Targets = nil, nil
	if !reflect.DeepEqual(want, got) {
		t.Errorf("pool: got %+v, want %+v", got, want)
	}
}

func TestEjectionsAndBudgets(t *testing.T) {
	byDefault := health.Ejection{Failures: 3, Time: 10 * time.Second, MaxTime: 5 * time.Minute, Share: 0.5}
	tests := []struct {
		name   string
		pool   Pool
		want   *health.Ejection
		budget float64
	}{
		{"not said", Pool{}, &byDefault, 0.2},
		{"off", Pool{Ejection: &Ejection{Off: true}}, nil, 0},
		{"off with a budget", Pool{Ejection: &Ejection{Off: true}, RetryBudget: 0.5}, nil, 0.5},
		{"without a budget", Pool{RetryBudget: -1}, &byDefault, 0},
		{"a longer time", Pool{Ejection: &Ejection{Time: 10 * time.Minute}}, &health.Ejection{Failures: 3, Time: 10 * time.Minute, MaxTime: 5 * time.Minute, Share: 0.5}, 0.2},
		{"everything", Pool{Ejection: &Ejection{Failures: 1, Window: 2, Time: 3, MaxTime: 4, Share: 1}, RetryBudget: 2},
			&health.Ejection{Failures: 1, Window: 2, Time: 3, MaxTime: 4, Share: 1}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.pool.ejection()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if got := tt.pool.retryBudget(); got != tt.budget {
				t.Errorf("budget %v, want %v", got, tt.budget)
			}
		})
	}
}

func TestProbes(t *testing.T) {
	tests := []struct {
		name   string
		health *Health
		want   string
	}{
		{"none", nil, "nothing"},
		{"off", &Health{Check: CheckOff}, "nothing"},
		{"defaults", &Health{Check: CheckTCP}, "tcp; 5s 1s 2s 2 3 up"},
		{"a short interval", &Health{Check: CheckTLS, ServerName: "a", Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Port: 8065},
			"tls a; 500ms 500ms 400ms 2 3 up; port 8065"},
		{"its own schedule", &Health{Check: CheckTCP, Interval: time.Minute, FastInterval: 2 * time.Second, Timeout: 3 * time.Second, Rise: 4, Fall: 5, Initial: health.Probe},
			"tcp; 1m0s 2s 3s 4 5 probe"},
		{"a request", &Health{Check: CheckHTTP, Method: "POST", Path: "/x", Host: "h", Status: []health.StatusRange{{Low: 204, High: 204}}, Body: "~go[o]d"},
			"http POST h /x [{204 204}] matches good, not bad; 5s 1s 2s 2 3 up"},
		{"mattermost", &Health{Check: CheckMattermost, Host: "h"}, "https h /api/v4/system/ping; 5s 1s 2s 2 3 up; mattermost"},
		{"mattermost, deep and without TLS", &Health{Check: CheckMattermost, PlainText: true, Deep: true},
			"http /api/v4/system/ping; 5s 1s 2s 2 3 up; mattermost; deep http /api/v4/system/ping?get_server_status=true every 1m0s"},
		{"deep in its own time", &Health{Check: CheckMattermost, Deep: true, DeepInterval: 5 * time.Minute},
			"https /api/v4/system/ping; 5s 1s 2s 2 3 up; mattermost; deep https /api/v4/system/ping?get_server_status=true every 5m0s"},
		{"verified by a file", &Health{Check: CheckTLS, ServerName: "a", Verify: Verify{File: termFile("cert.pem")}}, "tls a verified; 5s 1s 2s 2 3 up"},
		{"verified by the system", &Health{Check: CheckTLS, ServerName: "a", Verify: Verify{System: true}}, "tls a verified; 5s 1s 2s 2 3 up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Pools[0].Health = tt.health
			if got := probesText(build(t, c).Pools[0].Probes); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func probesText(p *Probes) string {
	if p == nil {
		return "nothing"
	}
	s := p.Schedule
	words := []string{checkText(&p.Check), fmt.Sprint(s.Interval, s.Fast, s.Timeout, s.Rise, s.Fall, " ", []string{"up", "down", "probe"}[s.Initial])}
	if p.Port != 0 {
		words = append(words, fmt.Sprint("port ", p.Port))
	}
	if p.Mattermost {
		words = append(words, "mattermost")
	}
	if p.Deep != nil {
		words = append(words, fmt.Sprintf("deep %s every %s", checkText(p.Deep), p.DeepPace))
	}
	return strings.Join(words, "; ")
}

func checkText(c *health.Check) string {
	words := []string{string(c.Kind), c.ServerName}
	if c.Roots != nil {
		words = append(words, "verified")
	}
	if r := c.Request; r != nil {
		words = append(words, r.Method, r.Host, r.Path)
		if len(r.Status) > 0 {
			words = append(words, fmt.Sprint(r.Status))
		}
		if r.Match != nil && c.Kind == health.HTTP && r.Path == "/x" && r.Match([]byte("good")) == nil && r.Match([]byte("bad")) != nil {
			words = append(words, "matches good, not bad")
		}
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

func TestTerminationsAndRedirects(t *testing.T) {
	c := good()
	l := c.Listeners[0]
	l.Routes = append([]*Route{{ServerNames: Texts("x", "y"), Target: To("p")}}, l.Routes...)
	l.Routes = append(l.Routes, &Route{ServerNames: Texts("B.example", "c.example"), ALPN: Texts("h2"), Target: To("p"), Terminate: l.Routes[1].Terminate})
	c.Listeners = append(c.Listeners, &Listener{Address: ":80", Redirect: 8443})
	b := build(t, c)
	var got []string
	for _, x := range b.Terminations {
		for _, r := range x.Routes {
			if r.Action != l4.Handle || r.Pool != b.Pools[0].Pool {
				t.Errorf("%s: %+v", x.Key, r)
			}
		}
		got = append(got, fmt.Sprintf("%s | %s | %s | %v %d %s %t", x.Key, x.Listener, x.Name, x.Names, len(x.Routes), x.Routes[0].ServerName, x.Settings == l.Routes[1].Terminate))
	}
	want := []string{
		"tls a.example  | tls | a.example | [a.example] 1 a.example true",
		"tls B.example,c.example h2 | tls | B.example,c.example | [b.example c.example] 2 B.example true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if len(b.Redirects) != 1 || b.Redirects[b.Engine.Listeners[1]] != 8443 {
		t.Errorf("redirects: %v", b.Redirects)
	}
}

func TestPaces(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   Sessions
		want l4.Pace
	}{
		{"not said", Sessions{}, l4.Pace{Within: 30 * time.Second}},
		{"within", Sessions{Within: time.Minute}, l4.Pace{Within: time.Minute}},
		{"per second", Sessions{PerSecond: 2.5}, l4.Pace{PerSecond: 2.5}},
	} {
		if got := tt.of.Pace(); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestPanic: a third by default, and never when it is off.
func TestPanic(t *testing.T) {
	for _, tt := range []struct {
		name  string
		share float64
		down  int
		want  bool
	}{
		{"a third, half is up", 0, 1, false},
		{"a third, none is up", 0, 2, true},
		{"more than half", 0.6, 1, true},
		{"off", -1, 2, false},
	} {
		c := good()
		c.Pools[0].Panic = tt.share
		p := build(t, c).Pools[0].Balancer
		for _, s := range p.Servers()[:tt.down] {
			s.Set(balancer.Unhealthy, true, 0)
		}
		if got := p.Panics(); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// TestLimitBuffers: a limit of the machine bounds the default, and never what
// the configuration says.
func TestLimitBuffers(t *testing.T) {
	tests := []struct {
		name           string
		configured     int64
		machine, wants int64
	}{
		{"less than the default", 0, 8 * mib, 8 * mib},
		{"more than the default", 0, 1 << 40, l4.DefaultBufferedBytes},
		{"no limit", 0, 0, 0},
		{"not known", 0, -1, 0},
		{"the configuration says more", 128 * mib, 8 * mib, 128 * mib},
		{"the configuration says less", mib, 8 * mib, mib},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Limits.BufferMemory = tt.configured
			b := build(t, c)
			b.LimitBuffers(tt.machine)
			if got := b.Engine.Limits.BufferedBytes; got != tt.wants {
				t.Errorf("got %d, want %d", got, tt.wants)
			}
		})
	}
}

func TestWhatTheRuntimeReads(t *testing.T) {
	c := good()
	if c.Drain() != l4.DefaultDrainTimeout || c.Log.Destination() != "stdout" || c.Log.IsFile() || c.Transparent() {
		t.Errorf("defaults: %v %v %v %v", c.Drain(), c.Log.Destination(), c.Log.IsFile(), c.Transparent())
	}
	c.DrainTimeout, c.Log.Access, c.Pools[0].Transparent = -1, "/var/log/a", true
	c.Pools = append(c.Pools, &Pool{Servers: []*Server{{}}})
	if c.Drain() != 0 || !c.Log.IsFile() || c.Log.Destination() != "/var/log/a" || !c.Transparent() {
		t.Errorf("got %v %v %v", c.Drain(), c.Log.Destination(), c.Transparent())
	}
	if got, want := c.Counts(), (Counts{Listeners: 1, Pools: 2, Servers: 3, Routes: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	n := Notify{Command: []string{"a"}, Webhook: "b"}
	if got := n.Config(); !got.Equal(notify.Config{Command: []string{"a"}, Webhook: "b"}) {
		t.Errorf("notify: %+v", got)
	}
	d := DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:53")}, MinTTL: 1, MaxTTL: 2, Timeout: 3}
	if got, want := d.Config(), (resolve.Config{Servers: d.Servers, MinTTL: 1, MaxTTL: 2, Timeout: 3}); !reflect.DeepEqual(got, want) {
		t.Errorf("dns: %+v", got)
	}
}

func TestWhatTerminatingRoutesRead(t *testing.T) {
	f := fullTerminate()
	want := terminate.Limits{MaxBody: 1, MaxHeader: 1, MinBodyRate: 1, HeaderTimeout: 1, BodyTimeout: 1, IdleTimeout: 1, ResponseTimeout: 1}
	request, response := f.Strip()
	if f.Limits() != want || len(request) != 1 || len(response) != 1 || len(f.Pairs()) != 1 || f.Pairs()[0].Key != "b" {
		t.Errorf("got %+v %v %v %v", f.Limits(), request, response, f.Pairs())
	}
	c := &ClientCertificates{Header: "A", SubjectHeader: "B", Email: terminate.EmailSAN, Status: 401}
	if c.HeaderNames() != (terminate.HeaderNames{Cert: "A", SubjectDN: "B", Email: terminate.EmailSAN}) || !c.Unauthorized() {
		t.Errorf("got %+v %t", c.HeaderNames(), c.Unauthorized())
	}
	if (*KeyPair)(nil).Files() != (terminate.KeyPair{}) {
		t.Error("no pair has files")
	}
	p := &Preauth{BasePath: "/m", Presets: Texts("always"), Exempt: []*ExemptPath{{Path: "/x", Methods: []string{"PUT"}}, {Prefix: "/y/"}, {Pattern: "/z+"}}}
	x, err := p.Exemptions()
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]bool{
		"POST /m/api/v4/notifications/ack": true, "PUT /m/x": true, "GET /m/y/1": true, "GET /m/zz": true, "GET /m/x": false, "GET /y/1": false, "GET /m/zzq": false,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := x.Match(method, path); got != want {
			t.Errorf("%s: %t", request, got)
		}
	}
}

// TestWhatTheBalancerGets: values that only its behaviour shows.
func TestWhatTheBalancerGets(t *testing.T) {
	s := Server{Address: "a:1", Name: "n", Weight: 2, Backup: true, Down: true, MaxConns: 3, MaxRate: 4, MaxWait: 5}
	want := balancer.ServerConfig{Address: "a:1", Name: "n", Weight: 2, Backup: true, Down: true, MaxConns: 3, MaxRate: 4, MaxWait: 5}
	if got := s.config(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	c := good()
	p := c.Pools[0]
	p.Transparent, p.SlowStart, p.IPv6Prefix, p.BoundedLoad = true, time.Minute, 128, 1.25
	b := build(t, c).Pools[0]
	sv := b.Balancer.Servers()[0]
	sv.Set(balancer.Unhealthy, true, 0)
	sv.Set(balancer.Unhealthy, false, time.Second)
	if warm := b.Balancer.ServerStates()[0].WarmAt; !b.Transparent || warm != time.Minute+time.Second {
		t.Errorf("transparent %t, warm at %s", b.Transparent, warm)
	}
	if n := len(firsts(b.Balancer)); n != 2 {
		t.Errorf("the hosts of a /64 go to %d servers, want 2", n)
	}
	if n := len(picks(b.Balancer)); n != 2 {
		t.Errorf("the connections of a client go to %d servers, want 2", n)
	}
}

// firsts returns the servers that hosts of one /64 prefer.
func firsts(p *balancer.Pool) map[string]bool {
	seen := map[string]bool{}
	for i := range 64 {
		order, _ := p.Order(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), time.Hour)
		seen[order[0].Name()] = true
	}
	return seen
}

// picks returns the servers that ten connections of one client get.
func picks(p *balancer.Pool) map[string]bool {
	seen := map[string]bool{}
	for range 10 {
		s := balancer.Selection{Client: netip.MustParseAddr("192.0.2.1")}
		if sv, err := p.Pick(&s, time.Hour); err == nil {
			seen[sv.Name()] = true
		}
	}
	return seen
}
