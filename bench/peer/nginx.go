package peer

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"culvert/bench/measure"
)

// nginx counts the failures of a server: after one failure it does not use the
// server for 10 s (max_fails, fail_timeout). This default is not changed.
func nginx() Peer {
	return Peer{
		Name: "nginx", Binary: "nginx", apart: true, Install: "apt-get install nginx libnginx-mod-stream",
		versionArgs: []string{"-v"}, version: `nginx/(\S+)`,
		files: map[string]string{"nginx.conf": nginxConfig},
		args: func(c config) []string {
			return []string{"-e", "stderr", "-p", c.Dir, "-c", "nginx.conf", "-g", "daemon off;"}
		},
		quit:   syscall.SIGQUIT,
		reload: reloadNginx,
	}
}

// nginxConfig logs only severe errors, because servers that refuse are part of
// the workload. One worker can carry all connections. The keepalive to the
// servers has the system's times.
const nginxConfig = `{{with .StreamModule}}load_module {{.}};
{{end}}{{with .User}}user {{.}};
{{end}}worker_processes {{.Workers}};
worker_rlimit_nofile {{.FDs}};
pid nginx.pid;
error_log stderr crit;
events { worker_connections {{.FDs}}; }
stream {
	access_log off;
	map_hash_max_size {{.MapSize}};
	map_hash_bucket_size 256;
	map $ssl_preread_server_name $target {
{{- range .Names}}
		{{.}} servers;
{{- end}}
	}
	upstream servers {
		hash $remote_addr consistent;
{{- range .Servers}}
		server {{.}};
{{- end}}
	}
	server {
		listen {{.Listen}} reuseport so_keepalive=15:5:3;
		ssl_preread on;
		proxy_half_close {{onOff .HalfClose}};
		proxy_socket_keepalive on;
		proxy_next_upstream on;
		proxy_next_upstream_tries 3;
{{- with .ConnectTimeout}}
		proxy_connect_timeout {{ms .}};
{{- end}}
		proxy_pass $target;
	}
}
{{if .HTTP}}` + nginxHTTP + `{{end}}`

// nginxHTTP is the configuration of Mattermost's guide, without its cache: its
// buffers, timeouts and limits, and its two locations. The secret is checked
// with a map, as in other guides. Bodies of requests are buffered before they
// are sent to a server, which is the default of nginx and of the guide. The
// number of requests of a connection is not limited: with the default of 1,000
// handshakes would be part of every request's cost.
const nginxHTTP = `http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
{{- if .Packaged}}
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
{{- end}}
	map_hash_bucket_size 128;
	map $http_x_mattermost_preauth_secret $refused {
		default 1;
		` + Secret + ` 0;
	}
	upstream apps {
		hash $remote_addr consistent;
{{- range .HTTP}}
		server {{.}};
{{- end}}
		keepalive 256;
		keepalive_requests 1000000000;
	}
	server {
		listen {{.ListenTLS}} ssl http2 reuseport so_keepalive=15:5:3;
		server_name ` + EndedName + `;
		ssl_certificate ` + certificateFile + `;
		ssl_certificate_key ` + keyFile + `;
		ssl_protocols TLSv1.2 TLSv1.3;
		keepalive_timeout 75s;
		keepalive_requests 1000000000;
		client_max_body_size 100M;
		http2_max_concurrent_streams 100;
		if ($refused) {
			return 403;
		}
		proxy_http_version 1.1;
		proxy_set_header Connection "";
		proxy_set_header Host $http_host;
		proxy_set_header X-Real-IP $remote_addr;
		proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		proxy_set_header X-Forwarded-Proto $scheme;
		proxy_set_header X-Frame-Options SAMEORIGIN;
		proxy_set_header X-Mattermost-Preauth-Secret "";
		proxy_buffers 256 16k;
		proxy_buffer_size 16k;
		location ~ /api/v[0-9]+/(users/)?websocket$ {
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header Host $http_host;
			proxy_set_header X-Real-IP $remote_addr;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Frame-Options SAMEORIGIN;
			proxy_set_header X-Mattermost-Preauth-Secret "";
			client_body_timeout 60s;
			send_timeout 300s;
			lingering_timeout 5s;
			proxy_connect_timeout 90s;
			proxy_send_timeout 300s;
			proxy_read_timeout 90s;
			proxy_pass http://apps;
		}
		location / {
			proxy_read_timeout 600s;
			proxy_pass http://apps;
		}
	}
}
`

// StreamModule is the path of nginx's stream module in Debian's package; empty if
// nginx has it built in. Another build would not load Debian's module.
func (c config) StreamModule() string {
	const path = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if !c.Packaged {
		return ""
	}
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// MapSize is a number of buckets with which names are found directly. With too
// few of them nginx logs a warning and uses longer buckets.
func (c config) MapSize() int { return max(2048, 2*(c.Routes+1)) }

// reloadNginx returns when new workers serve and the old ones have stopped
// accepting; those with connections stay until the last has ended.
func reloadNginx(ctx context.Context, r *Running, p *process) error {
	old := measure.Family(p.pid())
	p.signal(syscall.SIGHUP)
	return p.await(ctx, func() (bool, error) {
		fresh := 0
		for _, pid := range measure.Family(p.pid()) {
			switch {
			case !slices.Contains(old, pid):
				fresh++
			case pid != p.pid() && !leavingNginx(pid):
				return false, nil
			}
		}
		return fresh >= r.config.Workers, nil
	})
}

// leavingNginx reports whether a worker is shutting down. nginx sets the
// worker's process title accordingly, before it closes its listeners.
func leavingNginx(pid int) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || len(title) == 0 || strings.Contains(string(title), "shutting down")
}
