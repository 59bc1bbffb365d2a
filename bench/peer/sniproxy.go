package peer

import "syscall"

// sniproxy always runs in one thread, sends a name only to the first server, and
// searches its names linearly.
func sniproxy() Peer {
	return Peer{
		Name: "sniproxy", Binary: "sniproxy", Optional: true, Install: "apt-get install sniproxy",
		versionArgs: []string{"-V"}, version: `sniproxy (\S+)`,
		files: map[string]string{"sniproxy.conf": sniproxyConfig},
		args:  func(config) []string { return []string{"-f", "-c", "sniproxy.conf"} },
		quit:  syscall.SIGTERM,
	}
}

const sniproxyConfig = `{{with .User}}user {{.}}
{{end}}error_log {
	filename /dev/stderr
	priority critical
}
listener {{.Listen}} {
	protocol tls
	table names
	bad_requests log
}
table names {
{{- range .Names}}
	^{{pattern .}}$ {{index $.Servers 0}}
{{- end}}
}
`
