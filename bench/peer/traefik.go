package peer

import (
	"strconv"
	"syscall"
)

// traefik has no hash of the client's address for TCP and uses round robin. It
// does not try a second server, and keeps half-closed connections for its
// terminationDelay, 100 ms.
func traefik() Peer {
	return Peer{
		Name: "traefik", Binary: "traefik", Optional: true, Install: "see https://doc.traefik.io/traefik/getting-started/install-traefik/",
		versionArgs: []string{"version"}, version: `Version:\s+(\S+)`,
		files: map[string]string{"routes.yaml": traefikConfig},
		args: func(c config) []string {
			return []string{
				"--entryPoints.in.address=" + c.Listen, "--providers.file.filename=routes.yaml", "--providers.file.watch=false",
				"--log.level=ERROR", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
			}
		},
		env:  func(c config) []string { return []string{"GOMAXPROCS=" + strconv.Itoa(c.Workers)} },
		quit: syscall.SIGTERM,
	}
}

const traefikConfig = `tcp:
  routers:
{{- range $i, $n := .Names}}
    r{{$i}}:
      entryPoints: [in]
      rule: "HostSNI(` + "`{{$n}}`" + `)"
      service: servers
      tls: {passthrough: true}
{{- end}}
  services:
    servers:
      loadBalancer:
{{- with .ConnectTimeout}}
        serversTransport: servers
{{- end}}
        servers:
{{- range .Servers}}
          - address: "{{.}}"
{{- end}}
{{- with .ConnectTimeout}}
  serversTransports:
    servers:
      dialTimeout: {{ms .}}
{{- end}}
`
