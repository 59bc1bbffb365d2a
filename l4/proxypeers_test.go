package l4

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/l4/internal/program"
)

// startHAProxy runs haproxy with some sections behind the usual ones.
func startHAProxy(t *testing.T, addr, sections string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	const usual = "global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
	if err := os.WriteFile(file, []byte(usual+sections), 0o600); err != nil {
		t.Fatal(err)
	}
	program.Start(t, addr, "haproxy", "-f", file)
}

// TestPROXYFromPeers: what nginx and HAProxy send names the client.
func TestPROXYFromPeers(t *testing.T) {
	program.Need(t, "nginx", "haproxy")
	o := saying(t, "a")
	ln := proxied(plainListener(roundRobin(t, o.addr)), "127.0.0.0/8")
	ln.MaxConnections = 1000
	r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{ln}})
	senders := map[string]func(addr string){
		"nginx": func(addr string) {
			startNginx(t, addr, fmt.Sprintf("stream { server { listen %s; proxy_pass %s; proxy_protocol on; } }", addr, r.addrs[0]))
		},
		"haproxy v1": func(addr string) {
			startHAProxy(t, addr, fmt.Sprintf("listen l\n  bind %s\n  server s %s send-proxy\n", addr, r.addrs[0]))
		},
		"haproxy v2": func(addr string) {
			startHAProxy(t, addr, fmt.Sprintf("listen l\n  bind %s\n  server s %s send-proxy-v2 proxy-v2-options crc32c,unique-id\n", addr, r.addrs[0]))
		},
	}
	for name, begin := range senders {
		addr := freeAddr(t)
		begin(addr)
		through := &rig{t: t, addrs: []string{addr}}
		for range soak(20, 1000) {
			c := through.dial(0)
			hear(t, c, "a")
			client := c.LocalAddr().String()
			c.Close()
			r.awaitRecord(name, client)
		}
	}
}

// awaitRecord waits for the record of a client. Others are of connections that
// waited for the program to listen.
func (r *rig) awaitRecord(name, client string) {
	r.t.Helper()
	for range 20 {
		if rec := r.next(); rec.Client.String() == client {
			return
		}
	}
	r.t.Fatalf("%s: no record of the client %s", name, client)
}

// proxyPeers starts an nginx and an HAProxy that expect a PROXY header before
// TLS, and answer with what it says.
func proxyPeers(t *testing.T) (nginx, haproxy string) {
	t.Helper()
	program.Need(t, "nginx", "haproxy")
	cert, key := pemFiles(t)
	both := filepath.Join(t.TempDir(), "both.pem")
	var text []byte
	for _, f := range []string{cert, key} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	if err := os.WriteFile(both, text, 0o600); err != nil {
		t.Fatal(err)
	}
	nginx, haproxy = freeAddr(t), freeAddr(t)
	startNginx(t, nginx, fmt.Sprintf(`http { access_log off;
server { listen %s ssl proxy_protocol; ssl_certificate %s; ssl_certificate_key %s;
location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_port"; } } }`, nginx, cert, key))
	startHAProxy(t, haproxy, fmt.Sprintf(`frontend f
  mode http
  bind %s accept-proxy ssl crt %s
  http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] %%[dst_port] %%[fc_pp_authority] %%[fc_pp_unique_id]"
`, haproxy, both))
	return nginx, haproxy
}

// TestPROXYToPeers: nginx and HAProxy learn from it who the client is, and
// HAProxy the name that it asked for and the connection's ID; it checks the
// checksum.
func TestPROXYToPeers(t *testing.T) {
	nginx, haproxy := proxyPeers(t)
	for _, v := range []ProxyVersion{ProxyV1, ProxyV2} {
		for _, peer := range []string{nginx, haproxy} {
			pool := roundRobin(t, peer)
			pool.SendProxy = v
			r := startRig(t, &Config{Loops: 1, Listeners: []*Listener{routeTo(t, pool)}})
			for range soak(20, 1000) {
				c := r.dialTLS(chat)
				got := askHTTP(t, c)
				want := fmt.Sprintf("%s %s", c.LocalAddr(), strings.TrimPrefix(c.RemoteAddr().String(), "127.0.0.1:"))
				c.Close()
				id := r.next().ID
				if !strings.HasPrefix(got, want) {
					t.Fatalf("peer %s, version %d: it saw %q, want %q", peer, v, got, want)
				}
				if v == ProxyV2 && peer == haproxy && (!strings.Contains(got, " "+chat+" ") || !strings.HasSuffix(got, fmt.Sprintf("-%d", id))) {
					t.Fatalf("it saw %q, want the name %s and the ID %d", got, chat, id)
				}
			}
		}
	}
}

// TestDialerToPeers: nginx and HAProxy take the header of a client that a
// Handler has, and one for culvert itself, which names no client.
func TestDialerToPeers(t *testing.T) {
	nginx, haproxy := proxyPeers(t)
	const client = "192.0.2.7:56324 443"
	tests := []struct {
		name, peer string
		version    ProxyVersion
		caller     Caller
		want       string // SOURCE stands for the address of the socket
	}{
		{"nginx, version 1", nginx, ProxyV1, aCaller, client},
		{"nginx, version 2", nginx, ProxyV2, aCaller, client},
		{"nginx, probe, version 1", nginx, ProxyV1, Caller{}, ": "},
		{"nginx, probe, version 2", nginx, ProxyV2, Caller{}, ": "},
		{"haproxy, version 1", haproxy, ProxyV1, aCaller, client + "  "},
		{"haproxy, version 2", haproxy, ProxyV2, aCaller, client + " " + chat + " 7-1"},
		{"haproxy, probe, version 1", haproxy, ProxyV1, Caller{}, "SOURCE  "},
		{"haproxy, probe, version 2", haproxy, ProxyV2, Caller{}, "SOURCE  "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := from(roundRobin(t, tt.peer), "127.0.0.5")
			p.SendProxy = tt.version
			raw, err := NewDialer(p, ProxyInherit).Dial(t.Context(), p.Balancer.Servers()[0], tt.caller)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			port := strings.TrimPrefix(tt.peer, "127.0.0.1:")
			want := strings.ReplaceAll(tt.want, "SOURCE", fmt.Sprintf("%s %s", raw.LocalAddr(), port))
			if got := askHTTP(t, tls.Client(raw, &tls.Config{ServerName: chat, InsecureSkipVerify: true})); got != want {
				t.Errorf("it saw %q, want %q", got, want)
			}
		})
	}
}

// askHTTP makes one request and returns the body.
func askHTTP(t *testing.T, c io.ReadWriter) string {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
