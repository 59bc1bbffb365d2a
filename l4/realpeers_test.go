package l4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"culvert/balancer"
	"culvert/l4/internal/program"
)

const chat = "chat.example.com"

// pemFiles writes the test's certificate and key to files.
func pemFiles(t *testing.T) (cert, key string) {
	t.Helper()
	c := certificate(t)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// freeAddr is a loopback address for a server that cannot choose one itself.
func freeAddr(t *testing.T) string { return refusedAddr(t) }

// output runs a client and returns what it prints.
func output(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	program.Need(t, name)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, errs.Bytes())
	}
	return string(out)
}

// opensslServer is an s_server that sends every line back reversed.
func opensslServer(t *testing.T, version string) string {
	cert, key := pemFiles(t)
	addr := freeAddr(t)
	program.Start(t, addr, "openssl", "s_server", "-accept", addr, "-cert", cert, "-key", key, "-rev", version)
	return addr
}

func TestOpenSSLOnBothSides(t *testing.T) {
	program.Need(t, "openssl")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version, func(t *testing.T) {
			addr := opensslServer(t, version)
			r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, addr))}})
			for range soak(5, 100) {
				// The server closes when it reads CLOSE.
				out := output(t, "abc\nCLOSE\n", "openssl", "s_client", "-connect", r.addrs[0], "-servername", chat, "-quiet", "-ign_eof", version)
				if !strings.Contains(out, "cba\n") {
					t.Fatalf("got %q, want the line reversed", out)
				}
				if rec := r.next(); rec.ServerName != chat || rec.Server != addr || rec.EndedBy == Culvert {
					t.Fatalf("got record %+v", rec)
				}
			}
		})
	}
}

func TestOpenSSLServer(t *testing.T) {
	program.Need(t, "openssl")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version, func(t *testing.T) {
			r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, opensslServer(t, version)))}})
			for range soak(50, 1000) {
				c := r.dialTLS(chat)
				_, _ = io.WriteString(c, "hello\n")
				got := make([]byte, 6)
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "olleh\n" {
					t.Fatalf("got %q, %v, want the line reversed", got, err)
				}
				c.Close()
				if rec := r.next(); rec.EndedBy == Culvert {
					t.Fatalf("got record %+v", rec)
				}
			}
		})
	}
}

func TestOpenSSLClient(t *testing.T) {
	program.Need(t, "openssl")
	o := startOrigin(t, tlsEcho(t))
	r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, o.addr))}})
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		for i := range soak(10, 100) {
			msg := strings.Repeat("some text ", i*i+1)
			cmd := exec.CommandContext(t.Context(), "openssl", "s_client", "-connect", r.addrs[0], "-servername", chat, "-quiet", "-no_ign_eof", version)
			in, errIn := cmd.StdinPipe()
			out, errOut := cmd.StdoutPipe()
			if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(in, msg) }()
			got := make([]byte, len(msg))
			if n, err := io.ReadFull(out, got); string(got) != msg {
				t.Fatalf("%s: got %d bytes, %v, want the %d that were sent", version, n, err, len(msg))
			}
			in.Close() // the client ends when its input does, and the server then
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			r.next()
		}
	}
}

// body is what servers serve, and its hash.
func body(n int64) ([]byte, [sha256.Size]byte) {
	b := make([]byte, n)
	_, _ = (&pattern{seed: 6}).Read(b)
	return b, sha256.Sum256(b)
}

// curl fetches a path through the engine, often, and compares.
func curl(t *testing.T, r *rig, path string, want []byte) {
	t.Helper()
	_, port, _ := net.SplitHostPort(r.addrs[0])
	for _, version := range []string{"--http1.1", "--http2"} {
		for range soak(5, 100) {
			out := output(t, "", "curl", "-sSk", version, "--tls-max", "1.3", "--resolve", chat+":"+port+":127.0.0.1", "https://"+chat+":"+port+path)
			if out != string(want) {
				t.Fatalf("%s: got %d bytes, want the %d of the body", version, len(out), len(want))
			}
		}
	}
}

func TestCurlAndHTTP2(t *testing.T) {
	program.Need(t, "curl")
	want, _ := body(3 << 20)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, srv.Listener.Addr().String()))}})
	curl(t, r, "/", want)
}

// clientThrough is an HTTP client all of whose connections go through r.
func clientThrough(r *rig) *http.Client {
	var d net.Dialer
	return &http.Client{Timeout: 3 * patience, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", r.addrs[0]) },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
	}}
}

func TestWebSocket(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		c, err := websocket.Accept(w, q, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			kind, msg, err := c.Read(q.Context())
			if err != nil || c.Write(q.Context(), kind, msg) != nil {
				return
			}
		}
	}))
	defer srv.Close()
	r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, srv.Listener.Addr().String()))}})
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	hc := clientThrough(r)
	hc.Timeout = 0
	hc.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, _, err := websocket.Dial(ctx, "wss://"+chat+"/", &websocket.DialOptions{HTTPClient: hc})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.CloseNow()
			c.SetReadLimit(-1)
			for _, n := range []int64{0, 1, 125, 126, 65535, 65536, 1 << 20} {
				msg, sum := body(n + int64(i))
				if err := c.Write(ctx, websocket.MessageBinary, msg); err != nil {
					t.Error(err)
					return
				}
				_, got, err := c.Read(ctx)
				if err != nil || sha256.Sum256(got) != sum {
					t.Errorf("got %d bytes, %v, want the %d that were sent", len(got), err, len(msg))
					return
				}
			}
			_ = c.Close(websocket.StatusNormalClosure, "")
		})
	}
	wg.Wait()
	hc.CloseIdleConnections()
	for range 20 {
		if rec := r.next(); rec.EndedBy == Culvert {
			t.Errorf("got %v by %v", rec.Reason, rec.EndedBy)
		}
	}
}

// startNginx runs nginx with this configuration, which listens at addr.
func startNginx(t *testing.T, addr, conf string) {
	t.Helper()
	program.Need(t, "nginx")
	dir := t.TempDir()
	head := "pid nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents { worker_connections 4096; }\n"
	if os.Getuid() == 0 {
		head = "user root;\n" + head
	}
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if strings.Contains(conf, "stream {") {
		if _, err := os.Stat(module); err != nil {
			program.Missing(t, module)
		}
		head = "load_module " + module + ";\n" + head
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(head+conf), 0o600); err != nil {
		t.Fatal(err)
	}
	program.Start(t, addr, "nginx", "-p", dir, "-c", "nginx.conf", "-g", "daemon off;")
}

func TestNginxAsServer(t *testing.T) {
	program.Need(t, "nginx", "curl")
	want, sum := body(8 << 20)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "body"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	cert, key := pemFiles(t)
	addr := freeAddr(t)
	startNginx(t, addr, fmt.Sprintf(`http {
		client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
		access_log off;
		server { listen %s ssl http2; ssl_certificate %s; ssl_certificate_key %s; root %s; }
	}`, addr, cert, key, dir))
	r := startRig(t, &Config{Listeners: []*Listener{routeTo(t, roundRobin(t, addr))}})
	curl(t, r, "/body", want)
	hc := clientThrough(r)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := hc.Get("https://" + chat + "/body")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			h := sha256.New()
			if n, err := io.Copy(h, resp.Body); err != nil || [sha256.Size]byte(h.Sum(nil)) != sum {
				t.Errorf("got %d bytes, %v, want the body's %d", n, err, len(want))
			}
		})
	}
	wg.Wait()
	hc.CloseIdleConnections()
}

// TestNginxStreamBehindReadsTheSameName puts nginx's own ssl_preread behind
// the engine: the hello that reaches it must be the client's, to the byte.
func TestNginxStreamBehindReadsTheSameName(t *testing.T) {
	program.Need(t, "nginx")
	names := []string{"a.example.com", "b.example.com"}
	var entries strings.Builder
	for _, name := range names {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(srv.Close)
		fmt.Fprintf(&entries, "%s %s;\n", name, srv.Listener.Addr())
	}
	addr := freeAddr(t)
	startNginx(t, addr, fmt.Sprintf("stream { map $ssl_preread_server_name $to {\n%s}\nserver { listen %s; ssl_preread on; proxy_pass $to; } }", &entries, addr))
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "*.example.com", Pool: roundRobin(t, addr)})}})
	for range soak(50, 1000) {
		for _, name := range names {
			hc := clientThrough(r)
			resp, err := hc.Get("https://" + name + "/")
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			hc.CloseIdleConnections()
			if err != nil || string(b) != name {
				t.Fatalf("asked for %s, got %q, %v", name, b, err)
			}
		}
	}
}

// TestClientsGoWhereNginxSendsThem asks nginx itself, and then the engine,
// for the server of each client address.
func TestClientsGoWhereNginxSendsThem(t *testing.T) {
	program.Need(t, "nginx")
	weights := []int{1, 1, 3, 1, 2}
	var servers []balancer.ServerConfig
	pool := &Pool{}
	var upstream strings.Builder
	for i, w := range weights {
		name := fmt.Sprintf("server-%d", i)
		o := startOrigin(t, func(c net.Conn) { _, _ = io.WriteString(c, name) })
		servers = append(servers, balancer.ServerConfig{Address: o.addr, Weight: w})
		pool.Targets = append(pool.Targets, target(t, o.addr))
		fmt.Fprintf(&upstream, "server %s weight=%d;\n", o.addr, w)
	}
	b, err := balancer.New(balancer.Config{Name: "pool", Policy: balancer.NGINXHash, Servers: servers})
	if err != nil {
		t.Fatal(err)
	}
	pool.Balancer = b
	nginx := freeAddr(t)
	startNginx(t, nginx, fmt.Sprintf("stream { upstream u { hash $remote_addr consistent;\n%s}\nserver { listen %s; proxy_pass u; } }", &upstream, nginx))
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(pool)}})

	got := map[string]int{}
	for i := range soak(1000, 20_000) {
		client := net.IPv4(127, byte(1+i%250), byte(i*7), byte(1+i*13%254))
		theirs, ours := answerTo(t, client, nginx), answerTo(t, client, r.addrs[0])
		if theirs != ours || !strings.HasPrefix(ours, "server-") {
			t.Fatalf("%v: nginx sends it to %q, the engine to %q", client, theirs, ours)
		}
		got[ours]++
	}
	if len(got) != len(weights) {
		t.Errorf("got clients on %d servers, want %d: %v", len(got), len(weights), got)
	}
}

// answerTo is what a server tells a client with this address.
func answerTo(t *testing.T, client net.IP, addr string) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: client}, Timeout: patience}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%v through %s: %v", client, addr, err)
	}
	return string(b)
}
