package bench

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/template"
	"time"
)

// Peer is a proxy that can be measured: how its configuration is written and
// how it is started in the foreground.
type Peer struct {
	Name    string
	Binary  string // looked up in PATH
	Version []string
	Package string // Debian's, for the advice when the binary is missing
	config  string // template of its configuration file
	args    func(config string) []string
}

// setup is what every peer's configuration is filled with: the same address
// to serve, the same servers, the same number of workers.
type setup struct {
	Listen  string
	Servers []string
	Workers int
	Dir     string
	// HalfClose is false where all peers are to end a connection as nginx
	// does by default.
	HalfClose bool
}

// StreamModule is where Debian's package puts nginx's stream module; empty
// where nginx has it built in.
func (setup) StreamModule() string {
	const path = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// serverName is what the load asks for.
const serverName = "chat.example.com"

// Culvert returns culvert itself, from the given binary.
func Culvert(binary string) Peer {
	return Peer{
		Name: "culvert", Binary: binary, Version: []string{"version"}, config: culvertConfig,
		args: func(config string) []string { return []string{"run", config} },
	}
}

// Peers returns the proxies that culvert is compared with.
func Peers() []Peer {
	return []Peer{
		{
			Name: "nginx", Binary: "nginx", Version: []string{"-v"}, Package: "nginx libnginx-mod-stream", config: nginxConfig,
			args: func(config string) []string {
				return []string{"-e", "stderr", "-p", filepath.Dir(config), "-c", config, "-g", "daemon off;"}
			},
		},
		{
			Name: "haproxy", Binary: "haproxy", Version: []string{"-v"}, Package: "haproxy", config: haproxyConfig,
			args: func(config string) []string { return []string{"-f", config} },
		},
	}
}

const culvertConfig = `
loops: {{.Workers}}
listeners:
  - address: {{.Listen}}
    half_close: {{if .HalfClose}}on{{else}}off{{end}}
    routes:
      - server_name: ` + serverName + `
        pool: servers
pools:
  servers:
    servers: [{{range $i, $s := .Servers}}{{if $i}}, {{end}}"{{$s}}"{{end}}]
log: {access: off}
`

const nginxConfig = `
{{with .StreamModule}}load_module {{.}};{{end}}
worker_processes {{.Workers}};
pid {{.Dir}}/nginx.pid;
events { worker_connections 10000; } # more than the load opens
stream {
	access_log off;
	map $ssl_preread_server_name $target { ` + serverName + ` servers; }
	upstream servers {
		hash $remote_addr consistent;
		{{range .Servers}}server {{.}};
		{{end}}
	}
	server {
		listen {{.Listen}} reuseport so_keepalive=15:5:3;
		ssl_preread on;
		proxy_half_close {{if .HalfClose}}on{{else}}off{{end}};
		proxy_socket_keepalive on;
		proxy_pass $target;
	}
}
`

const haproxyConfig = `
global
	nbthread {{.Workers}}
	maxconn 7500 # more than the load opens, and what 20,000 descriptors allow
defaults
	mode tcp
	timeout connect 3s
	timeout client 10m
	timeout server 10m
	timeout client-fin 60s
	timeout server-fin 60s
	option clitcpka
	option srvtcpka
	option splice-auto
frontend in
	bind {{.Listen}}
	tcp-request inspect-delay 10s
	tcp-request content accept if { req_ssl_hello_type 1 }
	use_backend servers if { req_ssl_sni -i ` + serverName + ` }
backend servers
	balance source
	hash-type consistent
	{{range $i, $s := .Servers}}server s{{$i}} {{$s}}
	{{end}}
`

// running is a started peer.
type running struct {
	Peer
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
	pids []int
}

// start writes the peer's configuration into a folder of its own and starts
// it. It returns once the peer accepts connections.
func (p Peer) start(s setup) (*running, error) {
	binary, err := exec.LookPath(p.Binary)
	if err != nil {
		return nil, fmt.Errorf("%s: not found; apt-get install %s", p.Name, p.Package)
	}
	s.Listen, err = freeAddr()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(s.Dir, p.Name+".conf")
	var text bytes.Buffer
	if err := template.Must(template.New(p.Name).Parse(p.config)).Execute(&text, s); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, text.Bytes(), 0o644); err != nil {
		return nil, err
	}
	r := &running{Peer: p, addr: s.Listen, cmd: exec.Command(binary, p.args(config)...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if err := r.await(); err != nil {
		r.stop()
		return nil, fmt.Errorf("%s: %w: %s", p.Name, err, r.log.String())
	}
	r.pids = family(r.cmd.Process.Pid)
	return r, nil
}

// await waits until the peer accepts connections.
func (r *running) await() error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", r.addr); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("does not accept connections on %s", r.addr)
}

// stop ends the peer and waits for it.
func (r *running) stop() {
	for _, pid := range family(r.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = r.cmd.Wait()
}

// freeAddr is a loopback address on which nobody listens now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
