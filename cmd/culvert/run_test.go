package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/cmd/internal/spool"
	"culvert/l4/authority"
)

// origin is a TLS server that echoes lines.
type origin struct {
	address string
	cert    tls.Certificate
	roots   *x509.CertPool
}

func startOrigin(t *testing.T) *origin {
	t.Helper()
	ca, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.CertificateOf("origin", "chat.example.com")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return &origin{address: ln.Addr().String(), cert: *cert, roots: ca.Pool()}
}

// runProcess is a culvert before an origin.
type runProcess struct {
	*process
	origin  *origin
	address string
	admin   string
	log     string // the access log's path
	file    string // the configuration
	socket  string // the control socket
}

// startRun runs a configuration; top is added to its top level.
func startRun(t *testing.T, top string, args ...string) *runProcess {
	t.Helper()
	dir := t.TempDir()
	r := &runProcess{origin: startOrigin(t), log: filepath.Join(dir, "access.log"), socket: filepath.Join(dir, "admin.sock")}
	r.file = writeConfig(t, fmt.Sprintf(`listeners:
  - address: "127.0.0.1:0"
    routes:
      - {server_name: chat.example.com, pool: chat}
pools:
  chat: {servers: [%q]}
log: {access: %q}
admin: {address: "127.0.0.1:0", socket: %q}
%s
`, r.origin.address, r.log, r.socket, top))
	r.process = start(t, stderr, nil, append(append([]string{"run"}, args...), r.file)...)
	r.address = r.expect(`listening on (127\.0\.0\.1:\d+)`)[1]
	r.admin = r.expect(`admin on (http://127\.0\.0\.1:\d+)`)[1]
	r.expect(`ready`)
	return r
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "culvert.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// dial opens a connection through culvert and checks that it works.
func (r *runProcess) dial() *tls.Conn {
	r.t.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.origin.roots, ServerName: "chat.example.com"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	echo(r.t, conn)
	return conn
}

func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(conn, "ahoy"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); got != "ahoy\n" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// leave ends conn and waits for the server's end: who closes before it comes
// resets the connection.
func leave(t *testing.T, conn *tls.Conn) {
	t.Helper()
	if err := conn.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// records returns the lines of the access log.
func (r *runProcess) records() []map[string]any {
	r.t.Helper()
	text, err := os.ReadFile(r.log)
	if err != nil {
		r.t.Fatal(err)
	}
	var list []map[string]any
	for line := range strings.Lines(string(text)) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			r.t.Fatalf("%v in %q", err, line)
		}
		list = append(list, record)
	}
	return list
}

// refused waits until nothing listens at address.
func refused(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		conn, err := net.DialTimeout("tcp", address, patience)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
	}
	t.Fatalf("%s still accepts", address)
}

func TestDrainKeepsWhatIsOpen(t *testing.T) {
	r := startRun(t, "drain_timeout: 60s")
	conn := r.dial()
	if got := healthz(t, r.admin); got != 200 {
		t.Errorf("healthz: status %d, want 200", got)
	}
	r.signal(syscall.SIGTERM)
	r.expect("draining")
	refused(t, r.address)
	echo(t, conn)
	if got := healthz(t, r.admin); got != 503 {
		t.Errorf("healthz during the drain: status %d, want 503", got)
	}
	if metrics := fetch(t, r.admin+"/metrics"); !strings.Contains(metrics, `culvert_server_connections_active{pool="chat",server="`+r.origin.address+`"} 1`) {
		t.Errorf("the connection is not counted:\n%s", metrics)
	}
	leave(t, conn)
	if got := r.status(); got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
	all := r.records()
	if len(all) == 0 {
		t.Fatal("no record of the connection")
	}
	last := all[len(all)-1]
	for key, want := range map[string]any{
		"server_name": "chat.example.com", "route": "chat.example.com", "pool": "chat",
		"server": r.origin.address, "reason": "closed", "ended_by": "client",
	} {
		if last[key] != want {
			t.Errorf("%s is %v, want %v", key, last[key], want)
		}
	}
}

// healthz returns the status of the liveness check.
func healthz(t *testing.T, admin string) int {
	t.Helper()
	res, err := http.Get(admin + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestJSONLogHasUnits(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("x", "paused", 1500*time.Millisecond, "signal", syscall.SIGTERM.String())
	if want := `"paused":"1.5s","signal":"terminated"}` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("got %s, want ...%s", out.String(), want)
	}
}

func TestTellDropped(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	lines := spool.NewLines(io.Discard)
	if err := lines.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	tellDropped(log, lines)
	if out.Len() > 0 {
		t.Errorf("nothing was dropped, got %s", out.String())
	}
	for range 3 {
		fmt.Fprintln(lines, "late")
	}
	tellDropped(log, lines)
	if got := out.String(); !strings.Contains(got, "lines=3") {
		t.Errorf("got %q", got)
	}
}

func TestDrainTimeoutCutsWhatIsLeft(t *testing.T) {
	r := startRun(t, "drain_timeout: 100ms", "--log-format", "json")
	r.dial()
	r.signal(syscall.SIGINT)
	if got := r.status(); got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
	r.expect(`"msg":"draining","signal":"interrupt","timeout":"100ms"`)
	r.expect(`"msg":"stopped","connections_closed":1`)
	if all := r.records(); len(all) != 1 || all[0]["reason"] != "drained" {
		t.Errorf("records %v, want one with reason drained", all)
	}
}

func TestSecondSignalEndsTheDrain(t *testing.T) {
	r := startRun(t, "drain_timeout: 60s")
	r.dial()
	r.signal(syscall.SIGTERM)
	r.expect("draining")
	r.signal(syscall.SIGTERM)
	if got := r.status(); got != 1 {
		t.Errorf("exit status %d, want 1", got)
	}
	r.expect("a second signal ended the drain")
}

func TestRunAddressInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tests := []struct{ name, listen, admin string }{
		{"listener", ln.Addr().String(), "127.0.0.1:0"},
		{"admin", "127.0.0.1:0", ln.Addr().String()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := writeConfig(t, fmt.Sprintf(`listeners: [{address: %q, pool: p}]
pools: {p: {servers: ["127.0.0.1:1"]}}
admin: {address: %q}
`, tt.listen, tt.admin))
			p := start(t, stderr, nil, "run", file)
			if got := p.status(); got != 1 {
				t.Errorf("exit status %d, want 1", got)
			}
			got := p.text()
			if strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "culvert: ") ||
				!strings.Contains(got, ln.Addr().String()) || !strings.Contains(got, "address already in use") {
				t.Errorf("got %q, want one line with the address", got)
			}
		})
	}
}

func TestListenerIsReportedBeforeAdmin(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	p := start(t, stderr, nil, "run", writeConfig(t, fmt.Sprintf(`listeners: [{address: %q, pool: p}]
pools: {p: {servers: ["127.0.0.1:1"]}}
admin: {address: %q}
`, ln.Addr(), other.Addr())))
	if got := p.status(); got != 1 {
		t.Errorf("exit status %d, want 1", got)
	}
	if got := p.text(); !strings.Contains(got, ln.Addr().String()) || strings.Contains(got, other.Addr().String()) {
		t.Errorf("got %q, want the listener's address only", got)
	}
}

func TestReadyComesLast(t *testing.T) {
	tests := []struct {
		name, top string
		want      string // what stands before
	}{
		{"nothing to say", "", `msg="admin socket [^"]*"\n`},
		{"a limit that is cut", "limits: {connections: 10000000}", `level=WARN msg="limits\.connections is more than [^\n]*configured=10000000\n`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			startRun(t, tt.top).expect(tt.want + `[^\n]*msg=ready max_connections=\d+ loops=\d+\n$`)
		})
	}
}

// TestStreamsThatNobodyReads: standard output and error are pipes whose
// reader has gone, which by default ends a Go program at its next write, or
// has stopped reading.
func TestStreamsThatNobodyReads(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%v", closed), func(t *testing.T) {
			read, write := smallPipe(t)
			if closed {
				read.Close()
			}
			both := func(c *exec.Cmd) (io.ReadCloser, error) {
				c.Stdout, c.Stderr = write, write
				return io.NopCloser(strings.NewReader("")), nil
			}
			o := startOrigin(t)
			address := freeAddress(t)
			p := start(t, both, nil, "run", writeConfig(t, fmt.Sprintf(`listeners: [{address: %q, pool: p}]
pools: {p: {servers: [%q]}}
log: {access: stdout}
`, address, o.address)))
			accepts(t, address)
			r := &runProcess{process: p, origin: o, address: address}
			for range 50 { // more lines than the pipe holds
				r.dial().Close()
			}
			r.dial()
			p.signal(syscall.SIGTERM)
			refused(t, address)
			p.signal(syscall.SIGTERM)
			if got := p.status(); got != 1 {
				t.Errorf("exit status %d, want 1", got)
			}
		})
	}
}

// smallPipe returns a pipe that holds one page.
func smallPipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	const setPipeSize = 1031 // F_SETPIPE_SZ, fcntl(2)
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, write.Fd(), setPipeSize, 4096); errno != 0 {
		t.Fatal(errno)
	}
	return read, write
}

// accepts waits until somebody listens at address.
func accepts(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if conn, err := net.DialTimeout("tcp", address, patience); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens at %s", address)
}

// freeAddress returns an address nobody listens on, for now.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
