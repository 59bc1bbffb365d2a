package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
)

// demoProcess is a demo and what it announced.
type demoProcess struct {
	*process
	dir     string // where it keeps its files
	address string
	text    string // the announcement
}

func startDemo(t *testing.T) *demoProcess {
	t.Helper()
	return startDemoWith(t, stdout)
}

// startDemoWith is startDemo with streams of one's own.
func startDemoWith(t *testing.T, streams func(*exec.Cmd) (io.ReadCloser, error)) *demoProcess {
	t.Helper()
	d := &demoProcess{dir: t.TempDir()}
	d.process = start(t, streams, []string{"TMPDIR=" + d.dir}, "demo")
	d.expect(`Connections:\n`)
	d.text = d.process.text()
	d.address = d.expect(`balancer\s+(\S+)`)[1]
	return d
}

// commands returns the printed commands that match pattern, in order.
func (d *demoProcess) commands(pattern string) []string {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	var list []string
	for line := range strings.Lines(d.text) {
		if command := strings.TrimSpace(line); strings.HasPrefix(line, "  ") && re.MatchString(command) {
			list = append(list, command)
		}
	}
	if len(list) == 0 {
		d.t.Fatalf("no command matches %q in:\n%s", pattern, d.text)
	}
	return list
}

// shell runs a command as printed and returns what it wrote.
func shell(t *testing.T, command string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
	return string(out), err
}

// end stops the demo and checks that it leaves nothing.
func (d *demoProcess) end(sig syscall.Signal) {
	d.t.Helper()
	d.signal(sig)
	if got := d.status(); got != 0 {
		d.t.Errorf("exit status %d, want 0", got)
	}
	left, err := os.ReadDir(d.dir)
	if err != nil || len(left) > 0 {
		d.t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDemoCommandsWorkAsPrinted(t *testing.T) {
	need(t, "curl")
	need(t, "openssl")
	d := startDemo(t)
	pings := d.commands(`^curl .*/system/ping$`)
	if len(pings) != 2 {
		t.Errorf("%d commands ask for a ping, want 2: %q", len(pings), pings)
	}
	nodes := map[string]bool{}
	for _, command := range pings {
		nodes[pingNode(t, command)] = true
	}
	if len(nodes) != 2 {
		t.Errorf("the pings reached %v, want both servers", nodes)
	}
	t.Run("openssl", func(t *testing.T) {
		out, err := shell(t, d.commands(`^openssl s_client`)[0])
		if err != nil || !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "CN = chat-") {
			t.Errorf("%v:\n%s", err, out)
		}
	})
	t.Run("no route", func(t *testing.T) {
		out, err := shell(t, d.commands(`nobody\.culvert\.test`)[0])
		if err == nil || !strings.Contains(out, "unrecognized name") {
			t.Errorf("%v:\n%s", err, out)
		}
	})
	t.Run("explain", func(t *testing.T) {
		out, err := shell(t, d.commands(`^culvert explain`)[0])
		if err != nil || !strings.Contains(out, "exact name") {
			t.Errorf("%v:\n%s", err, out)
		}
	})
	t.Run("control socket", func(t *testing.T) {
		status := d.commands(`^culvert status`)[0]
		for _, step := range []struct{ command, want string }{
			{status, "chat-1"},
			{strings.Replace(status, " status ", " drain chat-1 ", 1), "chat/chat-1: draining"},
			{strings.Replace(status, " status ", " undrain chat-1 ", 1), "chat/chat-1: in service again"},
		} {
			if out, err := shell(t, step.command); err != nil || !strings.Contains(out, step.want) {
				t.Errorf("%s: %v:\n%s", step.command, err, out)
			}
		}
		if out, err := shell(t, strings.Replace(status, " status ", " reload ", 1)); err == nil || !strings.Contains(out, "stays as it is") {
			t.Errorf("reload: %v:\n%s", err, out)
		}
	})
	for _, line := range []string{
		`(?m)^\d\d:\d\d:\d\d\.\d{3}  127\.0\.0\.1:\d+  chat\.culvert\.test  chat-\d  up \d+ B, down \d+ B  .*s  (closed|reset) by (client|server)$`, // curl leaves without waiting
		`(?m)  nobody\.culvert\.test  .*s  no_route by culvert$`,
	} {
		d.expect(line)
	}
	d.end(syscall.SIGINT)
}

// pingNode runs a command that asks for a ping and returns who answered.
func pingNode(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command+" -sS").Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var answer map[string]string
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if answer["status"] != "OK" {
		t.Errorf("status %q", answer["status"])
	}
	return answer["node"]
}

// client returns an HTTP client that trusts the demo's CA, connects to its
// address whatever the URL says, and does so from a loopback address.
func (d *demoProcess) client(from string) *http.Client {
	d.t.Helper()
	ca, err := os.ReadFile(d.expect(`CA\s+(\S+)`)[1])
	if err != nil {
		d.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", d.address)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
}

// join opens a WebSocket and returns it with the first message.
func (d *demoProcess) join(ctx context.Context, from string) (*websocket.Conn, chatMessage) {
	d.t.Helper()
	client := d.client(from)
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = false // WebSocket is an upgrade of HTTP/1.1
	conn, _, err := websocket.Dial(ctx, "wss://"+demoName+"/api/v4/websocket", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.CloseNow() })
	return conn, readMessage(ctx, d.t, conn)
}

func readMessage(ctx context.Context, t *testing.T, conn *websocket.Conn) chatMessage {
	t.Helper()
	_, text, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var m chatMessage
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return m
}

func TestDemoChatCrossesServers(t *testing.T) {
	d := startDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	other := regexp.MustCompile(`--interface (\S+)`).FindStringSubmatch(d.text)[1]
	alice, hello1 := d.join(ctx, "127.0.0.1")
	bob, hello2 := d.join(ctx, other)
	if hello1.Server == hello2.Server {
		t.Errorf("both are on %s", hello1.Server)
	}
	if err := alice.Write(ctx, websocket.MessageText, []byte("ahoy")); err != nil {
		t.Fatal(err)
	}
	want := chatMessage{Server: hello1.Server, Text: "ahoy"}
	for _, conn := range []*websocket.Conn{alice, bob} {
		if got := readMessage(ctx, t, conn); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	d.end(syscall.SIGTERM) // with both connections open
}

func TestDemoWebSocketCommand(t *testing.T) {
	need(t, "curl")
	d := startDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+d.commands(`Upgrade: websocket`)[0]+" -sS")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), "You are connected to chat-") {
		n, err := out.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
	}
	if !strings.Contains(got.String(), "101 Switching Protocols") {
		t.Errorf("got %q", got.String())
	}
	d.end(syscall.SIGINT) // curl's connection is open
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}

func TestDemoSpeaksHTTP2(t *testing.T) {
	d := startDemo(t)
	res, err := d.client("127.0.0.1").Get("https://" + demoName + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || res.ProtoMajor != 2 || !strings.Contains(string(page), "/api/v4/websocket") {
		t.Errorf("%s, %v:\n%s", res.Proto, err, page)
	}
	d.end(syscall.SIGHUP)
}

func TestDemoStatusPageAndMetrics(t *testing.T) {
	d := startDemo(t)
	res, err := d.client("127.0.0.1").Get("https://" + demoName + "/api/v4/system/ping?get_server_status=true")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := res.Header.Get("database_status"); got != "OK" {
		t.Errorf("database_status: %q", got)
	}
	url := d.expect(`status\s+(\S+)`)[1]
	page := fetch(t, url)
	if !strings.Contains(page, "chat-1") || !strings.Contains(page, "chat-2") {
		t.Errorf("the page does not show both servers:\n%s", page)
	}
	if metrics := fetch(t, url+"metrics"); !strings.Contains(metrics, "culvert_connections_total{") {
		t.Errorf("no connections counted in:\n%s", metrics)
	}
	d.end(syscall.SIGINT)
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
	return string(body)
}

func TestDemoStopsAndStartsServers(t *testing.T) {
	var in io.Writer
	d := startDemoWith(t, func(c *exec.Cmd) (out io.ReadCloser, err error) {
		if in, err = c.StdinPipe(); err != nil {
			return nil, err
		}
		return c.StdoutPipe()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	usual := d.expect(`(?m)^  stop (chat-\d)$`)[1]
	if got := d.servedBy(); got != usual {
		t.Errorf("%s answers, announced was %s", got, usual)
	}
	alice, _ := d.join(ctx, "127.0.0.1")
	fmt.Fprintln(in, "stop "+usual)
	d.expect(`(?m)^` + usual + ` is stopped\.$`)
	if _, _, err := alice.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the server's connections are not closed: %v", err)
	}
	if got := d.servedBy(); got == usual {
		t.Errorf("%s answers though it is stopped", got)
	}
	d.expect(`\(` + usual + `: connect_refused\)  chat-\d  `)
	fmt.Fprintln(in, "start "+usual)
	d.expect(`(?m)^` + usual + ` runs\.$`)
	if got := d.servedBy(); got != usual {
		t.Errorf("%s answers though %s is back", got, usual)
	}
	fmt.Fprintln(in, "stop everything")
	d.expect(`(?m)^Not understood: `)
	d.end(syscall.SIGINT)
}

// servedBy asks on a new connection who answers.
func (d *demoProcess) servedBy() string {
	d.t.Helper()
	client := d.client("127.0.0.1")
	defer client.CloseIdleConnections()
	res, err := client.Get("https://" + demoName + "/api/v4/system/ping")
	if err != nil {
		d.t.Fatal(err)
	}
	res.Body.Close()
	return res.Header.Get("X-Served-By")
}

func TestShellWord(t *testing.T) {
	tests := []struct{ in, want string }{
		{"bin/culvert", "bin/culvert"},
		{"/tmp/culvert-demo-123/ca.pem", "/tmp/culvert-demo-123/ca.pem"},
		{"/home/a b/culvert", "'/home/a b/culvert'"},
		{"it's", `'it'\''s'`},
		{"$HOME/~", "'$HOME/~'"},
		{"", "''"},
	}
	for _, tt := range tests {
		if got := shellWord(tt.in); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

// TestCallAgain: after "make run" culvert is not in PATH.
func TestCallAgain(t *testing.T) {
	tests := []struct{ arg0, want string }{
		{"bin/culvert", "bin/culvert"},
		{"/opt/my tools/culvert", "'/opt/my tools/culvert'"},
		{"culvert", "culvert"},
	}
	for _, tt := range tests {
		if got := callAgain(tt.arg0); got != tt.want {
			t.Errorf("called as %s: got %s, want %s", tt.arg0, got, tt.want)
		}
	}
}

func TestDemoAddressInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, flag := range []string{"--address", "--admin"} {
		t.Run(flag, func(t *testing.T) {
			dir := t.TempDir()
			p := start(t, stderr, []string{"TMPDIR=" + dir}, "demo", flag, ln.Addr().String())
			if got := p.status(); got != 1 {
				t.Errorf("exit status %d, want 1", got)
			}
			if got := p.text(); strings.Count(got, "\n") != 1 || !strings.Contains(got, ln.Addr().String()) ||
				!strings.Contains(got, "address already in use") {
				t.Errorf("got %q, want one line with the address", got)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
