package peer

import (
	"context"
	"strconv"
	"syscall"
)

// haproxy reads only the first record of a hello. After a refusal it tries
// another server at once (redispatch 1), as the others do; without the number
// HAProxy waits a second and tries the same server again.
func haproxy() Peer {
	return Peer{
		Name: "haproxy", Binary: "haproxy", apart: true, Install: "apt-get install haproxy",
		versionArgs: []string{"-v"}, version: `(?i)version (\S+)`,
		files:  map[string]string{"haproxy.cfg": haproxyConfig, "routes.map": haproxyRoutes},
		args:   func(config) []string { return []string{"-db", "-f", "haproxy.cfg"} },
		quit:   syscall.SIGUSR1,
		reload: reloadHAProxy,
	}
}

const haproxyConfig = `global
	nbthread {{.Workers}}
	maxconn {{.MaxConn}}
	maxpipes {{.MaxPipes}}
	stats socket unix@haproxy.sock mode 600 level admin expose-fd listeners
defaults
	mode tcp
	retries 3
	option redispatch 1
	timeout connect {{if .ConnectTimeout}}{{ms .ConnectTimeout}}{{else}}5s{{end}}
	timeout client 10m
	timeout server 10m
	timeout client-fin 60s
	timeout server-fin 60s
	option clitcpka
	clitcpka-idle 15s
	clitcpka-intvl 5s
	clitcpka-cnt 3
	option srvtcpka
	srvtcpka-idle 15s
	srvtcpka-intvl 5s
	srvtcpka-cnt 3
	option splice-auto
frontend in
	bind {{.Listen}}
	tcp-request inspect-delay 10s
	tcp-request content accept if { req_ssl_hello_type 1 }
{{- if .Routes}}
	use_backend %[req_ssl_sni,lower,map(routes.map)]
{{- else}}
	use_backend servers if { req_ssl_sni -i ` + ServerName + ` }
{{- end}}
backend servers
	balance source
	hash-type consistent
{{- range $i, $s := .Servers}}
	server s{{$i}} {{$s}}
{{- end}}
{{if .HTTP}}` + haproxyHTTP + `{{end}}`

// haproxyHTTP uses the client's order of ciphers, as the others do.
const haproxyHTTP = `frontend apps
	mode http
	bind {{.ListenTLS}} ssl crt ` + bothFile + ` alpn h2,http/1.1 ssl-min-ver TLSv1.2 prefer-client-ciphers
	timeout http-request 10s
	timeout http-keep-alive 75s
	http-request deny status 403 unless { req.hdr(X-Mattermost-Preauth-Secret) -m str ` + Secret + ` }
	http-request del-header X-Mattermost-Preauth-Secret
	http-request set-header X-Forwarded-For %[src]
	http-request set-header X-Real-IP %[src]
	http-request set-header X-Forwarded-Proto https
	default_backend apps
backend apps
	mode http
	balance source
	hash-type consistent
	http-reuse safe
	timeout tunnel 10m
{{- range $i, $s := .HTTP}}
	server s{{$i}} {{$s}}
{{- end}}
`

const haproxyRoutes = `{{range .Names}}{{.}} servers
{{end}}`

// MaxConn and MaxPipes divide the descriptors: a connection takes two and a pipe
// two, and some are left for the listener, the threads and the log. HAProxy's
// default is one pipe for four connections, with which it could carry fewer
// connections than the others.
func (c config) MaxConn() int { return c.FDs * 9 / 20 }

// MaxPipes is how many directions can be spliced concurrently.
func (c config) MaxPipes() int { return c.FDs / 25 }

// reloadHAProxy starts a new process, which takes over the listening socket
// from the old one (-x) and then makes it finish (-sf), as HAProxy's own service
// unit does. It returns when the new process serves and the old one has stopped
// listening.
func reloadHAProxy(ctx context.Context, r *Running, old *process) error {
	p, err := r.launch("-x", "haproxy.sock", "-sf", strconv.Itoa(old.pid()))
	if err != nil {
		return err
	}
	err = p.await(ctx, func() (bool, error) {
		inodes, err := listening(r.Addr)
		return err == nil && owns(p.pid(), inodes) && !owns(old.pid(), inodes), err
	})
	if err != nil {
		r.drop(p)
	}
	return err
}
