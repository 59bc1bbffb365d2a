package peer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"syscall"
)

// culvertConfig removes the limit of waiting hellos per client address: all load
// comes from a few addresses, and no other peer has such a limit.
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
{{- if .HTTP}}
      - server_name: ` + EndedName + `
        pool: apps
        terminate:
          certificates: [{certificate: {{.Dir}}/` + certificateFile + `, key: {{.Dir}}/` + keyFile + `}]
          preauth: {secrets_file: {{.Dir}}/` + secretFile + `}
{{- end}}
pools:
{{- if .HTTP}}
  apps:
    balance: client-address
    servers:
{{- range .HTTP}}
      - "{{.}}"
{{- end}}
{{- end}}
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

// reloadCulvert returns when the log has the result of the reload.
func reloadCulvert(ctx context.Context, _ *Running, p *process) error {
	const done, failed = `msg=reloaded`, `msg="not reloaded`
	before, beforeFailed := p.printed(done), p.printed(failed)
	p.signal(syscall.SIGHUP)
	return p.await(ctx, func() (bool, error) {
		if p.printed(failed) > beforeFailed {
			return false, errors.New("it was refused" + p.output())
		}
		return p.printed(done) > before, nil
	})
}

// printed counts occurrences in the output of the process.
func (p *process) printed(part string) int {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return 0
	}
	return bytes.Count(text[min(p.from, int64(len(text))):], []byte(part))
}
