package peer

// culvertConfig lifts the limit of unfinished hellos of one client address:
// all load comes from a few addresses, and no other peer has such a limit.
const culvertConfig = `loops: {{.Workers}}
listeners:
  - address: "{{.Listen}}"
    half_close: {{onOff .HalfClose}}
    routes:
      - server_name:
{{- range .Names}}
          - {{.}}
{{- end}}
        pool: servers
pools:
  servers:
    balance: client-address
    servers:
{{- range .Servers}}
      - "{{.}}"
{{- end}}
{{- if or .ConnectTimeout .FirstByte}}
    timeouts:
{{- with .ConnectTimeout}}
      connect: {{ms .}}
{{- end}}
{{- with .FirstByte}}
      first_byte: {{ms .}}
{{- end}}
{{- end}}
log: {access: off}
limits: {hello_per_prefix: off}
`
