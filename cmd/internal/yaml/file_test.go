package yaml

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/balancer"
	"culvert/cmd/internal/config"
	"culvert/cmd/internal/notify"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
	"culvert/l4/socket"
)

// fileEffects are those of the keys outside of listeners and pools.
var fileEffects = []effect{
	{inFile, "loops: 3", func(l loaded) any { return l.config.Loops }, 3},
	{inFile, "drain_timeout: 45s", func(l loaded) any { return l.file.Drain() }, 45 * time.Second},
	{inFile, "drain_timeout: 0s", func(l loaded) any { return l.file.Drain() }, time.Duration(0)},
	{inFile, "admin: {address: '[::1]:9180'}", func(l loaded) any { return l.built.Admin.String() }, "[::1]:9180"},
	{inFile, "log: {access: stderr}", func(l loaded) any { return l.file.Log.Access }, "stderr"},
	{inFile, "limits: {connections: 5}", func(l loaded) any { return l.config.Limits.Connections }, 5},
	{inFile, "notify: {webhook: 'http://a/'}", func(l loaded) any { return l.file.Notify.Webhook }, "http://a/"},
	{inFile, "dns: {timeout: 1s}", func(l loaded) any { return l.file.DNS.Timeout }, time.Second},
	{inAdmin, "address: ':9180'", func(l loaded) any { return l.built.Admin.String() }, "[::]:9180"},
	{inAdmin, "socket: /run/a", func(l loaded) any { return l.file.Admin.Socket }, "/run/a"},
	{inAdmin, "group: root, socket: /run/a", func(l loaded) any { return l.file.Admin.Group }, "root"},
	{inLog, "access: stdout", func(l loaded) any { return l.file.Log.Access }, "stdout"},
	{inLog, "access: off", func(l loaded) any { return l.file.Log.Access }, "off"},
	{inLog, "access: /var/log/a", func(l loaded) any { return l.file.Log.Access }, "/var/log/a"},
	{inLimits, "connections: 9000", func(l loaded) any { return l.config.Limits.Connections }, 9000},
	{inLimits, "hello_per_prefix: 7", func(l loaded) any { return l.config.Limits.HelloPerPrefix }, 7},
	{inLimits, "hello_per_prefix: off", func(l loaded) any { return l.config.Limits.HelloPerPrefix }, -1},
	{inLimits, "buffer_memory: 128MiB", func(l loaded) any { return l.config.Limits.BufferedBytes }, int64(128 << 20)},
	{inNotify, "command: /bin/page", func(l loaded) any { return l.file.Notify.Command }, []string{"/bin/page"}},
	{inNotify, "command: [page, -v, -v]", func(l loaded) any { return l.file.Notify.Command }, []string{"page", "-v", "-v"}},
	{inNotify, "webhook: 'https://hooks.example.com/a?b=c'", func(l loaded) any { return l.file.Notify.Webhook }, "https://hooks.example.com/a?b=c"},
	{inDNS, "servers: 10.0.0.2", func(l loaded) any { return fmt.Sprint(l.file.DNS.Servers) }, "[10.0.0.2:53]"},
	{inDNS, "servers: ['10.0.0.2:54', '2001:db8::2', '[::1]:53']", func(l loaded) any { return fmt.Sprint(l.file.DNS.Servers) }, "[10.0.0.2:54 [2001:db8::2]:53 [::1]:53]"},
	{inDNS, "min_ttl: 10m", func(l loaded) any { return l.file.DNS.MinTTL }, 10 * time.Minute},
	{inDNS, "max_ttl: 1h, min_ttl: 1h", func(l loaded) any { return l.file.DNS.MaxTTL }, time.Hour},
	{inDNS, "timeout: 500ms", func(l loaded) any { return l.file.DNS.Timeout }, 500 * time.Millisecond},
	{inDNS, "require: off", func(l loaded) any { return l.file.DNS.Optional }, true},
}

// TestDefaultsAreLeftToTheDataPlane: what the file does not say is zero, and
// what zero means is said in l4.
func TestDefaultsAreLeftToTheDataPlane(t *testing.T) {
	l := load(t, "listeners: [{address: ':443', routes: [{server_name: a, pool: p}]}]\n"+goodPool)
	if diff := cmp.Diff(&l4.Config{Limits: l4.Limits{}}, &l4.Config{Loops: l.config.Loops, Limits: l.config.Limits}); diff != "" {
		t.Errorf("config: %s", diff)
	}
	if got := *l.listener; got.Name != ":443" || got.MaxConnections != 0 || got.MaxHello != 0 || got.Backlog != 0 ||
		got.HelloTimeout != 0 || got.Session != (l4.Session{}) || got.TCP != (socket.Options{}) || got.Plaintext != nil || got.Pool != nil ||
		got.Proxied || got.ProxyFrom != nil || got.ProxyTimeout != 0 {
		t.Errorf("listener: %+v", got)
	}
	if got := l.listener.Table.Lookup(nil, nil).Route; got.Action != l4.Reject || got.Label() != "default" {
		t.Errorf("default: %+v", got)
	}
	p := l.route.Pool
	if p.ConnectTimeout != 0 || p.FirstByteTimeout != 0 || p.FailoverTimeout != 0 || p.Tries != 0 ||
		p.Session != (l4.Session{}) || p.TCP != (socket.Options{}) || p.Balancer.Policy() != balancer.ClientAddress {
		t.Errorf("pool: %+v", p)
	}
	if p.Sources != nil || p.Transparent || p.SendProxy != l4.ProxyInherit {
		t.Errorf("pool: %+v", p)
	}
	if s := p.Balancer.Servers()[0]; s.Weight() != 1 || s.Backup() || s.Down() || s.Name() != "10.0.0.1:443" {
		t.Errorf("server: %+v", s)
	}
	if f := l.file; l.built.Admin.IsValid() || f.Log.Destination() != "stdout" || f.Drain() != l4.DefaultDrainTimeout || len(l.warnings) > 0 ||
		!f.Notify.Config().Equal(notify.Config{}) || !reflect.DeepEqual(f.DNS.Config(), resolve.Config{}) || f.Transparent() {
		t.Errorf("file: %+v", f)
	}
}

func TestFullFile(t *testing.T) {
	f, warnings, err := Load("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Counts{Listeners: 2, Pools: 3, Servers: 6, Routes: 5}, f.Counts()); diff != "" {
		t.Error(diff)
	}
	if len(warnings) > 0 {
		t.Error(warnings)
	}
}

// TestLimitBuffers: a limit of the machine bounds the default, and never what the
// file says.
func TestLimitBuffers(t *testing.T) {
	tests := []struct {
		name, file string
		most, want int64
	}{
		{"less than the default", "", 8 << 20, 8 << 20},
		{"more than the default", "", 1 << 40, l4.DefaultBufferedBytes},
		{"no limit", "", 0, 0},
		{"not known", "", -1, 0},
		{"the file says more", "limits: {buffer_memory: 128MiB}", 8 << 20, 128 << 20},
		{"the file says less", "limits: {buffer_memory: 1MiB}", 8 << 20, 1 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, _, err := Parse("f", []byte(fileWith(inFile, tt.file)))
			if err != nil {
				t.Fatal(err)
			}
			l := built(t, f)
			l.built.LimitBuffers(tt.most)
			if got := l.config.Limits.BufferedBytes; got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
