package peer

import (
	"strconv"
	"syscall"
)

// envoy always keeps half-closed connections. It balances on a ring of its own.
func envoy() Peer {
	return Peer{
		Name: "envoy", Binary: "envoy", Optional: true, Install: "see https://www.envoyproxy.io/docs/envoy/latest/start/install",
		versionArgs: []string{"--version"}, version: `version: [0-9a-f]+/([^/\s]+)`,
		files: map[string]string{"envoy.yaml": envoyConfig},
		args: func(c config) []string {
			return []string{"-c", "envoy.yaml", "--concurrency", strconv.Itoa(c.Workers), "--disable-hot-restart", "-l", "error"}
		},
		quit: syscall.SIGTERM,
	}
}

// envoyConfig raises the limits of the cluster's circuit breakers, which allow
// 1024 connections by default. Socket options: SOL_SOCKET SO_KEEPALIVE, and
// IPPROTO_TCP TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT.
const envoyConfig = `static_resources:
  listeners:
    - name: in
      address: {socket_address: {address: {{host .Listen}}, port_value: {{port .Listen}}}}
      socket_options:
        - {level: 1, name: 9, int_value: 1, state: STATE_PREBIND}
        - {level: 6, name: 4, int_value: 15, state: STATE_PREBIND}
        - {level: 6, name: 5, int_value: 5, state: STATE_PREBIND}
        - {level: 6, name: 6, int_value: 3, state: STATE_PREBIND}
      listener_filters:
        - name: envoy.filters.listener.tls_inspector
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
      filter_chains:
        - filter_chain_match:
            server_names:
{{- range .Names}}
              - {{.}}
{{- end}}
          filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: in
                cluster: servers
                idle_timeout: 600s
                max_connect_attempts: 3
                hash_policy: [{source_ip: {}}]
  clusters:
    - name: servers
      type: STATIC
      lb_policy: RING_HASH
{{- with .ConnectTimeout}}
      connect_timeout: {{seconds .}}
{{- end}}
      circuit_breakers:
        thresholds: [{max_connections: 1000000, max_pending_requests: 1000000}]
      upstream_connection_options:
        tcp_keepalive: {keepalive_probes: 3, keepalive_time: 15, keepalive_interval: 5}
      load_assignment:
        cluster_name: servers
        endpoints:
          - lb_endpoints:
{{- range .Servers}}
              - endpoint: {address: {socket_address: {address: {{host .}}, port_value: {{port .}}}}}
{{- end}}
`
