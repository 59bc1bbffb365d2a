package terminate

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"culvert/l4/internal/program"
)

// closedAddr returns an address on which nothing listens.
func closedAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// startNginx starts nginx in front of a server and returns its address.
func startNginx(t testing.TB, server string) string {
	t.Helper()
	addr, dir := closedAddr(t), t.TempDir()
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
	program.Start(t, addr, "nginx", "-p", dir, "-c", "nginx.conf", "-g", "daemon off;")
	return addr
}

// startHaproxy starts haproxy in front of a server and returns its address.
func startHaproxy(t testing.TB, server string) string {
	t.Helper()
	addr := closedAddr(t)
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
	program.Start(t, addr, "haproxy", "-db", "-f", file)
	return addr
}
