package terminate

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobodyAt is an address at which nobody listens.
func nobodyAt(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// need skips the test when a program is not installed. In CI everything is.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", program)
	}
	t.Skipf("%s is missing", program)
}

// startProgram runs a server until the test ends, and waits until it listens.
func startProgram(t testing.TB, addr, name string, args ...string) {
	t.Helper()
	need(t, name)
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, out.Bytes())
		}
	})
	eventually(t, name+" listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// startNginx puts nginx in front of a server and returns its address.
func startNginx(t testing.TB, server string) string {
	t.Helper()
	addr, dir := nobodyAt(t), t.TempDir()
	conf := fmt.Sprintf(`pid nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 1024; }
http {
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	access_log off;
	upstream u { server %s; keepalive 8; }
	server {
		listen %s;
		location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
	}
}`, server, addr)
	if os.Getuid() == 0 {
		conf = "user root;\n" + conf
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, addr, "nginx", "-p", dir, "-c", "nginx.conf", "-g", "daemon off;")
	return addr
}

// startHaproxy puts haproxy in front of a server and returns its address.
func startHaproxy(t testing.TB, server string) string {
	t.Helper()
	addr := nobodyAt(t)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	conf := fmt.Sprintf(`defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	http-reuse always
frontend f
	bind %s
	default_backend b
backend b
	server s %s
`, addr, server)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, addr, "haproxy", "-db", "-f", file)
	return addr
}
