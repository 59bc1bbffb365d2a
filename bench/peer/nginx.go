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

// nginx counts a server's failures for itself: after one it leaves the server
// alone for 10 s (max_fails, fail_timeout), which is its default and kept.
func nginx() Peer {
	return Peer{
		Name: "nginx", Binary: "nginx", Install: "apt-get install nginx libnginx-mod-stream",
		versionArgs: []string{"-v"}, version: `nginx/(\S+)`,
		files: map[string]string{"nginx.conf": nginxConfig},
		args: func(c config) []string {
			return []string{"-e", "stderr", "-p", c.Dir, "-c", "nginx.conf", "-g", "daemon off;"}
		},
		quit:   syscall.SIGQUIT,
		reload: reloadNginx,
	}
}

// nginxConfig logs only what keeps it from working: a server that refuses is
// part of the work. One worker can carry everything. The keepalive to the
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
`

// StreamModule is where Debian's package puts nginx's stream module; empty
// where nginx has it built in. Another build would refuse Debian's.
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

// MapSize is buckets enough for names to be found at once. With too few nginx
// warns, and starts with longer buckets.
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

// leavingNginx says whether a worker accepts no more. It tells so in its
// title, which it sets before it closes its listeners.
func leavingNginx(pid int) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || len(title) == 0 || strings.Contains(string(title), "shutting down")
}
